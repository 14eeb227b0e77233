//! What a fleet's coordinator does for peers: it says who leads a volume, stands guard over each record before members see it, and
//! shows every node what the others do.
//!
//! Invariants: one lead of a volume at a time, in an epoch higher than any before it; a record is published only by that lead and
//! only after the record it names, which one transaction decides; what has been seen here never goes backwards unnoticed, for
//! a coordinator put back from an old copy is content with itself; no key passes but wrapped; client I/O waits for none of this.
//!
//! Calls block, with a deadline; one that ends in [`CoordinatorError::Unreachable`] or [`CoordinatorError::NoQuorum`] may have been
//! carried out all the same: every call may be said again.

use std::fmt;

use super::name::NodeName;
use super::record::RECORD_MAX;
use super::stamp::Stamp;
use crate::units::VolumeId;

pub mod memory;

/// Longest published record, bytes: the record and what signs it.
pub const PUBLISHED_MAX: usize = RECORD_MAX + 128;
/// Longest report of a node's state, bytes.
pub const STATE_MAX: usize = 32 << 10;
/// Longest change request, bytes.
pub const REQUEST_MAX: usize = 16 << 10;
/// Change requests of a volume that wait at a time.
pub const REQUESTS_MAX: usize = 64;
/// Longest name or reason in a freeze, bytes.
pub const WORDS_MAX: usize = 512;
/// Wave tokens there can be.
pub const TOKENS_MAX: usize = 1024;

/// Who leads a volume, and since which epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lead {
    /// The node.
    pub node: NodeName,
    /// The epoch.
    pub epoch: u64,
}

/// What came of trying to lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Campaign {
    /// This node leads, in this epoch.
    Won {
        /// The epoch: higher than asked for, and than any the coordinator has shown.
        epoch: u64,
    },
    /// Another one does; or this node's own predecessor, whose lease has not run out yet.
    Held(Lead),
}

/// Where this node stands, as of the last answer; no question is asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It leads, and its lease is kept alive.
    Leads {
        /// The epoch.
        epoch: u64,
    },
    /// It does not, or not any more.
    Follows {
        /// Who did when it was last looked.
        lead: Option<Lead>,
    },
    /// It led, and cannot know whether it still does: the lease was not renewed in time.
    Doubtful {
        /// The epoch it led in.
        epoch: u64,
    },
}

/// Whether a record may be published while the fleet is frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DuringFreeze {
    /// No: it goes forward.
    Refused,
    /// Yes: it holds, goes back or revokes, or is the first of a new epoch.
    Allowed,
}

/// A record to be published.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// The volume.
    pub volume: VolumeId,
    /// The record that must stand there; none: there must be none.
    pub previous: Option<Stamp>,
    /// The new one's stamp: higher, and in the epoch this node leads in.
    pub stamp: Stamp,
    /// The new one, signed.
    pub record: &'a [u8],
    /// Whether a freeze stops it.
    pub during_freeze: DuringFreeze,
}

/// A record as it was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its stamp, as the publisher said it.
    pub stamp: Stamp,
    /// Its bytes, which nobody has checked yet.
    pub record: Vec<u8>,
}

/// Something an operator wants of a volume's lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which one: chosen by the asker, so that asking twice is asking once.
    pub id: u64,
    /// What.
    pub bytes: Vec<u8>,
}

/// An operator's word that nothing shall go forward anywhere in the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// Who said it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Seconds since 1970.
    pub since: u64,
}

/// The right of a volume to rotate now. It belongs to the volume, so that the next lead has it too; no lease ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The volume.
    pub volume: VolumeId,
    /// Who took it.
    pub node: NodeName,
    /// Seconds since 1970.
    pub since: u64,
}

/// What came of asking for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The volume has it, from now on or already.
    Yes,
    /// All are taken, by these.
    Full(Vec<Token>),
}

/// A coordinator. Its methods block until there is an answer, but for no longer than its patience.
pub trait Coordinator: Send + Sync {
    /// Tries to become the volume's lead, or to stay it. `at_least`: the highest epoch this node has promised or seen.
    fn campaign(&self, volume: VolumeId, at_least: u64) -> Result<Campaign, CoordinatorError>;

    /// Whether this node leads the volume, as of the last answer.
    fn standing(&self, volume: VolumeId) -> Standing;

    /// Asks who leads, without trying to.
    fn lead(&self, volume: VolumeId) -> Result<Option<Lead>, CoordinatorError>;

    /// Stops leading. From the call on [`Coordinator::standing`] says so, whatever becomes of it.
    fn resign(&self, volume: VolumeId) -> Result<(), CoordinatorError>;

    /// Publishes a record, if this node leads in the record's epoch and the previous one stands there. Saying the same once more is
    /// no fault.
    fn publish(&self, publication: &Publication<'_>) -> Result<(), CoordinatorError>;

    /// The record that stands there.
    fn fetch(&self, volume: VolumeId) -> Result<Option<Published>, CoordinatorError>;

    /// Shows this node's state of the volume; it is gone when the node's lease is.
    fn report(&self, volume: VolumeId, state: &[u8]) -> Result<(), CoordinatorError>;

    /// What all nodes show, by name.
    fn states(&self, volume: VolumeId) -> Result<Vec<(NodeName, Vec<u8>)>, CoordinatorError>;

    /// Leaves a request for the lead. An id means one request: other bytes under it are refused.
    fn ask(&self, volume: VolumeId, request: &Request) -> Result<(), CoordinatorError>;

    /// The requests that wait, by id.
    fn asked(&self, volume: VolumeId) -> Result<Vec<Request>, CoordinatorError>;

    /// Takes a request away: the lead alone, when it has answered it. None there is no fault.
    fn answered(&self, volume: VolumeId, id: u64) -> Result<(), CoordinatorError>;

    /// Freezes the fleet. Gives the freeze that stands: an earlier one stays.
    fn freeze(&self, freeze: &Freeze) -> Result<Freeze, CoordinatorError>;

    /// The freeze that stands.
    fn frozen(&self) -> Result<Option<Freeze>, CoordinatorError>;

    /// Ends a freeze. Gives what stood.
    fn unfreeze(&self) -> Result<Option<Freeze>, CoordinatorError>;

    /// Takes a token for the volume, which this node leads, if fewer than `limit` are taken.
    fn take_token(&self, volume: VolumeId, since: u64, limit: usize) -> Result<Taken, CoordinatorError>;

    /// Gives the volume's token back: its lead alone. None there is no fault.
    fn return_token(&self, volume: VolumeId) -> Result<(), CoordinatorError>;

    /// Takes a token away from a volume whoever leads it: an operator's word. Whether there was one.
    fn drop_token(&self, volume: VolumeId) -> Result<bool, CoordinatorError>;

    /// The tokens that are taken.
    fn tokens(&self) -> Result<Vec<Token>, CoordinatorError>;

    /// An operator's word that the coordinator's history is to be taken as it is now, after [`CoordinatorError::Backwards`]. The
    /// volume's epochs and records still only grow: its next lead starts above what this node has seen. What is the coordinator's
    /// own, its identity and its count of writes, is taken for all volumes of this node; what it has lost of another volume takes
    /// that one's word. A node that led the volume has to campaign again. Gives what was accepted; none: it shows no less than
    /// before, and nothing has changed.
    fn accept_history(&self, volume: VolumeId) -> Result<Option<Backwards>, CoordinatorError>;
}

/// How a coordinator showed less than it had shown before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backwards {
    /// It is another one than before.
    Replaced {
        /// Its identity until now.
        was: u64,
        /// Its identity.
        is: u64,
    },
    /// Its own count of writes fell.
    Revision {
        /// What it had shown.
        seen: i64,
        /// What it shows.
        found: i64,
    },
    /// The volume's epoch fell.
    Epoch {
        /// What it had shown.
        seen: u64,
        /// What it shows; 0: none.
        found: u64,
    },
    /// The volume's record fell.
    Record {
        /// What had been there.
        seen: Stamp,
        /// What is; none: it is gone.
        found: Option<Stamp>,
    },
}

impl fmt::Display for Backwards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backwards::Replaced { was, is } => write!(f, "it is cluster {is:x} and was cluster {was:x}"),
            Backwards::Revision { seen, found } => write!(f, "its revision is {found} and was {seen}"),
            Backwards::Epoch { seen, found } => write!(f, "the volume's epoch is {found} and was {seen}"),
            Backwards::Record { seen, found: Some(found) } => {
                write!(f, "the volume's record is {found} and was {seen}")
            }
            Backwards::Record { seen, found: None } => write!(f, "the volume's record is gone and was {seen}"),
        }
    }
}

/// Why the coordinator has not done it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoordinatorError {
    /// This node does not lead the volume in that epoch.
    #[error("this node does not lead the volume{}; campaign again before anything is published", other(.lead))]
    NotLead {
        /// Who does.
        lead: Option<Lead>,
    },
    /// Another record stands there than the one this follows.
    #[error("the record there is {}, not {}: fetch it and go on from there", named(.found), named(.expected))]
    Moved {
        /// What should stand there.
        expected: Option<Stamp>,
        /// What does.
        found: Option<Stamp>,
    },
    /// The record does not go forward.
    #[error("the record {stamp} does not come after {previous}; records only grow")]
    NotAfter {
        /// The new record's stamp.
        stamp: Stamp,
        /// The one before.
        previous: Stamp,
    },
    /// It has lost what it had shown: wiped, or put back from an old copy.
    #[error(
        "the coordinator has gone backwards: {0}. It was wiped, put back from an old snapshot, or is another one: look at the \
         nodes' records (`keymoult peer status`), then say `keymoult peer accept-history VOLUME` on every node"
    )]
    Backwards(Backwards),
    /// The fleet is frozen.
    #[error("the fleet is frozen by {}: {}; unfreeze it first", .0.by, .0.reason)]
    Frozen(Freeze),
    /// The request's number already means another one.
    #[error("request {id} is already another one; choose another number")]
    Taken {
        /// The number.
        id: u64,
    },
    /// No endpoint answers.
    #[error("no endpoint of the coordinator answers: {0}; look at its processes and at the network")]
    Unreachable(String),
    /// An endpoint answers, and cannot decide anything.
    #[error("the coordinator has no quorum: {0}; bring more of its members back")]
    NoQuorum(String),
    /// It knows this node and does not let it.
    #[error("the coordinator denies it: {0}; grant this node's role its prefix")]
    Denied(String),
    /// It and this node do not accept each other's certificates.
    #[error("no trust between this node and the coordinator: {0}; look at certificate, key, authority and their dates")]
    Certificate(String),
    /// Something there is not what keymoult writes.
    #[error("the coordinator holds something at {key} that keymoult did not write: {why}; look who else writes there")]
    Malformed {
        /// Where.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// Too long for it.
    #[error("{what} has {found}, at most {max} are kept")]
    TooMuch {
        /// What.
        what: &'static str,
        /// How much.
        found: usize,
        /// How much may be.
        max: usize,
    },
    /// Something else, on this node or there.
    #[error("the coordinator: {0}")]
    Other(String),
}

fn other(lead: &Option<Lead>) -> String {
    lead.as_ref().map(|lead| format!(" ({} does, in epoch {})", lead.node, lead.epoch)).unwrap_or_default()
}

fn named(stamp: &Option<Stamp>) -> String {
    stamp.map_or_else(|| "none".to_owned(), |stamp| stamp.to_string())
}

impl CoordinatorError {
    /// Whether it may pass by itself, so that trying again is worth it.
    pub fn is_passing(&self) -> bool {
        matches!(self, CoordinatorError::Unreachable(_) | CoordinatorError::NoQuorum(_))
    }
}

/// Refuses what is longer than it may be.
pub(super) fn within(what: &'static str, found: usize, max: usize) -> Result<(), CoordinatorError> {
    if found > max { Err(CoordinatorError::TooMuch { what, found, max }) } else { Ok(()) }
}

/// Refuses a publication that does not go forward. Asked once it is known that the record does not stand there already.
pub(super) fn forward(stamp: Stamp, previous: Option<Stamp>) -> Result<(), CoordinatorError> {
    match previous {
        Some(previous) if stamp <= previous => Err(CoordinatorError::NotAfter { stamp, previous }),
        _ => Ok(()),
    }
}

/// What it means that `found` stands where `expected` should; none: it is as it should be.
pub(super) fn misplaced(expected: Option<Stamp>, found: Option<Stamp>) -> Option<CoordinatorError> {
    match (expected, found) {
        (expected, found) if expected == found => None,
        (Some(seen), None) => Some(CoordinatorError::Backwards(Backwards::Record { seen, found: None })),
        (Some(seen), Some(found)) if found < seen => {
            Some(CoordinatorError::Backwards(Backwards::Record { seen, found: Some(found) }))
        }
        (expected, found) => Some(CoordinatorError::Moved { expected, found }),
    }
}

/// Refuses a freeze that says too much.
pub(super) fn spoken(freeze: &Freeze) -> Result<(), CoordinatorError> {
    within("the name of who freezes", freeze.by.len(), WORDS_MAX)?;
    within("the reason", freeze.reason.len(), WORDS_MAX)
}
