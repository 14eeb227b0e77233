//! What is asked of peers, and what comes of it. What cannot be undone asks for a reason.

use serde::{Deserialize, Serialize};

use super::{Freeze, PeerRole, PeerWaiting};

/// Body of `rotation/pause` and `rotation/resume`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// On this node alone, whoever leads; of a volume without replicas the same as everywhere.
    #[serde(default)]
    pub here: bool,
    /// Why; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `peers/expel`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpelRequest {
    /// Who; it never comes back under that name.
    pub node: String,
    /// Why; recorded.
    pub reason: String,
}

/// Body of `peers/admit`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdmitRequest {
    /// The node's public line, as its identity's file and `peer list` show it.
    pub public: String,
    /// What it will hold. A full one has made its replica from an invite.
    #[serde(default)]
    pub role: PeerRole,
    /// Where it is reached, `HOST:PORT`; absent if this node's configuration says so already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Why; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `peers/invite`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InviteRequest {
    /// The nodes that may open it.
    pub nodes: Vec<String>,
    /// Absolute path of the file to make on the daemon's machine; it must not exist.
    pub into: String,
    /// Why; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `peers/freeze`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeRequest {
    /// Why; recorded, and shown to everybody who is kept from something.
    pub reason: String,
}

/// Body of `peers/accept-history`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryRequest {
    /// Why; recorded.
    pub reason: String,
}

/// Body of `peers/release-token`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Identity of the volume it was taken for.
    pub volume: String,
    /// The node that has taken it, and will not give it back.
    pub node: String,
    /// Why; recorded.
    pub reason: String,
}

/// What an act on a volume's peers did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerActed {
    /// Export name of the volume.
    pub volume: String,
    /// Whether anything changed.
    pub changed: bool,
    /// Whether it is committed. If not it stays under way, and `waiting` says for whom.
    pub complete: bool,
    /// What an operator should know, in words.
    pub notes: Vec<String>,
    /// What it still waits for.
    pub waiting: Vec<PeerWaiting>,
}

/// What an invite made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteResult {
    /// Export name of the volume.
    pub volume: String,
    /// The file.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// The nodes that can open it.
    pub nodes: Vec<String>,
    /// The generations in it.
    pub generations: Vec<u32>,
}

/// What a freeze or its end did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerFrozen {
    /// Whether anything changed.
    pub changed: bool,
    /// Why nothing is begun; absent when something may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<Freeze>,
}
