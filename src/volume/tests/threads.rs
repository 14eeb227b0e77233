//! Real threads: workers with verifying clients beside a rotation, on both engines. What one thread cannot show: waiting
//! for readers, forced holds, shared flushes, and that nobody waits for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::failures::watched;
use super::kek::OpenKek;
use super::rig::{Client, Disks, shape, spec};
use super::sim::rng::Rng;
use crate::crypto::{EngineKind, Suite};
use crate::engine::{EngineOptions, IoKind, open};
use crate::format::layout::WriteMode;
use crate::units::Extent;
use crate::volume::Volume;
use crate::volume::executor::RequestKind;
use crate::volume::life::By;
use crate::volume::pipeline::Pipeline;

pub const BLOCK: u64 = 4096;
pub const BLOCKS: u64 = 12 * 16; // twelve extents of 64 KiB

/// A client that owns every `of`-th block and knows what is in it.
pub struct Owner {
    client: Client,
    known: Vec<u8>,
    mine: Vec<u64>,
    rng: Rng,
}

impl Owner {
    pub fn new(volume: &Arc<Volume>, kind: IoKind, number: u64, of: u64) -> Owner {
        let engine = open(Some(kind), &EngineOptions::default()).unwrap();
        let mine: Vec<u64> = (0..BLOCKS).filter(|block| block % of == number).collect();
        let known = vec![0; mine.len() * BLOCK as usize];
        Owner { client: Client::new(volume, engine), known, mine, rng: Rng::new(number) }
    }

    /// One request, to its end, however long somebody else holds it up.
    fn run(&mut self, kind: RequestKind) -> Vec<u8> {
        let cookie = self.client.start(kind);
        loop {
            if let Some((number, outcome)) = self.client.wait().into_iter().next() {
                assert_eq!(number, cookie);
                return super::rig::bytes_of(&outcome.unwrap());
            }
        }
    }

    pub fn act(&mut self) {
        let index = self.rng.below(self.mine.len() as u64) as usize;
        let place = index * BLOCK as usize;
        let (at, len) = (self.rng.below(8) * 512, 512 * (1 + self.rng.below(4)));
        let len = len.min(BLOCK - at);
        let (offset, from) = (self.mine[index] * BLOCK + at, place + at as usize);
        match self.rng.below(12) {
            0 => {
                self.run(RequestKind::Flush);
            }
            1 => {
                self.known[from..from + len as usize].fill(0);
                self.run(RequestKind::Zeroes { offset, len, fua: false, no_hole: false });
            }
            2..6 => {
                let found = self.run(RequestKind::Read { offset, len: len as u32 });
                assert!(found == self.known[from..from + len as usize], "block {} differs", self.mine[index]);
            }
            _ => {
                let bytes: Vec<u8> = (0..len).map(|_| self.rng.next() as u8).collect();
                self.known[from..from + len as usize].copy_from_slice(&bytes);
                let kind = self.client.write_kind(offset, &bytes, self.rng.once_in(8));
                self.run(kind);
            }
        }
    }

    pub fn check(&mut self) {
        for (index, block) in self.mine.clone().into_iter().enumerate() {
            let found = self.run(RequestKind::Read { offset: block * BLOCK, len: BLOCK as u32 });
            assert!(
                found == self.known[index * BLOCK as usize..][..BLOCK as usize],
                "block {block} differs at the end"
            );
        }
    }
}

pub fn rotate(volume: &Arc<Volume>, pipeline: &mut Pipeline) {
    let target = volume.rotation().target;
    let extents: Vec<Extent> = (0..volume.shape().extents()).map(Extent).collect();
    while volume.census().keys().any(|tag| *tag != target) {
        for batch in extents.chunks(3) {
            pipeline.step(batch, target, 300_000).unwrap();
        }
    }
    pipeline.drain(target).unwrap();
}

/// Rotations beside clients; the pipeline has `helpers` threads beside its own.
fn stress(kind: IoKind, mode: WriteMode, helpers: usize, rotations: usize) {
    let shape = shape(BLOCKS * BLOCK, 512, 512, mode);
    let (disks, keks) = (Disks::in_memory(&shape, false), OpenKek::list());
    disks.create(&shape, Suite::Aes256Xts, &keks);
    let volume = Arc::new(disks.open(&keks, EngineKind::AwsLc, false).unwrap());
    let over = Arc::new(AtomicBool::new(false));
    let owners: Vec<_> = (0..3)
        .map(|number| {
            let (volume, over) = (Arc::clone(&volume), Arc::clone(&over));
            std::thread::spawn(move || {
                let mut owner = Owner::new(&volume, kind, number, 3);
                while !over.load(Ordering::Relaxed) {
                    owner.act();
                }
                owner.check();
            })
        })
        .collect();
    let engine = || open(Some(kind), &EngineOptions::default()).unwrap();
    let mut pipeline = Pipeline::new(Arc::clone(&volume), engine());
    (0..helpers).for_each(|_| pipeline.add_helper(engine()).unwrap());
    for _ in 0..rotations {
        volume.start_rotation(&keks, &spec(Suite::Aes256Xts)).unwrap();
        rotate(&volume, &mut pipeline);
        volume.roll_back(&By::daemon("test", 3)).unwrap();
        rotate(&volume, &mut pipeline);
        std::thread::sleep(Duration::from_millis(1));
    }
    over.store(true, Ordering::Relaxed);
    owners.into_iter().for_each(|owner| owner.join().expect("a client found wrong bytes"));
    println!("{kind}, {mode:?}, {helpers} helpers: {:?}", pipeline.counters());
}

#[test]
fn clients_on_threads_beside_rotations() {
    watched(|| {
        stress(IoKind::Posix, WriteMode::InPlace, 0, 4);
        stress(IoKind::Ring, WriteMode::InPlace, 2, 4);
        stress(IoKind::Posix, WriteMode::Journal, 1, 2);
    });
}
