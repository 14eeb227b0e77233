//! Who leads, and who is a member: promote with the old lead stopped and coming back, expel, a witness's vote.

use crate::support::peers::{Peers, PeersOptions, VOLUME, free_address};
use serde_json::Value;

#[test]
fn another_node_is_promoted_and_the_old_lead_follows_when_it_is_back() {
    let mut peers = Peers::founded(&PeersOptions::default());
    peers.kill_9("a");
    peers.succeed("b", &["peer", "promote", VOLUME, "--reason", "a is down"]);
    let status = peers.status("b");
    assert_eq!((status["lead"].as_str(), status["epoch"].as_u64()), (Some("b"), Some(2)), "{status}");
    peers.start("a");
    peers.wait_for_agreement();
    peers.wait_for_links();
    let refused = peers.refused("a", &["rotate", "start", VOLUME]);
    assert!(refused.contains("b leads this volume (epoch 2)"), "{refused}");
    peers.succeed("b", &["rotate", "start", VOLUME]);
    peers.wait_for_step("finalized");
}

#[test]
fn a_node_that_is_gone_for_good_is_expelled_and_the_others_go_on() {
    let mut peers = Peers::founded(&PeersOptions::default());
    peers.kill_9("c");
    peers.succeed("a", &["peer", "expel", VOLUME, "c", "--reason", "burnt down"]);
    peers.succeed("a", &["rotate", "start", VOLUME]);
    peers.wait_for_step("finalized");
    peers.start("c");
    peers.wait("c knows that it is out", |peers| peers.status("c")["out"].is_string());
    assert_eq!(peers.key("c", 2), None, "it got no key that was made without it");
}

#[test]
fn two_replicas_and_a_witness_have_a_majority_without_one_replica() {
    let options = PeersOptions { full: vec!["a", "b"], witnesses: vec!["w"], ..PeersOptions::default() };
    let mut peers = Peers::founded(&options);
    peers.succeed("a", &["rotate", "start", VOLUME, "--rate", "64KiB", "--hold-finalize"]);
    peers.wait_for_step("active");
    peers.kill_9("b");
    peers.succeed("a", &["rotate", "rollback", VOLUME]);
    peers.kill_9("a");
    peers.start("b");
    peers.wait_for_links();
    peers.succeed("b", &["peer", "promote", VOLUME, "--reason", "a is down"]);
    assert_eq!(peers.status("b")["lead"], "b");
    assert_eq!(peers.step("b"), "rolled-back", "the witness has remembered what a had decided");
}

#[test]
fn without_a_majority_nobody_is_promoted() {
    let mut peers = Peers::founded(&PeersOptions::default());
    peers.kill_9("a");
    peers.kill_9("c");
    let said = peers.ask("b", &["peer", "promote", VOLUME, "--reason", "alone"]);
    let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert_eq!(peers.status("b")["lead"], "a", "{text}");
}

#[test]
fn a_rollback_without_a_majority_is_under_way_until_there_is_one() {
    let mut peers = Peers::founded(&PeersOptions::default());
    peers.succeed("a", &["rotate", "start", VOLUME, "--rate", "64KiB", "--hold-finalize"]);
    peers.wait_for_step("active");
    peers.kill_9("b");
    peers.kill_9("c");
    let said = peers.ask("a", &["rotate", "rollback", VOLUME]);
    let text = String::from_utf8_lossy(&said.stdout);
    assert_eq!(said.status.code(), Some(10), "{text}{}", String::from_utf8_lossy(&said.stderr));
    assert!(text.contains("(under way)") && text.contains("b cannot be reached"), "{text}");
    peers.start("b");
    peers.wait("the rollback is committed", |peers| peers.step("a") == "rolled-back");
    peers.start("c");
    peers.wait_for_step("rolled-back");
}

/// A node with a replica of its own that the record does not name yet is no cause for alarm, on neither side.
#[test]
fn a_fresh_node_says_that_it_waits_to_be_admitted() {
    let mut peers = Peers::founded(&PeersOptions { full: vec!["a", "b"], ..PeersOptions::default() });
    let address = free_address();
    peers.add("d", address.clone());
    ["a", "b"].iter().for_each(|node| peers.reload(node));
    let invite = peers.folder().join("invite of d");
    peers.succeed("a", &["peer", "invite", VOLUME, "--node", "d", "--into", invite.to_str().unwrap()]);
    peers.make_replica("d", &invite);
    peers.start("d");
    peers.wait("d waits", |peers| peers.status("d")["waiting"][0]["what"] == "to admit d");
    let (fresh, lead) = (peers.status("d"), peers.status("a"));
    assert_eq!((fresh["waiting"][0]["member"].as_str(), &fresh["alarms"]), (Some("a"), &Value::Array(Vec::new())));
    assert_eq!((&lead["refusals"], &lead["alarms"]), (&Value::Array(Vec::new()), &Value::Array(Vec::new())));
    let said = peers.succeed("d", &["peer", "status", VOLUME]);
    assert!(said.contains("waits for a to admit d") && said.contains("keymoult peer admit disk PUBLIC"), "{said}");

    let list: Value = serde_json::from_str(&peers.succeed("d", &["--json", "peer", "list"])).unwrap();
    peers.succeed("a", &["peer", "admit", VOLUME, list["public"].as_str().unwrap(), "--address", &address]);
    peers.wait_for_agreement();
    assert_eq!(peers.status("d")["waiting"], Value::Array(Vec::new()));
    assert_eq!(peers.status("d")["members"].as_array().map(Vec::len), Some(3));
}
