//! What may follow what: checks a member makes on its own, whatever a lead says, and the rules a test may drop.
//!
//! Invariants held here: a record is whole in itself ([`sound`]); of what is committed nothing is forgotten, reused or brought back
//! ([`may_follow`]); a member that was away may skip records, so each check is over all ways of getting there.

use super::record::{Hash, Key, Keyring, Member, Role, Step};
use super::stamp::Stamp;
use crate::format::generations::KeyState;
use crate::units::Generation;

/// A rule that a test may drop, to show that its absence is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A report of zero references is a durable promise.
    PromiseReports,
    /// What is acknowledged is durable.
    PersistFirst,
    /// A generation is prepared, proven and activated by all.
    ActivateByAll,
    /// Destruction needs a report of every member.
    ReportsOfAll,
    /// What is held by backups and snapshots is not destroyed.
    PinsCount,
    /// A report counts at the record it was made of, and at no later one.
    FreshReports,
    /// A promised epoch refuses lower ones.
    EpochFence,
    /// A volume is brought to committed records only.
    CommitFirst,
    /// A record is sent only when it is durable here.
    OwnSaveFirst,
}

#[cfg(test)]
thread_local! {
    static DROPPED: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}

/// Drops a rule for everything this thread does.
#[cfg(test)]
pub fn drop_rule(rule: Option<Rule>) {
    DROPPED.set(rule);
}

/// Whether a rule is held: always, but in a test that has dropped it.
#[cfg(test)]
pub fn holds(rule: Rule) -> bool {
    DROPPED.get() != Some(rule)
}

/// Whether a rule is held: always.
#[cfg(not(test))]
pub const fn holds(_: Rule) -> bool {
    true
}

/// Who must have made a record durable before it counts as committed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Quorum {
    /// Every member.
    All,
    /// More than half of the members there were before.
    Majority,
}

/// How many acknowledgements `new` needs on top of the committed `old`. What goes back, withdraws or only sets the pace needs
/// more than half; what gives something up, or relies on everybody, needs all.
pub fn quorum(old: &Keyring, new: &Keyring) -> Quorum {
    if old.stamp.epoch != new.stamp.epoch {
        return Quorum::Majority;
    }
    let admits = new.members.iter().any(|member| old.member(&member.name).is_none());
    let stepped = (old.change.id, old.change.step) != (new.change.id, new.change.step);
    let of_change = stepped
        && match new.change.step {
            Step::Prepared | Step::Active => holds(Rule::ActivateByAll),
            Step::Finalized => true,
            Step::Idle | Step::RolledBack => false,
        };
    let abandoned = |key: &Key| key.state == KeyState::Destroyed && key.activated == 0;
    let of_keys = new.keys.iter().any(|key| {
        let before = old.key(key.generation).map(|key| key.state);
        let out_of_use =
            matches!(key.state, KeyState::Empty | KeyState::Disabled | KeyState::Scheduled | KeyState::Destroyed);
        let alone = key.state == KeyState::Destroyed && !holds(Rule::ReportsOfAll);
        before != Some(key.state) && out_of_use && !abandoned(key) && !alone
    });
    match admits || of_change || of_keys {
        true => Quorum::All,
        false => Quorum::Majority,
    }
}

/// The states one step leads to: what a volume's own table of steps allows, and that a generation which was never active may be
/// given up. A test of whoever knows both holds the two tables against each other.
pub fn steps(state: KeyState) -> &'static [KeyState] {
    use KeyState::{Active, Destroyed, Disabled, Draining, Empty, Prepared, Revoked, Scheduled};
    match state {
        Prepared => &[Active, Empty, Revoked, Destroyed],
        Active => &[Draining],
        Draining => &[Active, Empty, Revoked],
        Empty => &[Disabled, Revoked],
        Disabled => &[Empty, Scheduled, Revoked],
        Scheduled => &[Disabled, Destroyed, Revoked],
        Destroyed => &[],
        Revoked => &[Draining],
    }
}

/// Whether steps lead from one state to the other.
pub fn reachable(from: KeyState, to: KeyState) -> bool {
    let mut seen = vec![from];
    let mut next = 0;
    while let Some(state) = seen.get(next).copied() {
        next += 1;
        for after in steps(state) {
            if !seen.contains(after) {
                seen.push(*after);
            }
        }
    }
    seen.contains(&to)
}

fn ensure(good: bool, wrong: impl FnOnce() -> String) -> Result<(), String> {
    if good { Ok(()) } else { Err(wrong()) }
}

/// Whether a record makes sense by itself.
///
/// # Errors
/// What is wrong with it.
pub fn sound(record: &Keyring) -> Result<(), String> {
    let lead = record.member(&record.lead);
    ensure(lead.is_some_and(|lead| lead.role == Role::Full), || {
        format!("its lead {} is no member with a replica", record.lead)
    })?;
    let back = record.expelled.iter().find(|name| record.member(name).is_some());
    ensure(back.is_none(), || format!("{} is a member and expelled at once", back.unwrap_or(&record.lead)))?;
    let active: Vec<Generation> = in_state(record, KeyState::Active).collect();
    ensure(active.len() == 1, || format!("{} generations are active, not one", active.len()))?;
    let destroyed = record.keys.iter().find(|key| key.state == KeyState::Destroyed && !key.wraps.is_empty());
    ensure(destroyed.is_none(), || "a destroyed generation has wraps".into())?;
    let change = &record.change;
    let state = |generation| record.key(generation).map(|key| key.state);
    let (target, from) = (state(change.target), state(change.from));
    let prepared =
        in_state(record, KeyState::Prepared).all(|one| change.step == Step::Prepared && one == change.target);
    ensure(prepared, || "a generation is prepared that the change does not name".into())?;
    let fits = match change.step {
        Step::Prepared => target == Some(KeyState::Prepared) && from == Some(KeyState::Active),
        Step::Active | Step::RolledBack => {
            target == Some(KeyState::Active) && matches!(from, Some(KeyState::Draining | KeyState::Revoked))
        }
        Step::Idle | Step::Finalized => target == Some(KeyState::Active),
    };
    ensure(fits, || {
        format!("generations {} and {} do not stand as the step of the change says", change.target, change.from)
    })
}

fn in_state(record: &Keyring, state: KeyState) -> impl Iterator<Item = Generation> {
    record.keys.iter().filter(move |key| key.state == state).map(|key| key.generation)
}

/// Whether `new` may come after the committed `old`, with whatever came between.
///
/// # Errors
/// The rule it breaks.
pub fn may_follow(old: &Keyring, new: &Keyring) -> Result<(), String> {
    sound(new)?;
    ensure(old.cluster == new.cluster && old.volume == new.volume, || "it is of another cluster or volume".into())?;
    let grows = new.stamp.epoch >= old.stamp.epoch && new.stamp.revision > old.stamp.revision;
    ensure(grows, || format!("its stamp {} is not above {}", new.stamp, old.stamp))?;
    let one_lead = new.stamp.epoch != old.stamp.epoch || new.lead == old.lead;
    ensure(one_lead, || format!("epoch {} is led by {}, not {}", old.stamp.epoch, old.lead, new.lead))?;
    members_follow(old, new)?;
    old.keys.iter().try_for_each(|key| key_follows(key, new.key(key.generation)))?;
    let highest = old.keys.last().map_or(Generation::METADATA, |key| key.generation);
    let reused = new.keys.iter().find(|key| key.generation <= highest && old.key(key.generation).is_none());
    ensure(reused.is_none(), || format!("a new generation has a number that is not above {highest}"))?;
    change_follows(old, new)
}

fn members_follow(old: &Keyring, new: &Keyring) -> Result<(), String> {
    let same = |member: &Member| new.member(&member.name).is_none_or(|now| now == member);
    let changed = old.members.iter().find(|member| !same(member));
    ensure(changed.is_none(), || format!("a member has other keys: {:?}", changed.map(|member| &member.name)))?;
    let gone = |member: &&Member| new.member(&member.name).is_none() && !new.expelled.contains(&member.name);
    let lost = old.members.iter().find(gone);
    ensure(lost.is_none(), || format!("a member is missing: {:?}", lost.map(|member| &member.name)))?;
    let back = old.expelled.iter().find(|name| !new.expelled.contains(name));
    ensure(back.is_none(), || format!("an expelled member is forgotten: {back:?}"))
}

fn key_follows(old: &Key, new: Option<&Key>) -> Result<(), String> {
    let generation = old.generation;
    let new = new.ok_or_else(|| format!("generation {generation} is missing"))?;
    ensure(new.key_id == old.key_id, || format!("generation {generation} is another key"))?;
    let kept = new.suite == old.suite && new.created == old.created && new.activated >= old.activated;
    ensure(kept, || format!("generation {generation} has another suite or another past"))?;
    ensure(new.check == old.check, || format!("generation {generation} has another check value"))?;
    ensure(reachable(old.state, new.state), || {
        format!("no steps lead generation {generation} from {} to {}", old.state.name(), new.state.name())
    })
}

fn change_follows(old: &Keyring, new: &Keyring) -> Result<(), String> {
    let (was, is) = (&old.change, &new.change);
    ensure(is.id >= was.id, || format!("change {} comes after change {}", is.id, was.id))?;
    if is.id > was.id {
        return Ok(());
    }
    let legal = match was.step {
        Step::Idle => is.step == Step::Idle,
        Step::Prepared => true,
        Step::Active => matches!(is.step, Step::Active | Step::RolledBack | Step::Finalized),
        Step::RolledBack => matches!(is.step, Step::RolledBack | Step::Finalized),
        Step::Finalized => is.step == Step::Finalized,
    };
    ensure(legal, || format!("the change cannot go from {:?} to {:?}", was.step, is.step))
}

/// Whether the history that `new` names holds the record of this stamp and hash, as far as it reaches.
pub fn descends(new: &Keyring, stamp: Stamp, hash: &Hash) -> bool {
    match new.ancestors.iter().find(|ancestor| ancestor.stamp == stamp) {
        Some(ancestor) => ancestor.hash == *hash,
        None => new.ancestors.last().is_some_and(|oldest| oldest.stamp > stamp),
    }
}
