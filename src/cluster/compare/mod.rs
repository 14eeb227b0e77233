//! Comparing the replicas of a volume without sending what they hold: a state machine that asks and judges, and the function that
//! answers.
//!
//! The comparer asks every replica, its own node's among them, first for its shape, then for digests of which generation encrypts
//! which extents, then, if wanted, for keyed digests of what clients would read. Where digests differ it looks closer, down to an
//! extent or a block of 4096 bytes, and there again and again: a client writes to its replicas one after the other, so what
//! differs once says nothing. Invariants: no I/O, no clock, no randomness here; one question is open at a time, and everything
//! that is kept is bounded; a replica that lies, is silent or talks nonsense is left out by name and spoils nothing for the
//! others; nobody is called different who was not seen to be, several times in a row without a change.

mod comparer;
mod doubt;
mod report;
mod span;
mod wire;

pub use comparer::{Comparer, Say, Settings};
pub use report::{Cursor, Finding, FindingKind, LeftOut, Outcome, Report};
pub use wire::{Ask, CheckId, CheckKey, Digest, Question, Reply, Shape, answer, is_question};

/// Bytes of data that one answer speaks of at most.
pub const WINDOW_MAX: u64 = 16 << 20;
/// Digests in an answer at most.
pub const CELLS_MAX: usize = 4096;
/// The finest range of data that is compared.
pub const BLOCK: u64 = crate::units::BLOCK;
/// Extents of a volume at most; what a replica says beyond that is not believed.
pub const EXTENTS_MAX: u64 = crate::limits::EXTENTS_MAX;

/// What a replica is asked for, as its volume gives it.
pub trait Digests {
    /// The disk's size and its extents'.
    fn shape(&self) -> Shape;

    /// The generation the volume writes under, and whether extents are being moved to it.
    fn target(&self) -> (crate::units::Generation, bool);

    /// Digests of which generation encrypts which of the extents `first..first + count`, `per_range` extents each.
    ///
    /// # Errors
    /// Why there are none, in words.
    fn map(&self, first: u64, count: u64, per_range: u64) -> Result<Vec<[u8; 32]>, String>;

    /// Keyed digests of what clients would read, `step` bytes each, of `len` bytes from `offset` on; none where it cannot be
    /// read.
    ///
    /// # Errors
    /// Why there are none, in words.
    fn plain(&self, key: &[u8; 32], offset: u64, len: u64, step: u64) -> Result<Vec<Option<Digest>>, String>;
}

#[cfg(test)]
mod tests;
