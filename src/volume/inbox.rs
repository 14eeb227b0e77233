//! How one thread tells another that it may go on: a mailbox per worker, and a ticket that names who waits.
//!
//! Invariant: a ticket is called exactly once; calling never blocks on the called thread.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::engine::Waker;
use crate::sync::{Condvar, Mutex};

/// What a waiting party is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A parked write may proceed; its range is entered.
    Admitted,
    /// A parked write will never proceed: the volume is poisoned. Nothing is entered.
    Refused,
    /// The piece's worker must do the flush that now serves it.
    StartFlush,
    /// The flush asked for is done, or failed.
    Flushed(Result<(), String>),
}

/// A worker's mailbox.
pub struct Inbox {
    calls: Mutex<Vec<(u32, Call)>>,
    waker: Waker,
}

impl Inbox {
    /// A mailbox whose owner sleeps in the engine that `waker` wakes.
    pub fn new(waker: Waker) -> Inbox {
        Inbox { calls: Mutex::new(Vec::new()), waker }
    }

    /// Takes what has arrived into `into`, whose content is replaced.
    pub fn take(&self, into: &mut Vec<(u32, Call)>) {
        into.clear();
        std::mem::swap(into, &mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn put(&self, piece: u32, call: Call) {
        let first = {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            calls.push((piece, call));
            calls.len() == 1
        };
        if first {
            self.waker.wake();
        }
    }
}

/// A place a thread can wait at.
#[derive(Default)]
pub struct Bell {
    rung: Mutex<Option<Call>>,
    changed: Condvar,
}

impl Bell {
    /// Waits until the bell is rung.
    pub fn wait(&self) -> Call {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(call) = rung.take() {
                return call;
            }
            rung = self.changed.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until the bell is rung, at most `patience`.
    pub fn wait_for(&self, patience: Duration) -> Option<Call> {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(rung, patience, |rung| rung.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }

    fn ring(&self, call: Call) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = Some(call);
        self.changed.notify_all();
    }
}

/// Names who waits.
#[derive(Clone)]
pub enum Ticket {
    /// A piece of a request, on the worker that owns the inbox.
    Piece {
        /// The worker's mailbox.
        inbox: Arc<Inbox>,
        /// The piece's number there.
        piece: u32,
    },
    /// A thread that waits for nothing else.
    Thread(Arc<Bell>),
}

impl Ticket {
    /// Tells the waiting party.
    pub fn call(self, call: Call) {
        match self {
            Ticket::Piece { inbox, piece } => inbox.put(piece, call),
            Ticket::Thread(bell) => bell.ring(call),
        }
    }
}
