//! A generation that was prepared and never used, of which its volume's peers say that it was: it takes no part in anything and counts
//! as empty.

use std::sync::Arc;

use super::{By, Step, entry_of};
use crate::format::generations::KeyState;
use crate::units::Generation;
use crate::volume::Volume;
use crate::volume::error::VolumeError;

impl Volume {
    /// Enters a generation that is *prepared*, and that nothing refers to, as *empty*.
    ///
    /// # Errors
    /// It is in another state, or something refers to it.
    pub fn enter_empty(self: &Arc<Self>, generation: Generation, by: &By) -> Result<(), VolumeError> {
        let state = entry_of(&self.meta().table, generation)?.state;
        let what = match (state, self.scan()?.references(generation)) {
            (KeyState::Prepared, None) => return self.take(generation, Step::Empty, by, |_| {}),
            (KeyState::Prepared, Some(what)) => what,
            (state, _) => format!("it is {}", state.name()),
        };
        Err(VolumeError::Refused(format!("generation {generation} does not count as unused: {what}")))
    }
}
