//! The record that a command leads to: pure, and without its place in the history, which the lead gives it.
//!
//! Invariant: what comes out is sound and may follow what it was made from, or a refusal says what to do first.

use super::codec::cut;
use super::node::{By, Command, Refused, Wanted};
use super::record::{Change, Key, Keyring, NodeWrap, Role, Step};
use crate::format::generations::{KeyState, REASON_MAX};
use crate::format::lives::ACTOR_MAX;
use crate::units::Generation;

/// A generation that has been made: what the record will say of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Made {
    /// Its number.
    pub generation: Generation,
    /// Its identity.
    pub key_id: [u8; 16],
    /// Its check value.
    pub check: [u8; 16],
    /// Its wraps on the lead.
    pub wraps: Vec<NodeWrap>,
}

fn state_error(text: String) -> Refused {
    Refused::State(text)
}

/// Whether a new change may begin.
///
/// # Errors
/// Another one is under way.
pub fn may_rotate(base: &Keyring) -> Result<(), Refused> {
    let change = &base.change;
    match change.step {
        Step::Idle | Step::Finalized => Ok(()),
        Step::Prepared => Err(Refused::Busy(format!(
            "change {} to generation {} is being prepared: wait, or abandon it",
            change.id, change.target
        ))),
        Step::Active | Step::RolledBack => Err(Refused::Busy(format!(
            "change {} to generation {} is not finalized: wait for its drain, or finalize it",
            change.id, change.target
        ))),
    }
}

/// The record of a generation that is *prepared*.
///
/// # Errors
/// Another change is under way.
pub fn prepared(base: &Keyring, wanted: &Wanted, made: Made, by: &By, now: u64) -> Result<Keyring, Refused> {
    may_rotate(base)?;
    let mut next = base.clone();
    next.keys.push(Key {
        generation: made.generation,
        key_id: made.key_id,
        suite: wanted.suite,
        state: KeyState::Prepared,
        compromised: false,
        created: now,
        activated: 0,
        scheduled: 0,
        check: made.check,
        reason: cut(&by.reason, REASON_MAX),
        wraps: made.wraps,
    });
    next.change = Change {
        id: base.change.id + 1,
        step: Step::Prepared,
        target: made.generation,
        from: active(base),
        paused: false,
        hold_finalize: wanted.hold_finalize,
        one_at_a_time: wanted.one_at_a_time,
        cold_proof: wanted.cold_proof,
        pace: wanted.pace,
        verify: wanted.verify,
        deadline_s: wanted.deadline_s,
        on_deadline: wanted.on_deadline,
        since: now,
        actor: cut(&by.actor, ACTOR_MAX),
        reason: cut(&by.reason, REASON_MAX),
    };
    Ok(next)
}

/// The generation that is active.
pub fn active(base: &Keyring) -> Generation {
    let found = base.keys.iter().find(|key| key.state == KeyState::Active);
    found.map_or(base.change.target, |key| key.generation)
}

/// The record in which the prepared generation is active.
pub fn activated(base: &Keyring, now: u64) -> Keyring {
    let mut next = base.clone();
    swap(&mut next, base.change.from, base.change.target, now);
    next.change.step = Step::Active;
    next.change.since = now;
    next
}

fn swap(next: &mut Keyring, old: Generation, new: Generation, now: u64) {
    for key in &mut next.keys {
        if key.generation == new {
            key.state = KeyState::Active;
            key.activated = key.activated.max(now).max(1);
        } else if key.generation == old {
            key.state = KeyState::Draining;
            key.activated = key.activated.max(1);
        }
    }
}

/// The record in which nothing is draining any more.
pub fn finalized(base: &Keyring, now: u64) -> Keyring {
    let mut next = base.clone();
    for key in next.keys.iter_mut().filter(|key| key.state == KeyState::Draining) {
        key.state = KeyState::Empty;
    }
    next.change.step = Step::Finalized;
    next.change.since = now;
    next
}

/// The record in which a prepared generation is given up: what a new lead makes of what it inherits, too.
pub fn abandoned(base: &Keyring, now: u64) -> Keyring {
    let mut next = base.clone();
    for key in next.keys.iter_mut().filter(|key| key.state == KeyState::Prepared) {
        key.state = KeyState::Destroyed;
        key.wraps.clear();
    }
    next.change.step = Step::Idle;
    next.change.target = active(base);
    next.change.from = next.change.target;
    next.change.since = now;
    next
}

/// The old generation again. `base` may have the new one *prepared* only, while its activation is not committed.
fn rolled_back(base: &Keyring, now: u64) -> Result<Keyring, Refused> {
    let change = &base.change;
    let (given_up, again) = (change.target, change.from);
    match change.step {
        Step::Active | Step::Prepared => {}
        Step::Finalized => {
            return Err(state_error("the change is finalized: there is no way back but a new one".into()));
        }
        Step::RolledBack => return Err(state_error("the change is rolled back already".into())),
        Step::Idle => return Err(state_error("there is no change to roll back".into())),
    }
    if base.key(again).is_none_or(|key| key.state == KeyState::Revoked) {
        return Err(state_error(format!("generation {again} is revoked: reinstate it first")));
    }
    let mut next = base.clone();
    swap(&mut next, given_up, again, now);
    (next.change.target, next.change.from) = (again, given_up);
    next.change.step = Step::RolledBack;
    next.change.paused = false;
    next.change.since = now;
    Ok(next)
}

/// A step in a key's life, or why it is not one.
fn live(
    base: &Keyring,
    generation: Generation,
    from: &[KeyState],
    to: KeyState,
    way: &str,
) -> Result<Keyring, Refused> {
    let mut next = base.clone();
    let key = next.keys.iter_mut().find(|key| key.generation == generation);
    let key = key.ok_or_else(|| state_error(format!("there is no generation {generation}")))?;
    if !from.contains(&key.state) {
        return Err(state_error(format!("generation {generation} is {}: {way}", key.state.name())));
    }
    key.state = to;
    key.scheduled = 0;
    if to == KeyState::Destroyed {
        key.wraps.clear();
    }
    Ok(next)
}

/// The record that a command leads to from `base`.
///
/// # Errors
/// The record does not allow it, and what does.
pub fn next(base: &Keyring, command: &Command, now: u64) -> Result<Keyring, Refused> {
    use KeyState::{Destroyed, Disabled, Draining, Empty, Revoked, Scheduled};
    let under_way = matches!(base.change.step, Step::Prepared | Step::Active | Step::RolledBack);
    match command {
        Command::Abandon if base.change.step == Step::Prepared => Ok(abandoned(base, now)),
        Command::Abandon => Err(state_error("no generation is waiting to be activated; `rollback` goes back".into())),
        Command::Pause(_) | Command::Pace(_) if !under_way => Err(state_error("no change is under way".into())),
        Command::Pause(paused) => Ok(with(base, |next| next.change.paused = *paused)),
        Command::Pace(pace) => Ok(with(base, |next| next.change.pace = *pace)),
        Command::RollBack => rolled_back(base, now),
        Command::Finalize if matches!(base.change.step, Step::Active | Step::RolledBack) => Ok(finalized(base, now)),
        Command::Finalize => Err(state_error("no change is draining".into())),
        Command::Retire(generation) => live(base, *generation, &[Empty], Disabled, "only an empty one can be retired"),
        Command::Restore(generation) => {
            live(base, *generation, &[Disabled], Empty, "only a retired one can be restored")
        }
        Command::Schedule(generation, at) => {
            let mut next = live(base, *generation, &[Disabled], Scheduled, "retire it first")?;
            next.keys.iter_mut().filter(|key| key.generation == *generation).for_each(|key| key.scheduled = *at);
            Ok(next)
        }
        Command::Cancel(generation) => live(base, *generation, &[Scheduled], Disabled, "its destruction has no date"),
        Command::Destroy { generation, early, .. } => {
            let date = base.key(*generation).map_or(0, |key| key.scheduled);
            let next = live(base, *generation, &[Scheduled], Destroyed, "give its destruction a date first")?;
            if now < date && !early {
                let left = date - now;
                return Err(state_error(format!("generation {generation} may be destroyed in {left} s, not before")));
            }
            Ok(next)
        }
        Command::Compromise(generation, mark) => {
            let key = base.key(*generation).filter(|key| key.state != Destroyed);
            key.ok_or_else(|| state_error(format!("there is no generation {generation} that could be marked")))?;
            Ok(with(base, |next| {
                next.keys
                    .iter_mut()
                    .filter(|key| key.generation == *generation)
                    .for_each(|key| key.compromised = *mark);
            }))
        }
        Command::Revoke(generation) => live(
            base,
            *generation,
            &[Draining, Empty, Disabled, Scheduled],
            Revoked,
            "roll back or rotate away from it first, or abandon it",
        ),
        Command::Reinstate(generation) => live(base, *generation, &[Revoked], Draining, "it is not revoked"),
        Command::Expel(name) => expelled(base, name),
        Command::Admit(member) => {
            may_rotate(base)?;
            if base.member(&member.name).is_some() || base.expelled.contains(&member.name) {
                let name = &member.name;
                return Err(state_error(format!("{name} is or was a member: it needs a name of its own")));
            }
            Ok(with(base, |next| {
                next.members.push(member.clone());
                next.members.sort_by(|a, b| a.name.cmp(&b.name));
            }))
        }
        Command::Rotate(_) | Command::Promote(_) | Command::StepDown | Command::Hold | Command::Release => {
            Err(state_error("this is no change of the record".into()))
        }
    }
}

fn with(base: &Keyring, change: impl FnOnce(&mut Keyring)) -> Keyring {
    let mut next = base.clone();
    change(&mut next);
    next
}

fn expelled(base: &Keyring, name: &super::name::NodeName) -> Result<Keyring, Refused> {
    if base.member(name).is_none() {
        return Err(state_error(format!("{name} is no member")));
    }
    if *name == base.lead {
        return Err(state_error(format!("{name} leads: promote another node first")));
    }
    let next = with(base, |next| {
        next.members.retain(|member| member.name != *name);
        next.expelled.push(name.clone());
        next.expelled.sort();
        for key in &mut next.keys {
            key.wraps.retain(|wrap| wrap.node != *name);
        }
    });
    match next.members.iter().any(|member| member.role == Role::Full) {
        true => Ok(next),
        false => Err(state_error(format!("{name} is the only replica"))),
    }
}
