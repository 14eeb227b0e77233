//! What of a file in memory can be copied without asking the kernel.
//!
//! Reading tmpfs costs a system call and a search for every page, twice what the copy itself costs. So the file is mapped,
//! and what is known to be there is copied from the mapping ([`Mapping`]).
//!
//! Invariants: a page is *known* once the kernel said that it is in memory, and until a hole is made in it; only known
//! pages are touched, because touching a hole of a mapped file would allocate it. (Who reads while a hole is made
//! may do so once.) Writes never go this way: a process that is killed in the middle of a copy leaves a sector half
//! written, one killed in write(2) does not.

use std::fs::File;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use zerocopy::FromZeros;

use super::mapping::{LOOK, Mapping};
use super::pages::PAGE;

/// Bytes a window is long at least: addresses cost nothing, and a file that grows stays inside.
const LEAST: u64 = 256 << 30;

/// A file in memory, mapped.
pub(super) struct Window {
    mapping: Mapping,
    /// A bit for each page.
    known: Box<[AtomicU64]>,
}

impl Window {
    /// A window on a file of `len` bytes, which this process may write to; none where it cannot be had.
    pub(super) fn open(file: &File, len: u64) -> Option<Window> {
        let words = len.max(LEAST).div_ceil(PAGE as u64 * LOOK);
        let mapping = Mapping::new(file, usize::try_from(words * PAGE as u64 * LOOK).ok()?).ok()?;
        // Zeros the system hands out when they are written: a bit costs memory once a page near it is known.
        let known = <[AtomicU64]>::new_box_zeroed_with_elems(words as usize).ok()?;
        Some(Window { mapping, known })
    }

    /// Fills `data` from `offset` if all of it is known to be there; else false, and it is to be read.
    pub(super) fn copy(&self, offset: u64, data: &mut [u8]) -> bool {
        let pages = pages(offset, data.len() as u64);
        pages.end <= self.known.len() as u64 * LOOK
            && Self::words(pages).all(|(index, mask)| self.knows(index, mask))
            && self.mapping.copy(offset, data)
    }

    /// Whether the pages `mask` of word `index` are there, by memory or by asking. Where they are, so are those around them
    /// as a rule: all of the word are asked for.
    fn knows(&self, index: usize, mask: u64) -> bool {
        let word = &self.known[index];
        if word.load(Ordering::Relaxed) & mask == mask {
            return true;
        }
        let first = index as u64 * LOOK;
        let asked = first + u64::from(mask.trailing_zeros())..first + LOOK - u64::from(mask.leading_zeros());
        if self.mapping.present(asked.clone()) << (asked.start - first) & mask != mask {
            return false;
        }
        let found = self.mapping.present(first..first + LOOK) | mask;
        if found == u64::MAX {
            self.mapping.enter(first..first + LOOK);
        }
        word.fetch_or(found, Ordering::Relaxed);
        true
    }

    /// A hole is made in this range.
    pub(super) fn forget(&self, offset: u64, len: u64) {
        let pages = pages(offset, len);
        for (index, mask) in Self::words(pages.start..pages.end.min(self.known.len() as u64 * LOOK)) {
            // Most words know nothing, and what was never written costs no memory until it is.
            if self.known[index].load(Ordering::Relaxed) & mask != 0 {
                self.known[index].fetch_and(!mask, Ordering::Relaxed);
            }
        }
    }

    /// The words that have bits for these pages, which lie in the window, each with the bits.
    fn words(pages: Range<u64>) -> impl Iterator<Item = (usize, u64)> {
        (pages.start / LOOK..pages.end.div_ceil(LOOK)).map(move |index| {
            let from = pages.start.saturating_sub(index * LOOK);
            let end = (pages.end - index * LOOK).min(LOOK);
            (index as usize, u64::MAX >> (LOOK - end) & u64::MAX << from)
        })
    }
}

/// The pages a range of bytes touches.
fn pages(offset: u64, len: u64) -> Range<u64> {
    offset / PAGE as u64..offset.saturating_add(len).div_ceil(PAGE as u64)
}

#[cfg(test)]
#[path = "tests/window.rs"]
mod tests;
