//! What pipelines have done.

use std::ops::Add;

/// What a pipeline has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Batches whose data is durable.
    pub batches: u64,
    /// Extents rewritten.
    pub extents: u64,
    /// Bytes of ciphertext rewritten.
    pub bytes: u64,
    /// Bytes skipped because they are holes.
    pub holes: u64,
    /// Flushes the pipeline asked for.
    pub flushes: u64,
    /// Of these, flushes a client's own request served.
    pub flushes_shared: u64,
    /// Extents skipped because of rule R0.
    pub skipped: u64,
    /// Extents held by force.
    pub forced: u64,
    /// Extents read back and found equal.
    pub verified: u64,
    /// Extents not read back because a client had written to them.
    pub verify_skipped: u64,
}

impl Add for Counters {
    type Output = Counters;

    fn add(self, other: Counters) -> Counters {
        Counters {
            batches: self.batches + other.batches,
            extents: self.extents + other.extents,
            bytes: self.bytes + other.bytes,
            holes: self.holes + other.holes,
            flushes: self.flushes + other.flushes,
            flushes_shared: self.flushes_shared + other.flushes_shared,
            skipped: self.skipped + other.skipped,
            forced: self.forced + other.forced,
            verified: self.verified + other.verified,
            verify_skipped: self.verify_skipped + other.verify_skipped,
        }
    }
}
