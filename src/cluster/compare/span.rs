//! Ranges of extents or bytes, step by step, and how they are looked at more closely.
//!
//! Invariant: a step is at least an extent, or a block, and what is finer is aligned as what it came from.

use super::BLOCK;
use super::wire::Digest;

/// How many times finer the next look is.
const FINER: u64 = 16;

/// A range, to be compared `step` by `step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) subject: Subject,
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) step: u64,
}

/// What a range is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// Extents, and which generation encrypts them.
    Map,
    /// Bytes, and what clients would read.
    Plain,
}

impl Span {
    /// Its steps, each one range.
    pub(super) fn ranges(self) -> impl Iterator<Item = Span> {
        let count = (self.end - self.first).div_ceil(self.step);
        (0..count).map(move |index| {
            let first = self.first + index * self.step;
            Span { first, end: (first + self.step).min(self.end), ..self }
        })
    }

    /// How many those are.
    pub(super) fn count(&self) -> usize {
        (self.end - self.first).div_ceil(self.step) as usize
    }

    /// Whether these digests are an answer to it.
    pub(super) fn is_answered_by(&self, cells: &[Option<Digest>]) -> bool {
        cells.len() == self.count() && (self.subject == Subject::Plain || cells.iter().all(Option::is_some))
    }

    /// The same, looked at more closely; none if that is not possible.
    pub(super) fn finer(self) -> Option<Span> {
        let least = match self.subject {
            Subject::Map => 1,
            Subject::Plain => BLOCK,
        };
        (self.step > least).then(|| Span { step: (self.step / FINER).max(least), ..self })
    }
}
