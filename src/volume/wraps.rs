//! Who may open a volume: wraps are added, proven, and only then are others removed, while clients and rotation go on. The
//! keys themselves stay, and so do the data.
//!
//! Durable steps: (1) the table with the new wraps beside all others, both copies; (2) **the proof**: both copies are read
//! back past the cache, what they hold is opened by the new KEK and compared, and decrypts the canary; (3) the table
//! without the old wraps, both copies: **the commit point** is the first. A crash before (3) leaves a volume that the old KEK
//! opens, from (1) on the new one too; after (3) the new one opens it. Starting over finishes what a crash cut off. (4)
//! The zone is read back, and must not hold a removed wrap any more.
//!
//! Invariants: no key is ever without a wrap that was proven from the device; whatever fails before (3) leaves the old wraps
//! as they were, and takes a new one that is not proven out again. One change at a time, and no key is destroyed or abandoned
//! meanwhile; whoever makes generations meanwhile would wrap them for the old KEKs, so the controller keeps the two apart.

mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::VolumeError;
use super::keyring::GenerationKey;
use super::open::{MetadataKeys, Opened, Opening, purpose, unwrap, used};
use super::{Volume, rules};
use crate::crypto::{Secret, Suite};
use crate::format::envelope::{GENERATIONS, peek};
use crate::format::generations::{Entry, GenerationTable, KeyState};
use crate::format::wrapped::Wrapped;
use crate::keys::Kek;
use crate::limits::WRAPS_MAX;
use crate::units::Generation;
pub use types::{Addition, KeyWraps, Removal, Step, WrapChange, WrapId, WrapsChanged};

/// What an open volume remembers of its wraps.
pub(super) struct Wraps {
    openings: Mutex<BTreeMap<Generation, Opening>>,
    /// Held by a change.
    changing: Mutex<()>,
}

impl Wraps {
    /// Opened like this.
    pub fn new(openings: BTreeMap<Generation, Opening>) -> Wraps {
        Wraps { openings: Mutex::new(openings), changing: Mutex::new(()) }
    }

    /// Keeps changes away; none while one is under way.
    pub fn still(&self) -> Result<MutexGuard<'_, ()>, VolumeError> {
        let busy = || VolumeError::Refused("the wraps of the volume are being changed: wait until that is done".into());
        self.changing.try_lock().map_err(|_| busy())
    }

    /// Whether a change is under way, which holds all keys.
    pub fn are_changing(&self) -> bool {
        self.changing.try_lock().is_err()
    }

    fn openings(&self) -> MutexGuard<'_, BTreeMap<Generation, Opening>> {
        self.openings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A key while its wraps change.
struct Held {
    entry: Entry,
    key: Secret,
    by: Opening,
    /// Its wrap by the new KEK: to be added, or there already.
    new: Option<WrapId>,
    fresh: Option<Wrapped>,
    going: BTreeSet<WrapId>,
}

impl Held {
    fn stays(&self, wrap: &Wrapped) -> bool {
        !self.going.contains(&WrapId::of(wrap))
    }
}

fn refused<T>(why: String) -> Result<T, VolumeError> {
    Err(VolumeError::Refused(why))
}

/// `the metadata key`, or `the DEK of generation N`.
fn key_name(generation: Generation) -> String {
    match generation {
        Generation::METADATA => "the metadata key".into(),
        generation => format!("the DEK of generation {generation}"),
    }
}

impl Volume {
    /// Which wrap opened each key that is loaded.
    pub fn openings(&self) -> BTreeMap<Generation, Opening> {
        self.wraps.openings().clone()
    }

    /// Enters who opens a key made just now: its wraps are proven, the first counts.
    pub(super) fn opened_by_first(&self, entry: &Entry, kek: String) {
        let Some(wrap) = entry.wraps.first() else { return };
        self.wraps.openings().insert(entry.generation, opening(&WrapId::of(wrap), kek));
    }

    /// Takes the key of a generation that is not in the table out of memory.
    pub(super) fn forget_key(&self, generation: Generation) {
        self.keyring.remove(generation);
        self.wraps.openings().remove(&generation);
    }

    /// Changes the wraps; `keks` are those the volume is open with. `told` learns of every step.
    ///
    /// # Errors
    /// It is refused, a keeper failed, or a device did. Before [`Step::Proven`] every old wrap is as it was.
    pub fn change_wraps(
        self: &Arc<Self>,
        keks: &[Kek],
        change: &WrapChange<'_>,
        told: &mut dyn FnMut(Step),
    ) -> Result<WrapsChanged, VolumeError> {
        self.writable()?;
        let _changing = self.wraps.still()?;
        let mut held = self.open_all(keks, change.generation)?;
        self.choose(&mut held, keks, &change.remove, change.add.map(|addition| addition.kek))?;
        if let Some(addition) = change.add {
            self.wrap_all(&mut held, addition.kek)?;
        }
        told(Step::Wrapped);
        if !rules::adds_before_removing() {
            self.remove(&held)?;
        }
        if held.iter().any(|held| held.fresh.is_some()) {
            self.add(&held, change.add.is_some_and(|addition| addition.first))?;
        }
        told(Step::Added);
        if rules::proves_wraps() {
            let by = change.add.map(|addition| std::slice::from_ref(addition.kek));
            let proven = self.prove(&held, by.unwrap_or(keks));
            let proofs = proven.map_err(|(generation, error)| self.take_out(&held, generation, error))?;
            self.enter(&held, change, proofs);
        }
        told(Step::Proven);
        if held.iter().any(|held| !held.going.is_empty()) {
            self.remove(&held)?;
        }
        told(Step::Removed);
        let swept = self.sweep(&held)?;
        let (keks, retired) = self.keks_after(keks, change.add);
        Ok(WrapsChanged { keys: self.outcome(&held), keks, retired, swept })
    }

    /// Opens every key there is; nothing is changed if one cannot be opened.
    fn open_all(&self, keks: &[Kek], only: Option<Generation>) -> Result<Vec<Held>, VolumeError> {
        let table = self.meta().table.clone();
        if let Some(generation) = only.filter(|only| table.entry(*only).is_none()) {
            return refused(format!("the volume has no generation {generation}"));
        }
        let wanted = |entry: &Entry| only.is_none_or(|only| only == entry.generation);
        let has_key = |entry: &Entry| !entry.wraps.is_empty() && entry.state != KeyState::Destroyed;
        let mut held = Vec::new();
        for entry in table.entries.into_iter().filter(|entry| wanted(entry) && has_key(entry)) {
            let Opened { key, by } = unwrap(self.id, &entry, keks)?;
            held.push(Held { entry, key, by, new: None, fresh: None, going: BTreeSet::new() });
        }
        match held.is_empty() {
            true => refused("there is no wrapped key to change: suite none has none, a destroyed key no more".into()),
            false => Ok(held),
        }
    }

    /// Chooses the wraps that go.
    fn choose(&self, held: &mut [Held], keks: &[Kek], removal: &Removal, add: Option<&Kek>) -> Result<(), VolumeError> {
        let ids: BTreeSet<WrapId> = match removal {
            Removal::Nothing => return Ok(()),
            Removal::InUse => {
                self.none_before(held, add)?;
                let used = |held: &Held| held.entry.wraps.iter().find(|wrap| held.by.is_by(wrap)).map(WrapId::of);
                held.iter().filter_map(used).collect()
            }
            Removal::By(name) => {
                let named: Vec<&Kek> = keks.iter().filter(|kek| kek.describe().label == *name).collect();
                let is_meant = |entry: &Entry, wrap: &Wrapped| {
                    wrap.kek_id == *name || named.iter().any(|kek| self.opens(kek, entry, wrap))
                };
                let meant = |held: &Held| {
                    let wraps = held.entry.wraps.iter().filter(|wrap| is_meant(&held.entry, wrap));
                    wraps.map(WrapId::of).collect::<Vec<_>>()
                };
                held.iter().flat_map(meant).collect()
            }
        };
        for held in held.iter_mut() {
            held.going = held.entry.wraps.iter().map(WrapId::of).filter(|id| ids.contains(id)).collect();
        }
        let left_bare = |held: &&Held| held.entry.wraps.iter().all(|wrap| !held.stays(wrap));
        if let Some(bare) = held.iter().find(left_bare).filter(|_| add.is_none()) {
            let key = key_name(bare.entry.generation);
            return refused(format!(
                "{key} would have no wrap left, and the volume would be lost: add another KEK first"
            ));
        }
        match (held.iter().all(|held| held.going.is_empty()), removal) {
            (true, Removal::By(name)) => {
                let wraps = held.iter().flat_map(|held| &held.entry.wraps);
                let known: BTreeSet<&str> = wraps.map(|wrap| wrap.kek_id.as_str()).collect();
                let known: Vec<&str> = known.into_iter().collect();
                refused(format!("no wrap is by the KEK {name}; there are wraps by {}", known.join(", ")))
            }
            _ => Ok(()),
        }
    }

    /// Where a fallback opens a key it is not clear which wrap shall make way; a wrap by the new KEK itself was left by a change
    /// that was cut off.
    fn none_before(&self, held: &[Held], add: Option<&Kek>) -> Result<(), VolumeError> {
        for held in held {
            let before = &held.entry.wraps[..held.by.wraps_before];
            let is_new = |wrap: &Wrapped| add.is_some_and(|kek| self.opens(kek, &held.entry, wrap));
            if let Some(first) = before.iter().find(|wrap| !is_new(wrap)) {
                let (key, used, first) = (key_name(held.entry.generation), &held.by.kek_id, &first.kek_id);
                return refused(format!(
                    "{key} is opened by the KEK {used}, but its first wrap is by {first}: say whose wraps go (--from), or keep both"
                ));
            }
        }
        Ok(())
    }

    /// Whether `kek` opens `wrap`: one key says so by its id, a passphrase must be tried.
    fn opens(&self, kek: &Kek, entry: &Entry, wrap: &Wrapped) -> bool {
        kek.could_open(wrap) && (kek.describe().kek_id.is_some() || kek.unwrap(&purpose(self.id, entry), wrap).is_ok())
    }

    /// Wraps every key by `kek`, but for those it wraps already.
    fn wrap_all(&self, held: &mut [Held], kek: &Kek) -> Result<(), VolumeError> {
        for held in held.iter_mut() {
            let entry = &held.entry;
            // A passphrase wraps anew, with a new salt, unless it is known to open the volume.
            let known = entry.wraps.iter().find(|wrap| self.opens(kek, entry, wrap));
            let fresh = kek.wrap(&purpose(self.id, entry), &held.key)?;
            let same = known.map(WrapId::of).filter(|known| *known == WrapId::of(&fresh));
            held.new = Some(WrapId::of(&fresh));
            held.going.remove(&WrapId::of(&fresh));
            if same.is_some() {
                continue;
            }
            if entry.wraps.len() == WRAPS_MAX {
                let key = key_name(entry.generation);
                return refused(format!("{key} has {WRAPS_MAX} wraps, and more have no room: remove one first"));
            }
            held.fresh = Some(fresh);
        }
        Ok(())
    }

    /// Step 1.
    fn add(self: &Arc<Self>, held: &[Held], first: bool) -> Result<(), VolumeError> {
        self.commit_table(|table| {
            for held in held {
                let Some(fresh) = &held.fresh else { continue };
                let Some(entry) = table.entry_mut(held.entry.generation) else { continue };
                if entry.wraps.is_empty() {
                    continue; // destroyed meanwhile: it stays so
                }
                let place = if first { 0 } else { entry.wraps.len() };
                entry.wraps.insert(place, fresh.clone());
            }
        })
    }

    /// Step 2: what stays must be on the device, in both copies, and be opened by one of `keks`; what was added, by the KEK it
    /// was added for. Gives which wrap opened each key, or the generation that is not proven and why.
    fn prove(&self, held: &[Held], keks: &[Kek]) -> Result<Vec<Opening>, (Generation, VolumeError)> {
        let [first, second] = self.tables_on_device().map_err(|error| (Generation::METADATA, error))?;
        let mut openings = Vec::new();
        for held in held {
            let generation = held.entry.generation;
            let one = |table: &Read| self.prove_one(held, table, keks).map_err(|error| (generation, error));
            let (by, wraps) = one(&first)?;
            // The other copy holds the same bytes, so its wraps need not be opened, too.
            let same =
                second.table.entry(generation).is_some_and(|entry| wraps.iter().all(|it| entry.wraps.contains(it)));
            if !same {
                return Err((generation, VolumeError::Refused("the two copies of the table differ".into())));
            }
            openings.push(by);
        }
        Ok(openings)
    }

    fn prove_one(&self, held: &Held, read: &Read, keks: &[Kek]) -> Result<(Opening, Vec<Wrapped>), VolumeError> {
        let missing = || VolumeError::Refused("the wrap is not in the table that was read back".into());
        let mut entry = read.table.entry(held.entry.generation).ok_or_else(missing)?.clone();
        let is_meant = |wrap: &Wrapped| held.new.as_ref().map_or(held.stays(wrap), |new| WrapId::of(wrap) == *new);
        entry.wraps.retain(is_meant);
        if entry.wraps.is_empty() {
            return Err(missing());
        }
        let Opened { key, by } = unwrap(self.id, &entry, keks)?;
        if !key.ct_eq(&held.key) {
            return Err(VolumeError::Refused("it opens to another key".into()));
        }
        if entry.generation == Generation::METADATA {
            let found = peek(GENERATIONS, &read.bytes).map_err(VolumeError::damaged("the generation table"))?;
            let seal = MetadataKeys::derive(self.id, &key).seal;
            seal.verify(&found, 0).map_err(VolumeError::damaged("the generation table under the key just opened"))?;
        } else {
            self.opens_canary(&entry, &key)?;
        }
        Ok((by, entry.wraps))
    }

    /// Whether `key` decrypts the generation's canary, with both engines.
    fn opens_canary(&self, entry: &Entry, key: &Secret) -> Result<(), VolumeError> {
        let Some(suite) = Suite::from_id(entry.suite) else { return Ok(()) };
        self.canary_opens(entry, &GenerationKey::new(self.engine, entry, suite, key)?)
    }

    /// Both copies of the table as the device has them, verified. Nobody writes one meanwhile.
    fn tables_on_device(&self) -> Result<[Read; 2], VolumeError> {
        let meta = self.meta();
        let [a, b] = meta.read_tables()?;
        let seal = Arc::clone(&meta.seal);
        drop(meta);
        let read = |bytes: Vec<u8>| {
            let damaged = || VolumeError::damaged("the generation table just written");
            let found = peek(GENERATIONS, &bytes).map_err(damaged())?;
            seal.verify(&found, 0).map_err(damaged())?;
            let table = GenerationTable::decode(&found).map_err(damaged())?;
            Ok::<_, VolumeError>(Read { table, bytes })
        };
        Ok([read(a)?, read(b)?])
    }

    /// What is not proven is taken out again.
    fn take_out(self: &Arc<Self>, held: &[Held], generation: Generation, error: VolumeError) -> VolumeError {
        let (key, source) = (key_name(generation), Box::new(error));
        if held.iter().all(|held| held.new.is_none()) {
            let what = format!("{key} would be left without a wrap that is proven to open; nothing was changed");
            return VolumeError::Unproven { what, source };
        }
        let undone = self.commit_table(|table| {
            for held in held {
                let Some(entry) = table.entry_mut(held.entry.generation) else { continue };
                entry.wraps.retain(|wrap| held.fresh.as_ref() != Some(wrap));
            }
        });
        let left = match undone {
            Ok(()) => "it was taken out again, and the other wraps are as they were",
            Err(_) => "it stands beside the other wraps, which are as they were",
        };
        VolumeError::Unproven { what: format!("the new wrap of {key} is not proven: {left}"), source }
    }

    /// Remembers who opens the keys now.
    fn enter(&self, held: &[Held], change: &WrapChange<'_>, proofs: Vec<Opening>) {
        let takes_over = |held: &Held| change.add.is_none_or(|addition| addition.first) || !self.keeps_opening(held);
        let mut openings = self.wraps.openings();
        for (held, proof) in held.iter().zip(proofs) {
            let is_loaded = openings.contains_key(&held.entry.generation);
            if is_loaded && takes_over(held) {
                let id = WrapId { provider: proof.provider, kek_id: proof.kek_id, kek_version: proof.kek_version };
                openings.insert(held.entry.generation, opening(&id, proof.kek));
            }
        }
    }

    fn keeps_opening(&self, held: &Held) -> bool {
        held.entry.wraps.iter().any(|wrap| held.by.is_by(wrap) && held.stays(wrap))
    }

    /// Step 3. A key whose wraps would all go keeps them.
    fn remove(self: &Arc<Self>, held: &[Held]) -> Result<(), VolumeError> {
        self.commit_table(|table| {
            for held in held {
                let Some(entry) = table.entry_mut(held.entry.generation) else { continue };
                let keeps_one = entry.wraps.iter().any(|wrap| held.stays(wrap));
                if keeps_one || !rules::adds_before_removing() {
                    entry.wraps.retain(|wrap| held.stays(wrap));
                }
            }
        })
    }

    /// Step 4: reads the zone, past the cache, for what was removed.
    fn sweep(&self, held: &[Held]) -> Result<Result<u64, Vec<Generation>>, VolumeError> {
        if held.iter().all(|held| held.going.is_empty()) {
            return Ok(Ok(0));
        }
        let copies = self.meta().read_tables()?;
        let written = copies.each_ref().map(|copy| &copy[..used(copy)]);
        let is_there = |blob: &[u8]| written.iter().any(|copy| copy.windows(blob.len().max(1)).any(|at| at == blob));
        let left = |held: &&Held| held.entry.wraps.iter().any(|wrap| !held.stays(wrap) && is_there(&wrap.blob));
        let left: Vec<Generation> = held.iter().filter(left).map(|held| held.entry.generation).collect();
        let bytes = copies.iter().map(|copy| copy.len() as u64).sum();
        Ok(if left.is_empty() { Ok(bytes) } else { Err(left) })
    }

    /// The KEKs that open the volume now, and the labels of those that do no more.
    fn keks_after(&self, keks: &[Kek], add: Option<Addition<'_>>) -> (Vec<Kek>, Vec<String>) {
        let table = self.meta().table.clone();
        let label = |kek: &Kek| kek.describe().label.clone();
        let is_new = |kek: &Kek| add.is_some_and(|addition| addition.kek.describe() == kek.describe());
        let opens =
            |kek: &&Kek| table.entries.iter().any(|entry| entry.wraps.iter().any(|wrap| self.opens(kek, entry, wrap)));
        let others: Vec<&Kek> = keks.iter().filter(|kek| !is_new(kek)).collect();
        let (stay, go): (Vec<&Kek>, Vec<&Kek>) = others.into_iter().partition(opens);
        let mut after: Vec<Kek> = stay.into_iter().cloned().collect();
        if let Some(addition) = add {
            let place = if addition.first { 0 } else { after.len() };
            after.insert(place, addition.kek.clone());
        }
        // A key file that was replaced in place has the same name as before.
        let is_gone = |name: &String| after.iter().all(|kek| label(kek) != *name);
        let retired = go.into_iter().map(label).filter(is_gone).collect();
        (after, retired)
    }

    fn outcome(&self, held: &[Held]) -> Vec<KeyWraps> {
        let table = self.meta().table.clone();
        let wraps = |generation| table.entry(generation).map(|entry| entry.wraps.iter().map(WrapId::of).collect());
        let each = |held: &Held| KeyWraps {
            generation: held.entry.generation,
            added: held.fresh.as_ref().map(WrapId::of),
            removed: held.going.iter().cloned().collect(),
            wraps: wraps(held.entry.generation).unwrap_or_default(),
        };
        held.iter().map(each).collect()
    }
}

/// A table copy as the device has it.
struct Read {
    table: GenerationTable,
    bytes: Vec<u8>,
}

fn opening(id: &WrapId, kek: String) -> Opening {
    let WrapId { provider, kek_id, kek_version } = id.clone();
    Opening { provider, kek_id, kek_version, kek, wraps_before: 0, refusals: Vec::new(), idle: Vec::new() }
}
