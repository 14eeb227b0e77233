//! The file in which a node keeps what its peers agreed on: torn, put back, or not to be written.

use crate::support::peers::{Peers, PeersOptions, VOLUME};
use std::path::PathBuf;

fn ring(peers: &Peers, node: &str) -> PathBuf {
    let folder = peers.path(node, "state").join("peers");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(|path| path.extension().is_some_and(|end| end == "ring")).unwrap()
}

#[test]
fn a_torn_file_leaves_the_volume_served_and_its_node_out_with_an_alarm() {
    let mut peers = Peers::founded(&PeersOptions::default());
    peers.terminate("b");
    let file = ring(&peers, "b");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 7]).unwrap();
    for start in ["first", "second"] {
        peers.start("b");
        assert!(peers.connect("b").read(0, 4096).is_ok());
        let status = peers.status("b");
        let out = status["out"].as_str().unwrap_or_default();
        assert!(out.contains(".ring"), "{start} start: {status}");
        let alarms = peers.succeed("b", &["--json", "status"]);
        assert!(alarms.contains("takes no part"), "{alarms}");
        let refused = peers.refused("b", &["rotate", "pause", VOLUME, "--here"]);
        assert!(refused.contains("takes no part"), "{refused}");
        peers.terminate("b");
    }
}

#[test]
fn an_older_file_that_was_put_back_gets_what_it_missed() {
    let mut peers = Peers::founded(&PeersOptions::default());
    peers.terminate("b");
    let old = std::fs::read(ring(&peers, "b")).unwrap();
    peers.start("b");
    peers.wait_for_links();
    peers.succeed("c", &["peer", "promote", VOLUME, "--reason", "a is to be serviced"]);
    peers.wait_for_agreement();
    peers.terminate("b");
    std::fs::write(ring(&peers, "b"), old).unwrap();
    peers.start("b");
    peers.wait_for_agreement();
    assert_eq!(peers.status("b")["epoch"], 2);
}

#[test]
fn an_older_file_than_the_volume_is_noticed_and_its_node_is_out() {
    let mut peers = Peers::founded(&PeersOptions::default());
    peers.terminate("b");
    let old = std::fs::read(ring(&peers, "b")).unwrap();
    peers.start("b");
    peers.wait_for_links();
    peers.succeed("a", &["rotate", "start", VOLUME]);
    peers.wait_for_step("finalized");
    peers.terminate("b");
    std::fs::write(ring(&peers, "b"), old).unwrap();
    peers.start("b");
    let out = peers.status("b")["out"].to_string();
    assert!(out.contains("older than the volume, which holds generation 2"), "{out}");
    assert!(peers.connect("b").read(0, 4096).is_ok());
}
