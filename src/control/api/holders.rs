//! Holders of keys outside the volume, as the API shows and enters them: header backups, escrow bundles, snapshots.

use serde::{Deserialize, Serialize};

/// What a holder is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HolderKind {
    /// A backup of the header.
    #[default]
    HeaderBackup,
    /// An escrow bundle.
    Escrow,
    /// A snapshot of the backing that the operator has declared.
    Snapshot,
}

impl HolderKind {
    /// The word of the API.
    pub const fn name(self) -> &'static str {
        match self {
            HolderKind::HeaderBackup => "header-backup",
            HolderKind::Escrow => "escrow",
            HolderKind::Snapshot => "snapshot",
        }
    }
}

/// One thing outside the volume that holds wrapped keys, or ciphertext, of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderInfo {
    /// Its identity, 32 hexadecimal digits.
    pub id: String,
    /// What it is.
    pub kind: HolderKind,
    /// What the operator calls it.
    pub label: String,
    /// The oldest generation in it.
    pub first_generation: u32,
    /// The newest generation in it.
    pub last_generation: u32,
    /// When it was made, RFC 3339.
    pub made: String,
    /// When a restore drill last proved it, RFC 3339; absent if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drilled: Option<String>,
    /// When the operator declared it gone, RFC 3339; absent while it is there and pins its generations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<String>,
    /// Whether it should have been drilled by now, as policy says.
    pub overdue: bool,
}

/// Answer of `GET /v1/volumes/{volume}/holders`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderList {
    /// Export name of the volume.
    pub volume: String,
    /// How old the last drill of a holder may be, seconds; absent if policy does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill_max_age_s: Option<u64>,
    /// The holders, released ones too.
    pub holders: Vec<HolderInfo>,
}

/// Body of `POST /v1/volumes/{volume}/holders`: a snapshot that the operator declares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HolderRequest {
    /// What the operator calls it.
    pub label: String,
    /// The oldest generation in it; absent: the oldest that has a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_generation: Option<u32>,
    /// The newest generation in it; absent: the newest that has a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_generation: Option<u32>,
    /// Why; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `POST` to `holders/release` and `holders/drilled`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HolderNamed {
    /// Its id, or the first digits of it, at least four.
    pub holder: String,
    /// Why, or what was found; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of a holder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderResult {
    /// Export name of the volume; of one that nobody serves the path of its backing.
    pub volume: String,
    /// Whether anything changed.
    pub changed: bool,
    /// The holder.
    pub holder: HolderInfo,
}

/// Body of `header-backup`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// Absolute path of the file to make on the daemon's machine; it must not exist.
    pub path: String,
    /// What the operator calls it; absent: its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Why; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `escrow`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EscrowRequest {
    /// Absolute path of the file to make on the daemon's machine; it must not exist.
    pub path: String,
    /// Recipients, `age1…`.
    pub recipients: Vec<String>,
    /// How many of them it takes to open the bundle.
    pub threshold: u32,
    /// What the operator calls it; absent: its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Why; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a header backup or an escrow export made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupResult {
    /// Export name of the volume; of one that nobody serves the path of its backing.
    pub volume: String,
    /// The file.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// The rotation epoch it is stamped with.
    pub epoch: u64,
    /// Whether it can be restored until the next rotation starts; if not, only until an extent moves.
    pub settled: bool,
    /// Its entry among the holders.
    pub holder: HolderInfo,
}
