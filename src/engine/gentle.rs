//! An engine beside others' work: few bytes under way at a time, so that whoever shares the device waits for little.
//!
//! Invariants:
//! - While restrained, reads and writes run one after another in pieces, in the order taken, spread over time. A piece is
//!   small enough for whoever waits behind it; where memory answers it is one that the calling thread runs itself, without
//!   a kernel worker that would take a second CPU from others.
//! - An operation comes back whole: its own offset and range, and the length of the range or the error of its first
//!   piece that failed; after an error no further piece is started.
//! - Nothing is restrained but reads and writes; what was taken while unrestrained is not held back later.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Disk, Done, Engine, EngineReport, EngineStats, InlinePolicy, Op, Sock, Waker};
use crate::limits::INLINE_MAX;

/// Bytes under way at a time on a device: what it moves in a tenth of a millisecond or two.
const PIECE: usize = 256 << 10;
/// Token of the one piece under way.
const TOKEN: u64 = u64::MAX;

/// How a [`Gentle`] engine restrains itself from the next operation on: bytes it reads and writes a second, zero if it does
/// not.
#[derive(Debug, Default)]
pub struct Restraint(AtomicU64);

impl Restraint {
    /// Restrained to `bytes_per_s` of reads and writes together, [`SLOWEST`] at least; `None`: not at all.
    pub fn set(&self, bytes_per_s: Option<u64>) {
        self.0.store(bytes_per_s.map_or(0, |rate| rate.max(SLOWEST)), Ordering::Relaxed);
    }

    fn rate(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|rate| *rate > 0)
    }
}

/// Bytes a second below which operations are not drawn out: they hold what clients may wait for.
pub const SLOWEST: u64 = 200 << 20;
/// Rests shorter than this are saved up.
const REST_MIN: Duration = Duration::from_micros(100);
/// What was late is made up for at once no further back than this.
const CATCH_UP: Duration = Duration::from_millis(3);

/// Spreads pieces evenly over time. Pure: time is given to it.
#[derive(Debug, Default)]
struct Spread {
    /// When the next piece is due, by a clock of the caller's.
    due: Duration,
}

impl Spread {
    /// How long to rest at time `now` before the next piece.
    fn rest(&self, now: Duration) -> Duration {
        self.due.checked_sub(now).filter(|rest| *rest >= REST_MIN).unwrap_or_default()
    }

    /// A piece of `len` bytes starts at `now`, of `rate` a second.
    fn started(&mut self, now: Duration, len: usize, rate: u64) {
        let took = Duration::from_secs_f64(len as f64 / rate as f64);
        self.due = self.due.max(now.saturating_sub(CATCH_UP)) + took;
    }
}

/// What its caller gave of the operation under way.
struct Whole {
    token: u64,
    offset: u64,
    range: Range<usize>,
    piece: usize,
}

/// An engine that can restrain itself.
pub struct Gentle {
    inner: Box<dyn Engine>,
    restraint: Arc<Restraint>,
    waiting: VecDeque<(u64, Op)>,
    under_way: Option<Whole>,
    came: Vec<Done>,
    began: Instant,
    spread: Spread,
}

impl Gentle {
    /// Runs operations on `inner`, restrained while `restraint` says so.
    pub fn new(inner: Box<dyn Engine>, restraint: Arc<Restraint>) -> Gentle {
        let (began, spread) = (Instant::now(), Spread::default());
        Gentle { inner, restraint, waiting: VecDeque::new(), under_way: None, came: Vec::new(), began, spread }
    }

    fn start_next(&mut self) {
        if self.under_way.is_some() {
            return;
        }
        let Some((token, mut op)) = self.waiting.pop_front() else { return };
        let piece = match op.disk().map(|disk| disk.caps().inline) {
            Some(InlinePolicy::Always) => INLINE_MAX,
            _ => PIECE,
        };
        let Some((offset, range)) = place(&mut op) else { return };
        self.under_way = Some(Whole { token, offset: *offset, range: range.clone(), piece });
        range.end = range.end.min(range.start.saturating_add(piece));
        let len = range.len();
        self.start(op, len);
    }

    /// Starts a piece of `len` bytes once it is due.
    fn start(&mut self, op: Op, len: usize) {
        if let Some(rate) = self.restraint.rate() {
            let rest = self.spread.rest(self.began.elapsed());
            if !rest.is_zero() {
                thread::sleep(rest);
            }
            self.spread.started(self.began.elapsed(), len, rate);
        }
        self.inner.submit(TOKEN, op);
    }

    /// A piece has come back: the next one of its operation is started, or the operation is done.
    fn take(&mut self, mut done: Done) -> Option<Done> {
        let whole = self.under_way.take()?;
        let (offset, range) = place(&mut done.op)?;
        if done.result.is_ok() && range.end < whole.range.end {
            *offset += range.len() as u64;
            *range = range.end..whole.range.end.min(range.end + whole.piece);
            let len = range.len();
            self.under_way = Some(whole);
            self.start(done.op, len);
            return None;
        }
        (*offset, *range) = (whole.offset, whole.range.clone());
        let result = done.result.map(|_| whole.range.len());
        Some(Done { token: whole.token, result, op: done.op })
    }
}

/// Where on the disk and where in its buffer a read or write moves bytes; `None` for everything else.
fn place(op: &mut Op) -> Option<(&mut u64, &mut Range<usize>)> {
    match op {
        Op::Read { offset, range, .. } | Op::Write { offset, range, .. } => Some((offset, range)),
        _ => None,
    }
}

impl Engine for Gentle {
    fn submit(&mut self, token: u64, mut op: Op) {
        if self.restraint.rate().is_some() && place(&mut op).is_some() {
            self.waiting.push_back((token, op));
        } else {
            self.inner.submit(token, op);
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Done>) -> io::Result<()> {
        let deadline = timeout.map(|time| Instant::now() + time);
        let before = done.len();
        loop {
            self.start_next();
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let mut came = std::mem::take(&mut self.came);
            let waited = self.inner.wait(left, &mut came);
            let pieces = came.iter().filter(|done| done.token == TOKEN).count();
            for one in came.drain(..) {
                match one.token {
                    TOKEN => done.extend(self.take(one)),
                    _ => done.push(one),
                }
            }
            self.came = came;
            waited?;
            // Nothing at all came: a wake or the timeout, which the caller wants to know of.
            if done.len() > before || pieces == 0 {
                return Ok(());
            }
        }
    }

    fn cancel_socket(&mut self, socket: &Arc<Sock>) {
        self.inner.cancel_socket(socket);
    }

    fn forget_socket(&mut self, socket: &Arc<Sock>) {
        self.inner.forget_socket(socket);
    }

    fn forget_disk(&mut self, disk: &Arc<dyn Disk>) {
        self.inner.forget_disk(disk);
    }

    fn has_finished(&self) -> bool {
        self.inner.has_finished()
    }

    fn pending(&self) -> usize {
        // The piece under way is one of the inner engine's.
        self.waiting.len() + self.inner.pending()
    }

    fn waker(&self) -> Waker {
        self.inner.waker()
    }

    fn report(&self) -> EngineReport {
        self.inner.report()
    }

    fn stats(&self) -> EngineStats {
        self.inner.stats()
    }
}

#[cfg(test)]
#[path = "tests/gentle.rs"]
mod tests;
