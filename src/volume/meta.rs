//! The volume's metadata on the device: superblock, generation table, tag pages and ring, and their commit points.
//!
//! Invariants:
//! - Superblock and table are written to the copy that does not count, then flushed; a torn write costs nothing. The
//!   other copy is written only after that flush: two copies in the cache at once could both be torn.
//! - Whatever names a target, an epoch, a size or a poison is then written to the other copy too: once such a change is
//!   acknowledged, no single copy that rots or is replayed brings the old state back in silence. Only a checkpoint writes
//!   one superblock copy: its twin names an older tail, from which replay gives the same tags, or is refused.
//! - A checkpoint is four durable steps in this order: (1) changed tag pages to the copies that do not count, committed
//!   tags only; (2) flush; (3) superblock naming the new checkpoint, its digest and the new tail; (4) flush. Only after
//!   (4) does the log learn that slots are free. Before (1) a superblock in the cache is flushed: the pages it has given up
//!   are those the durable one names.
//! - Sequences are never reused: the next checkpoint is newer than any page ever seen, so a page of a checkpoint that a
//!   crash cut off can never count later (such pages are rewritten by the next one).

use std::io;
use std::sync::Arc;

use super::checkpoint::{Checkpoint, Copies, PageState};
use super::error::VolumeError;
use super::flush::FlushGroup;
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
    group: Option<Arc<FlushGroup>>,
    copies: Copies,
    table_sequence: u64,
    /// Bytes of each table copy behind which all is zero.
    table_used: [usize; 2],
    /// The pages of a checkpoint are being written, and no superblock names them yet.
    mid_checkpoint: bool,
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
    /// Bytes of each table copy behind which all is zero.
    pub table_used: [usize; 2],
    /// Every tag page.
    pub pages: Vec<PageState>,
    /// The newest sequence seen on any copy of any page.
    pub page_sequence: u64,
    /// The ring.
    pub log: IntentLog,
    /// Who flushes the header's backing, if others do too.
    pub group: Option<Arc<FlushGroup>>,
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
            group: parts.group,
            copies: Copies::new(parts.superblock.1, parts.pages, parts.page_sequence),
            table_sequence: parts.table.1,
            table_used: parts.table_used,
            mid_checkpoint: false,
            written: 0,
        }
    }

    /// Metadata bytes written since open: the numerator of write amplification.
    pub fn bytes_written(&self) -> u64 {
        self.written
    }

    /// Sequence of the superblock as last written.
    pub fn superblock_sequence(&self) -> u64 {
        self.copies.next_superblock() - 1
    }

    /// Sequence of the generation table as last written.
    pub fn table_sequence(&self) -> u64 {
        self.table_sequence
    }

    /// Which copy of tag page `index` counts.
    pub fn page(&self, index: u32) -> Option<PageState> {
        self.copies.page(index)
    }

    /// Whether the superblock's digest is that of the pages that count.
    pub fn digest_fits(&self) -> bool {
        digest(&self.digest_key, self.copies.sequences()) == self.superblock.tag_digest
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.header.write_at(offset, bytes)
    }

    /// Makes what was written durable. Fails also if anybody's flush of this backing has failed before.
    pub fn flush(&self) -> Result<(), VolumeError> {
        let flushed = match &self.group {
            Some(group) => group.run(&*self.header),
            None => self.header.flush(),
        };
        flushed.map_err(VolumeError::io("flush the header"))
    }

    /// Writes the superblock to the copy that does not count; durable after a flush.
    fn put_superblock(&mut self) -> Result<(), VolumeError> {
        if self.copies.superblock_waits() {
            self.flush()?;
        }
        let sequence = self.copies.next_superblock();
        let bytes = self.superblock.seal(&self.seal, sequence);
        let place = [SUPERBLOCK_A, SUPERBLOCK_B][copy_of(sequence)];
        self.write(place, &bytes).map_err(VolumeError::io("write the superblock"))?;
        self.copies.superblock_written();
        Ok(())
    }

    /// Commit point: changes the superblock, durably, in both copies.
    pub fn commit_superblock(&mut self, change: impl FnOnce(&mut Superblock)) -> Result<(), VolumeError> {
        change(&mut self.superblock);
        self.mend_superblock()?;
        self.mend_superblock()
    }

    /// Writes the poison to both copies. No flush of this backing vouches for anything any more: it is the best that can
    /// be done.
    pub fn poison(&mut self, reason: String) -> Result<(), VolumeError> {
        self.group = None;
        self.commit_superblock(|superblock| superblock.poisoned = reason)
    }

    /// Writes the superblock's other copy, and flushes: a checkpoint has written one, or the other cannot be read.
    pub fn mend_superblock(&mut self) -> Result<(), VolumeError> {
        self.put_superblock()?;
        self.flush()?;
        self.copies.superblock_durable();
        Ok(())
    }

    /// Commit point: replaces the generation table, durably, in both copies. On failure the caller poisons the volume,
    /// since nobody knows what the device holds; before the first copy is durable the old table stays in force in memory.
    pub fn commit_table(&mut self, table: GenerationTable) -> Result<(), VolumeError> {
        self.put_table(&table)?;
        self.table = table.clone();
        self.put_table(&table)
    }

    /// Writes `table` to the copy that does not count, and flushes. What a longer table left there is zeroed with it: it may
    /// be a wrap that was taken out.
    fn put_table(&mut self, table: &GenerationTable) -> Result<(), VolumeError> {
        let sequence = self.table_sequence + 1;
        let mut bytes = table.seal(&self.seal, sequence).ok_or(VolumeError::TableFull)?;
        let (copy, used) = (copy_of(sequence), bytes.len());
        let dirty = used.max(self.table_used[copy]);
        bytes.resize(dirty, 0);
        self.table_used[copy] = dirty;
        self.write(self.table_place(copy), &bytes).map_err(VolumeError::io("write the generation table"))?;
        self.flush()?;
        self.table_used[copy] = used;
        self.table_sequence = sequence;
        Ok(())
    }

    /// The next write of each table copy covers all of it, whatever is thought to stand there.
    pub fn overwrite_whole_tables(&mut self) {
        self.table_used = [GENERATIONS_COPY as usize; 2];
    }

    fn table_place(&self, copy: usize) -> u64 {
        self.superblock.zones.generations.offset + copy as u64 * GENERATIONS_COPY
    }

    /// Both copies of the table as the device has them, past its cache.
    pub fn read_tables(&self) -> Result<[Vec<u8>; 2], VolumeError> {
        self.header.drop_cache().map_err(VolumeError::io("drop the cache"))?;
        let read = |copy| {
            let mut bytes = vec![0; GENERATIONS_COPY as usize];
            self.header.read_at(self.table_place(copy), &mut bytes).map(|()| bytes)
        };
        let [a, b] = [0, 1].map(|copy| read(copy).map_err(VolumeError::io("read the generation table back")));
        Ok([a?, b?])
    }

    /// Writes the table's other copy again: a crash fell between the two, or the copy has rotted.
    pub fn mend_table(&mut self) -> Result<(), VolumeError> {
        let table = self.table.clone();
        self.put_table(&table)
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

    /// Whether somebody is between the first and the third step of a checkpoint: another one would name pages of both.
    pub fn is_mid_checkpoint(&self) -> bool {
        self.mid_checkpoint
    }

    /// The page of `extent` must go into the next checkpoint.
    pub fn touch(&mut self, extent: Extent) {
        self.copies.touch(extent.0 / TAGS_PER_PAGE);
    }

    /// Step 1 of a checkpoint: writes changed pages with the committed tags of now. A flush comes next.
    pub fn begin_checkpoint(&mut self, tags: &TagTable) -> Result<Checkpoint, VolumeError> {
        if self.copies.pages_wait() {
            self.flush()?;
            self.copies.superblock_durable();
        }
        let begun = self.copies.begin(self.superblock.checkpoint, self.log.tail_after_checkpoint());
        self.mid_checkpoint = true;
        for index in &begun.pages {
            self.write_page(*index, begun.sequence, tags)?;
        }
        Ok(begun)
    }

    fn write_page(&mut self, index: u32, sequence: u64, tags: &TagTable) -> Result<(), VolumeError> {
        let first = index * TAGS_PER_PAGE;
        let committed = tags.committed_range(first, first + TAGS_PER_PAGE);
        let page = seal_page(&self.seal, index, sequence, committed.into_iter());
        let copy = u64::from(self.copies.spare(index));
        self.write(self.page_place(index, copy), &page).map_err(VolumeError::io("write a tag page"))?;
        self.copies.page_written(index);
        Ok(())
    }

    fn page_place(&self, index: u32, copy: u64) -> u64 {
        let pages = self.copies.pages() as u64;
        self.superblock.zones.tags.offset + (copy * pages + u64::from(index)) * BLOCK
    }

    /// Step 3, after the flush: writes the superblock that makes the pages count. Another flush comes next.
    pub fn name_checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), VolumeError> {
        self.copies.name(checkpoint);
        self.mid_checkpoint = false;
        self.superblock.checkpoint = checkpoint.sequence;
        self.superblock.tail = checkpoint.tail;
        self.superblock.tag_digest = digest(&self.digest_key, self.copies.sequences());
        self.put_superblock()
    }

    /// After step 4, the second flush: the slots up to the tail are free.
    pub fn end_checkpoint(&mut self, checkpoint: &Checkpoint) {
        self.copies.superblock_durable();
        self.log.checkpointed(checkpoint.tail);
    }

    /// A whole checkpoint with flushes of its own.
    pub fn checkpoint(&mut self, tags: &TagTable) -> Result<(), VolumeError> {
        self.checkpoint_with(tags, |_| {})
    }

    /// The same, and the superblock that names it carries a change, too.
    fn checkpoint_with(&mut self, tags: &TagTable, change: impl FnOnce(&mut Superblock)) -> Result<(), VolumeError> {
        let checkpoint = self.begin_checkpoint(tags)?;
        self.flush()?;
        change(&mut self.superblock);
        self.name_checkpoint(&checkpoint)?;
        self.flush()?;
        self.end_checkpoint(&checkpoint);
        Ok(())
    }

    /// Commit point of a growth: a checkpoint and a changed superblock in one write, then in the other copy too. A twin of
    /// before would name a stamp that is about to be zeroed.
    pub fn commit_growth(&mut self, tags: &TagTable, change: impl FnOnce(&mut Superblock)) -> Result<(), VolumeError> {
        self.checkpoint_with(tags, change)?;
        self.mend_superblock()
    }

    /// Forgets all records, which must be dead: each slot of the ring reads as never written. Durable after a flush.
    pub fn empty_ring(&mut self) -> Result<(), VolumeError> {
        let ring = self.superblock.zones.ring;
        self.header.zero_range(ring.offset, ring.length).map_err(VolumeError::io("empty the intent ring"))
    }
}
