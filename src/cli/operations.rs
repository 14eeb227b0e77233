//! The verbs of the control API on a running daemon: names in, controllers asked, words out.

pub mod holders;
pub mod life;
mod plan;
mod wraps;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::config::KeyPolicy;
use super::{alarms, failure_of, words};
use crate::control::Operations;
use crate::control::api::{
    self, ActionResult, ApiError, BackupRequest, BackupResult, CheckRequest, CheckState, CheckStatus, DaemonStatus,
    ErrorKind, EscrowRequest, Growing, HolderList, HolderNamed, HolderRequest, HolderResult, IoReport, KeyActed,
    KeyInfo, PaceRequest, PauseRequest, ProofVerdict, ReasonRequest, ResizeRequest, Resized, RewrapRequest, Rewrapped,
    RotateStart, RotationPlan, VerifyRequest, VolumeStatus, WrapAddRequest, WrapRemoveRequest,
};
use crate::control::door::Door;
use crate::control::peers::not_replicated;
use crate::crypto::{EngineKind, Standing, Suite, SuitePolicy};
use crate::format::generations::{RANGES_MAX, REASON_MAX};
use crate::keys::Witness;
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
    /// Its alarms.
    pub alarms: alarms::Alarms,
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
    /// What is recorded of its own accord goes through it.
    pub door: Arc<Door>,
    /// Where statements of retirement are kept.
    pub state_dir: PathBuf,
    /// What the operator wants of keys.
    pub policy: KeyPolicy,
    /// Who is told of every use of a KEK.
    pub witness: Arc<dyn Witness>,
    /// Where cipher suites stand.
    pub suites: SuitePolicy,
    /// Where the daemon's settings were read: the path of a file, or `command line`.
    pub place: String,
}

impl DaemonOperations {
    /// The volume of a name.
    pub fn find(&self, name: &str) -> Result<&Arc<Served>, ApiError> {
        self.volumes.iter().find(|served| served.name == name).ok_or_else(|| ApiError::no_such_volume(name))
    }

    /// Refuses the suite that a rotation asks for, or goes on with, if policy forbids it.
    pub fn refuse_forbidden_of(&self, served: &Served, given: Option<&String>) -> Result<(), ApiError> {
        let table = served.controller.volume().table();
        let present = table.entry(table.rotation.target).map_or(0, |entry| entry.suite);
        self.refuse_forbidden(suite(given, present)?)
    }

    fn refuse_forbidden(&self, suite: Suite) -> Result<(), ApiError> {
        let verdict = self.suites.verdict(suite, words::now());
        match verdict.standing {
            Standing::Forbidden => Err(ApiError::new(ErrorKind::Denied, words::standing(suite, &verdict))
                .at(self.place.clone())
                .hint("choose another --cipher")),
            Standing::Allowed | Standing::Deprecated => Ok(()),
        }
    }

    fn volume_status(&self, served: &Served) -> VolumeStatus {
        volume_status(served, &self.suites, self.policy.drill_max_age)
    }

    fn result(&self, served: &Served, changed: bool, notes: Vec<String>) -> ActionResult {
        let (volume, rotation) = (served.name.clone(), rotation_of(served));
        ActionResult { volume, changed, complete: true, notes, rotation }
    }
}

/// A failure of the volume, in the API's words.
pub fn failed(error: VolumeError) -> ApiError {
    failure_of::volume_api(&error)
}

/// The rotation of a volume, in the API's words.
pub fn rotation_of(served: &Served) -> api::Rotation {
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

fn volume_status(served: &Served, suites: &SuitePolicy, drill_max_age: Option<u64>) -> VolumeStatus {
    let volume = served.controller.volume();
    let caps = volume.caps();
    let shape = volume.shape();
    let (active, status) = (volume.rotation().target, served.controller.status());
    let mut raised = served.alarms.list();
    raised.extend(alarms::of_suites(&volume.table(), volume, suites, &served.name));
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
        alarms: raised,
        growing: status.progress.growing.map(|(bytes_done, bytes_total)| Growing { bytes_done, bytes_total }),
        drills_overdue: holders::count_overdue(volume, drill_max_age),
        active_generation: active.0,
        census: volume.census().into_iter().map(|(generation, count)| (generation.0, count)).collect(),
        rotation: rotation_of(served),
        peers: None,
    }
}

/// The reason of a request, if it is not too long.
pub fn reason(given: Option<&String>) -> Result<String, ApiError> {
    match given {
        Some(text) if text.len() > REASON_MAX => {
            Err(ApiError::new(ErrorKind::BadInput, format!("the reason is longer than {REASON_MAX} bytes")))
        }
        Some(text) => Ok(text.clone()),
        None => Ok(String::new()),
    }
}

/// The suite a request names, or the present one.
pub fn suite(given: Option<&String>, present: u16) -> Result<Suite, ApiError> {
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
            volumes: self.volumes.iter().map(|served| self.volume_status(served)).collect(),
            ..DaemonStatus::default()
        })
    }

    fn volume(&self, volume: &str) -> Result<VolumeStatus, ApiError> {
        Ok(self.volume_status(self.find(volume)?))
    }

    fn keys(&self, volume: &str) -> Result<Vec<KeyInfo>, ApiError> {
        let volume = self.find(volume)?.controller.volume();
        let references = volume.references();
        let count = |generation| references.get(&generation).copied().unwrap_or(0);
        let openings = volume.openings();
        let key = |entry: &_| life::key(self, entry, count(entry.generation), openings.get(&entry.generation));
        Ok(volume.table().entries.iter().map(key).collect())
    }

    fn retire_key(&self, volume: &str, request: &api::KeyRequest) -> Result<KeyActed, ApiError> {
        life::retire(self, volume, request)
    }

    fn restore_key(&self, volume: &str, request: &api::KeyRequest) -> Result<KeyActed, ApiError> {
        life::restore(self, volume, request)
    }

    fn schedule_key(&self, volume: &str, request: &api::ScheduleRequest) -> Result<KeyActed, ApiError> {
        life::schedule(self, volume, request)
    }

    fn cancel_key(&self, volume: &str, request: &api::KeyRequest) -> Result<KeyActed, ApiError> {
        life::cancel(self, volume, request)
    }

    fn destroy_key(&self, volume: &str, request: &api::DestroyRequest) -> Result<KeyActed, ApiError> {
        life::destroy(self, volume, request)
    }

    fn compromise_key(&self, volume: &str, request: &api::BreakGlassRequest) -> Result<KeyActed, ApiError> {
        life::compromise(self, volume, request)
    }

    fn revoke_key(&self, volume: &str, request: &api::KeyRequest) -> Result<KeyActed, ApiError> {
        life::revoke(self, volume, request)
    }

    fn reinstate_key(&self, volume: &str, request: &api::BreakGlassRequest) -> Result<KeyActed, ApiError> {
        life::reinstate(self, volume, request)
    }

    fn verify_proof(&self, volume: &str, request: &api::ProofRequest) -> Result<ProofVerdict, ApiError> {
        life::verify_proof(self, volume, request)
    }

    fn rotation(&self, volume: &str) -> Result<api::Rotation, ApiError> {
        Ok(rotation_of(self.find(volume)?))
    }

    fn plan(&self, volume: &str, request: &RotateStart) -> Result<RotationPlan, ApiError> {
        plan::plan(self, volume, request)
    }

    fn start(&self, volume: &str, request: &RotateStart) -> Result<ActionResult, ApiError> {
        let served = self.find(volume)?;
        if request.together.is_some() {
            return Err(not_replicated(volume));
        }
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
        let suite = suite(request.suite.as_ref(), present)?;
        self.refuse_forbidden(suite)?;
        let spec = RotationSpec {
            suite,
            order: words::order_in(&request.order),
            pace: words::pace_in(&request.pace),
            verify: words::verify_in(request.verify),
            hold_finalize: request.hold_finalize,
            paused: false,
            by: life::by(reason(request.reason.as_ref())?),
        };
        let generation = served.controller.start(&spec).map_err(failed)?;
        let mut notes = vec![format!("DEK generation {generation} is active; re-encryption has begun")];
        notes.extend(plan::risk_of(self, suite));
        Ok(self.result(served, true, notes))
    }

    fn pause(&self, volume: &str, _: &PauseRequest) -> Result<ActionResult, ApiError> {
        let served = self.find(volume)?;
        let changed = served.controller.pause().map_err(failed)?;
        Ok(self.result(served, changed, Vec::new()))
    }

    fn resume(&self, volume: &str, _: &PauseRequest) -> Result<ActionResult, ApiError> {
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
        let back = served.controller.roll_back(&life::by(reason(request.reason.as_ref())?)).map_err(failed)?;
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

    fn finalize(&self, volume: &str, request: &ReasonRequest) -> Result<ActionResult, ApiError> {
        let served = self.find(volume)?;
        let by = life::by(reason(request.reason.as_ref())?);
        let emptied = served.controller.finalize(&by).map_err(failed)?;
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

    fn rewrap(&self, volume: &str, request: &RewrapRequest) -> Result<Rewrapped, ApiError> {
        wraps::rewrap(self, volume, request)
    }

    fn wrap_add(&self, volume: &str, request: &WrapAddRequest) -> Result<Rewrapped, ApiError> {
        wraps::add(self, volume, request)
    }

    fn wrap_remove(&self, volume: &str, request: &WrapRemoveRequest) -> Result<Rewrapped, ApiError> {
        wraps::remove(self, volume, request)
    }

    fn holders(&self, volume: &str) -> Result<HolderList, ApiError> {
        Ok(holders::list(volume, self.find(volume)?.controller.volume(), self.policy.drill_max_age))
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
