//! Nodes that are killed, come back, or never do.

use std::thread;
use std::time::Duration;

use crate::scene::Scene;
use crate::support::next;
use crate::support::peers::VOLUME;

#[test]
fn a_replica_is_killed_and_comes_back() {
    let mut scene = Scene::three();
    let writer = scene.writer(21);
    scene.rotate("a", "1MiB");
    scene.peers.wait_for_step("active");
    writer.goes_on();
    scene.peers.kill_9("c");
    writer.goes_on();
    scene.peers.wait("c is waited for", |_| scene.waits_for("a", "c"));
    writer.goes_on();
    scene.peers.start("c");
    scene.peers.succeed("a", &["rotate", "pace", VOLUME, "--rate", "unlimited"]);
    writer.goes_on();
    scene.ends_well("a", writer.stop());
}

#[test]
fn the_lead_is_killed_and_comes_back() {
    let mut scene = Scene::three();
    let writer = scene.writer(22);
    scene.rotate("a", "1MiB");
    scene.peers.wait_for_step("active");
    scene.peers.kill_9("a");
    writer.goes_on();
    scene
        .peers
        .wait("b and c have drained without it", |_| ["b", "c"].iter().all(|node| scene.elsewhere(node, 2) == 0));
    assert_eq!(scene.peers.step("b"), "active", "nobody else may finalize");
    scene.peers.start("a");
    scene.peers.succeed("a", &["rotate", "pace", VOLUME, "--rate", "unlimited"]);
    writer.goes_on();
    scene.ends_well("a", writer.stop());
}

/// kill -9 of random nodes at random moments of a rotation, the lead's first steps among them.
fn kills_at_random(seed: u64) {
    let mut scene = Scene::three();
    let writer = scene.writer(seed);
    let mut random = seed;
    let mut below = |bound: u64| next(&mut random) % bound;
    let start = scene.ask_beside("a", &["rotate", "start", VOLUME, "--rate", "4MiB", "--fixed", "--reason", "test"]);
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(below(900)));
        let node = ["a", "b", "c"][below(3) as usize];
        scene.peers.kill_9(node);
        thread::sleep(Duration::from_millis(below(500)));
        writer.goes_on();
        scene.peers.start(node);
    }
    println!("seed {seed}: {:?}", start.join().unwrap());
    scene.peers.wait_for_agreement();
    if scene.peers.step("a") == "idle" {
        scene.rotate("a", "4MiB");
    }
    writer.goes_on();
    scene.ends_well("a", writer.stop());
}

#[test]
fn kills_at_random_moments() {
    let first = std::env::var("KEYMOULT_HOSTS_SEED").map_or(31, |seed| seed.parse().unwrap());
    let count = std::env::var("KEYMOULT_HOSTS_COUNT").map_or(2, |count| count.parse().unwrap());
    (first..first + count).for_each(kills_at_random);
}
