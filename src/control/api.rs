//! The words of the control API: what `/v1` answers and what it accepts, as serde types.
//!
//! Invariants: `openapi.json` beside this file describes exactly these types (a test holds the two together); answers may
//! grow fields, so readers tolerate unknown ones; request bodies refuse unknown fields. Units stand in the names:
//! `_bytes`, `_s`, `bytes_per_s`.

mod alarms;
mod check;
mod error;
mod holders;
mod keys;
mod life;
mod peers;
mod requests;
mod resize;
mod rotation;
mod wraps;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::control::audit::{Head, Record};

pub use alarms::{Alarm, AlarmKind};
pub use check::{CheckReport, CheckRequest, CheckState, CheckStatus, Severity};
pub use error::{ApiError, ErrorKind};
pub use holders::{
    BackupRequest, BackupResult, EscrowRequest, HolderInfo, HolderKind, HolderList, HolderNamed, HolderRequest,
    HolderResult,
};
pub use keys::{KeyInfo, KeyState, Wrap};
pub use life::{BreakGlassRequest, DestroyRequest, KeyActed, KeyRequest, ProofRequest, ProofVerdict, ScheduleRequest};
pub use peers::{
    AdmitRequest, ChangeStatus, ChangeStep, CoordinatorStatus, Difference, DifferenceKind, ExpelRequest, Freeze,
    FreezeRequest, HistoryRequest, InviteRequest, InviteResult, LeftOut, MemberStatus, OnDeadline, PauseRequest,
    PeerActed, PeerCheckRequest, PeerCheckStatus, PeerFrozen, PeerLink, PeerList, PeerRefusal, PeerRole, PeerStatus,
    PeerVolume, PeerWaiting, RecordName, RecordStamp, RefusalKind, ReplicaPhase, ReplicaProgress, Together,
    TokenRequest, WaveToken,
};
pub use requests::{PaceRequest, ReasonRequest, RotateStart, VerifyRequest};
pub use resize::{Growing, ResizeRequest, Resized};
pub use rotation::{ActionResult, ByteRange, KeeperState, Order, Pace, Rotation, RotationPlan, RotationState, Verify};
pub use wraps::{KeyRewrapped, RewrapRequest, Rewrapped, WrapAddRequest, WrapRemoveRequest};

/// Longest `reason` a request may carry, bytes.
pub const REASON_MAX: usize = 1024;
/// Longest request body, bytes.
pub const BODY_MAX: usize = 64 << 10;

/// Answer of `GET /v1/status`: the daemon and every volume it serves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Version of the daemon.
    pub version: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// When the daemon started, RFC 3339.
    pub started: String,
    /// What the I/O engine is and can do.
    pub io: IoReport,
    /// The crypto engine that writes: `vaes512`, `vaes256`, `aws-lc` or `portable`.
    pub crypto_engine: String,
    /// Bytes of key material the kernel refused to lock in memory.
    pub unlocked_secret_bytes: u64,
    /// What this process does without, in words: features of the ring, locked memory, direct I/O.
    pub lost: Vec<String>,
    /// The control plane itself. Filled in by the server, not by [`crate::control::Operations`].
    #[serde(default)]
    pub control: ControlStatus,
    /// The volumes, by name.
    pub volumes: Vec<VolumeStatus>,
}

/// What the I/O engine is and can do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IoReport {
    /// `ring` or `posix`.
    pub name: String,
    /// What is in use: registered buffers, fixed files, …
    pub features: Vec<String>,
    /// What is not, and why.
    pub lost: Vec<String>,
}

/// Who may act, and whether acts can be recorded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ControlStatus {
    /// The authorization policy in force.
    pub policy: String,
    /// Path of the audit log.
    pub audit_log: String,
    /// The last record of the audit log.
    pub audit_head: Head,
    /// Why control actions are refused for want of an audit log; absent when they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_refusing: Option<String>,
    /// Whether space is set aside so that a pause or a rollback can be recorded on a full file system.
    pub audit_reserve: bool,
}

/// One volume as served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VolumeStatus {
    /// Export name.
    pub name: String,
    /// Identity of the volume, a UUID.
    pub id: String,
    /// Path of the data backing.
    pub path: String,
    /// Path of the detached header, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Whether the volume is served read only.
    pub read_only: bool,
    /// Size of the virtual disk, bytes.
    pub size_bytes: u64,
    /// Size it may grow to, bytes.
    #[serde(default)]
    pub max_size_bytes: u64,
    /// Size of an extent, bytes.
    pub extent_bytes: u64,
    /// Size of a data unit (sector) of the active generation, bytes.
    pub data_unit_bytes: u32,
    /// Size the backing writes atomically, bytes; 0 if nothing vouches for one.
    pub granule_bytes: u32,
    /// What vouches for the granule.
    pub granule_source: String,
    /// How a rotation rewrites extents.
    pub mode: RewriteMode,
    /// How the backing is cached: `direct` or `page`.
    pub cache: String,
    /// Why the volume refuses writes; absent when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poisoned: Option<String>,
    /// How far a growth is that zeroes what it adds; absent when none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growing: Option<Growing>,
    /// What needs an operator's eye.
    #[serde(default)]
    pub alarms: Vec<Alarm>,
    /// Header backups and escrow bundles whose restore drill is overdue, as policy says.
    #[serde(default)]
    pub drills_overdue: u64,
    /// The generation new writes are moving to.
    pub active_generation: u32,
    /// How many extents each generation encrypts.
    pub census: BTreeMap<u32, u64>,
    /// The rotation, running or last.
    pub rotation: Rotation,
    /// Its replicas on other nodes; absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<PeerStatus>,
}

/// How a rotation rewrites extents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RewriteMode {
    /// In place, under fingerprint intents.
    #[default]
    InPlace,
    /// Through the ring, copied in place afterwards.
    Journal,
}

/// Answer of `GET /v1/volumes`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VolumeList {
    /// The volumes, by name.
    pub volumes: Vec<VolumeStatus>,
}

/// Answer of `GET /v1/volumes/{volume}/keys`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeyList {
    /// Export name of the volume.
    pub volume: String,
    /// Key generations, oldest first; 0 is the volume metadata key.
    pub keys: Vec<KeyInfo>,
}

/// Answer of `GET /v1/audit`: some records, and the head of the log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditPage {
    /// Records in order.
    pub records: Vec<Record>,
    /// The last record of the log.
    pub head: Head,
}

/// Query of `GET /v1/audit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Only records with a greater sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// At most so many: the last ones, or the first ones after `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Answer of `/healthz` and `/readyz`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// True when it answers at all.
    pub ok: bool,
}
