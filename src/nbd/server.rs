//! Starts the server: engines, worker threads, listeners; and the handle that tells about it and stops it.
//!
//! Invariants: when [`start`] returns an error nothing is left running; clients are accepted only once every worker
//! runs; after [`Server::stop`] no thread of the server is left, unless one is stuck in the kernel past the deadline.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::accept::{Acceptor, Door, RateLimit, Turned};
use super::address::Listen;
use super::backend::Backend;
use super::bounds::Bounds;
use super::error::NbdError;
use super::export::Exports;
use super::listener::{Entrance, Listener, Passed};
use super::roll::Roll;
use super::stats::{Snapshot, WorkerStats};
use super::tls::Keeper;
use super::worker::{Shared, Worker};
use crate::engine::{self, EngineOptions, EngineReport, IoKind, Pool, Waker};

/// What the threads may take beyond the drain time to end.
const GRACE: Duration = Duration::from_millis(500);

/// How to serve.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen, and who may come in.
    pub listen: Vec<Entrance>,
    /// The sockets that the service manager handed over.
    pub passed: Passed,
    /// What TLS begins with, where there is TLS.
    pub tls: Option<Arc<Keeper>>,
    /// Allow TCP beyond loopback without TLS.
    pub insecure: bool,
    /// Worker threads; at least one is started.
    pub workers: usize,
    /// Which engine; `None` = the ring where it works.
    pub io: Option<IoKind>,
    /// Sizes of the engines.
    pub engine: EngineOptions,
    /// What clients may cost.
    pub bounds: Bounds,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: Vec::new(),
            passed: Passed::default(),
            tls: None,
            insecure: false,
            workers: thread::available_parallelism().map_or(1, usize::from).min(4),
            io: None,
            engine: EngineOptions::default(),
            bounds: Bounds::default(),
        }
    }
}

/// A running server. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    bell: Arc<EventFd>,
    wakers: Vec<Waker>,
    threads: Mutex<Vec<Thread>>,
    drain_time: Duration,
    addresses: Vec<Listen>,
    reports: Vec<EngineReport>,
    stats: Vec<Arc<WorkerStats>>,
    roll: Arc<Roll>,
    turned: Arc<Turned>,
}

#[derive(Debug)]
struct Thread {
    name: String,
    handle: JoinHandle<()>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
}

impl Thread {
    fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<Thread, NbdError> {
        let (alive, ended) = mpsc::channel::<()>();
        let run = move || {
            let _alive = alive;
            run();
        };
        match thread::Builder::new().name(name.clone()).spawn(run) {
            Ok(handle) => Ok(Thread { name, handle, ended }),
            Err(source) => Err(NbdError::Thread { name, source }),
        }
    }

    /// Waits for the end until `deadline`; false if the thread is still running then.
    fn join(self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        if self.ended.recv_timeout(left) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::error!(thread = self.name, "the thread did not end");
            return false;
        }
        if self.handle.join().is_err() {
            tracing::error!(thread = self.name, "the thread panicked");
            return false;
        }
        true
    }
}

/// Starts serving `exports`. `make_backend` is called once on each worker's thread, with the shared pool and that
/// worker's waker.
pub fn start<B, F>(
    config: &Config,
    exports: &Arc<Exports<B::Volume>>,
    pool: &Pool,
    make_backend: F,
) -> Result<Server, NbdError>
where
    B: Backend,
    F: Fn(&Pool, Waker) -> B + Send + Sync + 'static,
{
    if config.listen.is_empty() {
        return Err(NbdError::NoAddress);
    }
    let mut listeners = Vec::new();
    for entrance in &config.listen {
        listeners.extend(Listener::open(entrance, config.insecure, &config.passed)?);
    }
    if let Some(entrance) = config.listen.iter().find(|entrance| entrance.tls.is_offered() && config.tls.is_none()) {
        return Err(NbdError::NoTls(entrance.address.to_string()));
    }
    let workers = config.workers.max(1);
    let load = (0..workers).map(|_| AtomicUsize::new(0)).collect();
    let shared = Arc::new(Shared { stopping: AtomicBool::new(false), load });
    let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC)
        .map_err(|errno| NbdError::Thread { name: "nbd-accept".into(), source: errno.into() })?;
    let mut server = Server {
        shared,
        bell: Arc::new(bell),
        wakers: Vec::new(),
        threads: Mutex::default(),
        drain_time: config.bounds.drain_time,
        addresses: listeners.iter().map(|listener| listener.address().clone()).collect(),
        reports: Vec::new(),
        stats: Vec::new(),
        roll: Roll::new(config.bounds.connections, config.bounds.per_peer()),
        turned: Arc::default(),
    };
    let make_backend = Arc::new(make_backend);
    // On an error the half-built server is dropped, which stops the workers it has.
    let doors = (0..workers)
        .map(|index| server.start_worker(index, config, exports, pool, Arc::clone(&make_backend)))
        .collect::<Result<Vec<Door>, NbdError>>()?;
    let acceptor = Acceptor {
        listeners,
        doors,
        bell: Arc::clone(&server.bell),
        shared: Arc::clone(&server.shared),
        roll: Arc::clone(&server.roll),
        turned: Arc::clone(&server.turned),
        log: RateLimit::default(),
    };
    server.spawn("nbd-accept".into(), move || acceptor.run())?;
    Ok(server)
}

impl Server {
    fn spawn(&self, name: String, run: impl FnOnce() + Send + 'static) -> Result<(), NbdError> {
        let thread = Thread::spawn(name, run)?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    fn start_worker<B, F>(
        &mut self,
        index: usize,
        config: &Config,
        exports: &Arc<Exports<B::Volume>>,
        pool: &Pool,
        make_backend: Arc<F>,
    ) -> Result<Door, NbdError>
    where
        B: Backend,
        F: Fn(&Pool, Waker) -> B + Send + Sync + 'static,
    {
        let engine =
            engine::open(config.io, &config.engine).map_err(|source| NbdError::Engine { worker: index, source })?;
        let (sender, incoming) = mpsc::channel();
        let waker = engine.waker();
        self.reports.push(engine.report());
        self.wakers.push(waker.clone());
        let stats = Arc::new(WorkerStats::default());
        self.stats.push(Arc::clone(&stats));
        let (bounds, held) = (config.bounds, config.bounds.held_in_all / config.workers.max(1));
        let (exports, pool, shared) = (Arc::clone(exports), pool.clone(), Arc::clone(&self.shared));
        let tls = config.tls.clone();
        let for_backend = waker.clone();
        self.spawn(format!("nbd-{index}"), move || {
            let backend = make_backend(&pool, for_backend);
            Worker { index, engine, backend, pool, exports, tls, incoming, shared, stats, bounds, held }.run();
        })?;
        Ok(Door { sender, waker })
    }

    /// Where it listens, with real ports.
    pub fn addresses(&self) -> &[Listen] {
        &self.addresses
    }

    /// What each worker's engine uses and does without.
    pub fn engine_reports(&self) -> &[EngineReport] {
        &self.reports
    }

    /// The counters of each worker now.
    pub fn worker_stats(&self) -> Vec<Snapshot> {
        self.stats.iter().map(|stats| stats.snapshot()).collect()
    }

    /// The counters of all workers together now.
    pub fn stats(&self) -> Snapshot {
        let mut sum = Snapshot::default();
        self.stats.iter().for_each(|stats| sum.merge(&stats.snapshot()));
        sum
    }

    /// Connections turned away because there were too many.
    pub fn turned_away(&self) -> u64 {
        self.turned.full.load(Ordering::Relaxed)
    }

    /// Connections refused because no rule admits them.
    pub fn not_admitted(&self) -> u64 {
        self.turned.by_rule.load(Ordering::Relaxed)
    }

    /// Unfinished handshakes that had to give up their places to newcomers.
    pub fn displaced(&self) -> u64 {
        self.roll.displaced()
    }

    /// Stops: no more connections, new requests are refused, running ones finish, everybody is disconnected. Returns
    /// whether every thread ended in time. Further calls return at once.
    pub fn stop(&self) -> bool {
        self.order_stop();
        let deadline = Instant::now() + self.drain_time + GRACE;
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        // The acceptor was started last and is to end first; all are waited for, whatever became of the others.
        let ended: Vec<bool> = threads.into_iter().rev().map(|thread| thread.join(deadline)).collect();
        ended.iter().all(|clean| *clean)
    }

    fn order_stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        // The bell stays rung: everybody who polls it sees it. It fails only when it is rung already.
        let _ = self.bell.write(1);
        self.wakers.iter().for_each(Waker::wake);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.order_stop();
    }
}
