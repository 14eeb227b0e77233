//! The verbs of the control API on a running daemon: names in, controllers asked, words out.

use std::collections::BTreeMap;
use std::sync::Arc;

pub mod holders;

use super::{failure_of, words};
use crate::control::Operations;
use crate::control::api::{
    self, ActionResult, ApiError, BackupRequest, BackupResult, CheckRequest, CheckState, CheckStatus, DaemonStatus,
    ErrorKind, EscrowRequest, Growing, HolderList, HolderNamed, HolderRequest, HolderResult, IoReport, KeyInfo,
    PaceRequest, ReasonRequest, ResizeRequest, Resized, RotateStart, RotationPlan, VerifyRequest, VolumeStatus,
};
use crate::crypto::{EngineKind, Suite};
use crate::format::generations::{RANGES_MAX, REASON_MAX};
use crate::format::layout::{COMMIT_BYTES, INTENT_BYTES, WriteMode};
use crate::keys::Kek;
use crate::nbd::Export;
use crate::rotation::Controller;
use crate::units::Generation;
use crate::volume::check::{Checker, JobState, OnlineOptions};
use crate::volume::lifecycle::RotationSpec;
use crate::volume::{Volume, VolumeError};

/// One volume of the daemon.
pub struct Served {
    /// Export name.
    pub name: String,
    /// Path of the data backing.
    pub path: String,
    /// Path of the detached header.
    pub header: Option<String>,
    /// What clients are told of it.
    pub export: Arc<Export<Volume>>,
    /// Its rotation.
    pub controller: Controller,
    /// Its checks.
    pub checker: Checker,
    /// Who wraps its keys.
    pub keks: Arc<Vec<Kek>>,
}

/// What the control plane can do with this daemon.
pub struct DaemonOperations {
    /// The volumes.
    pub volumes: Vec<Arc<Served>>,
    /// The I/O engines' report.
    pub io: IoReport,
    /// The crypto engine that writes.
    pub crypto: EngineKind,
    /// What the daemon does without.
    pub lost: Vec<String>,
    /// When it started, RFC 3339.
    pub started: String,
    /// How old the last drill of a backup or bundle may be, seconds, if policy says.
    pub drill_max_age: Option<u64>,
}

impl DaemonOperations {
    fn find(&self, name: &str) -> Result<&Arc<Served>, ApiError> {
        self.volumes.iter().find(|served| served.name == name).ok_or_else(|| ApiError::no_such_volume(name))
    }

    fn result(&self, served: &Served, changed: bool, notes: Vec<String>) -> ActionResult {
        ActionResult { volume: served.name.clone(), changed, notes, rotation: rotation_of(served) }
    }
}

fn failed(error: VolumeError) -> ApiError {
    failure_of::volume_api(&error)
}

fn rotation_of(served: &Served) -> api::Rotation {
    let volume = served.controller.volume();
    let status = served.controller.status();
    words::rotation(&status, volume.extent_size(), volume.table().previous_target())
}

fn check_status_of(served: &Served) -> CheckStatus {
    let job = served.checker.status();
    let (state, report, why) = match job.state {
        JobState::None => (CheckState::None, None, None),
        JobState::Running => (CheckState::Running, None, None),
        JobState::Done(report) => (CheckState::Done, Some(*report), None),
        JobState::Failed(why) => (CheckState::Failed, None, Some(why)),
    };
    CheckStatus {
        volume: served.name.clone(),
        state,
        full: job.options.full,
        started: words::time(job.started),
        bytes_done: job.done,
        bytes_total: job.total,
        report,
        why,
    }
}

fn volume_status(served: &Served, drill_max_age: Option<u64>) -> VolumeStatus {
    let volume = served.controller.volume();
    let caps = volume.caps();
    let shape = volume.shape();
    let (active, status) = (volume.rotation().target, served.controller.status());
    VolumeStatus {
        name: served.name.clone(),
        id: volume.id().to_string(),
        path: served.path.clone(),
        header: served.header.clone(),
        read_only: volume.read_only(),
        size_bytes: shape.size,
        max_size_bytes: shape.max_size,
        extent_bytes: shape.extent_size,
        data_unit_bytes: shape.data_unit,
        granule_bytes: shape.granule,
        granule_source: caps.granule_source.to_string(),
        mode: words::mode(shape.mode),
        cache: if caps.align > 1 { "direct".into() } else { "page".into() },
        poisoned: volume.poisoned().map(str::to_string),
        growing: status.progress.growing.map(|(bytes_done, bytes_total)| Growing { bytes_done, bytes_total }),
        drills_overdue: holders::count_overdue(volume, drill_max_age),
        active_generation: active.0,
        census: volume.census().into_iter().map(|(generation, count)| (generation.0, count)).collect(),
        rotation: rotation_of(served),
    }
}

fn reason(given: Option<&String>) -> Result<String, ApiError> {
    match given {
        Some(text) if text.len() > REASON_MAX => {
            Err(ApiError::new(ErrorKind::BadInput, format!("the reason is longer than {REASON_MAX} bytes")))
        }
        Some(text) => Ok(text.clone()),
        None => Ok(String::new()),
    }
}

fn suite(given: Option<&String>, present: u16) -> Result<Suite, ApiError> {
    match given {
        Some(name) => name.parse().map_err(|error| {
            ApiError::new(ErrorKind::BadInput, format!("{error}")).hint("suites: aes-256-xts, aes-128-xts, none")
        }),
        None => Suite::from_id(present).ok_or_else(|| ApiError::new(ErrorKind::Unsupported, "unknown suite")),
    }
}

impl Operations for DaemonOperations {
    fn status(&self) -> Result<DaemonStatus, ApiError> {
        Ok(DaemonStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started: self.started.clone(),
            io: self.io.clone(),
            crypto_engine: self.crypto.to_string(),
            unlocked_secret_bytes: crate::crypto::unlocked_bytes() as u64,
            lost: self.lost.clone(),
            volumes: self.volumes.iter().map(|served| volume_status(served, self.drill_max_age)).collect(),
            ..DaemonStatus::default()
        })
    }

    fn volume(&self, volume: &str) -> Result<VolumeStatus, ApiError> {
        Ok(volume_status(self.find(volume)?, self.drill_max_age))
    }

    fn keys(&self, volume: &str) -> Result<Vec<KeyInfo>, ApiError> {
        let volume = self.find(volume)?.controller.volume();
        let references = volume.references();
        let count = |generation| references.get(&generation).copied().unwrap_or(0);
        Ok(volume.table().entries.iter().map(|entry| words::key(entry, count(entry.generation))).collect())
    }

    fn rotation(&self, volume: &str) -> Result<api::Rotation, ApiError> {
        Ok(rotation_of(self.find(volume)?))
    }

    fn plan(&self, volume: &str, request: &RotateStart) -> Result<RotationPlan, ApiError> {
        let served = self.find(volume)?;
        let volume = served.controller.volume();
        let (table, shape) = (volume.table(), volume.shape());
        let from = table.rotation.target;
        let present = table.entry(from).map_or(0, |entry| entry.suite);
        let suite = suite(request.suite.as_ref(), present)?;
        let extents = u64::from(shape.extents());
        let batches = extents.div_ceil(u64::from(shape.batch_extents()));
        let per_extent = COMMIT_BYTES
            + INTENT_BYTES
            + match shape.mode {
                WriteMode::InPlace => shape.extent_size / u64::from(shape.granule) * 8,
                WriteMode::Journal => shape.extent_size,
            };
        let metadata = extents * per_extent + batches * 4096 + u64::from(shape.tag_pages()) * 4096;
        let rate = request.pace.bytes_per_s;
        let mut risks =
            vec!["a flush or metadata write that fails poisons the volume for writes; reads go on".to_string()];
        if table.rotation.rollback_to.is_some() {
            risks
                .push(format!("the rotation to generation {from} is not finalized: its way back ends with this start"));
        }
        if suite == Suite::None {
            risks.push("suite none writes plaintext to the backing".into());
        }
        Ok(RotationPlan {
            volume: served.name.clone(),
            from: from.0,
            to: table.next_generation().0,
            suite: suite.to_string(),
            extents,
            bytes: shape.size,
            duration_s: rate.map(|rate| shape.size.div_ceil(rate)),
            batches,
            metadata_bytes: metadata,
            write_amplification: (shape.size + metadata) as f64 / shape.size as f64,
            steps: ["prepare", "prove canary", "activate", "re-encrypt", "verify", "finalize"]
                .map(str::to_string)
                .to_vec(),
            risks,
            way_back: format!("`keymoult rotate rollback {}`: one commit, until finalized", served.name),
        })
    }

    fn start(&self, volume: &str, request: &RotateStart) -> Result<ActionResult, ApiError> {
        let served = self.find(volume)?;
        request.pace.check().map_err(|error| ApiError::new(ErrorKind::BadInput, error))?;
        if let api::Order::Ranges { ranges } = &request.order {
            let bad = ranges.iter().find(|range| range.first >= range.end);
            if ranges.len() > RANGES_MAX || bad.is_some() {
                let what = format!("at most {RANGES_MAX} ranges, each with its first byte before its end");
                return Err(ApiError::new(ErrorKind::BadInput, what));
            }
        }
        let table = served.controller.volume().table();
        let present = table.entry(table.rotation.target).map_or(0, |entry| entry.suite);
        let spec = RotationSpec {
            suite: suite(request.suite.as_ref(), present)?,
            order: words::order_in(&request.order),
            pace: words::pace_in(&request.pace),
            verify: words::verify_in(request.verify),
            hold_finalize: request.hold_finalize,
            reason: reason(request.reason.as_ref())?,
            now: words::now(),
        };
        let generation = served.controller.start(&spec).map_err(failed)?;
        Ok(self.result(served, true, vec![format!("DEK generation {generation} is active; re-encryption has begun")]))
    }

    fn pause(&self, volume: &str, _: &ReasonRequest) -> Result<ActionResult, ApiError> {
        let served = self.find(volume)?;
        let changed = served.controller.pause().map_err(failed)?;
        Ok(self.result(served, changed, Vec::new()))
    }

    fn resume(&self, volume: &str, _: &ReasonRequest) -> Result<ActionResult, ApiError> {
        let served = self.find(volume)?;
        let changed = served.controller.resume().map_err(failed)?;
        Ok(self.result(served, changed, Vec::new()))
    }

    fn pace(&self, volume: &str, request: &PaceRequest) -> Result<ActionResult, ApiError> {
        let served = self.find(volume)?;
        request.pace.check().map_err(|error| ApiError::new(ErrorKind::BadInput, error))?;
        let changed = served.controller.pace(words::pace_in(&request.pace)).map_err(failed)?;
        Ok(self.result(served, changed, Vec::new()))
    }

    fn rollback(&self, volume: &str, request: &ReasonRequest) -> Result<ActionResult, ApiError> {
        let served = self.find(volume)?;
        let back = served.controller.roll_back(&reason(request.reason.as_ref())?).map_err(failed)?;
        let note = format!("generation {back} is the target again; extents already moved go back in the background");
        Ok(self.result(served, true, vec![note]))
    }

    fn verify(&self, volume: &str, request: &VerifyRequest) -> Result<ActionResult, ApiError> {
        let served = self.find(volume)?;
        let sample = match words::verify_in(request.verify) {
            crate::format::generations::VerifyMode::Off => {
                return Err(ApiError::new(ErrorKind::BadInput, "verify off reads nothing back"));
            }
            crate::format::generations::VerifyMode::Sample(ppm) => ppm,
            crate::format::generations::VerifyMode::Full => 1_000_000,
        };
        served.controller.verify(sample).map_err(failed)?;
        Ok(self.result(served, true, vec!["reading back with both engines; `rotate status` shows how far".into()]))
    }

    fn finalize(&self, volume: &str, _: &ReasonRequest) -> Result<ActionResult, ApiError> {
        let served = self.find(volume)?;
        let emptied = served.controller.finalize().map_err(failed)?;
        let note =
            |generation: &Generation| format!("generation {generation} is empty: no extent or record refers to it");
        Ok(self.result(served, true, emptied.iter().map(note).collect()))
    }

    fn resize(&self, volume: &str, request: &ResizeRequest) -> Result<Resized, ApiError> {
        let served = self.find(volume)?;
        let tell = |size| served.export.set_size(size);
        let size_before_bytes = served.controller.grow(request.size_bytes, &tell).map_err(failed)?;
        let shape = served.controller.volume().shape();
        Ok(Resized {
            volume: served.name.clone(),
            changed: size_before_bytes != request.size_bytes,
            size_before_bytes,
            size_bytes: request.size_bytes,
            max_size_bytes: shape.max_size,
        })
    }

    fn check(&self, volume: &str, request: &CheckRequest) -> Result<CheckStatus, ApiError> {
        let served = self.find(volume)?;
        let options = OnlineOptions { full: request.full, bytes_per_s: request.bytes_per_s };
        served.checker.start(options, words::now()).map_err(failed)?;
        Ok(check_status_of(served))
    }

    fn check_status(&self, volume: &str) -> Result<CheckStatus, ApiError> {
        Ok(check_status_of(self.find(volume)?))
    }

    fn holders(&self, volume: &str) -> Result<HolderList, ApiError> {
        Ok(holders::list(volume, self.find(volume)?.controller.volume(), self.drill_max_age))
    }

    fn add_holder(&self, volume: &str, request: &HolderRequest) -> Result<HolderResult, ApiError> {
        holders::add(volume, self.find(volume)?.controller.volume(), request).map_err(failed)
    }

    fn release_holder(&self, volume: &str, request: &HolderNamed) -> Result<HolderResult, ApiError> {
        holders::release(volume, self.find(volume)?.controller.volume(), request).map_err(failed)
    }

    fn drilled_holder(&self, volume: &str, request: &HolderNamed) -> Result<HolderResult, ApiError> {
        holders::drilled(volume, self.find(volume)?.controller.volume(), request).map_err(failed)
    }

    fn back_up(&self, volume: &str, request: &BackupRequest) -> Result<BackupResult, ApiError> {
        holders::back_up(self.find(volume)?, request)
    }

    fn export_escrow(&self, volume: &str, request: &EscrowRequest) -> Result<BackupResult, ApiError> {
        holders::export(self.find(volume)?, request)
    }

    fn ready(&self) -> Result<(), ApiError> {
        Ok(())
    }
}

/// Extents by state of their generation, for logs.
pub fn census_line(census: &BTreeMap<Generation, u64>) -> String {
    let part = |(generation, count): (&Generation, &u64)| format!("generation {generation}: {count}");
    census.iter().map(part).collect::<Vec<_>>().join(", ")
}
