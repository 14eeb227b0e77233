//! The life of keys, as the API asks for it and tells of it. What cannot be undone asks for `break_glass` and a reason.

use serde::{Deserialize, Serialize};

use super::keys::KeyState;

/// Body of `keys/retire`, `restore`, `cancel` and `revoke`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// Which generation.
    pub generation: u32,
    /// Why; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `keys/schedule`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRequest {
    /// Which generation.
    pub generation: u32,
    /// Seconds from now; absent for the delay of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_s: Option<u64>,
    /// Whether a delay below the policy's is meant.
    #[serde(default)]
    pub break_glass: bool,
    /// Why; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `keys/destroy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DestroyRequest {
    /// Which generation.
    pub generation: u32,
    /// Although something else still holds the key; takes a reason.
    #[serde(default)]
    pub despite_holders: bool,
    /// Although its date has not come; takes a reason.
    #[serde(default)]
    pub break_glass: bool,
    /// Why; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `keys/compromise` and `keys/reinstate`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakGlassRequest {
    /// Which generation.
    pub generation: u32,
    /// Of `compromise`: take the mark away.
    #[serde(default)]
    pub undo: bool,
    /// That what protects data is undone knowingly; takes a reason. `reinstate` needs it, and `undo`.
    #[serde(default)]
    pub break_glass: bool,
    /// Why; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `keys/verify-proof`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofRequest {
    /// The statement's file, as it is.
    pub proof: String,
}

/// What a step in the life of a key did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyActed {
    /// Export name of the volume.
    pub volume: String,
    /// The generation.
    pub generation: u32,
    /// Its state now.
    pub state: KeyState,
    /// Whether anything changed.
    pub changed: bool,
    /// Whether all of it was reached: a key that is still held by a request, or of which something is left, is not gone.
    pub complete: bool,
    /// What an operator should know, in words.
    pub notes: Vec<String>,
    /// SHA-256 of the statement that proves it unneeded, 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// Where that statement is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// How long it took until nothing held the key, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_memory_ms: Option<u64>,
}

/// What checking a statement of retirement found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofVerdict {
    /// Export name of the volume.
    pub volume: String,
    /// The generation it speaks of.
    pub generation: u32,
    /// Its SHA-256, 64 hexadecimal digits.
    pub digest: String,
    /// Whether this volume signed it, and nobody has changed it since.
    pub authentic: bool,
    /// Whether it is the one that the generation table names.
    pub on_record: bool,
    /// When it was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Who made it.
    pub actor: String,
    /// What else held the key then.
    pub holders: Vec<String>,
}
