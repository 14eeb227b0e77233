//! The coordinator on etcd (feature `etcd`): leases for who leads, guarded transactions for what is published
//! (`kernel-notes/etcd.md` has the keys, and what each loss means).
//!
//! Invariants: whatever decides is decided in one transaction, guarded by what was read before it; every call reads first and may
//! be carried out twice with the effect of once, for an answer can get lost after the deed; each answer is compared with
//! what etcd has shown before; what etcd holds is bounded and parsed as hostile; the client's runtime is a thread of its own,
//! which no I/O of a volume waits for.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::coordinator::{
    Backwards, Campaign, Coordinator, CoordinatorError, Freeze, Lead, Publication, Published, Request, Standing, Taken,
    Token,
};
use super::name::NodeName;
use crate::units::VolumeId;
use held::Held;
use names::Names;
use reach::{Reach, Trouble};
use seen::{Memory, Seen};

mod board;
mod fault;
mod fleet;
mod held;
mod lead;
mod line;
mod names;
mod reach;
mod record;
mod seen;
mod values;
mod view;

use line::Line;

/// What came of a piece of work.
type Answer<T> = Result<T, CoordinatorError>;

/// How to reach etcd, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdOptions {
    /// The cluster, which names the keys.
    pub cluster: String,
    /// This node.
    pub node: NodeName,
    /// `https://HOST:PORT` of each member.
    pub endpoints: Vec<String>,
    /// This node's certificate for etcd, PEM; its common name is the user there.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Who vouches for etcd's members, PEM.
    pub authority: PathBuf,
    /// How long this node leads without a sign of life.
    pub lease: Duration,
    /// How long a call may take.
    pub patience: Duration,
    /// The file of what etcd has shown.
    pub memory: PathBuf,
}

/// What all work shares.
struct Shared {
    names: Names,
    node: NodeName,
    lease: Duration,
    patience: Duration,
    reach: Reach,
    held: Mutex<Held>,
    seen: Mutex<Seen>,
    memory: Memory,
    /// One lease is granted at a time.
    granting: tokio::sync::Mutex<()>,
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The coordinator on etcd, as one node has it.
pub struct EtcdCoordinator {
    shared: Arc<Shared>,
    handle: tokio::runtime::Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl EtcdCoordinator {
    /// Starts the client. Nothing is asked of etcd yet: it may be away for now.
    pub fn start(options: EtcdOptions) -> Result<EtcdCoordinator, CoordinatorError> {
        let (memory, seen) = Memory::open(&options.memory)?;
        let shared = Arc::new(Shared {
            names: Names::new(&options.cluster),
            node: options.node.clone(),
            lease: options.lease,
            patience: options.patience,
            reach: Reach::new(&options)?,
            held: Mutex::new(Held::default()),
            seen: Mutex::new(seen),
            memory,
            granting: tokio::sync::Mutex::new(()),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| CoordinatorError::Other(format!("no runtime for its client: {error}")))?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let kept = Arc::clone(&shared);
        let run = move || {
            runtime.block_on(async move {
                let alive = tokio::spawn(held::keep_alive(kept));
                let _ = stopped.await;
                alive.abort();
            });
        };
        let thread = std::thread::Builder::new().name("km-etcd".into()).spawn(run);
        let thread = thread.map_err(|error| CoordinatorError::Other(format!("no thread for its client: {error}")))?;
        Ok(EtcdCoordinator { shared, handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Carries out a piece of work on whichever endpoint answers; what it has shown is durable before the answer is given.
    fn call<T, F, Fut>(&self, work: F) -> Answer<T>
    where
        T: Send + 'static,
        F: Fn(Line) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Trouble>> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let (tell, told) = mpsc::sync_channel(1);
        self.handle.spawn(async move {
            let patience = shared.patience;
            let answer = Line::run(&shared, patience, work).await;
            let _ = tell.send(answer);
        });
        let ended = |_| CoordinatorError::Other("its client has stopped".into());
        let answer = told.recv().map_err(ended)?;
        self.shared.memory.keep(|| self.shared.seen().clone())?;
        answer
    }
}

impl Drop for EtcdCoordinator {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Coordinator for EtcdCoordinator {
    fn campaign(&self, volume: VolumeId, at_least: u64) -> Answer<Campaign> {
        self.campaigns(volume, at_least)
    }

    fn standing(&self, volume: VolumeId) -> Standing {
        self.shared.held().standing(volume, Instant::now())
    }

    fn lead(&self, volume: VolumeId) -> Answer<Option<Lead>> {
        self.leads(volume)
    }

    fn resign(&self, volume: VolumeId) -> Answer<()> {
        self.resigns(volume)
    }

    fn publish(&self, publication: &Publication<'_>) -> Answer<()> {
        self.publishes(publication)
    }

    fn fetch(&self, volume: VolumeId) -> Answer<Option<Published>> {
        self.fetches(volume)
    }

    fn report(&self, volume: VolumeId, state: &[u8]) -> Answer<()> {
        self.reports(volume, state)
    }

    fn states(&self, volume: VolumeId) -> Answer<Vec<(NodeName, Vec<u8>)>> {
        self.shown(volume)
    }

    fn ask(&self, volume: VolumeId, request: &Request) -> Answer<()> {
        self.asks(volume, request)
    }

    fn asked(&self, volume: VolumeId) -> Answer<Vec<Request>> {
        self.waiting(volume)
    }

    fn answered(&self, volume: VolumeId, id: u64) -> Answer<()> {
        self.answers(volume, id)
    }

    fn freeze(&self, freeze: &Freeze) -> Answer<Freeze> {
        self.freezes(freeze)
    }

    fn frozen(&self) -> Answer<Option<Freeze>> {
        self.frozen_now()
    }

    fn unfreeze(&self) -> Answer<Option<Freeze>> {
        self.unfreezes()
    }

    fn take_token(&self, volume: VolumeId, since: u64, limit: usize) -> Answer<Taken> {
        self.takes_token(volume, since, limit)
    }

    fn return_token(&self, volume: VolumeId) -> Answer<()> {
        self.returns_token(volume)
    }

    fn drop_token(&self, volume: VolumeId) -> Answer<bool> {
        self.drops_token(volume)
    }

    fn tokens(&self) -> Answer<Vec<Token>> {
        self.tokens_now()
    }

    fn accept_history(&self, volume: VolumeId) -> Answer<Option<Backwards>> {
        self.accepts(volume)
    }
}
