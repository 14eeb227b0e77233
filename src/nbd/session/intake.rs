//! Takes requests up: parses headers, judges them, and starts what may run.
//!
//! Invariants: requests are taken up in the order in which they arrived, one at a time: while a long read is started in
//! parts or a payload arrives, the next header waits, which is the back-pressure; every byte of a reply or payload is
//! reserved before a buffer is taken for it. A long write starts part by part as its payload arrives, so it never holds
//! more than one part that is incomplete.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::flights::{Flight, Ticket, write_part};
use super::outbox::Item;
use super::{Io, Phase, Session, Wait};
use crate::nbd::backend::{Backend, Failure, Request, Work};
use crate::nbd::export::Export;
use crate::nbd::meta::Contexts;
use crate::nbd::reply::{self, Place};
use crate::nbd::request::{Command, Header, Refusal, Terms, Verdict, judge};
use crate::nbd::stats::Kind;
use crate::nbd::wire::{Errno, NBD_CMD_READ};

/// Bytes of payload one connection may hold before no more requests are taken up.
const HELD_MAX: usize = 16 << 20;
/// Replies one connection may have waiting before no more requests are taken up.
const REPLIES_MAX: usize = 1024;
/// A long structured read is answered in chunks of this size, bytes.
const READ_CHUNK: u32 = 1 << 20;
/// Descriptors of one block status chunk: it fits a buffer of 64 KiB.
const STATUS_MAX: usize = 8189;
const STATUS_BUF: usize = 64 << 10;
/// Longest range one descriptor covers, bytes: 32 bits, whole sectors.
const DESCRIPTOR_MAX: u64 = (u32::MAX - 511) as u64;

const _: () = assert!(reply::block_status_len(STATUS_MAX) <= STATUS_BUF);

/// What transmission works on.
pub struct Link<V> {
    export: Arc<Export<V>>,
    contexts: Contexts,
    admission: Option<Admission>,
}

impl<V> Link<V> {
    /// Transmission on `export`.
    pub fn new(export: Arc<Export<V>>, contexts: Contexts) -> Link<V> {
        Link { export, contexts, admission: None }
    }
}

/// The request that is being taken up.
#[derive(Clone, Copy)]
enum Admission {
    /// Parts from `at` on are to be started.
    Read { flight: u16, offset: u64, len: u32, at: u32, chunk: u32 },
    /// Payload from `at` on is to be received.
    Write { flight: u16, offset: u64, len: u32, at: u32, fua: bool },
    /// Needs buffers for its reply.
    Status { cookie: u64, offset: u64, len: u64, one: bool },
}

type Flow = ControlFlow<Wait>;

impl<B: Backend> Session<B> {
    /// Takes up requests until bytes, buffers or limits stop it.
    pub(super) fn admit(&mut self, io: &mut Io<'_, B>) -> Wait {
        loop {
            if let ControlFlow::Break(wait) = self.advance(io) {
                return wait;
            }
            let full = self.flights.is_full() || self.held >= HELD_MAX || self.outbox.len() >= REPLIES_MAX;
            if full {
                return Wait::Own;
            }
            let Some(bytes) = self.inbox.header() else {
                return Wait::Input;
            };
            let header = Header::parse(&bytes);
            if header.is_none_or(|header| !self.take_up(&header, io)) {
                self.die(io);
            }
            if !matches!(self.phase, Phase::Transmission(_)) {
                return Wait::End;
            }
        }
    }

    /// Judges a request and starts it or queues its error; false when the connection has to end.
    fn take_up(&mut self, header: &Header, io: &mut Io<'_, B>) -> bool {
        let Phase::Transmission(link) = &self.phase else {
            return true;
        };
        let terms = Terms {
            size: link.export.size(),
            read_only: link.export.read_only(),
            structured: self.structured,
            contexts: !link.contexts.is_empty(),
            fast_zero: link.export.fast_zero(),
        };
        self.inbox.expect(header.payload());
        match judge(header, &terms) {
            Verdict::Hangup => return false,
            Verdict::Run(Command::Disconnect) => self.phase = Phase::Closing,
            Verdict::Refuse(refusal) => self.refuse(header, refusal, io),
            _ if io.stopping => {
                let (errno, skip) = (Errno::Shutdown, header.payload());
                self.refuse(header, Refusal { errno, skip, why: "the server is shutting down" }, io);
            }
            Verdict::Nothing if self.structured && header.command == NBD_CMD_READ => {
                self.outbox.push(Item::None { cookie: header.cookie });
            }
            Verdict::Nothing => self.outbox.push(Item::Simple { cookie: header.cookie, error: None }),
            Verdict::Run(command) => self.begin(header.cookie, command, io),
        }
        true
    }

    fn refuse(&mut self, header: &Header, refusal: Refusal, io: &mut Io<'_, B>) {
        io.stats.refused.add(1);
        self.inbox.skip(refusal.skip);
        self.push_error(header.cookie, refusal.errno, refusal.why, None);
    }

    /// Queues an error in the form that was negotiated.
    pub(super) fn push_error(&mut self, cookie: u64, errno: Errno, text: &'static str, at: Option<u64>) {
        self.outbox.push(if self.structured {
            Item::Error { cookie, errno, text, at }
        } else {
            Item::Simple { cookie, error: Some(errno) }
        });
    }

    fn begin(&mut self, cookie: u64, command: Command, io: &mut Io<'_, B>) {
        let (kind, offset, len, work) = match command {
            Command::Read { offset, len, dont_fragment } => {
                let chunk = if self.structured && !dont_fragment { len.min(READ_CHUNK) } else { len };
                let flight = self.insert(cookie, Kind::Read, offset, u64::from(len), chunk, io);
                return self.set_admission(Admission::Read { flight, offset, len, at: 0, chunk });
            }
            Command::Write { offset, len, fua } => {
                let flight = self.insert(cookie, Kind::Write, offset, u64::from(len), 0, io);
                return self.set_admission(Admission::Write { flight, offset, len, at: 0, fua });
            }
            Command::Status { offset, len, one } => {
                return self.set_admission(Admission::Status { cookie, offset, len, one });
            }
            Command::Flush => (Kind::Flush, 0, 0, Work::Flush),
            Command::Trim { offset, len, fua } => (Kind::Trim, offset, len, Work::Trim { offset, len, fua }),
            Command::Cache { offset, len } => (Kind::Cache, offset, len, Work::Cache { offset, len }),
            Command::Zeroes { offset, len, fua, no_hole } => {
                (Kind::Zeroes, offset, len, Work::Zeroes { offset, len, fua, no_hole })
            }
            Command::Disconnect => return,
        };
        let flight = self.insert(cookie, kind, offset, len, 0, io);
        self.start(flight, 0, work, io);
        self.shut(flight);
    }

    fn insert(&mut self, cookie: u64, kind: Kind, offset: u64, len: u64, chunk: u32, io: &Io<'_, B>) -> u16 {
        let started = io.now;
        self.flights.insert(Flight { cookie, kind, offset, len, chunk, running: 0, open: true, failure: None, started })
    }

    fn set_admission(&mut self, admission: Admission) {
        if let Phase::Transmission(link) = &mut self.phase {
            link.admission = Some(admission);
        }
    }

    /// Hands one part of a request to the backend.
    fn start(&mut self, flight: u16, at: u32, work: Work, io: &mut Io<'_, B>) {
        let Phase::Transmission(link) = &self.phase else {
            return;
        };
        if let Some(flight) = self.flights.get(flight) {
            flight.running += 1;
        }
        let ticket = Ticket { slot: self.seat.slot, flight, at };
        let volume = Arc::clone(link.export.volume());
        io.backend.start(io.engine, Request { volume, session: self.seat.id, cookie: ticket.cookie(), work });
    }

    /// No more parts of this request will be started.
    fn shut(&mut self, flight: u16) {
        if let Some(flight) = self.flights.get(flight) {
            flight.open = false;
        }
    }

    /// Goes on with the request that is being taken up; breaks when it has to wait.
    fn advance(&mut self, io: &mut Io<'_, B>) -> Flow {
        let Phase::Transmission(link) = &mut self.phase else {
            return Flow::Break(Wait::End);
        };
        let Some(admission) = link.admission.take() else {
            return Flow::Continue(());
        };
        match admission {
            Admission::Read { flight, offset, len, at, chunk } => {
                self.advance_read((flight, offset, len, chunk), at, io)
            }
            Admission::Write { flight, offset, len, at, fua } => self.advance_write((flight, offset, len, fua), at, io),
            Admission::Status { cookie, offset, len, one } => self.answer_status(cookie, (offset, len, one), io),
        }
    }

    fn advance_read(
        &mut self,
        (flight, offset, len, chunk): (u16, u64, u32, u32),
        mut at: u32,
        io: &mut Io<'_, B>,
    ) -> Flow {
        while at < len {
            let now = chunk.min(len - at);
            let wait = if at > 0 && self.held >= HELD_MAX {
                Some(Wait::Own)
            } else {
                (!self.reserve(now as usize, io)).then_some(Wait::Shared)
            };
            if let Some(wait) = wait {
                self.set_admission(Admission::Read { flight, offset, len, at, chunk });
                return Flow::Break(wait);
            }
            let work = Work::Read { offset: offset + u64::from(at), len: now };
            self.start(flight, at, work, io);
            at += now;
        }
        self.shut(flight);
        Flow::Continue(())
    }

    fn advance_write(
        &mut self,
        (flight, offset, len, fua): (u16, u64, u32, bool),
        mut at: u32,
        io: &mut Io<'_, B>,
    ) -> Flow {
        while at < len {
            if let Flow::Break(wait) = self.receive_part(offset + u64::from(at), len - at, io) {
                self.set_admission(Admission::Write { flight, offset, len, at, fua });
                return Flow::Break(wait);
            }
            let Some((buf, part)) = self.inbox.take_part() else {
                self.set_admission(Admission::Write { flight, offset, len, at, fua });
                return Flow::Break(Wait::Input);
            };
            let work = Work::Write { offset: offset + u64::from(at), buf, range: 0..part, fua };
            self.start(flight, at, work, io);
            // A part is at most PIECE_MAX.
            at += part as u32;
        }
        self.shut(flight);
        Flow::Continue(())
    }

    /// Provides the buffer of the payload part at `offset`, unless there is one already.
    fn receive_part(&mut self, offset: u64, left: u32, io: &mut Io<'_, B>) -> Flow {
        if self.inbox.has_part() {
            return Flow::Continue(());
        }
        let len = write_part(offset, left) as usize;
        if !self.reserve(len, io) {
            return Flow::Break(Wait::Shared);
        }
        let Some(buf) = io.pool.take(len) else {
            self.release(len, io);
            return Flow::Break(Wait::Shared);
        };
        self.inbox.begin_part(buf, len);
        Flow::Continue(())
    }

    /// Answers a block status request: one chunk per selected context.
    fn answer_status(&mut self, cookie: u64, (offset, len, one): (u64, u64, bool), io: &mut Io<'_, B>) -> Flow {
        let Phase::Transmission(link) = &mut self.phase else {
            return Flow::Break(Wait::End);
        };
        let count = link.contexts.iter().count();
        let bufs: Vec<_> = (0..count).map_while(|_| io.pool.take(STATUS_BUF)).collect();
        if bufs.len() < count {
            link.admission = Some(Admission::Status { cookie, offset, len, one });
            return Flow::Break(Wait::Shared);
        }
        let max = if one { 1 } else { STATUS_MAX };
        let mut chunks = Vec::with_capacity(count);
        for (index, (context, mut buf)) in link.contexts.iter().zip(bufs).enumerate() {
            let Ok(states) = B::block_status(link.export.volume(), offset, len, context, max) else {
                io.stats.record(Kind::Status, len, false, io.now.elapsed());
                self.push_error(cookie, Failure::Io.errno(), Failure::Io.text(), None);
                return Flow::Continue(());
            };
            let place = if index + 1 == count { Place::Last } else { Place::More };
            let mut bytes = Vec::new();
            reply::block_status(&mut bytes, place, cookie, context.id(), &descriptors(states, len, max));
            buf[..bytes.len()].copy_from_slice(&bytes);
            chunks.push(Item::Raw { buf, len: bytes.len() });
        }
        chunks.into_iter().for_each(|chunk| self.outbox.push(chunk));
        io.stats.record(Kind::Status, len, true, io.now.elapsed());
        Flow::Continue(())
    }

    /// Gives up a write whose payload will not be read to its end, and what was not started of a read.
    pub(super) fn abandon_admission(&mut self, io: &mut Io<'_, B>) {
        let Phase::Transmission(link) = &mut self.phase else {
            return;
        };
        match link.admission.take() {
            Some(Admission::Read { flight, .. } | Admission::Write { flight, .. }) => {
                let part = self.inbox.part_len();
                self.release(part, io);
                self.fail(flight, Failure::ShuttingDown, io);
            }
            Some(Admission::Status { cookie, .. }) => {
                self.push_error(cookie, Errno::Shutdown, Failure::ShuttingDown.text(), None);
            }
            None => {}
        }
    }
}

/// Descriptors as they are sent: 32-bit lengths, never beyond the range asked for, at least one.
fn descriptors(states: Vec<(u64, u32)>, len: u64, max: usize) -> Vec<(u32, u32)> {
    let mut left = len;
    let mut sent = Vec::with_capacity(states.len().min(max));
    for (state_len, flags) in states.into_iter().take(max) {
        let now = state_len.min(left).min(DESCRIPTOR_MAX);
        if now == 0 {
            break;
        }
        sent.push((now as u32, flags));
        left -= now;
        if now < state_len {
            break;
        }
    }
    if sent.is_empty() {
        // A state of 0 is always true: allocated, content unknown.
        sent.push((len.min(DESCRIPTOR_MAX) as u32, 0));
    }
    sent
}
