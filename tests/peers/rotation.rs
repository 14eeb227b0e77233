//! Rotations of three replicas as one act, on the good way and back.

use crate::support::mirror::Mirror;
use crate::support::peers::{Peers, PeersOptions, VOLUME};
use crate::{state, wait_for_state};

#[test]
fn three_nodes_rotate_one_volume_under_a_mirroring_client() {
    let peers = Peers::founded(&PeersOptions::default());
    let mirror = Mirror::start(&peers, &peers.full(), 1);
    let said = peers.succeed("a", &["rotate", "start", VOLUME, "--reason", "yearly"]);
    assert!(said.contains("change 1 to generation 2 has begun"), "{said}");
    assert!(!said.starts_with("volume disk: none\n"), "{said}");
    peers.succeed("a", &["rotate", "wait", VOLUME]);
    assert_eq!(peers.step("a"), "finalized", "it is waited for until all replicas are done");
    peers.wait_for_step("finalized");
    wait_for_state(&peers, 1, "empty");
    for node in peers.full() {
        assert_eq!(peers.key(&node, 2), Some(("active".into(), 256)), "{node}");
        let status = peers.status(&node);
        assert_eq!((status["lead"].as_str(), status["epoch"].as_u64()), (Some("a"), Some(1)), "{status}");
        assert_eq!(status["change"]["reason"], "yearly");
        assert_eq!(status["members"].as_array().map(Vec::len), Some(3));
    }
    mirror.goes_on(&peers, 50);
    mirror.finish(&peers);
    // One key: the content of one replica is readable under another's number.
    let ids: Vec<String> =
        peers.full().iter().map(|node| peers.status(node)["committed"]["hash"].to_string()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
}

#[test]
fn a_rotation_goes_back_on_all_replicas_with_one_commit() {
    let peers = Peers::founded(&PeersOptions::default());
    let mirror = Mirror::start(&peers, &peers.full(), 2);
    peers.succeed("a", &["rotate", "start", VOLUME, "--rate", "64KiB", "--hold-finalize"]);
    peers.wait_for_step("active");
    peers.succeed("a", &["rotate", "rollback", VOLUME, "--reason", "slow"]);
    assert_eq!(peers.step("a"), "rolled-back", "it is on record when the command is answered");
    peers.succeed("a", &["rotate", "pace", VOLUME, "--rate", "unlimited", "--fixed"]);
    peers.wait("all are back", |peers| {
        peers.full().iter().all(|node| peers.key(node, 1) == Some(("active".into(), 256)))
    });
    mirror.finish(&peers);
}

#[test]
fn commands_are_the_leads_and_a_pause_may_be_one_nodes_alone() {
    let peers = Peers::founded(&PeersOptions::default());
    let refused = peers.refused("b", &["rotate", "start", VOLUME]);
    assert!(refused.contains("a leads this volume"), "{refused}");
    peers.succeed("a", &["rotate", "start", VOLUME, "--rate", "128KiB"]);
    peers.wait_for_step("active");
    peers.succeed("b", &["rotate", "pause", VOLUME, "--here"]);
    peers.wait("b holds", |peers| peers.rotation("b")["state"] == "paused");
    assert_eq!(peers.rotation("c")["state"], "running");
    peers.succeed("a", &["rotate", "pause", VOLUME]);
    peers.wait("all hold", |peers| peers.full().iter().all(|node| peers.rotation(node)["state"] == "paused"));
    peers.succeed("a", &["rotate", "pace", VOLUME, "--rate", "unlimited", "--fixed"]);
    peers.succeed("a", &["rotate", "resume", VOLUME]);
    peers.wait("a and c are drained", |peers| {
        ["a", "c"].iter().all(|node| peers.key(node, 2) == Some(("active".into(), 256)))
    });
    assert_eq!((peers.rotation("b")["state"].as_str(), peers.step("a").as_str()), (Some("paused"), "active"));
    let waits = peers.status("a")["waiting"].to_string();
    assert!(waits.contains("\"b\""), "{waits}");
    peers.succeed("b", &["rotate", "resume", VOLUME, "--here"]);
    peers.wait_for_step("finalized");
}

#[test]
fn a_retired_key_is_destroyed_on_all_replicas_unless_one_of_them_pins_it() {
    let peers = Peers::founded(&PeersOptions::default());
    let backup = peers.folder().join("backup");
    peers.succeed("c", &["volume", "header-backup", VOLUME, "--to", backup.to_str().unwrap()]);
    peers.succeed("a", &["rotate", "start", VOLUME]);
    peers.wait_for_step("finalized");
    wait_for_state(&peers, 1, "empty");
    let said = peers.succeed("a", &["key", "retire", VOLUME, "1"]);
    let has_followed = state(&peers, "a", 1) == "disabled";
    assert!(has_followed || said.contains("still being brought to it"), "{said}");
    wait_for_state(&peers, 1, "disabled");
    peers
        .succeed("a", &["key", "schedule", VOLUME, "1", "--now", "--i-know-this-cannot-be-undone", "--reason", "test"]);
    wait_for_state(&peers, 1, "scheduled");
    let refused = peers.refused("a", &["key", "destroy", VOLUME, "1"]);
    assert!(refused.contains('c') && refused.contains("backup"), "{refused}");
    assert_eq!(state(&peers, "a", 1), "scheduled");
    peers.succeed("a", &["key", "destroy", VOLUME, "1", "--despite-holders", "--reason", "the backup is shredded"]);
    wait_for_state(&peers, 1, "destroyed");
}

/// Each node asks of the backups that it has made itself.
#[test]
fn a_key_is_not_destroyed_while_a_backup_of_the_node_that_is_asked_waits_for_its_drill() {
    let more = "[policy]\ndrill-max-age = \"1s\"\ndestroy-delay = \"0s\"".into();
    let peers = Peers::founded(&PeersOptions { more, ..PeersOptions::default() });
    // They hold generation 1 alone, and are in the way of generation 2 for want of a drill.
    let backup = |node: &str| {
        let to = peers.path(node, "backup");
        peers.succeed(node, &["volume", "header-backup", VOLUME, "--to", to.to_str().unwrap()]);
    };
    backup("a");
    backup("c");
    for generation in [1, 2] {
        peers.succeed("a", &["rotate", "start", VOLUME]);
        wait_for_state(&peers, generation, "empty");
    }
    peers.wait_for_step("finalized");
    peers.succeed("a", &["key", "retire", VOLUME, "2"]);
    peers.succeed("a", &["key", "schedule", VOLUME, "2"]);
    wait_for_state(&peers, 2, "scheduled");
    let holders = |node: &str| -> serde_json::Value {
        serde_json::from_str(&peers.succeed(node, &["--json", "key", "holder", "list", VOLUME])).unwrap()
    };
    peers.wait("the backup is overdue", |_| holders("a")["holders"][0]["overdue"] == true);
    let refused = peers.refused("a", &["key", "destroy", VOLUME, "2"]);
    assert!(
        refused.contains("the last restore drill of header-backup") && refused.contains("drill restore"),
        "{refused}"
    );
    let refused = peers.refused("b", &["key", "destroy", VOLUME, "2"]);
    assert!(refused.contains("a leads this volume"), "{refused}");
    let id = holders("a")["holders"][0]["id"].as_str().unwrap().to_owned();
    peers.succeed("a", &["key", "holder", "release", VOLUME, "--holder", &id]);
    peers.succeed("a", &["key", "destroy", VOLUME, "2", "--reason", "test"]);
    wait_for_state(&peers, 2, "destroyed");
    assert_eq!(holders("c")["holders"][0]["overdue"], true, "what c has made is asked of on c");
}

#[test]
fn a_revoked_key_leaves_memory_on_every_reachable_node() {
    let peers = Peers::founded(&PeersOptions::default());
    peers.succeed("a", &["rotate", "start", VOLUME, "--rate", "64KiB", "--hold-finalize"]);
    peers.wait_for_step("active");
    peers.succeed("a", &["key", "revoke", VOLUME, "1", "--reason", "stolen"]);
    wait_for_state(&peers, 1, "revoked");
    for node in peers.full() {
        assert!(peers.connect(&node).read(8 << 20, 4096).is_err(), "{node} still reads under a withdrawn key");
    }
    peers.succeed("a", &["key", "reinstate", VOLUME, "1", "--break-glass", "--reason", "found"]);
    wait_for_state(&peers, 1, "draining");
    assert!(peers.connect("b").read(8 << 20, 4096).is_ok());
}
