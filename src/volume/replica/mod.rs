//! What a volume does as one of several replicas: volumes on several nodes with the same identity and, for each generation,
//! the same number, key id and key. Who the others are, and what they agreed on, is not known here.
//!
//! | file | what it is for |
//! |---|---|
//! | `share` | a key made to be given away, a key taken, the key of a generation for one who lacks it |
//! | `hold` | holding a key prepared until all have it, or abandoning it |
//! | `proof` | proving that a key is there and right |
//! | `founding` | what another replica is made from |
//! | `digests` | comparing tags and content with another replica's |
//!
//! Invariants: each replica has a metadata key, KEKs and wraps of its own, and nothing that crosses over depends on them; every
//! step may be repeated after a crash, and ends where it would have ended; what is told of a key that is held is durable
//! before it is told.

mod digests;
mod founding;
mod hold;
mod proof;
mod share;

pub use digests::{DIGEST_BYTES_MAX, DIGESTS_MAX, PlainDigest};
pub use hold::PreparedKey;
pub use proof::Proof;

use super::VolumeError;
use crate::crypto::{Secret, Suite, kdf};
use crate::format::codec::Writer;
use crate::format::generations::{Entry, KeyState};
use crate::format::handover::{CHECK_LEN, Handover};
use crate::format::lives::Life;
use crate::units::VolumeId;

/// The check value of the key of `entry`: two replicas that have the same one have the same key, and would encrypt alike. It
/// tells nothing else about the key.
pub(super) fn check_value(volume: VolumeId, entry: &Entry, key: &Secret) -> [u8; CHECK_LEN] {
    let mut info = Writer::new();
    info.raw(b"keymoult v1 check").u32(entry.generation.0).raw(&entry.key_id).u16(entry.suite);
    info.u32(entry.data_unit).u32(entry.tweak_unit).u64(entry.tweak_base);
    let value = kdf::derive(key, &volume.0, &info.bytes, CHECK_LEN);
    let mut check = [0; CHECK_LEN];
    check.copy_from_slice(value.expose());
    check
}

/// The key of `entry` on its way to another replica.
fn handover_of(volume: VolumeId, entry: &Entry, key: Secret) -> Handover {
    Handover {
        generation: entry.generation,
        key_id: entry.key_id,
        suite: entry.suite,
        data_unit: entry.data_unit,
        tweak_unit: entry.tweak_unit,
        tweak_base: entry.tweak_base,
        created: entry.created,
        reason: entry.reason.clone(),
        check: check_value(volume, entry, &key),
        key,
    }
}

/// The entry of a key that was handed over, prepared, without wraps and in no canary slot yet.
pub(super) fn entry_from(handover: &Handover, life: Life) -> Entry {
    Entry {
        generation: handover.generation,
        key_id: handover.key_id,
        suite: handover.suite,
        data_unit: handover.data_unit,
        tweak_unit: handover.tweak_unit,
        tweak_base: handover.tweak_base,
        state: KeyState::Prepared,
        compromised: false,
        created: handover.created,
        activated: 0,
        bytes_reserved: 0,
        reason: handover.reason.clone(),
        canary_slot: 0,
        wraps: Vec::new(),
        life,
    }
}

/// Judges a key that was handed over: known suite, a key that suite may have, and the one its check value is of. `data_unit`
/// is the volume's.
pub(super) fn judged(volume: VolumeId, handover: &Handover, data_unit: u32) -> Result<Suite, VolumeError> {
    let generation = handover.generation;
    let refused =
        |why: String| Err(VolumeError::Refused(format!("the key of generation {generation} is not taken: {why}")));
    let Some(suite) = Suite::from_id(handover.suite) else {
        return refused(format!("suite {} is unknown to this build, which has to be upgraded first", handover.suite));
    };
    if handover.data_unit != data_unit {
        return refused(format!("its data unit is {}, the volume's is {data_unit}", handover.data_unit));
    }
    crate::crypto::check_key(suite, &handover.key)?;
    if check_value(volume, &entry_from(handover, Life::default()), &handover.key) != handover.check {
        return refused("its check value is another key's, or another volume's".into());
    }
    Ok(suite)
}
