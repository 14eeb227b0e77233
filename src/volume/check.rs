//! `volume check`: everything the metadata say, held against each other and against the data.
//!
//! Without a key it can judge CRCs only, and says so. With keys: MACs of all copies, every wrap opened, canaries under
//! both engines, the epoch stamp, tag pages against digest and generations, the ring against the tags, and with `full`
//! every extent read from the device and decrypted by both engines. Reports per generation what still refers to it.
//!
//! [`catalogue`] lists every finding with what it means and what to do; [`repair`] argues what may be mended;
//! [`online`] checks a volume that is being served, and [`Checker`] runs that beside it on a thread.
//!
//! Order: survey, then repair of what does not count, then a second survey of what the device now holds, then the data,
//! then the poison. Invariants: nothing is written unless `repair` is asked for, and only while nothing is in error; a
//! repair never writes to the only copy that counts; poison is cleared only by a passed `full` check with keys, since what
//! a failed flush has lost may be anything.
//!
//! Structures are read, not mapped: a file map would turn a failing or truncated backing into a signal, and a finding that
//! names the place is what this command is for. It would also read through the page cache, while the question is what
//! the device holds.

mod catalogue;
mod data;
mod job;
mod keys;
mod online;
mod references;
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

pub use job::{Checker, JobState, JobStatus};
pub use online::OnlineOptions;
pub use report::{CheckReport, DataReport, Finding, LiveIntentReport, Reference, Severity};

use super::error::VolumeError;
use super::open::settle;
use crate::engine::{Backing, CacheMode, Disk, OpenOptions};
use crate::keys::Kek;
use survey::{Found, Survey};

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
    pub keks: Option<&'a [Kek]>,
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
        repaired.extend(repair::growth(&survey, &found)?);
        found = looked_again(&survey, found, &repaired)?;
    }
    if depth.repair && found.report.errors() == 0 {
        let twins = repair::twins(&survey, &found)?;
        found = looked_again(&survey, found, &twins)?;
        repaired.extend(twins);
    }
    found.report.repaired = repaired;
    if depth.full {
        data::read_all(&survey, &mut found, progress);
    }
    repair::poison(&survey, &mut found, depth)?;
    Ok(found.report.finish())
}

/// What the device holds after a repair; what was found before, if nothing was repaired.
fn looked_again(survey: &Survey<'_>, found: Found, repaired: &[String]) -> Result<Found, VolumeError> {
    if repaired.is_empty() {
        return Ok(found);
    }
    settle(&*survey.header, false)?;
    Ok(survey.run())
}
