//! Where a record stands in the history of its volume.
//!
//! Invariant: on a node stamps only grow, whatever a lead says; two records of one stamp are the same record, or somebody forked.

use std::fmt;

/// The place of a record: first by epoch (who leads), then by revision (what that lead has written).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Counts leads; 0: before any.
    pub epoch: u64,
    /// Counts records of the volume, over all epochs.
    pub revision: u64,
}

impl Stamp {
    /// A stamp.
    pub const fn new(epoch: u64, revision: u64) -> Stamp {
        Stamp { epoch, revision }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.revision)
    }
}
