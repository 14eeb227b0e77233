//! Who may open a volume, as the API asks for a change of it and tells of it. A KEK changes; no data is re-encrypted.
//!
//! Invariants: a KEK is a URI that names where a key is, never a key; requests that carry one make the daemon open what it
//! names with its own rights, so they are root's.

use serde::{Deserialize, Serialize};

use super::Wrap;

/// Body of `keys/rewrap`: another KEK takes over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewrapRequest {
    /// URI of the KEK that shall open the volume; paths are absolute.
    pub to: String,
    /// Whether to make its key file if it is missing.
    #[serde(default)]
    pub new_kek: bool,
    /// The KEK whose wraps go: its id, or its URI as the daemon was given it; absent for the one in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Whether the old wraps stay, behind the new ones.
    #[serde(default)]
    pub keep_old: bool,
    /// The only generation concerned; absent for all, the metadata key (0) included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// Why; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `keys/wrap-add`: another KEK opens the volume, too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrapAddRequest {
    /// URI of the KEK; paths are absolute.
    pub to: String,
    /// Whether to make its key file if it is missing.
    #[serde(default)]
    pub new_kek: bool,
    /// The only generation concerned; absent for all, the metadata key (0) included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// Why; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `keys/wrap-remove`: a KEK opens the volume no more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrapRemoveRequest {
    /// The KEK whose wraps go: its id, or its URI as the daemon was given it.
    pub from: String,
    /// The only generation concerned; absent for all, the metadata key (0) included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// Why; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of the wraps of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRewrapped {
    /// Its generation; 0 is the metadata key.
    pub generation: u32,
    /// The wrap it gained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added: Option<Wrap>,
    /// The wraps it lost.
    pub removed: Vec<Wrap>,
    /// The wraps it has.
    pub wraps: Vec<Wrap>,
}

/// What a change of wraps did, and how long each step took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrapped {
    /// Export name of the volume; of one that nobody serves the path of its backing.
    pub volume: String,
    /// Whether anything changed.
    pub changed: bool,
    /// Key by key.
    pub keys: Vec<KeyRewrapped>,
    /// KEKs that open the volume now, in the order in which they are tried; for the next start.
    pub keks: Vec<String>,
    /// Microseconds to open every key and wrap it anew.
    pub wrap_us: u64,
    /// Microseconds until the new wraps were durable beside the old ones.
    pub add_us: u64,
    /// Microseconds to read them back from the device and open them.
    pub prove_us: u64,
    /// Microseconds until the old ones were gone.
    pub remove_us: u64,
    /// Bytes of the generation table's zone that were read back without finding a removed wrap; 0 if none was removed.
    pub swept_bytes: u64,
    /// What an operator should know, in words.
    pub notes: Vec<String>,
}
