//! Destroying a key: every local copy of it is overwritten, and what the device then holds is read back and searched.
//!
//! Order: (1) **the commit point**: a table in which the generation is *destroyed* and has no wraps, in one copy and then in
//! the other, each over all of its place; (2) its canary is zeroed, and what can be given back to the device is;
//! flush; (3) cache dropped, the whole header read, and searched for every window of sixteen bytes of its wraps. A crash
//! before (1) leaves it scheduled; in (1) opening the volume writes the other copy; behind it destroying once more does the
//! rest.
//!
//! What is reached is said, not more: copies that a thin or copy-on-write backing, a snapshot or a peer keeps are not.
//! The key is gone for good only when the KEK version that wrapped it is gone too.

use std::sync::Arc;

use super::residue::{Residue, Windows, search};
use super::{By, Step, entry_of};
use crate::format::generations::{Entry, GenerationTable, KeyState};
use crate::format::lives::Holder;
use crate::keys::ProviderKind;
use crate::units::Generation;
use crate::volume::error::VolumeError;
use crate::volume::holders::undrilled;
use crate::volume::{Volume, rules};

/// How far a destruction may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// Although its date has not come.
    pub early: bool,
    /// Although something else holds the key, or no drill has proven lately that the other keys can be had from what holds them.
    pub despite_holders: bool,
    /// Oldest last drill of a backup or bundle, seconds; none: no matter.
    pub drill_max_age: Option<u64>,
}

/// A wrap that was erased: with its KEK version the last hope is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostWrap {
    /// The kind of its keeper.
    pub provider: String,
    /// The KEK.
    pub kek_id: String,
    /// Its version.
    pub kek_version: u32,
}

/// What a destruction reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destroyed {
    /// The wraps that were erased; none if a destruction that a crash cut off was finished.
    pub wraps: Vec<LostWrap>,
    /// What else holds the key, and was passed over.
    pub holders: Vec<String>,
    /// Bytes of the header that were read back and searched.
    pub bytes_searched: u64,
    /// Windows of sixteen bytes that were searched for.
    pub windows: u64,
    /// Where something of a wrap is left: the device does not overwrite.
    pub left: Vec<u64>,
}

impl Volume {
    /// Erases the key of `generation`.
    ///
    /// # Errors
    /// The step is not allowed, its date has not come, something else holds the key, wraps are being changed; or the device failed.
    pub fn destroy(self: &Arc<Self>, generation: Generation, how: How, by: &By) -> Result<Destroyed, VolumeError> {
        self.may(generation, Step::Destroy)?;
        let _wraps = self.wraps.still()?;
        let table = self.meta().table.clone();
        let entry = entry_of(&table, generation)?.clone();
        let holders = allowed(&table, &entry, how, by)?;
        let others = table.entries.iter().filter(|other| other.generation != generation);
        let windows = Windows::of(blobs(&entry), others.flat_map(blobs));
        self.erase(&entry, by)?;
        let residue = self.read_back(&windows)?;
        Ok(Destroyed {
            wraps: entry.wraps.iter().map(lost).collect(),
            holders,
            bytes_searched: residue.bytes,
            windows: windows.len() as u64,
            left: residue.found,
        })
    }

    /// Steps 1 and 2.
    fn erase(self: &Arc<Self>, entry: &Entry, by: &By) -> Result<(), VolumeError> {
        if rules::erases_canary_last() {
            self.tombstone(entry, by)?;
        }
        let erased = self.erase_canary(&self.meta(), entry.canary_slot);
        self.or_poison(erased)?;
        if !rules::erases_canary_last() {
            self.tombstone(entry, by)?;
        }
        Ok(())
    }

    /// Step 1. The tombstone keeps date, evidence and, of the first destruction, who and why.
    fn tombstone(self: &Arc<Self>, entry: &Entry, by: &By) -> Result<(), VolumeError> {
        if entry.state == KeyState::Destroyed {
            return Ok(());
        }
        self.meta().overwrite_whole_tables();
        self.take(entry.generation, Step::Destroy, by, |entry| entry.wraps.clear())
    }

    /// Step 3.
    fn read_back(&self, windows: &Windows) -> Result<Residue, VolumeError> {
        let meta = self.meta();
        self.header.drop_cache().map_err(VolumeError::io("drop the cache before reading the header back"))?;
        let zones = &meta.superblock.zones;
        let len = [zones.generations, zones.canaries, zones.tags, zones.ring].iter().map(|zone| zone.end()).max();
        search(&*self.header, len.unwrap_or(0), windows)
    }

    /// A failure to write or flush the header leaves in doubt what it holds.
    pub(in crate::volume) fn or_poison(self: &Arc<Self>, done: Result<(), VolumeError>) -> Result<(), VolumeError> {
        if let Err(error @ VolumeError::Io { .. }) = &done {
            self.poison(&format!("a key could not be erased: {error}"));
        }
        done
    }
}

/// What else holds the key, if that may be passed over.
fn allowed(table: &GenerationTable, entry: &Entry, how: How, by: &By) -> Result<Vec<String>, VolumeError> {
    let generation = entry.generation;
    let refused = |why: String| VolumeError::Refused(format!("generation {generation} cannot be destroyed: {why}"));
    if entry.state == KeyState::Destroyed {
        return Ok(Vec::new());
    }
    if by.now < entry.life.scheduled && !how.early {
        return Err(refused(format!("its date comes in {} s", entry.life.scheduled - by.now)));
    }
    let name = |holder: &Holder| format!("{} {}", holder.kind.name(), holder.label);
    let pins: Vec<String> = table.holders.iter().filter(|holder| holder.pins(generation)).map(name).collect();
    let pinned = (!pins.is_empty()).then(|| format!("its key is also in {}: release it first", pins.join(", ")));
    match (pinned.or_else(|| undrilled(&table.holders, how.drill_max_age, by.now)), how.despite_holders) {
        (None, _) => Ok(pins),
        (Some(_), true) if !by.reason.trim().is_empty() => Ok(pins),
        (Some(_), true) => Err(refused("passing over what holds the key takes a reason".into())),
        (Some(why), false) => Err(refused(why)),
    }
}

fn blobs(entry: &Entry) -> impl Iterator<Item = &[u8]> {
    entry.wraps.iter().map(|wrap| wrap.blob.as_slice())
}

fn lost(wrap: &crate::format::wrapped::Wrapped) -> LostWrap {
    let provider = ProviderKind::from_id(wrap.provider);
    LostWrap {
        provider: provider.map_or_else(|| format!("keeper {}", wrap.provider), |kind| kind.to_string()),
        kek_id: wrap.kek_id.clone(),
        kek_version: wrap.kek_version,
    }
}
