//! Keys given away and taken.
//!
//! Invariants: nothing is written here; a key is taken only if it is what it is said to be, and fits the volume; keepers are
//! asked here, and here alone, so this may take long.

use super::{entry_from, handover_of, judged};
use crate::crypto::Suite;
use crate::format::generations::{Entry, KeyState};
use crate::format::handover::Handover;
use crate::format::lives::Life;
use crate::keys::Kek;
use crate::units::Generation;
use crate::volume::life::{By, entry_of};
use crate::volume::lifecycle::RotationSpec;
use crate::volume::open::data_key;
use crate::volume::prepare::NewKey;
use crate::volume::{Volume, VolumeError};

fn refused<T>(why: String) -> Result<T, VolumeError> {
    Err(VolumeError::Refused(why))
}

impl Volume {
    /// Makes the key of generation `number`, to be held here and handed over to others. Nothing is written.
    ///
    /// # Errors
    /// The number is not larger than every one there is, the suite is none, or a keeper failed.
    pub fn make_key_to_share(
        &self,
        keks: &[Kek],
        spec: &RotationSpec,
        number: Generation,
    ) -> Result<(NewKey, Handover), VolumeError> {
        if spec.suite == Suite::None {
            return refused("replicas share keys, and suite none has no key: choose a cipher".into());
        }
        let (new, key) = self.make_key_as(keks, spec, number)?;
        let handover = handover_of(self.id(), &new.entry, key);
        Ok((new, handover))
    }

    /// Takes a key that another replica has made, and wraps it for every KEK of `keks`; no keeper is asked for a key that is
    /// there already. Nothing is written.
    ///
    /// # Errors
    /// It is not what it is said to be, does not fit the volume, its number is taken, or a keeper failed.
    pub fn take_key(&self, keks: &[Kek], handover: &Handover, by: &By) -> Result<NewKey, VolumeError> {
        self.writable()?;
        self.may_rewrite()?;
        let suite = judged(self.id(), handover, self.shape().data_unit)?;
        if suite == Suite::None {
            return refused(format!("generation {} would be plaintext: it is not taken", handover.generation));
        }
        let there = self.meta().table.entry(handover.generation).cloned();
        match there {
            Some(there) => {
                is_same(&there, handover.key_id)?;
                let held = self.held(there, suite, &handover.key, String::new())?;
                match held.check == handover.check {
                    true => Ok(held),
                    false => {
                        refused(format!("generation {} is there with another suite or data unit", held.generation()))
                    }
                }
            }
            None => {
                self.room_for(handover.generation)?;
                let life = Life { changed: by.now, actor: by.actor.clone(), ..Life::default() };
                self.wrapped(keks, entry_from(handover, life), suite, &handover.key)
            }
        }
    }

    /// The key of a generation, for a replica that lacks it.
    ///
    /// # Errors
    /// There is no such generation, its key is gone or withdrawn, or no KEK opens it.
    pub fn handover(&self, keks: &[Kek], generation: Generation) -> Result<Handover, VolumeError> {
        let entry = entry_of(&self.meta().table, generation)?.clone();
        self.handed_over(keks, &entry)
    }

    pub(super) fn handed_over(&self, keks: &[Kek], entry: &Entry) -> Result<Handover, VolumeError> {
        let (generation, state) = (entry.generation, entry.state);
        if generation == Generation::METADATA {
            return refused("generation 0 is the volume's metadata key: every replica has its own".into());
        }
        if matches!(state, KeyState::Destroyed | KeyState::Revoked) {
            return refused(format!("generation {generation} is {}: its key is not handed over", state.name()));
        }
        let Some(suite) = Suite::from_id(entry.suite) else {
            return refused(format!("generation {generation} uses suite {}, unknown to this build", entry.suite));
        };
        Ok(handover_of(self.id(), entry, data_key(self.id(), entry, suite, keks)?))
    }
}

/// Whether the generation that is there is the one that `key_id` names.
pub(super) fn is_same(there: &Entry, key_id: [u8; 16]) -> Result<(), VolumeError> {
    let (generation, state) = (there.generation, there.state);
    match (there.key_id == key_id, state) {
        (true, KeyState::Destroyed) => {
            refused(format!("generation {generation} is destroyed: its key is not taken again"))
        }
        (true, _) => Ok(()),
        (false, KeyState::Prepared) => {
            refused(format!("generation {generation} is prepared with another key: abandon that one first"))
        }
        (false, _) => {
            refused(format!("generation {generation} is {} with another key: no number is given twice", state.name()))
        }
    }
}
