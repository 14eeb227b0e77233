//! The life of a key generation after it has encrypted: retire, restore, schedule, destroy; compromise, revoke, reinstate.
//!
//! | file | what it is for |
//! |---|---|
//! | `steps` | which step leads where: the table, pure |
//! | `retire`, `zero`, `scan`, `statement` | the proof that nothing needs a key, and what states it |
//! | `destroy`, `residue` | erasing a key, and the proof that nothing of it is left |
//! | `revoke` | withdrawing a key that extents carry, and giving it back |
//! | `unlock` | having a key from its keeper before the step that brings it back |
//! | `unused` | a key that was prepared and never used |
//! | `clock` | waiting for others, by a clock that tests put in |
//!
//! Invariants: every step is one commit of the generation table, with time, actor and reason, so that a crash leaves the
//! state of before or of after; a key is unloaded only behind that commit, and loaded only before it, proven by its
//! canary; what cannot be undone is written only behind the commit that says so.

mod clock;
mod destroy;
mod residue;
mod retire;
mod revoke;
mod scan;
mod statement;
mod steps;
mod unlock;
mod unused;
mod zero;

use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use clock::{Clock, SystemClock, wait_until};
pub use destroy::{Destroyed, How, LostWrap};
#[cfg(test)]
pub(in crate::volume) use residue::{Windows, search};
pub use retire::Retired;
pub use revoke::{REVOKE_PATIENCE, Reinstated, Revoked};
pub use statement::{Statement, Verdict};
pub use steps::{Step, enter};
pub use zero::ZeroReport;

use super::Volume;
use super::error::VolumeError;
use crate::format::generations::{Entry, GenerationTable};
use crate::units::Generation;

/// Who takes a step, when and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct By {
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When, seconds since 1970.
    pub now: u64,
}

impl By {
    /// The daemon itself.
    pub fn daemon(reason: &str, now: u64) -> By {
        By { actor: "daemon".into(), reason: reason.into(), now }
    }
}

/// The entry of `generation`.
pub(super) fn entry_of(table: &GenerationTable, generation: Generation) -> Result<&Entry, VolumeError> {
    let missing = || VolumeError::Refused(format!("the volume has no generation {generation}"));
    table.entry(generation).ok_or_else(missing)
}

impl Volume {
    /// Whether the key of `generation` is not in memory: its extents answer EIO.
    pub fn is_closed(&self, generation: Generation) -> bool {
        !self.keyring.has(generation)
    }

    /// Extents that answer EIO until the volume is opened anew with the key that a live intent names.
    pub fn barred(&self) -> u64 {
        self.meta().log.stuck()
    }

    /// Whether `step` is allowed now, without taking it.
    ///
    /// # Errors
    /// It is not, and why.
    pub fn may(&self, generation: Generation, step: Step) -> Result<(), VolumeError> {
        self.writable()?;
        let meta = self.meta();
        steps::after(generation, entry_of(&meta.table, generation)?.state, step).map(|_| ())
    }

    /// Commit point of a step: the entry in its new state, and what else `change` does to it.
    fn take(
        self: &Arc<Self>,
        generation: Generation,
        step: Step,
        by: &By,
        change: impl FnOnce(&mut Entry),
    ) -> Result<(), VolumeError> {
        let taken = self.try_commit_table(|table| {
            entry_of(table, generation)?;
            let Some(entry) = table.entry_mut(generation) else { return Ok(()) };
            enter(entry, step, by)?;
            change(entry);
            if let Some(key) = self.keyring.get(generation).filter(|_| !entry.state.is_loaded()) {
                // It is about to leave memory: what was reserved ahead is not needed any more.
                entry.bytes_reserved = key.bytes.load(Ordering::Relaxed);
            }
            Ok(())
        });
        // What a key was asked for before is not what it would be asked for now; a mark changes nothing about that.
        if step != Step::Compromise {
            self.forget_unlocked(generation);
        }
        taken
    }

    /// Gives the destruction of a retired key a date, seconds since 1970.
    ///
    /// # Errors
    /// The step is not allowed.
    pub fn schedule(self: &Arc<Self>, generation: Generation, date: u64, by: &By) -> Result<(), VolumeError> {
        self.take(generation, Step::Schedule, by, |entry| entry.life.scheduled = date)
    }

    /// Withdraws the date; the key stays retired.
    ///
    /// # Errors
    /// The step is not allowed.
    pub fn cancel(self: &Arc<Self>, generation: Generation, by: &By) -> Result<(), VolumeError> {
        self.take(generation, Step::Cancel, by, |entry| entry.life.scheduled = 0)
    }

    /// Marks the key as known to others, or takes the mark away. It stays in memory: what it encrypts has to be read to be
    /// re-encrypted. False: it was so already.
    ///
    /// # Errors
    /// The step is not allowed.
    pub fn mark(self: &Arc<Self>, generation: Generation, compromised: bool, by: &By) -> Result<bool, VolumeError> {
        if entry_of(&self.meta().table, generation)?.compromised == compromised {
            return Ok(false);
        }
        self.take(generation, Step::Compromise, by, |entry| entry.compromised = compromised)?;
        Ok(true)
    }

    /// Whatever became of a commit, the second copy of a table may have failed: memory holds the keys that its table says.
    fn unload_if_closed(&self, generation: Generation) {
        let is_loaded = |entry: &Entry| entry.state.is_loaded();
        if !self.meta().table.entry(generation).is_some_and(is_loaded) {
            self.keyring.remove(generation);
        }
    }
}
