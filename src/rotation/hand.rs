//! Keys of a volume on their way to other replicas.
//!
//! Invariant: keepers are asked without any other command having to wait for them.

use super::controller::Controller;
use crate::format::handover::{Founding, Handover};
use crate::units::Generation;
use crate::volume::VolumeError;

impl Controller {
    /// The key of a generation, for a replica that lacks it.
    ///
    /// # Errors
    /// There is no such generation, its key is gone or withdrawn, or no KEK opens it.
    pub fn handover(&self, generation: Generation) -> Result<Handover, VolumeError> {
        let _keys = self.making_keys();
        self.volume.handover(&self.keks.now(), generation)
    }

    /// What another replica is made from.
    ///
    /// # Errors
    /// A rotation is under way, or no KEK opens a key.
    pub fn founding(&self) -> Result<Founding, VolumeError> {
        let _keys = self.making_keys();
        self.volume.founding(&self.keks.now())
    }
}
