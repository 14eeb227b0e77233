//! The data keys in memory: for every loaded generation its cipher on both engines.
//!
//! Invariants: a generation is here exactly while its key may be used; removing it is what *revoke* means for I/O.
//! Verification decrypts with [`GenerationKey::other`], the engine that did not write. A key that waits for the step that it was
//! had for serves nobody yet, and is gone once any other step of its generation is taken.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use super::error::VolumeError;
use crate::crypto::{CryptoError, EngineKind, Secret, Suite, TweakRule, Xts};
use crate::format::generations::Entry;
use crate::units::Generation;

/// One generation's cipher.
pub struct GenerationKey {
    /// Which generation.
    pub generation: Generation,
    /// On the engine that serves I/O.
    pub cipher: Xts,
    /// On the other engine.
    pub other: Xts,
    /// Bytes encrypted under it since the volume was opened, plus what was on record then.
    pub bytes: AtomicU64,
    /// What may be encrypted before the count on record must grow.
    pub reserved: AtomicU64,
}

impl GenerationKey {
    /// Builds both ciphers of an entry from its unwrapped key.
    pub fn new(engine: EngineKind, entry: &Entry, suite: Suite, key: &Secret) -> Result<GenerationKey, CryptoError> {
        let tweak = TweakRule { unit: entry.tweak_unit, base: entry.tweak_base };
        Ok(GenerationKey {
            generation: entry.generation,
            cipher: Xts::new(engine, suite, key, entry.data_unit, tweak)?,
            other: Xts::new(engine.other(), suite, key, entry.data_unit, tweak)?,
            bytes: AtomicU64::new(entry.bytes_reserved),
            reserved: AtomicU64::new(entry.bytes_reserved),
        })
    }

    /// Counts bytes encrypted; true once when the count passes what is on record, until [`GenerationKey::reserve`].
    pub fn count(&self, bytes: u64) -> bool {
        let count = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        count > self.reserved.load(Ordering::Relaxed) && self.reserved.swap(u64::MAX, Ordering::Relaxed) != u64::MAX
    }

    /// The count on record is now `bytes`.
    pub fn reserve(&self, bytes: u64) {
        self.reserved.store(bytes, Ordering::Relaxed);
    }
}

/// The loaded generations of one volume.
#[derive(Default)]
pub struct Keyring {
    keys: RwLock<Vec<Arc<GenerationKey>>>,
    waiting: Mutex<BTreeMap<Generation, GenerationKey>>,
}

impl Keyring {
    /// The cipher of `generation`, if it is loaded.
    pub fn get(&self, generation: Generation) -> Option<Arc<GenerationKey>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter().rev().find(|key| key.generation == generation).map(Arc::clone)
    }

    /// Whether `generation` is loaded.
    pub fn has(&self, generation: Generation) -> bool {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).iter().any(|key| key.generation == generation)
    }

    /// The cipher of `generation`, which an operation cannot do without.
    pub fn loaded(&self, generation: Generation) -> Result<Arc<GenerationKey>, VolumeError> {
        self.get(generation).ok_or_else(|| VolumeError::Refused(format!("generation {generation} is not loaded")))
    }

    /// Loads a generation.
    pub fn insert(&self, key: GenerationKey) {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(key));
    }

    /// Unloads a generation. Operations that already hold it finish with it.
    pub fn remove(&self, generation: Generation) {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).retain(|key| key.generation != generation);
    }

    /// The cipher of `generation` as an onlooker sees it, who holds nothing: how many hold it, this ring included.
    pub fn watch(&self, generation: Generation) -> Option<Weak<GenerationKey>> {
        self.get(generation).map(|key| Arc::downgrade(&key))
    }

    /// Keeps a key for the step that it was had for, if `is_wanted` says that it may still be taken.
    pub fn keep_waiting(
        &self,
        key: GenerationKey,
        is_wanted: impl FnOnce() -> Result<(), VolumeError>,
    ) -> Result<(), VolumeError> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Behind the lock: a step taken before is seen, one taken later finds the key and lets go of it.
        is_wanted()?;
        waiting.insert(key.generation, key);
        Ok(())
    }

    /// The key that waits for a step of `generation`: whoever does not keep it has wiped it.
    pub fn take_waiting(&self, generation: Generation) -> Option<GenerationKey> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&generation)
    }

    /// All loaded generations.
    pub fn all(&self) -> Vec<Arc<GenerationKey>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
