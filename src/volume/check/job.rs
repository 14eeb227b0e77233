//! Online checks of one served volume, one at a time, on a thread of their own: start, look, stop.
//!
//! Invariants: the thread holds no lock while it checks, so a look never waits for it; the last outcome is kept until the
//! next check begins; a check that is stopped, or whose thread panics, ends as failed, never as passed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::{CheckReport, OnlineOptions};
use crate::keys::{Kek, Keks};
use crate::volume::{Volume, VolumeError};

/// Where a check stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum JobState {
    /// None was asked for since the volume was opened.
    #[default]
    None,
    /// Looking.
    Running,
    /// It has looked at everything.
    Done(Box<CheckReport>),
    /// It could not look at everything, and says why.
    Failed(String),
}

/// The check that runs, or the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobStatus {
    /// Where it stands.
    pub state: JobState,
    /// What was asked for.
    pub options: OnlineOptions,
    /// Seconds since 1970 when it began.
    pub started: u64,
    /// Bytes looked at.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

#[derive(Default)]
struct Board {
    status: JobStatus,
    stopping: bool,
}

/// Checks of one volume.
pub struct Checker {
    volume: Arc<Volume>,
    keks: Arc<Keks>,
    board: Arc<Mutex<Board>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Checker {
    /// A checker of an open volume; `keks` are those it was opened with.
    pub fn new(volume: Arc<Volume>, keks: Arc<Keks>) -> Checker {
        Checker { volume, keks, board: Arc::default(), thread: Mutex::new(None) }
    }

    /// Begins a check. Refused while one runs.
    pub fn start(&self, options: OnlineOptions, now: u64) -> Result<(), VolumeError> {
        let mut thread = lock(&self.thread);
        {
            let mut board = lock(&self.board);
            if board.stopping || board.status.state == JobState::Running {
                return Err(VolumeError::Refused("the volume is being checked already".into()));
            }
            board.status = JobStatus { state: JobState::Running, options, started: now, done: 0, total: 0 };
        }
        if let Some(ended) = thread.take() {
            let _ = ended.join();
        }
        let (volume, keks, board) = (Arc::clone(&self.volume), self.keks.now(), Arc::clone(&self.board));
        let run = move || {
            let state = outcome(&volume, &keks, options, &board);
            lock(&board).status.state = state;
        };
        match std::thread::Builder::new().name("km-check".into()).spawn(run) {
            Ok(started) => {
                *thread = Some(started);
                Ok(())
            }
            Err(source) => {
                lock(&self.board).status.state = JobState::Failed(format!("no thread could be started: {source}"));
                Err(VolumeError::Io { what: "start a thread", source })
            }
        }
    }

    /// The check that runs, or the last one.
    pub fn status(&self) -> JobStatus {
        lock(&self.board).status.clone()
    }

    /// Cuts a running check short and waits for its end; none starts any more.
    pub fn stop(&self) {
        lock(&self.board).stopping = true;
        if let Some(thread) = lock(&self.thread).take() {
            let _ = thread.join();
        }
    }
}

fn outcome(volume: &Volume, keks: &[Kek], options: OnlineOptions, board: &Mutex<Board>) -> JobState {
    let mut progress = |done, total| {
        let mut board = lock(board);
        (board.status.done, board.status.total) = (done, total);
        !board.stopping
    };
    match catch_unwind(AssertUnwindSafe(|| volume.check_online(keks, options, &mut progress))) {
        Ok(Ok(report)) => JobState::Done(Box::new(report)),
        Ok(Err(error)) => {
            let mut why = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                why = format!("{why}: {source}");
            }
            JobState::Failed(why)
        }
        Err(_) => JobState::Failed("the check met a fault of its own; the daemon's log has the details".into()),
    }
}
