//! One volume's rotation as the control plane sees it: commands in, status out.
//!
//! Invariants: a command changes the record on disk first and the worker second; at most one worker thread runs; status
//! never waits for the worker. A volume that asks for no approval finalizes itself when every extent has been moved and
//! read back as its verification asks.

mod wraps;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::board::{Board, Progress};
use super::worker::{End, Worker, unix_now};
use crate::engine::{Engine, EngineError, Gentle, Restraint};
use crate::format::generations::{Pace, Phase, Rotation};
use crate::keys::Keks;
use crate::latency::Histogram;
use crate::units::Generation;
use crate::volume::life::By;
use crate::volume::lifecycle::RotationSpec;
use crate::volume::pipeline::{Counters, Pipeline};
use crate::volume::{Volume, VolumeError};

/// Threads a rotation works with at most: what memory can feed.
const LANES_MAX: usize = 4;

/// Gives client latency since the server started.
pub type Probe = Arc<dyn Fn() -> Histogram + Send + Sync>;
/// Makes an engine for a worker.
pub type MakeEngine = Arc<dyn Fn() -> Result<Box<dyn Engine>, EngineError> + Send + Sync>;

/// Where a rotation stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateName {
    /// None was ever started.
    Idle,
    /// Extents are being re-encrypted.
    Running,
    /// Held by an operator.
    Paused,
    /// Being read back on request.
    Verifying,
    /// Drained and verified; waits for `finalize`.
    Verified,
    /// Done.
    Finalized,
    /// Going back.
    RollingBack,
    /// Back.
    RolledBack,
    /// Stopped by a failure.
    Failed,
}

/// What `status` shows.
#[derive(Clone, Debug)]
pub struct Status {
    /// The record on disk.
    pub rotation: Rotation,
    /// Where it stands.
    pub state: StateName,
    /// What it waits for, or why it failed.
    pub why: Option<String>,
    /// Figures.
    pub progress: Progress,
    /// Extents that carry the target.
    pub extents_done: u64,
    /// Extents of the volume.
    pub extents_total: u64,
}

/// Commands for one volume.
pub struct Controller {
    pub(super) volume: Arc<Volume>,
    pub(super) keks: Arc<Keks>,
    make_engine: MakeEngine,
    probe: Probe,
    pub(super) board: Arc<Board>,
    /// Serializes what asks the keepers of KEKs, so that no key is made for KEKs that are just being exchanged; taken before
    /// `commands`.
    making_keys: Mutex<()>,
    /// Serializes commands, and holds the worker thread.
    commands: Mutex<Option<JoinHandle<()>>>,
}

impl Controller {
    /// A controller for an open volume. Call [`Controller::go_on`] once it is served.
    pub fn new(volume: Arc<Volume>, keks: Arc<Keks>, make_engine: MakeEngine, probe: Probe) -> Controller {
        let (making_keys, commands) = (Mutex::new(()), Mutex::new(None));
        Controller { volume, keks, make_engine, probe, board: Arc::default(), making_keys, commands }
    }

    /// The volume.
    pub fn volume(&self) -> &Arc<Volume> {
        &self.volume
    }

    pub(super) fn commands(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on with a rotation that a restart interrupted.
    pub fn go_on(&self) {
        let mut worker = self.commands();
        if self.volume.rotation().phase == Phase::Running && !self.volume.read_only() {
            self.ensure_worker(&mut worker);
        }
    }

    pub(super) fn making_keys(&self) -> MutexGuard<'_, ()> {
        self.making_keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a rotation to a new generation. One may start while older generations still drain. Other commands do not
    /// wait for the keepers of KEKs: pausing must work while one of them hangs.
    pub fn start(&self, spec: &RotationSpec) -> Result<Generation, VolumeError> {
        let _keys = self.making_keys();
        let new = self.volume.make_key(&self.keks.now(), spec)?;
        let mut worker = self.commands();
        let generation = self.volume.start_rotation_to(new, spec)?;
        self.fresh_figures();
        self.ensure_worker(&mut worker);
        Ok(generation)
    }

    /// Holds the rotation; batches in flight finish. False: it was not running.
    pub fn pause(&self) -> Result<bool, VolumeError> {
        let worker = self.commands();
        if self.volume.rotation().phase != Phase::Running {
            return Ok(false);
        }
        self.volume.update_rotation(|rotation| rotation.phase = Phase::Paused)?;
        self.nudge();
        drop(worker);
        Ok(true)
    }

    /// Lets a paused or failed rotation go on. False: it was neither.
    pub fn resume(&self) -> Result<bool, VolumeError> {
        let mut worker = self.commands();
        if !matches!(self.volume.rotation().phase, Phase::Paused | Phase::Failed) {
            return Ok(false);
        }
        self.volume.update_rotation(|rotation| rotation.phase = Phase::Running)?;
        self.board.lock().progress.last_error = None;
        self.ensure_worker(&mut worker);
        Ok(true)
    }

    /// Changes the pace.
    pub fn pace(&self, pace: Pace) -> Result<bool, VolumeError> {
        let _worker = self.commands();
        if self.volume.rotation().pace == pace {
            return Ok(false);
        }
        self.volume.update_rotation(|rotation| rotation.pace = pace)?;
        self.nudge();
        Ok(true)
    }

    /// Makes the previous generation the target again: one commit.
    pub fn roll_back(&self, by: &By) -> Result<Generation, VolumeError> {
        let mut worker = self.commands();
        let back = self.volume.roll_back(by)?;
        self.fresh_figures();
        self.nudge();
        self.ensure_worker(&mut worker);
        Ok(back)
    }

    /// Ends the way back.
    pub fn finalize(&self, by: &By) -> Result<Vec<Generation>, VolumeError> {
        let mut worker = self.commands();
        self.let_end(&mut worker);
        if self.board.lock().running {
            return Err(VolumeError::Refused("cannot finalize: the rotation is still running".into()));
        }
        self.volume.finalize(by)
    }

    /// Makes the volume `size` bytes large, and calls `tell` with its size before any other command can change it. Gives the
    /// size before.
    ///
    /// # Errors
    /// It is refused, or a device failed. A rotation that moves extents is in the way; one that is held, failed or waits
    /// for `finalize` is not: it has left no record that names an extent, and new extents carry its target.
    pub fn grow(&self, size: u64, tell: &dyn Fn(u64)) -> Result<u64, VolumeError> {
        let mut worker = self.commands();
        self.let_end(&mut worker);
        if self.board.lock().running {
            let why =
                "the volume cannot grow while a rotation moves extents: `rotate pause` it, or wait until it is done";
            return Err(VolumeError::Refused(why.into()));
        }
        let grown = self.volume.grow(size, &mut |done, total| {
            self.board.lock().progress.growing = Some((done, total));
            !self.board.is_stopping()
        });
        self.board.lock().progress.growing = None;
        tell(self.volume.size());
        grown
    }

    /// Reads extents back through both engines, in a thread of its own; `status` shows how far it is.
    pub fn verify(&self, sample: u32) -> Result<(), VolumeError> {
        let _worker = self.commands();
        let total = u64::from(self.volume.shape().extents());
        {
            let mut state = self.board.lock();
            if state.progress.reading_back.is_some() {
                return Err(VolumeError::Refused("the volume is being read back already".into()));
            }
            state.progress.reading_back = Some((0, total));
        }
        let (volume, board) = (Arc::clone(&self.volume), Arc::clone(&self.board));
        let read_back = move || {
            let done = volume.read_all_back(sample, &mut |done| {
                board.lock().progress.reading_back = Some((done, total));
                !board.is_stopping()
            });
            let mut state = board.lock();
            state.progress.reading_back = None;
            match done {
                Ok(verified) => state.progress.counters.verified = state.progress.counters.verified.max(verified),
                Err(error) => state.progress.last_error = Some(describe(&error)),
            }
        };
        let spawned = std::thread::Builder::new().name("km-verify".into()).spawn(read_back);
        spawned.map(|_| ()).map_err(VolumeError::io("start a thread"))
    }

    /// What `status` shows.
    pub fn status(&self) -> Status {
        let rotation = self.volume.rotation();
        let progress = self.board.lock().progress.clone();
        let extents_done = self.volume.census().get(&rotation.target).copied().unwrap_or(0);
        let (state, why) = name_state(&rotation, &progress, &self.volume);
        Status { state, why, progress, extents_done, extents_total: u64::from(self.volume.shape().extents()), rotation }
    }

    /// Ends the worker; batches in flight finish. The record stays, so the next start goes on.
    pub fn stop(&self) {
        // Before the commands: one that takes long asks for it.
        self.board.lock().stopping = true;
        self.board.changed.notify_all();
        let mut worker = self.commands();
        if let Some(thread) = worker.take() {
            let _ = thread.join();
        }
    }

    /// Waits for a worker that is on its way out, with the batches that were in flight.
    fn let_end(&self, worker: &mut Option<JoinHandle<()>>) {
        if self.volume.rotation().phase != Phase::Running
            && let Some(ending) = worker.take()
        {
            let _ = ending.join();
        }
    }

    pub(super) fn nudge(&self) {
        self.board.lock().nudged = true;
        self.board.changed.notify_all();
    }

    pub(super) fn fresh_figures(&self) {
        self.board.lock().fresh_figures(self.volume.metadata_bytes());
    }

    /// Starts a worker unless one runs. A worker about to end sees the new record under the same lock, or a new one starts.
    pub(super) fn ensure_worker(&self, worker: &mut Option<JoinHandle<()>>) {
        let mut state = self.board.lock();
        if state.running || state.stopping {
            return;
        }
        state.running = true;
        (state.base, state.earlier, state.latest) = (state.progress.counters, Counters::default(), Counters::default());
        state.nudged = false;
        drop(state);
        if let Some(ended) = worker.take() {
            let _ = ended.join();
        }
        let (volume, board) = (Arc::clone(&self.volume), Arc::clone(&self.board));
        let (make_engine, probe) = (Arc::clone(&self.make_engine), Arc::clone(&self.probe));
        let run = move || drive(&volume, &board, &make_engine, &probe);
        match std::thread::Builder::new().name("km-rotate".into()).spawn(run) {
            Ok(thread) => *worker = Some(thread),
            Err(error) => {
                let mut state = self.board.lock();
                state.running = false;
                state.progress.last_error = Some(format!("the rotation's thread could not be started: {error}"));
            }
        }
    }
}

/// The worker thread: runs workers until the record says there is nothing to do.
fn drive(volume: &Arc<Volume>, board: &Arc<Board>, make_engine: &MakeEngine, probe: &Probe) {
    if let Err(error) = crate::engine::priority::step_back() {
        tracing::warn!(volume = %volume.id(), %error, "the rotation runs at the priority of those that serve clients");
    }
    loop {
        let ended = match make_engine() {
            Ok(engine) => {
                let restraint = Arc::new(Restraint::default());
                let engine = Box::new(Gentle::new(engine, Arc::clone(&restraint)));
                let mut pipeline = Pipeline::new(Arc::clone(volume), engine);
                add_helpers(&mut pipeline, make_engine);
                Worker::new(Arc::clone(volume), pipeline, Arc::clone(board), Arc::clone(probe), restraint).run()
            }
            Err(error) => Err(VolumeError::from(error)),
        };
        let outcome = ended.and_then(|end| match end {
            End::Drained => conclude(volume, board),
            End::Closed => rest(volume),
            End::Stopped => Ok(()),
        });
        if let Err(error) = outcome {
            let text = describe(&error);
            tracing::error!(volume = %volume.id(), error = %text, "rotation stopped");
            board.lock().progress.last_error = Some(text);
            let unverified = matches!(error, VolumeError::ReadBack { .. } | VolumeError::NotReadBack { .. });
            let _ = volume.update_rotation(|rotation| {
                rotation.phase = Phase::Failed;
                // What was not verified does not finalize itself, however the rotation goes on.
                rotation.hold_finalize |= unverified;
            });
        }
        // Decide under the lock: a command that set the phase to running meanwhile must not be lost.
        let mut state = board.lock();
        let again =
            volume.rotation().phase == Phase::Running && !state.stopping && !state.held && volume.poisoned().is_none();
        state.base = state.progress.counters;
        state.nudged = false;
        if !again {
            state.running = false;
            state.rate_mark = None;
            state.progress.rate = 0.0;
            return;
        }
    }
}

/// A helper for each further processor, as far as they can be had: a rotation goes on without.
fn add_helpers(pipeline: &mut Pipeline, make_engine: &MakeEngine) {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    for _ in 1..processors.min(LANES_MAX) {
        let added = make_engine().map_err(VolumeError::from).and_then(|engine| pipeline.add_helper(engine));
        if let Err(error) = added {
            tracing::warn!(error = %describe(&error), "a rotation does with fewer threads");
        }
    }
}

/// Every extent carries the target: enters that, and finalizes unless the operator wants to.
fn conclude(volume: &Arc<Volume>, board: &Board) -> Result<(), VolumeError> {
    let verified = board.lock().progress.counters.verified;
    let target = volume.rotation().target;
    volume.update_rotation(|rotation| {
        if rotation.phase == Phase::Running && rotation.target == target {
            rotation.phase = Phase::Drained;
            rotation.drained = unix_now();
            rotation.verified = verified;
        }
    })?;
    let rotation = volume.rotation();
    if rotation.phase == Phase::Drained && !rotation.hold_finalize {
        volume.finalize(&By::daemon("every extent is moved and verified", unix_now()))?;
    }
    Ok(())
}

/// What is left cannot be read: the rotation is held until an operator says otherwise.
fn rest(volume: &Arc<Volume>) -> Result<(), VolumeError> {
    volume.update_rotation(|rotation| {
        if rotation.phase == Phase::Running {
            rotation.phase = Phase::Paused;
        }
    })
}

fn name_state(rotation: &Rotation, progress: &Progress, volume: &Volume) -> (StateName, Option<String>) {
    if let Some(reason) = volume.poisoned() {
        return (StateName::Failed, Some(format!("the volume is poisoned: {reason}")));
    }
    if let Some((done, total)) = progress.reading_back {
        return (StateName::Verifying, Some(format!("{done} of {total} extents read back")));
    }
    match (rotation.phase, rotation.is_rollback) {
        (Phase::Idle, _) => (StateName::Idle, None),
        (Phase::Running, false) => (StateName::Running, None),
        (Phase::Running, true) => (StateName::RollingBack, None),
        (Phase::Paused, _) => (StateName::Paused, Some(super::life::why_paused(rotation, volume))),
        (Phase::Drained, _) => (StateName::Verified, Some("waits for `rotate finalize`".into())),
        (Phase::Finalized, false) => (StateName::Finalized, None),
        (Phase::Finalized, true) => (StateName::RolledBack, None),
        (Phase::Failed, _) => (StateName::Failed, progress.last_error.clone()),
    }
}

/// An error with its causes, in one line.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}
