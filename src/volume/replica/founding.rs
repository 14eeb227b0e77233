//! What another replica is made from: the volume's identity and shape, and the keys of its generations.
//!
//! Invariants: it is made only while every extent carries the target and nothing goes back from it, so that a replica that
//! begins with the target alone agrees with all others; a key that is gone or withdrawn is a number and an identity, so that
//! neither is ever given again.

use crate::crypto::{Secret, Suite};
use crate::format::generations::{Entry, GenerationTable, KeyState, Phase};
use crate::format::handover::{Founding, Handover, SharedKey};
use crate::keys::Kek;
use crate::units::Generation;
use crate::volume::lifecycle::phase_name;
use crate::volume::{Volume, VolumeError};

impl Volume {
    /// What another replica of this volume is made from. It holds the keys, and is to be sealed at once.
    ///
    /// # Errors
    /// A rotation is not over, extents carry another generation than the target, its suite is none, or a KEK does not open a
    /// key.
    pub fn founding(&self, keks: &[Kek]) -> Result<Founding, VolumeError> {
        let table = self.table();
        self.settled(&table)?;
        let keys = table.entries.iter().filter(|entry| entry.generation != Generation::METADATA);
        let keys: Result<Vec<SharedKey>, VolumeError> = keys.map(|entry| self.shared(keks, entry)).collect();
        let shape = self.shape();
        Ok(Founding {
            volume: self.id(),
            size: shape.size,
            max_size: shape.max_size,
            extent_size: shape.extent_size,
            data_unit: shape.data_unit,
            keys: keys?,
        })
    }

    fn settled(&self, table: &GenerationTable) -> Result<(), VolumeError> {
        let refused = |why: String| Err(VolumeError::Refused(format!("no replica can be founded now: {why}")));
        let rotation = &table.rotation;
        if !matches!(rotation.phase, Phase::Idle | Phase::Finalized) {
            return refused(format!("the rotation is {}, and has to be finalized first", phase_name(rotation.phase)));
        }
        let others = self.census().into_iter().find(|(generation, _)| *generation != rotation.target);
        if let Some((generation, extents)) = others {
            return refused(format!("{extents} extents carry generation {generation}, not the target"));
        }
        let is_plain = |entry: &Entry| Suite::from_id(entry.suite) == Some(Suite::None);
        if table.entry(rotation.target).is_some_and(is_plain) {
            return refused("the volume is plaintext: rotate it to a cipher first".into());
        }
        Ok(())
    }

    fn shared(&self, keks: &[Kek], entry: &Entry) -> Result<SharedKey, VolumeError> {
        let is_gone = matches!(entry.state, KeyState::Destroyed | KeyState::Revoked);
        let handover = match is_gone {
            true => Handover { check: [0; 16], ..super::handover_of(self.id(), entry, Secret::zeroed(0)) },
            false => self.handed_over(keks, entry)?,
        };
        Ok(SharedKey {
            handover,
            state: if is_gone { KeyState::Destroyed } else { entry.state },
            compromised: entry.compromised,
            activated: entry.activated,
            scheduled: if entry.state == KeyState::Scheduled { entry.life.scheduled } else { 0 },
            bytes: entry.bytes_reserved,
        })
    }
}
