//! Links that are cut and mended while a key changes: the change waits, client I/O does not.

use std::thread;
use std::time::Duration;

use crate::scene::Scene;
use crate::support::next;
use crate::support::peers::VOLUME;

#[test]
fn the_lead_is_cut_off_and_another_promoted() {
    let scene = Scene::three();
    let writer = scene.writer(1);
    scene.rotate("a", "512KiB");
    scene.peers.wait_for_step("active");
    scene.lan.unplug("a");
    writer.goes_on();
    scene.peers.succeed("b", &["peer", "promote", VOLUME, "--reason", "a is cut off"]);
    scene
        .peers
        .wait("b leads for those who hear it", |_| ["b", "c"].iter().all(|node| scene.lead(node) == ("b".into(), 2)));
    // The old lead knows nothing of it, and can have nothing agreed on.
    assert_eq!(scene.lead("a"), ("a".into(), 1));
    let stale = scene.ask_beside("a", &["rotate", "rollback", VOLUME, "--reason", "test"]);
    scene.peers.succeed("b", &["rotate", "pace", VOLUME, "--rate", "unlimited"]);
    scene.peers.wait("b and c have drained, and a is waited for", |_| {
        ["b", "c"].iter().all(|node| scene.elsewhere(node, 2) == 0) && scene.waits_for("b", "a")
    });
    writer.goes_on();
    assert_eq!(scene.peers.step("b"), "active", "nothing is finalized without a");
    scene.lan.heal();
    scene.peers.wait("a follows", |_| scene.lead("a") == ("b".into(), 2));
    stale.join().unwrap();
    let said = scene.peers.refused("a", &["rotate", "pause", VOLUME]);
    assert!(said.contains("b leads this volume"), "{said}");
    writer.goes_on();
    scene.peers.wait_for_step("finalized");
    assert_eq!(scene.peers.status("b")["change"]["target"], 2, "what the old lead wanted was never agreed on");
    scene.ends_well("b", writer.stop());
}

#[test]
fn a_replica_is_cut_off_while_it_drains() {
    let scene = Scene::three();
    let writer = scene.writer(2);
    scene.rotate("a", "512KiB");
    scene.peers.wait_for_step("active");
    scene.lan.unplug("c");
    scene.peers.succeed("a", &["rotate", "pace", VOLUME, "--rate", "unlimited"]);
    scene.peers.wait("a and b have drained, and c is waited for", |_| {
        ["a", "b"].iter().all(|node| scene.elsewhere(node, 2) == 0) && scene.waits_for("a", "c")
    });
    writer.goes_on();
    assert_eq!(scene.peers.step("a"), "active", "nothing is finalized without c");
    scene.lan.heal();
    scene.ends_well("a", writer.stop());
}

#[test]
fn one_direction_is_cut() {
    let scene = Scene::three();
    let writer = scene.writer(3);
    scene.rotate("a", "512KiB");
    scene.peers.wait_for_step("active");
    scene.lan.deafen("b", "a");
    scene.peers.succeed("a", &["rotate", "pace", VOLUME, "--rate", "unlimited"]);
    scene.peers.wait("all have drained, and b is waited for", |_| {
        scene.peers.full().iter().all(|node| scene.elsewhere(node, 2) == 0 || node == "b") && scene.waits_for("a", "b")
    });
    writer.goes_on();
    assert_eq!(scene.peers.step("a"), "active");
    scene.lan.heal();
    scene.ends_well("a", writer.stop());
}

#[test]
fn the_majority_is_lost() {
    let scene = Scene::three();
    let writer = scene.writer(4);
    scene.rotate("a", "512KiB");
    scene.peers.wait_for_step("active");
    let before = scene.peers.status("a")["committed"]["stamp"].clone();
    scene.lan.unplug("a");
    scene.lan.cut("b", "c");
    scene.peers.wait("everybody is alone", |peers| {
        let links = |node: &str| peers.status(node)["members"].to_string().matches("\"up\":true").count();
        ["a", "b", "c"].iter().all(|node| links(node) == 0)
    });
    let back = scene.ask_beside("a", &["rotate", "rollback", VOLUME, "--reason", "test"]);
    let promote = scene.ask_beside("b", &["peer", "promote", VOLUME, "--reason", "test"]);
    writer.goes_on();
    thread::sleep(Duration::from_secs(2));
    for node in ["a", "b", "c"] {
        assert_eq!(
            scene.peers.status(node)["committed"]["stamp"],
            before,
            "{node} has agreed with nobody on something"
        );
    }
    scene.lan.heal();
    // Whichever of the two comes first; the other is told so, or done after it.
    println!("{:?}\n{:?}", back.join().unwrap(), promote.join().unwrap());
    scene.peers.wait("somebody leads", |_| {
        let lead = scene.lead("a");
        ["b", "c"].iter().all(|node| scene.lead(node) == lead)
    });
    let lead = scene.lead("a").0;
    scene.peers.succeed(&lead, &["rotate", "pace", VOLUME, "--rate", "unlimited"]);
    writer.goes_on();
    scene.ends_well(&lead, writer.stop());
}

/// Cuts at random moments, of random links, while a rotation is prepared, activated, drained and finalized.
fn cuts_at_random(seed: u64) {
    let scene = Scene::three();
    let writer = scene.writer(seed);
    let mut random = seed;
    let mut below = |bound: u64| next(&mut random) % bound;
    let start = scene.ask_beside("a", &["rotate", "start", VOLUME, "--rate", "4MiB", "--fixed", "--reason", "test"]);
    for _ in 0..5 {
        thread::sleep(Duration::from_millis(below(700)));
        let nodes = ["a", "b", "c"];
        let one = below(3) as usize;
        let other = (one + 1 + below(2) as usize) % 3;
        match below(3) {
            0 => scene.lan.unplug(nodes[one]),
            1 => scene.lan.cut(nodes[one], nodes[other]),
            _ => scene.lan.deafen(nodes[one], nodes[other]),
        }
        thread::sleep(Duration::from_millis(100 + below(2500)));
        writer.goes_on();
        scene.lan.heal();
    }
    println!("seed {seed}: {:?}", start.join().unwrap());
    // Given up by the lead before anything was agreed on, it is asked for again.
    if scene.peers.step("a") == "idle" {
        scene.rotate("a", "4MiB");
    }
    scene.ends_well("a", writer.stop());
}

#[test]
fn cuts_at_random_moments() {
    let first = std::env::var("KEYMOULT_HOSTS_SEED").map_or(11, |seed| seed.parse().unwrap());
    let count = std::env::var("KEYMOULT_HOSTS_COUNT").map_or(2, |count| count.parse().unwrap());
    (first..first + count).for_each(cuts_at_random);
}
