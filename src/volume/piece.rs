//! One piece of a client request: from the gate through the device and back out of the gate.
//!
//! ```text
//! read:   gate ─► device ─► decrypt ─► leave          (or: copy the image being written ─► decrypt)
//! write:  gate ─► [read edges ─► decrypt ─► merge] ─► encrypt ─► device ─► mark ─► leave
//! zero:   gate ─► punch or zero the device range ─► mark ─► leave
//! flush:  ask the group ─► wait to be told
//! ```
//! Invariants: buffers are taken before a gate is entered, so that a piece short of memory holds nothing up; a piece
//! that entered a gate leaves it exactly once, on every path; the flush clock is marked before the gate is left.

mod abandon;

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Volume;
use super::executor::{Executor, IoFailure, TOKEN_BIT};
use super::flush::Ask;
use super::gates::{ReadGate, WriteGate};
use super::holes;
use super::inbox::{Call, Ticket};
use super::keyring::GenerationKey;
use crate::engine::{Buf, Data, Done, Engine, Op};
use crate::units::{BLOCK, Extent, Generation, align_down, align_up};

pub use abandon::abandon;

/// Marks the token of a shared flush.
const FLUSH_BIT: u64 = 1 << 62;

/// What a piece does.
#[derive(Clone, Copy, Debug)]
pub enum PieceKind {
    /// Read into the request's part of this index.
    Read {
        /// Index among the request's parts.
        part: usize,
    },
    /// Write the payload from this byte on.
    Write {
        /// Byte of the payload.
        from: usize,
        /// Durable on completion.
        dsync: bool,
    },
    /// Write zeros, encrypted: edges of a write-zeroes.
    WriteZeros,
    /// Punch a hole; `must_zero` makes it write zeros where that does not work.
    Punch {
        /// Whether the range must read as zeros afterwards.
        must_zero: bool,
    },
    /// Zero and keep allocated.
    Zero,
    /// Wait for a flush.
    Flush,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    Parked,
    Device,
    Head,
    Tail,
}

/// A piece under way.
pub struct Piece {
    pub(super) request: u32,
    kind: PieceKind,
    extent: Extent,
    range: Range<u64>,
    stage: Stage,
    buf: Option<Buf>,
    /// Where the piece's first device byte stands in the buffer.
    base: usize,
    key: Option<Arc<GenerationKey>>,
}

impl Piece {
    /// A piece of `request` on `range`, which lies in `extent`.
    pub fn new(request: u32, kind: PieceKind, extent: Extent, range: Range<u64>) -> Piece {
        Piece { request, kind, extent, range, stage: Stage::New, buf: None, base: 0, key: None }
    }

    /// The first byte of the client's that it concerns; a flush concerns all of them.
    pub(super) fn first_byte(&self) -> Option<u64> {
        (!matches!(self.kind, PieceKind::Flush)).then_some(self.range.start)
    }

    /// The range on the device: whole units.
    fn device(&self, unit: u64) -> Range<u64> {
        align_down(self.range.start, unit)..align_up(self.range.end, unit)
    }
}

/// A part of a read: its index and its bytes.
type Part = Option<(usize, (Buf, Range<usize>))>;

/// How far a piece has come.
pub enum Progress {
    /// Something else will move it on.
    Waiting,
    /// It needs a buffer.
    Starved,
    /// It is over.
    Ended(Result<Part, IoFailure>),
}

use Progress::{Ended, Starved, Waiting};

fn token(piece: u32) -> u64 {
    TOKEN_BIT | u64::from(piece)
}

/// Starts a piece, or starts it again after it was starved.
pub fn start(executor: &mut Executor, engine: &mut dyn Engine, id: u32) -> Progress {
    let piece = executor.pieces.get_mut(id);
    let request = executor.requests.get_mut(piece.request);
    let volume = Arc::clone(&request.volume);
    if request.gone && !matches!(piece.kind, PieceKind::Read { .. } | PieceKind::Flush) {
        return Ended(Ok(None));
    }
    match piece.kind {
        PieceKind::Read { .. } => start_read(executor, engine, id, &volume),
        PieceKind::Write { .. } | PieceKind::WriteZeros => {
            if !take_write_buffer(executor, id, volume.io_unit) {
                return Starved;
            }
            enter_write(executor, engine, id, &volume)
        }
        PieceKind::Punch { .. } | PieceKind::Zero => enter_write(executor, engine, id, &volume),
        PieceKind::Flush => {
            let ticket = Ticket::Piece { inbox: Arc::clone(&executor.inbox), piece: id };
            if volume.flushes.ask(ticket, true) == Ask::Start {
                start_flush(executor, engine, volume);
            }
            Waiting
        }
    }
}

fn start_read(executor: &mut Executor, engine: &mut dyn Engine, id: u32, volume: &Arc<Volume>) -> Progress {
    let piece = executor.pieces.get_mut(id);
    let device = piece.device(volume.io_unit);
    let len = (device.end - device.start) as usize;
    let Some(mut buf) = executor.pool.take(len) else { return Starved };
    match volume.gates.begin_read(&volume.tags, piece.extent) {
        ReadGate::Barred => Ended(Err(IoFailure::Io)),
        ReadGate::Image(image) => {
            let Some(key) = volume.keyring.get(image.generation) else { return Ended(Err(IoFailure::Io)) };
            image.copy_to(device.start, &mut buf[..len]);
            holes::decrypt(&key.cipher, device.start, &mut buf[..len]);
            Ended(Ok(read_part(volume, piece, buf)))
        }
        ReadGate::Device(generation) => {
            let Some(key) = volume.keyring.get(generation) else {
                volume.gates.end_read(piece.extent);
                return Ended(Err(IoFailure::Io));
            };
            piece.key = Some(key);
            piece.stage = Stage::Device;
            let disk = Arc::clone(&volume.data);
            engine.submit(token(id), Op::Read { disk, offset: volume.data_offset + device.start, buf, range: 0..len });
            Waiting
        }
    }
}

fn read_part(volume: &Volume, piece: &Piece, buf: Buf) -> Part {
    let PieceKind::Read { part } = piece.kind else { return None };
    let lead = (piece.range.start - align_down(piece.range.start, volume.io_unit)) as usize;
    let len = (piece.range.end - piece.range.start) as usize;
    volume.traffic.read.fetch_add(len as u64, Relaxed);
    Some((part, (buf, lead..lead + len)))
}

/// Takes the payload's own buffer where the piece is all of it and aligned, else one from the pool.
fn take_write_buffer(executor: &mut Executor, id: u32, unit: u64) -> bool {
    let piece = executor.pieces.get_mut(id);
    if piece.buf.is_some() {
        return true;
    }
    let device = piece.device(unit);
    let aligned = device == piece.range;
    let payload = &mut executor.requests.get_mut(piece.request).payload;
    if aligned
        && let [(_, range)] = payload.as_slice()
        && range.len() as u64 == device.end - device.start
        && (range.start as u64).is_multiple_of(BLOCK)
        && matches!(piece.kind, PieceKind::Write { .. })
    {
        piece.base = range.start;
        piece.buf = payload.pop().map(|(buf, _)| buf);
        return true;
    }
    piece.buf = executor.pool.take((device.end - device.start) as usize);
    piece.buf.is_some()
}

fn enter_write(executor: &mut Executor, engine: &mut dyn Engine, id: u32, volume: &Arc<Volume>) -> Progress {
    let piece = executor.pieces.get_mut(id);
    let ticket = || Ticket::Piece { inbox: Arc::clone(&executor.inbox), piece: id };
    match volume.gates.begin_write(&volume.tags, piece.extent, piece.device(volume.io_unit), ticket) {
        WriteGate::Barred => Ended(Err(IoFailure::Io)),
        WriteGate::Refused => Ended(Err(IoFailure::Poisoned)),
        WriteGate::Parked => {
            piece.stage = Stage::Parked;
            Waiting
        }
        WriteGate::Go(generation) => proceed(executor, engine, id, volume, generation),
    }
}

/// The piece is inside its gate.
fn proceed(
    executor: &mut Executor,
    engine: &mut dyn Engine,
    id: u32,
    volume: &Arc<Volume>,
    generation: Generation,
) -> Progress {
    let piece = executor.pieces.get_mut(id);
    let (offset, len) = (volume.data_offset + piece.range.start, piece.range.end - piece.range.start);
    let disk = Arc::clone(&volume.data);
    piece.stage = Stage::Device;
    match piece.kind {
        PieceKind::Punch { .. } | PieceKind::Zero if volume.is_closed(generation) => {
            return leave_write(volume, piece, Err(IoFailure::Io));
        }
        PieceKind::Punch { .. } => engine.submit(token(id), Op::Punch { disk, offset, len }),
        PieceKind::Zero => engine.submit(token(id), Op::ZeroRange { disk, offset, len }),
        _ => {
            let Some(key) = volume.keyring.get(generation) else {
                return leave_write(volume, piece, Err(IoFailure::Io));
            };
            piece.key = Some(key);
            return read_edges(executor, engine, id, volume);
        }
    }
    Waiting
}

/// Reads the units at the edges that the write covers only in part, head first; then writes.
fn read_edges(executor: &mut Executor, engine: &mut dyn Engine, id: u32, volume: &Arc<Volume>) -> Progress {
    let unit = volume.io_unit;
    let piece = executor.pieces.get_mut(id);
    let device = piece.device(unit);
    let len = (device.end - device.start) as usize;
    let tail_only = len as u64 == unit; // one unit: read once
    let head = piece.range.start != device.start || (tail_only && piece.range.end != device.end);
    let tail = piece.range.end != device.end && !tail_only;
    let (next, at) = match piece.stage {
        Stage::Device if head => (Stage::Head, 0),
        Stage::Device | Stage::Head if tail => (Stage::Tail, len - unit as usize),
        _ => return encrypt_and_write(executor, engine, id, volume),
    };
    let Some(buf) = piece.buf.take() else { return leave_write(volume, piece, Err(IoFailure::Io)) };
    piece.stage = next;
    let disk = Arc::clone(&volume.data);
    let offset = volume.data_offset + device.start + at as u64;
    engine.submit(token(id), Op::Read { disk, offset, buf, range: at..at + unit as usize });
    Waiting
}

fn encrypt_and_write(executor: &mut Executor, engine: &mut dyn Engine, id: u32, volume: &Arc<Volume>) -> Progress {
    let piece = executor.pieces.get_mut(id);
    let request = executor.requests.get_mut(piece.request);
    let device = piece.device(volume.io_unit);
    let len = (device.end - device.start) as usize;
    let (Some(mut buf), Some(key)) = (piece.buf.take(), piece.key.take()) else {
        return leave_write(volume, piece, Err(IoFailure::Io));
    };
    let target = &mut buf[piece.base..piece.base + len];
    let lead = (piece.range.start - device.start) as usize;
    let body = lead..lead + (piece.range.end - piece.range.start) as usize;
    let whole = device == piece.range;
    let mut dsync = false;
    let mut encrypted = false;
    match piece.kind {
        PieceKind::Write { from, dsync: fua } => {
            dsync = fua;
            if !request.payload.is_empty() {
                match (whole, one_part(&request.payload, from, body.len())) {
                    (true, Some(plain)) => {
                        key.cipher.encrypt_to(device.start, plain, target);
                        encrypted = true;
                    }
                    (_, Some(plain)) => target[body].copy_from_slice(plain),
                    (_, None) => gather(&request.payload, from, &mut target[body]),
                }
            }
        }
        _ => target[body].fill(0),
    }
    if !encrypted {
        key.cipher.encrypt(device.start, target);
    }
    if key.count(len as u64) {
        volume.reserve_counters();
    }
    piece.stage = Stage::Device;
    let range = piece.base..piece.base + len;
    let (disk, offset) = (Arc::clone(&volume.data), volume.data_offset + device.start);
    engine.submit(token(id), Op::Write { disk, offset, data: Data::Own(buf), range, dsync });
    Waiting
}

/// The payload's bytes `from..from+len` if they lie in one part.
fn one_part(payload: &[(Buf, Range<usize>)], from: usize, len: usize) -> Option<&[u8]> {
    let mut start = 0;
    for (buf, range) in payload {
        if from < start + range.len() {
            let at = range.start + from - start;
            return (at + len <= range.end).then(|| &buf[at..at + len]);
        }
        start += range.len();
    }
    None
}

/// Copies the payload's bytes from `from` on.
fn gather(payload: &[(Buf, Range<usize>)], from: usize, mut into: &mut [u8]) {
    let mut start = 0;
    let mut from = from;
    for (buf, range) in payload {
        let end = start + range.len();
        if from < end && !into.is_empty() {
            let len = (end - from).min(into.len());
            let at = range.start + from - start;
            let (head, rest) = into.split_at_mut(len);
            head.copy_from_slice(&buf[at..at + len]);
            into = rest;
            from += len;
        }
        start = end;
    }
}

/// An operation of the piece is done.
pub fn complete(executor: &mut Executor, engine: &mut dyn Engine, id: u32, done: Done) -> Progress {
    let piece = executor.pieces.get_mut(id);
    let volume = Arc::clone(&executor.requests.get_mut(piece.request).volume);
    match done.op {
        Op::Read { buf, .. } if matches!(piece.kind, PieceKind::Read { .. }) => {
            let result = match done.result {
                Ok(_) => finish_read(&volume, piece, buf),
                Err(error) => Err(failure(&volume, &error, "read")),
            };
            volume.gates.end_read(piece.extent);
            Ended(result)
        }
        Op::Read { mut buf, range, .. } => match done.result {
            Ok(_) => {
                let at = piece.device(volume.io_unit).start + range.start as u64;
                if let Some(key) = &piece.key
                    && holes::decrypt(&key.cipher, at, &mut buf[range])
                    && !volume.is_whole()
                {
                    return leave_write(&volume, piece, Err(truncated(&volume)));
                }
                piece.buf = Some(buf);
                read_edges(executor, engine, id, &volume)
            }
            Err(error) => {
                let failed = failure(&volume, &error, "read before a partial write");
                leave_write(&volume, piece, Err(failed))
            }
        },
        Op::Punch { disk, offset, len } => match (done.result, piece.kind) {
            (Err(error), PieceKind::Punch { must_zero }) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                if must_zero {
                    engine.submit(token(id), Op::ZeroRange { disk, offset, len });
                    return Waiting;
                }
                leave_write(&volume, piece, Ok(None))
            }
            (result, _) => end_change(&volume, piece, result, false),
        },
        Op::Write { dsync, .. } => end_change(&volume, piece, done.result, dsync),
        _ => end_change(&volume, piece, done.result, false),
    }
}

fn finish_read(volume: &Volume, piece: &Piece, mut buf: Buf) -> Result<Part, IoFailure> {
    let device = piece.device(volume.io_unit);
    if let Some(key) = &piece.key
        && holes::decrypt(&key.cipher, device.start, &mut buf[..(device.end - device.start) as usize])
        && !volume.is_whole()
    {
        return Err(truncated(volume));
    }
    Ok(read_part(volume, piece, buf))
}

/// A hole in a backing that is too short: nobody knows what was there.
fn truncated(volume: &Volume) -> IoFailure {
    tracing::warn!(volume = %volume.id, "a hole was read, but the data backing is shorter than it must be: it was truncated");
    IoFailure::Io
}

fn end_change(volume: &Arc<Volume>, piece: &Piece, result: io::Result<usize>, dsync: bool) -> Progress {
    let result = match result {
        Ok(_) => {
            volume.traffic.written.fetch_add(piece.range.end - piece.range.start, Relaxed);
            Ok(None)
        }
        Err(error) => {
            if dsync {
                volume.poison(&format!("a FUA write failed: {error}"));
            }
            Err(failure(volume, &error, "write"))
        }
    };
    leave_write(volume, piece, result)
}

/// Marks the flush clock, also after a failure (nobody knows what was written), and leaves the gate.
fn leave_write(volume: &Volume, piece: &Piece, result: Result<Part, IoFailure>) -> Progress {
    volume.flushes.mark(piece.extent);
    volume.gates.end_write(piece.extent, &piece.device(volume.io_unit));
    Ended(result)
}

fn failure(volume: &Volume, error: &io::Error, doing: &str) -> IoFailure {
    tracing::warn!(volume = %volume.id, %error, doing, "client I/O failed");
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => IoFailure::NoSpace,
        _ => IoFailure::Io,
    }
}

/// Somebody has called the piece's ticket.
pub fn called(executor: &mut Executor, engine: &mut dyn Engine, id: u32, call: Call) -> Progress {
    let piece = executor.pieces.get_mut(id);
    let request = executor.requests.get_mut(piece.request);
    let volume = Arc::clone(&request.volume);
    match call {
        Call::Admitted if volume.poisoned().is_some() => leave_write(&volume, piece, Err(IoFailure::Poisoned)),
        Call::Admitted if request.gone => leave_write(&volume, piece, Ok(None)),
        Call::Admitted => {
            let generation = volume.tags.current(piece.extent);
            proceed(executor, engine, id, &volume, generation)
        }
        Call::Refused => Ended(Err(IoFailure::Poisoned)),
        Call::StartFlush => {
            start_flush(executor, engine, volume);
            Waiting
        }
        Call::Flushed(Ok(())) => Ended(Ok(None)),
        Call::Flushed(Err(_)) => Ended(Err(IoFailure::Poisoned)),
    }
}

/// Puts the group's flush on this worker's engine.
fn start_flush(executor: &mut Executor, engine: &mut dyn Engine, volume: Arc<Volume>) {
    let disk = Arc::clone(&volume.data);
    let place = executor.flushing.insert(volume);
    engine.submit(TOKEN_BIT | FLUSH_BIT | u64::from(place), Op::Flush { disk });
}

/// Whether a token is a shared flush's.
pub fn is_flush(token: u64) -> bool {
    token & FLUSH_BIT != 0
}

/// A shared flush is done: tells those it served, and does the next one if somebody waits.
pub fn flushed(executor: &mut Executor, engine: &mut dyn Engine, done: Done) {
    let place = done.token as u32;
    let volume = Arc::clone(executor.flushing.get_mut(place));
    if volume.flush_ended(done.result.map(|_| ())) {
        engine.submit(done.token, done.op);
    } else {
        executor.flushing.remove(place);
    }
}
