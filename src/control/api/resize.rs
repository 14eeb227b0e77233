//! Growing a volume, as the API asks for it and tells of it.

use serde::{Deserialize, Serialize};

/// Body of `resize`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResizeRequest {
    /// Bytes clients shall see.
    pub size_bytes: u64,
    /// Why; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How far a growth is that zeroes what it adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Growing {
    /// Bytes zeroed.
    pub bytes_done: u64,
    /// Bytes to zero.
    pub bytes_total: u64,
}

/// What growing a volume did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resized {
    /// Export name of the volume; of one that nobody serves the path of its backing.
    pub volume: String,
    /// Whether anything changed: a volume that has the size already stays as it is, and that is no error.
    pub changed: bool,
    /// Bytes clients saw before.
    pub size_before_bytes: u64,
    /// Bytes clients see.
    pub size_bytes: u64,
    /// Bytes it may grow to.
    pub max_size_bytes: u64,
}
