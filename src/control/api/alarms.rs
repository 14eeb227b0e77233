//! Alarms: what needs an operator's eye although clients are served.

use serde::{Deserialize, Serialize};

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlarmKind {
    /// A key was opened by a wrap that stands behind the one that should have opened it.
    FallbackKek,
    /// A KEK that was given cannot be had.
    KekUnavailable,
    /// Extents are under a suite that is deprecated.
    SuiteDeprecated,
    /// Extents are under a suite that is forbidden.
    SuiteForbidden,
    /// A peer is missing, refuses, or disagrees.
    Peers,
}

impl AlarmKind {
    /// The word of the API.
    pub const fn name(self) -> &'static str {
        match self {
            AlarmKind::FallbackKek => "fallback-kek",
            AlarmKind::KekUnavailable => "kek-unavailable",
            AlarmKind::SuiteDeprecated => "suite-deprecated",
            AlarmKind::SuiteForbidden => "suite-forbidden",
            AlarmKind::Peers => "peers",
        }
    }
}

/// One alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// What it is about.
    pub kind: AlarmKind,
    /// Since when, RFC 3339.
    pub since: String,
    /// How often it was raised since the daemon started.
    pub count: u64,
    /// What is the matter, and what to do.
    pub what: String,
}
