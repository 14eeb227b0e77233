//! One node's trouble: its keeper, its disk. The others wait for it by name, and go on when it is over; clients notice nothing.

use crate::support::mirror::Mirror;
use crate::support::peers::{Peers, PeersOptions, VOLUME};
use std::fs;

/// Whether the lead's status names this node as one that is waited for, or that has refused.
fn is_named(peers: &Peers, node: &str) -> bool {
    let status = peers.status("a");
    let said = format!("{}{}", status["waiting"], status["refusals"]);
    said.contains(&format!("\"{node}\""))
}

#[test]
fn a_cold_proof_waits_for_a_node_whose_keeper_does_not_give_the_key() {
    let peers = Peers::founded(&PeersOptions::default());
    let mirror = Mirror::start(&peers, &peers.full(), 7);
    let (kek, aside) = (peers.path("b", "kek"), peers.path("b", "kek.aside"));
    fs::rename(&kek, &aside).unwrap();
    drop(peers.ask("a", &["rotate", "start", VOLUME, "--cold-proof"]));
    peers.wait("a waits for b's proof", |peers| peers.step("a") == "prepared" && is_named(peers, "b"));
    mirror.goes_on(&peers, 50);
    assert_eq!(peers.step("a"), "prepared", "nothing is written under a key that b could not have tomorrow");
    fs::rename(&aside, &kek).unwrap();
    peers.wait_for_step("finalized");
    mirror.finish(&peers);
}

#[test]
fn a_node_that_cannot_keep_the_record_does_not_acknowledge_it() {
    let peers = Peers::founded(&PeersOptions::default());
    let folder = peers.path("b", "state").join("peers");
    let ring = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let ring = ring.into_iter().find(|path| path.extension().is_some_and(|end| end == "ring")).unwrap();
    // A folder where the new file would be: as good as a full disk, and over when it is gone.
    let in_the_way = ring.with_extension("ring.new");
    let _ = fs::remove_file(&in_the_way);
    fs::create_dir(&in_the_way).unwrap();
    drop(peers.ask("a", &["rotate", "start", VOLUME]));
    peers.wait("a waits for b", |peers| is_named(peers, "b"));
    assert_eq!(peers.step("a"), "idle");
    let alarms = peers.succeed("b", &["--json", "status"]);
    assert!(alarms.contains("cannot be kept"), "{alarms}");
    fs::remove_dir(&in_the_way).unwrap();
    peers.wait_for_step("finalized");
}

#[test]
fn one_replica_at_a_time_drains_if_that_is_wanted() {
    let peers = Peers::founded(&PeersOptions::default());
    peers.succeed("a", &["rotate", "start", VOLUME, "--one-at-a-time", "--rate", "4MiB", "--fixed"]);
    let mut seen = std::collections::BTreeSet::new();
    peers.wait("it ends", |peers| {
        let running: Vec<String> =
            peers.full().into_iter().filter(|node| peers.rotation(node)["state"] == "running").collect();
        // Looked at one after the other: the turn may pass on between two looks, to one of them.
        assert!(running.len() <= 2, "{running:?}");
        seen.extend(running);
        peers.full().iter().all(|node| peers.step(node) == "finalized")
    });
    assert_eq!(seen.len(), 3, "each had its turn: {seen:?}");
}

#[test]
fn a_deadline_undoes_a_change_that_a_dead_node_holds_up() {
    let mut peers = Peers::founded(&PeersOptions::default());
    peers.succeed("a", &["rotate", "start", VOLUME, "--rate", "64KiB", "--deadline", "3s", "--undo-on-deadline"]);
    peers.wait_for_step("active");
    peers.kill_9("c");
    peers.wait("a goes back", |peers| peers.step("a") == "rolled-back");
    assert_eq!(peers.key("a", 1).map(|(state, _)| state), Some("active".into()));
}

/// Mounts a small file system over the state directory of the node whose command line follows.
const SMALL: &str =
    r#"state=$(dirname "$3")/state; mkdir -p "$state" && mount -t tmpfs -o size=3m none "$state" && exec "$0" "$@""#;

#[test]
fn on_a_full_file_system_nothing_goes_forward_and_a_rollback_still_works() {
    let small = ["unshare", "--mount", "sh", "-c", SMALL].map(str::to_owned).to_vec();
    let options = PeersOptions { prefixes: [("a", small)].into(), ..PeersOptions::default() };
    let peers = Peers::founded(&options);
    peers.succeed("a", &["rotate", "start", VOLUME, "--rate", "64KiB", "--hold-finalize"]);
    peers.wait_for_step("active");
    let state = format!("/proc/{}/root{}", peers.pid("a"), peers.path("a", "state").display());
    let mut filler = fs::File::create(format!("{state}/filler")).unwrap();
    while std::io::Write::write_all(&mut filler, &[1; 4096]).is_ok() {}
    // A few more fit into the last page set aside; then no act does.
    let refused = (0..50).map(|_| peers.ask("a", &["rotate", "resume", VOLUME])).find(|it| it.status.code() == Some(8));
    let said = refused.map(|output| String::from_utf8_lossy(&output.stderr).into_owned()).unwrap_or_default();
    assert!(said.contains("cannot be recorded"), "{said}");
    peers.succeed("a", &["rotate", "rollback", VOLUME]);
    assert_eq!(peers.step("a"), "rolled-back");
    assert_eq!(peers.key("a", 1).map(|(state, _)| state), Some("active".into()));
}
