//! Stories in words: what every node does, line by line, held against the text beside this file.
//!
//! With `KEYMOULT_STORIES=write` in the environment the texts are written anew.

use super::world::{World, name, wanted};
use crate::cluster::node::Command;
use crate::cluster::record::{Role, Step};
use crate::format::generations::KeyState;
use crate::units::Generation;

const THREE: &[(&str, Role)] = &[("a", Role::Full), ("b", Role::Full), ("w", Role::Witness)];

fn tell(story: &str, world: &World) {
    let path = format!("{}/src/cluster/tests/stories/{story}.txt", env!("CARGO_MANIFEST_DIR"));
    let told = format!("{}\n", world.lines.join("\n"));
    if std::env::var_os("KEYMOULT_STORIES").is_some() {
        std::fs::write(&path, &told).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(told, expected, "the story {story} goes another way:\n{told}");
}

fn state(world: &World, node: &str, generation: u32) -> KeyState {
    world.record(node).key(Generation(generation)).map_or(KeyState::Destroyed, |key| key.state)
}

#[test]
fn rotation_of_three() {
    let mut world = World::new(THREE);
    world.command("a", Command::Rotate(wanted()));
    for node in ["a", "b", "w"] {
        assert_eq!(world.record(node).change.step, Step::Finalized);
        assert_eq!((state(&world, node, 1), state(&world, node, 2)), (KeyState::Empty, KeyState::Active));
    }
    tell("rotation_of_three", &world);
}

#[test]
fn rollback_with_one_dead() {
    let mut world = World::new(THREE);
    world.drains = false;
    world.command("a", Command::Rotate(wanted()));
    assert_eq!(world.record("b").change.step, Step::Active);
    world.lines.clear();
    world.crash("b");
    world.command("a", Command::RollBack);
    assert_eq!(world.record("w").change.step, Step::RolledBack);
    world.start("b");
    world.drains = true;
    world.run();
    assert_eq!((state(&world, "b", 1), state(&world, "b", 2)), (KeyState::Active, KeyState::Empty));
    tell("rollback_with_one_dead", &world);
}

/// A key to the end: retired, scheduled, destroyed.
#[test]
fn to_the_end_of_a_key() {
    let mut world = World::new(THREE);
    let old = Generation(1);
    world.command("a", Command::Rotate(wanted()));
    world.lines.clear();
    world.command("a", Command::Retire(old));
    world.command("a", Command::Schedule(old, 5000));
    let destroy = |early| Command::Destroy { generation: old, early, despite_pins: false };
    world.command("a", destroy(false));
    world.seats.get_mut(&name("b")).unwrap().replica.pins.insert(old);
    world.command("a", destroy(true));
    world.seats.get_mut(&name("b")).unwrap().replica.pins.clear();
    world.command("a", destroy(true));
    assert_eq!(state(&world, "b", 1), KeyState::Destroyed);
    assert!(!world.seats[&name("b")].replica.keys.contains_key(&old));
    tell("to_the_end_of_a_key", &world);
}

/// The lead is cut off while it activates; another one takes over, gives the generation up or goes on, and the old one follows.
#[test]
fn promoted_while_the_old_lead_is_cut_off() {
    let mut world = World::new(THREE);
    world.drains = false;
    world.command("a", Command::Rotate(wanted()));
    world.lines.clear();
    world.cut("a");
    world.command("b", Command::Promote(0));
    assert_eq!((world.record("b").lead.as_str(), world.record("b").stamp.epoch), ("b", 2));
    world.command("a", Command::RollBack);
    world.heal("a");
    world.run();
    assert_eq!(world.record("a"), world.record("b"));
    world.command("a", Command::RollBack);
    world.drains = true;
    world.run();
    assert_eq!(world.record("a").change.step, Step::Finalized);
    tell("promoted_while_the_old_lead_is_cut_off", &world);
}

/// A generation that is only prepared is given up by a new lead: its DEK may be with the old one alone.
#[test]
fn a_new_lead_gives_up_what_is_prepared() {
    let mut world = World::new(THREE);
    world.crash("w");
    world.start("w");
    world.crash_at_save = Some(name("b"));
    world.lines.clear();
    world.command("a", Command::Rotate(wanted()));
    world.crash("a");
    world.start("b");
    world.command("b", Command::Promote(0));
    world.start("a");
    world.run();
    assert_eq!(world.record("a"), world.record("b"));
    assert_eq!(world.record("a").change.step, Step::Idle);
    tell("a_new_lead_gives_up_what_is_prepared", &world);
}

#[test]
fn behind_on_the_chain() {
    let mut world = World::new(THREE);
    world.drains = false;
    world.command("a", Command::Rotate(wanted()));
    world.crash("b");
    world.command("a", Command::Pause(true));
    world.command("a", Command::Pause(false));
    world.lines.clear();
    world.start("b");
    world.run();
    assert_eq!(world.record("b"), world.record("a"));
    tell("behind_on_the_chain", &world);
}

/// An old copy of a lead's file: the first word of a member shows it.
#[test]
fn an_old_file_of_the_lead() {
    let mut world = World::new(THREE);
    let old = world.seats[&name("a")].disk.clone();
    world.command("a", Command::Compromise(Generation(1), true));
    world.crash("a");
    world.seats.get_mut(&name("a")).unwrap().disk = old;
    world.lines.clear();
    world.start("a");
    world.run();
    assert!(world.seats[&name("a")].disk.out.is_some() && world.seats[&name("b")].disk.out.is_none());
    tell("an_old_file_of_the_lead", &world);
}

/// The file of a node was brought back from an old copy after others had gone on without it, and it led on.
#[test]
fn fork() {
    let mut world = World::new(THREE);
    world.command("a", Command::Rotate(wanted()));
    let old = world.seats[&name("a")].disk.clone();
    world.command("a", Command::Retire(Generation(1)));
    world.crash("a");
    world.seats.get_mut(&name("a")).unwrap().disk = old;
    world.lines.clear();
    world.cut("b");
    world.cut("w");
    world.start("a");
    world.comment("what a believed to be the latest is older than what it had committed");
    world.command("a", Command::Compromise(Generation(1), true));
    world.heal("b");
    world.run();
    assert!(world.seats[&name("b")].disk.out.is_some());
    tell("fork", &world);
}

#[test]
fn expelled_and_back() {
    let mut world = World::new(THREE);
    world.crash("b");
    world.lines.clear();
    world.command("a", Command::Retire(Generation(1)));
    world.command("a", Command::Rotate(wanted()));
    world.command("a", Command::Expel(name("b")));
    world.start("b");
    world.run();
    assert!(world.seats[&name("b")].disk.out.is_some());
    world.command("b", Command::Promote(0));
    tell("expelled_and_back", &world);
}

/// An old build: the rotation is not begun; and a node that comes back with an older build than the suite asks for.
#[test]
fn upgrade_needed() {
    let mut world = World::new(THREE);
    world.crash("b");
    world.seats.get_mut(&name("b")).unwrap().suites = vec![1];
    world.start("b");
    world.run();
    world.lines.clear();
    let newer = crate::cluster::node::Wanted { suite: 2, ..wanted() };
    world.command("a", Command::Rotate(newer));
    world.crash("b");
    world.seats.get_mut(&name("b")).unwrap().suites = vec![1, 2];
    world.start("b");
    world.drains = false;
    world.command("a", Command::Rotate(crate::cluster::node::Wanted { suite: 2, ..wanted() }));
    world.lines.clear();
    world.crash("b");
    world.seats.get_mut(&name("b")).unwrap().suites = vec![1];
    world.command("a", Command::Pause(true));
    world.start("b");
    world.run();
    assert_eq!(world.record("b").change.step, Step::Active);
    tell("upgrade_needed", &world);
}

/// The lead crashes before its record is durable, and before it knows that it is committed.
#[test]
fn the_lead_crashes_around_a_commit() {
    let mut world = World::new(THREE);
    world.crash_at_save = Some(name("a"));
    world.command("a", Command::Compromise(Generation(1), true));
    world.start("a");
    world.run();
    assert_eq!(world.record("w").stamp.revision, 1);
    world.comment("once more; this time its own copy is durable, and the others' are not");
    world.cut("b");
    world.cut("w");
    world.command("a", Command::Compromise(Generation(1), true));
    world.crash("a");
    world.heal("b");
    world.heal("w");
    world.start("a");
    world.run();
    assert!(world.record("w").keys[0].compromised && world.record("b") == world.record("a"));
    tell("the_lead_crashes_around_a_commit", &world);
}

/// A member stays away while a generation is to be activated: the change is abandoned, once.
#[test]
fn deadline_and_undo() {
    let mut world = World::new(THREE);
    world.crash_at_save = Some(name("w"));
    let strict = crate::cluster::node::Wanted {
        deadline_s: 30,
        on_deadline: crate::cluster::record::OnDeadline::Undo,
        ..wanted()
    };
    world.command("a", Command::Rotate(strict));
    world.lines.retain(|line| !line.contains("1.2"));
    world.now += 1_000_000;
    world.comment("the clock jumps by days: that alone is no reason");
    world.pass(15);
    assert_eq!(world.record("b").change.step, Step::Idle);
    world.pass(20);
    assert_eq!(world.record("b").keys[1].state, KeyState::Destroyed);
    world.start("w");
    world.run();
    assert_eq!(world.record("w"), world.record("a"));
    let lines = world.lines.len();
    world.pass(100);
    assert!(!world.lines[lines..].iter().any(|line| line.contains("saves")), "{:?}", &world.lines[lines..]);
    world.lines.truncate(lines);
    world.lines.retain(|line| !line.contains("-> b: committed") && !line.contains("-> b: put 1.2"));
    tell("deadline_and_undo", &world);
}

#[test]
fn one_at_a_time_and_held() {
    let mut world = World::new(THREE);
    let orderly = crate::cluster::node::Wanted { one_at_a_time: true, hold_finalize: true, ..wanted() };
    world.drains = false;
    world.command("a", Command::Rotate(orderly));
    world.lines.clear();
    world.command("a", Command::Finalize);
    world.command("a", Command::Hold);
    world.command("a", Command::Release);
    world.drains = true;
    world.run();
    assert_eq!(world.record("b").change.step, Step::Active);
    world.command("a", Command::Finalize);
    assert_eq!(world.record("b").change.step, Step::Finalized);
    tell("one_at_a_time_and_held", &world);
}

/// A revoked key goes by majority; an unreachable member is named.
#[test]
fn revoked_with_one_away() {
    let mut world = World::new(THREE);
    world.command("a", Command::Rotate(wanted()));
    world.crash("b");
    world.lines.clear();
    world.command("a", Command::Revoke(Generation(1)));
    world.command("a", Command::Revoke(Generation(2)));
    world.command("w", Command::Revoke(Generation(2)));
    world.start("b");
    world.run();
    assert_eq!(state(&world, "b", 1), KeyState::Revoked);
    tell("revoked_with_one_away", &world);
}
