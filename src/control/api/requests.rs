//! Bodies of requests. Unknown fields are refused; what is left out has a safe default.

use serde::{Deserialize, Serialize};

use super::Together;
use super::rotation::{Order, Pace, Verify};

/// Body of `rotation/start` and `rotation/plan`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateStart {
    /// Cipher suite of the new generation; absent for the present one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// In which order extents are taken.
    #[serde(default)]
    pub order: Order,
    /// How fast it may go.
    #[serde(default)]
    pub pace: Pace,
    /// How much is read back.
    #[serde(default)]
    pub verify: Verify,
    /// Why it is done; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether to wait for `finalize` once verified.
    #[serde(default)]
    pub hold_finalize: bool,
    /// How the replicas of the volume take it together; absent for the defaults, and of a volume without replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub together: Option<Together>,
}

/// Body of `rotation/pace`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaceRequest {
    /// The new pace.
    pub pace: Pace,
    /// Why; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `rotation/verify`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// How much to read back now.
    #[serde(default)]
    pub verify: Verify,
    /// Why; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `rotation/rollback` and `finalize`, and of acts on peers that take a reason alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReasonRequest {
    /// Why; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_body_starts_a_rotation_with_the_defaults() {
        assert_eq!(serde_json::from_str::<RotateStart>("{}").unwrap(), RotateStart::default());
        assert!(serde_json::from_str::<RotateStart>("{\"sweet\":1}").is_err());
    }
}
