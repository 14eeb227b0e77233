//! What a node keeps of a volume's peers across a crash: nothing is acknowledged that does not stand here first.

use std::collections::BTreeSet;

use super::record::Signed;
use super::stamp::Stamp;
use crate::units::Generation;

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Durable {
    /// The highest epoch promised, or seen in an accepted record.
    pub promised: u64,
    /// The latest record accepted; it may not be committed.
    pub accepted: Signed,
    /// The latest record known to be committed: what the volume is brought to.
    pub committed: Signed,
    /// Generations of which this node has reported zero references, and which it refuses since.
    pub closed: BTreeSet<Generation>,
    /// The highest generation number ever seen.
    pub highest: Generation,
    /// The drain is held on this node alone.
    pub held: bool,
    /// Why this node takes no part any more: expelled, or a fork.
    pub out: Option<String>,
}

impl Durable {
    /// The place of the latest record accepted.
    pub fn accepted_stamp(&self) -> Stamp {
        self.accepted.record.stamp
    }

    /// The place of the latest record known to be committed.
    pub fn committed_stamp(&self) -> Stamp {
        self.committed.record.stamp
    }
}
