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
        self.thread.take().unwrap().join().unwrap();
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
        }
    }
}

fn of(seed: u64) -> Vec<u8> {
    if seed == 0 { vec![0; BLOCK] } else { pattern(seed, BLOCK) }
}
