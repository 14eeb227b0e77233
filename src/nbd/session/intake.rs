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
use super::spans::Span;
use super::status::Asked;
use super::{Io, Phase, Session, Wait};
use crate::limits::PIECE_MAX;
use crate::nbd::backend::{Backend, Failure, Request, Work};
use crate::nbd::budget::FLOOR;
use crate::nbd::export::Export;
use crate::nbd::form::Form;
use crate::nbd::meta::Contexts;
use crate::nbd::reply::To;
use crate::nbd::request::{Command, Header, Refusal, Terms, Verdict, judge, judge_query};
use crate::nbd::stats::Kind;
use crate::nbd::wire::{Errno, NBD_CMD_READ};

/// Once a turn has started this much and some of it is finished, that is answered first: it is still in the second-level
/// cache, where the cipher and the socket want it.
const TURN_BYTES: usize = 256 << 10;
/// Replies one connection may have waiting before no more requests are taken up.
const REPLIES_MAX: usize = 1024;
/// A long structured read is answered in chunks of this size, bytes.
const READ_CHUNK: u32 = 1 << 20;

/// What transmission works on.
pub struct Link<V> {
    pub(super) export: Arc<Export<V>>,
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
pub(super) enum Admission {
    /// Parts from `at` on are to be started.
    Read { flight: u16, offset: u64, len: u32, at: u32, chunk: u32 },
    /// Payload from `at` on is to be received.
    Write { flight: u16, offset: u64, len: u32, at: u32, fua: bool },
    /// A part of a long range runs, or the next is to be started.
    Span { flight: u16, span: Span },
    /// Its payload is to be received.
    Query { header: Header, len: usize },
    /// Needs buffers for its reply.
    Status { to: To, asked: Asked },
}

pub(super) type Flow = ControlFlow<Wait>;

impl<B: Backend> Session<B> {
    /// Takes up requests until bytes, buffers or limits stop it.
    pub(super) fn admit(&mut self, io: &mut Io<'_, B>) -> Wait {
        loop {
            if let ControlFlow::Break(wait) = self.advance(io) {
                return wait;
            }
            let busy = self.flights.len() >= io.bounds.requests || self.held >= io.bounds.held;
            let full = busy || self.outbox.len() >= REPLIES_MAX;
            self.held_back = full;
            // What was started in the turn ends in an event of this session, and that is its next turn.
            let turn_is_over = self.turn >= TURN_BYTES && io.engine.has_finished();
            if full || turn_is_over {
                return Wait::Own;
            }
            let received = match self.form {
                Form::Simple | Form::Structured => self.inbox.take().map(|bytes| Header::parse(&bytes)),
                Form::Extended => self.inbox.take().map(|bytes| Header::parse_extended(&bytes)),
            };
            let Some(header) = received else {
                return Wait::Input;
            };
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
        let terms = self.terms(link);
        self.inbox.expect(header.payload);
        match judge(header, &terms) {
            Verdict::Hangup => return false,
            verdict => self.obey(header, verdict, io),
        }
        true
    }

    fn terms(&self, link: &Link<B::Volume>) -> Terms {
        Terms {
            size: link.export.size(),
            read_only: link.export.read_only(),
            form: self.form,
            contexts: link.contexts,
            fast_zero: link.export.fast_zero(),
        }
    }

    /// Does what was decided about a request.
    fn obey(&mut self, header: &Header, verdict: Verdict, io: &mut Io<'_, B>) {
        let to = To { cookie: header.cookie, offset: header.offset };
        match verdict {
            Verdict::Hangup | Verdict::Run(Command::Disconnect) => self.phase = Phase::Closing,
            Verdict::Refuse(refusal) => self.refuse(to, refusal, io),
            _ if io.stopping => {
                let (errno, skip) = (Errno::Shutdown, header.payload);
                self.refuse(to, Refusal { errno, skip, why: "the server is shutting down" }, io);
            }
            Verdict::Nothing if header.command == NBD_CMD_READ => self.outbox.push(Item::Nothing { to }),
            Verdict::Nothing => self.outbox.push(Item::Done { to }),
            Verdict::Query(len) => self.set_admission(Admission::Query { header: *header, len }),
            Verdict::Run(command) => self.begin(to, command, io),
        }
    }

    fn refuse(&mut self, to: To, refusal: Refusal, io: &mut Io<'_, B>) {
        io.stats.refused.add(1);
        self.inbox.skip(refusal.skip);
        self.push_error(to, refusal.errno, refusal.why, None);
    }

    /// Queues an error.
    pub(super) fn push_error(&mut self, to: To, errno: Errno, text: &'static str, at: Option<u64>) {
        self.outbox.push(Item::Error { to, errno, text, at });
    }

    fn begin(&mut self, to: To, command: Command, io: &mut Io<'_, B>) {
        let admission = match command {
            Command::Read { offset, len, dont_fragment } => {
                let in_chunks = self.form.has_chunks() && !dont_fragment;
                let chunk = if in_chunks { len.min(READ_CHUNK) } else { len };
                let flight = self.insert(to, Kind::Read, u64::from(len), chunk, io);
                if let Some(flight) = self.flights.get(flight).filter(|_| in_chunks) {
                    flight.least = chunk.min(FLOOR as u32);
                }
                Admission::Read { flight, offset, len, at: 0, chunk }
            }
            Command::Write { offset, len, fua } => {
                let flight = self.insert(to, Kind::Write, u64::from(len), PIECE_MAX as u32, io);
                Admission::Write { flight, offset, len, at: 0, fua }
            }
            Command::Trim { offset, len, fua } => self.begin_span(to, Kind::Trim, Span::trim(offset, len, fua), io),
            Command::Zeroes { offset, len, fua, no_hole } => {
                self.begin_span(to, Kind::Zeroes, Span::zeroes(offset, len, fua, no_hole), io)
            }
            Command::Status { offset, len, one, contexts } => {
                Admission::Status { to, asked: Asked { offset, len, one, contexts } }
            }
            Command::Cache { offset, len } => return self.run(to, Kind::Cache, len, Work::Cache { offset, len }, io),
            Command::Flush => return self.run(to, Kind::Flush, 0, Work::Flush, io),
            Command::Disconnect => return,
        };
        self.set_admission(admission);
    }

    /// Starts a request that is one part.
    fn run(&mut self, to: To, kind: Kind, len: u64, work: Work, io: &mut Io<'_, B>) {
        let flight = self.insert(to, kind, len, 0, io);
        self.start(flight, 0, work, io);
        self.shut(flight);
    }

    pub(super) fn insert(&mut self, to: To, kind: Kind, len: u64, chunk: u32, io: &Io<'_, B>) -> u16 {
        let (To { cookie, offset }, started) = (to, io.now);
        let least = if kind == Kind::Write { FLOOR as u32 } else { chunk };
        let flight = Flight { cookie, kind, offset, len, chunk, least, running: 0, open: true, failure: None, started };
        self.flights.insert(flight)
    }

    pub(super) fn set_admission(&mut self, admission: Admission) {
        if let Phase::Transmission(link) = &mut self.phase {
            link.admission = Some(admission);
        }
    }

    /// Hands one part of a request to the backend.
    pub(super) fn start(&mut self, flight: u16, at: u32, work: Work, io: &mut Io<'_, B>) {
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
    pub(super) fn shut(&mut self, flight: u16) {
        if let Some(flight) = self.flights.get(flight) {
            flight.open = false;
        }
    }

    /// Goes on with the long range that is being taken up, if that is what is: its part has finished.
    pub(super) fn continue_span(&mut self, io: &mut Io<'_, B>) {
        if let Phase::Transmission(Link { admission: Some(Admission::Span { .. }), .. }) = &self.phase {
            let _ = self.advance(io);
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
            Admission::Span { flight, span } => self.advance_span(flight, span, io),
            Admission::Query { header, len } => self.advance_query(&header, len, io),
            Admission::Status { to, asked } => self.answer_status(to, asked, io),
        }
    }

    fn advance_read(
        &mut self,
        (flight, offset, len, mut chunk): (u16, u64, u32, u32),
        mut at: u32,
        io: &mut Io<'_, B>,
    ) -> Flow {
        while at < len {
            let mut now = chunk.min(len - at);
            let wait = if at > 0 && self.held >= io.bounds.held {
                Some(Wait::Own)
            } else {
                let mut granted = self.reserve(now as usize, io);
                if !granted && self.shrink(flight) {
                    chunk = chunk.min(FLOOR as u32);
                    now = chunk.min(len - at);
                    granted = self.reserve(now as usize, io);
                }
                (!granted).then_some(Wait::Shared)
            };
            if let Some(wait) = wait {
                self.set_admission(Admission::Read { flight, offset, len, at, chunk });
                return Flow::Break(wait);
            }
            let work = Work::Read { offset: offset + u64::from(at), len: now };
            self.turn += now as usize;
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
            if let Flow::Break(wait) = self.receive_part(flight, offset + u64::from(at), len - at, io) {
                self.set_admission(Admission::Write { flight, offset, len, at, fua });
                return Flow::Break(wait);
            }
            let Some((buf, part)) = self.inbox.take_part() else {
                self.set_admission(Admission::Write { flight, offset, len, at, fua });
                return Flow::Break(Wait::Input);
            };
            let work = Work::Write { offset: offset + u64::from(at), buf, range: 0..part, fua };
            self.turn += part;
            self.start(flight, at, work, io);
            // A part is at most PIECE_MAX.
            at += part as u32;
        }
        self.shut(flight);
        Flow::Continue(())
    }

    /// Makes the parts of a request that are to come as short as the floor, which a session that holds nothing can always have;
    /// false where that cannot be done: they may not be shorter, or some of it is under way, whose length would be unknown.
    fn shrink(&mut self, flight: u16) -> bool {
        let holds_nothing = self.held == 0;
        let Some(flight) = self.flights.get(flight).filter(|flight| flight.running == 0) else { return false };
        let shrinks = holds_nothing && flight.least < flight.chunk;
        if shrinks {
            flight.chunk = flight.least;
        }
        shrinks
    }

    /// Provides the buffer of the payload part at `offset`, unless there is one already.
    fn receive_part(&mut self, flight: u16, offset: u64, left: u32, io: &mut Io<'_, B>) -> Flow {
        if self.inbox.has_part() {
            return Flow::Continue(());
        }
        let largest = self.flights.get(flight).map_or(PIECE_MAX as u32, |flight| flight.chunk);
        let mut len = write_part(offset, left, largest) as usize;
        if !self.reserve(len, io) {
            if !self.shrink(flight) {
                return Flow::Break(Wait::Shared);
            }
            len = write_part(offset, left, FLOOR as u32) as usize;
            if !self.reserve(len, io) {
                return Flow::Break(Wait::Shared);
            }
        }
        let Some(buf) = io.pool.take(len) else {
            self.release(len, io);
            return Flow::Break(Wait::Shared);
        };
        self.inbox.begin_part(buf, len);
        Flow::Continue(())
    }

    /// Judges a block status once its payload is there.
    fn advance_query(&mut self, header: &Header, len: usize, io: &mut Io<'_, B>) -> Flow {
        let Phase::Transmission(link) = &self.phase else {
            return Flow::Break(Wait::End);
        };
        let Some(payload) = self.inbox.unread().get(..len) else {
            self.set_admission(Admission::Query { header: *header, len });
            return Flow::Break(Wait::Input);
        };
        let verdict = judge_query(header, payload, &self.terms(link));
        self.inbox.consume(len);
        self.obey(&Header { payload: 0, ..*header }, verdict, io);
        self.advance(io)
    }

    /// Gives up a write whose payload will not be read to its end, and what was not started of a read.
    pub(super) fn abandon_admission(&mut self, io: &mut Io<'_, B>) {
        let Phase::Transmission(link) = &mut self.phase else {
            return;
        };
        match link.admission.take() {
            Some(Admission::Read { flight, .. } | Admission::Write { flight, .. } | Admission::Span { flight, .. }) => {
                let part = self.inbox.part_len();
                self.release(part, io);
                self.fail(flight, Failure::ShuttingDown, io);
            }
            Some(Admission::Query { header: Header { cookie, offset, .. }, .. }) => {
                self.push_error(To { cookie, offset }, Errno::Shutdown, Failure::ShuttingDown.text(), None);
            }
            Some(Admission::Status { to, .. }) => {
                self.push_error(to, Errno::Shutdown, Failure::ShuttingDown.text(), None);
            }
            None => {}
        }
    }
}
