//! The [`Engine`] trait, its options, its report, and the choice between the ring and its posix twin.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::posix::PosixEngine;
use super::ring::RingEngine;
use super::{CLASS_MAX, Disk, Done, EngineError, Op, Sock, Waker};
use crate::limits::INLINE_MAX;

/// Runs operations. See the module's head for what every implementation guarantees.
pub trait Engine: Send {
    /// Takes an operation. Never fails and never blocks for a device: whatever goes wrong arrives as its [`Done`].
    /// The token is the caller's own and comes back unchanged.
    fn submit(&mut self, token: u64, op: Op);

    /// Starts everything submitted, appends what is finished to `done` and returns. If nothing is finished, waits for
    /// the first completion, a wake or the timeout (`None` = for ever; zero = do not wait). An empty `done` is normal.
    /// While there are results to hand out, queued socket operations may be started by the next call instead, together
    /// with the answers to those results: call it again after dealing with them.
    /// An error means the engine itself is broken; operations are still owned by it.
    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Done>) -> io::Result<()>;

    /// Ends a connection, so that its pending receive and send complete.
    fn cancel_socket(&mut self, socket: &Arc<Sock>) {
        socket.shutdown();
    }

    /// Drops what the engine keeps of a socket (a place in a file table). Optional: dropping the last `Arc` suffices.
    fn forget_socket(&mut self, _socket: &Arc<Sock>) {}

    /// Drops what the engine keeps of a disk. Optional: dropping the last `Arc` releases its lock.
    fn forget_disk(&mut self, _disk: &Arc<dyn Disk>) {}

    /// Whether something was finished by `submit` itself, so that the next `wait` hands it back at once.
    fn has_finished(&self) -> bool {
        false
    }

    /// Operations taken and not yet handed back.
    fn pending(&self) -> usize;

    /// A handle that makes `wait` return, for other threads.
    fn waker(&self) -> Waker;

    /// What the engine uses and what it has to do without.
    fn report(&self) -> EngineReport;

    /// Counters since the engine was opened.
    fn stats(&self) -> EngineStats;
}

/// What an engine uses and what it does without, for `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineReport {
    /// "io_uring" or "posix".
    pub name: &'static str,
    /// What is in use.
    pub features: Vec<&'static str>,
    /// What is not, each with the reason.
    pub lost: Vec<String>,
}

/// Counters of one engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// `io_uring_enter` or `poll` calls.
    pub enters: u64,
    /// Reads taken.
    pub reads: u64,
    /// Writes taken.
    pub writes: u64,
    /// Flushes taken, and writes with `dsync`.
    pub flushes: u64,
    /// Punches and zero ranges taken.
    pub discards: u64,
    /// Receives taken.
    pub receives: u64,
    /// Sends taken.
    pub sends: u64,
    /// Disk operations that ran on the calling thread.
    pub inlined: u64,
    /// Direct I/O from unaligned memory: copied through an aligned buffer on the calling thread. Zero in a sane program.
    pub bounced: u64,
    /// Transfers that came back short and were continued.
    pub continued: u64,
    /// Times `wait` returned because of a wake.
    pub wakes: u64,
}

impl EngineStats {
    /// Counts an operation by its kind.
    pub(super) fn count(&mut self, op: &Op) {
        match op {
            Op::Read { .. } => self.reads += 1,
            Op::Write { dsync, .. } => {
                self.writes += 1;
                self.flushes += u64::from(*dsync);
            }
            Op::Flush { .. } => self.flushes += 1,
            Op::Punch { .. } | Op::ZeroRange { .. } => self.discards += 1,
            Op::Recv { .. } => self.receives += 1,
            Op::Send { .. } => self.sends += 1,
        }
    }
}

/// Which engine to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoKind {
    /// io_uring.
    Ring,
    /// pread, pwrite, poll.
    Posix,
}

impl fmt::Display for IoKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IoKind::Ring => "ring",
            IoKind::Posix => "posix",
        })
    }
}

impl FromStr for IoKind {
    type Err = String;

    fn from_str(text: &str) -> Result<IoKind, String> {
        match text {
            "ring" | "io_uring" => Ok(IoKind::Ring),
            "posix" => Ok(IoKind::Posix),
            _ => Err(format!("unknown engine {text:?}: ring or posix")),
        }
    }
}

/// Sizes of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Entries of the submission queue; more operations than that may be under way.
    pub entries: u32,
    /// Most kernel worker threads for what cannot be done without blocking, per ring.
    pub workers: u32,
    /// Register buffers and files with the ring where the system allows it.
    pub register: bool,
    /// Writes to memory that run on the calling thread are at most this long, bytes.
    pub inline_writes: usize,
    /// Reads from memory that run on the calling thread are at most this long, bytes.
    pub inline_reads: usize,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions { entries: 256, workers: 2, register: true, inline_writes: INLINE_MAX, inline_reads: CLASS_MAX }
    }
}

/// Opens an engine. With no kind given: the ring, or its twin where the ring is refused, the reason in
/// [`EngineReport::lost`]. With a kind given: that one or an error.
pub fn open(kind: Option<IoKind>, options: &EngineOptions) -> Result<Box<dyn Engine>, EngineError> {
    match kind {
        Some(IoKind::Ring) => Ok(Box::new(RingEngine::new(options)?)),
        Some(IoKind::Posix) => Ok(Box::new(PosixEngine::new(Vec::new())?)),
        None => match RingEngine::new(options) {
            Ok(engine) => Ok(Box::new(engine)),
            Err(refusal) => Ok(Box::new(PosixEngine::new(vec![in_full(&refusal)])?)),
        },
    }
}

/// An error with its causes in one line.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
