//! Peers as the API shows them: who holds replicas of a volume, which record is agreed on, which change is under way, who is
//! waited for and why.
//!
//! Invariants: times are RFC 3339; a node's own words about its replica (`progress`) stand apart from what this node sees of it
//! (`link`); no key stands here, wrapped or not.

mod acts;
mod check;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Alarm, Pace, Verify};

pub use acts::{
    AdmitRequest, ExpelRequest, FreezeRequest, HistoryRequest, InviteRequest, InviteResult, PauseRequest, PeerActed,
    PeerFrozen, TokenRequest,
};
pub use check::{Difference, DifferenceKind, LeftOut, PeerCheckRequest, PeerCheckStatus};

/// The place of a record in its volume's history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordStamp {
    /// Counts leads.
    pub epoch: u64,
    /// Counts records of the volume, over all epochs.
    pub revision: u64,
}

/// A record by its place and its hash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordName {
    /// Its place.
    pub stamp: RecordStamp,
    /// SHA-256 of its bytes, 64 hexadecimal digits.
    pub hash: String,
}

/// What a member holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerRole {
    /// A replica: it can open the volume.
    #[default]
    Full,
    /// A vote, and no keys.
    Witness,
}

impl PeerRole {
    /// The word of the API.
    pub const fn name(self) -> &'static str {
        match self {
            PeerRole::Full => "full",
            PeerRole::Witness => "witness",
        }
    }
}

/// How far the change on record has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeStep {
    /// None was ever begun, or the last one was abandoned before it was activated.
    #[default]
    Idle,
    /// The new generation is durable on every replica; nothing is written under it.
    Prepared,
    /// It is what is written; replicas drain towards it.
    Active,
    /// The old one is what is written again; replicas drain back.
    RolledBack,
    /// Every replica is drained and verified; there is no way back.
    Finalized,
}

impl ChangeStep {
    /// The word of the API.
    pub const fn name(self) -> &'static str {
        match self {
            ChangeStep::Idle => "idle",
            ChangeStep::Prepared => "prepared",
            ChangeStep::Active => "active",
            ChangeStep::RolledBack => "rolled-back",
            ChangeStep::Finalized => "finalized",
        }
    }
}

/// What becomes of a change when acknowledgements stay away for longer than its deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDeadline {
    /// An alarm; the change waits on.
    #[default]
    Alarm,
    /// An alarm, and the way back while there is one.
    Undo,
}

/// How the replicas of a volume take a change together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Together {
    /// Whether one replica at a time is re-encrypted.
    #[serde(default)]
    pub one_at_a_time: bool,
    /// Whether the new key is proven by a fresh process with a new login to the keeper before it is used.
    #[serde(default)]
    pub cold_proof: bool,
    /// Seconds a step may wait for acknowledgements; absent: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_s: Option<u64>,
    /// What happens then.
    #[serde(default)]
    pub on_deadline: OnDeadline,
}

/// The change on record: the rotation under way, or the last one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChangeStatus {
    /// Counts changes of the volume.
    pub id: u64,
    /// How far it has come.
    pub step: ChangeStep,
    /// The generation everything shall be under; after a rollback the old one.
    pub target: u32,
    /// The generation before.
    pub from: u32,
    /// Held by an operator, on every replica.
    pub paused: bool,
    /// Whether an operator finalizes it.
    pub hold_finalize: bool,
    /// How the replicas take it together.
    pub together: Together,
    /// Whose turn it is to be re-encrypted, if one at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<String>,
    /// Pace of each replica.
    pub pace: Pace,
    /// How much each replica reads back.
    pub verify: Verify,
    /// When the step was committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// When the step's deadline is over, while something is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// Who wanted it.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// What a replica is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplicaPhase {
    /// No rotation was ever started there.
    #[default]
    Idle,
    /// Extents are being re-encrypted.
    Running,
    /// Held by an operator.
    Paused,
    /// All extents carry the target.
    Drained,
    /// There is no way back.
    Finalized,
    /// Stopped by an error.
    Failed,
}

impl ReplicaPhase {
    /// The word of the API.
    pub const fn name(self) -> &'static str {
        match self {
            ReplicaPhase::Idle => "idle",
            ReplicaPhase::Running => "running",
            ReplicaPhase::Paused => "paused",
            ReplicaPhase::Drained => "drained",
            ReplicaPhase::Finalized => "finalized",
            ReplicaPhase::Failed => "failed",
        }
    }
}

/// What a replica last said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaProgress {
    /// When, by its own clock.
    pub told: String,
    /// What it is doing.
    pub phase: ReplicaPhase,
    /// The generation it writes under.
    pub target: u32,
    /// How many extents each generation encrypts there.
    pub census: BTreeMap<u32, u64>,
    /// Extents under the target.
    pub extents_done: u64,
    /// Extents in all.
    pub extents_total: u64,
    /// Extents read back since the rotation began.
    pub extents_verified: u64,
    /// Bytes re-encrypted per second, as of late.
    pub rate_bytes_per_s: u64,
    /// Forecast of the time left, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_s: Option<u64>,
    /// The record its volume has been brought to.
    pub converged: RecordStamp,
    /// How many committed records it is behind.
    pub lag_revisions: u64,
    /// For how long, seconds.
    pub lag_s: u64,
    /// What keeps it from being brought further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hindrance: Option<String>,
    /// Whether an operator holds its re-encryption on that node alone.
    pub held: bool,
    /// When it was last verified whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_verified: Option<String>,
}

/// The link from this node to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerLink {
    /// The other node.
    pub node: String,
    /// Where it is reached.
    pub address: String,
    /// Whether the link is up.
    pub up: bool,
    /// Since when it is up, or down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// When the node was last heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<String>,
    /// What it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Cipher suites it can read.
    #[serde(default)]
    pub suites: Vec<String>,
    /// When its certificate ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_ends: Option<String>,
    /// Why it went down, or could not be dialled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Bytes sent to it since the daemon started.
    #[serde(default)]
    pub sent_bytes: u64,
    /// Bytes received from it since the daemon started.
    #[serde(default)]
    pub received_bytes: u64,
}

/// A member of a volume's peers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub role: PeerRole,
    /// The link to it; absent for this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<PeerLink>,
    /// What it last said of its replica; absent if it has said nothing since this daemon started, and for a witness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ReplicaProgress>,
}

/// Something that is waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerWaiting {
    /// For whom.
    pub member: String,
    /// For what.
    pub what: String,
    /// Since when.
    pub since: String,
}

/// What a member last refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRefusal {
    /// Who.
    pub member: String,
    /// What kind of refusal it is.
    pub kind: RefusalKind,
    /// Why, in words.
    pub what: String,
}

/// Kinds of refusals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// It follows a higher epoch.
    Epoch,
    /// It has a later record.
    Older,
    /// Its record is not in the lead's history.
    Fork,
    /// The lead is not entitled.
    NotEntitled,
    /// The record breaks a rule.
    Rule,
    /// It runs a release that is too old.
    Upgrade,
    /// Its volume, its keeper of KEKs or its disk failed.
    #[default]
    Failed,
    /// It was expelled, or has quarantined itself.
    Out,
}

/// Why nothing is begun anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// Who wanted it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: String,
}

/// Answer of `GET /v1/volumes/{volume}/peers`: the replicas of one volume, as this node sees them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Export name of the volume on this node.
    pub volume: String,
    /// Identity of the volume, the same on every node.
    pub id: String,
    /// The cluster.
    pub cluster: String,
    /// This node.
    pub node: String,
    /// Who leads.
    pub lead: String,
    /// The lead's epoch.
    pub epoch: u64,
    /// The latest record this node has accepted.
    pub accepted: RecordName,
    /// The latest record known to be committed.
    pub committed: RecordName,
    /// How many members are a majority.
    pub majority: u64,
    /// The change, running or last.
    pub change: ChangeStatus,
    /// The members, by name, this node among them.
    pub members: Vec<MemberStatus>,
    /// Who is no member any more.
    pub expelled: Vec<String>,
    /// What is waited for; the lead knows.
    pub waiting: Vec<PeerWaiting>,
    /// What members last refused.
    pub refusals: Vec<PeerRefusal>,
    /// Alarms about peers, which stand among the volume's alarms, too.
    pub alarms: Vec<Alarm>,
    /// Why this node takes no part any more: expelled, or quarantined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<String>,
    /// Whether a coordinator says who leads.
    #[serde(default)]
    pub coordinated: bool,
    /// Why nothing is begun; absent when something may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<Freeze>,
}

/// A leave to have one rotation more run at the same time, given by the coordinator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveToken {
    /// Identity of the volume that rotates.
    pub volume: String,
    /// The node that has taken it.
    pub node: String,
    /// Since when; absent if the coordinator does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// The coordinator, where there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorStatus {
    /// What it is: `etcd`.
    pub kind: String,
    /// Whether it answers.
    pub up: bool,
    /// Who holds the lead there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lead: Option<String>,
    /// The epoch of that lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// What is the matter with it, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// How many volumes may rotate at the same time; 0: any number.
    pub tokens_max: u64,
    /// Who has leave to.
    pub tokens: Vec<WaveToken>,
}

/// A replicated volume in one line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerVolume {
    /// Export name.
    pub volume: String,
    /// Who leads.
    pub lead: String,
    /// The lead's epoch.
    pub epoch: u64,
    /// How far its change has come.
    pub step: ChangeStep,
    /// How many members it has.
    pub members: u64,
    /// How many of them can be reached, this node included.
    pub reachable: u64,
    /// Who is waited for.
    pub waits_for: Vec<String>,
    /// Why this node takes no part in it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<String>,
}

/// Answer of `GET /v1/peers`: this node and its links.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerList {
    /// The cluster.
    pub cluster: String,
    /// This node.
    pub node: String,
    /// Where it listens for others.
    pub listen: String,
    /// Its own public line, to be admitted elsewhere.
    pub public: String,
    /// When its own certificate ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_ends: Option<String>,
    /// The links.
    pub links: Vec<PeerLink>,
    /// The replicated volumes, by name.
    pub volumes: Vec<PeerVolume>,
    /// Why nothing is begun; absent when something may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<Freeze>,
    /// The coordinator, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinator: Option<CoordinatorStatus>,
}
