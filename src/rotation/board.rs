//! What a rotation's controller and its worker share: figures, and whether the worker shall end.
//!
//! Invariants: figures are those of the rotation on record, also where one worker drove two of them in a row; one lock, held
//! for a few assignments.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::volume::Volume;
use crate::volume::pipeline::Counters;

/// Figures of the rotation since this process began to drive it.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// What the pipelines did.
    pub counters: Counters,
    /// Metadata bytes written.
    pub metadata_bytes: u64,
    /// Bytes per second lately, holes included.
    pub rate: f64,
    /// The last error, whether or not the rotation goes on.
    pub last_error: Option<String>,
    /// Extents read back by `verify`, of so many.
    pub reading_back: Option<(u64, u64)>,
    /// Bytes zeroed for a growth, of so many.
    pub growing: Option<(u64, u64)>,
}

/// What is on the board.
#[derive(Default)]
pub(super) struct State {
    pub(super) progress: Progress,
    /// Counters of workers that have ended.
    pub(super) base: Counters,
    /// What the running worker had counted when this rotation began: it belongs to the one before.
    pub(super) earlier: Counters,
    /// What the running worker last reported.
    pub(super) latest: Counters,
    metadata_base: u64,
    pub(super) rate_mark: Option<(Instant, u64)>,
    pub(super) running: bool,
    pub(super) stopping: bool,
    /// The worker shall end, with nothing under way, until this is taken back.
    pub(super) held: bool,
    pub(super) nudged: bool,
}

impl State {
    /// Figures begin at nothing: a rotation has begun, perhaps while the worker of the one before it still runs.
    pub(super) fn fresh_figures(&mut self, metadata_bytes: u64) {
        let State { running, stopping, held, nudged, latest, .. } = *self;
        let progress = Progress { reading_back: self.progress.reading_back, ..Progress::default() };
        let metadata_base = metadata_bytes;
        *self = State {
            progress,
            earlier: latest,
            latest,
            metadata_base,
            running,
            stopping,
            held,
            nudged,
            ..State::default()
        };
    }
}

/// What controller and worker share.
#[derive(Default)]
pub struct Board {
    state: Mutex<State>,
    pub(super) changed: Condvar,
}

impl Board {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the worker shall end.
    pub fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    /// Whether the rotation's worker shall end, for good or until somebody has done something without it.
    pub fn is_held(&self) -> bool {
        let state = self.lock();
        state.stopping || state.held
    }

    /// Sleeps, at most `patience`; true if a command cut it short.
    pub fn sleep(&self, patience: Duration) -> bool {
        let state = self.lock();
        let waited =
            self.changed.wait_timeout_while(state, patience, |state| !state.nudged && !state.stopping && !state.held);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.nudged) || state.stopping || state.held
    }

    /// Client bytes so far.
    pub fn traffic(&self, volume: &Volume) -> u64 {
        volume.traffic.read.load(Relaxed) + volume.traffic.written.load(Relaxed)
    }

    /// The worker's figures.
    pub fn report(&self, counters: Counters, metadata_bytes: u64) {
        let mut state = self.lock();
        state.latest = counters;
        let sum = state.base + counters.since(state.earlier);
        let moved = sum.bytes + sum.holes;
        let now = Instant::now();
        match state.rate_mark {
            None => state.rate_mark = Some((now, moved)),
            Some((mark, before)) if now - mark >= Duration::from_millis(200) => {
                let rate = (moved - before.min(moved)) as f64 / (now - mark).as_secs_f64();
                let smooth = if state.progress.rate == 0.0 { rate } else { state.progress.rate * 0.6 + rate * 0.4 };
                state.progress.rate = smooth;
                state.rate_mark = Some((now, moved));
            }
            Some(_) => {}
        }
        state.progress.counters = sum;
        state.progress.metadata_bytes = metadata_bytes.saturating_sub(state.metadata_base);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(bytes: u64) -> Counters {
        Counters { bytes, holes: 1, ..Counters::default() }
    }

    #[test]
    fn figures_of_a_rotation_begin_at_nothing_while_the_worker_of_the_one_before_still_runs() {
        let board = Board::default();
        board.lock().running = true;
        board.report(moved(100), 10);
        board.lock().fresh_figures(10);
        assert_eq!(board.lock().progress.counters, Counters::default());
        board.report(moved(160), 12);
        let progress = board.lock().progress.clone();
        assert_eq!((progress.counters.bytes, progress.counters.holes, progress.metadata_bytes), (60, 0, 2));
    }
}
