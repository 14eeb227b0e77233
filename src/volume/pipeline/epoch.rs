//! What one epoch asks of the data device, shared out to the lanes, and what each of them brings back.
//!
//! Invariants: a task is given to one lane. No two tasks of an epoch change the same extent, and none changes one that
//! another reads, so lanes need not know of each other. Once an epoch is stopped no task of it begins.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use super::counters::Counters;
use super::{Member, wanted};
use crate::format::intents::Intent;
use crate::sync::{Mutex, MutexGuard};
use crate::units::{Extent, Generation};
use crate::volume::Volume;
use crate::volume::error::VolumeError;

/// Something to do with one extent.
pub enum Task {
    /// Step 3: write it in place; its intent is durable.
    Write(Member),
    /// Step 2: read it and re-encrypt it in memory; it is held.
    Read(Extent),
    /// Read it back: its data is durable.
    ReadBack(Member),
}

/// See the module's head.
pub struct Epoch {
    pub volume: Arc<Volume>,
    pub target: Generation,
    sample: u32,
    tasks: Mutex<VecDeque<Task>>,
}

impl Epoch {
    /// Writes, reads and read-backs in turn, so that a device that does all at once has all to do; beside clients the
    /// writes first, since the holds end with them.
    pub fn new(
        volume: &Arc<Volume>,
        (target, sample): (Generation, u32),
        beside_clients: bool,
        write: &[Member],
        read: &[Extent],
        read_back: Vec<Member>,
    ) -> Epoch {
        let mut write = write.iter().cloned().map(Task::Write);
        let mut read = read.iter().copied().map(Task::Read);
        let mut read_back = read_back.into_iter().map(Task::ReadBack);
        let mut tasks: VecDeque<Task> = if beside_clients { write.by_ref().collect() } else { VecDeque::new() };
        loop {
            let before = tasks.len();
            tasks.extend(write.next().into_iter().chain(read.next()).chain(read_back.next()));
            if tasks.len() == before {
                break;
            }
        }
        Epoch { volume: Arc::clone(volume), target, sample, tasks: Mutex::new(tasks) }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next task.
    pub fn next(&self) -> Option<Task> {
        self.lock().pop_front()
    }

    /// Something failed: nothing else begins.
    pub fn stop(&self) {
        self.lock().clear();
    }

    /// Whether `extent` will be read back.
    pub fn reads_back(&self, extent: Extent) -> bool {
        wanted(extent, self.target, self.sample)
    }
}

/// What a lane has done of an epoch.
#[derive(Default)]
pub struct Share {
    /// What was rewritten and what was read back.
    pub counters: Counters,
    /// Journal mode: extents rewritten, whose hold ends with the durable commit.
    pub awaiting_commit: Vec<Extent>,
    /// Extents read and re-encrypted in memory.
    pub fresh: Vec<(Member, Intent)>,
    /// Extents that could not be read; they are untouched.
    pub unreadable: Vec<(Extent, VolumeError)>,
    /// The first extent that the device did not give back.
    pub not_read_back: Option<VolumeError>,
    /// Why the volume must be poisoned.
    pub failure: Option<VolumeError>,
}

impl Share {
    /// Adds what another lane has done.
    pub fn add(&mut self, other: Share) {
        self.counters = self.counters + other.counters;
        self.awaiting_commit.extend(other.awaiting_commit);
        self.fresh.extend(other.fresh);
        self.unreadable.extend(other.unreadable);
        self.not_read_back = self.not_read_back.take().or(other.not_read_back);
        self.failure = self.failure.take().or(other.failure);
    }
}
