//! The life of a volume's keys as the control plane commands it, and what each step means for the rotation.
//!
//! Invariants: commands run one after another, as all of a controller's, and none waits for a keeper while others wait for it: a
//! key that comes back is had first; a step changes the generation table first and the
//! worker second, but a worker whose extents lose their key has ended before, with nothing under way that names it.

use std::time::Duration;

use super::controller::Controller;
use crate::crypto::Suite;
use crate::format::generations::{GenerationTable, KeyState, Pace, Phase, REASON_MAX, Rotation, VerifyMode};
use crate::units::Generation;
use crate::volume::life::{
    By, Clock, Destroyed, How, Reinstated, Retired, Revoked, Statement, Step, Verdict, wait_until,
};
use crate::volume::lifecycle::RotationSpec;
use crate::volume::prepare::NewKey;
use crate::volume::{Volume, VolumeError};

/// How long a worker may take to end before a key is withdrawn all the same: half of what a revocation may take.
const WORKER_PATIENCE: Duration = Duration::from_secs(5);

/// As fast as it goes, whatever clients feel of it.
pub const TOP: Pace = Pace { rate: 0, adaptive: false, factor_percent: 150 };

/// What marking a key came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compromised {
    /// False: it was marked already.
    pub marked: bool,
    /// What was done about what it encrypts.
    pub flight: Flight,
}

/// What became of the extents of a key that is known to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flight {
    /// Nothing carries it.
    NotNeeded,
    /// A rotation to this generation has begun.
    Begun(Generation),
    /// The rotation to this generation leaves it already; it is at top priority now.
    Raised(Generation),
    /// No rotation could begin, and why.
    Refused(String),
}

/// How extents get away from a key that is known to others.
enum Way {
    /// The rotation to this generation leads away.
    Raise(Generation),
    /// A new one has to begin.
    Begin(Box<(Result<NewKey, VolumeError>, RotationSpec)>),
}

/// A rotation at top priority, away from `generation`.
fn escape(table: &GenerationTable, generation: Generation, by: &By) -> RotationSpec {
    let present = table.entry(table.rotation.target).map_or(0, |entry| entry.suite);
    RotationSpec {
        suite: Suite::from_id(present).unwrap_or(Suite::Aes256Xts),
        order: table.rotation.order.clone(),
        pace: TOP,
        verify: VerifyMode::Full,
        hold_finalize: false,
        paused: false,
        by: By { reason: because(generation, &by.reason), ..by.clone() },
    }
}

impl Controller {
    /// Takes a key that nothing needs out of memory, with proof; see [`Volume::retire`].
    ///
    /// # Errors
    /// The step is not allowed, something needs the key, or the statement could not be kept.
    pub fn retire(
        &self,
        generation: Generation,
        by: &By,
        clock: &dyn Clock,
        keep: &mut dyn FnMut(&Statement, &str) -> Result<(), VolumeError>,
    ) -> Result<Retired, VolumeError> {
        let _worker = self.commands();
        self.volume.retire(generation, by, clock, keep)
    }

    /// Brings a retired key back into memory.
    ///
    /// # Errors
    /// The step is not allowed, or no KEK opens the key.
    pub fn restore(&self, generation: Generation, by: &By) -> Result<(), VolumeError> {
        let _keys = self.making_keys();
        self.volume.unlock(generation, Step::Restore, &self.keks.now())?;
        self.restore_unlocked(generation, by)
    }

    /// Has a key from its keeper for a step that brings it back: [`Controller::restore_unlocked`] or
    /// [`Controller::reinstate_unlocked`]. Nobody waits for the keeper but whoever makes keys.
    ///
    /// # Errors
    /// The step is not allowed, or no KEK opens the key.
    pub fn unlock(&self, generation: Generation, step: Step) -> Result<(), VolumeError> {
        let _keys = self.making_keys();
        self.volume.unlock(generation, step, &self.keks.now())
    }

    /// The second half of [`Controller::restore`].
    ///
    /// # Errors
    /// The step is not allowed, or the key was not had.
    pub fn restore_unlocked(&self, generation: Generation, by: &By) -> Result<(), VolumeError> {
        let _worker = self.commands();
        self.volume.restore(generation, by)
    }

    /// Gives the destruction of a retired key a date, seconds since 1970.
    ///
    /// # Errors
    /// The step is not allowed.
    pub fn schedule(&self, generation: Generation, date: u64, by: &By) -> Result<(), VolumeError> {
        let _worker = self.commands();
        self.volume.schedule(generation, date, by)
    }

    /// Withdraws the date.
    ///
    /// # Errors
    /// The step is not allowed.
    pub fn cancel(&self, generation: Generation, by: &By) -> Result<(), VolumeError> {
        let _worker = self.commands();
        self.volume.cancel(generation, by)
    }

    /// Erases a key; see [`Volume::destroy`].
    ///
    /// # Errors
    /// The step is not allowed, or a device failed.
    pub fn destroy(&self, generation: Generation, how: How, by: &By) -> Result<Destroyed, VolumeError> {
        let _worker = self.commands();
        self.volume.destroy(generation, how, by)
    }

    /// Marks a key as known to others: what it encrypts is re-encrypted at top priority, and there is no way back to it.
    ///
    /// # Errors
    /// The step is not allowed.
    pub fn compromise(&self, generation: Generation, by: &By) -> Result<Compromised, VolumeError> {
        let _keys = self.making_keys();
        let marked = {
            let _worker = self.commands();
            self.volume.mark(generation, true, by)?
        };
        let (table, census) = (self.volume.table(), self.volume.census());
        let is_target = table.rotation.target == generation;
        if !is_target && !census.contains_key(&generation) {
            return Ok(Compromised { marked, flight: Flight::NotNeeded });
        }
        let towards = table.entry(table.rotation.target).filter(|entry| !entry.compromised && !is_target);
        let way = match towards.map(|entry| entry.generation) {
            Some(target) => Way::Raise(target),
            None => {
                let spec = escape(&table, generation, by);
                // Before other commands have to wait: a keeper may hang.
                Way::Begin(Box::new((self.volume.make_key(&self.keks.now(), &spec), spec)))
            }
        };
        let mut worker = self.commands();
        let flight = match way {
            Way::Raise(target) => {
                let raised = self.volume.update_rotation(|rotation| {
                    rotation.pace = TOP;
                    if matches!(rotation.phase, Phase::Paused | Phase::Failed) {
                        rotation.phase = Phase::Running;
                    }
                });
                raised.map(|()| Flight::Raised(target))
            }
            Way::Begin(begin) => {
                let (new, spec) = *begin;
                let begun = new.and_then(|new| self.volume.start_rotation_to(new, &spec));
                if begun.is_ok() {
                    self.fresh_figures();
                }
                begun.map(Flight::Begun)
            }
        };
        self.nudge();
        if self.volume.rotation().phase == Phase::Running {
            self.ensure_worker(&mut worker);
        }
        let flight = flight.unwrap_or_else(|error| Flight::Refused(super::controller::describe(&error)));
        Ok(Compromised { marked, flight })
    }

    /// Takes the mark away. False: there was none.
    ///
    /// # Errors
    /// The step is not allowed.
    pub fn clear_mark(&self, generation: Generation, by: &By) -> Result<bool, VolumeError> {
        let _worker = self.commands();
        self.volume.mark(generation, false, by)
    }

    /// Withdraws a key, whatever it encrypts. A rotation ends its batches first, and goes on without its extents.
    ///
    /// # Errors
    /// The step is not allowed, or could not be made durable.
    pub fn revoke(&self, generation: Generation, by: &By, clock: &dyn Clock) -> Result<Revoked, VolumeError> {
        let mut worker = self.commands();
        self.volume.may(generation, Step::Revoke)?;
        self.hold(true);
        let ended = wait_until(clock, WORKER_PATIENCE, || !self.board.lock().running);
        if ended.is_none() {
            tracing::warn!(volume = %self.volume.id(), %generation, "a key is revoked while a batch is still under way");
        }
        let revoked = self.volume.revoke(generation, by, clock);
        self.hold(false);
        if self.volume.rotation().phase == Phase::Running && self.volume.poisoned().is_none() {
            self.ensure_worker(&mut worker);
        }
        revoked
    }

    /// Gives a revoked key back. A rotation that waited for it goes on with `rotate resume`.
    ///
    /// # Errors
    /// The step is not allowed, or no KEK opens the key.
    pub fn reinstate(&self, generation: Generation, by: &By) -> Result<Reinstated, VolumeError> {
        let _keys = self.making_keys();
        self.volume.unlock(generation, Step::Reinstate, &self.keks.now())?;
        self.reinstate_unlocked(generation, by)
    }

    /// The second half of [`Controller::reinstate`].
    ///
    /// # Errors
    /// The step is not allowed, or the key was not had.
    pub fn reinstate_unlocked(&self, generation: Generation, by: &By) -> Result<Reinstated, VolumeError> {
        let _worker = self.commands();
        self.volume.reinstate(generation, by)
    }

    /// Checks a statement of retirement; see [`Volume::verify_statement`].
    ///
    /// # Errors
    /// It is none.
    pub fn verify_statement(&self, text: &str) -> Result<Verdict, VolumeError> {
        self.volume.verify_statement(text)
    }

    fn hold(&self, held: bool) {
        self.board.lock().held = held;
        self.board.changed.notify_all();
    }
}

/// Why a rotation leaves a key that others know, as long as there is room for it.
fn because(generation: Generation, reason: &str) -> String {
    let mut text = format!("generation {generation} is compromised: {reason}");
    text.truncate(text.floor_char_boundary(REASON_MAX));
    text
}

/// What a paused rotation waits for.
pub(super) fn why_paused(rotation: &Rotation, volume: &Volume) -> String {
    let table = volume.table();
    let revoked =
        |generation: &Generation| table.entry(*generation).is_some_and(|entry| entry.state == KeyState::Revoked);
    let left = volume.census().into_iter().filter(|(generation, _)| *generation != rotation.target);
    let closed: Vec<(Generation, u64)> = left.filter(|(generation, _)| revoked(generation)).collect();
    match closed.as_slice() {
        [] if volume.barred() > 0 => format!(
            "records of {} extents name a key that was not loaded: reinstate it, restart the daemon, then `rotate resume`",
            volume.barred()
        ),
        [] => "waits for `rotate resume`".into(),
        [(generation, extents), ..] => format!(
            "{extents} extents carry generation {generation}, which is revoked: `key reinstate` gives it back, then `rotate resume`"
        ),
    }
}

#[cfg(test)]
#[path = "tests/life.rs"]
mod tests;
