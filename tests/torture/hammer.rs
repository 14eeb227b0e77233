//! A verifying client: one connection with many requests in flight, every answer entered in a ledger shared by all.
//!
//! It writes (aligned, unaligned, less than a sector), with and without FUA, trims, writes zeroes, flushes and reads;
//! what it reads is checked as it arrives. Invariant: a change is entered in the ledger before it is sent.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::ledger::{Ledger, Reading};
use crate::support::{Client, ClientError, command, next, pattern};
use crate::tally::Traffic;

/// Bytes of reads in flight at most: so many fit into the socket, so the daemon never waits for this client to read.
const READING_MAX: u64 = 64 << 10;
/// Longest change.
const CHANGE_MAX: u64 = 256 << 10;
/// NBD's error for a server that is going down.
const ESHUTDOWN: u32 = 108;

/// What one client does.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Requests in flight.
    pub depth: usize,
    /// Flushes, and FUA among writes, in a thousand.
    pub flushes: u64,
    pub fua: u64,
    /// Reads, trims and write-zeroes in a hundred.
    pub reads: u64,
    pub trims: u64,
    pub zeroes: u64,
}

impl Habits {
    /// Habits by seed, but for the flushes.
    pub fn draw(random: &mut u64, flushes: u64) -> Habits {
        let among = |random: &mut u64, choices: &[u64]| choices[next(random) as usize % choices.len()];
        Habits {
            depth: among(random, &[4, 16, 32]) as usize,
            flushes,
            fua: among(random, &[0, flushes, 4 * flushes]),
            reads: among(random, &[5, 25, 50]),
            trims: among(random, &[0, 3, 10]),
            zeroes: among(random, &[0, 3, 10]),
        }
    }
}

/// How a client's work ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop; everything is answered.
    Stopped,
    /// The connection is gone.
    Gone,
    /// The daemon answered with this error.
    Refused(u32),
    /// A read gave what it must not.
    Wrong(String),
}

enum Pending {
    Change(u64),
    Flush(u64),
    Read(Reading, Range<u64>),
}

/// Who a client is.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Its number among the clients.
    pub number: u32,
    /// What it does follows from this,
    pub seed: u64,
    /// and from how often it flushes, of a thousand requests.
    pub flushes: u64,
}

/// One client at work.
pub struct Hammer<'a> {
    ledger: &'a Mutex<Ledger>,
    stop: &'a AtomicBool,
    client: Client,
    /// Number among the clients.
    number: u32,
    habits: Habits,
    random: u64,
    pending: BTreeMap<u64, Pending>,
    reading: u64,
    traffic: Traffic,
}

impl<'a> Hammer<'a> {
    /// A client on a connection of its own.
    pub fn new(ledger: &'a Mutex<Ledger>, stop: &'a AtomicBool, client: Client, identity: Identity) -> Hammer<'a> {
        let Identity { number, seed: mut random, flushes } = identity;
        let habits = Habits::draw(&mut random, flushes);
        let traffic = Traffic::default();
        Hammer { ledger, stop, client, number, habits, random, pending: BTreeMap::new(), reading: 0, traffic }
    }

    /// Works until told to stop, or until the connection or the daemon's patience ends.
    pub fn work(mut self) -> (Ended, Traffic) {
        let ended = match self.rounds() {
            Ok(()) => Ended::Stopped,
            Err(Ended::Refused(ESHUTDOWN)) => self.hear_out(),
            Err(ended) => ended,
        };
        (ended, self.traffic)
    }

    fn rounds(&mut self) -> Result<(), Ended> {
        loop {
            let stopping = self.stop.load(Relaxed);
            let mut tries = 0;
            while !stopping && self.pending.len() < self.habits.depth && tries < 2 * self.habits.depth {
                self.send().map_err(ended)?;
                tries += 1;
            }
            match self.pending.is_empty() {
                true if stopping => return Ok(()),
                true => std::thread::yield_now(),
                false => self.receive()?,
            }
        }
    }

    /// The daemon is going down in order: what is in flight is still answered.
    fn hear_out(&mut self) -> Ended {
        while !self.pending.is_empty() {
            match self.receive() {
                Ok(()) | Err(Ended::Refused(ESHUTDOWN)) => {}
                Err(ended) => return ended,
            }
        }
        Ended::Gone
    }

    /// Sends one request of a random kind, unless what it needs is taken.
    fn send(&mut self) -> Result<(), ClientError> {
        let Habits { flushes, reads, trims, zeroes, .. } = self.habits;
        if next(&mut self.random) % 1000 < flushes {
            let covers = self.ledger().begin_flush();
            let cookie = self.client.send(command::FLUSH, 0, 0, 0, &[])?;
            self.pending.insert(cookie, Pending::Flush(covers));
            return Ok(());
        }
        let percent = next(&mut self.random) % 100;
        if percent < reads {
            self.send_read()
        } else if percent < reads + trims {
            let bytes = self.aligned_range();
            self.send_change(command::TRIM, 0, bytes, None)
        } else if percent < reads + trims + zeroes {
            let bytes = self.any_range();
            let flags = if self.coin() { command::NO_HOLE } else { 0 };
            self.send_change(command::WRITE_ZEROES, flags, bytes, None)
        } else {
            let bytes = if self.coin() { self.aligned_range() } else { self.any_range() };
            let data = pattern(next(&mut self.random), (bytes.end - bytes.start) as usize);
            self.send_change(command::WRITE, 0, bytes, Some(&data))
        }
    }

    fn coin(&mut self) -> bool {
        next(&mut self.random).is_multiple_of(2)
    }

    fn send_change(
        &mut self,
        kind: u16,
        flags: u16,
        bytes: Range<u64>,
        data: Option<&[u8]>,
    ) -> Result<(), ClientError> {
        let fua = next(&mut self.random) % 1000 < self.habits.fua;
        let flags = flags | if fua { command::FUA } else { 0 };
        let Some(change) = self.ledger().begin(self.number, bytes.clone(), data, fua) else { return Ok(()) };
        let len = (bytes.end - bytes.start) as u32;
        let cookie = self.client.send(kind, flags, bytes.start, len, data.unwrap_or_default())?;
        self.pending.insert(cookie, Pending::Change(change));
        match kind {
            command::WRITE => self.traffic.bytes_written += u64::from(len),
            command::TRIM => self.traffic.trims += 1,
            _ => self.traffic.zeroes += 1,
        }
        self.traffic.fua += u64::from(fua);
        Ok(())
    }

    fn send_read(&mut self) -> Result<(), ClientError> {
        let bytes = self.any_range();
        let len = bytes.end - bytes.start;
        if self.reading + len > READING_MAX {
            return Ok(());
        }
        let reading = self.ledger().begin_read(bytes.clone());
        let cookie = self.client.send(command::READ, 0, bytes.start, len as u32, &[])?;
        self.reading += len;
        self.pending.insert(cookie, Pending::Read(reading, bytes));
        Ok(())
    }

    fn receive(&mut self) -> Result<(), Ended> {
        let (cookie, error) = self.client.receive().map_err(ended)?;
        let pending = self.pending.remove(&cookie).unwrap();
        if let Pending::Read(reading, bytes) = &pending {
            let len = bytes.end - bytes.start;
            self.reading -= len;
            if error == 0 {
                let found = self.client.receive_data(len as usize).map_err(ended)?;
                self.traffic.bytes_read += len;
                let judged = self.ledger().end_read(reading, bytes, &found).map_err(Ended::Wrong)?;
                self.traffic.bytes_verified += judged;
            }
        }
        if error != 0 {
            return Err(Ended::Refused(error));
        }
        self.traffic.requests += 1;
        match pending {
            Pending::Change(change) => self.ledger().done(change),
            Pending::Flush(covers) => {
                self.traffic.flushes += 1;
                self.ledger().flushed(covers);
            }
            Pending::Read(..) => {}
        }
        Ok(())
    }

    fn ledger(&self) -> std::sync::MutexGuard<'a, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a range begins: often in the same sixteenth of the volume, so that requests meet.
    fn place(&mut self) -> u64 {
        let size = self.client.size;
        let span = if next(&mut self.random).is_multiple_of(3) { size / 16 } else { size };
        next(&mut self.random) % span
    }

    /// Whole 4096-byte blocks.
    fn aligned_range(&mut self) -> Range<u64> {
        let start = self.place() & !4095;
        let most = if next(&mut self.random).is_multiple_of(4) { CHANGE_MAX / 4096 } else { 4 };
        let len = (1 + next(&mut self.random) % most) * 4096;
        start..(start + len).min(self.client.size)
    }

    /// Any bytes: some less than a sector, some across several blocks.
    fn any_range(&mut self) -> Range<u64> {
        let start = self.place();
        let most = [100, 1500, 20_000][next(&mut self.random) as usize % 3];
        let len = 1 + next(&mut self.random) % most;
        start..(start + len).min(self.client.size)
    }
}

fn ended(error: ClientError) -> Ended {
    match error {
        ClientError::Gone(_) => Ended::Gone,
        ClientError::Refused(error) => Ended::Refused(error),
    }
}
