//! A change of the KEKs of a volume in service.
//!
//! Invariants: no generation is made while wraps change, so none is wrapped for KEKs of before; the next one is wrapped for
//! those of after. Other commands go on: a keeper may hang in the middle of a change.

use std::sync::Arc;

use super::Controller;
use crate::keys::Keks;
use crate::volume::VolumeError;
use crate::volume::wraps::{Step, WrapChange, WrapsChanged};

impl Controller {
    /// The KEKs of the volume.
    pub fn keks(&self) -> &Arc<Keks> {
        &self.keks
    }

    /// Adds, proves and removes wraps, in the middle of a rotation, too; from then on the volume's KEKs are those of after.
    ///
    /// # Errors
    /// As [`crate::volume::Volume::change_wraps`].
    pub fn change_wraps(
        &self,
        change: &WrapChange<'_>,
        told: &mut dyn FnMut(Step),
    ) -> Result<WrapsChanged, VolumeError> {
        let _keys = self.making_keys();
        let changed = self.volume.change_wraps(&self.keks.now(), change, told)?;
        self.keks.exchange(changed.keks.clone());
        Ok(changed)
    }
}
