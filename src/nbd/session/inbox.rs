//! The receiving side of a connection: a stream buffer for headers and small payloads, and a buffer of its own for a
//! payload that has not arrived yet, so that the kernel copies it to where it is used.
//!
//! Invariants: bytes are consumed in the order in which they arrived; while a receive is under way the buffers are with
//! the engine and nothing is parsed; a receive never asks for bytes behind the payload part it completes except for the
//! stream buffer's share. After a large write that share is one header: the next header then arrives with the payload
//! before it, and the next payload is received in place, without a copy.

use std::ops::Range;
use std::sync::Arc;

use crate::engine::{Buf, Op, Pool, Sock};
use crate::nbd::wire::REQUEST_LEN;

/// First size of the stream buffer, bytes: idle connections keep no more.
const STREAM_MIN: usize = 4 << 10;
/// Largest size of the stream buffer, bytes.
const STREAM_MAX: usize = 256 << 10;
/// Payloads from this size on are worth a receive of their own instead of a copy, bytes.
pub const IN_PLACE: usize = 16 << 10;

/// What arrived and was not consumed.
#[derive(Debug)]
pub struct Inbox {
    /// `None` while a receive has it, or before the first.
    stream: Option<Buf>,
    filled: Range<usize>,
    /// Size of the next stream buffer, bytes.
    size: usize,
    part: Option<Part>,
    /// Payload bytes to drop.
    skip: u64,
    /// Receive no more than a header behind the payload.
    narrow: bool,
    /// Length of a request header, bytes.
    header_len: usize,
}

/// A payload part being received.
#[derive(Debug)]
struct Part {
    /// `None` while a receive has it.
    buf: Option<Buf>,
    filled: usize,
    len: usize,
}

impl Default for Inbox {
    fn default() -> Inbox {
        Inbox {
            stream: None,
            filled: 0..0,
            size: STREAM_MIN,
            part: None,
            skip: 0,
            narrow: false,
            header_len: REQUEST_LEN,
        }
    }
}

/// The larger buffer, with what `old` has in `filled` moved to its start; without one the old buffer has to do.
pub(super) fn carried(larger: Option<Buf>, old: Option<Buf>, filled: &mut Range<usize>) -> Option<Buf> {
    let Some(mut larger) = larger else { return old };
    let kept = old.as_deref().and_then(|old| old.get(filled.clone())).unwrap_or(&[]);
    larger[..kept.len()].copy_from_slice(kept);
    *filled = 0..kept.len();
    Some(larger)
}

impl Inbox {
    /// What is in the stream buffer and not consumed.
    pub fn unread(&self) -> &[u8] {
        self.stream.as_ref().map_or(&[], |stream| &stream[self.filled.clone()])
    }

    /// Consumes bytes of [`Inbox::unread`].
    pub fn consume(&mut self, len: usize) {
        debug_assert!(len <= self.filled.len());
        self.filled.start = (self.filled.start + len).min(self.filled.end);
    }

    /// Says how long request headers are, bytes.
    pub fn set_header_len(&mut self, len: usize) {
        self.header_len = len;
    }

    /// The next `N` bytes, once all of them and nothing before them is left; consumes them.
    pub fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        debug_assert!(self.part.is_none());
        self.drop_skipped();
        if self.skip > 0 {
            return None;
        }
        let bytes = *self.unread().first_chunk()?;
        self.consume(N);
        Some(bytes)
    }

    /// Announces the payload of the header just consumed: decides how the following bytes are received.
    pub fn expect(&mut self, payload: u64) {
        self.narrow = payload >= IN_PLACE as u64;
    }

    /// Drops the next `len` bytes of the stream; they arrive in the stream buffer, so it takes what it can.
    pub fn skip(&mut self, len: u64) {
        self.skip = len;
        self.narrow = false;
        self.drop_skipped();
    }

    fn drop_skipped(&mut self) {
        let now = self.skip.min(self.filled.len() as u64);
        self.consume(now as usize);
        self.skip -= now;
    }

    /// Whether a payload part is being received.
    pub fn has_part(&self) -> bool {
        self.part.is_some()
    }

    /// Starts a payload part of `len` bytes in `buf`.
    pub fn begin_part(&mut self, buf: Buf, len: usize) {
        debug_assert!(self.part.is_none() && 0 < len && len <= buf.len());
        self.part = Some(Part { buf: Some(buf), filled: 0, len });
    }

    /// The payload part with its length, once complete; what is in the stream buffer moves to it.
    pub fn take_part(&mut self) -> Option<(Buf, usize)> {
        let part = self.part.as_mut()?;
        let (buf, stream) = (part.buf.as_mut()?, self.stream.as_deref().unwrap_or(&[]));
        let now = (part.len - part.filled).min(self.filled.len());
        let from = self.filled.start..self.filled.start + now;
        buf[part.filled..part.filled + now].copy_from_slice(&stream[from]);
        part.filled += now;
        self.filled.start += now;
        if part.filled < part.len {
            return None;
        }
        let part = self.part.take()?;
        Some((part.buf?, part.len))
    }

    /// Payload bytes reserved for the part being received.
    pub fn part_len(&self) -> usize {
        self.part.as_ref().map_or(0, |part| part.len)
    }

    /// The receive to start now, or `None` when the pool has no buffer for it.
    pub fn receive(&mut self, socket: &Arc<Sock>, pool: &Pool) -> Option<Op> {
        let stream = self.make_room(pool)?;
        let mut end = stream.len();
        if self.narrow {
            // One header, less what is there of it already.
            let missing = self.header_len.saturating_sub(self.filled.len()).max(1);
            end = end.min(self.filled.end + missing);
        }
        let first = self.part.as_mut().and_then(|part| Some((part.buf.take()?, part.filled..part.len)));
        Some(Op::Recv { socket: Arc::clone(socket), first, rest: (stream, self.filled.end..end) })
    }

    /// The stream buffer, with room behind what it holds.
    fn make_room(&mut self, pool: &Pool) -> Option<Buf> {
        let kept = self.filled.len();
        let mut stream = match self.stream.take() {
            Some(stream) if stream.len() >= self.size => stream,
            old => carried(self.larger(pool, old.is_none()), old, &mut self.filled)?,
        };
        if self.filled.start > 0 && (kept == 0 || self.filled.end + self.header_len > stream.len() / 2) {
            stream.copy_within(self.filled.clone(), 0);
            self.filled = 0..kept;
        }
        Some(stream)
    }

    /// A stream buffer of the wanted size, or the smallest if there is none yet. Large ones leave half of the pool to
    /// payloads: an idle connection keeps its own.
    fn larger(&self, pool: &Pool, is_first: bool) -> Option<Buf> {
        let usage = pool.usage();
        let room = self.size == STREAM_MIN || usage.taken + self.size <= usage.limit / 2;
        let size = if room { Some(self.size) } else { is_first.then_some(STREAM_MIN) };
        pool.take(size?)
    }

    /// Takes the buffers of a receive back, of which `len` bytes arrived.
    pub fn received(&mut self, first: Option<(Buf, Range<usize>)>, rest: (Buf, Range<usize>), len: usize) {
        let mut behind = len;
        if let (Some((buf, range)), Some(part)) = (first, self.part.as_mut()) {
            let now = len.min(range.len());
            part.filled += now;
            part.buf = Some(buf);
            behind -= now;
        }
        let (stream, range) = rest;
        debug_assert!(behind <= range.len());
        self.filled.end = (range.start + behind).min(stream.len());
        if behind == range.len() && !self.narrow {
            self.size = (self.size * 4).min(STREAM_MAX);
        }
        self.stream = Some(stream);
    }
}
