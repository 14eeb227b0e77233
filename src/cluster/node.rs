//! One member of a volume's peers, as a pure state machine: events in, actions out; no I/O, no clock, no randomness.
//!
//! The driver gives events one at a time and carries out every action in the order given. Invariants: nothing is acknowledged
//! that is not durable (what an action to send says is saved by an earlier [`Action::Save`] that has come back); a record
//! reaches other members only once it is durable here and, where a coordinator stands guard, published there; the volume is
//! only ever brought to committed records.

mod command;
mod drive;
mod elect;
mod lead;
mod machine;
mod member;
mod memory;
mod watch;

pub use machine::Node;

use super::durable::Durable;
use super::message::{Message, Refusal};
use super::name::NodeName;
use super::progress::Progress;
use super::record::{Keyring, Member, OnDeadline, Signed};
use super::stamp::Stamp;
use crate::format::generations::{Pace, VerifyMode};
use crate::format::wrapped::Wrapped;
use crate::units::Generation;

/// Signs and checks; Ed25519 in the product, something cheap in models. Pure: the same answer every time.
pub trait Notary {
    /// Signs as this node.
    fn sign(&self, bytes: &[u8]) -> [u8; 64];
    /// Whether `signature` is by the holder of `key`.
    fn is_by(&self, key: &[u8; 32], bytes: &[u8], signature: &[u8; 64]) -> bool;
}

/// Names a [`Action::Save`], a command or a guard until it comes back.
pub type Ticket = u64;

/// A rotation as asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Suite of the new generation.
    pub suite: u16,
    /// Whether an operator finalizes it.
    pub hold_finalize: bool,
    /// Whether one replica at a time drains.
    pub one_at_a_time: bool,
    /// Whether the proof is cold.
    pub cold_proof: bool,
    /// Pace of each replica.
    pub pace: Pace,
    /// How much is read back.
    pub verify: VerifyMode,
    /// Seconds a step may wait for acknowledgements; 0: for ever.
    pub deadline_s: u64,
    /// What happens then.
    pub on_deadline: OnDeadline,
}

/// What an operator wants; but for [`Command::Hold`], [`Command::Release`] and [`Command::Promote`] the lead's alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// A new generation for all.
    Rotate(Wanted),
    /// Give up a generation that is not active yet.
    Abandon,
    /// Hold the drain everywhere, or let it go on.
    Pause(bool),
    /// Another pace.
    Pace(Pace),
    /// The old generation again: by majority.
    RollBack,
    /// End the way back.
    Finalize,
    /// Take a key that nothing needs out of use.
    Retire(Generation),
    /// Bring it back.
    Restore(Generation),
    /// Give its destruction a date (seconds since 1970).
    Schedule(Generation, u64),
    /// Withdraw the date.
    Cancel(Generation),
    /// Erase it on every member; `despite_pins` if an operator insists.
    Destroy {
        /// The generation.
        generation: Generation,
        /// Before its date, by break-glass.
        early: bool,
        /// Although something outside holds it, by break-glass.
        despite_pins: bool,
    },
    /// Mark it as known to others, or take the mark away.
    Compromise(Generation, bool),
    /// Withdraw it, whatever it encrypts: by majority.
    Revoke(Generation),
    /// Give it back.
    Reinstate(Generation),
    /// Go on without a member: by majority.
    Expel(NodeName),
    /// Take a member in (it has been founded from a bundle of this volume).
    Admit(Member),
    /// Become the lead: by majority. At least this epoch (a coordinator's word), or the next one.
    Promote(u64),
    /// Stop leading: a coordinator has said so.
    StepDown,
    /// Hold the drain on this node alone.
    Hold,
    /// Let it go on.
    Release,
}

/// Who wants it, and why.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct By {
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// What the driver tells.
#[allow(clippy::large_enum_variant, reason = "a handful at a time, and records are what most of them are about")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// A peer can be reached, and can read these suites.
    Up(NodeName, Vec<u16>),
    /// A peer cannot be reached any more.
    Down(NodeName),
    /// A peer said something.
    Heard(NodeName, Message),
    /// An [`Action::Save`] is durable.
    Saved(Ticket),
    /// An [`Action::Save`] failed: nothing of it may be believed.
    NotSaved(Ticket, String),
    /// The coordinator has published, or refused, a record.
    Guarded(Ticket, Result<(), String>),
    /// The volume has done what an [`Action::Local`] asked, or not.
    Done(Local, Result<Outcome, String>),
    /// How far this replica is.
    Told(Progress),
    /// An operator wants something.
    Command(Ticket, Command, By),
}

/// What the volume of this node is to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Local {
    /// Lead: make a DEK under this number, keep it to hand over, wrap it, and hold it as *prepared*.
    Make {
        /// The number.
        generation: Generation,
        /// Its suite.
        suite: u16,
    },
    /// Open the handed-over DEK, wrap it by this node's keepers, and hold it as *prepared*. The record is not saved yet.
    Prepare {
        /// The record that names it.
        record: Box<Keyring>,
        /// The sealed DEK.
        handover: Vec<u8>,
    },
    /// Prove it again from the device.
    Prove {
        /// The generation.
        generation: Generation,
        /// From a fresh process.
        cold: bool,
    },
    /// Find what refers to it, and what else holds it.
    Report {
        /// The generation.
        generation: Generation,
    },
    /// Bring the volume to this committed record. Idempotent; given again after a failure and after a restart. The turn says
    /// whose drain may run.
    Converge {
        /// The record.
        record: Box<Keyring>,
        /// Whether this replica's drain may run now.
        may_drain: bool,
    },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is *prepared*, and its canary proven.
    Prepared {
        /// The generation.
        generation: Generation,
        /// Its identity.
        key_id: [u8; 16],
        /// Its check value.
        check: [u8; 16],
        /// Its wraps here.
        wraps: Vec<Wrapped>,
    },
    /// It is proven.
    Proven {
        /// The generation.
        generation: Generation,
        /// Its identity.
        key_id: [u8; 16],
        /// Its check value.
        check: [u8; 16],
    },
    /// What refers to it.
    Reported {
        /// What refers to it, if anything does.
        references: Option<String>,
        /// What else holds it.
        pins: Vec<String>,
    },
    /// The volume is as the record says.
    Converged(Stamp),
}

/// What the driver is to do.
#[allow(clippy::large_enum_variant, reason = "a handful at a time, and records are what most of them are about")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Make this durable, then say [`Event::Saved`].
    Save(Ticket, Box<Durable>),
    /// Say it to a peer; lost if it cannot be reached. With a generation: the driver seals its DEK to the peer first and puts
    /// it into the message's `handover`.
    Send(NodeName, Message, Option<Generation>),
    /// Have the coordinator publish the record, then say [`Event::Guarded`].
    Guard(Ticket, Stamp, Box<Signed>),
    /// Have the volume do something, then say [`Event::Done`].
    Local(Local),
    /// Tell the operator.
    Answer(Ticket, Result<String, Refused>),
    /// Write it into the audit log before anything that follows: a record is about to become durable here.
    Note(String),
    /// Raise an alarm, by a key under which it is cleared again.
    Alarm(String, String),
    /// Clear an alarm.
    Clear(String),
}

/// Why a command is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// Another node leads.
    #[error("{lead} leads this volume (epoch {epoch}): say it there, or `peer promote` this node")]
    NotLead {
        /// Who does.
        lead: NodeName,
        /// The epoch.
        epoch: u64,
    },
    /// Something else is under way.
    #[error("{0}")]
    Busy(String),
    /// The record does not allow it.
    #[error("{0}")]
    State(String),
    /// Members say no, or cannot be reached, and it needs them.
    #[error("{0}")]
    Members(String),
}

/// Where the machine stands, for `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// What is durable.
    pub durable: Durable,
    /// Whether this node leads.
    pub leads: bool,
    /// What is waited for, and since when (seconds since 1970).
    pub waiting: Vec<Waiting>,
    /// What every member last said, this node included.
    pub members: Vec<(NodeName, Option<Progress>)>,
    /// What a member last refused, by name.
    pub refusals: Vec<(NodeName, Refusal)>,
}

/// Something that is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// For whom.
    pub member: NodeName,
    /// For what.
    pub what: String,
    /// Since when.
    pub since: u64,
}
