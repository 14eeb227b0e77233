//! The io_uring engine: one ring per thread, operations owned by slots, small page-cache I/O on the calling thread.
//!
//! Invariants:
//! - A submission points only into its boxed [`Slot`] and into buffers that slot owns. A slot is handed back or reused
//!   only after the completion of its last submission; a ring that is dropped first cancels and waits for all of them,
//!   and leaks the slots if it cannot (dropped on a foreign thread).
//! - No operation is lost: what finds the submission queue full waits in `backlog`.
//! - The ring starts disabled and belongs to the thread that first waits (SINGLE_ISSUER).
//! - In the steady state a `wait` is one `io_uring_enter`, or none if everything was finished inline.
#![allow(unsafe_code, reason = "submissions point to memory owned by slots")]

mod buffers;
mod files;
mod slot;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::squeue::Entry;
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode};

use self::buffers::Chunks;
use self::files::Files;
use self::slot::{Next, Slot};
use super::{
    Disk, Done, Engine, EngineError, EngineOptions, EngineReport, EngineStats, InlinePolicy, Op,
    ProbeReport, Sock, Waker, inline, probe, sys,
};
use crate::limits::INLINE_MAX;

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
    slots: Vec<Box<Slot>>,
    free: Vec<u32>,
    /// Submissions the kernel has not completed.
    in_flight: usize,
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
    stats: EngineStats,
}

/// Where a disk operation goes.
enum Way {
    /// Finished on the calling thread.
    Finished(io::Result<usize>),
    /// To the ring, so many bytes being done.
    Ring(usize),
}

impl RingEngine {
    /// Probes, sets a ring up and registers what the system lets it register.
    pub fn new(options: &EngineOptions) -> Result<RingEngine, EngineError> {
        let (ring, probed) = probe::open_ring(options.entries)?;
        let waker = Waker::new().map_err(|source| EngineError::Setup {
            what: "eventfd",
            source,
        })?;
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
            backlog: VecDeque::new(),
            finished: Vec::new(),
            reaped: Vec::new(),
            waker,
            bell: Box::new([0; 8]),
            bell_armed: false,
            enabled: false,
            closing: false,
            stats: EngineStats::default(),
        })
    }

    /// Runs a disk operation on the calling thread if that is the way for it.
    fn way(&mut self, op: &mut Op) -> Way {
        let Some(disk) = op.disk() else {
            return Way::Ring(0);
        };
        let entry = self.files.disk(&self.ring.submitter(), disk);
        let Some(fd) = entry.fd else {
            return self.run_inline(op);
        };
        let inline = entry.inline;
        let small = match op {
            Op::Read { range, .. } | Op::Write { range, .. } => range.len() <= INLINE_MAX,
            Op::Punch { len, .. } | Op::ZeroRange { len, .. } => *len <= INLINE_MAX as u64,
            Op::Flush { .. } => true,
            Op::Recv { .. } | Op::Send { .. } => false,
        };
        if small && inline == InlinePolicy::Always {
            return self.run_inline(op);
        }
        if entry.align > 1 && !memory_address(op).is_multiple_of(entry.align) {
            self.stats.bounced += 1;
            return self.run_inline(op);
        }
        let tried = match op {
            Op::Read {
                offset, buf, range, ..
            } if small && entry.read_nowait => Some((
                range.len(),
                sys::read_nowait(fd, &mut buf[range.clone()], *offset),
                &mut entry.read_nowait,
            )),
            Op::Write {
                offset,
                data,
                range,
                dsync: false,
                ..
            } if small && entry.write_nowait => Some((
                range.len(),
                sys::write_nowait(fd, &data[range.clone()], *offset),
                &mut entry.write_nowait,
            )),
            _ => None,
        };
        match tried {
            None => Way::Ring(0),
            Some((whole, Ok(moved), _)) if moved == whole => {
                self.stats.inlined += 1;
                Way::Finished(Ok(whole))
            }
            Some((_, Ok(moved), _)) => Way::Ring(moved),
            Some((_, Err(error), supported)) => {
                *supported &= error.raw_os_error() != Some(libc::EOPNOTSUPP);
                Way::Ring(0)
            }
        }
    }

    fn run_inline(&mut self, op: &mut Op) -> Way {
        self.stats.inlined += 1;
        Way::Finished(inline::run(op))
    }

    /// Puts an operation into a slot and starts it.
    fn start(&mut self, token: u64, op: Op, moved: usize) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Box::new(Slot::new()));
            (self.slots.len() - 1) as u32
        });
        let submitter = self.ring.submitter();
        let mut align = 1;
        let mut chunk = None;
        let target = match &op {
            Op::Recv { socket, .. } | Op::Send { socket, .. } => {
                self.files.socket(&submitter, socket)
            }
            Op::Read { disk, .. }
            | Op::Write { disk, .. }
            | Op::Flush { disk }
            | Op::Punch { disk, .. }
            | Op::ZeroRange { disk, .. } => {
                let entry = self.files.disk(&submitter, disk);
                align = entry.align;
                entry.target()
            }
        };
        if align > 1 {
            // Only direct I/O pins pages, so only there does pinning them beforehand gain anything.
            chunk = match &op {
                Op::Read { buf, .. } => self.chunks.index(&submitter, buf),
                Op::Write { data, .. } => self.chunks.index(&submitter, data.buf()),
                _ => None,
            };
        }
        let slot = &mut self.slots[index as usize];
        slot.fill(token, op, target, moved);
        slot.align = align;
        slot.chunk = chunk;
        self.launch(index);
    }

    /// Submits what is left of a slot's operation, or finishes it if nothing is.
    fn launch(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        match slot.entry() {
            Some(entry) => {
                slot.in_flight = true;
                self.push(entry.user_data(u64::from(index)));
            }
            None => {
                let result = slot.nothing_left();
                let done = self.retire(index, result);
                self.finished.extend(done);
            }
        }
    }

    /// Takes the operation out of a slot that no submission refers to.
    fn retire(&mut self, index: u32, result: io::Result<usize>) -> Option<Done> {
        let slot = &mut self.slots[index as usize];
        let op = slot.op.take()?;
        self.free.push(index);
        Some(Done {
            token: slot.token,
            result,
            op,
        })
    }

    fn push(&mut self, entry: Entry) {
        self.in_flight += 1;
        if !self.backlog.is_empty() || !self.try_push(&entry) {
            self.backlog.push_back(entry);
            // Make room; whatever goes wrong here goes wrong again, and is reported, in `wait`.
            if self.enable().is_ok() && self.enter(0, None).is_ok() {
                self.drain_backlog();
            }
        }
    }

    fn try_push(&mut self, entry: &Entry) -> bool {
        // SAFETY: the entry points into a boxed slot, into buffers that slot's operation owns, to static zeros or to
        // `bell`. None of them is freed, moved or rewritten before the entry's completion was reaped: slots are retired
        // only by `reap`, and `drop` waits for all completions or leaks slots and bell.
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    fn drain_backlog(&mut self) {
        while let Some(entry) = self.backlog.pop_front() {
            if !self.try_push(&entry) {
                self.backlog.push_front(entry);
                return;
            }
        }
    }

    /// Makes the calling thread the ring's owner.
    fn enable(&mut self) -> io::Result<()> {
        if !self.enabled {
            self.ring.submitter().register_enable_rings()?;
            self.enabled = true;
        }
        Ok(())
    }

    fn arm_bell(&mut self) {
        if !self.bell_armed && !self.closing {
            self.bell_armed = true;
            let read = opcode::Read::new(
                Fd(self.waker.raw()),
                self.bell.as_mut_ptr(),
                self.bell.len() as u32,
            );
            self.push(read.offset(u64::MAX).build().user_data(WAKE));
        }
    }

    /// Submits all and waits for `want` completions. True if the time ran out.
    fn enter(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<bool> {
        self.stats.enters += 1;
        let submitter = self.ring.submitter();
        let entered = match timeout.filter(|_| want > 0) {
            None => submitter.submit_and_wait(want),
            Some(timeout) => {
                let time = Timespec::from(timeout);
                submitter.submit_with_args(want, &SubmitArgs::new().timespec(&time))
            }
        };
        match entered.map_err(|error| (error.raw_os_error(), error)) {
            Ok(_) | Err((Some(libc::EINTR), _)) => Ok(false),
            Err((Some(libc::ETIME), _)) => Ok(true),
            // The completion queue is full, or the kernel short of memory: what is done must be taken first.
            Err((Some(libc::EBUSY | libc::EAGAIN), _)) => {
                std::thread::yield_now();
                Ok(false)
            }
            Err((_, error)) => Err(error),
        }
    }

    /// Whether an enter has anything to do besides waiting.
    fn must_enter(&mut self) -> bool {
        let queue = self.ring.submission();
        !queue.is_empty() || queue.taskrun() || queue.cq_overflow() || !self.probed.defer_taskrun
    }

    /// Takes completions off the queue and deals with each. True if one was a wake.
    fn reap(&mut self, done: &mut Vec<Done>) -> bool {
        let mut reaped = mem::take(&mut self.reaped);
        reaped.extend(
            self.ring
                .completion()
                .map(|entry| (entry.user_data(), entry.result())),
        );
        let mut woken = false;
        for (data, result) in reaped.drain(..) {
            self.in_flight -= 1;
            match data {
                CANCEL => {}
                WAKE => {
                    self.bell_armed = false;
                    // A wake that failed (never seen) must still be answered, or later ones would not ring.
                    self.waker.answered();
                    self.stats.wakes += u64::from(result > 0);
                    woken |= result > 0;
                }
                index => done.extend(self.completed(index as u32, result)),
            }
        }
        self.reaped = reaped;
        woken
    }

    fn completed(&mut self, index: u32, result: i32) -> Option<Done> {
        let slot = self.slots.get_mut(index as usize)?;
        slot.in_flight = false;
        match slot.completed(result) {
            Next::Finish(result) => self.retire(index, result),
            Next::Again if self.closing => {
                self.retire(index, Err(io::ErrorKind::Interrupted.into()))
            }
            Next::Again => {
                self.stats.continued += 1;
                self.launch(index);
                None
            }
        }
    }

    /// Cancels everything and waits for it. False if completions could not be waited for.
    fn close(&mut self) -> bool {
        self.closing = true;
        self.in_flight -= self.backlog.len();
        for entry in self.backlog.drain(..) {
            // Never submitted, so nothing refers to these slots.
            match entry.get_user_data() {
                WAKE => self.bell_armed = false,
                index => {
                    if let Some(slot) = self.slots.get_mut(index as usize) {
                        slot.in_flight = false;
                    }
                }
            }
        }
        if !self.enabled {
            return true; // a disabled ring has taken nothing from its queue
        }
        let flying = self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.in_flight);
        let mut targets: Vec<u64> = flying.map(|(index, _)| index as u64).collect();
        targets.extend(self.bell_armed.then_some(WAKE));
        for target in targets {
            self.push(opcode::AsyncCancel::new(target).build().user_data(CANCEL));
        }
        let mut rest = Vec::new();
        while self.in_flight > 0 {
            self.drain_backlog();
            if self.enter(1, None).is_err() {
                return false;
            }
            self.reap(&mut rest);
        }
        true
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
        let deadline = timeout
            .filter(|time| !time.is_zero())
            .map(|time| Instant::now() + time);
        loop {
            self.drain_backlog();
            done.append(&mut self.finished);
            let block = done.len() == before && timeout != Some(Duration::ZERO);
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let expired = match block || self.must_enter() {
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
        let features = used
            .iter()
            .filter(|(used, _)| *used)
            .map(|&(_, name)| name)
            .collect();
        let mut lost = self.lost.clone();
        if let Some(error) = self.chunks.refused() {
            lost.push(format!(
                "registering more buffers: {error} (ulimit -l bounds lockable memory)"
            ));
        }
        EngineReport {
            name: "io_uring",
            features,
            lost,
        }
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

/// Address of the memory a disk transfer uses; 0 for operations without any.
fn memory_address(op: &Op) -> usize {
    match op {
        Op::Read { buf, range, .. } => buf[range.clone()].as_ptr() as usize,
        Op::Write { data, range, .. } => data[range.clone()].as_ptr() as usize,
        _ => 0,
    }
}
