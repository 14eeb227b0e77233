//! Drives the handshake of a session: one option, one answer, then the next.
//!
//! Invariant: an answer is on its way before the next option is looked at, so a client that never reads its answers
//! costs one of them. After STARTTLS nothing that came in plaintext is looked at: bytes behind the option were put there by
//! somebody who is not the client, and end the connection.

use std::ops::ControlFlow;

use super::inbox::Inbox;
use super::intake::Link;
use super::outbox::Item;
use super::sealed::Sealed;
use super::transport::Transport;
use super::{Io, Phase, Session, Wait};
use crate::engine::CLASS_MAX;
use crate::nbd::audience::TlsMode;
use crate::nbd::backend::Backend;
use crate::nbd::handshake::{Closing, Handshake, Limits, Step};
use crate::nbd::tls::stream::Stream;

/// A handshake and the answer that is not queued yet.
pub struct Haggling<V> {
    handshake: Handshake<V>,
    answer: Vec<u8>,
    /// What follows once the answer is queued.
    next: Step<V>,
    tls: Tls,
}

/// How far TLS has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tls {
    /// There is none, or all of it is agreed on.
    Settled,
    /// It begins when the answer to STARTTLS is sent.
    Agreed,
    /// Its own handshake goes on: the next bytes come when it is over.
    Begun,
}

impl<V> Haggling<V> {
    /// A handshake that begins with the greeting.
    pub fn new(limits: Limits, tls: TlsMode) -> Haggling<V> {
        let mut answer = Vec::new();
        Handshake::<V>::greeting(&mut answer);
        Haggling { handshake: Handshake::new(limits, tls), answer, next: Step::Reply, tls: Tls::Settled }
    }
}

impl<B: Backend> Session<B> {
    /// Goes on with the handshake until it needs something or is over.
    pub(super) fn haggle(&mut self, io: &mut Io<'_, B>) -> Wait {
        loop {
            if let ControlFlow::Break(wait) = self.queue_answer(io) {
                return wait;
            }
            if self.sending || !self.outbox.is_empty() {
                return Wait::Own;
            }
            let Phase::Haggling(haggling) = &mut self.phase else {
                return Wait::End;
            };
            if haggling.tls == Tls::Agreed {
                haggling.tls = Tls::Begun;
                if !self.begin_tls(io) {
                    self.die(io);
                    return Wait::End;
                }
                return Wait::Input;
            }
            let input = self.inbox.unread();
            if input.is_empty() {
                return Wait::Input;
            }
            if haggling.tls == Tls::Begun
                && let Transport::Tls(sealed) = &self.transport
            {
                let names = sealed.stream().names();
                tracing::debug!(session = self.seat.id, client = %names, tls = sealed.stream().parameters(), "secured");
                haggling.handshake.secure(names);
                haggling.tls = Tls::Settled;
            }
            let (used, step) = haggling.handshake.feed(input, io.exports, io.stopping, &mut haggling.answer);
            haggling.next = step;
            self.inbox.consume(used);
        }
    }

    /// Queues the answer and does what follows it; breaks when the handshake is over or cannot go on.
    fn queue_answer(&mut self, io: &mut Io<'_, B>) -> ControlFlow<Wait> {
        let Phase::Haggling(haggling) = &mut self.phase else {
            return ControlFlow::Break(Wait::End);
        };
        while !haggling.answer.is_empty() {
            let len = haggling.answer.len().min(CLASS_MAX);
            let Some(mut buf) = io.pool.take(len) else {
                return ControlFlow::Break(Wait::Shared);
            };
            buf[..len].copy_from_slice(&haggling.answer[..len]);
            haggling.answer.drain(..len);
            self.outbox.push(Item::Raw { buf, len, held: 0 });
        }
        match std::mem::replace(&mut haggling.next, Step::More) {
            Step::More | Step::Reply => ControlFlow::Continue(()),
            Step::StartTls if self.inbox.unread().is_empty() => {
                haggling.tls = Tls::Agreed;
                ControlFlow::Continue(())
            }
            Step::StartTls => {
                tracing::debug!(session = self.seat.id, "plaintext behind STARTTLS");
                self.die(io);
                ControlFlow::Break(Wait::End)
            }
            Step::Transmit(negotiated) => {
                if self.guest.as_ref().is_some_and(|guest| !guest.settle()) {
                    self.die(io);
                    return ControlFlow::Break(Wait::End);
                }
                self.form = negotiated.form;
                self.inbox.set_header_len(self.form.request_len());
                self.phase = Phase::Transmission(Link::new(negotiated.export, negotiated.contexts));
                ControlFlow::Break(Wait::Own)
            }
            Step::Close(closing) => {
                if let Closing::Violation(what) = closing {
                    tracing::debug!(session = self.seat.id, what, "handshake ended");
                }
                io.stats.handshakes_failed.add(u64::from(closing != Closing::Aborted));
                self.phase = Phase::Closing;
                ControlFlow::Break(Wait::End)
            }
        }
    }

    /// Puts TLS between socket and session. Nothing of what came before stays.
    fn begin_tls(&mut self, io: &Io<'_, B>) -> bool {
        let Some(keeper) = io.tls else {
            return false;
        };
        match Stream::new(keeper.current()) {
            Ok(stream) => {
                self.inbox = Inbox::default();
                self.transport = Transport::Tls(Box::new(Sealed::new(stream)));
                true
            }
            Err(error) => {
                tracing::error!(session = self.seat.id, %error, "TLS cannot begin");
                false
            }
        }
    }
}
