//! A worker with clients: some connections that ask for this and that on one executor, and hold every answer against
//! the [`Ledger`].

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::super::rig::bytes_of;
use super::super::sim::rng::Rng;
use super::disk::{BLOCK, TurnDisk};
use super::engine::TurnEngine;
use super::explore::{check, wrong};
use super::ledger::{Ledger, SECTOR};
use crate::engine::{Engine, Pool, Waker};
use crate::volume::Volume;
use crate::volume::executor::{Executor, Finished, Reply, Request, RequestKind};

/// Requests under way at once, at most.
const DEPTH: usize = 4;

/// What is shared by all workers of a volume.
#[derive(Clone)]
pub struct Scene {
    pub volume: Arc<Volume>,
    pub data: Arc<TurnDisk>,
    pub ledger: Arc<Ledger>,
    pub pool: Pool,
    /// First blocks of the places where clients are busy.
    pub places: Vec<u64>,
}

/// Blocks at each place.
pub const HOT: u64 = 2;

/// What a client waits for.
enum Asked {
    Write {
        index: usize,
        durable: Option<Range<usize>>,
        before: Vec<u64>,
    },
    Read {
        at: u64,
        first: u64,
    },
    /// What must be durable afterwards: block and version.
    Flush {
        covers: Vec<(usize, u64)>,
        poisoned: bool,
    },
}

/// See the module's head.
pub struct Worker {
    scene: Scene,
    executor: Executor,
    engine: TurnEngine,
    underway: HashMap<u64, (u32, Asked)>,
    sessions: [u32; 2],
    next: u64,
    rng: Rng,
    /// Once in so many requests a connection dies.
    dies: Option<u64>,
}

impl Worker {
    pub fn new(scene: Scene, seed: u64) -> Worker {
        let engine = TurnEngine::new(None);
        let waker = engine.waker();
        Worker::woken_by(scene, seed, engine, waker)
    }

    /// A worker whose mailbox rings `waker`.
    pub fn woken_by(scene: Scene, seed: u64, engine: TurnEngine, waker: Waker) -> Worker {
        let executor = Executor::new(scene.pool.clone(), waker);
        let rng = Rng::new(seed);
        Worker { scene, executor, engine, underway: HashMap::new(), sessions: [0, 1], next: 0, rng, dies: None }
    }

    pub fn dies_once_in(mut self, requests: u64) -> Worker {
        self.dies = Some(requests);
        self
    }

    /// Asks for `count` things and waits for every answer.
    pub fn work(&mut self, count: usize) {
        let mut left = count;
        while left > 0 || self.executor.underway() > 0 || self.engine.pending() > 0 {
            while left > 0 && self.underway.len() < DEPTH && (self.underway.is_empty() || self.rng.once_in(2)) {
                left -= 1;
                self.ask();
            }
            self.turn();
        }
        check(self.underway.is_empty(), || "a request was never answered".into());
    }

    /// Asks for `count` things and is gone, whatever is under way.
    pub fn vanish_after(mut self, count: usize) {
        for _ in 0..count {
            self.ask();
            if self.rng.once_in(2) && self.engine.pending() > 0 {
                self.turn();
            }
        }
    }

    /// One round of a worker.
    fn turn(&mut self) {
        self.answers();
        if self.executor.underway() == 0 && self.engine.pending() == 0 {
            return;
        }
        let mut done = Vec::new();
        self.engine.wait(None, &mut done).unwrap();
        for done in done {
            self.executor.complete(&mut self.engine, done);
        }
        self.executor.poll(&mut self.engine);
        self.answers();
    }

    fn answers(&mut self) {
        while let Some(finished) = self.executor.finished() {
            self.answered(finished);
        }
    }

    fn sectors(&mut self) -> Range<u64> {
        let of_block = BLOCK as u64 / SECTOR;
        let place = self.rng.pick(&self.scene.places) * of_block;
        let first = self.rng.below(HOT * of_block);
        let len = if self.rng.once_in(2) { of_block } else { 1 + self.rng.below(of_block + 4) };
        let first = if self.rng.once_in(2) { first / of_block * of_block } else { first };
        place + first..place + (first + len).min(HOT * of_block)
    }

    fn ask(&mut self) {
        let which = self.rng.below(2) as usize;
        if self.dies.is_some_and(|once| self.rng.once_in(once)) {
            let session = self.sessions[which];
            self.executor.drop_session(session);
            self.underway.retain(|_, (of, _)| *of != session);
            self.sessions[which] = session + 2;
        }
        match self.rng.below(10) {
            0 | 1 => self.flush(which),
            2..5 => self.read(which),
            5 => self.write(which, true),
            _ => self.write(which, false),
        }
    }

    fn start(&mut self, which: usize, asked: Asked, kind: RequestKind) {
        self.next += 1;
        let session = self.sessions[which];
        self.underway.insert(self.next, (session, asked));
        let request = Request { volume: Arc::clone(&self.scene.volume), session, cookie: self.next, kind };
        self.executor.start(&mut self.engine, request);
    }

    fn write(&mut self, which: usize, zeros: bool) {
        let sectors = self.sectors();
        let offset = sectors.start * SECTOR;
        let len = (sectors.end - sectors.start) * SECTOR;
        let fua = self.rng.once_in(4);
        let blocks = self.blocks(&sectors);
        let before = blocks.clone().map(|block| self.scene.data.stamps(block).0).collect();
        let (index, value) = self.scene.ledger.write(sectors, zeros);
        let kind = if zeros {
            RequestKind::Zeroes { offset, len, fua, no_hole: self.rng.once_in(2) }
        } else {
            let mut buf = self.scene.pool.take(len as usize).unwrap();
            buf[..len as usize].chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&value.to_le_bytes()));
            RequestKind::Write { offset, payload: vec![(buf, 0..len as usize)], fua }
        };
        self.start(which, Asked::Write { index, durable: fua.then_some(blocks), before }, kind);
        self.scene.ledger.arrived(index);
    }

    fn blocks(&self, sectors: &Range<u64>) -> Range<usize> {
        let block = |sector: u64| (sector * SECTOR) as usize / BLOCK;
        block(sectors.start)..block(sectors.end - 1) + 1
    }

    fn read(&mut self, which: usize) {
        let sectors = self.sectors();
        let asked = Asked::Read { at: self.scene.ledger.read(), first: sectors.start };
        let len = ((sectors.end - sectors.start) * SECTOR) as u32;
        self.start(which, asked, RequestKind::Read { offset: sectors.start * SECTOR, len });
    }

    fn flush(&mut self, which: usize) {
        let poisoned = self.scene.volume.poisoned().is_some();
        let covers = self.scene.ledger.versions();
        self.start(which, Asked::Flush { covers, poisoned }, RequestKind::Flush);
    }

    fn answered(&mut self, finished: Finished) {
        let Finished { session, cookie, outcome, .. } = finished;
        let Some((of, asked)) = self.underway.remove(&cookie) else { wrong("an answer to nobody, or a second one") };
        check(of == session, || "an answer for another session".into());
        match (asked, outcome) {
            (Asked::Read { at, first }, Ok(reply)) => self.scene.ledger.found(at, first, &bytes_of(&reply)),
            (Asked::Write { index, durable, before }, Ok(Reply::Done)) => {
                self.scene.ledger.answered(index);
                for (block, before) in self.blocks_of(index).zip(before) {
                    let (newest, safe) = self.scene.data.stamps(block);
                    check(durable.is_none() || safe > before, || {
                        format!("block {block} is not durable after FUA: {safe}, was {before}")
                    });
                    self.scene.ledger.version(block, newest);
                }
            }
            (Asked::Flush { covers, poisoned }, Ok(Reply::Done)) => {
                check(!poisoned, || "a flush of a poisoned volume counts".into());
                for (block, version) in covers {
                    let safe = self.scene.data.stamps(block).1;
                    check(safe >= version, || {
                        format!("a flush did not cover block {block}: {safe} is durable, {version} was answered")
                    });
                }
            }
            (_, Ok(_)) => wrong("an answer of another kind"),
            (Asked::Read { .. }, Err(failure)) => wrong(format!("a read failed: {failure:?}")),
            (_, Err(failure)) => {
                let poisoned = self.scene.volume.poisoned().is_some();
                check(poisoned, || format!("{failure:?} on a volume that is not poisoned"));
            }
        }
    }

    fn blocks_of(&self, index: usize) -> Range<usize> {
        self.blocks(&self.scene.ledger.sectors(index))
    }

    /// Reads every place, one block after the other.
    pub fn read_all(&mut self) {
        for place in self.scene.places.clone() {
            for block in place..place + HOT {
                let (at, first) = (self.scene.ledger.read(), block * BLOCK as u64 / SECTOR);
                let kind = RequestKind::Read { offset: block * BLOCK as u64, len: BLOCK as u32 };
                self.start(0, Asked::Read { at, first }, kind);
                while !self.underway.is_empty() {
                    self.turn();
                }
            }
        }
    }
}
