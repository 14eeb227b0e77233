//! Every crash a recorded workload could have had: the image is made, opened, read and held against the ledger; recovery is
//! crashed in its turn after every operation; some volumes then carry on with their rotation.

use std::sync::Arc;

use super::super::rig::Client;
use super::engine::SimEngine;
use super::ledger::{End, Ledger};
use super::lives::revive;
use super::rng::Rng;
use super::shares::give_up_all;
use super::state::DiskState;
use super::work::{Recording, disks_of, in_full, pipeline};
use super::world::{Event, World};
use crate::crypto::EngineKind;
use crate::format::envelope::{SUPERBLOCK, peek};
use crate::format::generations::KeyState;
use crate::format::layout::{SUPERBLOCK_A, SUPERBLOCK_B};
use crate::format::superblock::Superblock;
use crate::keys::Kek;
use crate::units::{BLOCK, Extent};
use crate::volume::background::kept;
use crate::volume::check::{Depth, Severity, check_disks};
use crate::volume::{Volume, VolumeError};

/// What was checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Volumes opened from an image, read and compared.
    pub images: u64,
    /// Of these, images of a power cut, of a killed process, of a crash during recovery.
    pub power: u64,
    pub kill: u64,
    pub during_recovery: u64,
    /// Images in which recovery had extents to roll forward.
    pub rolled_forward: u64,
    /// Images from which the rotation was carried on to its end.
    pub carried_on: u64,
    /// Images that were checked before they were opened.
    pub inspected: u64,
    /// Images of a growth that was committed and not finished.
    pub half_grown: u64,
    /// Images in which a key was withdrawn.
    pub withdrawn: u64,
    /// Images in which a key was held that is shared with other replicas.
    pub held: u64,
    /// Images in the middle of a change of the KEK, and of KEKs that had to be refused.
    pub between_keks: u64,
    pub refused_keks: u64,
    /// Operations of the workloads.
    pub operations: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.images += other.images;
        self.power += other.power;
        self.kill += other.kill;
        self.during_recovery += other.during_recovery;
        self.rolled_forward += other.rolled_forward;
        self.carried_on += other.carried_on;
        self.inspected += other.inspected;
        self.half_grown += other.half_grown;
        self.withdrawn += other.withdrawn;
        self.held += other.held;
        self.between_keks += other.between_keks;
        self.refused_keks += other.refused_keks;
        self.operations += other.operations;
    }
}

/// How much of it.
#[derive(Clone, Copy)]
pub struct Effort {
    /// Power cuts after each operation.
    pub per_operation: u64,
    /// How deep crashes are nested: 1 = recovery is crashed too, 2 = and its second attempt.
    pub depth: u32,
}

struct Checker<'a> {
    recording: &'a Recording,
    rng: Rng,
    tally: Tally,
}

/// Crashes after every operation of `recording`. The first violation, in words.
pub fn every_crash(recording: &Recording, effort: Effort) -> Result<Tally, String> {
    kept::start();
    let setting = &recording.setting;
    if let Some(wrong) = recording.wrongs.first() {
        return Err(format!("{setting:?}\nwhile it ran: {wrong}"));
    }
    let mut checker = Checker { recording, rng: Rng::new(setting.seed ^ 0xc4a5), tally: Tally::default() };
    let mut disks = recording.start.clone();
    let mut ledger = recording.ledger.clone();
    for (number, event) in (0u64..).zip(&recording.history) {
        if event.is_device() {
            checker.tally.operations += 1;
            let checked = checker.crash_here(&disks, &ledger, effort);
            checked.map_err(|wrong| format!("{setting:?}\ncrash before event {number}: {wrong}"))?;
        }
        event.play(number, &mut disks);
        if let Event::Note(note) = event {
            ledger.take(note);
        }
    }
    let checked = checker.crash_here(&disks, &ledger, effort);
    checked.map_err(|wrong| format!("{setting:?}\ncrash at the end: {wrong}"))?;
    Ok(checker.tally)
}

impl Checker<'_> {
    fn crash_here(&mut self, disks: &[DiskState], ledger: &Ledger, effort: Effort) -> Result<(), String> {
        for _ in 0..effort.per_operation {
            let image = crash(disks, &mut self.rng);
            self.tally.power += 1;
            self.check(image, ledger, End::Power, effort.depth).map_err(|wrong| format!("power cut: {wrong}"))?;
        }
        if self.rng.once_in(3) {
            self.tally.kill += 1;
            let image = disks.to_vec();
            self.check(image, ledger, End::Kill, effort.depth).map_err(|wrong| format!("killed: {wrong}"))?;
        }
        Ok(())
    }

    /// Opens an image and holds it against the ledger; then crashes the recovery that opening was.
    fn check(&mut self, image: Vec<DiskState>, ledger: &Ledger, end: End, depth: u32) -> Result<(), String> {
        self.tally.images += 1;
        let base = 1 << (40 - depth); // attempts at recovery come one after another
        let keks = ledger.keks(&mut self.rng);
        self.inspect(&image, depth, &keks)?;
        self.tally.between_keks += u64::from(ledger.has_two_keks());
        self.tally.half_grown += u64::from(is_half_grown(&image));
        let world = World::new(image.clone(), base);
        let disks = disks_of(&world, self.recording.setting.detached);
        let opened = disks.open(&keks, EngineKind::AwsLc, false);
        let volume = match opened {
            Ok(volume) => Arc::new(volume),
            Err(error) => {
                let label = &keks[0].describe().label;
                return Err(format!("it cannot be opened with {label}: {}", in_full(&error)));
            }
        };
        let history = world.take_history();
        let (table, zones) = (volume.table(), volume.meta().superblock.zones);
        let header = disks.header.as_ref().unwrap_or(&disks.data);
        ledger.judge_keys(&table, &**header, zones.generations.end())?;
        self.tally.withdrawn += u64::from(table.entries.iter().any(|entry| entry.state == KeyState::Revoked));
        let volume = match revive(&volume)? {
            true => {
                drop(volume);
                let again = disks.open(&keks, EngineKind::AwsLc, false);
                Arc::new(again.map_err(|error| format!("it cannot be opened again: {}", in_full(&error)))?)
            }
            false => volume,
        };
        let mut client = Client::new(&volume, Box::new(SimEngine::new(0, false)));
        let found = client.content();
        ledger.judge(0, &found, end)?;
        ledger.judge_size(volume.size())?;
        ledger.judge_target(volume.rotation().target)?;
        let whole = table.entries.iter().all(|entry| entry.state != KeyState::Revoked);
        if self.rng.once_in(6) && end == End::Power && whole {
            self.look_without_writing(&image, &found, ledger, &keks)?;
        }
        if self.rng.once_in(8) {
            self.refuses(&image, ledger)?;
        }
        self.tally.rolled_forward += u64::from(volume.recovered().rolled_forward > 0);
        if depth > 0 && history.iter().any(|event| !matches!(event, Event::Flushed { .. })) {
            self.crash_recovery(image, base, &history, ledger, depth)?;
        }
        if self.recording.setting.shares > 0 && self.rng.once_in(2) {
            self.tally.held += u64::from(give_up_all(&volume, &**header)?);
        }
        if self.rng.once_in(12) {
            self.carry_on(&world, &volume, &mut client, &found, &keks)?;
        }
        match world.wrongs().first() {
            Some(wrong) => Err(wrong.clone()),
            None => Ok(()),
        }
    }

    /// A KEK whose wraps were removed opens nothing any more.
    fn refuses(&mut self, image: &[DiskState], ledger: &Ledger) -> Result<(), String> {
        let Some(gone) = ledger.gone() else { return Ok(()) };
        self.tally.refused_keks += 1;
        let world = World::new(image.to_vec(), 0);
        let opened = disks_of(&world, self.recording.setting.detached).open(&[gone], EngineKind::AwsLc, true);
        match opened {
            Err(VolumeError::WrongKey { .. }) => Ok(()),
            Err(error) => Err(format!("with a KEK that was removed: {}", in_full(&error))),
            Ok(_) => Err("a KEK that was removed still opens it".into()),
        }
    }

    /// `volume check` finds no fault with what a crash leaves, before anything has recovered it.
    fn inspect(&mut self, image: &[DiskState], depth: u32, keks: &[Kek]) -> Result<(), String> {
        if !self.rng.once_in(1 + u64::from(depth == 0)) {
            return Ok(());
        }
        self.tally.inspected += 1;
        let disks = disks_of(&World::new(image.to_vec(), 0), self.recording.setting.detached);
        let depth = Depth { keks: Some(keks), full: false, repair: false };
        let report = check_disks(disks.data, disks.header, depth, &mut |_, _| {});
        let report = report.map_err(|error| format!("it cannot be checked: {}", in_full(&error)))?;
        match report.findings.iter().find(|finding| finding.severity == Severity::Error) {
            Some(finding) => Err(format!("check finds {} at {}: {}", finding.name, finding.place, finding.what)),
            None => Ok(()),
        }
    }

    fn crash_recovery(
        &mut self,
        mut disks: Vec<DiskState>,
        base: u64,
        history: &[Event<super::ledger::Note>],
        ledger: &Ledger,
        depth: u32,
    ) -> Result<(), String> {
        for (number, event) in (0u64..).zip(history) {
            event.play(base + number, &mut disks);
            self.tally.during_recovery += 1;
            let image = crash(&disks, &mut self.rng);
            let deeper = if self.rng.once_in(4) { depth - 1 } else { 0 };
            self.check(image, ledger, End::Power, deeper)
                .map_err(|wrong| format!("then a power cut after event {number} of recovery: {wrong}"))?;
        }
        Ok(())
    }

    /// Opened read-only, the volume shows the same, less of it if a growth is unfinished, and nothing is written.
    fn look_without_writing(
        &self,
        image: &[DiskState],
        found: &[u8],
        ledger: &Ledger,
        keks: &[Kek],
    ) -> Result<(), String> {
        let world = World::new(image.to_vec(), 0);
        let opened = disks_of(&world, self.recording.setting.detached).open(keks, EngineKind::Portable, true);
        let volume = opened.map_err(|error| format!("it cannot be opened read-only: {}", in_full(&error)))?;
        ledger.judge_size(volume.size()).map_err(|wrong| format!("read-only, {wrong}"))?;
        let mut client = Client::new(&Arc::new(volume), Box::new(SimEngine::new(0, false)));
        if !found.starts_with(&client.content()) {
            return Err("read-only it shows something else".into());
        }
        match world.take_history().is_empty() {
            true => Ok(()),
            false => Err("it was opened read-only and written to".into()),
        }
    }

    /// The rotation goes on to its end, and the content stays.
    fn carry_on(
        &mut self,
        world: &Arc<World<super::ledger::Note>>,
        volume: &Arc<Volume>,
        client: &mut Client,
        found: &[u8],
        keks: &[Kek],
    ) -> Result<(), String> {
        self.tally.carried_on += 1;
        let target = volume.rotation().target;
        let mut pipeline = pipeline(volume, self.rng.next());
        let extents: Vec<Extent> = (0..volume.shape().extents()).map(Extent).collect();
        for batch in extents.chunks(3) {
            pipeline.step(batch, target, 1_000_000).map_err(|error| format!("it cannot go on: {}", in_full(&error)))?;
        }
        pipeline.drain(target).map_err(|error| format!("it cannot end: {}", in_full(&error)))?;
        kept::run_all();
        if client.content() != found {
            return Err("the content changed when the rotation went on".into());
        }
        if volume.census().keys().any(|tag| *tag != target) {
            return Err(format!("extents are left behind: {:?}", volume.census()));
        }
        let image = crash(&world.states(), &mut self.rng);
        let world = World::new(image, 0);
        let disks = disks_of(&world, self.recording.setting.detached);
        let again = disks.open(keks, EngineKind::AwsLc, true);
        let volume = Arc::new(again.map_err(|error| format!("it cannot be opened afterwards: {}", in_full(&error)))?);
        let mut client = Client::new(&volume, Box::new(SimEngine::new(0, false)));
        match client.content() == found {
            true => Ok(()),
            false => Err("the content changed after the rotation went on and the power was cut".into()),
        }
    }
}

fn is_half_grown(image: &[DiskState]) -> bool {
    let header = &image[image.len() - 1];
    let copies = [SUPERBLOCK_A, SUPERBLOCK_B].map(|place| header.durable_bytes(place, BLOCK as usize));
    let found = copies.iter().filter_map(|bytes| peek(SUPERBLOCK, bytes).ok());
    let newest = found.max_by_key(|copy| copy.sequence).and_then(|copy| Superblock::decode(&copy).ok());
    newest.is_some_and(|superblock| superblock.unfinished.is_some())
}

fn crash(disks: &[DiskState], rng: &mut Rng) -> Vec<DiskState> {
    disks.iter().map(|disk| disk.crash(rng)).collect()
}
