//! What lies between the socket and a session's inbox and outbox: nothing, or TLS.
//!
//! Invariant: in plaintext every call goes straight through, with no copy and no state of its own; the choice is made once,
//! by STARTTLS, while nothing is with the engine and nothing is waiting.

use std::ops::Range;
use std::sync::Arc;

use super::inbox::Inbox;
use super::outbox::Outbox;
use super::sealed::Sealed;
use super::{Io, Phase, Session, Wait};
use crate::engine::{Buf, Data, Op, Pool, Sock};
use crate::nbd::backend::Backend;
use crate::nbd::form::Form;
use crate::nbd::tls::stream::End;

/// The way between socket and session.
pub enum Transport {
    /// Bytes as they are.
    Plain,
    /// TLS.
    Tls(Box<Sealed>),
}

/// What came of looking for bytes that need no receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refill {
    /// The inbox has more than before.
    Done,
    /// There are none: receive.
    Starved,
    /// None before what TLS has to say is sent.
    Blocked,
    /// No buffer to put them in.
    NoBuffer,
    /// None will come.
    Ended,
}

impl Transport {
    /// The send to start now, if something is ready and the pool has buffers for it.
    pub fn send(&mut self, outbox: &mut Outbox, form: Form, socket: &Arc<Sock>, pool: &Pool) -> Option<Op> {
        match self {
            Transport::Plain => outbox.send(form, socket, pool),
            Transport::Tls(sealed) => sealed.send(outbox, form, socket, pool),
        }
    }

    /// Takes back what a send leaves; returns the payload bytes of reads that are free again.
    pub fn sent(&mut self, outbox: &mut Outbox, parts: Vec<(Data, Range<usize>)>) -> usize {
        match self {
            Transport::Plain => outbox.sent(parts),
            Transport::Tls(sealed) => sealed.sent(outbox, parts),
        }
    }

    /// The receive to start now, or `None` when the pool has no buffer for it.
    pub fn receive(&mut self, inbox: &mut Inbox, socket: &Arc<Sock>, pool: &Pool) -> Option<Op> {
        match self {
            Transport::Plain => inbox.receive(socket, pool),
            Transport::Tls(sealed) => sealed.receive(socket, pool),
        }
    }

    /// Takes the buffers of a receive back, of which `len` bytes arrived.
    pub fn received(
        &mut self,
        inbox: &mut Inbox,
        first: Option<(Buf, Range<usize>)>,
        rest: (Buf, Range<usize>),
        len: usize,
    ) {
        match self {
            Transport::Plain => inbox.received(first, rest, len),
            Transport::Tls(sealed) => sealed.received(rest, len),
        }
    }

    /// Gives the inbox bytes that were received before.
    pub fn refill(&mut self, inbox: &mut Inbox, socket: &Arc<Sock>, pool: &Pool) -> Refill {
        match self {
            Transport::Plain => Refill::Starved,
            Transport::Tls(sealed) => sealed.refill(inbox, socket, pool),
        }
    }

    /// Whether something of its own is to be sent, besides what the outbox has.
    pub fn has_output(&mut self) -> bool {
        match self {
            Transport::Plain => false,
            Transport::Tls(sealed) => sealed.has_output(),
        }
    }

    /// Whether it has replies that were taken over from the outbox and are not sent.
    pub fn owes(&self) -> bool {
        match self {
            Transport::Plain => false,
            Transport::Tls(sealed) => sealed.owes(),
        }
    }

    /// Prepares the end, once: whether something more is to be sent before the socket is closed.
    pub fn part(&mut self) -> bool {
        match self {
            Transport::Plain => false,
            Transport::Tls(sealed) => sealed.part(),
        }
    }

    /// Whether it is broken, so that nothing can be answered any more.
    pub fn has_failed(&self) -> bool {
        match self {
            Transport::Plain => false,
            Transport::Tls(sealed) => sealed.stream().has_failed(),
        }
    }
}

impl<B: Backend> Session<B> {
    /// The client said over TLS that it sends no more, or broke TLS. Like the end of a plaintext connection; only while no
    /// request can be running is the client told what was wrong.
    pub(super) fn tls_ended(&mut self, io: &mut Io<'_, B>) {
        let Transport::Tls(sealed) = &self.transport else {
            return;
        };
        if !sealed.stream().has_failed() || !self.is_haggling() {
            return self.die(io);
        }
        let why = match sealed.stream().end() {
            Some(End::Failed(error)) => error.to_string(),
            _ => "the handshake is too long".into(),
        };
        if let Some(untold) = io.tls.and_then(|keeper| keeper.may_tell(io.now)) {
            tracing::info!(session = self.seat.id, why, untold, "TLS refused");
        }
        io.stats.handshakes_failed.add(1);
        self.phase = Phase::Closing;
        self.wait = Wait::End;
    }

    /// Everything is answered: says so where TLS has a word for it, then ends the connection.
    pub(super) fn part(&mut self, io: &mut Io<'_, B>) {
        if !self.transport.part() {
            return self.die(io);
        }
        match self.transport.send(&mut self.outbox, self.form, &self.socket, io.pool) {
            Some(op) => {
                self.sending = true;
                io.engine.submit(self.seat.send_token(), op);
            }
            None => io.budget.wait(self.seat.slot, self.want(0)),
        }
    }
}
