//! The catalogue of what else holds keys of a volume: header backups, escrow bundles, snapshots that the operator declares.
//!
//! Invariants: a holder is durable in the generation table before the thing it stands for is handed out, so nothing can hold a
//! key that the volume does not know of; an entry goes away only to make room, released ones first made first, and never
//! one that is there. A generation that a holder pins is not to be destroyed in good faith: [`undrilled`] and
//! [`Holder::pins`] are what *destroy* asks.

use std::sync::Arc;

use super::Volume;
use super::error::VolumeError;
use crate::format::backup::span;
use crate::format::generations::GenerationTable;
use crate::format::lives::{HOLDERS_MAX, Holder, HolderKind, LABEL_MAX};
use crate::units::{Generation, hex};

/// What is to be entered.
#[derive(Clone, Debug)]
pub struct NewHolder {
    /// What it is.
    pub kind: HolderKind,
    /// The generations in it; none: all that have a key now.
    pub generations: Option<(Generation, Generation)>,
    /// What the operator calls it.
    pub label: String,
    /// Seconds since 1970.
    pub now: u64,
}

impl NewHolder {
    /// The entry for it, under a random identity, as of `table`.
    pub(super) fn entry(&self, table: &GenerationTable) -> Result<Holder, VolumeError> {
        if self.label.is_empty() || self.label.len() > LABEL_MAX {
            return Err(VolumeError::Refused(format!("a holder's label has 1 to {LABEL_MAX} bytes")));
        }
        let (first, last) = self.generations.unwrap_or_else(|| span(table));
        if first > last {
            return Err(VolumeError::Refused(format!("generation {first} is not before generation {last}")));
        }
        if let Some(unknown) = [first, last].into_iter().find(|generation| table.entry(*generation).is_none()) {
            return Err(VolumeError::Refused(format!("the volume has no generation {unknown}")));
        }
        let mut id = [0u8; 16];
        super::create::fill_random(&mut id)?;
        let (drilled, released) = (0, 0);
        Ok(Holder { id, kind: self.kind, first, last, made: self.now, drilled, released, label: self.label.clone() })
    }
}

/// Enters a holder; where there is no room the released one that was made first makes some.
pub fn enter(holders: &mut Vec<Holder>, holder: Holder) -> Result<(), VolumeError> {
    if holders.len() >= HOLDERS_MAX {
        let released = (0..holders.len()).filter(|index| holders[*index].released > 0);
        match released.min_by_key(|index| holders[*index].made) {
            Some(index) => drop(holders.remove(index)),
            None => return Err(VolumeError::HoldersFull),
        }
    }
    holders.push(holder);
    Ok(())
}

/// The holders of both lists; where both know one, what the newer list says, and the later of its dates.
pub fn united(older: &[Holder], newer: &[Holder]) -> Vec<Holder> {
    let mut all = newer.to_vec();
    for holder in older {
        match all.iter_mut().find(|known| known.id == holder.id) {
            Some(known) => {
                known.drilled = known.drilled.max(holder.drilled);
                known.released = known.released.max(holder.released);
            }
            // Beyond the bound the table would refuse them all.
            None => drop(enter(&mut all, holder.clone())),
        }
    }
    all
}

/// Whether `holder`, a backup or bundle that is there, was not proven by a drill within `age` seconds before `now`. What was
/// never drilled is overdue `age` after it was made. A snapshot is never drilled: it holds no key that could be tried.
pub fn overdue(holder: &Holder, age: u64, now: u64) -> bool {
    let drills = holder.released == 0 && holder.kind != HolderKind::Snapshot;
    drills && holder.drilled.max(holder.made).saturating_add(age) < now
}

/// Why no key is to be destroyed now, if backups or bundles were not proven by a drill within `max_age` seconds before `now`.
pub fn undrilled(holders: &[Holder], max_age: Option<u64>, now: u64) -> Option<String> {
    let age = max_age?;
    let late = holders.iter().filter(|holder| overdue(holder, age, now));
    let late: Vec<String> = late.map(|holder| format!("{} {}", holder.kind.name(), holder.label)).collect();
    (!late.is_empty()).then(|| {
        let late = late.join(", ");
        format!("the last restore drill of {late} is older than the policy allows: run `keymoult drill restore` first")
    })
}

/// The holder that `name` names: its id in hexadecimal, or the start of it, if only one begins so.
pub fn find<'a>(holders: &'a [Holder], name: &str) -> Result<&'a Holder, VolumeError> {
    let name = name.to_ascii_lowercase();
    let mut found = holders.iter().filter(|holder| name.len() >= 4 && hex(&holder.id).starts_with(&name));
    match (found.next(), found.next()) {
        (Some(holder), None) => Ok(holder),
        (Some(_), Some(_)) => Err(VolumeError::Refused(format!("more than one holder begins with {name}"))),
        (None, _) => Err(VolumeError::Refused(format!("the volume knows no holder {name}"))),
    }
}

impl Volume {
    /// Everything that is known to hold keys or ciphertext of the volume.
    pub fn holders(&self) -> Vec<Holder> {
        self.meta().table.holders.clone()
    }

    /// Enters something that the operator declares. Durable on return.
    ///
    /// # Errors
    /// A label or generations that make no sense, a full catalogue, or a table that could not be written.
    pub fn add_holder(self: &Arc<Self>, new: &NewHolder) -> Result<Holder, VolumeError> {
        let holder = new.entry(&self.table())?;
        self.change_holders(|holders| enter(holders, holder.clone()))?;
        Ok(holder)
    }

    /// Notes that the holder `name` is gone. False: it was released before.
    ///
    /// # Errors
    /// No such holder, or a table that could not be written.
    pub fn release_holder(self: &Arc<Self>, name: &str, now: u64) -> Result<(Holder, bool), VolumeError> {
        let mut holder = find(&self.holders(), name)?.clone();
        if holder.released > 0 {
            return Ok((holder, false));
        }
        holder.released = now;
        self.change_holders(|holders| replace(holders, &holder))?;
        Ok((holder, true))
    }

    /// Notes that a drill has proven the holder `name`.
    ///
    /// # Errors
    /// No such holder, or a table that could not be written.
    pub fn drilled_holder(self: &Arc<Self>, name: &str, now: u64) -> Result<Holder, VolumeError> {
        let mut holder = find(&self.holders(), name)?.clone();
        holder.drilled = now.max(holder.drilled);
        self.change_holders(|holders| replace(holders, &holder))?;
        Ok(holder)
    }

    /// Takes back an entry whose thing never came to be.
    pub(super) fn strike_holder(self: &Arc<Self>, id: [u8; 16]) -> Result<(), VolumeError> {
        self.change_holders(|holders| {
            holders.retain(|holder| holder.id != id);
            Ok(())
        })
    }

    fn change_holders(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Vec<Holder>) -> Result<(), VolumeError>,
    ) -> Result<(), VolumeError> {
        let mut changed = Ok(());
        self.commit_table(|table| changed = change(&mut table.holders))?;
        changed
    }
}

fn replace(holders: &mut [Holder], holder: &Holder) -> Result<(), VolumeError> {
    match holders.iter_mut().find(|known| known.id == holder.id) {
        Some(known) => {
            known.clone_from(holder);
            Ok(())
        }
        None => Err(VolumeError::Refused("the holder was taken off the list a moment ago".into())),
    }
}
