//! One table of what may follow what in a key's life: the record's and the volume's agree, but for what is listed here with its
//! reason. Whoever changes one of them has to change the other, or to say here why not.

use super::sample;
use crate::cluster::node::Command;
use crate::cluster::record::{Key, Keyring};
use crate::cluster::{rules, steps};
use crate::format::generations::KeyState;
use crate::units::Generation;
use crate::volume::life::Step;
use KeyState::{Active, Destroyed, Disabled, Draining, Empty, Prepared, Revoked, Scheduled};

const STATES: [KeyState; 8] = [Prepared, Active, Draining, Empty, Disabled, Scheduled, Destroyed, Revoked];

/// No state is forgotten in [`STATES`]: a new one does not compile here.
fn place(state: KeyState) -> usize {
    match state {
        Prepared => 0,
        Active => 1,
        Draining => 2,
        Empty => 3,
        Disabled => 4,
        Scheduled => 5,
        Destroyed => 6,
        Revoked => 7,
    }
}

/// Ways that the record knows and a volume does not.
const RECORD_ALONE: [((KeyState, KeyState), &str); 1] = [(
    (Prepared, Destroyed),
    "a generation that is given up before it was active stays on record, so that its number is never given again; a volume forgets \
     it, entry and all, and so takes no step from prepared to destroyed",
)];

/// Ways that a volume knows and the record does not.
const VOLUME_ALONE: [((KeyState, KeyState), &str); 0] = [];

/// Steps that a volume can take where the record has no command for it.
const STEP_ALONE: [((Step, KeyState), &str); 2] = [
    (
        (Step::Revoke, Prepared),
        "on record a prepared generation is abandoned, which takes its key away for good; a node that slept through the activation \
         and the revocation withdraws it from prepared",
    ),
    ((Step::Destroy, Destroyed), "once more, where a crash cut the erasing off: nothing of it is the record's"),
];

fn of_record() -> Vec<(KeyState, KeyState)> {
    let all = STATES.into_iter().flat_map(|from| STATES.map(|to| (from, to)));
    all.filter(|(from, to)| rules::steps(*from).contains(to)).collect()
}

fn of_volume() -> Vec<(KeyState, KeyState)> {
    let all = STATES.into_iter().flat_map(|from| STATES.map(|to| (from, to)));
    // A step that leaves the state as it was is no way from one to another.
    all.filter(|(from, to)| from != to && Step::ALL.iter().any(|step| step.from(*from) == Some(*to))).collect()
}

fn only<T: Copy + PartialEq>(these: &[T], those: &[T]) -> Vec<T> {
    these.iter().filter(|it| !those.contains(it)).copied().collect()
}

#[test]
fn what_may_follow_what_is_the_same_in_the_record_and_on_a_volume() {
    assert!(STATES.iter().enumerate().all(|(index, state)| place(*state) == index));
    let (record, volume) = (of_record(), of_volume());
    assert_eq!(only(&record, &volume), RECORD_ALONE.map(|(way, _)| way));
    assert_eq!(only(&volume, &record), VOLUME_ALONE.map(|(way, _)| way));
    assert!(record.len() > STATES.len(), "{record:?}");
}

/// The command that puts a step on record, for steps that are commands.
fn command(step: Step, generation: Generation) -> Option<Command> {
    Some(match step {
        Step::Retire => Command::Retire(generation),
        Step::Restore => Command::Restore(generation),
        Step::Schedule => Command::Schedule(generation, 5),
        Step::Cancel => Command::Cancel(generation),
        Step::Destroy => Command::Destroy { generation, early: false, despite_pins: false },
        Step::Compromise => Command::Compromise(generation, true),
        Step::Revoke => Command::Revoke(generation),
        Step::Reinstate => Command::Reinstate(generation),
        // A rotation's own: what the record says of the change, not of a key.
        Step::Activate | Step::Drain | Step::Empty => return None,
    })
}

/// A record whose generation 2 is in `state`.
fn record(state: KeyState) -> Keyring {
    let (a, b) = (sample::keys("a"), sample::keys("b"));
    let mut record = sample::genesis(&[&a, &b]);
    let key = Key { generation: Generation(2), key_id: [2; 16], state, ..record.keys[0].clone() };
    record.keys.push(key);
    record
}

#[test]
fn every_command_leads_where_the_step_of_the_volume_leads() {
    let generation = Generation(2);
    let mut alone = Vec::new();
    for step in Step::ALL {
        let Some(command) = command(step, generation) else { continue };
        for state in STATES {
            let next = steps::next(&record(state), &command, 9);
            let on_record = next.ok().and_then(|next| next.key(generation).map(|key| key.state));
            match (on_record, step.from(state)) {
                (None, Some(_)) => alone.push((step, state)),
                (on_record, on_volume) => assert_eq!(on_record, on_volume, "{step:?} from {state:?}"),
            }
        }
    }
    let listed = STEP_ALONE.map(|(which, _)| which);
    assert_eq!((only(&alone, &listed), only(&listed, &alone)), (Vec::new(), Vec::new()));
}
