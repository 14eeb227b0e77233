//! What brings a volume to a committed record: which steps are due, by its generation table, and taking them.
//!
//! Invariants: the plan is a function of the table, the census and the record alone, so it is the same after a crash and empty once
//! the volume is as the record says; steps are taken one at a time and the plan is made anew after each; a step that
//! cannot be taken hinders itself, never the others; what makes safe comes first.

use std::collections::BTreeMap;

use crate::cluster::record::{Key, Keyring, Step};
use crate::format::generations::{Entry, GenerationTable, KeyState, Pace, Phase};
use crate::units::Generation;

/// Steps that one convergence takes at most: more than any plan of a full table.
const STEPS_MAX: usize = 4096;

/// A step of the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepToTake {
    /// Make a prepared generation the target.
    Activate(Generation),
    /// Make the generation before the target again.
    RollBack,
    /// Withdraw a key.
    Revoke(Generation),
    /// Mark a key as known to others, or take the mark away.
    Mark(Generation, bool),
    /// Hold the drain.
    Pause,
    /// Let it go on.
    Resume,
    /// Another pace.
    Pace(Pace),
    /// End the way back.
    Finalize,
    /// Give up a generation that never was active.
    Abandon(Generation),
    /// A generation that was prepared here and never active counts as empty.
    EnterEmpty(Generation),
    /// Take a key out of use.
    Retire(Generation),
    /// Bring it back.
    Restore(Generation),
    /// Give its destruction a date.
    Schedule(Generation, u64),
    /// Withdraw the date.
    Cancel(Generation),
    /// Erase it.
    Destroy(Generation),
    /// Give a withdrawn key back.
    Reinstate(Generation),
}

/// What is due now, and what is due and cannot be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Steps that can be taken now, the most urgent first. More may follow once they are taken.
    pub steps: Vec<StepToTake>,
    /// What keeps the volume from being as the record says.
    pub hindrances: Vec<String>,
}

/// A volume as a plan sees it.
pub struct Seen<'a> {
    /// Its generation table.
    pub table: &'a GenerationTable,
    /// Extents by generation.
    pub census: &'a BTreeMap<Generation, u64>,
    /// Whether its drain may run: its turn, and not held on this node.
    pub may_drain: bool,
}

/// Whoever can take steps.
pub trait Hands {
    /// The generation table and the census as they are now.
    fn look(&self) -> (GenerationTable, BTreeMap<Generation, u64>);

    /// Takes a step.
    ///
    /// # Errors
    /// It cannot be taken now, and why.
    fn take(&mut self, step: &StepToTake, record: &Keyring) -> Result<(), String>;
}

/// Plans and takes steps until nothing is left that can be done.
///
/// # Errors
/// What keeps the volume from being as the record says.
pub fn converge(hands: &mut dyn Hands, record: &Keyring, may_drain: bool) -> Result<(), String> {
    let mut failed: Vec<(StepToTake, String)> = Vec::new();
    for _ in 0..STEPS_MAX {
        let (table, census) = hands.look();
        let due = plan(&Seen { table: &table, census: &census, may_drain }, record);
        let next = due.steps.iter().find(|step| failed.iter().all(|(other, _)| other != *step));
        let Some(step) = next else {
            let reasons = failed.into_iter().filter(|(step, _)| due.steps.contains(step)).map(|(_, why)| why);
            let all: Vec<String> = reasons.chain(due.hindrances).collect();
            return if all.is_empty() { Ok(()) } else { Err(all.join("; ")) };
        };
        if let Err(why) = hands.take(step, record) {
            failed.push((step.clone(), why));
        }
    }
    Err("the volume does not settle: its steps undo one another".into())
}

/// What is due to bring the volume to `record`.
pub fn plan(seen: &Seen<'_>, record: &Keyring) -> Plan {
    let mut plan = Plan::default();
    retarget(seen, record, &mut plan);
    for key in &record.keys {
        match key_step(seen.table, key) {
            Due::Nothing => {}
            Due::Step(step) => plan.steps.push(step),
            Due::Hindered(why) => plan.hindrances.push(why),
        }
    }
    marks(seen.table, record, &mut plan);
    unknown(seen.table, record, &mut plan);
    drain(seen, record, &mut plan);
    plan.steps.dedup();
    // Stable: what is equally urgent stays in the order of generations.
    plan.steps.sort_by_key(urgency);
    plan
}

fn urgency(step: &StepToTake) -> u8 {
    match step {
        StepToTake::RollBack => 0,
        StepToTake::Revoke(_) => 1,
        StepToTake::Pause => 2,
        StepToTake::Mark(..) | StepToTake::Cancel(_) => 3,
        StepToTake::Finalize => 4,
        StepToTake::Activate(_) => 5,
        StepToTake::Pace(_) | StepToTake::Resume => 6,
        StepToTake::Destroy(_) => 8,
        _ => 7,
    }
}

/// The generation that is written.
fn retarget(seen: &Seen<'_>, record: &Keyring, plan: &mut Plan) {
    let rotation = &seen.table.rotation;
    let Some(active) = record.keys.iter().find(|key| key.state == KeyState::Active) else { return };
    if rotation.target == active.generation {
        return;
    }
    let local = seen.table.entry(active.generation).filter(|entry| entry.key_id == active.key_id);
    match local.map(|entry| entry.state) {
        Some(KeyState::Prepared) => plan.steps.push(StepToTake::Activate(active.generation)),
        Some(KeyState::Draining) if rotation.rollback_to == Some(active.generation) => {
            plan.steps.push(StepToTake::RollBack);
        }
        Some(state) => plan.hindrances.push(format!(
            "generation {} shall be written, but is {} here, with no way back to it",
            active.generation,
            state.name()
        )),
        // The key's own line says that it is not here.
        None => {}
    }
}

/// What is due for one key.
enum Due {
    Nothing,
    Step(StepToTake),
    Hindered(String),
}

fn key_step(table: &GenerationTable, key: &Key) -> Due {
    use KeyState::{Active, Destroyed, Disabled, Draining, Empty, Prepared, Revoked, Scheduled};
    let generation = key.generation;
    let Some(local) = table.entry(generation) else {
        return match key.state {
            Destroyed => Due::Nothing,
            Prepared => {
                Due::Hindered(format!("the key of generation {generation} is not here, although this node had it"))
            }
            state => Due::Hindered(format!("generation {generation} ({}) is not in this volume", state.name())),
        };
    };
    if local.key_id != key.key_id {
        return match never_used(local) {
            true => Due::Step(StepToTake::Abandon(generation)),
            false => Due::Hindered(format!(
                "generation {generation} is another key here: this is not a replica of the volume"
            )),
        };
    }
    let step = match (local.state, key.state) {
        (Scheduled, Scheduled) if local.life.scheduled != key.scheduled => StepToTake::Cancel(generation),
        (local, wanted) if local == wanted => return Due::Nothing,
        (Prepared | Draining, Active) | (Active, Draining) | (Prepared | Empty, Draining) => return Due::Nothing,
        (Prepared, Destroyed) if never_used(local) => StepToTake::Abandon(generation),
        (Prepared, Empty | Disabled | Scheduled | Destroyed) => StepToTake::EnterEmpty(generation),
        (Draining, Empty | Disabled | Scheduled | Destroyed) => return end_of_way_back(table, generation),
        (Empty, Disabled | Scheduled | Destroyed) => StepToTake::Retire(generation),
        (Disabled, Empty | Draining) => StepToTake::Restore(generation),
        (Disabled, Scheduled | Destroyed) => StepToTake::Schedule(generation, key.scheduled),
        (Scheduled, Disabled | Empty | Draining) => StepToTake::Cancel(generation),
        (Scheduled, Destroyed) => StepToTake::Destroy(generation),
        (Prepared | Draining | Empty | Disabled | Scheduled, Revoked) => StepToTake::Revoke(generation),
        (Revoked, Draining | Empty | Disabled | Scheduled | Destroyed) => StepToTake::Reinstate(generation),
        (local, wanted) => {
            return Due::Hindered(format!(
                "generation {generation} is {} here and shall be {}",
                local.name(),
                wanted.name()
            ));
        }
    };
    Due::Step(step)
}

fn never_used(entry: &Entry) -> bool {
    entry.state == KeyState::Prepared && entry.activated == 0
}

/// A generation becomes empty when the rotation away from it is finalized.
fn end_of_way_back(table: &GenerationTable, generation: Generation) -> Due {
    match table.rotation.phase {
        Phase::Drained => Due::Step(StepToTake::Finalize),
        phase => Due::Hindered(format!(
            "generation {generation} is still draining here: the rotation is {}",
            crate::volume::lifecycle::phase_name(phase)
        )),
    }
}

fn marks(table: &GenerationTable, record: &Keyring, plan: &mut Plan) {
    for key in &record.keys {
        let local = table.entry(key.generation).filter(|entry| entry.key_id == key.key_id);
        let differs = |entry: &&Entry| entry.compromised != key.compromised && entry.state != KeyState::Destroyed;
        if local.filter(differs).is_some() {
            plan.steps.push(StepToTake::Mark(key.generation, key.compromised));
        }
    }
}

/// Generations that the record does not know. A prepared one may be on its way into the next record.
fn unknown(table: &GenerationTable, record: &Keyring, plan: &mut Plan) {
    let others = table.entries.iter().filter(|entry| entry.generation != Generation::METADATA && !never_used(entry));
    let others = others.filter(|entry| record.key(entry.generation).is_none());
    plan.hindrances.extend(others.map(|entry| format!("generation {} is in this volume alone", entry.generation)));
}

/// Pause and pace of the drain.
fn drain(seen: &Seen<'_>, record: &Keyring, plan: &mut Plan) {
    let rotation = &seen.table.rotation;
    let change = &record.change;
    let is_change = rotation.target == change.target && matches!(change.step, Step::Active | Step::RolledBack);
    if !matches!(rotation.phase, Phase::Running | Phase::Paused) {
        if rotation.phase == Phase::Failed && is_change {
            plan.hindrances.push(
                "re-encryption has stopped here: `rotate status` says why, `rotate resume --here` goes on".into(),
            );
        }
        return;
    }
    if is_change && rotation.pace != change.pace {
        plan.steps.push(StepToTake::Pace(change.pace));
    }
    let hold = (is_change && change.paused) || !seen.may_drain;
    match rotation.phase {
        Phase::Running if hold => plan.steps.push(StepToTake::Pause),
        Phase::Paused if !hold => match withdrawn(seen) {
            None => plan.steps.push(StepToTake::Resume),
            Some(why) => plan.hindrances.push(why),
        },
        _ => {}
    }
}

/// Why going on would come to nothing: all that is left is under keys that are withdrawn.
fn withdrawn(seen: &Seen<'_>) -> Option<String> {
    let is_revoked =
        |generation: Generation| seen.table.entry(generation).is_some_and(|entry| entry.state == KeyState::Revoked);
    let left = || seen.census.iter().filter(|(generation, _)| **generation != seen.table.rotation.target);
    let (generation, extents) = left().find(|(generation, _)| is_revoked(**generation))?;
    left().all(|(generation, _)| is_revoked(*generation)).then(|| {
        format!("{extents} extents carry generation {generation}, which is revoked: `key reinstate` gives it back")
    })
}

#[cfg(test)]
#[path = "tests/converge.rs"]
mod tests;
