//! Revoking a generation that extents may carry, and reinstating it.
//!
//! Order of a revocation: (1) whoever drives a pipeline has ended it, so that no live intent needs the key, or has waited
//! long enough; (2) **the commit point**: the generation is *revoked*; (3) its key leaves the keyring: requests that come
//! for its extents answer EIO, those under way finish; (4) the last of them has let go of the key, which wipes it. A crash
//! before (2) leaves it as it was; behind (2) the key is not loaded again. An intent that names it is then left alone by
//! recovery, its extent barred, until the key is back. Nothing is lost: the wraps stay. A change of wraps holds every key
//! while it waits for keepers: it does not hold up a revocation, which says that the key is not gone yet.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{By, Clock, Step, enter, entry_of, wait_until};
use crate::units::Generation;
use crate::volume::Volume;
use crate::volume::error::VolumeError;
use crate::volume::keyring::GenerationKey;

/// How long requests under way may hold a key that was revoked before it counts as not gone.
pub const REVOKE_PATIENCE: Duration = Duration::from_secs(10);

/// What a revocation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// How long it took until nothing in this process held the key; none: something still does.
    pub left_memory: Option<Duration>,
    /// Extents that answer EIO from now on.
    pub extents: u64,
}

/// What reinstating came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reinstated {
    /// Extents that are served again.
    pub extents: u64,
    /// Extents that stay barred until the volume is opened anew, which settles the records that name them.
    pub barred: u64,
}

impl Volume {
    /// Takes the key of `generation` out of memory, whatever it encrypts. No pipeline should be at work.
    ///
    /// # Errors
    /// The step is not allowed, or could not be made durable; the key is where it was.
    pub fn revoke(
        self: &Arc<Self>,
        generation: Generation,
        by: &By,
        clock: &dyn Clock,
    ) -> Result<Revoked, VolumeError> {
        self.may(generation, Step::Revoke)?;
        let key = self.keyring.watch(generation);
        let taken = self.take(generation, Step::Revoke, by, |entry| entry.life.scheduled = 0);
        self.unload_if_closed(generation);
        taken?;
        let gone = |key: &Weak<GenerationKey>| key.strong_count() == 0;
        let left_memory =
            wait_until(clock, REVOKE_PATIENCE, || key.as_ref().is_none_or(gone) && !self.wraps.are_changing());
        Ok(Revoked { left_memory, extents: self.tagged(generation) })
    }

    /// Gives a revoked key back, as [`Volume::unlock`] has had it, and its extents are served again.
    ///
    /// # Errors
    /// The step is not allowed, or the key is not at hand.
    pub fn reinstate(self: &Arc<Self>, generation: Generation, by: &By) -> Result<Reinstated, VolumeError> {
        self.may(generation, Step::Reinstate)?;
        self.with_unlocked(generation, || {
            // What a page names whose commit stands in the ring alone is needed, too: an open reads the pages first.
            let needed = self.scan()?.references(generation).is_some();
            let way_back = self.rotation().rollback_to == Some(generation);
            self.try_commit_table(|table| {
                entry_of(table, generation)?;
                let Some(entry) = table.entry_mut(generation) else { return Ok(()) };
                enter(entry, Step::Reinstate, by)?;
                entry.life.evidence = [0; 32];
                if !needed && !way_back {
                    enter(entry, Step::Empty, by)?;
                }
                Ok(())
            })
        })?;
        Ok(Reinstated { extents: self.tagged(generation), barred: self.barred() })
    }

    /// Extents that carry `generation` now.
    fn tagged(&self, generation: Generation) -> u64 {
        self.census().get(&generation).copied().unwrap_or(0)
    }
}
