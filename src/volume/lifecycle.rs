//! Changes of the generation table: prepare, activate, roll back, finalize, and the record of a rotation.
//!
//! Durable steps of a forward rotation: (1) to (3) a key is made, or taken from another replica, and *prepared*
//! ([`super::prepare`]); (4) superblock with the next epoch; (5) epoch stamp on the data; (6) table that makes it the target:
//! **the commit point**. Only after (6) may anything be written under it. Between (3) and (4) as much time may pass as others
//! take that have the same key to prepare. Rolling back is one table write, whatever the size.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::error::VolumeError;
use super::life::{By, Step, enter, entry_of};
use super::prepare::NewKey;
use super::{Volume, VolumeError as Error};
use crate::crypto::Suite;
use crate::format::generations::{Entry, GenerationTable, KeyState, Order, Pace, Phase, Rotation, VerifyMode};
use crate::format::stamp;
use crate::keys::Kek;
use crate::units::Generation;

/// Bytes a generation's counter is reserved ahead by.
pub const RESERVE: u64 = 8 << 30;

/// What a forward rotation shall be like.
#[derive(Clone, Debug)]
pub struct RotationSpec {
    /// Suite of the new generation.
    pub suite: Suite,
    /// Which extents go first.
    pub order: Order,
    /// How fast it may go.
    pub pace: Pace,
    /// How much is read back.
    pub verify: VerifyMode,
    /// The operator, not verification, finalizes it.
    pub hold_finalize: bool,
    /// It begins paused: nothing is re-encrypted before somebody lets it go on.
    pub paused: bool,
    /// Who, when and why.
    pub by: By,
}

impl Volume {
    /// The generation table as it stands.
    pub fn table(&self) -> GenerationTable {
        let mut table = self.meta().table.clone();
        for entry in &mut table.entries {
            if let Some(key) = self.keyring.get(entry.generation) {
                entry.bytes_reserved = key.bytes.load(Ordering::Relaxed);
            }
        }
        table
    }

    /// The rotation on record.
    pub fn rotation(&self) -> Rotation {
        self.meta().table.rotation.clone()
    }

    /// Generations that durable tags or live intents still name, with the number of extents.
    pub fn references(&self) -> BTreeMap<Generation, u64> {
        let mut references = BTreeMap::new();
        for tag in self.tags.committed_range(0, self.tags.len()) {
            *references.entry(tag).or_insert(0) += 1;
        }
        for (_, old, new) in self.meta().log.live_references() {
            references.entry(old).or_insert(0);
            references.entry(new).or_insert(0);
        }
        references
    }

    pub(super) fn writable(&self) -> Result<(), VolumeError> {
        if self.read_only {
            return Err(Error::Refused("the volume is open read-only".into()));
        }
        match self.poisoned() {
            Some(reason) => Err(Error::Poisoned(reason.to_string())),
            None => Ok(()),
        }
    }

    /// Commits a changed table; a failure to do so poisons the volume.
    pub(super) fn commit_table(self: &Arc<Self>, change: impl FnOnce(&mut GenerationTable)) -> Result<(), VolumeError> {
        self.try_commit_table(|table| {
            change(table);
            Ok(())
        })
    }

    /// Commits a changed table unless `change` refuses; a failure to commit poisons the volume.
    pub(super) fn try_commit_table(
        self: &Arc<Self>,
        change: impl FnOnce(&mut GenerationTable) -> Result<(), VolumeError>,
    ) -> Result<(), VolumeError> {
        self.writable()?;
        let mut meta = self.meta();
        let mut table = meta.table.clone();
        change(&mut table)?;
        for entry in &mut table.entries {
            if let Some(key) = self.keyring.get(entry.generation) {
                let used = key.bytes.load(Ordering::Relaxed);
                if used > entry.bytes_reserved {
                    entry.bytes_reserved = used.saturating_add(RESERVE);
                }
            }
        }
        let committed = meta.commit_table(table);
        if committed.is_ok() {
            for entry in &meta.table.entries {
                if let Some(key) = self.keyring.get(entry.generation) {
                    key.reserve(entry.bytes_reserved);
                }
            }
        }
        drop(meta);
        if let Err(error @ Error::Io { .. }) = &committed {
            self.poison(&format!("the generation table could not be made durable: {error}"));
        }
        committed
    }

    /// Moves header and data to the next epoch: superblock first, then the stamp.
    fn next_epoch(self: &Arc<Self>) -> Result<(), VolumeError> {
        let moved = self.move_epoch();
        if let Err(error) = &moved {
            self.poison(&format!("the epoch could not be made durable: {error}"));
        }
        moved
    }

    fn move_epoch(&self) -> Result<(), VolumeError> {
        let mut meta = self.meta();
        meta.commit_superblock(|superblock| superblock.epoch += 1)?;
        let zone = meta.superblock.zones.stamp;
        if zone.length > 0 {
            let block = stamp::seal(&meta.seal, meta.superblock.epoch);
            let place = stamp::place(&zone, meta.superblock.epoch);
            self.data.write_at(place, &block).map_err(Error::io("write the epoch stamp"))?;
            self.flushes.run(&*self.data).map_err(Error::io("flush the epoch stamp"))?;
        }
        Ok(())
    }

    /// Starts a rotation to a new generation, which becomes the target of every extent. Older ones drain.
    pub fn start_rotation(self: &Arc<Self>, keks: &[Kek], spec: &RotationSpec) -> Result<Generation, VolumeError> {
        self.start_rotation_to(self.make_key(keks, spec)?, spec)
    }

    /// Starts a rotation to the generation of a key that [`Volume::make_key`] made just now.
    pub fn start_rotation_to(self: &Arc<Self>, new: NewKey, spec: &RotationSpec) -> Result<Generation, VolumeError> {
        self.writable()?;
        self.may_rewrite()?;
        let generation = self.prepare(new)?;
        self.activate(generation, spec)?;
        Ok(generation)
    }

    /// Starts a rotation to a generation that is *prepared*. False: it is the target already.
    ///
    /// # Errors
    /// There is no such generation, or it is not prepared, or not of the suite that `spec` names; or a device failed.
    pub fn activate_prepared(
        self: &Arc<Self>,
        generation: Generation,
        spec: &RotationSpec,
    ) -> Result<bool, VolumeError> {
        self.writable()?;
        self.may_rewrite()?;
        if self.rotation().target == generation {
            return Ok(false);
        }
        let entry = entry_of(&self.meta().table, generation)?.clone();
        let refused = |why: String| Err(Error::Refused(format!("generation {generation} cannot be activated: {why}")));
        if entry.state != KeyState::Prepared {
            return refused(format!("it is {}, not prepared", entry.state.name()));
        }
        if entry.suite != spec.suite.id() {
            return refused(format!("its suite is {}, not that of {}", entry.suite, spec.suite));
        }
        self.keyring.loaded(generation)?;
        self.activate(generation, spec)?;
        Ok(true)
    }

    /// Steps 4 to 6.
    fn activate(self: &Arc<Self>, generation: Generation, spec: &RotationSpec) -> Result<(), VolumeError> {
        self.next_epoch()?;
        self.try_commit_table(|table| {
            let previous = table.rotation.target;
            retarget(table, generation, &spec.by)?;
            table.rotation = Rotation {
                id: table.rotation.id + 1,
                phase: if spec.paused { Phase::Paused } else { Phase::Running },
                target: generation,
                rollback_to: Some(previous),
                is_rollback: false,
                hold_finalize: spec.hold_finalize,
                order: spec.order.clone(),
                pace: spec.pace,
                verify: spec.verify,
                started: spec.by.now,
                drained: 0,
                verified: 0,
                reason: spec.by.reason.clone(),
            };
            Ok(())
        })
    }

    /// Makes the previous target the target again: one commit. Batches in flight finish by themselves.
    pub fn roll_back(self: &Arc<Self>, by: &By) -> Result<Generation, VolumeError> {
        let rotation = self.rotation();
        let Some(back) = rotation.rollback_to else {
            let why = match rotation.phase {
                Phase::Finalized => "the rotation is finalized; the way back is a new rotation",
                Phase::Idle => "no rotation was started",
                _ => "this rotation is already a rollback",
            };
            return Err(Error::Refused(format!("cannot roll back: {why}")));
        };
        if self.table().entry(back).is_some_and(|entry| entry.compromised) {
            let why = format!("generation {back} is marked compromised: go forward with a new rotation instead");
            return Err(Error::Refused(why));
        }
        self.try_commit_table(|table| {
            retarget(table, back, by)?;
            let rotation = &mut table.rotation;
            rotation.id += 1;
            rotation.phase = Phase::Running;
            rotation.target = back;
            rotation.rollback_to = None;
            rotation.is_rollback = true;
            rotation.started = by.now;
            rotation.drained = 0;
            rotation.verified = 0;
            rotation.reason.clone_from(&by.reason);
            Ok(())
        })?;
        Ok(back)
    }

    /// Changes the record of the rotation: phase, pace, order, counters.
    pub fn update_rotation(self: &Arc<Self>, change: impl FnOnce(&mut Rotation)) -> Result<(), VolumeError> {
        self.commit_table(|table| change(&mut table.rotation))
    }

    /// Ends the way back: every generation without a durable reference becomes *empty*, but for one that is prepared to come
    /// after the target.
    pub fn finalize(self: &Arc<Self>, by: &By) -> Result<Vec<Generation>, VolumeError> {
        let rotation = self.rotation();
        if !matches!(rotation.phase, Phase::Drained) {
            return Err(Error::Refused(format!("cannot finalize: the rotation is {}", phase_name(rotation.phase))));
        }
        // The scan is of durable tags, behind a checkpoint, with no intent live: the proof that nothing refers to them.
        let references = self.references();
        if let Some((generation, extents)) = references.iter().find(|(generation, _)| **generation != rotation.target) {
            let state = self.table().entry(*generation).map_or("unknown", |entry| entry.state.name());
            return Err(Error::Refused(format!(
                "cannot finalize: {extents} extents or live intents still refer to generation {generation}, which is {state}"
            )));
        }
        self.next_epoch()?;
        let mut emptied = Vec::new();
        self.try_commit_table(|table| {
            for entry in &mut table.entries {
                let unused = !references.contains_key(&entry.generation) && entry.generation != Generation::METADATA;
                let is_behind = match entry.state {
                    KeyState::Draining => true,
                    KeyState::Prepared => entry.generation < rotation.target,
                    _ => false,
                };
                if unused && is_behind {
                    enter(entry, Step::Empty, by)?;
                    emptied.push(entry.generation);
                }
            }
            table.rotation.phase = Phase::Finalized;
            table.rotation.rollback_to = None;
            Ok(())
        })?;
        Ok(emptied)
    }

    /// Puts the exact byte counts on record, before the volume is closed in order.
    pub fn settle_counters(self: &Arc<Self>) -> Result<(), VolumeError> {
        let exact = |entry: &Entry| self.keyring.get(entry.generation).map(|key| key.bytes.load(Ordering::Relaxed));
        let settled = |entry: &Entry| exact(entry).is_none_or(|bytes| bytes == entry.bytes_reserved);
        if self.read_only || self.poisoned().is_some() || self.meta().table.entries.iter().all(settled) {
            return Ok(());
        }
        self.commit_table(|table| {
            for entry in &mut table.entries {
                entry.bytes_reserved = exact(entry).unwrap_or(entry.bytes_reserved);
            }
        })
    }

    /// Persists the byte counters when one has passed its reservation. At most one thread does it.
    pub(super) fn reserve_counters(self: &Arc<Self>) {
        let volume = Arc::clone(self);
        super::background::run("km-reserve", move || {
            if let Err(error) = volume.commit_table(|_| {}) {
                tracing::warn!(%error, "byte counters could not be persisted");
            }
        });
    }
}

/// Makes `target` the active generation; the one that was active drains.
fn retarget(table: &mut GenerationTable, target: Generation, by: &By) -> Result<(), VolumeError> {
    for entry in table.entries.iter_mut().filter(|entry| entry.generation != Generation::METADATA) {
        if entry.generation == target {
            enter(entry, Step::Activate, by)?;
            entry.activated = by.now;
        } else if entry.state == KeyState::Active {
            enter(entry, Step::Drain, by)?;
        }
    }
    Ok(())
}

/// A phase's name in messages and the API.
pub fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Idle => "idle",
        Phase::Running => "running",
        Phase::Paused => "paused",
        Phase::Drained => "drained",
        Phase::Finalized => "finalized",
        Phase::Failed => "failed",
    }
}
