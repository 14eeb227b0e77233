//! The links between nodes: opaque frames over TLS 1.3, each end sure who the other is.
//!
//! | file | what it holds |
//! |---|---|
//! | `trust` | certificates from files, and how those of peers are judged |
//! | [`frame`], [`hello`] | the bytes on the wire |
//! | `door` | who may be on the way in, before anybody knows who it is |
//! | `greeting` | from a connection to a peer: TLS, then hello and answer, under one deadline |
//! | `book` | which peers there are, and which link of each counts |
//! | `outbox` | what waits to be sent |
//! | `session` | one link while it is up |
//! | `run`, `backoff` | listening, dialling again and again, reading certificates anew |
//!
//! Invariants: whoever is heard has shown a certificate of the configured authority, made for both ends of a link, that names
//! a configured peer; when we dial, the very peer that is meant. Nothing is kept that is not bounded, in length, number and time.
//! A link delivers in order or goes down, and then says so; what was not delivered is not sent again. Everything
//! happens on one thread, `km-peers`, and everything of a peer (up, frames, down) in order.

mod backoff;
mod book;
mod door;
mod error;
pub mod frame;
mod greeting;
pub mod hello;
mod outbox;
mod run;
mod session;
#[cfg(test)]
mod tests;
mod trust;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use error::LinkError;
pub use frame::FRAME_MAX;
pub use hello::{Capabilities, Hello, is_cluster};

use crate::cluster::identity::NodeName;
use run::Running;

/// Most peers of a node.
pub const PEERS_MAX: usize = 64;

/// The files of TLS, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFiles {
    /// This node's certificate, then those between it and its authority.
    pub certificate: PathBuf,
    /// The private key of the first of them.
    pub key: PathBuf,
    /// The authority of all nodes.
    pub authority: PathBuf,
    /// The authority's list of revoked certificates.
    pub revoked: Option<PathBuf>,
}

/// A peer, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// Its name, which its certificate must bear.
    pub name: NodeName,
    /// `HOST:PORT`.
    pub address: String,
}

/// What links are begun with.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// This node.
    pub me: NodeName,
    /// The cluster it belongs to.
    pub cluster: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its certificates.
    pub files: LinkFiles,
    /// All others.
    pub peers: Vec<PeerAddress>,
    /// What it can do.
    pub capabilities: Capabilities,
}

/// Who hears what happens. All calls come from the thread of the links, those of one peer in order; none may block.
pub trait Incoming: Send + Sync {
    /// A link is up: from now on frames arrive, and can be sent.
    fn up(&self, peer: &NodeName, hello: &Hello);

    /// A frame arrived.
    fn frame(&self, from: &NodeName, payload: Vec<u8>);

    /// The link is down. What was sent and not answered may have arrived or not.
    fn down(&self, peer: &NodeName, why: &str);
}

/// What is known of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerState {
    /// Its name.
    pub name: NodeName,
    /// Where it is dialled.
    pub address: String,
    /// Whether its link is up.
    pub up: bool,
    /// Since when, seconds since 1970.
    pub since: u64,
    /// When something was heard last, seconds since 1970; 0 if never.
    pub heard: u64,
    /// What it said of itself when its last link began.
    pub hello: Option<Hello>,
    /// When the certificate of its last link ends, seconds since 1970.
    pub certificate_ends: Option<u64>,
    /// Why its link is down, or the last try came to nothing.
    pub last_error: Option<String>,
    /// Frames of data sent to it.
    pub sent_frames: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Frames of data that arrived from it.
    pub received_frames: u64,
    /// Their bytes.
    pub received_bytes: u64,
}

impl PeerState {
    fn new(name: NodeName, address: String, now: u64) -> PeerState {
        PeerState {
            name,
            address,
            up: false,
            since: now,
            heard: 0,
            hello: None,
            certificate_ends: None,
            last_error: None,
            sent_frames: 0,
            sent_bytes: 0,
            received_frames: 0,
            received_bytes: 0,
        }
    }
}

/// What says how late it is: seconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The machine's own clock.
pub fn system_clock() -> Clock {
    Arc::new(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()))
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// From a connection to a link.
    pub handshake: Duration,
    /// Between two pings; at each, certificates are judged anew.
    pub ping: Duration,
    /// After so long without a word a peer is down.
    pub silence: Duration,
    /// The first wait before a peer is dialled again.
    pub wait_least: Duration,
    /// The longest.
    pub wait_most: Duration,
    /// A link that was up so long was a good one: the next wait is short.
    pub steady: Duration,
}

impl Default for Times {
    fn default() -> Times {
        Times {
            handshake: Duration::from_secs(10),
            ping: Duration::from_secs(3),
            silence: Duration::from_secs(12),
            wait_least: Duration::from_millis(250),
            wait_most: Duration::from_secs(15),
            steady: Duration::from_secs(10),
        }
    }
}

/// The links of a node. Dropping them stops them.
pub struct Links {
    running: Arc<Running>,
    address: SocketAddr,
    thread: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Links {
    /// Reads the files, listens, and begins to dial all peers.
    ///
    /// # Errors
    /// The files will not do, or the address cannot be listened at.
    pub fn start(config: LinkConfig, incoming: Arc<dyn Incoming>) -> Result<Links, LinkError> {
        Links::start_with(config, incoming, Times::default(), system_clock())
    }

    /// The same, with other times and another clock.
    ///
    /// # Errors
    /// Those of [`Links::start`].
    pub fn start_with(
        config: LinkConfig,
        incoming: Arc<dyn Incoming>,
        times: Times,
        clock: Clock,
    ) -> Result<Links, LinkError> {
        let (running, address, thread) = run::start(config, incoming, times, clock)?;
        Ok(Links { running, address, thread: std::sync::Mutex::new(Some(thread)) })
    }

    /// Queues a frame of at most [`FRAME_MAX`] bytes. False if there is no link, or no room; with no room the link goes down,
    /// since the peer would miss something.
    pub fn send(&self, to: &NodeName, payload: Vec<u8>) -> bool {
        self.running.send(to, None, &payload)
    }

    /// Queues a frame that a later one of the same `topic` makes worthless: it then takes its place, if it is not sent yet.
    /// False if there is no link, or no room; nothing else comes of that.
    pub fn send_latest(&self, to: &NodeName, topic: u64, payload: Vec<u8>) -> bool {
        self.running.send(to, Some(topic), &payload)
    }

    /// What is known of all peers, by name.
    pub fn peers(&self) -> Vec<PeerState> {
        self.running.book().states()
    }

    /// Where peers reach this node.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// When this node's own certificate ends, seconds since 1970.
    pub fn certificate_ends(&self) -> Option<u64> {
        self.running.trust().ends
    }

    /// Reads the files again. New connections use what was read, and links whose peer it does not hold good go down.
    ///
    /// # Errors
    /// They will not do; then nothing is changed.
    pub fn reload(&self) -> Result<(), LinkError> {
        self.running.reload()
    }

    /// Puts other peers in place of those before: links to peers that are not among them go down, new ones are dialled. Those
    /// beyond [`PEERS_MAX`] are passed over.
    pub fn set_peers(&self, peers: Vec<PeerAddress>) {
        self.running.set_peers(peers);
    }

    /// Takes all links down and ends the thread.
    pub fn stop(&self) {
        self.running.stop();
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            // It has nothing to say when it ends.
            let _ = thread.join();
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.stop();
    }
}
