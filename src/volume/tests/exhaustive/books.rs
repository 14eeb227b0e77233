//! The server's bookkeeping of metadata, and how it reaches the model's device: what the product's `Meta` does.
//!
//! Invariant: whatever decides anything is the product's own: [`IntentLog`] when a record may be written and where the tail
//! goes, [`Copies`] which copy is written, [`TagTable`] what a page says, [`slot_of`] and [`copy_of`] where things stand. The
//! order of writes and flushes is that of `Meta`, function by function.

use super::content::{Content, Superblock};
use super::device::{Backing, Device};
use super::state::World;
use crate::format::intents::{Record, slot_of};
use crate::format::layout::copy_of;
use crate::units::{Extent, Generation};
use crate::volume::checkpoint::{Checkpoint, Copies};
use crate::volume::log::IntentLog;
use crate::volume::tags::TagTable;

/// Both tags of every extent, as the product's table has them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tags {
    pub current: Vec<Generation>,
    committed: Vec<Generation>,
}

impl Tags {
    pub fn new(tags: Vec<Generation>) -> Tags {
        Tags { current: tags.clone(), committed: tags }
    }

    /// The product's table with these tags.
    pub fn table(&self) -> TagTable {
        let table = TagTable::new(self.committed.clone().into_iter());
        for (extent, tag) in (0u32..).zip(&self.current) {
            if table.current(Extent(extent)) != *tag {
                table.set_current(Extent(extent), *tag);
            }
        }
        table
    }

    /// Lets the product's table take a step.
    pub fn step(&mut self, step: impl FnOnce(&TagTable)) {
        let table = self.table();
        step(&table);
        let each = || (0..table.len()).map(Extent);
        self.current = each().map(|extent| table.current(extent)).collect();
        self.committed = each().map(|extent| table.committed(extent)).collect();
    }
}

/// Device, ring, copies, superblock and tags.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Books {
    pub device: Device,
    pub log: IntentLog,
    pub copies: Copies,
    /// As last written.
    pub superblock: Superblock,
    pub tags: Tags,
}

impl Books {
    /// The header's flush: with an attached header the data's too.
    pub fn flush_header(&mut self, world: &World, flying: impl Fn(usize) -> bool) {
        self.device.flush(&world.layout, Backing::Header, flying);
    }

    /// `Meta::put_superblock`.
    pub fn put_superblock(&mut self, world: &mut World, flying: impl Fn(usize) -> bool) {
        if self.copies.superblock_waits() {
            self.flush_header(world, flying);
        }
        self.superblock.sequence = self.copies.next_superblock();
        let place = world.layout.superblock(copy_of(self.superblock.sequence));
        let id = world.library.number(Content::Superblock(self.superblock.clone()));
        self.device.write(place, id);
        self.copies.superblock_written();
    }

    /// `Meta::write_record`.
    pub fn write_record(&mut self, world: &mut World, record: &Record) {
        let slot = slot_of(record.sequence, world.layout.slots as u32) as usize;
        let id = world.library.number(Content::Record(record.clone()));
        self.device.write(world.layout.slot(slot), id);
    }

    /// `Meta::begin_checkpoint`.
    pub fn begin_checkpoint(&mut self, world: &mut World, flying: impl Fn(usize) -> bool) -> Checkpoint {
        if self.copies.pages_wait() {
            self.flush_header(world, flying);
            self.copies.superblock_durable();
        }
        let begun = self.copies.begin(self.superblock.checkpoint, self.log.tail_after_checkpoint());
        let table = self.tags.table();
        for page in &begun.pages {
            let extents = world.setting.extents_of(*page as usize);
            let tags = table.committed_range(extents.start, extents.end);
            let id = world.library.number(Content::Page { sequence: begun.sequence, tags });
            let copy = self.copies.spare(*page) as usize;
            self.device.write(world.layout.page(*page as usize, copy), id);
            self.copies.page_written(*page);
        }
        begun
    }

    /// `Meta::name_checkpoint`.
    pub fn name_checkpoint(&mut self, world: &mut World, checkpoint: &Checkpoint, flying: impl Fn(usize) -> bool) {
        self.copies.name(checkpoint);
        self.superblock.checkpoint = checkpoint.sequence;
        self.superblock.tail = checkpoint.tail;
        self.superblock.pages = self.copies.sequences().collect();
        self.put_superblock(world, flying);
    }

    /// `Meta::end_checkpoint`.
    pub fn end_checkpoint(&mut self, checkpoint: &Checkpoint) {
        self.copies.superblock_durable();
        self.log.checkpointed(checkpoint.tail);
    }

    /// A commit of `extent` is durable, or an open has found it: its page goes into the next checkpoint.
    pub fn touch(&mut self, world: &World, extent: Extent) {
        self.copies.touch(world.setting.page_of(extent.0 as usize) as u32);
    }
}
