//! What transmission needs from below: something that runs requests on volumes.
//!
//! The volume layer's executor implements [`Backend`]; tests use a volume in memory. Requests handed over lie inside
//! the export, carry flags that apply to them, and come one at a time from one thread. Invariant: every request that
//! was started is reported by [`Backend::finished`] exactly once, unless its session was dropped before it began.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::meta::Context;
use super::wire::Errno;
use crate::engine::{Buf, Done, Engine};

/// Set in the engine tokens of the backend's operations; the tokens of sessions have it clear.
pub const TOKEN_BIT: u64 = 1 << 63;

/// What to do. Offsets and lengths are bytes of the volume, in range and never 0.
#[derive(Debug)]
#[allow(missing_docs, reason = "the fields are those of the NBD requests")]
pub enum Work {
    /// Read into buffers of the backend's.
    Read { offset: u64, len: u32 },
    /// Store `buf[range]`: at most [`crate::limits::PIECE_MAX`] bytes, never across a multiple of it.
    Write { offset: u64, buf: Buf, range: Range<usize>, fua: bool },
    /// Make everything reported as finished durable.
    Flush,
    /// The range is no longer needed.
    Trim { offset: u64, len: u64, fua: bool },
    /// Make the range read as zeros; with `no_hole`, allocated ones.
    Zeroes { offset: u64, len: u64, fua: bool, no_hole: bool },
    /// The range will be read soon.
    Cache { offset: u64, len: u64 },
}

/// One request of one session.
#[derive(Debug)]
pub struct Request<V> {
    /// The volume it concerns.
    pub volume: Arc<V>,
    /// Who asks: never reused while a request of that session may still be reported.
    pub session: u32,
    /// Returned with the outcome; means nothing to the backend.
    pub cookie: u64,
    /// What to do.
    pub work: Work,
}

/// What a finished request brings.
#[derive(Debug)]
pub enum Reply {
    /// Nothing but success.
    Done,
    /// The data of a read: consecutive parts in order.
    Data(Vec<(Buf, Range<usize>)>),
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The backing is full.
    NoSpace,
    /// The backing, or the integrity of what it holds, failed.
    Io,
    /// The volume takes no writes.
    ReadOnly,
    /// The volume is being taken out of service.
    ShuttingDown,
}

impl Failure {
    /// The error value of the reply.
    pub const fn errno(self) -> Errno {
        match self {
            Failure::NoSpace => Errno::NoSpc,
            Failure::Io => Errno::Io,
            Failure::ReadOnly => Errno::Perm,
            Failure::ShuttingDown => Errno::Shutdown,
        }
    }

    /// A text for people.
    pub const fn text(self) -> &'static str {
        match self {
            Failure::NoSpace => "the backing is full",
            Failure::Io => "the backing failed",
            Failure::ReadOnly => "the volume is read-only",
            Failure::ShuttingDown => "the volume is shutting down",
        }
    }
}

/// What failed, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Why.
    pub failure: Failure,
    /// The lowest byte of the volume that is affected; `None` where the whole request is.
    pub at: Option<u64>,
}

/// The end of a request.
#[derive(Debug)]
pub struct Finished {
    /// The session of the request.
    pub session: u32,
    /// The cookie of the request.
    pub cookie: u64,
    /// What became of it.
    pub outcome: Result<Reply, Failed>,
}

/// Runs requests for one worker thread.
pub trait Backend {
    /// A volume, shared by all workers.
    type Volume: Send + Sync + 'static;

    /// Takes a request over; its outcome arrives in [`Backend::finished`], possibly at once.
    fn start(&mut self, engine: &mut dyn Engine, request: Request<Self::Volume>);

    /// Hands over the completion of an engine operation whose token carries [`TOKEN_BIT`].
    fn complete(&mut self, engine: &mut dyn Engine, done: Done);

    /// Called after every wait: resumes what was parked and retries what lacked buffers.
    fn poll(&mut self, engine: &mut dyn Engine);

    /// The next finished request, if any.
    fn finished(&mut self) -> Option<Finished>;

    /// The session is gone: its requests that have not begun are dropped, the running ones end by themselves.
    fn drop_session(&mut self, session: u32);

    /// The state of a range as (length, flags or generation): at least one entry, at most `max`, starting at `offset`,
    /// not beyond `offset + len`.
    fn block_status(
        volume: &Self::Volume,
        offset: u64,
        len: u64,
        context: Context,
        max: usize,
    ) -> io::Result<Vec<(u64, u32)>>;
}
