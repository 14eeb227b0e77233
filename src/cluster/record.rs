//! The keyring record: which key generations a replicated volume has, who holds replicas of it, and which change is under way.
//!
//! One record whole is mirrored to every member, signed by the lead. Invariants: no key stands in it but wrapped ones; stamps
//! grow; a generation number never means two keys (its key id tells them apart); at most one generation is *active*; a
//! record names its predecessors by hash, so that a fork shows. Bytes are canonical: one record has one encoding, and its hash is
//! SHA-256 of that.

use super::name::NodeName;
use super::stamp::Stamp;
use crate::format::generations::{KeyState, Pace, VerifyMode};
use crate::format::wrapped::Wrapped;
use crate::units::{Generation, VolumeId};

/// Members a record may have.
pub const MEMBERS_MAX: usize = 16;
/// Predecessors a record names.
pub const ANCESTORS_MAX: usize = 32;
/// Longest encoded record, bytes.
pub const RECORD_MAX: usize = 512 << 10;
/// Longest name of a cluster, bytes.
pub const CLUSTER_MAX: usize = 63;

/// SHA-256 of a record's bytes.
pub type Hash = [u8; 32];

/// What a member holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    /// A replica: it can open the volume.
    Full = 1,
    /// A vote, and no keys.
    Witness = 2,
}

/// A node of the volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Its name.
    pub name: NodeName,
    /// What it holds.
    pub role: Role,
    /// Its Ed25519 key, which signs its records and promises.
    pub sign: [u8; 32],
    /// Its X25519 key, to which new DEKs are sealed.
    pub seal: [u8; 32],
}

/// A record that came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ancestor {
    /// Its place.
    pub stamp: Stamp,
    /// Its hash.
    pub hash: Hash,
}

/// A generation's key, wrapped on one node for that node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeWrap {
    /// Whose wrap it is.
    pub node: NodeName,
    /// The wrap.
    pub wrapped: Wrapped,
}

/// What the record says of one generation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Its number; never 0, which is each replica's own metadata key.
    pub generation: Generation,
    /// Its random identity.
    pub key_id: [u8; 16],
    /// Its cipher suite.
    pub suite: u16,
    /// Where it stands. *Destroyed* before it was ever active: the change to it was abandoned.
    pub state: KeyState,
    /// Known to be in the wrong hands.
    pub compromised: bool,
    /// Seconds since 1970.
    pub created: u64,
    /// Seconds since 1970; 0: never.
    pub activated: u64,
    /// Earliest destruction, seconds since 1970, while *scheduled*.
    pub scheduled: u64,
    /// Check value of the DEK; zeros while unknown (suite `none`).
    pub check: [u8; 16],
    /// Why it was made.
    pub reason: String,
    /// Its wrapped copies, node by node; none once it is destroyed.
    pub wraps: Vec<NodeWrap>,
}

/// How far the change on record has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Step {
    /// None was ever begun, or the last one was abandoned before it was activated.
    Idle = 0,
    /// The new generation is durable on every full replica; nothing is written under it.
    Prepared = 1,
    /// It is what is written; replicas drain towards it.
    Active = 2,
    /// The old one is what is written again; replicas drain back.
    RolledBack = 3,
    /// Every replica is drained and verified; there is no way back.
    Finalized = 4,
}

/// What becomes of a change when acknowledgements stay away for longer than its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OnDeadline {
    /// An alarm; the change waits on.
    Alarm = 0,
    /// An alarm, and the way back while there is one: abandoned before it is activated, rolled back after.
    Undo = 1,
}

/// The rotation under way, or the last one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// Counts changes of the volume.
    pub id: u64,
    /// How far it has come.
    pub step: Step,
    /// The generation everything shall be under (after a rollback: the old one).
    pub target: Generation,
    /// The generation before.
    pub from: Generation,
    /// Held by an operator, on every replica.
    pub paused: bool,
    /// Whether an operator finalizes it.
    pub hold_finalize: bool,
    /// Whether one replica at a time drains, so that no two of them are in the same region at once.
    pub one_at_a_time: bool,
    /// Whether the proof before activating is cold: a fresh process, a new login to the keeper, no cached key.
    pub cold_proof: bool,
    /// Pace of each replica.
    pub pace: Pace,
    /// How much each replica reads back.
    pub verify: VerifyMode,
    /// Seconds a step may wait for acknowledgements; 0: for ever.
    pub deadline_s: u64,
    /// What happens then.
    pub on_deadline: OnDeadline,
    /// Seconds since 1970 when the current step was committed.
    pub since: u64,
    /// Who wanted it.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// A member's promise to follow `candidate` in `epoch`, and no lower one any more. Signed by the member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Promise {
    /// The epoch.
    pub epoch: u64,
    /// Who leads it.
    pub candidate: NodeName,
    /// Who promises.
    pub by: NodeName,
    /// The latest record it holds.
    pub stamp: Stamp,
    /// That record's hash.
    pub hash: Hash,
    /// The highest generation number it has ever had.
    pub highest: Generation,
    /// Its Ed25519 signature.
    pub signature: [u8; 64],
}

/// The record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Keyring {
    /// The cluster's name.
    pub cluster: String,
    /// The volume.
    pub volume: VolumeId,
    /// Its place.
    pub stamp: Stamp,
    /// Who leads this epoch, and has signed the record.
    pub lead: NodeName,
    /// What came before, newest first.
    pub ancestors: Vec<Ancestor>,
    /// Who holds replicas, by name.
    pub members: Vec<Member>,
    /// Who does not any more.
    pub expelled: Vec<NodeName>,
    /// The promises this epoch rests on; empty in epoch 1, which rests on the configuration.
    pub mandate: Vec<Promise>,
    /// The generations, by rising number.
    pub keys: Vec<Key>,
    /// The change.
    pub change: Change,
}

/// A record and its lead's signature.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Signed {
    /// The record.
    pub record: Keyring,
    /// Ed25519 of the record's bytes, by the lead.
    pub signature: [u8; 64],
}

impl Change {
    /// None yet: everything is under `target`.
    pub fn none(target: Generation, since: u64, actor: &str, reason: &str) -> Change {
        Change {
            id: 0,
            step: Step::Idle,
            target,
            from: target,
            paused: false,
            hold_finalize: false,
            one_at_a_time: false,
            cold_proof: false,
            pace: Pace { rate: 0, adaptive: true, factor_percent: 150 },
            verify: VerifyMode::Full,
            deadline_s: 0,
            on_deadline: OnDeadline::Alarm,
            since,
            actor: actor.into(),
            reason: reason.into(),
        }
    }
}

impl Keyring {
    /// The entry of a generation.
    pub fn key(&self, generation: Generation) -> Option<&Key> {
        self.keys.iter().find(|key| key.generation == generation)
    }

    /// The member of a name.
    pub fn member(&self, name: &NodeName) -> Option<&Member> {
        self.members.iter().find(|member| member.name == *name)
    }

    /// Members that hold a replica.
    pub fn full(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.role == Role::Full)
    }

    /// How many members are more than half.
    pub fn majority(&self) -> usize {
        self.members.len() / 2 + 1
    }
}
