//! A worker: one thread, one engine, one backend, many connections.
//!
//! A round: wait for events; give each to its session or to the backend; let every session that had one parse and start
//! requests; collect what finished; then let each start one send and one receive. Engine tokens with
//! [`TOKEN_BIT`](super::backend::TOKEN_BIT) are the backend's, the others name a slot and a direction.
//!
//! Invariants: one clock reading per round; a round never blocks but in the engine's wait; a worker that stops outlives
//! neither its deadline nor, before that, an operation the engine still has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::audience::TlsMode;
use super::backend::Backend;
use super::bounds::Bounds;
use super::budget::Budget;
use super::drain::Drain;
use super::export::Exports;
use super::roll::Guest;
use super::session::{Io, SLOTS_MAX};
use super::stats::WorkerStats;
use super::table::Table;
use super::tls::Keeper;
use crate::engine::{Engine, Pool, Sock};

/// How often a session that lacks buffers tries again: whoever frees them may be another worker.
const RETRY: Duration = Duration::from_millis(1);

/// What workers share with the listeners and the handle.
#[derive(Debug)]
pub struct Shared {
    /// Set once; workers drain and end.
    pub stopping: AtomicBool,
    /// Connections of each worker, those in its channel included.
    pub load: Vec<AtomicUsize>,
}

/// A connection on its way to a worker.
#[derive(Debug)]
pub struct Arrival {
    /// Its socket.
    pub socket: Arc<Sock>,
    /// Its place.
    pub guest: Guest,
    /// How its listener treats TLS.
    pub tls: TlsMode,
}

/// One worker, before and while it runs.
pub struct Worker<B: Backend> {
    /// Its number.
    pub index: usize,
    /// Moves bytes.
    pub engine: Box<dyn Engine>,
    /// Runs requests.
    pub backend: B,
    /// Supplies buffers.
    pub pool: Pool,
    /// What handshakes may choose from.
    pub exports: Arc<Exports<B::Volume>>,
    /// What TLS begins with, where there is TLS.
    pub tls: Option<Arc<Keeper>>,
    /// New connections.
    pub incoming: Receiver<Arrival>,
    /// What it shares with listeners and handle.
    pub shared: Arc<Shared>,
    /// Its counters.
    pub stats: Arc<WorkerStats>,
    /// What clients may cost.
    pub bounds: Bounds,
    /// Payload bytes all sessions may hold together.
    pub held: usize,
}

impl<B: Backend> Worker<B> {
    /// Serves until the server stops and its connections are drained.
    pub fn run(mut self) {
        let mut table = Table::new(&self.bounds);
        let mut budget = Budget::new(self.held);
        let mut drain = Drain::new(self.bounds.drain_time);
        let mut done = Vec::new();
        loop {
            let timeout = timeout(&table, &budget, &drain);
            if let Err(error) = self.engine.wait(timeout, &mut done) {
                tracing::error!(worker = self.index, %error, "the engine failed; its connections are lost");
                break;
            }
            let stopping = self.shared.stopping.load(Ordering::Acquire);
            let now = Instant::now();
            self.welcome(&mut table, stopping, now);
            let mut io = Io {
                engine: self.engine.as_mut(),
                backend: &mut self.backend,
                pool: &self.pool,
                budget: &mut budget,
                stats: &self.stats,
                exports: &self.exports,
                tls: self.tls.as_deref(),
                bounds: &self.bounds,
                now,
                stopping,
            };
            table.take_events(&mut done, &mut io);
            table.expire(&mut io);
            table.look(&mut io);
            if stopping {
                drain.step(&mut table, &mut io);
            }
            table.serve(&mut io);
            table.arm(now);
            let closed = table.take_closed();
            if closed > 0 {
                self.stats.closed.add(closed as u64);
                self.shared.load[self.index].fetch_sub(closed, Ordering::Relaxed);
            }
            if drain.is_over(now, table.len(), self.engine.pending()) {
                break;
            }
        }
    }

    fn welcome(&mut self, table: &mut Table<B>, stopping: bool, now: Instant) {
        while let Ok(Arrival { socket, guest, tls }) = self.incoming.try_recv() {
            if stopping || table.len() >= SLOTS_MAX {
                self.shared.load[self.index].fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            self.stats.opened.add(1);
            table.insert(socket, Some(guest), tls, now);
        }
    }
}

fn timeout<B: Backend>(table: &Table<B>, budget: &Budget, drain: &Drain) -> Option<Duration> {
    if budget.somebody_waits() {
        return Some(RETRY);
    }
    let next = [table.next_deadline(), drain.next()].into_iter().flatten().min();
    next.map(|next| next.saturating_duration_since(Instant::now()))
}
