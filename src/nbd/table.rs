//! The sessions of one worker, by slot, and which of them have something to do.
//!
//! Invariants: a slot is reused only after everything of its session came back from the engine; session numbers count
//! the connections of the worker and so are not reused while an outcome may still name one: a late outcome of a dead
//! session finds nobody; a session is served once per round however many events it had.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::audience::TlsMode;
use super::backend::{Backend, TOKEN_BIT};
use super::bounds::Bounds;
use super::roll::Guest;
use super::session::{Io, Seat, Session, Ticket};
use super::watch::Watch;
use crate::engine::{Done, Sock};

/// The sessions of a running worker.
pub struct Table<B: Backend> {
    bounds: Bounds,
    watch: Watch,
    /// Sessions to be watched.
    watched: usize,
    slots: Vec<Option<Session<B>>>,
    free: Vec<u32>,
    /// Slots that had an event this round, each once.
    dirty: Vec<u32>,
    marked: Vec<bool>,
    next_id: u32,
    /// Handshakes under way, oldest first.
    haggling: VecDeque<(Instant, Seat)>,
    closed: usize,
}

impl<B: Backend> Table<B> {
    /// No sessions; those to come are bounded by `bounds`.
    pub fn new(bounds: &Bounds) -> Table<B> {
        Table {
            bounds: *bounds,
            watch: Watch::new(bounds.stall_time, bounds.idle_time),
            watched: 0,
            slots: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            marked: Vec::new(),
            next_id: 0,
            haggling: VecDeque::new(),
            closed: 0,
        }
    }

    /// Sessions, those included that wait for the engine only.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a connection of a listener that treats TLS so, with its place on the roll if there is one.
    pub fn insert(&mut self, socket: Arc<Sock>, guest: Option<Guest>, tls: TlsMode, now: Instant) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.marked.push(false);
            (self.slots.len() - 1) as u32
        });
        let seat = Seat { slot, id: self.next_id };
        self.next_id = self.next_id.wrapping_add(1);
        self.slots[slot as usize] = Some(Session::new(seat, socket, guest, self.bounds.handshake, tls, now));
        self.haggling.push_back((now + self.bounds.handshake_time, seat));
        self.mark(slot);
    }

    fn mark(&mut self, slot: u32) {
        if !std::mem::replace(&mut self.marked[slot as usize], true) {
            self.dirty.push(slot);
        }
    }

    fn session(&mut self, slot: usize) -> Option<&mut Session<B>> {
        self.slots.get_mut(slot)?.as_mut()
    }

    /// Hands every completion to whoever waits for it.
    pub fn take_events(&mut self, done: &mut Vec<Done>, io: &mut Io<'_, B>) {
        for done in done.drain(..) {
            if done.token & TOKEN_BIT != 0 {
                io.backend.complete(io.engine, done);
                continue;
            }
            let slot = Seat::slot_of(done.token);
            if let Some(session) = self.session(slot) {
                session.done(done, io);
                self.mark(slot as u32);
            }
        }
        io.backend.poll(io.engine);
        self.land(io);
    }

    /// Hands every finished request to its session.
    fn land(&mut self, io: &mut Io<'_, B>) {
        while let Some(finished) = io.backend.finished() {
            let ticket = Ticket::of(finished.cookie);
            let session = self.session(ticket.slot as usize);
            if let Some(session) = session.filter(|session| session.id() == finished.session) {
                session.finished(ticket, finished.outcome, io);
                self.mark(ticket.slot);
            }
        }
    }

    /// Lets every session that had an event go on. All take requests up before any sends, so that what finishes at
    /// once goes out with the same send.
    pub fn serve(&mut self, io: &mut Io<'_, B>) {
        for index in 0..self.dirty.len() {
            let slot = self.dirty[index] as usize;
            if let Some(session) = self.session(slot) {
                session.intake(io);
            }
        }
        self.land(io);
        self.serve_waiting(io);
        let mut dirty = std::mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            self.marked[slot as usize] = false;
            self.output(slot, io);
        }
        self.dirty = dirty;
    }

    /// Gives sessions that wait for buffers or bytes another try, in order, until one has to go on waiting.
    fn serve_waiting(&mut self, io: &mut Io<'_, B>) {
        io.budget.wake();
        while let Some(slot) = io.budget.first() {
            if let Some(session) = self.session(slot as usize) {
                session.intake(io);
            } else {
                io.budget.leave(slot);
            }
            self.land(io);
            self.output(slot, io);
            if io.budget.first() == Some(slot) {
                break;
            }
        }
    }

    /// Lets a session send and receive; frees its slot when it is over.
    fn output(&mut self, slot: u32, io: &mut Io<'_, B>) {
        let minds_idle = self.watch.minds_idle();
        let Some(session) = self.session(slot as usize) else {
            return;
        };
        session.output(io);
        let (over, change) = (session.is_over(), session.change_of_watch(minds_idle));
        self.watched = self.watched.saturating_add_signed(change);
        if over {
            if let Some(session) = self.session(slot as usize) {
                session.forget(io);
            }
            self.slots[slot as usize] = None;
            self.free.push(slot);
            self.closed += 1;
        }
    }

    /// Sessions that ended since the last call.
    pub fn take_closed(&mut self) -> usize {
        std::mem::take(&mut self.closed)
    }

    /// When the oldest handshake has taken too long, or those who owe something are to be looked at.
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.haggling.front().map(|oldest| oldest.0), self.watch.next()].into_iter().flatten().min()
    }

    /// Sets the clock for the next look, or stops it: nobody is to be looked at.
    pub fn arm(&mut self, now: Instant) {
        self.watch.arm(self.watched > 0, now);
    }

    /// Looks at those who owe something or ask for nothing, when it is time to.
    pub fn look(&mut self, io: &mut Io<'_, B>) {
        if !self.watch.is_due(io.now) {
            return;
        }
        let stall_time = self.watch.stall_time(io.budget.somebody_waits());
        for slot in 0..self.slots.len() {
            let Some(session) = self.slots[slot].as_mut() else { continue };
            if session.stalled(io.now).is_some_and(|time| time >= stall_time) {
                tracing::debug!(session = session.id(), "the client takes or sends nothing for too long");
                io.stats.stalled.add(1);
                session.die(io);
            } else if session.idle_since().is_some_and(|last| self.watch.is_idle(last, io.now)) {
                io.stats.idle.add(1);
                session.close(io);
            } else {
                continue;
            }
            self.mark(slot as u32);
        }
    }

    /// Ends handshakes that took too long, and forgets those that are over.
    pub fn expire(&mut self, io: &mut Io<'_, B>) {
        while let Some((deadline, seat)) = self.haggling.front().copied() {
            let session = self.session(seat.slot as usize);
            let slow = session.filter(|session| session.id() == seat.id && session.is_haggling());
            match slow {
                Some(_) if deadline > io.now => break,
                Some(session) => {
                    tracing::debug!(session = seat.id, "the handshake took too long");
                    session.die(io);
                    self.mark(seat.slot);
                }
                None => {}
            }
            self.haggling.pop_front();
        }
    }

    /// Reads no more from anybody.
    pub fn close_all(&mut self, io: &mut Io<'_, B>) {
        self.for_all(|session| session.close(io));
    }

    /// Ends every connection at once.
    pub fn cut_off_all(&mut self, io: &mut Io<'_, B>) {
        self.for_all(|session| session.die(io));
    }

    fn for_all(&mut self, mut act: impl FnMut(&mut Session<B>)) {
        for slot in 0..self.slots.len() {
            if let Some(session) = self.slots[slot].as_mut() {
                act(session);
                self.mark(slot as u32);
            }
        }
    }
}
