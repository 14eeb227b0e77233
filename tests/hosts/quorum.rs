//! QEMU's quorum over the replicas: a guest-less client whose every write goes to all of them, with QEMU's own way to catch up.

use std::path::PathBuf;
use std::process::Command;

use crate::scene::Scene;
use crate::support::peers::{PeersOptions, VOLUME};
use crate::support::quorum::{Quorum, Reading};
use crate::support::writer::Mirror;
use crate::support::{Oracle, next, succeed, tool};

fn legs(scene: &Scene) -> Vec<(PathBuf, String)> {
    scene.peers.full().iter().map(|node| (scene.peers.path(node, "nbd"), VOLUME.to_owned())).collect()
}

/// Reads through the quorum, which has a minority written over, until every replica holds the content: QEMU tries a replica
/// that it lost again after 1, 2, 4… s.
fn repaired(scene: &Scene, quorum: &Quorum, oracle: &mut Oracle) {
    scene.peers.wait("the quorum has written over what its minority missed", |peers| {
        oracle.check(&mut quorum.connect());
        peers.full().iter().all(|node| oracle.holds(&mut peers.connect(node)))
    });
}

/// The oracle's content on the quorum and on every replica, then the end of the key.
fn ends_well(scene: &Scene, quorum: &Quorum, oracle: &mut Oracle) {
    scene.peers.wait_for_step("finalized");
    oracle.check(&mut quorum.connect());
    for node in scene.peers.full() {
        oracle.check(&mut scene.peers.connect(&node));
    }
    scene.ends_well("a", Mirror::new(Vec::new(), 0, 0));
    for node in scene.peers.full() {
        oracle.check(&mut scene.peers.connect(&node));
    }
}

#[test]
fn one_of_three_is_killed_and_written_over() {
    let mut scene = Scene::three();
    let folder = scene.peers.folder().join("qemu");
    let mut quorum = Quorum::start(&folder, &legs(&scene), 2, Reading::Vote);
    let mut oracle = Oracle::fresh(PeersOptions::default().size);
    let mut client = quorum.connect();
    let mut hammer = |oracle: &mut Oracle, seed| assert!(oracle.hammer(&mut client, &mut { seed }, 8, 400) >= 400);
    hammer(&mut oracle, 1);
    scene.rotate("a", "1MiB");
    hammer(&mut oracle, 2);
    scene.peers.kill_9("c");
    hammer(&mut oracle, 3);
    scene.peers.start("c");
    scene.peers.succeed("a", &["rotate", "pace", VOLUME, "--rate", "unlimited"]);
    hammer(&mut oracle, 4);
    repaired(&scene, &quorum, &mut oracle);
    assert!(!quorum.complaints().is_empty(), "QEMU noticed nothing of the killed node");
    ends_well(&scene, &quorum, &mut oracle);
}

#[test]
fn one_of_two_is_killed_and_mirrored_again() {
    let mut scene = Scene::of(&["a", "b"], PeersOptions { full: vec!["a", "b"], ..PeersOptions::default() });
    let folder = scene.peers.folder().join("qemu");
    let legs = legs(&scene);
    let mut quorum = Quorum::start(&folder, &legs, 1, Reading::First);
    let mut oracle = Oracle::fresh(PeersOptions::default().size);
    let mut client = quorum.connect();
    let mut hammer = |oracle: &mut Oracle, seed| assert!(oracle.hammer(&mut client, &mut { seed }, 8, 400) >= 400);
    hammer(&mut oracle, 1);
    scene.rotate("a", "1MiB");
    hammer(&mut oracle, 2);
    scene.peers.kill_9("b");
    hammer(&mut oracle, 3);
    quorum.remove(1);
    scene.peers.start("b");
    scene.peers.succeed("a", &["rotate", "pace", VOLUME, "--rate", "unlimited"]);
    hammer(&mut oracle, 4);
    quorum.resync(1, &legs[1]);
    oracle.check(&mut quorum.connect());
    ends_well(&scene, &quorum, &mut oracle);
}

/// fio's job on the quorum's own export.
fn fio(quorum: &Quorum, args: &[&str]) -> Command {
    let mut command = tool("fio");
    command.current_dir(quorum.socket().parent().unwrap());
    command.args(["--name=job", "--ioengine=nbd", "--rw=randwrite", "--bsrange=4k-64k", "--iodepth=16", "--size=16M"]);
    command.args(["--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0", "--verify_backlog=64"]);
    command.arg(format!("--uri={}", quorum.uri())).args(args);
    command
}

#[test]
fn fio_verifies_beside_rotations() {
    let scene = Scene::three();
    let quorum = Quorum::start(&scene.peers.folder().join("qemu"), &legs(&scene), 2, Reading::Vote);
    succeed(&mut fio(&quorum, &["--rw=write", "--bs=1M"]));
    for round in 0..2 {
        scene.rotate("a", "8MiB");
        succeed(&mut fio(&quorum, &["--loops=2"]));
        scene.peers.wait("it is finalized", |peers| {
            let change = peers.status("a")["change"].clone();
            change["target"] == 2 + round && change["step"] == "finalized"
        });
        for node in scene.peers.full() {
            assert_eq!(scene.elsewhere(&node, 2 + round), 0, "{node}");
        }
    }
    let first = format!("nbd+unix:///{VOLUME}?socket={}", scene.peers.path("a", "nbd").display());
    for node in ["b", "c"] {
        let other = format!("nbd+unix:///{VOLUME}?socket={}", scene.peers.path(node, "nbd").display());
        succeed(tool("qemu-img").args(["compare", "-f", "raw", "-F", "raw", &first, &other]));
    }
}

/// Again and again: a rotation, a random node killed in it and written over when it is back, now and then a rollback.
#[test]
#[ignore = "as long as one likes: tools/hosts"]
fn for_long() {
    let rounds: u64 = std::env::var("KEYMOULT_HOSTS_COUNT").map_or(20, |count| count.parse().unwrap());
    let mut random: u64 = std::env::var("KEYMOULT_HOSTS_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut scene = Scene::three();
    let quorum = Quorum::start(&scene.peers.folder().join("qemu"), &legs(&scene), 2, Reading::Vote);
    let mut oracle = Oracle::fresh(PeersOptions::default().size);
    let mut client = quorum.connect();
    for round in 1..=rounds {
        scene.rotate("a", "2MiB");
        let node = ["a", "b", "c"][(next(&mut random) % 3) as usize];
        let before = 100 + (next(&mut random) % 800) as usize;
        assert!(oracle.hammer(&mut client, &mut random, 8, before) >= before);
        scene.peers.kill_9(node);
        assert!(oracle.hammer(&mut client, &mut random, 8, 400) >= 400);
        scene.peers.start(node);
        let back = next(&mut random).is_multiple_of(4);
        if back {
            scene.peers.succeed("a", &["rotate", "rollback", VOLUME, "--reason", "soak"]);
        }
        scene.peers.succeed("a", &["rotate", "pace", VOLUME, "--rate", "unlimited"]);
        scene.peers.wait_for_step("finalized");
        repaired(&scene, &quorum, &mut oracle);
        println!(
            "round {round} of {rounds}: {node} killed after {before} writes, {}",
            if back { "rolled back" } else { "finished" }
        );
    }
}
