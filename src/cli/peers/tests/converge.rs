//! Every pair of a local state and one on record, and stories of several steps: applied twice, the second time changes nothing.

use super::*;
use crate::cluster::record::{Change, OnDeadline};
use crate::cluster::stamp::Stamp;
use crate::format::generations::{Rotation, VerifyMode};
use crate::format::lives::Life;
use crate::units::VolumeId;
use crate::volume::life::{By, Step as LifeStep, enter};
use KeyState::{Active, Destroyed, Disabled, Draining, Empty, Prepared, Revoked, Scheduled};

const STATES: [KeyState; 8] = [Prepared, Active, Draining, Empty, Disabled, Scheduled, Destroyed, Revoked];
const PACE: Pace = Pace { rate: 0, adaptive: true, factor_percent: 150 };

fn entry(generation: u32, state: KeyState) -> Entry {
    Entry {
        generation: Generation(generation),
        key_id: [generation as u8; 16],
        suite: 1,
        data_unit: 4096,
        tweak_unit: 4096,
        tweak_base: 0,
        state,
        compromised: false,
        created: 1,
        activated: u64::from(state != Prepared),
        bytes_reserved: 0,
        reason: String::new(),
        canary_slot: generation as u16,
        wraps: Vec::new(),
        life: Life::default(),
    }
}

fn key(generation: u32, state: KeyState) -> Key {
    Key {
        generation: Generation(generation),
        key_id: [generation as u8; 16],
        suite: 1,
        state,
        compromised: false,
        created: 1,
        activated: u64::from(state != Prepared),
        scheduled: 0,
        check: [0; 16],
        reason: String::new(),
        wraps: Vec::new(),
    }
}

/// A volume whose generation 1 is in `state`, with generation 9 as target where 1 is not.
struct Model {
    table: GenerationTable,
    census: BTreeMap<Generation, u64>,
    taken: Vec<StepToTake>,
}

fn model(entries: Vec<Entry>, target: u32, phase: Phase) -> Model {
    let mut rotation = Rotation::none(Generation(target));
    rotation.phase = phase;
    rotation.pace = PACE;
    let census = BTreeMap::from([(Generation(target), 4)]);
    Model { table: GenerationTable { entries, rotation, holders: Vec::new() }, census, taken: Vec::new() }
}

impl Model {
    fn enter(&mut self, generation: Generation, step: LifeStep) -> Result<(), String> {
        let entry = self.table.entry_mut(generation).ok_or("no such generation")?;
        enter(entry, step, &By::daemon("", 1)).map_err(|error| error.to_string())
    }

    fn phase(&mut self, phase: Phase) -> Result<(), String> {
        self.table.rotation.phase = phase;
        Ok(())
    }

    fn retarget(&mut self, to: Generation) -> Result<(), String> {
        let from = self.table.rotation.target;
        self.enter(from, LifeStep::Drain)?;
        self.enter(to, LifeStep::Activate)?;
        self.table.entry_mut(to).unwrap().activated = 1;
        self.table.rotation.target = to;
        // It drains at once.
        self.table.rotation.phase = Phase::Drained;
        self.census.entry(from).or_insert(1);
        Ok(())
    }
}

impl Hands for Model {
    fn look(&self) -> (GenerationTable, BTreeMap<Generation, u64>) {
        (self.table.clone(), self.census.clone())
    }

    fn take(&mut self, step: &StepToTake, record: &Keyring) -> Result<(), String> {
        self.taken.push(step.clone());
        match step {
            StepToTake::Activate(generation) => {
                let from = self.table.rotation.target;
                self.retarget(*generation)?;
                self.table.rotation.rollback_to = Some(from);
                self.table.rotation.pace = record.change.pace;
                Ok(())
            }
            StepToTake::RollBack => {
                let back = self.table.rotation.rollback_to.take().ok_or("no way back")?;
                self.retarget(back)
            }
            StepToTake::Revoke(generation) => self.enter(*generation, LifeStep::Revoke),
            StepToTake::Mark(generation, mark) => {
                self.table.entry_mut(*generation).unwrap().compromised = *mark;
                Ok(())
            }
            StepToTake::Pause => self.phase(Phase::Paused),
            StepToTake::Resume => self.phase(Phase::Running),
            StepToTake::Pace(pace) => {
                self.table.rotation.pace = *pace;
                Ok(())
            }
            StepToTake::Finalize => {
                let draining: Vec<Generation> = self
                    .table
                    .entries
                    .iter()
                    .filter(|entry| matches!(entry.state, Draining | Prepared))
                    .map(|entry| entry.generation)
                    .collect();
                self.table.rotation.phase = Phase::Finalized;
                self.table.rotation.rollback_to = None;
                draining.into_iter().try_for_each(|generation| self.enter(generation, LifeStep::Empty))
            }
            StepToTake::Abandon(generation) => {
                self.table.entries.retain(|entry| entry.generation != *generation);
                Ok(())
            }
            StepToTake::EnterEmpty(generation) => self.enter(*generation, LifeStep::Empty),
            StepToTake::Retire(generation) => self.enter(*generation, LifeStep::Retire),
            StepToTake::Restore(generation) => self.enter(*generation, LifeStep::Restore),
            StepToTake::Schedule(generation, date) => {
                self.enter(*generation, LifeStep::Schedule)?;
                self.table.entry_mut(*generation).unwrap().life.scheduled = *date;
                Ok(())
            }
            StepToTake::Cancel(generation) => self.enter(*generation, LifeStep::Cancel),
            StepToTake::Destroy(generation) => self.enter(*generation, LifeStep::Destroy),
            StepToTake::Reinstate(generation) => self.enter(*generation, LifeStep::Reinstate),
        }
    }
}

fn record(keys: Vec<Key>, step: Step, target: u32, from: u32) -> Keyring {
    Keyring {
        cluster: "lab".into(),
        volume: VolumeId([7; 16]),
        stamp: Stamp::new(1, 5),
        lead: "a".parse().unwrap(),
        ancestors: Vec::new(),
        members: Vec::new(),
        expelled: Vec::new(),
        mandate: Vec::new(),
        keys,
        change: Change {
            id: 1,
            step,
            target: Generation(target),
            from: Generation(from),
            paused: false,
            hold_finalize: false,
            one_at_a_time: false,
            cold_proof: false,
            pace: PACE,
            verify: VerifyMode::Full,
            deadline_s: 0,
            on_deadline: OnDeadline::Alarm,
            since: 0,
            actor: String::new(),
            reason: String::new(),
        },
    }
}

/// Brings a volume of two generations to a record; what became of the first, and whether anything is in the way.
fn pair(local: KeyState, wanted: KeyState) -> (KeyState, Result<(), String>, Vec<StepToTake>) {
    // One of them is written; the other one is what the pair is about.
    let target = if local == Active { 1 } else { 9 };
    let other = if local == Active { Draining } else { Active };
    let mut volume = model(vec![entry(1, local), entry(9, other)], target, Phase::Drained);
    volume.table.rotation.rollback_to =
        (local == Draining || other == Draining).then_some(Generation(if target == 1 { 9 } else { 1 }));
    let record = match wanted {
        Active => record(vec![key(1, Active), key(9, Draining)], Step::Active, 1, 9),
        _ => record(vec![key(1, wanted), key(9, Active)], Step::Finalized, 9, 1),
    };
    let came = converge(&mut volume, &record, true);
    let taken = std::mem::take(&mut volume.taken);
    let before = volume.table.clone();
    // What could not be done is tried again and comes to nothing again; what was done is not done twice.
    let again = converge(&mut volume, &record, true);
    assert_eq!((&again, &before), (&came, &volume.table), "{local:?} to {wanted:?}, twice");
    if came.is_ok() {
        assert_eq!(volume.taken, [], "{local:?} to {wanted:?}, twice");
    }
    let state = volume.table.entry(Generation(1)).map_or(Destroyed, |entry| entry.state);
    (state, came, taken)
}

#[test]
fn every_pair_of_states_ends_as_the_record_says_or_says_why_not() {
    let mut hindered = Vec::new();
    for local in STATES {
        for wanted in STATES {
            let (state, came, _) = pair(local, wanted);
            match came {
                // Never used, or needed by nobody: nothing is left to drain.
                Ok(()) if wanted == Draining && matches!(local, Prepared | Empty | Disabled | Scheduled) => {
                    assert_eq!(state, if local == Prepared { Prepared } else { Empty });
                }
                Ok(()) => assert_eq!(state, wanted, "{local:?} to {wanted:?}"),
                Err(why) => {
                    assert!(why.starts_with("generation "), "{why}");
                    hindered.push((local, wanted));
                }
            }
        }
    }
    let to_prepared = STATES[1..].iter().map(|local| (*local, Prepared));
    let to_active = [Empty, Disabled, Scheduled, Destroyed, Revoked].map(|local| (local, Active));
    let from_destroyed = [Draining, Empty, Disabled, Scheduled, Revoked].map(|wanted| (Destroyed, wanted));
    let mut expected: Vec<_> = to_prepared.chain(to_active).chain(from_destroyed).collect();
    let place = |pair: &(KeyState, KeyState)| (pair.0 as u8, pair.1 as u8);
    expected.sort_by_key(place);
    hindered.sort_by_key(place);
    assert_eq!(hindered, expected);
}

#[test]
fn what_makes_safe_comes_first_and_a_key_is_destroyed_last() {
    let mut volume =
        model(vec![entry(1, Draining), entry(2, Active), entry(3, Disabled), entry(4, Empty)], 2, Phase::Running);
    volume.table.rotation.rollback_to = Some(Generation(1));
    let mut wanted =
        record(vec![key(1, Active), key(2, Draining), key(3, Destroyed), key(4, Revoked)], Step::RolledBack, 1, 2);
    wanted.keys[1].compromised = true;
    assert_eq!(converge(&mut volume, &wanted, true), Ok(()));
    let (one, two, three, four) = (Generation(1), Generation(2), Generation(3), Generation(4));
    assert_eq!(volume.taken[..3], [StepToTake::RollBack, StepToTake::Revoke(four), StepToTake::Mark(two, true)]);
    assert_eq!(volume.taken.last(), Some(&StepToTake::Destroy(three)));
    assert_eq!(volume.table.rotation.target, one);
}

#[test]
fn the_drain_is_held_by_the_record_by_the_turn_and_by_nothing_else() {
    for (phase, paused, may_drain, expected) in [
        (Phase::Running, false, true, None),
        (Phase::Running, true, true, Some(StepToTake::Pause)),
        (Phase::Running, false, false, Some(StepToTake::Pause)),
        (Phase::Paused, false, true, Some(StepToTake::Resume)),
        (Phase::Paused, true, true, None),
        (Phase::Paused, false, false, None),
        (Phase::Drained, true, false, None),
    ] {
        let volume = model(vec![entry(1, Draining), entry(2, Active)], 2, phase);
        let mut wanted = record(vec![key(1, Draining), key(2, Active)], Step::Active, 2, 1);
        wanted.change.paused = paused;
        let seen = Seen { table: &volume.table, census: &volume.census, may_drain };
        assert_eq!(plan(&seen, &wanted).steps, Vec::from_iter(expected), "{phase:?} {paused} {may_drain}");
    }
}

#[test]
fn what_waits_for_a_withdrawn_key_is_not_stirred() {
    let mut volume = model(vec![entry(1, Revoked), entry(2, Active)], 2, Phase::Paused);
    volume.census.insert(Generation(1), 3);
    let wanted = record(vec![key(1, Revoked), key(2, Active)], Step::Active, 2, 1);
    let why = converge(&mut volume, &wanted, true).unwrap_err();
    assert_eq!(why, "3 extents carry generation 1, which is revoked: `key reinstate` gives it back");
    assert_eq!(volume.taken, []);
}

#[test]
fn a_prepared_key_on_its_way_is_left_alone_and_another_under_its_number_is_given_up() {
    let mut volume = model(vec![entry(1, Active), entry(2, Prepared)], 1, Phase::Idle);
    let wanted = record(vec![key(1, Active)], Step::Idle, 1, 1);
    assert_eq!((converge(&mut volume, &wanted, true), volume.taken.len()), (Ok(()), 0));
    let mut wanted = record(vec![key(1, Active), key(2, Prepared)], Step::Prepared, 2, 1);
    wanted.keys[1].key_id = [99; 16];
    assert!(converge(&mut volume, &wanted, true).unwrap_err().contains("is not here"));
    assert_eq!(volume.taken, [StepToTake::Abandon(Generation(2))]);
}

#[test]
fn a_volume_that_is_no_replica_is_told_apart() {
    let mut volume = model(vec![entry(1, Active), entry(3, Empty)], 1, Phase::Idle);
    let mut wanted = record(vec![key(1, Active), key(2, Empty)], Step::Idle, 1, 1);
    wanted.keys[0].key_id = [99; 16];
    let why = converge(&mut volume, &wanted, true).unwrap_err();
    for part in
        ["generation 1 is another key here", "generation 2 (empty) is not in", "generation 3 is in this volume alone"]
    {
        assert!(why.contains(part), "{why}");
    }
}

/// A node was away from *prepared* on, while the others activated, rolled back, finalized, retired and destroyed.
#[test]
fn a_node_that_slept_through_a_whole_change_catches_up() {
    let mut volume = model(vec![entry(1, Active), entry(2, Prepared)], 1, Phase::Idle);
    let wanted = record(vec![key(1, Active), key(2, Destroyed)], Step::Finalized, 1, 2);
    assert_eq!(converge(&mut volume, &wanted, true), Ok(()));
    assert_eq!(volume.taken, [StepToTake::Abandon(Generation(2))]);
}

#[test]
fn steps_that_undo_one_another_come_to_an_end() {
    struct Stubborn;
    impl Hands for Stubborn {
        fn look(&self) -> (GenerationTable, BTreeMap<Generation, u64>) {
            let volume = model(vec![entry(1, Empty), entry(2, Active)], 2, Phase::Idle);
            (volume.table, volume.census)
        }
        fn take(&mut self, _: &StepToTake, _: &Keyring) -> Result<(), String> {
            Ok(())
        }
    }
    let wanted = record(vec![key(1, Disabled), key(2, Active)], Step::Idle, 2, 1);
    assert!(converge(&mut Stubborn, &wanted, true).unwrap_err().contains("does not settle"));
}
