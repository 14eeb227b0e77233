//! Real daemons with real etcd as their coordinator, and a client that writes all the while: what they do of themselves, and
//! what they say, when a lead, etcd's leader, its quorum or its history is lost.

use std::time::{Duration, Instant};

use crate::fleet::{Fleet, coordinated};
use crate::support::mirror::Mirror;
use crate::support::peers::{Peers, PeersOptions, VOLUME};
use crate::support::{keymoult, next, succeed};

/// The second volume.
const OTHER: &str = "other";

fn wait_for_state(fleet: &Fleet, generation: u64, wanted: &str) {
    fleet.peers.wait(&format!("generation {generation} is {wanted}"), |peers| {
        fleet.running().iter().all(|node| peers.key(node, generation).is_some_and(|(state, _)| state == wanted))
    });
}

#[test]
fn three_daemons_take_a_key_to_its_end_and_etcd_holds_each_record() {
    let mut fleet = Fleet::founded();
    let peers = &fleet.peers;
    let mirror = Mirror::start(peers, &peers.full(), 1);
    let lead = fleet.lead();
    fleet.record_is_everywhere();
    peers.succeed(&lead, &["rotate", "start", VOLUME, "--reason", "yearly"]);
    peers.wait_for_step("finalized");
    fleet.record_is_everywhere();
    wait_for_state(&fleet, 1, "empty");
    peers.succeed(&lead, &["key", "retire", VOLUME, "1"]);
    fleet.record_is_everywhere();
    peers.succeed(
        &lead,
        &["key", "schedule", VOLUME, "1", "--now", "--i-know-this-cannot-be-undone", "--reason", "test"],
    );
    peers.succeed(&lead, &["key", "destroy", VOLUME, "1"]);
    wait_for_state(&fleet, 1, "destroyed");
    fleet.record_is_everywhere();
    peers.wait("the leave to rotate is given back", |_| fleet.leaves() == 0);
    let refused = peers.refused(&lead, &["peer", "promote", VOLUME]);
    assert!(refused.contains("the coordinator says who leads"), "{refused}");
    mirror.finish(peers);
    // A lead that is stopped gives it up: nobody waits for its lease.
    let stopped = Instant::now();
    fleet.peers.terminate(&lead);
    fleet.lead_after(&lead);
    println!("led by the next one {:?} after the lead was told to stop", stopped.elapsed());
}

/// Killed twice: as soon as a change has begun, and while replicas drain. The second lead is another one than the first.
#[test]
fn another_node_leads_by_itself_when_the_lead_is_killed() {
    let mut fleet = Fleet::founded();
    let mirror = Mirror::start(&fleet.peers, &fleet.peers.full(), 2);
    let first = fleet.lead();
    fleet.peers.succeed(&first, &["rotate", "start", VOLUME, "--rate", "256KiB"]);
    fleet.peers.kill_9(&first);
    let second = fleet.lead_after(&first);
    mirror.goes_on(&fleet.peers, 20);
    fleet.peers.start(&first);
    mirror.resync(&first);
    assert_eq!(fleet.lead(), second, "the one that comes back follows");
    fleet.peers.wait_for_links();
    if fleet.peers.step(&second) == "idle" {
        fleet.peers.succeed(&second, &["rotate", "start", VOLUME, "--rate", "256KiB"]);
    }
    fleet.peers.wait_for_step("active");
    fleet.peers.kill_9(&second);
    let killed = Instant::now();
    let third = fleet.lead_after(&second);
    println!("led by the next one {:?} after the lead was killed", killed.elapsed());
    mirror.goes_on(&fleet.peers, 20);
    fleet.peers.start(&second);
    mirror.resync(&second);
    assert_eq!(fleet.lead(), third);
    let refused = fleet.peers.refused(&second, &["rotate", "pause", VOLUME]);
    assert!(refused.contains(&format!("{third} leads this volume")), "{refused}");
    assert!(refused.contains("another node leads once its lease has ended"), "{refused}");
    fleet.finish();
    wait_for_state(&fleet, 1, "empty");
    fleet.peers.wait("the leave to rotate is given back by who leads now", |_| fleet.leaves() == 0);
    mirror.finish(&fleet.peers);
}

/// Whatever a lead was in the middle of when it died: published and not yet sent, sent and not yet committed, or in between.
#[test]
fn leads_that_are_killed_at_random_moments_leave_one_record_and_one_key() {
    let mut fleet = Fleet::founded();
    let mirror = Mirror::start(&fleet.peers, &fleet.peers.full(), 8);
    let mut random = 20_261_128;
    for _ in 0..4 {
        let lead = fleet.lead();
        drop(fleet.peers.ask(&lead, &["rotate", "start", VOLUME, "--rate", "4MiB"]));
        std::thread::sleep(Duration::from_millis(next(&mut random) % 500));
        fleet.peers.kill_9(&lead);
        fleet.lead_after(&lead);
        mirror.goes_on(&fleet.peers, 5);
        fleet.peers.start(&lead);
        mirror.resync(&lead);
        fleet.peers.wait_for_links();
    }
    let lead = fleet.lead();
    drop(fleet.peers.ask(&lead, &["rotate", "start", VOLUME]));
    fleet.finish();
    let written = fleet.peers.status(&lead)["change"]["target"].as_u64().unwrap();
    for generation in 1..written {
        fleet.peers.wait("nothing is left under the keys before", |peers| {
            peers.full().iter().all(|node| peers.key(node, generation).is_none_or(|(_, extents)| extents == 0))
        });
    }
    mirror.finish(&fleet.peers);
}

#[test]
fn a_change_survives_etcds_leader_and_stands_still_without_a_quorum() {
    let fleet = Fleet::founded();
    let peers = &fleet.peers;
    let mirror = Mirror::start(peers, &peers.full(), 3);
    let lead = fleet.lead();
    peers.succeed(&lead, &["rotate", "start", VOLUME, "--rate", "2MiB"]);
    peers.wait_for_step("active");
    let leader = fleet.etcd.leader();
    fleet.etcd.kill(leader);
    peers.succeed(&lead, &["rotate", "pause", VOLUME]);
    peers.succeed(&lead, &["rotate", "resume", VOLUME]);
    let other = fleet.etcd.leader();
    fleet.etcd.kill(other);
    // Replicas go on to what is committed; the end of the way back is not.
    peers.wait("replicas are drained", |peers| {
        peers.full().iter().all(|node| peers.key(node, 2) == Some(("active".into(), 256)))
    });
    fleet.says(&lead, &["no quorum", "to be published"]);
    for node in peers.full() {
        fleet.says(&node, &["ALARM", "no change goes forward while the coordinator cannot be asked", "no quorum"]);
        assert_eq!(peers.step(&node), "active");
    }
    let output = peers.ask(&lead, &["rotate", "status", VOLUME]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("no quorum"), "{text}");
    mirror.goes_on(peers, 50);
    fleet.etcd.run(leader);
    fleet.etcd.run(other);
    peers.wait_for_step("finalized");
    fleet.record_is_everywhere();
    assert_eq!(fleet.lead(), lead, "etcd gives leases their full time again");
    mirror.finish(peers);
}

#[test]
fn a_rollback_does_not_wait_for_the_quorum_and_stands_in_etcd_when_it_is_back() {
    let fleet = Fleet::founded();
    let peers = &fleet.peers;
    let mirror = Mirror::start(peers, &peers.full(), 4);
    let lead = fleet.lead();
    peers.succeed(&lead, &["rotate", "start", VOLUME, "--rate", "64KiB", "--hold-finalize"]);
    peers.wait_for_step("active");
    fleet.etcd.kill(0);
    fleet.etcd.kill(1);
    peers.succeed(&lead, &["rotate", "rollback", VOLUME]);
    peers.wait_for_step("rolled-back");
    // Holding a node needs nobody either.
    peers.succeed("c", &["rotate", "pause", VOLUME, "--here"]);
    peers.wait("c holds", |peers| peers.rotation("c")["state"] == "paused");
    peers.succeed("c", &["rotate", "resume", VOLUME, "--here"]);
    mirror.goes_on(peers, 50);
    fleet.etcd.run(0);
    fleet.etcd.run(1);
    let lead = fleet.lead();
    peers.succeed(&lead, &["rotate", "pace", VOLUME, "--rate", "unlimited", "--fixed"]);
    peers.wait("all are back", |peers| {
        peers.full().iter().all(|node| peers.key(node, 1) == Some(("active".into(), 256)))
    });
    fleet.record_is_everywhere();
    mirror.finish(peers);
}

/// Two replicated volumes, of which one may rotate at a time.
fn two_volumes() -> Fleet {
    let etcd = crate::cluster::Etcd::start();
    let volume = format!("[[volume]]\nname = \"{OTHER}\"\npath = \"FOLDER/other.km\"\nreplicated = true\n");
    let options = coordinated(&etcd, PeersOptions { tables: volume, ..PeersOptions::default() });
    let mut peers = Peers::new(&options);
    let path = |node: &str| Peers::path(&peers, node, "other.km");
    let mut command = keymoult();
    command.args(["volume", "create"]).arg(path("a")).args(["--size", "4MiB", "--extent-size", "65536"]);
    succeed(command.args(["--kek", &peers.kek("a")]));
    peers.start("a");
    peers.make_replicas();
    let invite = peers.folder().join("other.invite");
    let into = invite.to_str().unwrap().to_owned();
    peers.succeed("a", &["peer", "invite", OTHER, "--into", &into, "--node", "b", "--node", "c"]);
    for node in ["b", "c"] {
        let mut command = keymoult();
        command.args(["volume", "create"]).arg(Peers::path(&peers, node, "other.km")).arg("--replica-of").arg(&invite);
        command.arg("--peers").arg(Peers::path(&peers, node, "config.toml")).args(["--kek", &peers.kek(node)]);
        succeed(&mut command);
        peers.start(node);
    }
    let fleet = Fleet::of(etcd, peers);
    fleet.peers.wait_for_links();
    fleet
}

/// Whoever leads the second volume, once somebody does.
fn lead_of_other(fleet: &Fleet) -> String {
    let mut lead = String::new();
    fleet.peers.wait("somebody leads the other volume", |peers| {
        let output = peers.ask("a", &["--json", "peer", "status", OTHER]);
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        lead = status["lead"].as_str().unwrap_or_default().into();
        status["epoch"].as_u64().is_some_and(|epoch| epoch > 1) && status["accepted"] == status["committed"]
    });
    lead
}

#[test]
fn a_freeze_and_the_number_of_rotating_volumes_hold_for_the_fleet() {
    let fleet = two_volumes();
    let peers = &fleet.peers;
    let (lead, lead_other) = (fleet.lead(), lead_of_other(&fleet));
    peers.succeed("c", &["peer", "freeze", "--reason", "the storage network is being rebuilt"]);
    let refused = peers.refused(&lead, &["rotate", "start", VOLUME]);
    assert!(refused.contains("frozen") && refused.contains("the storage network is being rebuilt"), "{refused}");
    for node in peers.full() {
        fleet.says(&node, &["the storage network is being rebuilt", "peer unfreeze"]);
    }
    peers.succeed("b", &["peer", "unfreeze"]);
    peers.succeed(&lead, &["rotate", "start", VOLUME, "--rate", "64KiB"]);
    peers.wait_for_step("active");
    // A freeze stops what goes forward, and nothing that goes back.
    peers.succeed("a", &["peer", "freeze", "--reason", "again"]);
    peers.succeed(&lead, &["rotate", "rollback", VOLUME]);
    assert_eq!(peers.step(&lead), "rolled-back");
    peers.succeed("a", &["peer", "unfreeze"]);
    let refused = peers.refused(&lead_other, &["rotate", "start", OTHER]);
    assert!(refused.contains("1 volumes may rotate at a time"), "{refused}");
    fleet.finish();
    peers.wait("the leave to rotate is given back", |_| fleet.leaves() == 0);
    peers.succeed(&lead_other, &["rotate", "start", OTHER]);
    let refused = peers.refused(&lead, &["rotate", "start", VOLUME]);
    assert!(refused.contains(&format!("by {lead_other}")), "{refused}");
    peers.wait("the other volume's change is at its end", |peers| {
        let output = peers.ask("a", &["--json", "peer", "status", OTHER]);
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        status["change"]["step"] == "finalized"
    });
}

/// Every node has noticed and says what to do; the operator's word is said on all; then a rotation goes through.
fn noticed_and_accepted(fleet: &Fleet, why: &str) {
    let peers = &fleet.peers;
    for node in peers.full() {
        fleet.says(&node, &["ALARM", "gone backwards", "keymoult peer accept-history"]);
        let refused = peers.refused(&node, &["rotate", "start", VOLUME]);
        assert!(refused.contains("gone backwards") || refused.contains("leads this volume"), "{refused}");
    }
    for node in peers.full() {
        let said = peers.succeed(&node, &["peer", "accept-history", VOLUME, "--reason", why]);
        assert!(said.contains("accepted: "), "{said}");
        let log = peers.succeed(&node, &["audit", "show"]);
        assert!(log.contains("peer-accept-history") && log.contains(why), "{log}");
    }
    fleet.reader_accepts_history();
    let lead = fleet.lead();
    fleet.record_is_everywhere();
    peers.wait("nobody is alarmed any more", |peers| {
        peers.full().iter().all(|node| peers.status(node)["alarms"].as_array().is_some_and(Vec::is_empty))
    });
    let said = peers.succeed(&lead, &["peer", "accept-history", VOLUME, "--reason", why]);
    assert!(said.contains("nothing to accept"), "{said}");
    let generation = peers.status(&lead)["change"]["target"].as_u64().unwrap();
    peers.succeed(&lead, &["rotate", "start", VOLUME]);
    peers.wait("the next change is at its end", |peers| {
        let is_so = |node: &String| {
            let change = peers.status(node)["change"].clone();
            change["step"] == "finalized" && change["target"] == generation + 1
        };
        peers.full().iter().all(is_so)
    });
    fleet.record_is_everywhere();
}

#[test]
fn an_etcd_that_lost_history_is_refused_until_an_operator_accepts_it() {
    let fleet = Fleet::founded();
    let peers = &fleet.peers;
    let mirror = Mirror::start(peers, &peers.full(), 6);
    let copy = fleet.etcd.save();
    let lead = fleet.lead();
    peers.succeed(&lead, &["rotate", "start", VOLUME]);
    peers.wait_for_step("finalized");
    fleet.all_have_seen_it();
    fleet.etcd.restore(&copy, "first");
    noticed_and_accepted(&fleet, "etcd was put back from a copy");
    mirror.goes_on(peers, 20);
    fleet.all_have_seen_it();
    fleet.etcd.wipe();
    noticed_and_accepted(&fleet, "etcd is empty");
    mirror.finish(peers);
}
