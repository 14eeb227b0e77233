//! A new key, from its making to *prepared*.
//!
//! Durable steps: (1) the key is wrapped for every KEK and each wrap proven by unwrapping it; nothing is written yet; (2) its
//! canary is written, read back past the cache and decrypted by both engines; (3) the table with the generation *prepared*:
//! **the commit point**. A crash before (3) leaves a canary that no entry names. Opening a volume proves every prepared key by
//! its canary, so (2) comes before (3). A prepared key encrypts nothing but its canary until it is activated.

use std::sync::Arc;

use super::create::new_entry;
use super::error::VolumeError;
use super::keyring::GenerationKey;
use super::lifecycle::RotationSpec;
use super::open::purpose;
use super::replica::check_value;
use super::{Volume, VolumeError as Error, rules};
use crate::crypto::{Secret, Suite, new_key};
use crate::format::generations::Entry;
use crate::format::handover::CHECK_LEN;
use crate::format::lives::Life;
use crate::keys::Kek;
use crate::units::{Generation, VolumeId};

/// A key that is wrapped, and of no generation of the table yet.
pub struct NewKey {
    pub(super) entry: Entry,
    pub(super) key: GenerationKey,
    /// The check value of the key.
    pub(super) check: [u8; CHECK_LEN],
    /// The KEK of its first wrap, as the operator named it.
    first_kek: String,
}

impl NewKey {
    /// The number it is for.
    pub fn generation(&self) -> Generation {
        self.entry.generation
    }

    /// Its identity.
    pub fn key_id(&self) -> [u8; 16] {
        self.entry.key_id
    }
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
    let purpose = purpose(volume, &entry);
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

impl Volume {
    /// Makes a key and wraps it for every KEK of `keks`. Keepers are asked here, and here alone: this may take long, and
    /// changes nothing.
    pub fn make_key(&self, keks: &[Kek], spec: &RotationSpec) -> Result<NewKey, VolumeError> {
        let number = self.meta().table.next_generation();
        self.make_key_as(keks, spec, number).map(|(new, _)| new)
    }

    /// Makes the key of generation `number`; gives the key itself, too.
    pub(super) fn make_key_as(
        &self,
        keks: &[Kek],
        spec: &RotationSpec,
        number: Generation,
    ) -> Result<(NewKey, Secret), VolumeError> {
        self.writable()?;
        self.may_rewrite()?;
        self.room_for(number)?;
        let dek = new_key(spec.suite)?;
        let mut entry = new_entry(number, spec.suite, self.shape().data_unit, 0, spec.by.now)?;
        entry.reason.clone_from(&spec.by.reason);
        entry.life = Life { changed: spec.by.now, actor: spec.by.actor.clone(), ..Life::default() };
        Ok((self.wrapped(keks, entry, spec.suite, &dek)?, dek))
    }

    /// Wraps a key for every KEK.
    pub(super) fn wrapped(
        &self,
        keks: &[Kek],
        entry: Entry,
        suite: Suite,
        dek: &Secret,
    ) -> Result<NewKey, VolumeError> {
        let entry = wrap_for_all(keks, self.id, entry, dek)?;
        self.held(entry, suite, dek, keks.first().map(|kek| kek.describe().label.clone()).unwrap_or_default())
    }

    /// A key as it is wrapped in `entry` already.
    pub(super) fn held(
        &self,
        entry: Entry,
        suite: Suite,
        dek: &Secret,
        first_kek: String,
    ) -> Result<NewKey, VolumeError> {
        let key = GenerationKey::new(self.engine, &entry, suite, dek)?;
        let check = check_value(self.id, &entry, dek);
        Ok(NewKey { entry, key, check, first_kek })
    }

    /// The canary slot for a generation of that number, which must be larger than any there is.
    pub(super) fn room_for(&self, number: Generation) -> Result<u16, VolumeError> {
        let meta = self.meta();
        let least = meta.table.next_generation();
        if number < least || number.0 == u32::MAX {
            let why = format!("generation {number} cannot be made here: the next number of this volume is {least}");
            return Err(Error::Refused(why));
        }
        meta.table.free_slot().ok_or(Error::TableFull)
    }

    /// Steps 2 and 3: proves the canary of a new key, and enters it as the *prepared* generation that it was made for.
    pub(super) fn prepare(self: &Arc<Self>, new: NewKey) -> Result<Generation, VolumeError> {
        let NewKey { mut entry, key, first_kek, .. } = new;
        let generation = entry.generation;
        entry.canary_slot = self.room_for(generation)?;
        if rules::proves_before_preparing() {
            self.prove_canary(&entry, &key)?;
        }
        self.opened_by_first(&entry, first_kek);
        // Loaded first: whoever finds the generation in the table finds its key.
        self.keyring.insert(key);
        let entered = self.enter_prepared(&entry);
        if entered.is_err() {
            self.forget_key(generation);
        }
        entered?;
        if !rules::proves_before_preparing() {
            let key = self.keyring.loaded(generation)?;
            self.prove_canary(&entry, &key)?;
        }
        Ok(generation)
    }

    /// Step 3.
    fn enter_prepared(self: &Arc<Self>, entry: &Entry) -> Result<(), VolumeError> {
        if !rules::prepares_durably() {
            self.meta().table.entries.push(entry.clone());
            return Ok(());
        }
        self.try_commit_table(|table| {
            let has_room = table.entries.iter().all(|other| other.canary_slot != entry.canary_slot);
            if !has_room || table.next_generation() > entry.generation {
                return Err(Error::Refused("another generation was made meanwhile; nothing was changed".into()));
            }
            table.entries.push(entry.clone());
            Ok(())
        })
    }
}
