//! Making a header backup of an open volume.
//!
//! Durable steps: (1) the backup is entered among the holders of the generation table, **durable before there is any**; (2) a
//! checkpoint; then everything is gathered under the same hold of the metadata lock, so that it is of one moment, and proven by
//! reading it back. Whoever called writes the file, and takes the entry back ([`Volume::forget_backup`]) if that fails.
//! Invariants: no intent is live in a backup and no rotation moves extents while it is made; the epoch stamp on the data is the one the
//! backup will ask for. Clients go on meanwhile: what they write is under the tags that the backup has.

use std::sync::Arc;

use super::holders::{NewHolder, enter};
use super::meta::Meta;
use super::open::{check_stamp, read_or_empty};
use super::{Volume, VolumeError};
use crate::format::backup::{Backup, Sealed, runs};
use crate::format::canary::{self, Canary};
use crate::format::envelope::{CANARY, OVERHEAD, peek};
use crate::format::generations::{KeyState, Phase};
use crate::format::lives::Holder;
use crate::units::{Extent, Generation};

/// A backup, made and catalogued, not yet written anywhere.
pub struct MadeBackup {
    /// Its entry among the holders.
    pub holder: Holder,
    /// What to write into its file.
    pub bytes: Vec<u8>,
    /// The rotation epoch it is stamped with.
    pub epoch: u64,
    /// Whether it stays good until the next rotation starts; if not, it is overtaken as soon as an extent moves.
    pub settled: bool,
}

impl Volume {
    /// Makes a backup of the header, catalogued as `new` says.
    ///
    /// # Errors
    /// The volume is read-only or poisoned, a rotation moves extents, the catalogue is full, or a device failed.
    pub fn back_up(self: &Arc<Self>, new: &NewHolder) -> Result<MadeBackup, VolumeError> {
        self.writable()?;
        let mut meta = self.meta();
        may_back_up(&meta)?;
        let holder = new.entry(&meta.table)?;
        let mut table = meta.table.clone();
        enter(&mut table.holders, holder.clone())?;
        let committed = meta.commit_table(table).and_then(|()| meta.checkpoint(&self.tags));
        if let Err(error) = committed {
            drop(meta);
            if matches!(error, VolumeError::Io { .. }) {
                self.poison(&format!("a header backup could not be put on record: {error}"));
            }
            return Err(error);
        }
        let gathered = self.gather(&meta, &holder);
        drop(meta);
        match gathered {
            Ok((bytes, settled, epoch)) => Ok(MadeBackup { holder, bytes, epoch, settled }),
            Err(error) => {
                self.forget_backup(&holder)?;
                Err(error)
            }
        }
    }

    /// Takes back the entry of a backup that was not written after all.
    ///
    /// # Errors
    /// The table could not be written: the entry stays, and is to be released by hand.
    pub fn forget_backup(self: &Arc<Self>, holder: &Holder) -> Result<(), VolumeError> {
        self.strike_holder(holder.id)
    }

    fn gather(&self, meta: &Meta, holder: &Holder) -> Result<(Vec<u8>, bool, u64), VolumeError> {
        if check_stamp(&meta.seal, &meta.superblock, &*self.data)? {
            let why =
                "the epoch stamp on the data lags behind the header: stop the daemon and open the volume again first";
            return Err(VolumeError::Refused(why.into()));
        }
        let extents = self.tags.len();
        let mut tags = Vec::new();
        for first in (0..extents).step_by(1 << 16) {
            let more = runs(self.tags.committed_range(first, extents.min(first + (1 << 16))));
            tags.extend(more);
        }
        let backup = Backup {
            holder: holder.id,
            made: holder.made,
            superblock: (meta.superblock.clone(), meta.superblock_sequence()),
            table: (meta.table.clone(), meta.table_sequence()),
            canaries: self.canaries(meta)?,
            tags: joined(tags),
        };
        let bytes = backup.seal(&meta.seal).ok_or(VolumeError::TableFull)?;
        let proven = Sealed::read(&bytes).and_then(|sealed| sealed.verify(&meta.seal));
        let proven = proven.map_err(VolumeError::damaged("the header backup just made"))?;
        Ok((bytes, proven.is_settled(), meta.superblock.epoch))
    }

    /// The canary block of every generation that can be loaded, as it stands on the device.
    fn canaries(&self, meta: &Meta) -> Result<Vec<(u16, Vec<u8>)>, VolumeError> {
        let with_canary = |state| !matches!(state, KeyState::Destroyed);
        let mut canaries = Vec::new();
        for entry in &meta.table.entries {
            if entry.generation == Generation::METADATA || !with_canary(entry.state) {
                continue;
            }
            let slot = entry.canary_slot;
            let place = meta.superblock.zones.canaries.offset + u64::from(slot) * canary::SLOT;
            let block = read_or_empty(&*self.header, place, canary::SLOT);
            let named = || format!("the canary of generation {}", entry.generation);
            let found = Canary::open(&meta.seal, slot.into(), &block).map_err(VolumeError::damaged(named()))?;
            if found.generation != entry.generation {
                return Err(VolumeError::Canary { generation: entry.generation });
            }
            let body = peek(CANARY, &block).map_err(VolumeError::damaged(named()))?.body.len();
            canaries.push((slot, block[..body + OVERHEAD].to_vec()));
        }
        Ok(canaries)
    }
}

/// Neighbouring runs of one generation made one.
fn joined(runs: Vec<(u32, Generation)>) -> Vec<(u32, Generation)> {
    let mut joined: Vec<(u32, Generation)> = Vec::with_capacity(runs.len());
    for (count, tag) in runs {
        match joined.last_mut() {
            Some((sum, last)) if *last == tag => *sum += count,
            _ => joined.push((count, tag)),
        }
    }
    joined
}

fn may_back_up(meta: &Meta) -> Result<(), VolumeError> {
    let refused = |why: &str| Err(VolumeError::Refused(format!("no header backup can be made now: {why}")));
    if meta.table.rotation.phase == Phase::Running {
        return refused(
            "a rotation moves extents, and a backup would be overtaken at once: pause it, or wait until it is done",
        );
    }
    if meta.log.in_use() != 0 || meta.log.live_intents() != 0 {
        return refused("the intent ring has records that are not settled: let the rotation come to rest first");
    }
    if meta.superblock.unfinished.is_some() {
        return refused("a growth is unfinished: open the volume for writing first");
    }
    Ok(())
}

/// The tags that runs stand for.
pub(super) fn expanded(runs: &[(u32, Generation)]) -> impl Iterator<Item = (Extent, Generation)> + '_ {
    let tags = runs.iter().flat_map(|(count, tag)| std::iter::repeat_n(*tag, *count as usize));
    (0u32..).map(Extent).zip(tags)
}
