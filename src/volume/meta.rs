//! The volume's metadata on the device: superblock, generation table, tag pages and ring, and their commit points.
//!
//! Invariants:
//! - Superblock and table are written to the copy that does not count, then flushed; a torn write costs nothing. The
//!   other copy is written only after that flush: two copies in the cache at once could both be torn.
//! - A checkpoint is four durable steps in this order: (1) changed tag pages to the copies that do not count, committed
//!   tags only; (2) flush; (3) superblock naming the new checkpoint, its digest and the new tail; (4) flush. Only after
//!   (4) does the log learn that slots are free.
//! - Sequences are never reused: the next checkpoint is newer than any page ever seen, so a page of a checkpoint that a
//!   crash cut off can never count later (such pages are rewritten by the next one).

use std::io;
use std::sync::Arc;

use super::error::VolumeError;
use super::log::IntentLog;
use super::tags::TagTable;
use crate::crypto::mac::MacKey;
use crate::engine::Disk;
use crate::format::Seal;
use crate::format::generations::GenerationTable;
use crate::format::intents::{Record, slot_of};
use crate::format::layout::{GENERATIONS_COPY, SUPERBLOCK_A, SUPERBLOCK_B, TAGS_PER_PAGE, copy_of};
use crate::format::superblock::Superblock;
use crate::format::tags::{digest, seal_page};
use crate::units::{BLOCK, Extent};

/// One tag page's copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageState {
    /// Sequence of the copy that counts.
    pub sequence: u64,
    /// Which copy counts: 0 or 1.
    pub copy: u8,
    /// Whether it must be written by the next checkpoint.
    pub dirty: bool,
}

/// A checkpoint between its steps.
pub struct Checkpoint {
    sequence: u64,
    tail: u64,
    pages: Vec<u32>,
}

/// The metadata of an open volume.
pub struct Meta {
    /// What seals structures; shared with whoever judges them without holding the metadata.
    pub seal: Arc<Seal>,
    /// The superblock as last written.
    pub superblock: Superblock,
    /// The generation table as last written.
    pub table: GenerationTable,
    /// The ring's bookkeeping.
    pub log: IntentLog,
    digest_key: MacKey,
    header: Arc<dyn Disk>,
    superblock_sequence: u64,
    /// The newest superblock is not known to be durable: the other copy is the one a crash falls back to.
    superblock_cached: bool,
    table_sequence: u64,
    pages: Vec<PageState>,
    page_sequence: u64,
    written: u64,
}

/// What [`Meta::new`] needs beside the structures.
pub struct MetaParts {
    /// What seals structures.
    pub seal: Seal,
    /// Key of the tag digest.
    pub digest_key: MacKey,
    /// The header backing.
    pub header: Arc<dyn Disk>,
    /// The superblock that counts, and its sequence: its parity names its copy.
    pub superblock: (Superblock, u64),
    /// The table that counts, and its sequence: its parity names its copy.
    pub table: (GenerationTable, u64),
    /// Every tag page.
    pub pages: Vec<PageState>,
    /// The newest sequence seen on any copy of any page.
    pub page_sequence: u64,
    /// The ring.
    pub log: IntentLog,
}

impl Meta {
    /// From what an open or a create found.
    pub fn new(parts: MetaParts) -> Meta {
        Meta {
            seal: Arc::new(parts.seal),
            superblock: parts.superblock.0,
            table: parts.table.0,
            log: parts.log,
            digest_key: parts.digest_key,
            header: parts.header,
            superblock_sequence: parts.superblock.1,
            superblock_cached: false,
            table_sequence: parts.table.1,
            pages: parts.pages,
            page_sequence: parts.page_sequence,
            written: 0,
        }
    }

    /// Metadata bytes written since open: the numerator of write amplification.
    pub fn bytes_written(&self) -> u64 {
        self.written
    }

    /// Sequence of the superblock as last written.
    pub fn superblock_sequence(&self) -> u64 {
        self.superblock_sequence
    }

    /// Sequence of the generation table as last written.
    pub fn table_sequence(&self) -> u64 {
        self.table_sequence
    }

    /// Which copy of tag page `index` counts.
    pub fn page(&self, index: u32) -> Option<PageState> {
        self.pages.get(index as usize).copied()
    }

    /// Whether the superblock's digest is that of the pages that count.
    pub fn digest_fits(&self) -> bool {
        digest(&self.digest_key, self.pages.iter().map(|page| page.sequence)) == self.superblock.tag_digest
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.header.write_at(offset, bytes)
    }

    fn flush(&self) -> Result<(), VolumeError> {
        self.header.flush().map_err(VolumeError::io("flush the header"))
    }

    /// Writes the superblock to the copy that does not count; durable after a flush.
    fn put_superblock(&mut self) -> Result<(), VolumeError> {
        if super::rules::flushes_superblock_first(self.superblock_cached) {
            self.flush()?;
        }
        let sequence = self.superblock_sequence + 1;
        let bytes = self.superblock.seal(&self.seal, sequence);
        let place = [SUPERBLOCK_A, SUPERBLOCK_B][copy_of(sequence)];
        self.write(place, &bytes).map_err(VolumeError::io("write the superblock"))?;
        self.superblock_sequence = sequence;
        self.superblock_cached = true;
        Ok(())
    }

    /// Commit point: changes the superblock, durably.
    pub fn commit_superblock(&mut self, change: impl FnOnce(&mut Superblock)) -> Result<(), VolumeError> {
        change(&mut self.superblock);
        self.put_superblock()?;
        self.flush()?;
        self.superblock_cached = false;
        Ok(())
    }

    /// Commit point: replaces the generation table, durably. On failure the old one stays in force in memory;
    /// the caller poisons the volume, since nobody knows what the device holds.
    pub fn commit_table(&mut self, table: GenerationTable) -> Result<(), VolumeError> {
        let sequence = self.table_sequence + 1;
        let bytes = table.seal(&self.seal, sequence).ok_or(VolumeError::TableFull)?;
        let place = self.superblock.zones.generations.offset + copy_of(sequence) as u64 * GENERATIONS_COPY;
        self.write(place, &bytes).map_err(VolumeError::io("write the generation table"))?;
        self.flush()?;
        self.table_sequence = sequence;
        self.table = table;
        Ok(())
    }

    /// Writes `record` to its slot; durable after a flush.
    pub fn write_record(&mut self, record: &Record) -> Result<(), VolumeError> {
        let slots = self.superblock.ring_slots;
        let bytes = record.seal(&self.seal, slots);
        let slot_size = u64::from(self.superblock.slot_size);
        if bytes.len() as u64 > slot_size {
            // Beyond its slot it would overwrite the next record, which may be live.
            return Err(VolumeError::Refused(format!("record {} does not fit its slot", record.sequence)));
        }
        let place = self.superblock.zones.ring.offset + u64::from(slot_of(record.sequence, slots)) * slot_size;
        self.write(place, &bytes).map_err(VolumeError::io("write an intent record"))
    }

    /// The page of `extent` must go into the next checkpoint.
    pub fn touch(&mut self, extent: Extent) {
        if let Some(page) = self.pages.get_mut((extent.0 / TAGS_PER_PAGE) as usize) {
            page.dirty = true;
        }
    }

    /// Step 1 of a checkpoint: writes changed pages with the committed tags of now. A flush comes next.
    pub fn begin_checkpoint(&mut self, tags: &TagTable) -> Result<Checkpoint, VolumeError> {
        let sequence = self.page_sequence.max(self.superblock.checkpoint) + 1;
        self.page_sequence = sequence; // also if this checkpoint fails: its pages may be on the device
        let tail = self.log.tail_after_checkpoint();
        let dirty: Vec<u32> =
            (0u32..).zip(&self.pages).filter(|(_, page)| page.dirty).map(|(index, _)| index).collect();
        for index in &dirty {
            self.write_page(*index, sequence, tags)?;
        }
        Ok(Checkpoint { sequence, tail, pages: dirty })
    }

    fn write_page(&mut self, index: u32, sequence: u64, tags: &TagTable) -> Result<(), VolumeError> {
        let first = index * TAGS_PER_PAGE;
        let committed = tags.committed_range(first, first + TAGS_PER_PAGE);
        let page = seal_page(&self.seal, index, sequence, committed.into_iter());
        let copy = u64::from(1 - self.pages[index as usize].copy);
        self.write(self.page_place(index, copy), &page).map_err(VolumeError::io("write a tag page"))?;
        self.pages[index as usize].dirty = false;
        Ok(())
    }

    fn page_place(&self, index: u32, copy: u64) -> u64 {
        let pages = self.pages.len() as u64;
        self.superblock.zones.tags.offset + (copy * pages + u64::from(index)) * BLOCK
    }

    /// Step 3, after the flush: writes the superblock that makes the pages count. Another flush comes next.
    pub fn name_checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), VolumeError> {
        for index in &checkpoint.pages {
            let page = &mut self.pages[*index as usize];
            page.copy = 1 - page.copy;
            page.sequence = checkpoint.sequence;
        }
        self.superblock.checkpoint = checkpoint.sequence;
        self.superblock.tail = checkpoint.tail;
        self.superblock.tag_digest = digest(&self.digest_key, self.pages.iter().map(|page| page.sequence));
        self.put_superblock()
    }

    /// After step 4, the second flush: the slots up to the tail are free.
    pub fn end_checkpoint(&mut self, checkpoint: &Checkpoint) {
        self.superblock_cached = false;
        self.log.checkpointed(checkpoint.tail);
    }

    /// A whole checkpoint with flushes of its own.
    pub fn checkpoint(&mut self, tags: &TagTable) -> Result<(), VolumeError> {
        let checkpoint = self.begin_checkpoint(tags)?;
        self.flush()?;
        self.name_checkpoint(&checkpoint)?;
        self.flush()?;
        self.end_checkpoint(&checkpoint);
        Ok(())
    }
}
