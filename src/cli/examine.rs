//! `keymoult volume info` and `keymoult volume check`: what can be said of a volume that is not (or is) being served.
//!
//! Invariants: the JSON is the volume layer's own report, whole, whether the check was made here or by the daemon that
//! serves the volume; the text for people is made from it alone. `check` ends with exit code 5 when an error was found, and
//! with 0 when not; a check that could not look at everything ends with 10.

use std::time::Duration;

use super::args::{CheckArgs, Global, InfoArgs};
use super::daemon::open_keks;
use super::exit::Exit;
use super::failure::Failure;
use super::opening::patiently;
use super::output::{Output, properties, row, table};
use super::progress::Progress;
use super::records::Records;
use super::{failure_of, remote, size, words};
use crate::control::api::{CheckRequest, CheckState};
use crate::control::authorize::Verb;
use crate::engine::{CacheMode, EngineError};
use crate::keys::NewKek;
use crate::volume::VolumeError;
use crate::volume::check::{self, CheckOptions, CheckReport, Depth, Finding, Severity};
use crate::volume::info::{self, CopyInfo, GenerationInfo, Info, RotationInfo};

/// Runs `volume info`.
pub fn info(args: &InfoArgs, output: &Output) -> Result<Exit, Failure> {
    let found = info::info(&args.path, args.header.as_deref());
    let found = found.map_err(|error| failure_of::volume(&error).at(args.path.display().to_string()))?;
    output.result(&found, |found| format!("{}\n{}", args.path.display(), info_text(found)))?;
    Ok(Exit::Ok)
}

/// Runs `volume check`.
pub fn check(args: &CheckArgs, output: &Output) -> Result<Exit, Failure> {
    let records = if args.keks.is_empty() { Records::none() } else { Records::wanted(&args.record, output)? };
    let report = records.act(Verb::VolumeCheck, &args.path, None, || look(args, &records, output))?;
    output.result(&report, |report| format!("{}: {}", args.path.display(), check_text(report, args.full)))?;
    Ok(if report.passed { Exit::Ok } else { Exit::Damaged })
}

fn look(args: &CheckArgs, records: &Records, output: &Output) -> Result<CheckReport, Failure> {
    let (keks, _) = open_keks(&args.keks, NewKek::Never, records.witness().as_ref())?;
    let options = CheckOptions { path: &args.path, header: args.header.as_deref(), cache: CacheMode::Auto };
    let keks = (!keks.is_empty()).then_some(keks);
    let depth = Depth { keks: keks.as_deref(), full: args.full, repair: args.repair };
    let mut progress = Progress::new(output);
    let mut begun = false;
    let mut show = |done, total| {
        if !begun {
            progress.begin("reading", total);
            begun = true;
        }
        progress.advance(done);
    };
    let report = patiently(|| check::check(&options, depth, &mut show));
    progress.end();
    report.map_err(|error| refused(&error).at(args.path.display().to_string()))
}

/// A volume in use can be checked all the same: by whoever serves it.
fn refused(error: &VolumeError) -> Failure {
    match error {
        VolumeError::Backing(EngineError::InUse { .. }) => failure_of::volume(error)
            .hint("a daemon serves it: `keymoult volume check NAME --online` has it checked there, by its export name"),
        _ => failure_of::volume(error),
    }
}

/// Bytes per second an online check reads at most, unless told otherwise.
const RATE: u64 = 200 << 20;
/// Pause between two looks at a check that runs.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs `volume check --online`: the daemon checks, this waits for the outcome.
pub fn check_online(args: &CheckArgs, global: &Global, output: &Output) -> Result<Exit, Failure> {
    let client = remote::client(global)?;
    let name = args.path.display().to_string();
    let bytes_per_s = args.rate.map_or(Some(RATE), |rate| rate.0);
    let begun = client.check(&name, &CheckRequest { full: args.full, bytes_per_s, reason: None })?;
    let mut progress = Progress::new(output);
    progress.begin("checking", begun.bytes_total);
    let mut status = begun;
    while status.state == CheckState::Running {
        std::thread::sleep(LOOK_EVERY);
        status = client.check_status(&name)?;
        if status.bytes_total > 0 {
            progress.resize(status.bytes_total);
            progress.advance(status.bytes_done);
        }
    }
    progress.end();
    let Some(report) = status.report else {
        let why = status.why.unwrap_or_else(|| "another check has taken its place".into());
        return Err(Failure::new(Exit::NotReached, "the check did not come to an end")
            .at(format!("volume {name}"))
            .at(format!("because: {why}"))
            .hint("nothing was changed; ask again"));
    };
    output.result(&report, |report| format!("{name}, while it is served: {}", check_text(report, args.full)))?;
    Ok(if report.passed { Exit::Ok } else { Exit::Damaged })
}

fn info_text(info: &Info) -> String {
    let volume = &info.volume;
    let extents =
        format!("{} in {} extents of {}", size::bytes(volume.size), volume.extents, size::bytes(volume.extent_size));
    let granule =
        format!("{}; granule {} ({})", volume.mode, size::bytes(volume.granule.into()), volume.granule_source);
    let pages = &info.tag_pages;
    let ring = &info.ring;
    let mut pairs = vec![
        ("id", volume.id.clone()),
        ("format", format!("version {}, by checksum only: no key, no authentication", info.format_version)),
        ("created", words::time(volume.created).unwrap_or_default()),
        ("size", extents),
        ("may grow to", size::bytes(volume.max_size)),
        ("sector", format!("{} bytes", volume.sector_size)),
        ("rewrites", granule),
        ("header", if volume.detached { "detached".into() } else { "attached".into() }),
        ("epoch", volume.epoch.to_string()),
        ("superblocks", copies(&info.superblocks)),
        ("key tables", copies(&info.generation_tables)),
        (
            "tag pages",
            format!(
                "{} in two copies: {} good, {} never written, {} damaged",
                pages.pages, pages.good, pages.unwritten, pages.damaged
            ),
        ),
        (
            "ring",
            format!(
                "{} slots of {}: {} records, {} live",
                ring.slots,
                size::bytes(ring.slot_size.into()),
                ring.records,
                ring.live
            ),
        ),
    ];
    pairs.extend(
        volume.growing_from.iter().map(|before| {
            ("growth", format!("unfinished, served at {} until opened for writing", size::bytes(*before)))
        }),
    );
    pairs.extend(info.stamp.iter().map(|stamp| ("epoch stamp", copy(stamp))));
    pairs.extend(info.rotation.iter().map(|rotation| ("rotation", rotation_text(rotation))));
    pairs.extend(volume.poisoned.iter().map(|why| ("poisoned", why.clone())));
    pairs.extend(info.in_use.iter().map(|who| ("in use", format!("{who}; what is shown may be changing"))));
    let mut zones = vec![row(["zone", "backing", "offset", "size"])];
    zones.extend(
        info.zones
            .iter()
            .map(|zone| row([zone.name, zone.backing, &zone.offset.to_string(), &size::bytes(zone.length)])),
    );
    let mut keys = vec![row(["generation", "state", "cipher", "sector", "extents", "encrypted", "wrapped by"])];
    keys.extend(info.generations.iter().map(|generation| key_row(generation, info)));
    format!("{}\n{}\n{}", properties(&pairs), table(&zones), table(&keys))
}

fn copies(copies: &[CopyInfo; 2]) -> String {
    format!("A {}, B {}", copy(&copies[0]), copy(&copies[1]))
}

fn copy(copy: &CopyInfo) -> String {
    let counts = if copy.counts { ", counts" } else { "" };
    match (copy.sequence, &copy.damage) {
        (Some(sequence), _) => format!("{} ({sequence}{counts})", copy.state),
        (None, Some(damage)) if copy.state == "damaged" => format!("damaged ({damage})"),
        (None, _) => copy.state.to_string(),
    }
}

fn rotation_text(rotation: &RotationInfo) -> String {
    if rotation.id == 0 {
        return "none".into();
    }
    let back = rotation.rollback_to.map_or_else(String::new, |back| format!(", way back to {back}"));
    let kind = if rotation.is_rollback { "rollback" } else { "rotation" };
    format!("{kind} {} to generation {}, {}{back}", rotation.id, rotation.target, rotation.phase)
}

fn key_row(generation: &GenerationInfo, info: &Info) -> Vec<String> {
    let extents = info.tag_pages.extents_by_generation.get(&generation.generation).copied().unwrap_or(0);
    let wraps: Vec<String> = generation.wraps.iter().map(|wrap| format!("{}:{}", wrap.provider, wrap.kek_id)).collect();
    let state =
        if generation.compromised { format!("{}, compromised", generation.state) } else { generation.state.into() };
    row([
        &generation.generation.to_string(),
        &state,
        &generation.suite,
        &generation.data_unit.to_string(),
        &extents.to_string(),
        &size::bytes(generation.bytes_encrypted_max),
        &wraps.join(", "),
    ])
}

fn check_text(report: &CheckReport, full: bool) -> String {
    let verdict = if report.passed { "sound" } else { "NOT sound" };
    let depth = match (full, report.with_keys) {
        (true, true) => "metadata authenticated, every extent read under both engines",
        (false, true) => "metadata authenticated; --full reads the data too",
        (_, false) => "by checksum only; give --kek to authenticate",
    };
    let mut text = format!("{verdict} ({depth})\n");
    let seen = |severity| report.findings.iter().filter(move |finding| finding.severity == severity);
    for finding in seen(Severity::Error).chain(seen(Severity::Warning)).chain(seen(Severity::Note)) {
        text.push_str(&finding_text(finding));
    }
    for finding in seen(Severity::Ok) {
        text.push_str(&format!("  ok: {}: {}\n", finding.place, finding.what));
    }
    text.extend(report.repaired.iter().map(|what| format!("  repaired: {what}\n")));
    if let Some(data) = &report.data {
        let agreed = size::bytes(data.bytes_agreed);
        text.push_str(&format!(
            "  data: {} extents read, {agreed} decrypted alike by both engines, {} of holes, {} extents unread\n",
            data.extents,
            size::bytes(data.bytes_holes),
            data.extents_unread
        ));
    }
    if report.poison_cleared {
        text.push_str("  the volume was poisoned and passes: writes are allowed again\n");
    }
    text + &references(report)
}

fn finding_text(finding: &Finding) -> String {
    let word = match finding.severity {
        Severity::Ok => "ok",
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    let mut text = format!("  {word} [{}] {}: {}\n", finding.name, finding.place, finding.what);
    text.extend(finding.means.iter().map(|means| format!("    means: {means}\n")));
    text.extend(finding.hint.iter().map(|hint| format!("    hint: {hint}\n")));
    text
}

fn references(report: &CheckReport) -> String {
    if report.references.is_empty() {
        return String::new();
    }
    let mut rows = vec![row(["generation", "state", "cipher", "extents", "ring records", "live intents", ""])];
    rows.extend(report.references.iter().map(|reference| {
        let note = match (reference.is_target, reference.proven_empty) {
            (true, _) => "the target",
            (false, true) => "nothing durable refers to it",
            (false, false) => "",
        };
        row([
            &reference.generation.to_string(),
            &reference.state,
            &reference.suite,
            &reference.extents.to_string(),
            &reference.ring_records.to_string(),
            &reference.live_intents.to_string(),
            note,
        ])
    }));
    format!("\n{}", table(&rows))
}
