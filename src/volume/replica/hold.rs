//! A key held *prepared* until every replica has it, and a key given up before it was ever used.
//!
//! Order of giving up: (1) **the commit point**: a table without the entry, in one copy and then in the other, each over all
//! that stood in its place; (2) the key leaves memory; (3) what its canary slot holds is zeroed. A crash before (1) leaves it prepared, and
//! its canary with it; behind (1) opening the volume writes the other copy, and giving it up once more does the rest: slots
//! that no entry names must be all zero. Nothing but a canary was ever encrypted under it, so its number may be taken again.

use std::sync::Arc;

use super::share::is_same;
use crate::format::canary;
use crate::format::generations::{Entry, KeyState};
use crate::format::handover::CHECK_LEN;
use crate::format::wrapped::Wrapped;
use crate::units::Generation;
use crate::volume::life::{By, entry_of};
use crate::volume::open::read_or_empty;
use crate::volume::prepare::NewKey;
use crate::volume::{Volume, VolumeError, rules};

/// A key that is held: durable, and proven by its canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedKey {
    /// Its number.
    pub generation: Generation,
    /// Its identity.
    pub key_id: [u8; 16],
    /// Its check value.
    pub check: [u8; CHECK_LEN],
    /// Its wraps on this replica.
    pub wraps: Vec<Wrapped>,
}

impl Volume {
    /// Enters a key as *prepared*, durably, its canary proven by both engines from the device. One that is there already is
    /// proven once more.
    ///
    /// # Errors
    /// The number is taken by another key, the canary is not the key's, or a device failed.
    pub fn hold_prepared(self: &Arc<Self>, new: NewKey) -> Result<PreparedKey, VolumeError> {
        self.writable()?;
        let (generation, check) = (new.generation(), new.check);
        let there = self.meta().table.entry(generation).cloned();
        match there {
            Some(there) => {
                is_same(&there, new.key_id())?;
                self.canary_opens(&there, &new.key)?;
            }
            None => {
                self.prepare(new)?;
            }
        }
        let entry = entry_of(&self.meta().table, generation)?.clone();
        Ok(PreparedKey { generation, key_id: entry.key_id, check, wraps: entry.wraps })
    }

    /// Gives up a generation that is *prepared* and never was more: entry, wraps, canary and key go. False: there is no such
    /// generation; what giving it up has left is erased all the same.
    ///
    /// # Errors
    /// It is more than prepared, wraps are being changed, or a device failed.
    pub fn abandon(self: &Arc<Self>, generation: Generation, by: &By) -> Result<bool, VolumeError> {
        self.writable()?;
        let _wraps = self.wraps.still()?;
        let there = self.meta().table.entry(generation).cloned();
        if let Some(entry) = &there {
            never_used(entry)?;
            if !rules::erases_canary_last() {
                let erased = self.erase_canary(&self.meta(), entry.canary_slot);
                self.or_poison(erased)?;
            }
            self.strike(generation)?;
            tracing::info!(volume = %self.id(), %generation, actor = by.actor, reason = by.reason, "a prepared key was given up");
        }
        let erased = self.erase_stray_canaries();
        self.or_poison(erased)?;
        Ok(there.is_some())
    }

    /// Steps 1 and 2.
    fn strike(self: &Arc<Self>, generation: Generation) -> Result<(), VolumeError> {
        let struck = self.try_commit_table(|table| {
            never_used(entry_of(table, generation)?)?;
            table.entries.retain(|entry| entry.generation != generation);
            Ok(())
        });
        // Whatever became of the commit, the second copy of a table may have failed: memory holds the keys that its table says.
        if self.meta().table.entry(generation).is_none() {
            self.forget_key(generation);
        }
        struck
    }

    /// Step 3.
    fn erase_stray_canaries(&self) -> Result<(), VolumeError> {
        let meta = self.meta();
        let is_free = |slot: &u16| meta.table.entries.iter().all(|entry| entry.canary_slot != *slot);
        let zone = &meta.superblock.zones.canaries;
        self.header.drop_cache().map_err(VolumeError::io("drop the cache"))?;
        let blocks = read_or_empty(&*self.header, zone.offset, zone.length);
        // What cannot be read is overwritten, too.
        let block = |slot: u16| blocks.chunks(canary::SLOT as usize).nth(usize::from(slot));
        let zeros = vec![0; canary::SLOT as usize];
        let is_zero = |slot: u16| block(slot).is_some_and(|block| block == zeros);
        let slots = (0..(zone.length / canary::SLOT) as u16).filter(is_free);
        slots.filter(|slot| !is_zero(*slot)).try_for_each(|slot| self.erase_canary(&meta, slot))
    }
}

fn never_used(entry: &Entry) -> Result<(), VolumeError> {
    if entry.state == KeyState::Prepared && entry.activated == 0 && entry.generation != Generation::METADATA {
        return Ok(());
    }
    let (generation, state) = (entry.generation, entry.state.name());
    Err(VolumeError::Refused(format!("generation {generation} is {state}: only a prepared one can be abandoned")))
}
