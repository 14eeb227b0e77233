//! What holds in every state, by the numbers of the list in `CLUSTER.md`, and what has to be reachable.

use super::rig::Seat;
use crate::cluster::durable::Durable;
use crate::cluster::record::{Keyring, Role, Step};
use crate::cluster::rules::descends;
use crate::format::generations::KeyState;
use crate::units::Generation;

/// Whether a node holds a replica; a witness does not.
pub fn has_replica(seat: &Seat) -> bool {
    seat.disk.accepted.record.member(&seat.name).is_none_or(|member| member.role == Role::Full)
}

/// What is wrong, if anything is. Who has been expelled is left out by whoever asks.
pub fn wrong(seats: &[&Seat]) -> Option<String> {
    let out =
        seats.iter().find_map(|seat| seat.disk.out.as_ref().map(|why| format!("{}: it is out: {why}", seat.name)));
    let full: Vec<&Seat> = seats.iter().filter(|seat| has_replica(seat)).copied().collect();
    let one = |seat: &&Seat| one(seat, &full).map(|what| format!("{}: {what}", seat.name));
    let each = out.or_else(|| full.iter().find_map(one));
    each.or_else(|| two_leads(seats)).or_else(|| forked(seats))
}

fn one(seat: &Seat, all: &[&Seat]) -> Option<String> {
    let (replica, record) = (&seat.replica, &seat.disk.committed.record);
    let written = replica.extents.iter().chain([&replica.target]);
    for (generation, key_id) in written {
        if replica.keys.get(generation) != Some(key_id) {
            return Some(format!("1: its key of generation {generation} is gone, and needed"));
        }
        let known = [&seat.disk.accepted.record, record].into_iter().filter_map(|record| record.key(*generation));
        if !known.clone().any(|key| key.key_id == *key_id && key.state != KeyState::Destroyed) {
            return Some(format!("1: its keyring does not have generation {generation}, which is needed"));
        }
        if all.iter().any(|other| other.replica.keys.get(generation) != Some(key_id)) {
            return Some(format!("2: it uses generation {generation}, which is not on every replica"));
        }
    }
    keys(record, all).or_else(|| {
        let from = record.change.from;
        let lost = record.change.step == Step::Active && !replica.keys.contains_key(&from);
        lost.then(|| format!("7: the way back to generation {from} is gone"))
    })
}

fn keys(record: &Keyring, all: &[&Seat]) -> Option<String> {
    for key in &record.keys {
        let generation = key.generation;
        let ended =
            matches!(key.state, KeyState::Empty | KeyState::Disabled | KeyState::Scheduled | KeyState::Destroyed);
        let refers = |seat: &Seat| seat.replica.extents.contains(&(generation, key.key_id));
        if ended && all.iter().any(|seat| refers(seat)) {
            return Some(format!("5: generation {generation} is {} and has references", key.state.name()));
        }
        let gone = key.state == KeyState::Destroyed && key.activated > 0;
        if gone && all.iter().any(|seat| seat.replica.pins.contains(&generation)) {
            return Some(format!("6: generation {generation} is destroyed, and a snapshot or backup needs it"));
        }
    }
    None
}

fn two_leads(seats: &[&Seat]) -> Option<String> {
    let nodes = seats.iter().filter_map(|seat| seat.node.as_ref());
    let leads: Vec<u64> = nodes.filter(|node| node.leads()).map(|node| node.durable().promised).collect();
    let twice = (1..leads.len()).any(|at| leads[..at].contains(&leads[at]));
    twice.then(|| "4: two leads in one epoch".into())
}

/// What one holds as committed is in the history of what the other does.
fn forked(seats: &[&Seat]) -> Option<String> {
    for one in seats {
        for other in seats {
            let (old, new) = (&one.disk.committed.record, &other.disk.committed.record);
            let same = old.stamp == new.stamp && old != new;
            let lost = old.stamp < new.stamp && !descends(new, old.stamp, &old.hash());
            if same || lost {
                return Some(format!("two histories: {} and {}", old.stamp, new.stamp));
            }
        }
    }
    None
}

/// What went down that must only grow.
pub fn sank(old: &Durable, new: &Durable) -> Option<String> {
    let grows = old.promised <= new.promised
        && old.accepted_stamp() <= new.accepted_stamp()
        && old.committed_stamp() <= new.committed_stamp()
        && old.highest <= new.highest;
    (!grows).then(|| {
        format!("3: epoch, stamp or generation went back: {} and {}", old.accepted_stamp(), new.accepted_stamp())
    })
}

/// What has to be reachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    Finalized,
    RolledBack,
    Destroyed,
    FailedOver,
}

pub fn reached(goal: Goal, seats: &[&Seat]) -> bool {
    let all = |test: &dyn Fn(&Keyring) -> bool| seats.iter().all(|seat| test(&seat.disk.committed.record));
    let old = Generation::FIRST;
    let is = |record: &Keyring, wanted| record.key(old).is_some_and(|key| key.state == wanted);
    match goal {
        Goal::Finalized => all(&|record| record.change.step == Step::Finalized && is(record, KeyState::Empty)),
        Goal::RolledBack => all(&|record| record.change.step == Step::Finalized && is(record, KeyState::Active)),
        Goal::Destroyed => all(&|record| is(record, KeyState::Destroyed)),
        Goal::FailedOver => all(&|record| record.stamp.epoch > 1),
    }
}
