//! One connection, from greeting to close.
//!
//! A session is driven by its worker and owns no thread. Every event (bytes arrived, a send ended, a request finished)
//! is followed by [`Session::intake`], which parses as much as limits allow and starts requests, and later by
//! [`Session::output`], which starts at most one send and one receive. In between the worker collects what finished at
//! once, so that one send carries every reply that is ready.
//!
//! Invariants: at most one receive and one send are with the engine, and the session's slot is kept until both are back;
//! nothing is received while replies, running requests or held bytes are above their limits; `held` is what this session
//! has of the worker's budget; requests that were received before DISC are answered before the connection closes.

mod flights;
mod haggling;
mod inbox;
mod intake;
mod landing;
mod outbox;
mod sealed;
mod spans;
mod status;
mod transport;
mod watched;

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::audience::TlsMode;
use super::backend::Backend;
use super::bounds::Bounds;
use super::budget::{Budget, Grant, Want};
use super::export::Exports;
use super::form::Form;
use super::handshake::Limits;
use super::roll::{Guest, Party};
use super::stats::WorkerStats;
use super::tls::Keeper;
use super::watch::Owing;
use crate::engine::{Buf, Data, Done, Engine, Op, Pool, Sock};
use flights::Flights;
pub use flights::{FLIGHTS_MAX, SLOTS_MAX, Ticket};
use haggling::Haggling;
use inbox::Inbox;
use intake::Link;
use outbox::Outbox;
use transport::{Refill, Transport};

/// What a worker lends its sessions.
pub struct Io<'a, B: Backend> {
    /// Runs receives, sends and the backend's operations.
    pub engine: &'a mut dyn Engine,
    /// Runs requests.
    pub backend: &'a mut B,
    /// Supplies buffers.
    pub pool: &'a Pool,
    /// Bytes that sessions may hold.
    pub budget: &'a mut Budget,
    /// Counts what happens.
    pub stats: &'a WorkerStats,
    /// What handshakes may choose from.
    pub exports: &'a Exports<B::Volume>,
    /// What TLS begins with, where there is TLS.
    pub tls: Option<&'a Keeper>,
    /// What clients may cost.
    pub bounds: &'a Bounds,
    /// The time of this round.
    pub now: Instant,
    /// The server is shutting down.
    pub stopping: bool,
}

/// Where a session sits and who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The worker's slot.
    pub slot: u32,
    /// The session's number, never reused by the worker.
    pub id: u32,
}

impl Seat {
    /// The engine token of this session's receives.
    pub fn receive_token(self) -> u64 {
        u64::from(self.slot) << 1
    }

    /// The engine token of this session's sends.
    pub fn send_token(self) -> u64 {
        u64::from(self.slot) << 1 | 1
    }

    /// The slot behind an engine token.
    pub fn slot_of(token: u64) -> usize {
        (token >> 1) as usize
    }
}

/// What the receiving side waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// Bytes from the client.
    Input,
    /// An event of this session: a reply sent, a request finished.
    Own,
    /// Bytes or buffers that others hold.
    Shared,
    /// Nothing: no more is read.
    End,
}

enum Phase<V> {
    Haggling(Box<Haggling<V>>),
    Transmission(Link<V>),
    /// Answer what runs, then close.
    Closing,
    /// Only the engine's completions are awaited.
    Dead,
}

/// One connection.
pub struct Session<B: Backend> {
    seat: Seat,
    socket: Arc<Sock>,
    phase: Phase<B::Volume>,
    /// Of the messages in transmission.
    form: Form,
    transport: Transport,
    inbox: Inbox,
    outbox: Outbox,
    flights: Flights,
    held: usize,
    /// Of these, granted from beyond the budget.
    floor: usize,
    /// Bytes that could not be had.
    lacking: usize,
    /// The connection's place; its party answers for what is held.
    guest: Option<Guest>,
    /// Bytes received.
    received: u64,
    /// When a message last came or a request last ended.
    active: Instant,
    /// More was not received because a limit was reached.
    held_back: bool,
    /// What it owes, while it owes something.
    owing: Option<Owing>,
    /// Whether the table watches it.
    watched: bool,
    /// Bytes of transfers started in this turn.
    turn: usize,
    wait: Wait,
    receiving: bool,
    sending: bool,
}

impl<B: Backend> Session<B> {
    /// A session whose greeting goes out with the first [`Session::intake`], on a listener that treats TLS so.
    pub fn new(
        seat: Seat,
        socket: Arc<Sock>,
        guest: Option<Guest>,
        limits: Limits,
        tls: TlsMode,
        now: Instant,
    ) -> Session<B> {
        Session {
            seat,
            socket,
            phase: Phase::Haggling(Box::new(Haggling::new(limits, tls))),
            form: Form::Simple,
            transport: Transport::Plain,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            flights: Flights::default(),
            held: 0,
            floor: 0,
            lacking: 0,
            guest,
            received: 0,
            active: now,
            held_back: false,
            owing: None,
            watched: false,
            turn: 0,
            wait: Wait::Own,
            receiving: false,
            sending: false,
        }
    }

    /// The session's number.
    pub fn id(&self) -> u32 {
        self.seat.id
    }

    /// Whether the handshake is still going on.
    pub fn is_haggling(&self) -> bool {
        matches!(self.phase, Phase::Haggling(_))
    }

    /// Whether the connection is over and nothing of it is with the engine.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Dead) && !self.receiving && !self.sending
    }

    /// Takes a completed receive or send back.
    pub fn done(&mut self, done: Done, io: &mut Io<'_, B>) {
        match done.op {
            Op::Recv { first, rest, .. } => self.received(done.result.unwrap_or(0), first, rest, io),
            Op::Send { parts, .. } => self.sent(done.result.is_ok(), parts, io),
            other => debug_assert!(false, "{other:?} is no session's"),
        }
    }

    fn received(
        &mut self,
        len: usize,
        first: Option<(Buf, Range<usize>)>,
        rest: (Buf, Range<usize>),
        io: &mut Io<'_, B>,
    ) {
        self.receiving = false;
        // One that died while this was under way knows nothing of its buffers any more.
        if matches!(self.phase, Phase::Dead) {
            return;
        }
        if len == 0 {
            return self.die(io);
        }
        io.stats.received.add(len as u64);
        self.received += len as u64;
        self.active = io.now;
        self.transport.received(&mut self.inbox, first, rest, len);
    }

    fn sent(&mut self, ok: bool, parts: Vec<(Data, Range<usize>)>, io: &mut Io<'_, B>) {
        self.sending = false;
        let len: usize = parts.iter().map(|part| part.1.len()).sum();
        let free = self.transport.sent(&mut self.outbox, parts);
        if matches!(self.phase, Phase::Dead) {
            return;
        }
        self.release(free, io);
        self.active = io.now;
        if ok { io.stats.sent.add(len as u64) } else { self.die(io) }
    }

    /// Parses what arrived and starts requests, as far as limits allow.
    pub fn intake(&mut self, io: &mut Io<'_, B>) {
        if self.receiving {
            return;
        }
        if std::mem::take(&mut self.held_back) && !self.is_haggling() && self.socket.is_hung_up() {
            // What it sent and we did not take up is from a connection that is dead: somebody may have written newer data
            // since. What was taken up is carried out and answered.
            self.close(io);
        }
        self.turn = 0;
        loop {
            if self.is_haggling() {
                self.wait = self.haggle(io);
            }
            if matches!(self.phase, Phase::Transmission(_)) {
                self.wait = self.admit(io);
            }
            if matches!(self.phase, Phase::Closing | Phase::Dead) {
                self.wait = Wait::End;
            }
            if self.wait != Wait::Input || !self.refill(io) {
                break;
            }
        }
        if self.wait == Wait::Shared {
            io.budget.wait(self.seat.slot, self.want(self.lacking));
        }
    }

    /// Gets bytes that were received already but not understood; false if the session has to wait for something.
    fn refill(&mut self, io: &mut Io<'_, B>) -> bool {
        match self.transport.refill(&mut self.inbox, &self.socket, io.pool) {
            Refill::Done => return true,
            Refill::Starved => {}
            Refill::Blocked => self.wait = Wait::Own,
            Refill::NoBuffer => (self.wait, self.lacking) = (Wait::Shared, 0),
            Refill::Ended => self.tls_ended(io),
        }
        false
    }

    /// Starts a send of what is ready and the next receive; closes when everything is answered.
    pub fn output(&mut self, io: &mut Io<'_, B>) {
        if matches!(self.phase, Phase::Dead) {
            return;
        }
        if !self.sending
            && let Some(op) = self.transport.send(&mut self.outbox, self.form, &self.socket, io.pool)
        {
            self.sending = true;
            io.engine.submit(self.seat.send_token(), op);
        }
        if self.wait == Wait::Input
            && !self.receiving
            && let Some(op) = self.transport.receive(&mut self.inbox, &self.socket, io.pool)
        {
            self.receiving = true;
            io.engine.submit(self.seat.receive_token(), op);
        }
        if self.transport.has_failed() && !self.only_parts() {
            return self.die(io);
        }
        let unsent = !self.outbox.is_empty() || self.transport.has_output();
        let lacks_buffer = (!self.sending && unsent) || (!self.receiving && self.wait == Wait::Input);
        if self.wait == Wait::Shared {
            io.budget.wait(self.seat.slot, self.want(self.lacking));
        } else if lacks_buffer {
            io.budget.wait(self.seat.slot, self.want(0));
        } else {
            io.budget.leave(self.seat.slot);
        }
        let answered = self.flights.is_empty() && !unsent && !self.sending;
        if matches!(self.phase, Phase::Closing) && answered {
            self.part(io);
        }
    }

    /// Whether nothing is left to do but to say goodbye.
    fn only_parts(&self) -> bool {
        let answered = self.flights.is_empty() && self.outbox.is_empty() && !self.transport.owes();
        matches!(self.phase, Phase::Closing) && answered
    }

    /// Reads no more, answers what runs, then closes. A write whose payload is still arriving fails.
    pub fn close(&mut self, io: &mut Io<'_, B>) {
        self.abandon_admission(io);
        if !matches!(self.phase, Phase::Dead) {
            self.phase = Phase::Closing;
            self.wait = Wait::End;
        }
    }

    /// Ends the connection at once: nothing more is answered, what has not begun is dropped.
    pub fn die(&mut self, io: &mut Io<'_, B>) {
        if matches!(self.phase, Phase::Dead) {
            return;
        }
        if self.is_haggling() {
            io.stats.handshakes_failed.add(1);
        }
        self.phase = Phase::Dead;
        self.wait = Wait::End;
        io.backend.drop_session(self.seat.id);
        io.engine.cancel_socket(&self.socket);
        io.budget.leave(self.seat.slot);
        self.release(self.held, io);
        self.transport = Transport::Plain;
        self.outbox = Outbox::default();
        self.inbox = Inbox::default();
    }

    /// Lets the engine forget the socket; the last call before the session is dropped.
    pub fn forget(&self, io: &mut Io<'_, B>) {
        io.budget.forget(self.party());
        io.engine.forget_socket(&self.socket);
    }

    fn party(&self) -> Party {
        self.guest.as_ref().map_or(Party::Unknown, Guest::party)
    }

    fn want(&self, len: usize) -> Want {
        Want { party: self.party(), held: self.held, len }
    }

    /// Takes `len` bytes of the worker's budget.
    fn reserve(&mut self, len: usize, io: &mut Io<'_, B>) -> bool {
        match io.budget.reserve(self.seat.slot, &self.want(len)) {
            Some(Grant::Shared) => self.held += len,
            Some(Grant::Floor) => (self.held, self.floor) = (self.held + len, self.floor + len),
            None => {
                self.lacking = len;
                return false;
            }
        }
        true
    }

    /// Gives bytes back; those from beyond the budget first.
    fn release(&mut self, len: usize, io: &mut Io<'_, B>) {
        debug_assert!(len <= self.held);
        self.held -= len;
        let floor = len.min(self.floor);
        self.floor -= floor;
        io.budget.release(self.party(), len - floor);
    }
}
