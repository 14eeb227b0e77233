//! Canaries: made by both engines, written, read back from the device, and held against what they must be.
//!
//! Invariants: the text is known to whoever holds the metadata key, the ciphertext needs the generation's own; two engines
//! that share no code must agree on it; what is judged is read past the cache.

use std::sync::Arc;

use super::error::VolumeError;
use super::keyring::GenerationKey;
use super::meta::Meta;
use super::open::{MetadataKeys, read_or_empty};
use super::{Volume, VolumeError as Error};
use crate::crypto::{Secret, kdf};
use crate::format::canary::{self, Canary};
use crate::format::generations::Entry;

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

/// Whether both engines decrypt `canary` to what it must be.
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

/// Where slot `slot` of the canary zone stands on the header.
pub(super) fn place(meta: &Meta, slot: u16) -> u64 {
    meta.superblock.zones.canaries.offset + u64::from(slot) * canary::SLOT
}

impl Volume {
    /// Writes the canary, reads it back from the device and lets both engines decrypt it.
    pub(super) fn prove_canary(self: &Arc<Self>, entry: &Entry, key: &GenerationKey) -> Result<(), VolumeError> {
        let canary = make_canary(&self.canary_key, entry, key)?;
        let meta = self.meta();
        let block = canary.seal(&meta.seal, u32::from(entry.canary_slot));
        self.header.write_at(place(&meta, entry.canary_slot), &block).map_err(Error::io("write the canary"))?;
        if let Err(error) = meta.flush() {
            // It may be the data's flush too, and a device reports a loss once: whose data it was nobody knows.
            drop(meta);
            self.poison(&format!("the canary's flush failed: {error}"));
            return Err(error);
        }
        self.judge_canary(&meta, entry, key, "the canary just written")
    }

    /// Whether both engines decrypt the canary that the device has to what it must be.
    pub(super) fn canary_opens(&self, entry: &Entry, key: &GenerationKey) -> Result<(), VolumeError> {
        self.judge_canary(&self.meta(), entry, key, &format!("the canary of generation {}", entry.generation))
    }

    fn judge_canary(&self, meta: &Meta, entry: &Entry, key: &GenerationKey, what: &str) -> Result<(), VolumeError> {
        self.header.drop_cache().map_err(Error::io("drop the cache"))?;
        let block = read_or_empty(&*self.header, place(meta, entry.canary_slot), canary::SLOT);
        let found = Canary::open(&meta.seal, u32::from(entry.canary_slot), &block).map_err(Error::damaged(what))?;
        same_canary(&self.canary_key, entry, key, &found)
    }

    /// Zeroes the canary in a slot, and gives its space back where the device can.
    pub(super) fn erase_canary(&self, meta: &Meta, slot: u16) -> Result<(), VolumeError> {
        let place = place(meta, slot);
        let zeros = vec![0; canary::SLOT as usize];
        self.header.write_at(place, &zeros).map_err(Error::io("erase the canary"))?;
        meta.flush()?;
        // Space that is given back reads as zeros, too; where the device cannot, the zeros stand there.
        let _ = self.header.punch(place, canary::SLOT);
        meta.flush()
    }
}
