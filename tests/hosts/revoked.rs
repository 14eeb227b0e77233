//! A key that is withdrawn while a node is cut off.

use std::time::{Duration, Instant};

use crate::scene::Scene;
use crate::support::peers::VOLUME;
use crate::support::{ClientError, pattern};

/// Within which a withdrawn key is out of memory wherever the lead reaches.
const OUT_OF_MEMORY: Duration = Duration::from_secs(10);

#[test]
fn one_node_learns_of_it_late() {
    let scene = Scene::three();
    let content = pattern(9, 64 << 10);
    for node in scene.peers.full() {
        scene.peers.connect(&node).write_fua(0, &content).unwrap();
    }
    // The first extent stays under generation 1 everywhere: the drain is held before it begins.
    for node in scene.peers.full() {
        scene.peers.succeed(&node, &["rotate", "pause", VOLUME, "--here"]);
    }
    scene.rotate("a", "1MiB");
    scene.peers.wait_for_step("active");
    scene.lan.unplug("c");
    let reads = |node: &str| scene.peers.connect(node).read(0, 4096);
    assert!(reads("a").is_ok());
    let asked = Instant::now();
    let revoke = scene.ask_beside("a", &["--json", "key", "revoke", VOLUME, "1", "--reason", "in the wrong hands"]);
    scene.peers.wait("a and b refuse it", |_| {
        ["a", "b"].iter().all(|node| matches!(reads(node), Err(ClientError::Refused(5))))
    });
    println!("out of memory on all reachable nodes after {:?}", asked.elapsed());
    assert!(asked.elapsed() < OUT_OF_MEMORY, "after {:?}", asked.elapsed());
    let said = String::from_utf8_lossy(&revoke.join().unwrap().stdout).into_owned();
    println!("{said}");
    assert!(said.contains('c'), "the unreachable node is not named: {said}");
    // What cannot be reached cannot be told: c still serves it, as the answer says.
    assert!(reads("c").is_ok());
    scene.lan.heal();
    let healed = Instant::now();
    scene.peers.wait("c refuses it, too", |_| matches!(reads("c"), Err(ClientError::Refused(5))));
    println!("on the node that was cut off {:?} after it could be reached", healed.elapsed());
}
