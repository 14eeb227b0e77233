//! Client requests on one worker: cut into pieces, each passed through its extent's gate, encrypted or decrypted on this
//! thread, and put on the worker's engine.
//!
//! Invariants: one executor belongs to one worker thread; a request is answered exactly once, after its last piece; a
//! piece owns its buffer or the operation under way does. A write of a session that has gone is dropped if it has not
//! started; one that has started ends by itself, before any later write to the same range begins (the gate sees to it).
//! An executor that is dropped leaves nobody waiting, neither at a gate nor for a flush.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::inbox::{Call, Inbox};
use super::piece::{Piece, PieceKind, Progress};
use super::{Volume, piece, rules};
use crate::engine::{Buf, Done, Engine, Pool, Waker};
use crate::limits::PIECE_MAX;
use crate::units::{align_down, align_up};

/// Set in the token of every operation an executor submits.
pub const TOKEN_BIT: u64 = 1 << 63;

/// A client request.
pub struct Request {
    /// The volume it is for.
    pub volume: Arc<Volume>,
    /// The session's number on this worker.
    pub session: u32,
    /// The session's own number for the request.
    pub cookie: u64,
    /// What is asked.
    pub kind: RequestKind,
}

/// What is asked. Ranges lie within the volume.
pub enum RequestKind {
    /// Read.
    Read {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u32,
    },
    /// Write.
    Write {
        /// First byte.
        offset: u64,
        /// Plaintext, in consecutive parts.
        payload: Vec<(Buf, Range<usize>)>,
        /// Durable before the reply.
        fua: bool,
    },
    /// Make everything durable that was answered before.
    Flush,
    /// The content may be forgotten.
    Trim {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
        /// Durable before the reply.
        fua: bool,
    },
    /// Make the range read as zeros.
    Zeroes {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
        /// Durable before the reply.
        fua: bool,
        /// Keep the range allocated.
        no_hole: bool,
    },
    /// The range will be wanted.
    Cache {
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
    },
}

/// A good answer.
#[derive(Debug)]
pub enum Reply {
    /// Done.
    Done,
    /// Plaintext in consecutive parts.
    Data(Vec<(Buf, Range<usize>)>),
}

/// A bad answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoFailure {
    /// The backing is full.
    NoSpace,
    /// A device error, or a key that is not loaded.
    Io,
    /// Writes are refused since a flush or metadata write failed.
    Poisoned,
    /// The volume is read-only.
    ReadOnly,
}

/// An answer.
pub struct Finished {
    /// The session.
    pub session: u32,
    /// The session's own number for the request.
    pub cookie: u64,
    /// The answer.
    pub outcome: Result<Reply, IoFailure>,
    /// The lowest byte that is affected by a failure; `None` where the whole request is, and on success.
    pub failed_at: Option<u64>,
}

/// A request under way.
pub(super) struct Underway {
    pub volume: Arc<Volume>,
    pub session: u32,
    pub cookie: u64,
    pub pending: u32,
    /// What is answered, and the lowest byte affected.
    pub failure: Option<(IoFailure, Option<u64>)>,
    pub parts: Vec<Option<(Buf, Range<usize>)>>,
    pub payload: Vec<(Buf, Range<usize>)>,
    pub is_read: bool,
    pub flush_after: bool,
    pub gone: bool,
}

/// Runs requests. See the module's head.
pub struct Executor {
    pub(super) pool: Pool,
    pub(super) inbox: Arc<Inbox>,
    pub(super) requests: Slab<Underway>,
    pub(super) pieces: Slab<Piece>,
    pub(super) starved: VecDeque<u32>,
    pub(super) flushing: Slab<Arc<Volume>>,
    finished: VecDeque<Finished>,
    calls: Vec<(u32, Call)>,
}

impl Executor {
    /// An executor whose buffers come from `pool` and whose worker sleeps in the engine that `waker` wakes.
    pub fn new(pool: Pool, waker: Waker) -> Executor {
        Executor {
            pool,
            inbox: Arc::new(Inbox::new(waker)),
            requests: Slab::default(),
            pieces: Slab::default(),
            starved: VecDeque::new(),
            flushing: Slab::default(),
            finished: VecDeque::new(),
            calls: Vec::new(),
        }
    }

    /// Takes a request; its answer arrives in [`Executor::finished`].
    pub fn start(&mut self, engine: &mut dyn Engine, request: Request) {
        let Request { volume, session, cookie, kind } = request;
        let changes = !matches!(kind, RequestKind::Read { .. } | RequestKind::Cache { .. });
        let refusal = match (changes, volume.poisoned()) {
            (true, Some(_)) => Some(IoFailure::Poisoned),
            (true, None) if volume.read_only() && !matches!(kind, RequestKind::Flush) => Some(IoFailure::ReadOnly),
            _ => None,
        };
        if let Some(failure) = refusal {
            self.finished.push_back(Finished { session, cookie, outcome: Err(failure), failed_at: None });
            return;
        }
        let is_read = matches!(kind, RequestKind::Read { .. });
        let underway = Underway {
            volume,
            session,
            cookie,
            pending: 1, // this call itself, so that pieces that finish at once do not end the request early
            failure: None,
            parts: Vec::new(),
            payload: Vec::new(),
            is_read,
            flush_after: false,
            gone: false,
        };
        let id = self.requests.insert(underway);
        self.cut(engine, id, kind);
        self.piece_ended(engine, id);
    }

    fn cut(&mut self, engine: &mut dyn Engine, id: u32, kind: RequestKind) {
        match kind {
            RequestKind::Read { offset, len } => {
                let end = offset + u64::from(len);
                self.each_part(id, offset, end, |executor, index, range| {
                    executor.requests.get_mut(id).parts.push(None);
                    executor.begin(engine, id, PieceKind::Read { part: index }, range);
                });
            }
            RequestKind::Write { offset, payload, fua } => {
                let len: usize = payload.iter().map(|(_, range)| range.len()).sum();
                self.requests.get_mut(id).payload = payload;
                let end = offset + len as u64;
                self.each_part(id, offset, end, |executor, _, range| {
                    let from = (range.start - offset) as usize;
                    executor.begin(engine, id, PieceKind::Write { from, dsync: fua }, range);
                });
            }
            RequestKind::Flush => self.begin(engine, id, PieceKind::Flush, 0..0),
            RequestKind::Trim { offset, len, fua } => {
                self.requests.get_mut(id).flush_after = fua;
                self.each_extent(id, offset, offset + len, |executor, range| {
                    let unit = executor.requests.get_mut(id).volume.io_unit;
                    let inner = align_up(range.start, unit)..align_down(range.end, unit);
                    if inner.start < inner.end {
                        executor.begin(engine, id, PieceKind::Punch { must_zero: false }, inner);
                    }
                });
            }
            RequestKind::Zeroes { offset, len, fua, no_hole } => {
                self.requests.get_mut(id).flush_after = fua;
                self.each_extent(id, offset, offset + len, |executor, range| {
                    executor.zero_piece(engine, id, range, no_hole);
                });
            }
            RequestKind::Cache { .. } => {}
        }
    }

    /// Whole units are punched or zeroed; the edges are read-modify-writes of zeros.
    fn zero_piece(&mut self, engine: &mut dyn Engine, id: u32, range: Range<u64>, no_hole: bool) {
        let unit = self.requests.get_mut(id).volume.io_unit;
        let inner = align_up(range.start, unit)..align_down(range.end, unit);
        let zeros = PieceKind::WriteZeros;
        if inner.start >= inner.end {
            // Within one unit, or across one boundary without a whole unit.
            let split = inner.start.min(range.end);
            for edge in [range.start..split, split..range.end] {
                if edge.start < edge.end {
                    self.begin(engine, id, zeros, edge);
                }
            }
            return;
        }
        for edge in [range.start..inner.start, inner.end..range.end] {
            if edge.start < edge.end {
                self.begin(engine, id, zeros, edge);
            }
        }
        let kind = if no_hole { PieceKind::Zero } else { PieceKind::Punch { must_zero: true } };
        self.begin(engine, id, kind, inner);
    }

    /// Calls `f` for each run of `offset..end` that lies in one extent and one piece, with its index.
    fn each_part(&mut self, id: u32, offset: u64, end: u64, mut f: impl FnMut(&mut Executor, usize, Range<u64>)) {
        let step = self.requests.get_mut(id).volume.extent_size().min(PIECE_MAX as u64);
        let mut at = offset;
        let mut index = 0;
        while at < end {
            // An unaligned request may be one unit longer on the device than a piece: cut at piece boundaries.
            let next = (align_down(at, step) + step).min(end);
            f(self, index, at..next);
            at = next;
            index += 1;
        }
    }

    fn each_extent(&mut self, id: u32, offset: u64, end: u64, mut f: impl FnMut(&mut Executor, Range<u64>)) {
        let step = self.requests.get_mut(id).volume.extent_size();
        let mut at = offset;
        while at < end {
            let next = (align_down(at, step) + step).min(end);
            f(self, at..next);
            at = next;
        }
    }

    fn begin(&mut self, engine: &mut dyn Engine, id: u32, kind: PieceKind, range: Range<u64>) {
        self.requests.get_mut(id).pending += 1;
        let extent = self.requests.get_mut(id).volume.extent_of(range.start);
        let piece = self.pieces.insert(Piece::new(id, kind, extent, range));
        let progress = piece::start(self, engine, piece);
        self.advance(engine, piece, progress);
    }

    /// For every finished operation whose token has [`TOKEN_BIT`].
    pub fn complete(&mut self, engine: &mut dyn Engine, done: Done) {
        if piece::is_flush(done.token) {
            return piece::flushed(self, engine, done);
        }
        let piece = done.token as u32;
        let progress = piece::complete(self, engine, piece, done);
        self.advance(engine, piece, progress);
    }

    /// After every wait: parked pieces whose turn has come, and pieces that wait for buffers.
    pub fn poll(&mut self, engine: &mut dyn Engine) {
        let mut calls = std::mem::take(&mut self.calls);
        self.inbox.take(&mut calls);
        for (piece, call) in calls.drain(..) {
            let progress = piece::called(self, engine, piece, call);
            self.advance(engine, piece, progress);
        }
        self.calls = calls;
        for _ in 0..self.starved.len() {
            let Some(piece) = self.starved.pop_front() else { break };
            let progress = piece::start(self, engine, piece);
            self.advance(engine, piece, progress);
        }
    }

    fn advance(&mut self, engine: &mut dyn Engine, piece: u32, progress: Progress) {
        match progress {
            Progress::Waiting => {}
            Progress::Starved => self.starved.push_back(piece),
            Progress::Ended(outcome) => {
                let ended = self.pieces.remove(piece);
                let request = self.requests.get_mut(ended.request);
                match outcome {
                    Ok(Some((index, part))) => request.parts[index] = Some(part),
                    Ok(None) => {}
                    Err(failure) => {
                        let at = ended.first_byte();
                        if request.failure.is_none_or(|known| at < known.1) {
                            request.failure = Some((failure, at));
                        }
                    }
                }
                self.piece_ended(engine, ended.request);
            }
        }
    }

    fn piece_ended(&mut self, engine: &mut dyn Engine, id: u32) {
        let request = self.requests.get_mut(id);
        request.pending -= 1;
        if request.pending > 0 {
            return;
        }
        if request.flush_after && request.failure.is_none() {
            request.flush_after = false;
            request.pending = 1;
            self.begin(engine, id, PieceKind::Flush, 0..0);
            self.piece_ended(engine, id);
            return;
        }
        let request = self.requests.remove(id);
        let outcome = match request.failure {
            Some((failure, _)) => Err(failure),
            None if request.is_read => Ok(Reply::Data(request.parts.into_iter().flatten().collect())),
            None => Ok(Reply::Done),
        };
        if outcome.is_err() {
            request.volume.count_failure();
        }
        if !request.gone {
            let failed_at = request.failure.and_then(|failed| failed.1);
            self.finished.push_back(Finished { session: request.session, cookie: request.cookie, outcome, failed_at });
        }
    }

    /// The next answer.
    pub fn finished(&mut self) -> Option<Finished> {
        self.finished.pop_front()
    }

    /// Requests under way.
    pub fn underway(&self) -> usize {
        self.requests.len()
    }

    /// The connection has died: what has not started is dropped, and nothing is answered any more.
    pub fn drop_session(&mut self, session: u32) {
        for request in self.requests.iter_mut().filter(|request| request.session == session) {
            request.gone = true;
        }
        self.finished.retain(|finished| finished.session != session);
    }
}

impl Drop for Executor {
    /// A worker may end with requests under way: at the deadline of a shutdown, or because its engine or itself broke.
    fn drop(&mut self) {
        if rules::leaves_in_order() {
            piece::abandon(self);
        }
    }
}

/// Numbered places that are reused.
pub(super) struct Slab<T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, value: T) -> u32 {
        match self.free.pop() {
            Some(index) => {
                self.places[index as usize] = Some(value);
                index
            }
            None => {
                self.places.push(Some(value));
                (self.places.len() - 1) as u32
            }
        }
    }

    /// The value at a place that is in use: our own numbers, never a peer's.
    #[allow(clippy::expect_used, reason = "indexes are made by this slab and never come from outside")]
    pub(super) fn get_mut(&mut self, index: u32) -> &mut T {
        self.places[index as usize].as_mut().expect("slab place in use")
    }

    pub(super) fn get(&self, index: u32) -> Option<&T> {
        self.places.get(index as usize)?.as_ref()
    }

    #[allow(clippy::expect_used, reason = "indexes are made by this slab and never come from outside")]
    pub(super) fn remove(&mut self, index: u32) -> T {
        self.free.push(index);
        self.places[index as usize].take().expect("slab place in use")
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().flatten()
    }

    /// Everything, with its number.
    pub(super) fn take_all(&mut self) -> Vec<(u32, T)> {
        let places = std::mem::take(&mut self.places);
        (0u32..).zip(places).filter_map(|(index, place)| Some((index, place?))).collect()
    }

    fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}
