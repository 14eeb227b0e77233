//! Nodes that die, at every moment of a change: what was acknowledged holds, the others' clients go on, and the change ends.

use crate::support::mirror::Mirror;
use crate::support::next;
use crate::support::peers::{Peers, PeersOptions, VOLUME};
use crate::wait_for_state;

#[test]
fn a_replica_that_dies_is_waited_for_and_the_others_serve_on() {
    let mut peers = Peers::founded(&PeersOptions::default());
    let mirror = Mirror::start(&peers, &peers.full(), 3);
    peers.kill_9("c");
    let refused_or_waits = peers.ask("a", &["rotate", "start", VOLUME]);
    assert_ne!(peers.step("a"), "active", "nothing is written under a key that c does not hold");
    drop(refused_or_waits);
    mirror.goes_on(&peers, 50);
    peers.start("c");
    mirror.resync("c");
    peers.wait_for_links();
    if peers.step("a") == "idle" {
        peers.succeed("a", &["rotate", "start", VOLUME]);
    }
    peers.wait_for_step("finalized");
    mirror.finish(&peers);
}

#[test]
fn a_replica_that_dies_while_it_drains_goes_on_where_it_was() {
    let mut peers = Peers::founded(&PeersOptions::default());
    let mirror = Mirror::start(&peers, &peers.full(), 4);
    peers.succeed("a", &["rotate", "start", VOLUME, "--rate", "1MiB"]);
    peers.wait_for_step("active");
    peers.kill_9("b");
    peers.wait("a names b", |peers| peers.status("a")["waiting"].to_string().contains("\"b\""));
    assert_eq!(peers.step("a"), "active");
    peers.start("b");
    mirror.resync("b");
    peers.succeed("a", &["rotate", "pace", VOLUME, "--rate", "unlimited", "--fixed"]);
    peers.wait_for_step("finalized");
    mirror.finish(&peers);
}

#[test]
fn a_rollback_is_committed_with_one_replica_dead_and_it_follows_when_it_is_back() {
    let mut peers = Peers::founded(&PeersOptions::default());
    peers.succeed("a", &["rotate", "start", VOLUME, "--rate", "64KiB", "--hold-finalize"]);
    peers.wait_for_step("active");
    peers.kill_9("c");
    peers.succeed("a", &["rotate", "rollback", VOLUME]);
    assert_eq!(peers.step("a"), "rolled-back");
    peers.start("c");
    peers.succeed("a", &["rotate", "pace", VOLUME, "--rate", "unlimited", "--fixed"]);
    peers.wait("c goes back, too", |peers| peers.key("c", 1) == Some(("active".into(), 256)));
}

/// Kills one node after another at random moments of a change; whatever they were in the middle of, it ends finalized.
#[test]
fn nodes_that_are_killed_at_random_end_with_one_record_and_one_key() {
    let mut peers = Peers::founded(&PeersOptions::default());
    let mirror = Mirror::start(&peers, &peers.full(), 5);
    let mut random = 20_261_128;
    drop(peers.ask("a", &["rotate", "start", VOLUME, "--rate", "2MiB"]));
    for _ in 0..6 {
        let node = ["a", "b", "c"][next(&mut random) as usize % 3];
        std::thread::sleep(std::time::Duration::from_millis(next(&mut random) % 700));
        peers.kill_9(node);
        mirror.goes_on(&peers, 5);
        peers.start(node);
        mirror.resync(node);
    }
    peers.wait_for_links();
    if peers.step("a") == "idle" {
        peers.succeed("a", &["rotate", "start", VOLUME]);
    }
    drop(peers.ask("a", &["rotate", "pace", VOLUME, "--rate", "unlimited", "--fixed"]));
    peers.wait_for_step("finalized");
    wait_for_state(&peers, 1, "empty");
    mirror.finish(&peers);
}
