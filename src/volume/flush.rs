//! Flushes of the data backing, shared, and the clock that says which extents are behind one.
//!
//! Invariants:
//! - A flush that starts covers every write that completed before it started, on any connection.
//! - At most one flush runs; whoever asks while it runs is served by the next one, together with everyone else.
//! - [`FlushGroup::is_clean`] is true only if the extent's last client write (trim and write-zeroes count, FUA does
//!   not help) completed before a flush started that has completed since: rule R0. It may say "dirty" needlessly, never "clean".
//! - A failed flush is final: it poisons the volume, and nobody is told afterwards that anything is durable. The kernel
//!   reports a loss once, to whoever asks first; so everybody who flushes this backing does it through the group, the
//!   metadata of an attached header too.

use std::io;
use std::sync::atomic::{self, Ordering::SeqCst};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::inbox::{Bell, Call, Ticket};
use crate::engine::Disk;
use crate::sync::{AtomicU64, Mutex, MutexGuard};
use crate::units::Extent;

/// What to do after asking for a flush.
#[derive(Debug, PartialEq, Eq)]
pub enum Ask {
    /// Start one now, and say so with [`FlushGroup::finish`].
    Start,
    /// One will be started for you.
    Queued,
}

#[derive(Default)]
struct State {
    running: bool,
    served: Vec<Ticket>,
    /// Asked for the next one.
    waiting: Vec<Ticket>,
    /// Will be served by the next one, but do not ask for it.
    joined: Vec<Ticket>,
    started: u64,
    last_client: Option<Instant>,
    /// Why no flush counts any more.
    failed: Option<String>,
}

/// The flushes of one volume.
pub struct FlushGroup {
    /// Grows when a flush starts; its parity names the bitmap that writes completing now are entered in.
    epoch: AtomicU64,
    /// A bit for every extent the volume may ever have.
    written: [Box<[AtomicU64]>; 2],
    /// Words of them in use.
    words: atomic::AtomicUsize,
    state: Mutex<State>,
}

impl FlushGroup {
    /// For a volume of `extents` extents, all behind a flush, that may grow to `most`.
    pub fn new(extents: u32, most: u32) -> FlushGroup {
        let bitmap = || (0..most.max(extents).div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        let words = atomic::AtomicUsize::new(extents.div_ceil(64) as usize);
        FlushGroup { epoch: AtomicU64::new(0), written: [bitmap(), bitmap()], words, state: Mutex::default() }
    }

    /// The volume has `extents` extents from here on.
    pub fn grow(&self, extents: u32) {
        self.words.fetch_max(extents.div_ceil(64) as usize, SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client write to `extent` has completed. Call before the write leaves its gate.
    pub fn mark(&self, extent: Extent) {
        let (word, bit) = (extent.0 as usize / 64, 1u64 << (extent.0 % 64));
        loop {
            let epoch = self.epoch.load(SeqCst);
            self.written[(epoch & 1) as usize][word].fetch_or(bit, SeqCst);
            if self.epoch.load(SeqCst) == epoch {
                return;
            }
        }
    }

    /// Whether the extent's last client write is behind a completed flush that started after it completed.
    pub fn is_clean(&self, extent: Extent) -> bool {
        let (word, bit) = (extent.0 as usize / 64, 1u64 << (extent.0 % 64));
        self.written.iter().all(|bitmap| bitmap[word].load(SeqCst) & bit == 0)
    }

    /// Asks for a flush that covers everything completed so far.
    pub fn ask(&self, ticket: Ticket, by_client: bool) -> Ask {
        let mut state = self.lock();
        if by_client {
            state.last_client = Some(Instant::now());
        }
        if state.running {
            state.waiting.push(ticket);
            return Ask::Queued;
        }
        state.waiting.push(ticket);
        self.begin(&mut state);
        Ask::Start
    }

    /// Flushes `disk`, the group's backing, on this thread, after the flush that runs if one does, and tells those served.
    ///
    /// # Errors
    /// This flush failed, or an earlier one did.
    pub fn run(&self, disk: &dyn Disk) -> io::Result<()> {
        let bell = Arc::new(Bell::default());
        let mut ours = self.ask(Ticket::Thread(Arc::clone(&bell)), false) == Ask::Start;
        while ours {
            let flushed = disk.flush();
            let (result, served, again) = self.settle(flushed.map_err(|error| error.to_string()));
            for ticket in served {
                ticket.call(Call::Flushed(result.clone()));
            }
            ours = again && !self.hand_over();
        }
        match bell.wait() {
            Call::Flushed(Err(error)) => Err(io::Error::other(error)),
            _ => Ok(()),
        }
    }

    /// [`FlushGroup::finish`] of a flush that came to `result`; what those it served must be told.
    pub fn settle(&self, result: Result<(), String>) -> (Result<(), String>, Vec<Ticket>, bool) {
        let failed = {
            let mut state = self.lock();
            state.failed = state.failed.take().or(result.err());
            state.failed.clone()
        };
        let (served, again) = self.finish(failed.is_none());
        (failed.map_or(Ok(()), Err), served, again)
    }

    /// Gives the running flush to a worker among those it serves; false if only threads wait for it, or workers that
    /// are gone.
    pub fn hand_over(&self) -> bool {
        let state = self.lock();
        let mut workers = state.served.iter().filter(|ticket| matches!(ticket, Ticket::Piece { .. }));
        workers.any(|worker| worker.clone().call(Call::StartFlush))
    }

    /// Waits for the next flush that someone else asks for; [`FlushGroup::hurry`] ends the waiting.
    pub fn join(&self, ticket: Ticket) {
        self.lock().joined.push(ticket);
    }

    /// Asks for a flush for those who joined: starts one if none runs, and the caller must then do it; else the end of the
    /// one that runs starts it.
    pub fn hurry(&self) -> bool {
        let mut state = self.lock();
        let joined = std::mem::take(&mut state.joined);
        state.waiting.extend(joined);
        if state.running || state.waiting.is_empty() {
            return false;
        }
        self.begin(&mut state);
        true
    }

    /// Whether a client has asked for a flush within `window`.
    pub fn clients_flush(&self, window: Duration) -> bool {
        self.lock().last_client.is_some_and(|last| last.elapsed() < window)
    }

    /// Flushes started so far.
    pub fn started(&self) -> u64 {
        self.lock().started
    }

    /// Starts a flush for everybody who waits or joined.
    fn begin(&self, state: &mut State) {
        state.served = std::mem::take(&mut state.waiting);
        state.served.append(&mut state.joined);
        state.running = true;
        state.started += 1;
        self.epoch.fetch_add(1, SeqCst);
    }

    /// The running flush is done: gives those it served, and whether the caller must do another one at once.
    pub fn finish(&self, good: bool) -> (Vec<Ticket>, bool) {
        let mut state = self.lock();
        if good {
            let behind = (self.epoch.load(SeqCst) & 1) ^ 1;
            for word in self.written[behind as usize].iter().take(self.words.load(SeqCst)) {
                if word.load(SeqCst) != 0 {
                    word.store(0, SeqCst);
                }
            }
        }
        let served = std::mem::take(&mut state.served);
        state.running = false;
        let again = !state.waiting.is_empty();
        if again {
            self.begin(&mut state);
        }
        (served, again)
    }
}

#[cfg(test)]
#[path = "tests/flush.rs"]
mod tests;
