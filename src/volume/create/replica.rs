//! The first generation table of a new volume: its own first key, or those of a volume that it is another replica of.
//!
//! Invariants: the metadata key is the new volume's own, and never leaves it; every key it has opens its canary and is wrapped
//! for every KEK; a replica's extents all carry the generation that is active everywhere.

use super::{NewVolume, VolumeError, fill_random, metadata_entry, new_entry};
use crate::crypto::{EngineKind, Secret, Suite, new_key};
use crate::format::canary::Canary;
use crate::format::generations::{Entry, GenerationTable, KeyState, Rotation};
use crate::format::handover::{Founding, SharedKey};
use crate::format::lives::Life;
use crate::units::{Generation, VolumeId};
use crate::volume::canaries::canary_for;
use crate::volume::keyring::GenerationKey;
use crate::volume::open::MetadataKeys;
use crate::volume::prepare::wrap_for_all;
use crate::volume::replica::{entry_from, judged};

/// What a new volume begins with.
pub(super) struct First {
    pub id: VolumeId,
    pub table: GenerationTable,
    /// The canary of each generation that has one, with its slot.
    pub canaries: Vec<(u16, Canary)>,
}

/// Makes the keys of `new`, or takes those it is to share. `metadata_key` is its own.
pub(super) fn first(new: &NewVolume<'_>, metadata_key: &Secret) -> Result<First, VolumeError> {
    let id = match new.replica_of {
        Some(founding) => founding.volume,
        None => {
            let mut random = [0u8; 16];
            fill_random(&mut random)?;
            VolumeId::from_random(random)
        }
    };
    let keys = MetadataKeys::derive(id, metadata_key);
    let metadata = wrap_for_all(new.keks, id, metadata_entry(new.now)?, metadata_key)?;
    let mut first = First {
        id,
        table: GenerationTable {
            entries: vec![metadata],
            rotation: Rotation::none(Generation::FIRST),
            holders: Vec::new(),
        },
        canaries: Vec::new(),
    };
    match new.replica_of {
        Some(founding) => first.take(new, &keys, founding)?,
        None => {
            let entry = new_entry(Generation::FIRST, new.suite, new.shape.data_unit, 1, new.now)?;
            let entry = Entry { state: KeyState::Active, activated: new.now, ..entry };
            first.enter(new, &keys, entry, new.suite, &new_key(new.suite)?)?;
        }
    }
    Ok(first)
}

impl First {
    fn take(&mut self, new: &NewVolume<'_>, keys: &MetadataKeys, founding: &Founding) -> Result<(), VolumeError> {
        for (slot, shared) in (1u16..).zip(&founding.keys) {
            let mut entry = standing(shared, new.now);
            entry.canary_slot = slot;
            if shared.state == KeyState::Active {
                self.table.rotation = Rotation::none(entry.generation);
            }
            match shared.state {
                KeyState::Destroyed => self.table.entries.push(entry),
                _ => {
                    let suite = judged(self.id, &shared.handover, new.shape.data_unit)?;
                    if suite == Suite::None && shared.state == KeyState::Active {
                        return Err(VolumeError::Refused("no replica is made of a volume that is plaintext".into()));
                    }
                    self.enter(new, keys, entry, suite, &shared.handover.key)?;
                }
            }
        }
        Ok(())
    }

    fn enter(
        &mut self,
        new: &NewVolume<'_>,
        keys: &MetadataKeys,
        entry: Entry,
        suite: Suite,
        dek: &Secret,
    ) -> Result<(), VolumeError> {
        let entry = wrap_for_all(new.keks, self.id, entry, dek)?;
        let key = GenerationKey::new(EngineKind::AwsLc, &entry, suite, dek)?;
        self.canaries.push((entry.canary_slot, canary_for(keys, &entry, &key)?));
        self.table.entries.push(entry);
        Ok(())
    }
}

/// The entry of a shared key as it stands on other replicas.
fn standing(shared: &SharedKey, now: u64) -> Entry {
    let reason = "as on the replica this one was founded from".into();
    let life = Life { changed: now, scheduled: shared.scheduled, reason, ..Life::default() };
    Entry {
        state: shared.state,
        compromised: shared.compromised,
        activated: shared.activated,
        bytes_reserved: shared.bytes,
        ..entry_from(&shared.handover, life)
    }
}
