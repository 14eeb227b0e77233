//! Proving that a key is there and right, in the process that serves the volume. `volume::open::cold` does it in another one,
//! from nothing.

use crate::format::generations::KeyState;
use crate::units::Generation;
use crate::volume::life::entry_of;
use crate::volume::{Volume, VolumeError};

/// A key that was proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Its generation.
    pub generation: Generation,
    /// Its identity.
    pub key_id: [u8; 16],
    /// Cipher suite id.
    pub suite: u16,
    /// Where the generation stands in its life.
    pub state: KeyState,
}

impl Volume {
    /// Reads the canary of a generation from the device, past its cache, and has both engines decrypt it with the key in memory.
    ///
    /// # Errors
    /// There is no such generation, its key is not loaded, or the canary is wrong.
    pub fn prove_again(&self, generation: Generation) -> Result<Proof, VolumeError> {
        let entry = entry_of(&self.meta().table, generation)?.clone();
        let key = self.keyring.loaded(generation)?;
        self.canary_opens(&entry, &key)?;
        Ok(Proof { generation, key_id: entry.key_id, suite: entry.suite, state: entry.state })
    }
}
