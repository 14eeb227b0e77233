//! What the commands that work on a volume's files report: the results of [`super::local`], as JSON and for people.
//!
//! Invariants: JSON is the serialized form of these types, whole; the text for people is made from them alone.

mod text;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::control::api::{KeyInfo, RewriteMode, Rotation};

pub(super) use text::{checked, created, info, mode, ready, speed};

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
}

/// Where a zone stands.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Zone {
    /// Its name: superblock, generations, canaries, tags, ring, data.
    pub name: String,
    /// `data` or `header`: which file.
    pub file: String,
    /// Offset in that file, bytes.
    pub offset: u64,
    /// Length, bytes.
    pub bytes: u64,
}

/// What `volume info` found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Info {
    /// Path of the backing.
    pub path: String,
    /// Path of the detached header.
    pub header: Option<String>,
    /// Version of the on-disk format.
    pub format_version: u32,
    /// Whether a key authenticated all this; if not, only checksums vouch for it.
    pub authenticated: bool,
    /// Identity of the volume.
    pub id: String,
    /// Size of the virtual disk, bytes.
    pub size_bytes: u64,
    /// Size it may grow to, bytes.
    pub max_size_bytes: u64,
    /// Size of an extent, bytes.
    pub extent_bytes: u64,
    /// How rotations rewrite extents.
    pub mode: RewriteMode,
    /// Where the zones stand.
    pub zones: Vec<Zone>,
    /// Key generations, oldest first; 0 is the metadata key.
    pub keys: Vec<KeyInfo>,
    /// How many extents each generation encrypts; empty if not known.
    pub census: BTreeMap<u32, u64>,
    /// The rotation, if known.
    pub rotation: Option<Rotation>,
    /// Why the volume refuses writes.
    pub poisoned: Option<String>,
    /// What is odd.
    pub findings: Vec<Finding>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    #[default]
    Note,
    /// Harmless now.
    Warning,
    /// Something is wrong; the command ends with exit code 5.
    Error,
}

/// Something a check found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub what: String,
    /// Where it is.
    #[serde(rename = "where")]
    pub place: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Who refers to a generation.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct References {
    /// Extents tagged with it.
    pub extents: u64,
    /// Live ring records that name it.
    pub ring_records: u64,
}

/// What `volume check` found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Checked {
    /// Path of the backing.
    pub path: String,
    /// Whether everything was read.
    pub full: bool,
    /// Whether a key authenticated the metadata.
    pub authenticated: bool,
    /// Bytes read.
    pub bytes_read: u64,
    /// Who refers to each generation; empty if not known.
    pub references: BTreeMap<u32, References>,
    /// Whether the volume was poisoned and now is not.
    pub poison_cleared: bool,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl Checked {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity != Severity::Error)
    }
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
