//! The io_uring engine: one ring per thread, operations owned by slots, small page-cache I/O on the calling thread.
//!
//! Invariants:
//! - A submission points only into its boxed [`Slot`] and into buffers that slot owns. A slot is handed back or reused
//!   only after the completion of its last submission; a ring that is dropped first cancels and waits for all of them,
//!   and leaks the slots if it cannot (dropped on a foreign thread).
//! - No operation is lost: what finds the submission queue full waits in `backlog`.
//! - The ring starts disabled and belongs to the thread that first waits (SINGLE_ISSUER).
//! - In the steady state a `wait` is one `io_uring_enter`, or none if everything was finished inline.

mod buffers;
mod complete;
mod files;
mod slot;
mod submit;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::IoUring;
use io_uring::squeue::Entry;

use self::buffers::Chunks;
use self::files::Files;
use self::slot::Slot;
use self::submit::Way;
use super::{
    Disk, Done, Engine, EngineError, EngineOptions, EngineReport, EngineStats, Op, ProbeReport, Sock, Waker, probe,
};

/// User data of the read of the waker's eventfd; slots use their index.
const WAKE: u64 = u64::MAX;
/// User data of cancellations, whose own completions say nothing.
const CANCEL: u64 = u64::MAX - 1;

/// The io_uring engine.
pub struct RingEngine {
    ring: IoUring,
    probed: ProbeReport,
    options: EngineOptions,
    lost: Vec<String>,
    files: Files,
    chunks: Chunks,
    #[expect(clippy::vec_box, reason = "submissions point into slots: growing the table must not move them")]
    slots: Vec<Box<Slot>>,
    free: Vec<u32>,
    /// Submissions the kernel has not completed.
    in_flight: usize,
    /// Writes in slots.
    writes_under_way: usize,
    /// Submissions that found the queue full.
    backlog: VecDeque<Entry>,
    /// Operations finished without the ring, for the next `wait`.
    finished: Vec<Done>,
    /// Scratch: completions taken off the queue.
    reaped: Vec<(u64, i32)>,
    waker: Waker,
    /// Where the eventfd's count is read to.
    bell: Box<[u8; 8]>,
    bell_armed: bool,
    enabled: bool,
    closing: bool,
    /// Submissions are queued that a disk waits for: they must not be put off.
    urgent: bool,
    /// The last `wait` put entering the kernel off.
    put_off: bool,
    stats: EngineStats,
}

impl RingEngine {
    /// Probes, sets a ring up and registers what the system lets it register.
    pub fn new(options: &EngineOptions) -> Result<RingEngine, EngineError> {
        let (ring, probed) = probe::open_ring(options.entries)?;
        let waker = Waker::new().map_err(|source| EngineError::Setup { what: "eventfd", source })?;
        let mut lost = probed.lost.clone();
        let submitter = ring.submitter();
        let files = match options.register.then(|| Files::registered(&submitter)) {
            Some(Ok(files)) => files,
            refused => {
                lost.extend(without("registered files", refused.and_then(Result::err)));
                Files::unregistered()
            }
        };
        let chunks = match options.register.then(|| Chunks::registered(&submitter)) {
            Some(Ok(chunks)) => chunks,
            refused => {
                lost.extend(without("registered buffers", refused.and_then(Result::err)));
                Chunks::unregistered()
            }
        };
        if let Err(error) = submitter.register_iowq_max_workers(&mut [options.workers; 2]) {
            lost.extend(without("a bound on kernel workers", Some(error)));
        }
        Ok(RingEngine {
            ring,
            probed,
            options: *options,
            lost,
            files,
            chunks,
            slots: Vec::new(),
            free: Vec::new(),
            in_flight: 0,
            writes_under_way: 0,
            backlog: VecDeque::new(),
            finished: Vec::new(),
            reaped: Vec::new(),
            waker,
            bell: Box::new([0; 8]),
            bell_armed: false,
            enabled: false,
            closing: false,
            urgent: false,
            put_off: false,
            stats: EngineStats::default(),
        })
    }
}

impl Engine for RingEngine {
    fn submit(&mut self, token: u64, mut op: Op) {
        self.stats.count(&op);
        if !op.in_bounds() {
            let result = Err(io::ErrorKind::InvalidInput.into());
            self.finished.push(Done { token, result, op });
            return;
        }
        match self.way(&mut op) {
            Way::Finished(result) => self.finished.push(Done { token, result, op }),
            Way::Ring(moved) => self.start(token, op, moved),
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Done>) -> io::Result<()> {
        self.enable()?;
        self.arm_bell();
        let before = done.len();
        let deadline = timeout.filter(|time| !time.is_zero()).map(|time| Instant::now() + time);
        loop {
            self.drain_backlog();
            done.append(&mut self.finished);
            let idle = done.len() == before;
            let block = idle && timeout != Some(Duration::ZERO);
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let expired = match idle || self.must_enter() {
                true => self.enter(usize::from(block), left)?,
                false => false,
            };
            let woken = self.reap(done);
            done.append(&mut self.finished);
            if woken || done.len() > before || !block || expired || left == Some(Duration::ZERO) {
                return Ok(());
            }
        }
    }

    fn forget_socket(&mut self, socket: &Arc<Sock>) {
        self.files.forget_socket(&self.ring.submitter(), socket);
    }

    fn forget_disk(&mut self, disk: &Arc<dyn Disk>) {
        self.files.forget_disk(&self.ring.submitter(), disk);
    }

    fn has_finished(&self) -> bool {
        !self.finished.is_empty()
    }

    fn pending(&self) -> usize {
        self.finished.len() + self.slots.len() - self.free.len()
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn report(&self) -> EngineReport {
        let used = [
            (self.probed.defer_taskrun, "deferred task work"),
            (self.probed.coop_taskrun, "cooperative task work"),
            (self.files.is_registered(), "registered files"),
            (self.chunks.is_registered(), "registered buffers"),
            (self.options.workers <= 2, "few kernel workers"),
        ];
        let features = used.iter().filter(|(used, _)| *used).map(|&(_, name)| name).collect();
        let mut lost = self.lost.clone();
        if let Some(error) = self.chunks.refused() {
            lost.push(format!("registering more buffers: {error} (ulimit -l bounds lockable memory)"));
        }
        EngineReport { name: "io_uring", features, lost }
    }

    fn stats(&self) -> EngineStats {
        self.stats
    }
}

impl Drop for RingEngine {
    fn drop(&mut self) {
        if !self.close() {
            // The kernel may still write to these: losing memory is the lesser evil.
            tracing::error!("a ring could not be drained; its buffers are leaked");
            mem::forget(mem::take(&mut self.slots));
            mem::forget(mem::replace(&mut self.bell, Box::new([0; 8])));
        }
    }
}

fn without(what: &str, why: Option<io::Error>) -> Option<String> {
    Some(match why {
        Some(error) => format!("{what}: {error}"),
        None => format!("{what}: not wanted"),
    })
}
