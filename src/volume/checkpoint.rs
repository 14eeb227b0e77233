//! Which copy of superblock and tag pages is written next, and which counts. Pure: the crash models share it.
//!
//! Invariants: a checkpoint writes every changed page over the copy that does not count, and the superblock that names it
//! makes those copies count; sequences are never reused, so a page of a checkpoint that a crash cut off can never count.
//! "Counts" is what the *durable* superblock says: while a newer one is in the cache no page may be written, since the copy it
//! has given up is the one a crash would fall back to.

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

    /// The copies of one page.
    pub fn page(&self, index: u32) -> Option<PageState> {
        self.pages.get(index as usize).copied()
    }

    /// Tag pages.
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Whether a flush must come before the next superblock is written.
    pub fn superblock_waits(&self) -> bool {
        rules::flushes_superblock_first(self.superblock_cached)
    }

    /// Whether a flush must come before tag pages are written.
    pub fn pages_wait(&self) -> bool {
        rules::flushes_superblock_before_pages(self.superblock_cached)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn copies() -> Copies {
        Copies::new(2, vec![PageState { sequence: 0, copy: 0, dirty: true }], 0)
    }

    #[test]
    fn a_checkpoint_writes_the_copy_that_does_not_count() {
        let mut copies = copies();
        let first = copies.begin(0, 0);
        assert_eq!((first.sequence, first.pages.as_slice(), copies.spare(0)), (1, [0].as_slice(), 1));
        copies.page_written(0);
        copies.name(&first);
        assert_eq!((copies.sequences().collect::<Vec<_>>(), copies.spare(0)), (vec![1], 0));
        assert!(copies.begin(1, 0).pages.is_empty(), "nothing has changed since");
    }

    #[test]
    fn a_checkpoint_that_failed_has_spent_its_sequence() {
        let mut copies = copies();
        copies.begin(0, 0);
        assert_eq!(copies.begin(0, 0).sequence, 2);
    }

    /// Found by the exhaustive model: a ring that is full (pinned by an intent whose key is not loaded) asks for a checkpoint
    /// while the superblock of the one that rode along is in the cache. Its pages went over the copies that the durable
    /// superblock names; a power loss that took the cached superblock left a volume that no longer opened.
    #[test]
    fn pages_wait_for_a_superblock_in_the_cache() {
        let mut copies = copies();
        assert!(!copies.pages_wait());
        copies.superblock_written();
        assert!(copies.pages_wait() && copies.superblock_waits());
        copies.superblock_durable();
        assert!(!copies.pages_wait() && !copies.superblock_waits());
    }

    #[test]
    fn a_copy_newer_than_the_checkpoint_is_written_over() {
        let state = |a, b| PageState::found(4, [a, b]);
        assert_eq!(state(Some(3), Some(5)), Some(PageState { sequence: 3, copy: 0, dirty: true }));
        assert_eq!(state(Some(3), Some(4)), Some(PageState { sequence: 4, copy: 1, dirty: false }));
        assert_eq!(state(None, Some(4)), Some(PageState { sequence: 4, copy: 1, dirty: false }));
        assert_eq!(state(None, Some(5)), None);
    }
}
