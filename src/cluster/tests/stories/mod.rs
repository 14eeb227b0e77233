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
