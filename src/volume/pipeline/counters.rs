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

impl Counters {
    fn with(self, other: Counters, each: impl Fn(u64, u64) -> u64) -> Counters {
        Counters {
            batches: each(self.batches, other.batches),
            extents: each(self.extents, other.extents),
            bytes: each(self.bytes, other.bytes),
            holes: each(self.holes, other.holes),
            flushes: each(self.flushes, other.flushes),
            flushes_shared: each(self.flushes_shared, other.flushes_shared),
            skipped: each(self.skipped, other.skipped),
            forced: each(self.forced, other.forced),
            verified: each(self.verified, other.verified),
            verify_skipped: each(self.verify_skipped, other.verify_skipped),
        }
    }

    /// What was done since the counters stood at `before`.
    pub fn since(self, before: Counters) -> Counters {
        self.with(before, u64::saturating_sub)
    }
}

impl Add for Counters {
    type Output = Counters;

    fn add(self, other: Counters) -> Counters {
        self.with(other, |a, b| a + b)
    }
}
