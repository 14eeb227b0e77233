//! A workload on a simulated machine: a rotation with everything that may happen to it, and a client that acts in the middle
//! of its operations. Everything follows from the seed, but for the keys.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::super::kek::{NamedKek, OpenKek};
use super::super::rig::{Client, Disks, spec};
use super::actor::Actor;
use super::engine::SimEngine;
use super::ledger::{Ledger, Note};
use super::order::Order;
use super::rng::Rng;
pub use super::setting::Setting;
use super::state::DiskState;
use super::world::{Event, SimDisk, World, set_hook};
use super::zones::Frailties;
use crate::crypto::{EngineKind, Suite};
use crate::engine::Disk;
use crate::format::generations::{KeyState, Phase};
use crate::format::layout::{Shape, plan};
use crate::keys::Kek;
use crate::units::{Extent, Generation};
use crate::volume::Volume;
use crate::volume::VolumeError;
use crate::volume::background::kept;
use crate::volume::life::By;
use crate::volume::pipeline::{Patience, Pipeline};
use crate::volume::wraps::{Addition, Removal, Step, WrapChange};

/// What a run leaves: where it started and all that happened.
pub struct Recording {
    pub setting: Setting,
    pub start: Vec<DiskState>,
    pub history: Vec<Event<Note>>,
    /// As it was at the start.
    pub ledger: Ledger,
    /// What went wrong while it ran.
    pub wrongs: Vec<String>,
}

/// A volume's disks in a world.
pub fn disks_of(world: &Arc<World<Note>>, detached: bool) -> Disks {
    let disk = |index| Arc::new(SimDisk { world: Arc::clone(world), index }) as Arc<dyn Disk>;
    Disks { data: disk(0), header: detached.then(|| disk(1)) }
}

/// A workload under way.
pub struct Run {
    setting: Setting,
    pub volume: Arc<Volume>,
    pub(super) pipeline: Pipeline,
    pub(super) actor: Rc<RefCell<Actor>>,
    pub world: Arc<World<Note>>,
    pub(super) rng: Rng,
    /// The KEK that opens the volume, and how many there were before it.
    kek: (Kek, u64),
    /// The disks and the ledger as the workload began.
    start: Vec<DiskState>,
    ledger: Ledger,
}

/// A pipeline that waits for no clock.
pub fn pipeline(volume: &Arc<Volume>, seed: u64) -> Pipeline {
    let mut pipeline = Pipeline::new(Arc::clone(volume), Box::new(SimEngine::rotating(seed)));
    pipeline.set_patience(Patience::NONE);
    pipeline
}

/// Runs the workload of `setting` to its end, on disks that do not fail.
pub fn record(setting: Setting) -> Recording {
    let mut run = Run::prepare(setting);
    let ended = run.under_way(|run| run.all());
    let failed = run.actor.borrow().failed;
    let mut wrongs = run.wrongs();
    wrongs.extend(ended.err().map(|error| format!("the rotation failed: {}", in_full(&error))));
    wrongs.extend((failed > 0).then(|| format!("{failed} requests failed on sound disks")));
    let Run { setting, start, ledger, world, .. } = run;
    Recording { setting, start, history: world.take_history(), ledger, wrongs }
}

/// Some extents full, some sparse, some empty; all of it flushed.
fn fill(actor: &mut Actor, shape: &Shape) {
    for extent in 0..shape.extents() {
        let (first, end) = shape.extent_range(extent);
        match extent % 4 {
            0 | 1 => actor.write_at(first, (end - first) as usize),
            2 => {
                actor.write_at(first + 4096, 4096);
                actor.write_at(first + 12288, 3000);
            }
            _ => {}
        }
        actor.settle();
    }
    actor.flush();
    actor.settle();
    kept::run_all();
}

/// An error with its causes.
pub fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl Run {
    /// A filled volume on disks where everything is durable.
    pub fn prepare(setting: Setting) -> Run {
        kept::start();
        let mut rng = Rng::new(setting.seed ^ 0x5eed);
        let plan = plan(&setting.shape, setting.detached);
        let (granule, claimed) = (setting.device_granule as usize, setting.shape.granule);
        let disk = |len, header| {
            let frailties = Frailties::of(&plan, setting.shape.mode, setting.detached, header);
            DiskState::new(len, granule, claimed).frail(frailties)
        };
        let mut states = vec![disk(plan.data_len, false)];
        if setting.detached {
            states.push(disk(plan.header_len, true));
        }
        let world = World::new(states, 0);
        let disks = disks_of(&world, setting.detached);
        let keks = if setting.rewraps > 0 { vec![NamedKek::kek("kek 0", false)] } else { OpenKek::list() };
        disks.create(&setting.shape, setting.suite, &keks);
        let volume = Arc::new(disks.open(&keks, EngineKind::AwsLc, false).expect("a new volume opens"));
        let client = Client::new(&volume, Box::new(SimEngine::new(rng.next(), true)));
        let mut actor = Actor {
            client,
            world: Arc::clone(&world),
            ledger: Ledger::new(setting.shape.size, setting.shape.max_size),
            rng: Rng::new(rng.next()),
            asked: BTreeMap::new(),
            wrongs: Vec::new(),
            failed: 0,
            excused: false,
            excused_before: 0,
            seldom: 4 + rng.below(8),
        };
        fill(&mut actor, &setting.shape);
        if setting.rewraps > 0 {
            actor.ledger.take(&Note::Keks { each: vec!["kek 0".into()], gone: None });
        }
        let (start, ledger) = (world.start_over(), actor.ledger.clone());
        if setting.watched {
            world.watch_order(Order::of(&setting));
        }
        let pipeline = pipeline(&volume, rng.next());
        let kek = (keks[0].clone(), 0);
        Run { setting, volume, pipeline, actor: Rc::new(RefCell::new(actor)), world, rng, kek, start, ledger }
    }

    /// Calls `f` while the client acts in the middle of operations.
    pub fn under_way<T>(&mut self, f: impl FnOnce(&mut Run) -> T) -> T {
        let guest = Rc::clone(&self.actor);
        set_hook(Some(Box::new(move |_| {
            if let Ok(mut actor) = guest.try_borrow_mut() {
                actor.pump();
                let seldom = actor.seldom;
                if actor.rng.once_in(seldom) {
                    actor.act();
                }
            }
        })));
        let result = f(self);
        set_hook(None);
        result
    }

    /// What went wrong, apart from requests and steps that reported an error.
    pub fn wrongs(&self) -> Vec<String> {
        let mut wrongs = self.world.wrongs();
        wrongs.extend(self.actor.borrow().wrongs.iter().cloned());
        wrongs
    }

    /// Requests that were answered with an error.
    pub fn failed(&self) -> u64 {
        self.actor.borrow().failed
    }

    /// The client's ledger as it is now.
    pub fn ledger_now(&self) -> Ledger {
        self.actor.borrow().ledger.clone()
    }

    fn all(&mut self) -> Result<(), VolumeError> {
        self.start()?;
        for number in 0..self.setting.actions {
            self.any(number)?;
            self.between();
        }
        self.finish()?;
        self.actor.borrow_mut().flush();
        self.everything_answered();
        Ok(())
    }

    /// The first actions of it, with whatever is then under way.
    pub fn begin(&mut self) {
        self.start().expect("the disks are sound");
        for number in 0..self.setting.actions {
            self.any(number).expect("the disks are sound");
            self.between();
        }
    }

    /// The same where operations may fail: goes on until the volume is poisoned. True if nothing reported an error.
    pub fn all_that_goes(&mut self) -> bool {
        let mut good = self.start().is_ok();
        for number in 0..self.setting.actions {
            if self.volume.poisoned().is_some() {
                break;
            }
            good &= self.any(number).is_ok();
            self.between();
        }
        if self.volume.poisoned().is_none() {
            let finished = self.finish().is_ok();
            if !finished && self.volume.poisoned().is_none() {
                // As the worker does, whatever failed: nothing stays held.
                let _ = self.drain();
            }
            good &= finished;
            self.actor.borrow_mut().flush();
        }
        self.everything_answered();
        good && self.failed() == 0
    }

    /// Nobody waits for an answer that will not come.
    fn everything_answered(&mut self) {
        self.between();
        self.actor.borrow_mut().settle();
        self.between();
        let mut actor = self.actor.borrow_mut();
        actor.settle();
        let asked = actor.asked.len();
        if asked > 0 {
            actor.wrongs.push(format!("{asked} requests are never answered"));
        }
    }

    fn any(&mut self, number: usize) -> Result<(), VolumeError> {
        if self.setting.grows > 0 && self.rng.once_in(self.setting.grows) {
            return self.grow();
        }
        if self.setting.lives > 0 && self.rng.once_in(self.setting.lives) {
            return self.live();
        }
        if self.setting.shares > 0 && self.rng.once_in(self.setting.shares) {
            return self.share();
        }
        if self.setting.rewraps > 0 && self.rng.once_in(self.setting.rewraps) {
            return self.rewrap();
        }
        if self.rng.once_in(self.setting.restless) {
            return match self.rng.below(6) {
                0 if self.volume.table().entries.len() < 8 => self.start(),
                1 | 2 => self.roll_back(),
                4 => self.drain(),
                5 => self.finish(),
                _ => self.pipeline.end_holds(self.target()),
            };
        }
        match self.rng.below(8) {
            0..2 => self.act(1 + number % 3),
            2 => self.actor.borrow_mut().flush(),
            _ => return self.step(),
        }
        Ok(())
    }

    /// Background jobs run, parked writes that were admitted move on.
    pub fn between(&mut self) {
        kept::run_all();
        let mut actor = self.actor.borrow_mut();
        actor.pump();
        if self.rng.once_in(3) {
            actor.settle();
        }
    }

    fn act(&mut self, times: usize) {
        for _ in 0..times {
            self.actor.borrow_mut().act();
        }
    }

    pub(super) fn target(&self) -> Generation {
        self.volume.rotation().target
    }

    fn step(&mut self) -> Result<(), VolumeError> {
        let target = self.target();
        let extents = (0..self.volume.shape().extents()).map(Extent);
        let mut candidates: Vec<Extent> = extents.filter(|extent| self.volume.tag(*extent) != target).collect();
        for index in (1..candidates.len()).rev() {
            candidates.swap(index, self.rng.below(index as u64 + 1) as usize);
        }
        candidates.truncate(1 + self.rng.below(3) as usize);
        let sample = if self.rng.once_in(4) { 1_000_000 } else { 0 };
        self.pipeline.step(&candidates, target, sample)
    }

    fn drain(&mut self) -> Result<(), VolumeError> {
        self.pipeline.drain(self.target())
    }

    /// Grows by few blocks or many, the rotation being at rest.
    fn grow(&mut self) -> Result<(), VolumeError> {
        self.drain()?;
        let size = self.volume.size();
        let blocks = self.rng.pick(&[1, 1, 2, 3, 5, 16, 31, 40]);
        let wanted = (size + blocks * 4096).min(self.setting.shape.max_size);
        self.actor.borrow_mut().note(Note::GrowBegun { size: wanted });
        let grown = self.volume.grow(wanted, &mut |_, _| true);
        if self.volume.poisoned().is_none() {
            // Refused or failed, it is as it was.
            let size = if grown.is_ok() { wanted } else { size };
            self.actor.borrow_mut().note(Note::GrowDone { size });
        }
        grown.map(|_| ())
    }

    fn start(&mut self) -> Result<(), VolumeError> {
        let suite = self.rng.pick(&[Suite::Aes256Xts, Suite::Aes256Xts, Suite::Aes128Xts, Suite::None]);
        self.actor.borrow_mut().note(Note::TargetBegun);
        let target = self.volume.start_rotation(std::slice::from_ref(&self.kek.0), &spec(suite))?;
        self.actor.borrow_mut().note(Note::TargetDone { target });
        Ok(())
    }

    /// Another KEK takes over, now and then a bad one, whose wraps must be noticed before it counts.
    fn rewrap(&mut self) -> Result<(), VolumeError> {
        let (old, number) = (self.kek.0.clone(), self.kek.1 + 1);
        let name = |kek: &Kek| kek.describe().kek_id.clone().unwrap_or_default();
        let slips = self.setting.slips > 0 && self.rng.once_in(self.setting.slips);
        let new = NamedKek::kek(&format!("kek {number}"), slips);
        let actor = Rc::clone(&self.actor);
        let note = |each: &[&Kek], gone: Option<&Kek>| {
            let each = each.iter().map(|kek| name(kek)).collect();
            actor.borrow_mut().note(Note::Keks { each, gone: gone.map(name) });
        };
        let add = Some(Addition { kek: &new, first: true });
        let change = WrapChange { add, remove: Removal::InUse, generation: None };
        let mut reached = Step::Wrapped;
        let changed = self.volume.change_wraps(std::slice::from_ref(&old), &change, &mut |step| {
            reached = step;
            match step {
                Step::Wrapped => note(&[&old], None),
                Step::Added if slips => {}
                Step::Added => note(&[&old, &new], None),
                Step::Proven => note(&[&new], None),
                Step::Removed => note(&[&new], Some(&old)),
            }
        });
        self.kek.1 = number;
        if matches!(reached, Step::Proven | Step::Removed) {
            self.kek.0 = new.clone();
        } else {
            note(&[&old], None);
        }
        match changed {
            Err(VolumeError::Unproven { .. }) if slips => Ok(()),
            changed => changed.map(|_| ()),
        }
    }

    fn roll_back(&mut self) -> Result<(), VolumeError> {
        let table = self.volume.table();
        let back = table.rotation.rollback_to.and_then(|back| table.entry(back));
        if back.is_none_or(|back| back.compromised || back.state != KeyState::Draining) {
            return Ok(());
        }
        self.actor.borrow_mut().note(Note::TargetBegun);
        let target = self.volume.roll_back(&By::daemon("test", 3))?;
        self.actor.borrow_mut().note(Note::TargetDone { target });
        Ok(())
    }

    /// Rotates all there is and, sometimes, finalizes.
    fn finish(&mut self) -> Result<(), VolumeError> {
        self.reinstate_all()?;
        let target = self.target();
        for _ in 0..60 {
            if self.volume.census().keys().all(|tag| *tag == target) {
                break;
            }
            self.step()?;
            self.between();
            self.actor.borrow_mut().flush();
            self.between();
        }
        self.drain()?;
        self.between();
        if self.rng.once_in(2) && self.volume.census().keys().all(|tag| *tag == target) {
            self.volume.update_rotation(|rotation| rotation.phase = Phase::Drained)?;
            self.actor.borrow_mut().note(Note::KeysChange);
            self.volume.finalize(&By::daemon("test", 4))?;
        }
        Ok(())
    }
}
