//! Whether anything needs a key: the fence and the scan of *retire*, without moving the generation.
//!
//! What is reported is true of now. That it stays so is the promise of whoever reports it, and holds because no extent is given
//! a generation that is not the target.

use std::sync::{Arc, Weak};

use super::retire::FENCE_PATIENCE;
use super::{Clock, entry_of, wait_until};
use crate::format::generations::KeyState;
use crate::units::Generation;
use crate::volume::keyring::GenerationKey;
use crate::volume::{Volume, VolumeError};

/// Whether anything needs a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZeroReport {
    /// What refers to the generation, in words; none if nothing does.
    pub references: Option<String>,
    /// What else holds the key: header backups, escrow bundles, snapshots.
    pub pins: Vec<String>,
    /// Digest of the tag pages that were read.
    pub tag_digest: [u8; 32],
    /// The checkpoint that wrote them.
    pub checkpoint: u64,
    /// Rotation epoch.
    pub epoch: u64,
}

impl Volume {
    /// Says what needs the key of `generation`, by tags and ring as the device has them, behind a checkpoint.
    ///
    /// # Errors
    /// There is no such generation, or it is active; or a device failed.
    pub fn zero_report(self: &Arc<Self>, generation: Generation, clock: &dyn Clock) -> Result<ZeroReport, VolumeError> {
        self.writable()?;
        let state = entry_of(&self.meta().table, generation)?.state;
        if generation == Generation::METADATA || state == KeyState::Active {
            let why = format!("generation {generation} is {}: it is needed whatever refers to it", state.name());
            return Err(VolumeError::Refused(why));
        }
        // Those that read or write its extents will not let go of the key; the scan counts them.
        let is_carried = self.census().contains_key(&generation);
        let is_held = !is_carried && self.fence(generation, clock).is_none();
        let scan = self.scan()?;
        let way_back = || {
            let goes_back = self.rotation().rollback_to == Some(generation);
            goes_back.then(|| "the rotation on record goes back to it".to_owned())
        };
        let held = || is_held.then(|| "requests that began before still hold its key".to_owned());
        let references = scan.references(generation).or_else(way_back).or_else(held);
        let holders = self.holders();
        let pins = holders.iter().filter(|holder| holder.pins(generation));
        Ok(ZeroReport {
            references,
            pins: pins.map(|holder| format!("{} {}", holder.kind.name(), holder.label)).collect(),
            tag_digest: scan.tag_digest,
            checkpoint: scan.checkpoint,
            epoch: scan.epoch,
        })
    }

    /// Waits until no request holds the key of `generation`, which is seen from outside; none if some do not let go of it.
    pub(super) fn fence(&self, generation: Generation, clock: &dyn Clock) -> Option<Fenced> {
        let key = self.keyring.watch(generation);
        let unused = |key: &Weak<GenerationKey>| key.strong_count() <= 1;
        wait_until(clock, FENCE_PATIENCE, || key.as_ref().is_none_or(unused))?;
        Some(Fenced(key))
    }
}

/// A key that no request holds.
pub(super) struct Fenced(Option<Weak<GenerationKey>>);

impl Fenced {
    /// Waits until nothing holds the key; false if something still does.
    pub fn left_memory(&self, clock: &dyn Clock) -> bool {
        let gone = |key: &Weak<GenerationKey>| key.strong_count() == 0;
        wait_until(clock, FENCE_PATIENCE, || self.0.as_ref().is_none_or(gone)).is_some()
    }
}
