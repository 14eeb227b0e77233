//! Rotations of a volume that has replicas: prepare, activate and abandon as separate commands, each when all replicas are ready
//! for it.
//!
//! Invariants: commands run one after another, as all of a controller's, but for the keepers, whom nobody waits for; each may be
//! repeated, and does the rest of what a crash or an error cut off.

use super::controller::Controller;
use crate::format::generations::{KeyState, Phase};
use crate::format::handover::Handover;
use crate::units::Generation;
use crate::volume::VolumeError;
use crate::volume::life::By;
use crate::volume::lifecycle::RotationSpec;
use crate::volume::replica::PreparedKey;

impl Controller {
    /// Makes the key of generation `number`, holds it prepared, and gives what others take it from. One that is prepared here
    /// already is given once more.
    ///
    /// # Errors
    /// The number is taken, a keeper failed, or a device did.
    pub fn prepare_shared(
        &self,
        spec: &RotationSpec,
        number: Generation,
    ) -> Result<(PreparedKey, Handover), VolumeError> {
        let _keys = self.making_keys();
        let keks = self.keks.now();
        let there = self.volume.table().entry(number).is_some_and(|entry| entry.state == KeyState::Prepared);
        let (new, handover) = match there {
            true => {
                let handover = self.volume.handover(&keks, number)?;
                (self.volume.take_key(&keks, &handover, &spec.by)?, handover)
            }
            false => self.volume.make_key_to_share(&keks, spec, number)?,
        };
        let _worker = self.commands();
        Ok((self.volume.hold_prepared(new)?, handover))
    }

    /// Takes a key that another replica has made, and holds it prepared.
    ///
    /// # Errors
    /// It is not what it is said to be, does not fit the volume, its number is taken; or a keeper or a device failed.
    pub fn take(&self, handover: &Handover, by: &By) -> Result<PreparedKey, VolumeError> {
        let _keys = self.making_keys();
        let new = self.volume.take_key(&self.keks.now(), handover, by)?;
        let _worker = self.commands();
        self.volume.hold_prepared(new)
    }

    /// Gives up a key that is prepared. False: there was none. One that is being made just now comes after, and is given up
    /// when that is said again: nobody waits for its keeper here.
    ///
    /// # Errors
    /// It is more than prepared, or a device failed.
    pub fn abandon(&self, generation: Generation, by: &By) -> Result<bool, VolumeError> {
        let _worker = self.commands();
        self.volume.abandon(generation, by)
    }

    /// Starts the rotation to a generation that is prepared. False: it is the target already.
    ///
    /// # Errors
    /// It is not prepared, or a device failed.
    pub fn activate(&self, generation: Generation, spec: &RotationSpec) -> Result<bool, VolumeError> {
        let mut worker = self.commands();
        let begun = self.volume.activate_prepared(generation, spec)?;
        if begun {
            self.fresh_figures();
            self.nudge();
        }
        if self.volume.rotation().phase == Phase::Running {
            self.ensure_worker(&mut worker);
        }
        Ok(begun)
    }
}

#[cfg(test)]
#[path = "tests/share.rs"]
mod tests;
