//! The check of a served volume, as the API shows it. The report is the one `keymoult volume check --json` writes.

use serde::{Deserialize, Serialize};

pub use crate::volume::check::{CheckReport, Severity};

/// Body of `POST /v1/volumes/{volume}/check`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    /// Read every extent and decrypt it with both engines.
    #[serde(default)]
    pub full: bool,
    /// Bytes read per second at most; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_s: Option<u64>,
    /// Why; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Where a check stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckState {
    /// None was asked for since the volume was opened.
    #[default]
    None,
    /// Looking.
    Running,
    /// It has looked at everything; the report says what it found.
    Done,
    /// It could not look at everything.
    Failed,
}

/// Answer of `GET` and `POST /v1/volumes/{volume}/check`: the check that runs, or the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckStatus {
    /// Export name of the volume.
    pub volume: String,
    /// Where it stands.
    pub state: CheckState,
    /// Whether it reads the data too.
    pub full: bool,
    /// When it began, RFC 3339; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// Bytes looked at.
    pub bytes_done: u64,
    /// Bytes in all.
    pub bytes_total: u64,
    /// What it found, once done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<CheckReport>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
