//! Changes of the generation table: prepare, activate, roll back, finalize, and the record of a rotation.
//!
//! Durable steps of a forward rotation: (1) key wrapped for every KEK and each wrap proven by unwrapping it; (2) canary
//! written, read back past the cache and decrypted by both engines; (3) table with the generation *prepared*; (4)
//! superblock with the next epoch; (5) epoch stamp on the data; (6) table that makes it the target: **the commit
//! point**. Only after (6) may anything be written under it. Rolling back is one table write, whatever the size.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::create::new_entry;
use super::error::VolumeError;
use super::keyring::GenerationKey;
use super::life::{By, Step, enter};
use super::open::{MetadataKeys, read_or_empty};
use super::{Volume, VolumeError as Error};
use crate::crypto::{Secret, Suite, kdf, new_key};
use crate::format::canary::{self, Canary};
use crate::format::generations::{Entry, GenerationTable, KeyState, Order, Pace, Phase, Rotation, VerifyMode};
use crate::format::lives::Life;
use crate::format::stamp;
use crate::keys::{Kek, WrapPurpose};
use crate::units::{Generation, VolumeId};

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
    /// Who, when and why.
    pub by: By,
}

/// A key that is wrapped, and of no generation yet.
pub struct NewKey {
    entry: Entry,
    key: GenerationKey,
    /// The KEK of its first wrap, as the operator named it.
    first_kek: String,
}

/// Wraps `key` for every KEK and proves each wrap by opening it again.
pub(super) fn wrap_for_all(
    keks: &[Kek],
    volume: VolumeId,
    mut entry: Entry,
    key: &Secret,
) -> Result<Entry, VolumeError> {
    if key.is_empty() {
        return Ok(entry); // suite none has no key
    }
    if keks.is_empty() {
        return Err(Error::Refused("there is no KEK to wrap a new key with; nothing was changed".into()));
    }
    let purpose = WrapPurpose { volume, generation: entry.generation, key_id: entry.key_id, suite: entry.suite };
    for kek in keks {
        let wrapped = kek.wrap(&purpose, key)?;
        if !kek.unwrap(&purpose, &wrapped)?.ct_eq(key) {
            let label = &kek.describe().label;
            return Err(Error::Refused(format!("KEK {label} does not give back what it wrapped; it is not used")));
        }
        entry.wraps.push(wrapped);
    }
    Ok(entry)
}

/// The canary's plaintext: known to whoever holds the metadata key.
fn canary_text(secret: &Secret, entry: &Entry) -> Secret {
    let mut info = b"keymoult v1 canary text".to_vec();
    info.extend_from_slice(&entry.generation.0.to_le_bytes());
    kdf::derive(secret, &entry.key_id, &info, canary::LEN)
}

/// The canary of a generation: both engines must make the same of it.
pub(super) fn canary_for(keys: &MetadataKeys, entry: &Entry, key: &GenerationKey) -> Result<Canary, VolumeError> {
    make_canary(&keys.canary, entry, key)
}

fn make_canary(secret: &Secret, entry: &Entry, key: &GenerationKey) -> Result<Canary, VolumeError> {
    let text = canary_text(secret, entry);
    let mut ciphertext = text.expose().to_vec();
    let mut twin = ciphertext.clone();
    key.cipher.encrypt(canary::OFFSET, &mut ciphertext);
    key.other.encrypt(canary::OFFSET, &mut twin);
    if ciphertext != twin {
        return Err(Error::Canary { generation: entry.generation });
    }
    Ok(Canary { generation: entry.generation, ciphertext })
}

/// Whether both engines decrypt the canary in `block` to what it must be.
pub(super) fn check_canary(
    keys: &MetadataKeys,
    entry: &Entry,
    key: &GenerationKey,
    block: &[u8],
) -> Result<(), VolumeError> {
    let place = format!("the canary of generation {}", entry.generation);
    let slot = u32::from(entry.canary_slot);
    let canary = Canary::open(&keys.seal, slot, block).map_err(Error::damaged(place))?;
    same_canary(&keys.canary, entry, key, &canary)
}

pub(super) fn same_canary(
    secret: &Secret,
    entry: &Entry,
    key: &GenerationKey,
    canary: &Canary,
) -> Result<(), VolumeError> {
    let text = canary_text(secret, entry);
    for cipher in [&key.cipher, &key.other] {
        let mut plain = canary.ciphertext.clone();
        cipher.decrypt(canary::OFFSET, &mut plain);
        if plain != text.expose() || canary.generation != entry.generation {
            return Err(Error::Canary { generation: entry.generation });
        }
    }
    Ok(())
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

    /// Makes a key and wraps it for every KEK of `keks`. Keepers are asked here, and here alone: this may take long, and
    /// changes nothing.
    pub fn make_key(&self, keks: &[Kek], spec: &RotationSpec) -> Result<NewKey, VolumeError> {
        self.writable()?;
        self.may_rewrite()?;
        let (generation, slot) = {
            let meta = self.meta();
            (meta.table.next_generation(), meta.table.free_slot().ok_or(Error::TableFull)?)
        };
        let dek = new_key(spec.suite)?;
        let mut entry = new_entry(generation, spec.suite, self.shape().data_unit, slot, spec.by.now)?;
        entry.reason.clone_from(&spec.by.reason);
        entry.life = Life { changed: spec.by.now, actor: spec.by.actor.clone(), ..Life::default() };
        let entry = wrap_for_all(keks, self.id, entry, &dek)?;
        let key = GenerationKey::new(self.engine, &entry, spec.suite, &dek)?;
        let first_kek = keks.first().map(|kek| kek.describe().label.clone()).unwrap_or_default();
        Ok(NewKey { entry, key, first_kek })
    }

    /// Proves the canary of a new key, and enters it as the *prepared* generation that it was made for.
    fn prepare(self: &Arc<Self>, new: NewKey) -> Result<Generation, VolumeError> {
        let NewKey { entry, key, first_kek } = new;
        let generation = entry.generation;
        let is_next = {
            let table = &self.meta().table;
            table.next_generation() == generation && table.free_slot() == Some(entry.canary_slot)
        };
        if !is_next {
            return Err(Error::Refused("another generation was made meanwhile; nothing was changed".into()));
        }
        self.prove_canary(&entry, &key)?;
        self.opened_by_first(&entry, first_kek);
        // Loaded first: whoever finds the generation in the table finds its key.
        self.keyring.insert(key);
        let committed = self.commit_table(|table| table.entries.push(entry));
        if committed.is_err() {
            self.keyring.remove(generation);
        }
        committed.map(|()| generation)
    }

    /// Writes the canary, reads it back from the device and lets both engines decrypt it.
    fn prove_canary(self: &Arc<Self>, entry: &Entry, key: &GenerationKey) -> Result<(), VolumeError> {
        let canary = make_canary(&self.canary_key, entry, key)?;
        let slot = u32::from(entry.canary_slot);
        let meta = self.meta();
        let place = meta.superblock.zones.canaries.offset + u64::from(slot) * canary::SLOT;
        let block = canary.seal(&meta.seal, slot);
        self.header.write_at(place, &block).map_err(Error::io("write the canary"))?;
        if let Err(error) = meta.flush() {
            // It may be the data's flush too, and a device reports a loss once: whose data it was nobody knows.
            drop(meta);
            self.poison(&format!("the canary's flush failed: {error}"));
            return Err(error);
        }
        self.header.drop_cache().map_err(Error::io("drop the cache"))?;
        let read = read_or_empty(&*self.header, place, canary::SLOT);
        let found = Canary::open(&meta.seal, slot, &read).map_err(Error::damaged("the canary just written"))?;
        same_canary(&self.canary_key, entry, key, &found)
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
        self.next_epoch()?;
        self.try_commit_table(|table| {
            let previous = table.rotation.target;
            retarget(table, generation, &spec.by)?;
            table.rotation = Rotation {
                id: table.rotation.id + 1,
                phase: Phase::Running,
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
        })?;
        Ok(generation)
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

    /// Ends the way back: every generation without a durable reference becomes *empty*.
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
                if unused && matches!(entry.state, KeyState::Draining | KeyState::Prepared) {
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
