//! How one thread tells another that it may go on: a mailbox per worker, and a ticket that names who waits.
//!
//! Invariants: a ticket is called exactly once; calling never blocks on the called thread. A mailbox whose worker is gone
//! takes no calls: whoever calls is told, and does what the piece would have done.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::engine::Waker;
use crate::sync::{Condvar, Mutex, MutexGuard};

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
    mail: Mutex<Mail>,
    waker: Waker,
}

#[derive(Default)]
struct Mail {
    calls: Vec<(u32, Call)>,
    closed: bool,
}

impl Inbox {
    /// A mailbox whose owner sleeps in the engine that `waker` wakes.
    pub fn new(waker: Waker) -> Inbox {
        Inbox { mail: Mutex::default(), waker }
    }

    /// Takes what has arrived into `into`, whose content is replaced.
    pub fn take(&self, into: &mut Vec<(u32, Call)>) {
        into.clear();
        std::mem::swap(into, &mut self.lock().calls);
    }

    /// The worker is gone: takes what has arrived, and nothing arrives any more.
    pub fn close(&self) -> Vec<(u32, Call)> {
        let mut mail = self.lock();
        mail.closed = true;
        std::mem::take(&mut mail.calls)
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, piece: u32, call: Call) -> bool {
        let first = {
            let mut mail = self.lock();
            if mail.closed {
                return false;
            }
            mail.calls.push((piece, call));
            mail.calls.len() == 1
        };
        if first {
            self.waker.wake();
        }
        true
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
    /// Tells the waiting party; false if it is gone.
    pub fn call(self, call: Call) -> bool {
        match self {
            Ticket::Piece { inbox, piece } => inbox.put(piece, call),
            Ticket::Thread(bell) => {
                bell.ring(call);
                true
            }
        }
    }
}
