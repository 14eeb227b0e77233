//! Which copy of superblock and tag pages is written next, and which counts. Pure: the crash models share it.
//!
//! Invariants: a checkpoint writes every changed page over the copy that does not count, and the superblock that names it
//! makes those copies count; sequences are never reused, so a page of a checkpoint that a crash cut off can never count.

use super::rules;
use crate::format::tags::counting_copy;

/// One tag page's copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageState {
    /// Sequence of the copy that counts.
    pub sequence: u64,
    /// Which copy counts: 0 or 1.
    pub copy: u8,
    /// Whether it must be written by the next checkpoint.
    pub dirty: bool,
}

impl PageState {
    /// What an open finds at `checkpoint`, from the sequences of the copies that can be read. A copy newer than the
    /// checkpoint was cut off by a crash: the next checkpoint writes over it.
    pub fn found(checkpoint: u64, sequences: [Option<u64>; 2]) -> Option<PageState> {
        let copy = counting_copy(checkpoint, sequences)?;
        let newer = sequences.iter().flatten().any(|sequence| *sequence > checkpoint);
        Some(PageState { sequence: sequences[copy]?, copy: copy as u8, dirty: newer })
    }
}

/// A checkpoint between its steps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// Its sequence, newer than any page ever seen.
    pub sequence: u64,
    /// The newest record that is dead once it counts.
    pub tail: u64,
    /// The pages it writes.
    pub pages: Vec<u32>,
}

/// The doubled structures of an open volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Copies {
    superblock: u64,
    /// The newest superblock is not known to be durable: the other copy is the one a crash falls back to.
    superblock_cached: bool,
    pages: Vec<PageState>,
    page_sequence: u64,
}

impl Copies {
    /// From what was found: the superblock's sequence, every page, and the newest sequence on any copy of any page.
    pub fn new(superblock: u64, pages: Vec<PageState>, page_sequence: u64) -> Copies {
        Copies { superblock, superblock_cached: false, pages, page_sequence }
    }

    /// Tag pages.
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Whether a flush must come before the next superblock is written.
    pub fn superblock_waits(&self) -> bool {
        rules::flushes_superblock_first(self.superblock_cached)
    }

    /// Sequence of the next superblock; its parity names the copy it goes to.
    pub fn next_superblock(&self) -> u64 {
        self.superblock + 1
    }

    /// The next superblock is written, not yet durable.
    pub fn superblock_written(&mut self) {
        self.superblock += 1;
        self.superblock_cached = true;
    }

    /// A flush has completed that started after the newest superblock was written.
    pub fn superblock_durable(&mut self) {
        self.superblock_cached = false;
    }

    /// A page must go into the next checkpoint.
    pub fn touch(&mut self, page: u32) {
        if let Some(page) = self.pages.get_mut(page as usize) {
            page.dirty = true;
        }
    }

    /// Begins a checkpoint newer than the one the superblock names. Its sequence is spent even if it fails: its pages may
    /// be on the device.
    pub fn begin(&mut self, named: u64, tail: u64) -> Checkpoint {
        let sequence = self.page_sequence.max(named) + 1;
        self.page_sequence = sequence;
        let dirty = (0u32..).zip(&self.pages).filter(|(_, page)| page.dirty).map(|(index, _)| index);
        Checkpoint { sequence, tail, pages: dirty.collect() }
    }

    /// The copy of `page` that does not count: where a checkpoint writes it.
    pub fn spare(&self, page: u32) -> u8 {
        1 - self.pages[page as usize].copy
    }

    /// The checkpoint's `page` is written to the spare copy.
    pub fn page_written(&mut self, page: u32) {
        self.pages[page as usize].dirty = false;
    }

    /// The pages of `checkpoint` are durable and the superblock is about to name it: what it wrote counts from here.
    pub fn name(&mut self, checkpoint: &Checkpoint) {
        for index in &checkpoint.pages {
            let page = &mut self.pages[*index as usize];
            page.copy = 1 - page.copy;
            page.sequence = checkpoint.sequence;
        }
    }

    /// Sequences of the copies that count, in order: what the superblock's digest is over.
    pub fn sequences(&self) -> impl Iterator<Item = u64> + '_ {
        self.pages.iter().map(|page| page.sequence)
    }
}
