//! A whole volume under a schedule: workers with clients, the rotation's pipeline, and whoever else is invited.
//!
//! The pipeline's operations are watched. What it reads must be durable to the last client write (rule R0), and when it
//! writes, nothing may have changed since it read: no write passed the hold.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::kek::OpenKek;
use super::super::rig::{Rig, shape};
use super::super::sim::rng::Rng;
use super::client::{HOT, Scene, Worker};
use super::disk::{BLOCK, TurnDisk};
use super::engine::{TurnEngine, Watch};
use super::explore::{check, wrong};
use super::ledger::{FIRST, Ledger, SECTOR};
use crate::crypto::{EngineKind, Suite};
use crate::engine::{Disk, Op, Pool};
use crate::format::layout::WriteMode;
use crate::units::{Extent, Generation};
use crate::volume::Volume;
use crate::volume::open::open_disks;
use crate::volume::pipeline::{Patience, Pipeline, READ_BACK};

const EXTENT_BLOCKS: u64 = 16;
const EXTENTS: u64 = 2;
/// Steps within which a rotation of so few extents must end.
const STEPS_MAX: usize = 60;

/// A volume with a rotation begun and nothing rotated, made once and copied for every schedule.
pub struct Template {
    data: Vec<u8>,
    header: Vec<u8>,
    pool: Pool,
    target: Generation,
}

fn content(disk: &dyn Disk) -> Vec<u8> {
    let mut bytes = vec![0; disk.len().unwrap() as usize];
    disk.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Where clients are busy: at the head of each extent, so that most of it stays a hole and a schedule short.
fn places() -> Vec<u64> {
    (0..EXTENTS).map(|extent| extent * EXTENT_BLOCKS).collect()
}

impl Template {
    pub fn new(mode: WriteMode) -> Arc<Template> {
        let size = EXTENTS * EXTENT_BLOCKS * BLOCK as u64;
        let mut rig = Rig::new(&shape(size, 4096, 4096, mode), Suite::Aes256Xts, true, EngineKind::AwsLc);
        let first: Vec<u8> = FIRST.to_le_bytes().repeat(HOT as usize * BLOCK / 8);
        for place in places() {
            rig.client.write(place * BLOCK as u64, &first).unwrap();
        }
        rig.client.flush().unwrap();
        let target = rig.start_rotation(Suite::Aes256Xts);
        let header = content(&**rig.disks.header.as_ref().unwrap());
        Arc::new(Template { data: content(&*rig.disks.data), header, pool: Pool::new(64 << 20), target })
    }
}

/// One volume for one schedule.
pub struct House {
    pub scene: Scene,
    pub target: Generation,
    pub rng: Rng,
    rotates: bool,
    threads: Vec<shuttle::thread::JoinHandle<()>>,
}

impl House {
    pub fn open(template: &Template, seed: u64) -> House {
        House::on(TurnDisk::new(template.data.clone(), true), template, seed)
    }

    /// A house in which a flush may be left behind: the device goes on with it while the next one begins.
    pub fn for_ghosts(template: &Template, seed: u64) -> House {
        House::on(TurnDisk::new(template.data.clone(), false), template, seed)
    }

    fn on(data: TurnDisk, template: &Template, seed: u64) -> House {
        let data = Arc::new(data);
        let header = Arc::new(TurnDisk::new(template.header.clone(), false));
        let opened = open_disks(Arc::clone(&data) as _, Some(header), &OpenKek::list(), false, EngineKind::AwsLc);
        let volume = Arc::new(opened.unwrap());
        assert_eq!(volume.data_offset, 0, "blocks of the disk are blocks of the volume");
        let sectors = EXTENTS * EXTENT_BLOCKS * BLOCK as u64 / SECTOR;
        let hot = HOT * BLOCK as u64 / SECTOR;
        let ledger = Ledger::new(sectors, |sector| sector % (EXTENT_BLOCKS * BLOCK as u64 / SECTOR) < hot);
        let scene = Scene { volume, data, ledger: Arc::new(ledger), pool: template.pool.clone(), places: places() };
        House { scene, target: template.target, rng: Rng::new(seed), rotates: false, threads: Vec::new() }
    }

    pub fn invite(&mut self, guest: impl FnOnce() + Send + 'static) {
        self.threads.push(shuttle::thread::spawn(guest));
    }

    /// Workers that ask for `count` things each.
    pub fn workers(&mut self, workers: u64, count: usize, adapt: impl Fn(Worker) -> Worker) {
        for _ in 0..workers {
            let mut worker = adapt(Worker::new(self.scene.clone(), self.rng.next()));
            self.invite(move || worker.work(count));
        }
    }

    /// The rotation. Nobody has a clock: a wait ends when the schedule says so, or, if `for_ever`, when what is waited for
    /// has come.
    pub fn rotation(&mut self, for_ever: bool) {
        self.rotates = true;
        let (scene, target) = (self.scene.clone(), self.target);
        let wait = Duration::from_millis(1);
        let drain = if for_ever { Duration::MAX } else { wait };
        let client_flushed = self.rng.pick(&[Duration::ZERO, Duration::MAX]);
        let patience = Patience { drain, client_flushed, client_flush: wait };
        self.invite(move || rotate(&scene, target, patience));
    }

    /// Everybody has left. Every sector holds what it may, and unless writes were stopped every extent carries the target.
    pub fn close(mut self) {
        for thread in self.threads.drain(..) {
            check(thread.join().is_ok(), || "a thread panicked".into());
        }
        Worker::new(self.scene.clone(), 0).read_all();
        let (volume, target) = (&self.scene.volume, self.target);
        if self.rotates && volume.poisoned().is_none() {
            let census = volume.census();
            check(census.len() == 1 && census.contains_key(&target), || format!("not rotated: {census:?}"));
        }
    }

    /// The same, and nothing went wrong.
    pub fn close_in_order(self) {
        let volume = Arc::clone(&self.scene.volume);
        self.close();
        check(volume.poisoned().is_none(), || format!("poisoned: {:?}", volume.poisoned()));
    }
}

fn rotate(scene: &Scene, target: Generation, patience: Patience) {
    let mut pipeline = Pipeline::new(Arc::clone(&scene.volume), Box::new(TurnEngine::new(Some(watch(scene)))));
    pipeline.set_patience(patience);
    if let Err(error) = steps(&scene.volume, &mut pipeline, target) {
        check(scene.volume.poisoned().is_some(), || format!("the rotation failed: {error}"));
    }
}

fn steps(volume: &Arc<Volume>, pipeline: &mut Pipeline, target: Generation) -> Result<(), crate::volume::VolumeError> {
    for _ in 0..STEPS_MAX {
        let behind = |extent: &Extent| volume.tag(*extent) != target;
        let behind: Vec<Extent> = (0..volume.shape().extents()).map(Extent).filter(behind).collect();
        if behind.is_empty() {
            return pipeline.drain(target);
        }
        pipeline.step(&behind, target, 500_000)?;
        shuttle::thread::yield_now();
    }
    wrong("the rotation starves")
}

/// Rule R0 and the hold, asserted at the pipeline's own operations.
fn watch(scene: &Scene) -> Watch {
    let data = Arc::clone(&scene.data);
    let read: Mutex<HashMap<usize, u64>> = Mutex::default();
    Arc::new(move |token: u64, op: &Op| match op {
        // Clients may write what is only read back.
        Op::Read { .. } if token & READ_BACK != 0 => {}
        Op::Read { offset, range, .. } => {
            for block in blocks(*offset, range.len()) {
                let (newest, durable) = data.stamps(block);
                check(newest == durable, || {
                    format!("R0: block {block} is taken at {newest}, only {durable} is durable")
                });
                read.lock().unwrap().insert(block, newest);
            }
        }
        Op::Write { offset, range, .. } => {
            for block in blocks(*offset, range.len()) {
                let before = read.lock().unwrap().get(&block).copied();
                let now = data.stamps(block).0;
                check(before.is_none_or(|before| before == now), || {
                    format!("block {block} changed under the hold: {before:?}, now {now}")
                });
            }
        }
        _ => {}
    })
}

fn blocks(offset: u64, len: usize) -> std::ops::Range<usize> {
    offset as usize / BLOCK..(offset as usize + len) / BLOCK
}
