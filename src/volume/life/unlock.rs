//! A key that comes back into memory: had from its keeper first, which may take long, and given to its step later.
//!
//! Invariants: keepers are asked without any lock of the volume, and change nothing; a key that was had is proven by its canary, waits
//! where nothing uses it, and is wiped if its step is not taken: because another one was, or because nobody wants it any more;
//! the step itself is checked once more when it is taken.

use std::sync::Arc;

use super::{By, Step, entry_of};
use crate::crypto::Suite;
use crate::format::generations::Entry;
use crate::keys::Kek;
use crate::units::Generation;
use crate::volume::Volume;
use crate::volume::error::VolumeError;
use crate::volume::keyring::GenerationKey;
use crate::volume::open::data_key;

impl Volume {
    /// Has the key of `generation` from a keeper, for `step`, which brings it back into memory. This may take long.
    ///
    /// # Errors
    /// The step is not allowed, or is not any more once the keeper has answered; no KEK opens the key, or its canary is wrong.
    pub fn unlock(&self, generation: Generation, step: Step, keks: &[Kek]) -> Result<(), VolumeError> {
        self.may(generation, step)?;
        let entry = entry_of(&self.meta().table, generation)?.clone();
        let key = self.unlocked(&entry, keks)?;
        self.keyring.keep_waiting(key, || self.may(generation, step))
    }

    /// A key that was had is not wanted any more.
    pub fn forget_unlocked(&self, generation: Generation) {
        drop(self.keyring.take_waiting(generation));
    }

    /// A retired key comes back into memory, as [`Volume::unlock`] has had it: nothing refers to it, as before.
    ///
    /// # Errors
    /// The step is not allowed, or the key is not at hand.
    pub fn restore(self: &Arc<Self>, generation: Generation, by: &By) -> Result<(), VolumeError> {
        self.may(generation, Step::Restore)?;
        self.with_unlocked(generation, || {
            self.take(generation, Step::Restore, by, |entry| entry.life.evidence = [0; 32])
        })
    }

    /// Loads the key that was had, for the step that `commit` is; without it the key goes again.
    pub(super) fn with_unlocked(
        self: &Arc<Self>,
        generation: Generation,
        commit: impl FnOnce() -> Result<(), VolumeError>,
    ) -> Result<(), VolumeError> {
        let missing = || VolumeError::Refused(format!("the key of generation {generation} is not at hand: try again"));
        let key = self.keyring.take_waiting(generation).ok_or_else(missing)?;
        // Loaded first: whoever finds the generation usable finds its key.
        self.keyring.insert(key);
        let committed = commit();
        self.unload_if_closed(generation);
        committed
    }

    /// The key of an entry, as a KEK opens it and its canary on the device proves it.
    fn unlocked(&self, entry: &Entry, keks: &[Kek]) -> Result<GenerationKey, VolumeError> {
        let unknown = || VolumeError::Refused(format!("suite {} is unknown to this build", entry.suite));
        let suite = Suite::from_id(entry.suite).ok_or_else(unknown)?;
        let dek = data_key(self.id, entry, suite, keks)?;
        let key = GenerationKey::new(self.engine, entry, suite, &dek)?;
        self.canary_opens(entry, &key)?;
        Ok(key)
    }
}
