//! The thread that drives one volume's rotation: candidates, pace, one step of the pipeline, again.
//!
//! Invariants: the record of the rotation is read anew before every batch, so a rollback or a pause takes effect with
//! the next one; nothing is held while waiting for the pace, and beside clients a batch is drawn out over the time that its
//! pace gives it, for no longer than [`crate::engine::SLOWEST`] allows; the thread ends with nothing under way.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::board::Board;
use super::controller::Probe;
use super::order::Cursor;
use super::pace::Pacer;
use crate::engine::Restraint;
use crate::format::generations::{Order, Phase, Rotation, VerifyMode};
use crate::latency::Histogram;
use crate::units::Generation;
use crate::volume::pipeline::{Counters, Pipeline};
use crate::volume::{Volume, VolumeError};

/// Bytes of a batch beside active clients: what is held at a time, so what a write may find held.
const BATCH_ACTIVE: u64 = 2 << 20;
/// Client requests this recent mean active clients.
const ACTIVE: Duration = Duration::from_secs(1);
/// Waiting longer than this for the pace ends the holds first.
const HOLD_PATIENCE: Duration = Duration::from_millis(2);
/// The longest wait before the pace is asked again.
const NAP: Duration = Duration::from_millis(20);
/// By how much the work of a batch is done faster than its pace asks for, so that the pace, not this, is what it keeps to.
const HASTE: f64 = 1.25;
/// After a step that could take nothing, because clients keep writing to all that is left.
const CROWDED: Duration = Duration::from_millis(5);

/// Why the worker ended.
#[derive(Debug)]
pub enum End {
    /// Every extent carries the target.
    Drained,
    /// What is left cannot be moved for want of a key: it goes on when that is loaded.
    Closed,
    /// Paused, rolled back meanwhile, or told to stop: the record says.
    Stopped,
}

pub struct Worker {
    pub volume: Arc<Volume>,
    pub pipeline: Pipeline,
    pub board: Arc<Board>,
    pub probe: Probe,
    pub restraint: Arc<Restraint>,
    began: Instant,
    traffic: u64,
    active_at: Option<Instant>,
}

impl Worker {
    pub fn new(
        volume: Arc<Volume>,
        pipeline: Pipeline,
        board: Arc<Board>,
        probe: Probe,
        restraint: Arc<Restraint>,
    ) -> Worker {
        let traffic = board.traffic(&volume);
        Worker { volume, pipeline, board, probe, restraint, began: Instant::now(), traffic, active_at: None }
    }

    /// Runs until the volume is drained, or it is told to stop. Nothing is under way afterwards.
    pub fn run(&mut self) -> Result<End, VolumeError> {
        let end = self.rotate();
        let target = self.volume.rotation().target;
        let drained = match &end {
            Err(_) if self.volume.poisoned().is_some() => Ok(()),
            _ => self.pipeline.drain(target),
        };
        self.report();
        let end = end?;
        drained?;
        Ok(end)
    }

    fn rotate(&mut self) -> Result<End, VolumeError> {
        let mut rotation = self.volume.rotation();
        let mut cursor = self.cursor(&rotation.order);
        let mut pacer = Pacer::new(rotation.pace, self.now(), moved(self.pipeline.counters()));
        let mut seen = (self.probe)();
        loop {
            if self.board.is_held() {
                return Ok(End::Stopped);
            }
            let latest = self.volume.rotation();
            if latest.phase != Phase::Running {
                return Ok(End::Stopped);
            }
            if self.volume.barred() > 0 {
                // Their intents pin the ring, which the rotation would fill.
                return Ok(End::Closed);
            }
            if latest.order != rotation.order || latest.target != rotation.target {
                cursor = self.cursor(&latest.order);
            }
            pacer.set(latest.pace);
            rotation = latest;
            if !self.keep_pace(&mut pacer, &mut seen, rotation.target)? {
                continue;
            }
            let beside_clients = self.mind_clients(&pacer, rotation.verify);
            let candidates = self.candidates(&mut cursor, &rotation, beside_clients);
            if candidates.is_empty()
                && let Some(end) = self.end(rotation.target)?
            {
                return Ok(end);
            }
            let before = self.pipeline.counters();
            self.pipeline.step(&candidates, rotation.target, sample(rotation.verify))?;
            let after = self.pipeline.counters();
            pacer.spend_up_to(moved(after));
            self.report();
            if !candidates.is_empty() && !self.pipeline.holds_any() && after.extents == before.extents {
                self.board.sleep(CROWDED);
            }
        }
    }

    /// How it ends, if nothing is left: asked when a whole round of the cursor found nothing.
    fn end(&mut self, target: Generation) -> Result<Option<End>, VolumeError> {
        if !self.pipeline.is_idle() {
            self.pipeline.drain(target)?;
        }
        if self.volume.rotation().target != target {
            return Ok(None);
        }
        let left: Vec<Generation> = self.volume.census().into_keys().filter(|tag| *tag != target).collect();
        Ok(match left.iter().all(|tag| self.volume.is_closed(*tag)) {
            true if left.is_empty() => Some(End::Drained),
            true => Some(End::Closed),
            false => None,
        })
    }

    /// Waits as the pace asks; false if the wait was cut short by a command.
    fn keep_pace(&mut self, pacer: &mut Pacer, seen: &mut Histogram, target: Generation) -> Result<bool, VolumeError> {
        loop {
            let now = self.now();
            if pacer.window_over(now) {
                let latest = (self.probe)();
                pacer.hear(now, &latest.since(seen));
                *seen = latest;
            }
            let wait = pacer.wait(self.now(), self.clients_active());
            if wait.is_zero() {
                return Ok(true);
            }
            if wait > HOLD_PATIENCE {
                self.pipeline.end_holds(target)?;
                self.report();
            }
            if self.board.sleep(wait.min(NAP)) {
                return Ok(false);
            }
        }
    }

    /// Tells engine and pipeline whether clients are active, and the caller. Beside clients only a rotation that may go as
    /// fast as it can takes the device for itself; another one spreads its work over the time it has.
    fn mind_clients(&mut self, pacer: &Pacer, verify: VerifyMode) -> bool {
        let active = self.clients_active();
        let rate = pacer.rate(active).filter(|_| active);
        self.restraint.set(rate.map(|rate| (rate * io_per_byte(verify) * HASTE) as u64));
        self.pipeline.set_beside_clients(active);
        active
    }

    fn candidates(&self, cursor: &mut Cursor, rotation: &Rotation, beside_clients: bool) -> Vec<crate::units::Extent> {
        let shape = self.volume.shape();
        let mut bytes = shape.batch_bytes();
        if beside_clients {
            bytes = bytes.min(BATCH_ACTIVE);
        }
        if rotation.pace.rate > 0 {
            bytes = bytes.min(rotation.pace.rate / 8);
        }
        let most = (bytes / shape.extent_size).max(1) as usize;
        let (old, closed): (Vec<Generation>, Vec<Generation>) = self
            .volume
            .census()
            .into_keys()
            .filter(|tag| *tag != rotation.target)
            .partition(|tag| !self.volume.is_closed(*tag));
        // What cannot be read is passed over, as if it carried the target.
        cursor.next(most, rotation.target, &old, |extent| match self.volume.tag(extent) {
            tag if closed.contains(&tag) => rotation.target,
            tag => tag,
        })
    }

    fn cursor(&self, order: &Order) -> Cursor {
        let shape = self.volume.shape();
        Cursor::new(order.clone(), shape.extents(), shape.extent_size)
    }

    fn clients_active(&mut self) -> bool {
        let traffic = self.board.traffic(&self.volume);
        if traffic != self.traffic {
            self.traffic = traffic;
            self.active_at = Some(Instant::now());
        }
        self.active_at.is_some_and(|at| at.elapsed() < ACTIVE)
    }

    fn report(&self) {
        self.board.report(self.pipeline.counters(), self.volume.metadata_bytes());
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

/// Bytes behind a pipeline, holes included.
fn moved(counters: Counters) -> u64 {
    counters.bytes + counters.holes
}

/// Bytes read and written for each byte that a rotation moves.
fn io_per_byte(verify: VerifyMode) -> f64 {
    2.0 + f64::from(sample(verify)) / 1e6
}

/// Extents in a million to read back.
fn sample(verify: VerifyMode) -> u32 {
    match verify {
        VerifyMode::Off => 0,
        VerifyMode::Sample(ppm) => ppm,
        VerifyMode::Full => 1_000_000,
    }
}

/// Seconds since 1970.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
