//! Steps 4 and 5 of an epoch in detail: the record, the checkpoint that rides along, the flush, and what it has settled.

use std::sync::Arc;

use super::Pipeline;
use crate::format::intents::Intent;
use crate::units::Extent;
use crate::volume::checkpoint::Checkpoint;
use crate::volume::error::VolumeError;
use crate::volume::flush::Ask;
use crate::volume::inbox::{Bell, Call, Ticket};
use crate::volume::rules;

impl Pipeline {
    pub(super) fn write_record(&mut self, intents: Vec<Intent>) -> Result<u64, VolumeError> {
        let volume = Arc::clone(&self.volume);
        let mut meta = volume.meta();
        let commits = meta.log.ready_commits();
        if commits.is_empty() && intents.is_empty() {
            return Ok(meta.log.next() - 1);
        }
        if !meta.log.has_room() {
            // Cannot happen while checkpoints ride along; a ring pinned by an unavailable key is the exception.
            meta.checkpoint(&volume.tags)?;
        }
        let record = meta.log.append(commits, intents)?;
        meta.write_record(&record)?;
        Ok(record.sequence)
    }

    /// Half the ring is live: a checkpoint starts riding along.
    pub(super) fn begin_checkpoint_if_due(&mut self) -> Result<Option<Checkpoint>, VolumeError> {
        let mut meta = self.volume.meta();
        let due = rules::checkpoint_is_due(meta.log.in_use(), meta.superblock.ring_slots);
        if !due || self.checkpoint.is_some() {
            return Ok(None);
        }
        meta.begin_checkpoint(&self.volume.tags).map(Some)
    }

    pub(super) fn settle(&mut self, sequence: u64, written: &[Extent]) {
        let mut meta = self.volume.meta();
        for extent in meta.log.flushed(sequence, written) {
            self.volume.tags.commit(extent);
            meta.touch(extent);
            if let Some(index) = self.awaiting_commit.iter().position(|other| *other == extent) {
                self.awaiting_commit.swap_remove(index);
                self.volume.gates.release(extent);
            }
        }
    }

    pub(super) fn flush_all(&mut self) -> Result<(), VolumeError> {
        if self.volume.detached {
            self.volume.header.flush().map_err(VolumeError::io("flush the header"))?;
        }
        self.flush_data()
    }

    /// A flush of the data backing that starts after this call; a client's own flush serves where one comes in time.
    pub(super) fn flush_data(&mut self) -> Result<(), VolumeError> {
        self.counters.flushes += 1;
        let (flushes, bell) = (&self.volume.flushes, Arc::new(Bell::default()));
        let ticket = Ticket::Thread(Arc::clone(&bell));
        let ours = if flushes.clients_flush(self.patience.client_flushed) {
            flushes.join(ticket);
            if let Some(call) = bell.wait_for(self.patience.client_flush) {
                self.counters.flushes_shared += 1;
                return flushed(call);
            }
            flushes.hurry()
        } else {
            flushes.ask(ticket, false) == Ask::Start
        };
        if ours {
            self.volume.flush_for_group();
        } else {
            self.counters.flushes_shared += 1;
        }
        flushed(bell.wait())
    }
}

fn flushed(call: Call) -> Result<(), VolumeError> {
    match call {
        Call::Flushed(Err(error)) => {
            Err(VolumeError::Io { what: "flush the data backing", source: std::io::Error::other(error) })
        }
        _ => Ok(()),
    }
}
