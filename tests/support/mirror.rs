<<<<<<< HEAD
//! A verifying client of every replica at once, as md and QEMU are: what it writes goes to all of them, what it reads is held
//! against what it wrote. A replica that is gone is left behind, and caught up with when it is back.
//!
//! Invariants: one write at a time, so every replica in step holds the same; a replica that misses a write is stale in that block
//! until it is written again, and is not read there. A refusal by a replica ends the test: nothing here asks for what may be
//! refused.

use super::bytes::{pattern, same};
use super::nbd::{Client, ClientError};
use super::oracle::{BLOCK, next};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Longest a replica may keep the client waiting.
const PATIENCE: Duration = Duration::from_secs(60);
/// Writes between two looks at replicas that are gone, and between two flushes.
const ROUND: u64 = 64;
/// Rest between two writes: other tests want the processors, too.
const REST: Duration = Duration::from_millis(2);

struct Leg {
    name: String,
    socket: PathBuf,
    export: String,
    client: Option<Client>,
    stale: BTreeSet<usize>,
}

/// The client.
pub struct Mirror {
    legs: Vec<Leg>,
    truth: Vec<u64>,
    random: u64,
}

impl Mirror {
    /// A client of fresh replicas of `size` bytes: their names, sockets and export names.
    pub fn new(legs: Vec<(String, PathBuf, String)>, size: u64, seed: u64) -> Mirror {
        let stale = BTreeSet::new;
        let legs = legs
            .into_iter()
            .map(|(name, socket, export)| Leg { name, socket, export, client: None, stale: stale() })
            .collect();
        let mut mirror = Mirror { legs, truth: vec![0; size as usize / BLOCK], random: seed };
        mirror.rejoin();
        mirror
    }

    /// Another replica, which holds nothing of what was written so far.
    pub fn add(&mut self, name: &str, socket: PathBuf, export: &str) {
        let stale = (0..self.truth.len()).filter(|block| self.truth[*block] != 0).collect();
        self.legs.push(Leg { name: name.into(), socket, export: export.into(), client: None, stale });
    }

    /// Does without a replica for good.
    pub fn remove(&mut self, name: &str) {
        self.legs.retain(|leg| leg.name != name);
    }

    /// Connects to replicas that were gone, and writes what they have missed.
    pub fn rejoin(&mut self) {
        for leg in self.legs.iter_mut().filter(|leg| leg.client.is_none()) {
            if let Ok(client) = Client::connect(&leg.socket, &leg.export) {
                client.set_patience(PATIENCE);
                leg.client = Some(client);
                for block in std::mem::take(&mut leg.stale) {
                    leg.write(block, self.truth[block]);
                }
            }
        }
    }

    /// New content for a block chosen at random, on every replica that is there.
    pub fn write(&mut self) {
        let (block, seed) = (self.choose(), next(&mut self.random) | 1);
        self.truth[block] = seed;
        for leg in &mut self.legs {
            leg.write(block, seed);
        }
    }

    /// Reads a block chosen at random from every replica that is in step there.
    #[track_caller]
    pub fn read(&mut self) {
        let block = self.choose();
        for leg in self.legs.iter_mut().filter(|leg| !leg.stale.contains(&block)) {
            leg.verify(block, 1, &self.truth);
        }
    }

    fn flush(&mut self) {
        for leg in &mut self.legs {
            leg.ask(Client::flush);
        }
    }

    fn choose(&mut self) -> usize {
        (next(&mut self.random) % self.truth.len() as u64) as usize
    }

    /// Every replica is there, in step, and holds what was written and nothing else.
    #[track_caller]
    pub fn verify(&mut self) {
        self.rejoin();
        for leg in &mut self.legs {
            for first in (0..self.truth.len()).step_by(256) {
                let count = 256.min(self.truth.len() - first);
                leg.verify(first, count, &self.truth);
            }
            assert!(leg.client.is_some() && leg.stale.is_empty(), "replica {} is not there", leg.name);
=======
//! A client as md RAID1 is one: writes every block to all replicas, reads each from one of them in turn and knows what it must hold.
//!
//! Invariants: a replica whose connection ended is left out until it is resynced, and is then overwritten whole; what is read is
//! compared each time; contents come from seeds, never zeros alone.

use super::bytes::{pattern, same};
use super::peers::{Peers, VOLUME};
use super::{Client, next};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Bytes of a block.
const BLOCK: usize = 4096;

/// A mirroring client at work in a thread of its own.
pub struct Mirror {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    rounds: AtomicU64,
    sockets: BTreeMap<String, PathBuf>,
    /// Seeds of the blocks; 0: zeros, as the volume was made.
    content: Mutex<Vec<u64>>,
    replicas: Mutex<BTreeMap<String, Client>>,
}

impl Mirror {
    /// Begins to write to the replicas of these nodes.
    #[track_caller]
    pub fn start(peers: &Peers, nodes: &[String], seed: u64) -> Mirror {
        let replicas: BTreeMap<String, Client> = nodes.iter().map(|node| (node.clone(), peers.connect(node))).collect();
        let size = replicas.values().next().unwrap().size;
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            rounds: AtomicU64::new(0),
            sockets: nodes.iter().map(|node| (node.clone(), peers.path(node, "nbd"))).collect(),
            content: Mutex::new(vec![0; size as usize / BLOCK]),
            replicas: Mutex::new(replicas),
        });
        let worker = Arc::clone(&shared);
        let thread = std::thread::spawn(move || worker.run(seed));
        Mirror { shared, thread: Some(thread) }
    }

    /// Writes so far.
    pub fn rounds(&self) -> u64 {
        self.shared.rounds.load(Ordering::SeqCst)
    }

    /// Waits until `more` writes have been answered by all replicas: I/O goes on.
    #[track_caller]
    pub fn goes_on(&self, peers: &Peers, more: u64) {
        let aim = self.rounds() + more;
        peers.wait("clients' writes go on", |_| {
            self.rounds() >= aim || self.thread.as_ref().is_some_and(JoinHandle::is_finished)
        });
        assert!(self.rounds() >= aim, "the client has stopped");
    }

    /// Replicas that are written to.
    pub fn replicas(&self) -> Vec<String> {
        self.shared.replicas.lock().unwrap().keys().cloned().collect()
    }

    /// Overwrites a node's replica whole and writes to it from then on, as a RAID resyncs.
    #[track_caller]
    pub fn resync(&self, node: &str) {
        let mut client = Client::connect(&self.shared.sockets[node], VOLUME).unwrap();
        // Nobody writes meanwhile: the client holds this lock for each round.
        let mut replicas = self.shared.replicas.lock().unwrap();
        let content = self.shared.content.lock().unwrap();
        for (block, seed) in content.iter().enumerate() {
            client.write((block * BLOCK) as u64, &of(*seed)).unwrap();
        }
        client.flush().unwrap();
        replicas.insert(node.to_owned(), client);
    }

    /// Stops, and compares the whole content of every node's replica with what was written.
    #[track_caller]
    pub fn finish(mut self, peers: &Peers) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().expect("the client found no fault");
        let content = self.shared.content.lock().unwrap().clone();
        let nodes = self.replicas();
        assert!(!nodes.is_empty(), "no replica is left");
        for node in nodes {
            let mut client = peers.connect(&node);
            for (block, seed) in content.iter().enumerate() {
                let read = client.read((block * BLOCK) as u64, BLOCK).unwrap();
                assert!(read == of(*seed), "{node}: block {block} is not what was written");
            }
        }
    }
}

impl Shared {
    fn run(&self, seed: u64) {
        let mut random = seed | 1;
        while !self.stop.load(Ordering::SeqCst) {
            let mut replicas = self.replicas.lock().unwrap();
            let mut content = self.content.lock().unwrap();
            let block = next(&mut random) as usize % content.len();
            let fresh = next(&mut random) | 1;
            let place = (block * BLOCK) as u64;
            // What is lost with a connection is lost with the replica.
            replicas.retain(|_, client| client.write(place, &of(fresh)).is_ok());
            content[block] = fresh;
            let turn = next(&mut random) as usize % replicas.len().max(1);
            let look = next(&mut random) as usize % content.len();
            let reader = replicas.keys().nth(turn).cloned();
            if let Some(node) = reader {
                let read = replicas.get_mut(&node).unwrap().read((look * BLOCK) as u64, BLOCK);
                match read {
                    Ok(read) => same(&read, &of(content[look]), &format!("{node}, block {look}")),
                    Err(_) => drop(replicas.remove(&node)),
                }
            }
            drop((replicas, content));
            self.rounds.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(1));
>>>>>>> seat
        }
    }
}

<<<<<<< HEAD
impl Leg {
    fn write(&mut self, block: usize, seed: u64) {
        if self.ask(|client| client.write((block * BLOCK) as u64, &content(seed))).is_none() {
            self.stale.insert(block);
        }
    }

    #[track_caller]
    fn verify(&mut self, first: usize, count: usize, truth: &[u64]) {
        if let Some(found) = self.ask(|client| client.read((first * BLOCK) as u64, count * BLOCK)) {
            let wanted: Vec<u8> = truth[first..first + count].iter().flat_map(|seed| content(*seed)).collect();
            same(&found, &wanted, &format!("replica {} from block {first} on", self.name));
        }
    }

    /// Asks the replica, if it is there; it is not any more if the connection ends.
    #[track_caller]
    fn ask<T>(&mut self, what: impl FnOnce(&mut Client) -> Result<T, ClientError>) -> Option<T> {
        match what(self.client.as_mut()?) {
            Ok(answer) => Some(answer),
            Err(ClientError::Gone(_)) => {
                self.client = None;
                None
            }
            Err(ClientError::Refused(error)) => panic!("replica {} answers a client with error {error}", self.name),
        }
    }
}

fn content(seed: u64) -> Vec<u8> {
    if seed == 0 { vec![0; BLOCK] } else { pattern(seed, BLOCK) }
}

/// The client at work in a thread of its own.
pub struct Writer {
    thread: Option<JoinHandle<Mirror>>,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
}

impl Writer {
    /// Writes and reads until it is stopped.
    pub fn start(mut mirror: Mirror) -> Writer {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (halt, count) = (Arc::clone(&stop), Arc::clone(&written));
        let work = move || {
            while !halt.load(Ordering::SeqCst) {
                mirror.write();
                mirror.read();
                if count.fetch_add(1, Ordering::SeqCst) % ROUND == 0 {
                    mirror.flush();
                    mirror.rejoin();
                }
                thread::sleep(REST);
            }
            mirror
        };
        Writer { thread: Some(thread::spawn(work)), stop, written }
    }

    /// Waits for more writes: client I/O goes on.
    #[track_caller]
    pub fn goes_on(&self) {
        let (start, before) = (Instant::now(), self.written.load(Ordering::SeqCst));
        while self.written.load(Ordering::SeqCst) < before + 2 * ROUND {
            let ended = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            assert!(!ended, "the client has ended: it was refused, or read what it did not write");
            assert!(start.elapsed() < PATIENCE, "client I/O does not go on");
            thread::sleep(REST);
        }
    }

    /// Stops it, and gives the client back.
    #[track_caller]
    pub fn stop(mut self) -> Mirror {
        self.stop.store(true, Ordering::SeqCst);
        let Some(thread) = self.thread.take() else { panic!("it was stopped before") };
        thread.join().unwrap_or_else(|_| panic!("the client was refused, or read what it did not write"))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}
=======
fn of(seed: u64) -> Vec<u8> {
    if seed == 0 { vec![0; BLOCK] } else { pattern(seed, BLOCK) }
}
>>>>>>> seat
