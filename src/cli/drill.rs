//! `keymoult drill restore`: rehearses restoring a header backup or an escrow bundle, times it, and notes that it was done.
//!
//! Invariants: of the volume nothing is written but that note; the copy of the header is removed, also on failure; a bundle's keys are
//! used here alone and never reach the daemon, which only hears that the drill was done.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::args::{DrillArgs, DrillCommand, Global};
use super::backup::{ground, in_use, opened, selftest};
use super::daemon::open_keks;
use super::escrow::open_bundle;
use super::exit::Exit;
use super::failure::{Failure, bad_input};
use super::opening::patiently;
use super::operations::holders;
use super::output::{Output, properties};
use super::records::Records;
use super::{failure_of, files, remote, size};
use crate::control::api::HolderNamed;
use crate::control::authorize::Verb;
use crate::engine::mem::MemDisk;
use crate::engine::{Backing, CacheMode, Disk, OpenOptions};
use crate::format::bundle::{BUNDLE_MAX, MAGIC};
use crate::keys::{Kek, NewKek};
use crate::units::hex;
use crate::volume::VolumeError;
use crate::volume::drill::{Drilled, Onlooker, drill};
use crate::volume::restore::Target;

/// Runs a `drill` command.
pub fn run(command: &DrillCommand, global: &Global, output: &Output) -> Result<Exit, Failure> {
    let DrillCommand::Restore(args) = command;
    let report = restore(args, global)?;
    output.result(&report, text)?;
    Ok(Exit::Ok)
}

/// What a drill found and how long it took.
#[derive(Debug, Serialize)]
struct Report {
    volume: String,
    bundle: String,
    /// `header-backup` or `escrow`.
    kind: &'static str,
    holder: String,
    epoch: u64,
    /// Why it might be restored now.
    ground: &'static str,
    canaries: u32,
    extents_read: u64,
    /// Extents whose generation the present header confirms; absent if it could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    extents_confirmed: Option<u64>,
    size_bytes: u64,
    /// Reading and opening the bundle.
    open_ms: u64,
    /// Writing the header into scratch space, opening the volume, reading a sample.
    restore_ms: u64,
    /// Whether the volume's own list of holders says now that it was drilled, and why not.
    recorded: bool,
    notes: Vec<String>,
}

/// Where the volume is, and whether a daemon serves it.
struct Place {
    path: PathBuf,
    header: Option<PathBuf>,
    /// Its export name.
    served: Option<String>,
}

fn place(args: &DrillArgs, global: &Global) -> Result<Place, Failure> {
    if args.volume.exists() {
        return Ok(Place { path: args.volume.clone(), header: args.header.clone(), served: None });
    }
    let name = args.volume.display().to_string();
    let volume = remote::client(global)?.volume(&name)?;
    Ok(Place { path: volume.path.into(), header: volume.header.map(PathBuf::from), served: Some(name) })
}

fn restore(args: &DrillArgs, global: &Global) -> Result<Report, Failure> {
    selftest()?;
    let place = place(args, global)?;
    let records = Records::required(&args.record)?;
    records.act(Verb::DrillRestore, &place.path, args.reason.as_deref(), || {
        let began = Instant::now();
        let (kind, backup, keks) = contents(args, &records)?;
        let open_ms = elapsed(began);
        let began = Instant::now();
        let drilled = rehearse(&place, args, &backup, &keks)?;
        let restore_ms = elapsed(began);
        let mut notes = drilled.notes.clone();
        let noted = note(&place, global, &keks, &drilled, kind, restore_ms);
        let recorded = noted.is_ok();
        notes.extend(noted.err().map(|failure| format!("not noted in the list of holders: {}", failure.summary())));
        Ok(Report {
            volume: args.volume.display().to_string(),
            bundle: args.bundle.display().to_string(),
            kind,
            holder: hex(&drilled.holder),
            epoch: drilled.epoch,
            ground: ground(drilled.ground),
            canaries: drilled.proof.canaries,
            extents_read: drilled.proof.extents,
            extents_confirmed: drilled.confirmed,
            size_bytes: drilled.proof.size,
            open_ms,
            restore_ms,
            recorded,
            notes,
        })
    })
}

fn elapsed(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The header backup in the file, whichever kind it is, and what opens it.
fn contents(args: &DrillArgs, records: &Records) -> Result<(&'static str, Vec<u8>, Vec<Kek>), Failure> {
    let bytes = files::read(&args.bundle, BUNDLE_MAX)?;
    let wrong = |what: &str, hint: &str| Err(bad_input(what).at(args.bundle.display().to_string()).hint(hint));
    match (bytes.starts_with(&MAGIC), args.identities.is_empty(), args.keks.is_empty()) {
        (true, false, _) => {
            let (bundle, keks) = open_bundle(&args.bundle, &args.identities, records.witness())?;
            Ok(("escrow", bundle.backup, keks))
        }
        (true, true, _) => wrong("an escrow bundle opens with its recipients' identities", "add --identity FILE"),
        (false, _, false) => {
            let (keks, _) = open_keks(&args.keks, NewKek::Never, records.witness().as_ref())?;
            Ok(("header-backup", bytes, keks))
        }
        (false, _, true) => wrong("a header backup opens with a key of the volume", "add --kek URI"),
    }
}

/// A file that is removed in the end.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn rehearse(place: &Place, args: &DrillArgs, backup: &[u8], keks: &[Kek]) -> Result<Drilled, Failure> {
    let failed = |error: VolumeError| in_use(&error).at(place.path.display().to_string());
    let look = |path: &Path| -> Result<Arc<dyn Disk>, VolumeError> {
        match place.served {
            Some(_) => Ok(Arc::new(Onlooker::open(path)?) as Arc<dyn Disk>),
            None => {
                let how = OpenOptions { read_only: true, cache: CacheMode::Auto };
                Ok(Arc::new(patiently(|| Ok(Backing::open(path, &how)?))?))
            }
        }
    };
    let data = look(&place.path).map_err(failed)?;
    let header = match &place.header {
        // One that is gone is what a restore is for.
        Some(path) if !path.exists() => Some(Arc::new(MemDisk::new(0)) as Arc<dyn Disk>),
        Some(path) => Some(look(path).map_err(failed)?),
        None => None,
    };
    let folder = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = Scratch(folder.join(format!(".keymoult-drill-{}", std::process::id())));
    let how = OpenOptions { read_only: false, cache: CacheMode::Page };
    let disk = Backing::create(&scratch.0, 0, &how).map_err(|error| failed(error.into()))?;
    drill(backup, keks, &Target { data, header }, Arc::new(disk)).map_err(|error| {
        failure_of::volume(&error)
            .at(args.bundle.display().to_string())
            .at("the drill has failed: a restore would, too")
    })
}

/// Notes in the volume's list of holders that it was drilled.
fn note(
    place: &Place,
    global: &Global,
    keks: &[Kek],
    drilled: &Drilled,
    kind: &str,
    restore_ms: u64,
) -> Result<(), Failure> {
    let reason = format!("{kind} restored on scratch in {restore_ms} ms, {} extents read", drilled.proof.extents);
    let request = HolderNamed { holder: hex(&drilled.holder), reason: Some(reason) };
    match &place.served {
        Some(name) => remote::client(global)?.drilled_holder(name, &request).map(|_| ()).map_err(Failure::from),
        None => {
            let volume = opened(&place.path, place.header.as_deref(), keks)?;
            let noted = holders::drilled("", &volume, &request);
            noted.map(|_| ()).map_err(|error| failure_of::volume(&error))
        }
    }
}

fn text(report: &Report) -> String {
    let mut pairs = vec![
        ("would be restored", format!("epoch {}: {}", report.epoch, report.ground)),
        ("opened", format!("{} ms for the bundle, {} ms for the volume", report.open_ms, report.restore_ms)),
        ("proven by", format!("{} canaries, {} extents read by both engines", report.canaries, report.extents_read)),
        ("size", size::bytes(report.size_bytes)),
        ("holder", report.holder.clone()),
    ];
    pairs.extend(report.extents_confirmed.map(|count| ("tags", format!("{count} agree with the present header"))));
    pairs.extend(report.notes.iter().map(|note| ("note", note.clone())));
    format!("drill of {} for {}: passed\n{}", report.bundle, report.volume, properties(&pairs))
}
