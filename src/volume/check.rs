//! `volume check`: everything the metadata say, held against each other and against the data.
//!
//! Without a key it can judge CRCs only, and says so. With keys: MACs of all copies, every wrap opened, canaries under
//! both engines, the epoch stamp, tag pages against digest and generations, the ring against the tags, and with `full`
//! every extent read from the device and decrypted by both engines. Reports per generation what still refers to it.
//!
//! | finding | what it means |
//! |---|---|
//! | `superblock-…`, `table-…`, `stamp-…`, `canary-…`, `tag-page-…`, `ring-…` | a structure is `zero`, `missing`, `newer`, `crc` (torn or rotten), `mac` (tampered or moved), `field` (out of bounds) or `unreadable` |
//! | `superblock-place`, `superblock-twin`, `table-place`, `table-twin` | a copy stands where its sequence does not belong, or is not its twin's predecessor |
//! | `header-kind`, `backing-truncated` | the files given are not, or not wholly, this volume's |
//! | `granule-unvouched` | the device's atomic writes are smaller than the volume counts on |
//! | `key-missing`, `wrap-untried`, `wrap-unavailable`, `wrap-tampered`, `wrap-differs`, `suite-unknown` | keys and their wraps |
//! | `canary-wrong` | the key is not the one that encrypted |
//! | `epoch-behind`, `epoch-stale` | header and data are not of the same time |
//! | `table-target`, `table-rotation` | the table contradicts itself or the tags |
//! | `tag-page-lost`, `tag-digest`, `tag-unknown`, `tag-state`, `checkpoint-cut-off` | tags |
//! | `ring-gap`, `ring-contradiction`, `ring-generation`, `ring-live`, `ring-torn` | intents |
//! | `data-unreadable`, `data-key`, `data-not-read`, `engines-disagree` | data |
//! | `poisoned`, `no-key` | the volume refuses writes; nothing was authenticated |
//!
//! Order: survey, then repair of bad twins, then a second survey, then the poison. Invariants: nothing is written unless
//! `repair` is asked for; a repair only ever overwrites a copy that does not count, from the one that does and is
//! authentic, and only while no other metadata are in error; poison is cleared only by a passed full check with keys.
//!
//! Structures are read, not mapped: a file map would turn a failing or truncated backing into a signal, and a finding that
//! names the place is what this command is for. It would also read through the page cache, while the question is what
//! the device holds.

mod data;
mod keys;
mod repair;
mod report;
mod ring;
mod structures;
mod survey;
mod tags;

#[cfg(test)]
#[path = "check/tests/mod.rs"]
mod tests;

use std::path::Path;
use std::sync::Arc;

pub use report::{CheckReport, DataReport, Finding, LiveIntentReport, Reference, Severity};

use super::error::VolumeError;
use super::open::settle;
use crate::engine::{Backing, CacheMode, Disk, OpenOptions};
use crate::keys::KekProvider;
use survey::Survey;

/// What to check, and how far to go.
pub struct CheckOptions<'a> {
    /// The data backing.
    pub path: &'a Path,
    /// The header file of a detached volume.
    pub header: Option<&'a Path>,
    /// Page cache or direct I/O.
    pub cache: CacheMode,
}

/// How far a check goes.
#[derive(Clone, Copy)]
pub struct Depth<'a> {
    /// Who may unwrap the volume's keys; none: CRCs only.
    pub keks: Option<&'a [Box<dyn KekProvider>]>,
    /// Read every extent and decrypt it with both engines.
    pub full: bool,
    /// Rewrite bad twins from good ones; clear the poison of a volume that passes in full.
    pub repair: bool,
}

/// Checks a volume that is not open elsewhere. `progress` is told bytes of data looked at and bytes in all.
///
/// # Errors
/// Only what prevents looking at all: a file that cannot be opened, one that is in use, a device that cannot flush.
/// Whatever is wrong with the volume itself is a finding.
pub fn check(
    options: &CheckOptions<'_>,
    depth: Depth<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<CheckReport, VolumeError> {
    let how = OpenOptions { read_only: !depth.repair, cache: options.cache };
    let data: Arc<dyn Disk> = Arc::new(Backing::open(options.path, &how)?);
    let header = match options.header {
        Some(path) => Some(Arc::new(Backing::open(path, &how)?) as Arc<dyn Disk>),
        None => None,
    };
    check_disks(data, header, depth, progress)
}

/// Checks a volume on disks: the seam at which a simulated device stands in.
///
/// # Errors
/// As [`check`].
pub fn check_disks(
    data: Arc<dyn Disk>,
    header: Option<Arc<dyn Disk>>,
    depth: Depth<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<CheckReport, VolumeError> {
    let detached = header.is_some();
    let header = header.unwrap_or_else(|| Arc::clone(&data));
    for disk in [&header, &data].into_iter().take(1 + usize::from(detached)) {
        settle(&**disk, !depth.repair)?;
    }
    let survey = Survey { data, header, detached, keks: depth.keks };
    let mut found = survey.run();
    let mut repaired = Vec::new();
    if depth.repair && found.report.errors() == 0 {
        repaired = repair::twins(&survey, &found)?;
        if !repaired.is_empty() {
            found = survey.run();
        }
    }
    found.report.repaired = repaired;
    if depth.full {
        data::read_all(&survey, &mut found, progress);
    }
    repair::poison(&survey, &mut found, depth)?;
    Ok(found.report.finish())
}
