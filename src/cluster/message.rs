//! What the members of a volume say to each other. One message is one frame of the control link; the link names the sender.
//!
//! Invariants: a message says which volume it is about; sizes are bounded before anything is allocated; what cannot be decoded is
//! refused with the field's name, and the link goes on.

use super::name::NodeName;
use super::progress::Progress;
use super::record::{Hash, Promise, Signed};
use super::stamp::Stamp;
use crate::format::wrapped::Wrapped;
use crate::units::{Generation, VolumeId};

/// Why a member does not do what a lead asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// It has promised a higher epoch.
    #[error("it follows epoch {promised}")]
    Epoch {
        /// The epoch it has promised.
        promised: u64,
    },
    /// It has a later record.
    #[error("it has record {have} already")]
    Older {
        /// Its record.
        have: Stamp,
    },
    /// It has another record of that stamp, or one that the lead's history does not know.
    #[error("its record {have} is not in the lead's history: the replica is quarantined")]
    Fork {
        /// Its record.
        have: Stamp,
    },
    /// The lead is not entitled: not a member, no mandate, wrong signature.
    #[error("the lead is not entitled: {0}")]
    NotEntitled(String),
    /// The record breaks a rule.
    #[error("the record is not acceptable: {0}")]
    Rule(String),
    /// It cannot read a suite that is asked for.
    #[error("upgrade needed: {0}")]
    Upgrade(String),
    /// Its volume, its keeper of KEKs or its disk failed.
    #[error("it could not: {0}")]
    Failed(String),
    /// It was expelled, or has quarantined itself.
    #[error("it is out of the volume: {0}")]
    Out(String),
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// Lead: take this record. A new generation's DEK comes with it, HPKE-sealed to the receiver.
    Put {
        /// The record.
        record: Signed,
        /// The sealed DEK of the generation being prepared, for full members.
        handover: Option<Vec<u8>>,
    },
    /// Member: it is durable here (and, of a generation being prepared, the key: these are its wraps).
    Ack {
        /// Which record.
        stamp: Stamp,
        /// Its hash.
        hash: Hash,
        /// The new generation's wraps by this node's keepers.
        wraps: Vec<Wrapped>,
    },
    /// Member: no.
    Refused {
        /// Which record or request.
        stamp: Stamp,
        /// Why.
        why: Refusal,
    },
    /// Lead, now and then: this is committed; converge to it. Whoever is behind answers [`Body::Behind`].
    Beat {
        /// The latest committed record.
        committed: Stamp,
        /// Its hash.
        hash: Hash,
        /// Whose turn it is to drain; none: everybody's.
        turn: Option<NodeName>,
    },
    /// Member: it has only this; send the rest.
    Behind {
        /// Its latest record.
        have: Stamp,
    },
    /// Lead: prove that you can read and write under this generation.
    Prove {
        /// The committed record the proof is for.
        stamp: Stamp,
        /// The generation.
        generation: Generation,
        /// Its identity.
        key_id: [u8; 16],
        /// From a fresh process, with a new login to the keeper.
        cold: bool,
    },
    /// Member: proven.
    Proven {
        /// The record the proof is for.
        stamp: Stamp,
        /// The generation.
        generation: Generation,
        /// Its identity.
        key_id: [u8; 16],
        /// Check value of the DEK that proved it.
        check: [u8; 16],
        /// Whether it was cold.
        cold: bool,
    },
    /// Lead: promise to refuse this generation from now on, if nothing refers to it.
    Report {
        /// The committed record the report is for.
        stamp: Stamp,
        /// The generation.
        generation: Generation,
    },
    /// Member: what refers to it. With no reference it is a durable promise.
    Reported {
        /// The record the report is for.
        stamp: Stamp,
        /// The generation.
        generation: Generation,
        /// What refers to it, if anything does.
        references: Option<String>,
        /// What holds its key or ciphertext outside the volume: backups, snapshots, escrow.
        pins: Vec<String>,
    },
    /// Candidate: promise to follow me in this epoch.
    Elect {
        /// The epoch.
        epoch: u64,
    },
    /// Member: promised; this is the latest record here.
    Promised {
        /// The promise.
        promise: Promise,
        /// The record.
        record: Signed,
    },
    /// Anybody to everybody: how far I am.
    Progress(Progress),
    /// A question or an answer of the integrity check, which the driver understands.
    Check(Vec<u8>),
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The volume it is about.
    pub volume: VolumeId,
    /// What is said.
    pub body: Body,
}
