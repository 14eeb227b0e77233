//! Metadata blocks that rot, vanish, or come back from the past, one at a time: opening must refuse by name or show the very
//! same volume, never an older key, target or poison in silence.
//!
//! One case is beyond any scheme that flushes once per batch, and is told apart here: the newest record of the ring after
//! a crash. Nothing durable vouches for it yet, so its loss looks like a write the crash had cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::kek::OpenKek;
use super::rig::Client;
use super::sim::engine::SimEngine;
use super::sim::ledger::{End, Ledger};
use super::sim::rng::Rng;
use super::sim::state::DiskState;
use super::sim::work::{Recording, Setting, disks_of, record};
use super::sim::world::{Event, World};
use crate::crypto::EngineKind;
use crate::format::envelope::{GENERATIONS, peek};
use crate::format::generations::Rotation;
use crate::format::layout::{GENERATIONS_COPY, Place, SUPERBLOCK_A, SUPERBLOCK_B, Zones, plan};
use crate::units::{BLOCK, Extent, Generation};
use crate::volume::Volume;
use crate::volume::background::kept;

/// Earlier contents kept of each block.
const PAST: usize = 4;
/// Moments of a workload at which its metadata are damaged.
const MOMENTS: usize = 5;

/// What an open volume says of itself.
#[derive(PartialEq, Debug)]
struct Face {
    tags: Vec<Generation>,
    rotation: Rotation,
    poisoned: bool,
    states: Vec<(Generation, crate::format::generations::KeyState)>,
}

fn face(volume: &Volume) -> Face {
    Face {
        tags: (0..volume.shape().extents()).map(|extent| volume.tag(Extent(extent))).collect(),
        rotation: volume.rotation(),
        poisoned: volume.poisoned().is_some(),
        states: volume.table().entries.iter().map(|entry| (entry.generation, entry.state)).collect(),
    }
}

#[derive(Default, Debug)]
struct Tally {
    refused: u64,
    unharmed: u64,
    newest_record: u64,
}

/// A moment of a workload: the disks, all durable, and what is known of them.
struct Moment<'a> {
    recording: &'a Recording,
    disks: Vec<DiskState>,
    ledger: &'a Ledger,
    face: Face,
    /// The slot of the newest record, if it is live.
    newest: Option<Place>,
}

/// A disk and the block on it.
type Block = (usize, u64);

fn open(recording: &Recording, disks: Vec<DiskState>) -> Result<Arc<Volume>, String> {
    let disks = disks_of(&World::new(disks, 0), recording.setting.detached);
    let opened = disks.open(&OpenKek::list(), EngineKind::AwsLc, false);
    opened.map(Arc::new).map_err(|error| error.to_string())
}

impl<'a> Moment<'a> {
    fn of(recording: &'a Recording, disks: &[DiskState], ledger: &'a Ledger, zones: &Zones) -> Option<Moment<'a>> {
        let mut disks = disks.to_vec();
        disks.iter_mut().for_each(|disk| disk.settle_all(u64::MAX));
        let header = disks.last()?;
        let tables = [0, 1].map(|copy| {
            header.durable_bytes(zones.generations.offset + copy * GENERATIONS_COPY, GENERATIONS_COPY as usize)
        });
        let [a, b] = tables.each_ref().map(|bytes| peek(GENERATIONS, bytes).map(|found| found.body).ok());
        if a.is_none() || a != b {
            return None; // in the middle of a commit: not acknowledged yet
        }
        // Read-only: opening for writing would settle what the ring says.
        let looked = disks_of(&World::new(disks.clone(), 0), recording.setting.detached);
        let volume = looked.open(&OpenKek::list(), EngineKind::AwsLc, true).expect("an undamaged volume opens");
        let (log_last, tail, slots, slot_size) = {
            let meta = volume.meta();
            let superblock = &meta.superblock;
            (meta.log.next() - 1, superblock.tail, superblock.ring_slots, u64::from(superblock.slot_size))
        };
        let newest = (log_last > tail)
            .then(|| Place { offset: zones.ring.offset + log_last % u64::from(slots) * slot_size, length: slot_size });
        let face = face(&open(recording, disks.clone()).expect("an undamaged volume opens"));
        Some(Moment { recording, disks, ledger, face, newest })
    }

    fn is_newest_record(&self, (disk, offset): Block) -> bool {
        disk + 1 == self.disks.len() && self.newest.is_some_and(|place| (place.offset..place.end()).contains(&offset))
    }

    /// Puts `bytes` at `block` and looks what opening makes of it.
    fn damage(&self, block: Block, bytes: &[u8], tally: &mut Tally) -> Result<(), String> {
        let mut disks = self.disks.clone();
        disks[block.0].tamper(block.1, bytes);
        let Ok(volume) = open(self.recording, disks) else {
            tally.refused += 1;
            return Ok(());
        };
        if self.is_newest_record(block) {
            tally.newest_record += 1;
            return Ok(());
        }
        tally.unharmed += 1;
        let found = face(&volume);
        if found != self.face {
            return Err(format!("it opens, and is another volume:\n{found:?}\ninstead of\n{:?}", self.face));
        }
        let mut client = Client::new(&volume, Box::new(SimEngine::new(0, false)));
        self.ledger.judge(0, &client.content(), End::Kill)
    }
}

/// The blocks of the metadata zones, by disk.
fn is_metadata((disk, offset): Block, zones: &Zones, disks: usize) -> bool {
    let within = |place: Place| (place.offset..place.end()).contains(&offset);
    let superblock = offset == SUPERBLOCK_A || offset == SUPERBLOCK_B;
    let header = superblock || [zones.generations, zones.canaries, zones.tags, zones.ring].into_iter().any(within);
    (disk + 1 == disks && header) || (disk == 0 && within(zones.stamp))
}

/// What each metadata block has held, the newest last.
type Past = BTreeMap<Block, Vec<Vec<u8>>>;

fn remember(past: &mut Past, event: &Event<super::sim::ledger::Note>, disks: &[DiskState], zones: &Zones) {
    let Event::Put { disk, offset, bytes } = event else { return };
    let blocks = offset / BLOCK..(offset + bytes.len() as u64).div_ceil(BLOCK);
    for block in blocks.map(|block| (*disk, block * BLOCK)).filter(|block| is_metadata(*block, zones, disks.len())) {
        let mut content = vec![0; BLOCK as usize];
        disks[block.0].visible.read(block.1, &mut content);
        let known = past.entry(block).or_default();
        if known.last() != Some(&content) {
            known.push(content);
            let spare = known.len().saturating_sub(PAST);
            known.drain(..spare);
        }
    }
}

/// The blocks that a new volume has written.
fn written_already(disks: &[DiskState], zones: &Zones) -> Past {
    let mut past = Past::new();
    for (index, disk) in disks.iter().enumerate() {
        let blocks = (0..disk.visible.len() / BLOCK).map(|block| (index, block * BLOCK));
        for block in blocks.filter(|block| is_metadata(*block, zones, disks.len())) {
            let content = disk.durable_bytes(block.1, BLOCK as usize);
            if content.iter().any(|byte| *byte != 0) {
                past.insert(block, vec![content]);
            }
        }
    }
    past
}

fn damage_all(moment: &Moment<'_>, past: &Past, rng: &mut Rng, tally: &mut Tally) -> Result<(), String> {
    for (block, contents) in past {
        let now = moment.disks[block.0].durable_bytes(block.1, BLOCK as usize);
        let used = now.iter().rposition(|byte| *byte != 0).map_or(1, |last| last as u64 + 1);
        let mut rotten = now.clone();
        rotten[rng.below(used) as usize] ^= 1 << rng.below(8);
        let replays = contents.iter().filter(|content| **content != now);
        let zeros = vec![0; BLOCK as usize];
        let variants =
            [("rotten", &rotten), ("zeroed", &zeros)].into_iter().chain(replays.map(|old| ("replayed", old)));
        for (how, bytes) in variants {
            let damaged = moment.damage(*block, bytes, tally);
            damaged.map_err(|wrong| format!("{how}: disk {}, block at {}: {wrong}", block.0, block.1))?;
        }
    }
    Ok(())
}

fn damage_recording(recording: &Recording, tally: &mut Tally) -> Result<(), String> {
    let setting = &recording.setting;
    let zones = plan(&setting.shape, setting.detached).zones;
    let mut rng = Rng::new(setting.seed ^ 0x707);
    let (mut disks, mut ledger) = (recording.start.clone(), recording.ledger.clone());
    let all = recording.history.len();
    let mut wanted: BTreeSet<usize> = (1..=MOMENTS).map(|n| all * n / MOMENTS).collect();
    let mut past = written_already(&disks, &zones);
    for (number, event) in recording.history.iter().enumerate() {
        event.play(number as u64, &mut disks);
        if let Event::Note(note) = event {
            ledger.take(note);
        }
        remember(&mut past, event, &disks, &zones);
        let due = wanted.first().is_some_and(|first| *first <= number + 1);
        if due && let Some(moment) = Moment::of(recording, &disks, &ledger, &zones) {
            wanted.pop_first();
            damage_all(&moment, &past, &mut rng, tally).map_err(|wrong| format!("after event {number}: {wrong}"))?;
        }
    }
    Ok(())
}

#[test]
fn a_block_that_rots_vanishes_or_is_replayed_is_refused_or_makes_no_difference() {
    kept::start();
    let mut tally = Tally::default();
    for seed in 1..=6 {
        let recording = record(Setting { restless: 4, ..Setting::new(seed) });
        assert!(recording.wrongs.is_empty(), "{:?}", recording.wrongs);
        if let Err(wrong) = damage_recording(&recording, &mut tally) {
            panic!("seed {seed}: {wrong}\n{:?}", recording.setting);
        }
    }
    println!("{tally:?}");
    assert!(tally.refused > 500 && tally.unharmed > 1500, "{tally:?}");
}
