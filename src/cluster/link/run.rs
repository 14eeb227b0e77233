//! The thread of the links: listening, dialling, and what every link shares.
//!
//! Invariants: no lock is held while a driver's function runs or anything is awaited; each change (a link up or down, other peers, other certificates,
//! the end) is told through one counter that every waiting task looks at again; when the thread ends, every link is down and said so.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::backoff::{Backoff, chance};
use super::book::{Admission, Book, Live, Need};
use super::door::Door;
use super::error::{GreetingError, LinkError};
use super::frame::{FRAME_MAX, Kind};
use super::greeting::{self, Greeted};
use super::hello::{Hello, VERSIONS};
use super::trust::Trust;
use super::{Capabilities, Clock, Incoming, LinkConfig, LinkFiles, PEERS_MAX, PeerAddress, Times, session};
use crate::cluster::identity::NodeName;
use crate::crypto::CryptoError;

/// How long links may take to say that they are down when all is stopped.
const FAREWELL: Duration = Duration::from_secs(2);
/// Pause after the system refused a connection, for want of descriptors.
const REFUSED: Duration = Duration::from_millis(100);

/// What all tasks share.
pub struct Running {
    /// This node.
    pub me: NodeName,
    /// Its cluster.
    pub cluster: String,
    /// How long things may take.
    pub times: Times,
    incoming: Arc<dyn Incoming>,
    capabilities: Capabilities,
    session: [u8; 16],
    files: LinkFiles,
    clock: Clock,
    book: Mutex<Book>,
    door: Mutex<Door>,
    trust: RwLock<Arc<Trust>>,
    changes: watch::Sender<u64>,
    stopping: AtomicBool,
    number: AtomicU64,
}

/// Reads the files, listens, starts the thread.
pub fn start(
    config: LinkConfig,
    incoming: Arc<dyn Incoming>,
    times: Times,
    clock: Clock,
) -> Result<(Arc<Running>, SocketAddr, JoinHandle<()>), LinkError> {
    if config.peers.len() > PEERS_MAX {
        return Err(LinkError::TooManyPeers(config.peers.len()));
    }
    let address = config.listen;
    let refused = |source| LinkError::Listen { address, source };
    let running = Arc::new(Running::new(config, incoming, times, clock)?);
    let listener = StdListener::bind(address).map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("km-peers")
        .build()
        .map_err(LinkError::Start)?;
    let shared = Arc::clone(&running);
    let work = move || runtime.block_on(serve(shared, listener));
    let thread = std::thread::Builder::new().name("km-peers".into()).spawn(work).map_err(LinkError::Start)?;
    Ok((running, bound, thread))
}

impl Running {
    /// What is shared, with no thread yet.
    pub fn new(
        config: LinkConfig,
        incoming: Arc<dyn Incoming>,
        times: Times,
        clock: Clock,
    ) -> Result<Running, LinkError> {
        let trust = Trust::load(&config.files, &config.me, &clock)?;
        let mut session = [0; 16];
        getrandom::fill(&mut session).map_err(CryptoError::Random)?;
        let mut book = Book::default();
        book.set(others(&config.me, config.peers), clock());
        Ok(Running {
            me: config.me,
            cluster: config.cluster,
            times,
            incoming,
            capabilities: config.capabilities,
            session,
            files: config.files,
            clock,
            book: Mutex::new(book),
            door: Mutex::default(),
            trust: RwLock::new(Arc::new(trust)),
            changes: watch::Sender::new(0),
            stopping: AtomicBool::new(false),
            number: AtomicU64::new(1),
        })
    }

    /// Seconds since 1970.
    pub fn now(&self) -> u64 {
        (self.clock)()
    }

    /// The book of peers.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Certificates as they were read last.
    pub fn trust(&self) -> Arc<Trust> {
        Arc::clone(&self.trust.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells of every change from now on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Why everything ends, if it does.
    pub fn is_stopping(&self) -> Option<&'static str> {
        self.stopping.load(Ordering::SeqCst).then_some("this node takes its links down")
    }

    /// What we say of ourselves.
    pub fn hello(&self) -> Hello {
        Hello {
            versions: VERSIONS,
            node: self.me.clone(),
            cluster: self.cluster.clone(),
            capabilities: self.capabilities.clone(),
            frame_max: FRAME_MAX as u32,
            session: self.session,
        }
    }

    /// See [`super::Links::send`] and [`super::Links::send_latest`].
    pub fn send(&self, to: &NodeName, topic: Option<u64>, payload: &[u8]) -> bool {
        let Some(live) = self.book().live(to) else {
            return false;
        };
        if payload.len() > FRAME_MAX.min(live.hello.frame_max as usize) || live.is_cut().is_some() {
            return false;
        }
        let queued = live.outbox.put(topic, payload);
        if !queued && topic.is_none() {
            live.cut("the peer does not keep up with what is sent to it");
            self.changed();
        }
        queued
    }

    /// See [`super::Links::reload`].
    pub fn reload(&self) -> Result<(), LinkError> {
        let trust = Arc::new(Trust::load(&self.files, &self.me, &self.clock)?);
        *self.trust.write().unwrap_or_else(PoisonError::into_inner) = trust;
        self.changed();
        Ok(())
    }

    /// See [`super::Links::set_peers`].
    pub fn set_peers(&self, mut peers: Vec<PeerAddress>) {
        peers.truncate(PEERS_MAX);
        let now = self.now();
        self.book().set(others(&self.me, peers), now);
        self.changed();
    }

    /// Everything is to end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.changed();
    }

    /// Tells the driver something. A panic of it is told in the log and ends nothing here; false then.
    pub fn tell(&self, what: impl FnOnce(&dyn Incoming)) -> bool {
        let told = catch_unwind(AssertUnwindSafe(|| what(&*self.incoming)));
        if told.is_err() {
            tracing::error!("what happened on a peer link could not be handled; please report it");
        }
        told.is_ok()
    }

    /// Makes a link of a greeted connection if it is the one that counts, and tells the driver. `dialled` says whether we dialled.
    pub fn admit<S>(&self, greeted: &Greeted<S>, dialled: bool) -> Option<Arc<Live>> {
        if self.is_stopping().is_some() {
            return None;
        }
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let live = Arc::new(Live::new(number, greeted.hello.clone(), dialled, greeted.chain.clone()));
        if !dialled {
            // The answer, ahead of whatever the driver sends from now on.
            live.outbox.put_own(Kind::Hello, &self.hello().encode());
        }
        let now = self.now();
        let admission = self.book().admit(&self.me, &live, now);
        let Admission::Up(before) = admission else {
            return None;
        };
        if before.is_some() {
            self.tell(|driver| driver.down(&live.peer, "another link of this peer takes its place"));
        }
        tracing::info!(peer = %live.peer, dialled, "peer link is up");
        self.tell(|driver| driver.up(&live.peer, &live.hello));
        self.changed();
        Some(live)
    }

    /// Runs a link to its end and tells the driver.
    pub async fn keep<S>(&self, live: Arc<Live>, stream: S, decoder: super::frame::Decoder)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let why = session::run(self, &live, stream, decoder).await;
        let now = self.now();
        let counted = self.book().end(&live, &why, now);
        if counted {
            tracing::warn!(peer = %live.peer, why, "peer link is down");
            self.tell(|driver| driver.down(&live.peer, &why));
        }
        self.changed();
    }
}

/// `peers` without the node itself.
fn others(me: &NodeName, mut peers: Vec<PeerAddress>) -> Vec<PeerAddress> {
    peers.retain(|peer| peer.name != *me);
    peers
}

/// All of it, until it is stopped.
async fn serve(running: Arc<Running>, listener: StdListener) {
    let mut changes = running.changes();
    match TcpListener::from_std(listener) {
        Ok(listener) => drop(tokio::spawn(listen(Arc::clone(&running), listener))),
        Err(error) => tracing::error!(%error, "peers cannot be listened for; they are dialled all the same"),
    }
    while running.is_stopping().is_none() {
        for peer in running.book().untended() {
            tokio::spawn(tend(Arc::clone(&running), peer));
        }
        if changes.changed().await.is_err() {
            break;
        }
    }
    let silent = async {
        while !running.book().all_live().is_empty() {
            if changes.changed().await.is_err() {
                break;
            }
        }
    };
    let _ = timeout(FAREWELL, silent).await;
}

/// Takes connections.
async fn listen(running: Arc<Running>, listener: TcpListener) {
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a peer's connection was not accepted");
                sleep(REFUSED).await;
                continue;
            }
        };
        let entered = running.door().enter(from.ip(), Instant::now());
        let Some(entered) = entered else { continue };
        let running = Arc::clone(&running);
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let greeted = tokio::select! {
                greeted = greeting::accept(&running, stream) => greeted,
                () = entered.cut.notified() => Err(GreetingError::Late),
            };
            running.door().leave(entered.number);
            match greeted {
                Ok(greeted) => answer(&running, greeted).await,
                Err(error) => tracing::debug!(%from, %error, "a connection did not become a peer link"),
            }
        });
    }
}

/// Keeps the link that somebody dialled, or refuses it.
pub async fn answer<S>(running: &Running, mut greeted: Greeted<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match running.admit(&greeted, false) {
        Some(live) => running.keep(live, greeted.stream, greeted.decoder).await,
        None => {
            let refusal = greeting::refuse(&mut greeted.stream, "another link of this pair is up");
            let _ = timeout(running.times.handshake, refusal).await;
        }
    }
}

/// Sees to it that a peer has a link, as long as it is configured.
async fn tend(running: Arc<Running>, peer: NodeName) {
    let mut changes = running.changes();
    let mut backoff = Backoff::new(running.times.wait_least, running.times.wait_most);
    if running.me > peer {
        // The link that the other end dials counts; it shall come first.
        sleep(running.times.wait_least).await;
    }
    // Since when the peer has had a link.
    let mut since = None;
    while running.is_stopping().is_none() {
        let need = running.book().need(&peer);
        let address = match need {
            Need::Gone => return,
            Need::Nothing => {
                since.get_or_insert_with(Instant::now);
                if changes.changed().await.is_err() {
                    return;
                }
                continue;
            }
            Need::Link(address) => address,
        };
        if since.take().is_some_and(|since: Instant| since.elapsed() >= running.times.steady) {
            backoff.reset();
        }
        let began = Instant::now();
        let tried = timeout(running.times.handshake, reach(&running, &address, &peer)).await;
        match tried.map_err(|_| GreetingError::Late).and_then(|tried| tried) {
            Ok(greeted) => {
                if let Some(live) = running.admit(&greeted, true) {
                    running.keep(live, greeted.stream, greeted.decoder).await;
                }
                if began.elapsed() >= running.times.steady {
                    backoff.reset();
                }
            }
            Err(error) => {
                let why = error.to_string();
                if running.book().failed(&peer, &why) {
                    tracing::warn!(%peer, address, why, "peer cannot be reached; it is tried again and again");
                }
            }
        }
        pause(&running, &peer, &address, backoff.wait(chance()), &mut changes).await;
    }
}

async fn reach(running: &Running, address: &str, peer: &NodeName) -> Result<Greeted<TcpStream>, GreetingError> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    greeting::dial(running, stream, peer).await
}

/// Waits before the next try, unless the peer is elsewhere by now, is gone, or has dialled us.
async fn pause(running: &Running, peer: &NodeName, address: &str, wait: Duration, changes: &mut watch::Receiver<u64>) {
    let over = sleep(wait);
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => return,
            changed = changes.changed() => {
                let same = running.book().need(peer) == Need::Link(address.to_owned());
                if changed.is_err() || !same || running.is_stopping().is_some() {
                    return;
                }
            }
        }
    }
}
