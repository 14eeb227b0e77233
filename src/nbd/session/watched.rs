//! What a session owes its worker, and since when: the session's side of [`crate::nbd::watch`].
//!
//! Invariants: a session owes while a send is under way or a payload is incomplete, and at no other time, so that a client
//! that is merely quiet is never taken for one that stalls; the system is asked how far a send has come only while it owes.

use std::time::{Duration, Instant};

use super::{Phase, Session};
use crate::nbd::backend::Backend;
use crate::nbd::watch::Owing;

impl<B: Backend> Session<B> {
    /// Whether the client is to take or to send something that holds memory.
    fn owes(&self) -> bool {
        let alive = !matches!(self.phase, Phase::Dead);
        alive && (self.sending || (self.receiving && self.inbox.has_part()))
    }

    /// How many sessions more (1) or fewer (-1) are to be watched since the last call.
    pub fn change_of_watch(&mut self, minds_idle: bool) -> isize {
        let dead = matches!(self.phase, Phase::Dead);
        if !self.owes() {
            self.owing = None;
        }
        let watched = !dead && (self.owes() || minds_idle && !self.is_haggling());
        let change = isize::from(watched) - isize::from(self.watched);
        self.watched = watched;
        change
    }

    /// How long the client has moved nothing although it owes something; `None` when it owes nothing.
    pub fn stalled(&mut self, now: Instant) -> Option<Duration> {
        if !self.owes() {
            return None;
        }
        let seen = (self.received, self.socket.progress());
        match &mut self.owing {
            Some(owing) => Some(owing.look(seen, now)),
            None => {
                self.owing = Some(Owing::begin(seen, now));
                Some(Duration::ZERO)
            }
        }
    }

    /// When the client was last active; `None` while it is in its handshake or something of it runs.
    pub fn idle_since(&self) -> Option<Instant> {
        let quiet = self.flights.is_empty() && self.outbox.is_empty() && !self.transport.owes() && !self.sending;
        (matches!(self.phase, Phase::Transmission(_)) && quiet).then_some(self.active)
    }
}
