//! The life of keys in a workload: steps at random, as far as the state allows them, beside a rotation and a client.

use std::sync::Arc;

use super::super::life::{reinstate, restore};
use super::ledger::Note;
use super::work::{Run, in_full};
use crate::format::generations::{Entry, KeyState};
use crate::units::Generation;
use crate::volume::life::{By, How, Statement, Step, SystemClock};
use crate::volume::{Volume, VolumeError};

const STEPS: [Step; 8] = [
    Step::Retire,
    Step::Restore,
    Step::Schedule,
    Step::Cancel,
    Step::Destroy,
    Step::Compromise,
    Step::Revoke,
    Step::Reinstate,
];

/// Long, so that tables become longer than a block, and shorter again.
fn by() -> By {
    By { actor: "test".into(), reason: "because ".repeat(64), now: 5 }
}

/// Takes a step. Nobody waits for a clock: all is one thread's.
fn take(volume: &Arc<Volume>, generation: Generation, step: Step) -> Result<(), VolumeError> {
    let (by, clock) = (by(), SystemClock::default());
    let mut keep = |_: &Statement, _: &str| Ok(());
    match step {
        Step::Retire => volume.retire(generation, &by, &clock, &mut keep).map(|_| ()),
        Step::Restore => restore(volume, generation, &by),
        Step::Schedule => volume.schedule(generation, 5, &by),
        Step::Cancel => volume.cancel(generation, &by),
        Step::Destroy => volume.destroy(generation, How::default(), &by).map(|_| ()),
        Step::Compromise => {
            let marked = volume.table().entry(generation).is_some_and(|entry| entry.compromised);
            volume.mark(generation, !marked, &by).map(|_| ())
        }
        Step::Revoke => volume.revoke(generation, &by, &clock).map(|_| ()),
        Step::Reinstate => reinstate(volume, generation, &by).map(|_| ()),
        Step::Activate | Step::Drain | Step::Empty => Ok(()),
    }
}

/// What it may be in the middle of a step.
fn allowed(entry: &Entry, step: Step) -> Vec<(KeyState, bool)> {
    let before = (entry.state, entry.compromised);
    let after = step.from(entry.state).unwrap_or(entry.state);
    let mut allowed = vec![before, (after, entry.compromised ^ (step == Step::Compromise))];
    if step == Step::Reinstate {
        allowed.push((KeyState::Empty, entry.compromised));
    }
    allowed
}

impl Run {
    /// Some generation takes some step that its state allows.
    pub fn live(&mut self) -> Result<(), VolumeError> {
        let table = self.volume.table();
        let entries = table.entries.iter().filter(|entry| entry.generation != Generation::METADATA);
        let steps = entries.flat_map(|entry| {
            let steps = STEPS.into_iter().filter(|step| step.from(entry.state).is_some());
            steps.map(|step| (entry.clone(), step))
        });
        let steps: Vec<_> = steps.collect();
        let (entry, step) = steps[self.rng.below(steps.len() as u64) as usize].clone();
        if step == Step::Revoke && self.rng.once_in(2) {
            // As the daemon does; without it a crash finds records that name the key.
            self.pipeline.drain(self.target())?;
        }
        self.step_of(&entry, step)
    }

    /// Every key that was withdrawn comes back.
    pub fn reinstate_all(&mut self) -> Result<(), VolumeError> {
        let revoked = |entry: &&Entry| entry.state == KeyState::Revoked;
        let table = self.volume.table();
        table.entries.iter().filter(revoked).try_for_each(|entry| self.step_of(entry, Step::Reinstate))
    }

    fn step_of(&mut self, entry: &Entry, step: Step) -> Result<(), VolumeError> {
        let generation = entry.generation;
        // Requests under way have the key in hand, and on one thread nobody else ends them.
        self.actor.borrow_mut().settle();
        if step == Step::Destroy && !entry.wraps.is_empty() {
            let blobs = entry.wraps.iter().map(|wrap| wrap.blob.clone()).collect();
            self.actor.borrow_mut().note(Note::Erasing { generation, blobs });
        }
        self.actor.borrow_mut().note(Note::Key { generation, allowed: allowed(entry, step) });
        self.actor.borrow_mut().excused |= step == Step::Revoke;
        let taken = take(&self.volume, generation, step);
        if self.volume.poisoned().is_none()
            && let Some(now) = self.volume.table().entry(generation)
        {
            self.actor.borrow_mut().note(Note::Key { generation, allowed: vec![(now.state, now.compromised)] });
        }
        self.actor.borrow_mut().settle();
        let revoked = |entry: &Entry| entry.state == KeyState::Revoked;
        let excused = self.volume.table().entries.iter().any(revoked);
        let mut actor = self.actor.borrow_mut();
        if actor.excused && !excused {
            actor.excused_before = actor.client.next_number();
        }
        actor.excused = excused;
        drop(actor);
        match taken {
            Err(VolumeError::Refused(_)) => Ok(()),
            taken => taken,
        }
    }
}

/// Brings every key back that a crash found withdrawn or retired: nothing of what a step leaves is lost. Whether the
/// volume has to be opened anew for it.
pub fn revive(volume: &Arc<Volume>) -> Result<bool, String> {
    let mut anew = false;
    for entry in &volume.table().entries {
        let steps: &[Step] = match entry.state {
            KeyState::Revoked => &[Step::Reinstate],
            KeyState::Disabled => &[Step::Restore],
            KeyState::Scheduled => &[Step::Cancel, Step::Restore],
            _ => &[],
        };
        for step in steps {
            let taken = take(volume, entry.generation, *step);
            taken.map_err(|error| format!("no {step:?} of generation {}: {}", entry.generation, in_full(&error)))?;
        }
        anew |= entry.state == KeyState::Revoked && volume.recovered().barred > 0;
    }
    Ok(anew)
}
