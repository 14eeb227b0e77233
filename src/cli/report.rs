//! What the commands that work on a volume's files report: the results of [`super::local`], as JSON and for people.
//!
//! Invariants: JSON is the serialized form of these types, whole; the text for people is made from them alone.

use std::collections::BTreeMap;

use serde::Serialize;

use super::output::{properties, row, table};
use super::size;
use crate::control::api::{KeyInfo, RewriteMode, Rotation};

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

/// `mode` in words.
pub fn mode(mode: RewriteMode) -> &'static str {
    match mode {
        RewriteMode::InPlace => "in place",
        RewriteMode::Journal => "journal",
    }
}

/// The text of [`Created`].
pub fn created(made: &Created) -> String {
    let mut pairs = vec![
        ("id", made.id.clone()),
        ("size", format!("{} in extents of {}", size::bytes(made.size_bytes), size::bytes(made.extent_bytes))),
        ("cipher", format!("{}, data unit {} bytes", made.suite, made.data_unit_bytes)),
        (
            "rewrites",
            format!(
                "{}; granule {} ({})",
                mode(made.mode),
                size::bytes(made.granule_bytes.into()),
                made.granule_source
            ),
        ),
        ("opened by", made.keks.join(", ")),
    ];
    pairs.extend(made.header.iter().map(|header| ("header", header.clone())));
    pairs.extend(
        made.new_key_files
            .iter()
            .map(|file| ("new key file", format!("{file}: keep a copy elsewhere, no volume opens without it"))),
    );
    format!("created {}\n{}", made.path, properties(&pairs))
}

/// The text of [`Info`].
pub fn info(info: &Info) -> String {
    let trust = if info.authenticated { "authenticated" } else { "by checksum only; give --kek to authenticate" };
    let mut pairs = vec![
        ("id", info.id.clone()),
        ("format", format!("version {}, {trust}", info.format_version)),
        ("size", format!("{} in extents of {}", size::bytes(info.size_bytes), size::bytes(info.extent_bytes))),
        ("may grow to", size::bytes(info.max_size_bytes)),
        ("rewrites", mode(info.mode).into()),
    ];
    pairs.extend(info.header.iter().map(|header| ("header", header.clone())));
    pairs.extend(info.poisoned.iter().map(|why| ("poisoned", why.clone())));
    pairs.extend(info.rotation.iter().map(|rotation| ("rotation", super::status::rotation_line(rotation))));
    let mut text = format!("{}\n{}", info.path, properties(&pairs));
    let mut zones = vec![row(["zone", "file", "offset", "size"])];
    zones.extend(
        info.zones.iter().map(|zone| row([&zone.name, &zone.file, &zone.offset.to_string(), &size::bytes(zone.bytes)])),
    );
    text.push_str(&format!("\n{}\n{}", table(&zones), super::status::key_table(&info.keys)));
    text + &findings(&info.findings)
}

/// The text of [`Checked`].
pub fn checked(checked: &Checked) -> String {
    let verdict = if checked.is_sound() { "sound" } else { "damaged" };
    let depth = match (checked.full, checked.authenticated) {
        (true, _) => "everything was read",
        (false, true) => "metadata authenticated",
        (false, false) => "by checksum only; give --kek to authenticate",
    };
    let mut text = format!("{}: {verdict} ({depth}, {} read)\n", checked.path, size::bytes(checked.bytes_read));
    if checked.poison_cleared {
        text.push_str("  it was poisoned by a failed write; that is cleared\n");
    }
    if !checked.references.is_empty() {
        let mut rows = vec![row(["generation", "extents", "ring records"])];
        let cells = |(generation, refs): (&u32, &References)| {
            row([&generation.to_string(), &refs.extents.to_string(), &refs.ring_records.to_string()])
        };
        rows.extend(checked.references.iter().map(cells));
        text.push_str(&format!("\n{}", table(&rows)));
    }
    text + &findings(&checked.findings)
}

fn findings(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let severity = match finding.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        text.push_str(&format!("{severity}: {}\n", finding.what));
        text.extend(finding.place.iter().map(|place| format!("  {place}\n")));
        text.extend(finding.hint.iter().map(|hint| format!("  hint: {hint}\n")));
    }
    text
}

/// The text of [`Ready`].
pub fn ready(ready: &Ready) -> String {
    let mut text = String::new();
    for (name, bytes) in &ready.volumes {
        text.push_str(&format!("serving {name} ({}) at {}\n", size::bytes(*bytes), ready.nbd.join(", ")));
    }
    text.extend(ready.lost.iter().map(|lost| format!("  without {lost}\n")));
    text + &format!("control at {}, process {}\n", ready.control, ready.pid)
}

/// The text of [`Speed`].
pub fn speed(speed: &Speed) -> String {
    let mut rows = vec![row(["what", "engine", "detail", "unit", "direction", "GB/s"])];
    rows.extend(speed.rows.iter().map(|cell| {
        let rate = format!("{:.2}", cell.bytes_per_s as f64 / 1e9);
        row([&cell.what, &cell.engine, &cell.detail, &cell.unit_bytes.to_string(), &cell.direction, &rate])
    }));
    format!("{}\n\n{}", speed.cpu, table(&rows))
}
