//! What a member keeps in memory between two events: of its peers, of the save under way, and of what it leads.
//!
//! Invariant: all of it may be lost at any moment; what may not be lost is [`Durable`].

use std::collections::{BTreeMap, BTreeSet};

use super::{By, Command, Ticket, Wanted};
use crate::cluster::durable::Durable;
use crate::cluster::message::{Body, Refusal};
use crate::cluster::name::NodeName;
use crate::cluster::progress::Progress;
use crate::cluster::record::{Hash, Promise, Signed, Step};
use crate::cluster::rules::Quorum;
use crate::cluster::stamp::Stamp;
use crate::format::wrapped::Wrapped;
use crate::units::Generation;

/// What is known of a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    /// Whether it can be reached.
    pub up: bool,
    /// The suites it reads.
    pub suites: Vec<u16>,
    /// What it last said of itself.
    pub progress: Option<Progress>,
    /// What it last refused.
    pub refusal: Option<Refusal>,
    /// When it went down, in passed seconds.
    pub down_since: u64,
}

/// What happens when a save has come back.
#[allow(clippy::large_enum_variant, reason = "a handful at a time, and records are what most of them are about")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Then {
    /// A record was accepted: acknowledge it to its lead.
    Ack(NodeName),
    /// A record is known to be committed: bring the volume to it.
    Converge,
    /// The lead's own proposal: publish it.
    Proposed,
    /// The lead's proposal is committed.
    Committed,
    /// An epoch is promised.
    Promised(NodeName),
    /// An epoch is promised to this node itself.
    Standing,
    /// A generation is closed: report it.
    Closed(NodeName, Body),
    /// The drain is held, or goes on.
    Held(Ticket),
    /// This node is out: tell whoever made it notice.
    Out(NodeName, Stamp, Refusal),
}

/// The save under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Saving {
    pub ticket: Ticket,
    pub draft: Durable,
    pub then: Then,
}

/// Where a proposal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    Saving,
    Guarding(Ticket),
    /// The coordinator refused, at this passed second; it is asked again.
    GuardRefused(u64),
    Sent,
}

/// A record on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Proposal {
    pub signed: Signed,
    pub hash: Hash,
    pub quorum: Quorum,
    /// Whose acknowledgements count towards a majority.
    pub before: BTreeSet<NodeName>,
    pub acks: BTreeSet<NodeName>,
    pub stage: Stage,
    pub ticket: Option<Ticket>,
    pub what: String,
}

/// A generation that the volume is making.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Making {
    pub generation: Generation,
    pub wanted: Wanted,
    pub by: By,
    pub ticket: Ticket,
}

/// A command that waits for reports of zero references.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Task {
    pub command: Command,
    pub generation: Generation,
    pub ticket: Ticket,
    pub since: u64,
}

/// What a member has proven.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Proof {
    pub stamp: Stamp,
    pub key_id: [u8; 16],
    pub check: [u8; 16],
    pub cold: bool,
}

/// What a member has reported.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Report {
    pub stamp: Stamp,
    pub references: Option<String>,
    pub pins: Vec<String>,
}

/// A candidacy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Election {
    pub epoch: u64,
    pub ticket: Ticket,
    pub promises: BTreeMap<NodeName, (Promise, Signed)>,
    pub since: u64,
    pub tries: u8,
}

/// What a lead, or whoever wants to be one, keeps in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Lead {
    /// A member follows this higher epoch.
    pub fenced: Option<u64>,
    /// A coordinator has said that another node leads.
    pub stepped_down: bool,
    pub proposal: Option<Proposal>,
    pub making: Option<Making>,
    pub task: Option<Task>,
    pub election: Option<Election>,
    pub proofs: BTreeMap<NodeName, Proof>,
    pub reports: BTreeMap<(NodeName, Generation), Report>,
    pub wraps: BTreeMap<(NodeName, Generation), Vec<Wrapped>>,
    /// What each member is known to have accepted.
    pub known: BTreeMap<NodeName, Stamp>,
    /// Who was asked for a proof or a report already, at the record there is.
    pub asked: BTreeSet<(NodeName, Generation)>,
    /// The operator wants this change finalized.
    pub finalize: Option<(u64, Ticket)>,
    /// The step that waits, for how long, and whether its deadline was met.
    pub waits: Option<(u64, Step, u64, bool)>,
    pub waits_from: u64,
}

impl Lead {
    pub fn forget_asked(&mut self, name: &NodeName) {
        self.asked.retain(|(asked, _)| asked != name);
    }

    #[cfg(test)]
    pub fn forget_time(&mut self) {
        self.waits = None;
        self.waits_from = 0;
        if let Some(task) = &mut self.task {
            task.since = 0;
        }
        if let Some(election) = &mut self.election {
            election.since = 0;
        }
    }
}
