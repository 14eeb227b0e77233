//! What the commands that work on a volume's files report: the results of [`super::local`], as JSON and for people.
//!
//! Invariants: JSON is the serialized form of these types, whole; the text for people is made from them alone.

mod text;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::control::api::RewriteMode;

pub(super) use text::{created, mode, ready, speed};

/// What `volume create` made.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Created {
    /// Path of the backing.
    pub path: String,
    /// Path of the detached header.
    pub header: Option<String>,
    /// Identity of the volume.
    pub id: String,
    /// Size of the virtual disk, bytes.
    pub size_bytes: u64,
    /// Size of an extent, bytes.
    pub extent_bytes: u64,
    /// Size of a data unit, bytes.
    pub data_unit_bytes: u32,
    /// Cipher suite.
    pub suite: String,
    /// How rotations rewrite extents.
    pub mode: RewriteMode,
    /// Size the backing writes atomically, bytes; 0 if nothing vouches for one.
    pub granule_bytes: u32,
    /// What vouches for it.
    pub granule_source: String,
    /// Ids of the KEKs that open it.
    pub keks: Vec<String>,
    /// Key files that were made.
    pub new_key_files: Vec<String>,
    /// Bytes of data area that were zeroed.
    pub zeroed_bytes: u64,
    /// What policy has to say against it.
    pub warnings: Vec<String>,
}

/// What `serve` says once clients can come.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Ready {
    /// Process id.
    pub pid: u32,
    /// Where NBD is served.
    pub nbd: Vec<String>,
    /// Where the control API is served.
    pub control: String,
    /// Export names with sizes in bytes.
    pub volumes: BTreeMap<String, u64>,
    /// What this process does without.
    pub lost: Vec<String>,
}

/// One cell of `speed`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SpeedRow {
    /// `crypto`, `ring`, `backing`.
    pub what: String,
    /// Engine, or path.
    pub engine: String,
    /// Suite or kind of I/O.
    pub detail: String,
    /// Unit, bytes.
    pub unit_bytes: u32,
    /// `encrypt`, `decrypt`, `read`, `write`.
    pub direction: String,
    /// Bytes per second.
    pub bytes_per_s: u64,
}

/// What `speed` measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Speed {
    /// The processor.
    pub cpu: String,
    /// The cells.
    pub rows: Vec<SpeedRow>,
}
