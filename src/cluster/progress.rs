//! What a replica says of itself: how far it has come. Each node is the only writer of its own; nothing is decided by it but
//! what the member would refuse itself.

use super::stamp::Stamp;
use crate::format::generations::Phase;
use crate::units::Generation;

/// Where a replica stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Progress {
    /// Counts what the replica has told since it started; the latest counts.
    pub sequence: u64,
    /// Seconds since 1970, by its own clock.
    pub at: u64,
    /// The record its volume has been brought to.
    pub converged: Stamp,
    /// What keeps it from being brought further.
    pub hindrance: Option<String>,
    /// The generation its volume writes under.
    pub target: Generation,
    /// Its rotation's phase.
    pub phase: Phase,
    /// Held by an operator on this node alone.
    pub held: bool,
    /// Extents by generation, rising.
    pub census: Vec<(Generation, u64)>,
    /// Extents read back since the rotation began.
    pub verified: u64,
    /// Bytes per second, as of late.
    pub rate: u64,
    /// Seconds to go; none if not known.
    pub eta_s: Option<u64>,
    /// When the volume was last verified whole, seconds since 1970; 0: never.
    pub last_verified: u64,
}
