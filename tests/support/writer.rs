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
        }
    }
}

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
