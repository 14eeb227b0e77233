//! Key generations as the API shows them. Nothing here is secret: no key bytes, no wrapped bytes.

use serde::{Deserialize, Serialize};

/// State of a key generation (DESIGN §6, after SP 800-57).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// Made, not yet used.
    #[default]
    Prepared,
    /// New writes use it.
    Active,
    /// Encrypts only inside extents still tagged with it.
    Draining,
    /// No extent refers to it, with proof.
    Empty,
    /// Suspended; can come back.
    Disabled,
    /// Suspended, with a date for its destruction.
    Scheduled,
    /// Gone.
    Destroyed,
    /// Withdrawn: not loaded, its extents cannot be read.
    Revoked,
}

impl KeyState {
    /// The word of the API.
    pub const fn name(self) -> &'static str {
        match self {
            KeyState::Prepared => "prepared",
            KeyState::Active => "active",
            KeyState::Draining => "draining",
            KeyState::Empty => "empty",
            KeyState::Disabled => "disabled",
            KeyState::Scheduled => "scheduled",
            KeyState::Destroyed => "destroyed",
            KeyState::Revoked => "revoked",
        }
    }
}

/// One wrapped copy of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrap {
    /// The provider that made it: `file`, `passphrase`, …
    pub provider: String,
    /// The KEK it is under.
    pub kek_id: String,
    /// Version of that KEK.
    pub kek_version: u32,
    /// Whether this is the wrap that opened the key for the daemon.
    #[serde(default)]
    pub opened: bool,
}

/// One key generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// Its number; 0 is the volume metadata key.
    pub generation: u32,
    /// Its identity, 32 hexadecimal digits.
    pub key_id: String,
    /// Its cipher suite.
    pub suite: String,
    /// Where policy has the suite, and since when, if it is not simply allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite_standing: Option<String>,
    /// Its data unit, bytes.
    pub data_unit_bytes: u32,
    /// Its state.
    pub state: KeyState,
    /// Whether it is marked compromised.
    pub compromised: bool,
    /// When it was made, RFC 3339.
    pub created: String,
    /// When it became active, RFC 3339; absent if it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated: Option<String>,
    /// Bytes encrypted under it so far; an upper bound, since it is reserved ahead.
    pub bytes_encrypted: u64,
    /// Extents that refer to it.
    pub extents: u64,
    /// Seconds since it became active, or was made.
    #[serde(default)]
    pub age_s: u64,
    /// Seconds left of its cryptoperiod, negative when it is over; absent where the policy has none for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cryptoperiod_left_s: Option<i64>,
    /// Bytes it may still encrypt by policy, negative when it has encrypted more; absent where the policy has no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_left: Option<i64>,
    /// When it came into its state, RFC 3339; absent if it is in the state it was made in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<String>,
    /// Who brought it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// From when on it may be destroyed, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<String>,
    /// SHA-256 of the statement that proved it unneeded, 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// Its wrapped copies.
    pub wraps: Vec<Wrap>,
}
