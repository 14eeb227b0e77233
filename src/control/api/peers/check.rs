//! The integrity check between replicas, as the API asks for it and tells of it.

use serde::{Deserialize, Serialize};

use crate::control::api::CheckState;

/// Body of `POST /v1/volumes/{volume}/peers/check`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerCheckRequest {
    /// Compare what clients would read, too, not the generations of extents alone.
    #[serde(default)]
    pub data: bool,
    /// Bytes each replica reads per second at most; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_s: Option<u64>,
    /// Why; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What is said of a stretch of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DifferenceKind {
    /// Replicas hold different data.
    #[default]
    Differs,
    /// Clients kept changing it; nothing is known about it.
    Busy,
    /// A replica cannot read it.
    Unreadable,
    /// Its extents are under different generations, as while replicas drain.
    Draining,
}

impl DifferenceKind {
    /// The word of the API.
    pub const fn name(self) -> &'static str {
        match self {
            DifferenceKind::Differs => "differs",
            DifferenceKind::Busy => "busy",
            DifferenceKind::Unreadable => "unreadable",
            DifferenceKind::Draining => "draining",
        }
    }
}

/// A stretch on which replicas are not simply equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What is the matter.
    pub kind: DifferenceKind,
    /// First byte of the disk.
    pub first: u64,
    /// The byte after the last one.
    pub end: u64,
    /// The replicas that differ from most others, or cannot read; none if no majority is of one opinion.
    pub nodes: Vec<String>,
}

/// A replica that was not compared, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Whose it is.
    pub node: String,
    /// Why.
    pub why: String,
}

/// Answer of `GET` and `POST /v1/volumes/{volume}/peers/check`: the check that runs, or the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerCheckStatus {
    /// Export name of the volume.
    pub volume: String,
    /// Where it stands.
    pub state: CheckState,
    /// Whether it compares what clients would read, too.
    pub data: bool,
    /// When it began, RFC 3339; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// Bytes of the disk compared.
    pub bytes_done: u64,
    /// Bytes in all.
    pub bytes_total: u64,
    /// Bytes that differ.
    pub bytes_differing: u64,
    /// Bytes that clients kept changing.
    pub bytes_busy: u64,
    /// Bytes that a replica cannot read.
    pub bytes_unreadable: u64,
    /// Bytes whose extents are under different generations.
    pub bytes_draining: u64,
    /// The replicas that are compared.
    pub replicas: Vec<String>,
    /// Those that are not.
    pub left_out: Vec<LeftOut>,
    /// What was found, by place.
    pub differences: Vec<Difference>,
    /// How many more stretches there are than are listed.
    pub unlisted: u64,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
