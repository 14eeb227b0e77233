//! Damage on the disk of one replica in the middle of a change: its node says what it found and where, the change waits for it by name,
//! and nobody else notices.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::keymoult;
use crate::support::mirror::Mirror;
use crate::support::peers::{Peers, PeersOptions, VOLUME};
use serde_json::Value;

const BLOCK: usize = 4096;

/// Where a zone stands on a node's replica, which the node serves meanwhile.
fn zone(peers: &Peers, node: &str, name: &str) -> Range<u64> {
    let mut command = keymoult();
    let info = command.args(["--json", "volume", "info"]).arg(peers.path(node, "disk.km")).output().unwrap();
    let info: Value = serde_json::from_slice(&info.stdout).unwrap();
    let zones = info["zones"].as_array().unwrap_or_else(|| panic!("{info:#}"));
    let zone = zones.iter().find(|zone| zone["name"] == name).unwrap_or_else(|| panic!("{zones:#?}"));
    let (offset, length) = (zone["offset"].as_u64().unwrap(), zone["length"].as_u64().unwrap());
    offset..offset + length
}

fn disk(peers: &Peers, node: &str) -> File {
    File::options().write(true).open(peers.path(node, "disk.km")).unwrap()
}

/// What the lead tells of those it waits for, and of what is wrong.
fn told(peers: &Peers) -> String {
    let status = peers.status("a");
    format!("{}\n{}\n{}", status["waiting"], status["refusals"], status["alarms"])
}

fn state(peers: &Peers, node: &str) -> Value {
    peers.rotation(node)["state"].clone()
}

/// Whether nothing refers to the old key is read from the device: a page that is not what the daemon wrote proves nothing.
#[test]
fn a_bad_tag_page_keeps_a_change_from_being_finalized_until_its_node_is_out() {
    let peers = Peers::founded(&PeersOptions::default());
    let mirror = Mirror::start(&peers, &["a".into(), "c".into()], 11);
    let tags = zone(&peers, "b", "tag pages");
    peers.succeed("a", &["rotate", "start", VOLUME, "--hold-finalize"]);
    peers.wait("a knows that all are drained", |peers| {
        let members = peers.status("a")["members"].as_array().cloned().unwrap_or_default();
        members.len() == 3 && members.iter().all(|member| member["progress"]["phase"] == "drained")
    });
    let rot = vec![0x5a; (tags.end - tags.start) as usize];
    disk(&peers, "b").write_all_at(&rot, tags.start).unwrap();
    let mut finalize = keymoult()
        .args(["rotate", "finalize", VOLUME, "--control", &format!("unix:{}", peers.path("a", "ctl").display())])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    peers.wait("a is told what b found, and raises the alarm", |peers| {
        let alarms = peers.status("a")["alarms"].to_string();
        alarms.contains("b refuses") && alarms.contains("tag page")
    });
    mirror.goes_on(&peers, 50);
    assert_eq!(peers.step("a"), "active", "there is a way back still: {}", told(&peers));
    for node in peers.full() {
        assert_eq!(peers.key(&node, 1), Some(("draining".into(), 0)), "{node}");
    }
    peers.succeed("a", &["peer", "expel", VOLUME, "b", "--reason", "its disk rots"]);
    peers.succeed("a", &["rotate", "finalize", VOLUME]);
    peers.wait("a and c are done", |peers| {
        ["a", "c"].iter().all(|node| peers.step(node) == "finalized" && peers.key(node, 1) == Some(("empty".into(), 0)))
    });
    mirror.finish(&peers);
    finalize.wait().unwrap();
}

/// A block of these bytes where direct I/O takes it from: what is in the page cache would be in the way of the daemon's own.
fn aligned(bytes: &mut Vec<u8>, byte: u8) -> &[u8] {
    bytes.clear();
    bytes.resize(2 * BLOCK, byte);
    let first = bytes.as_ptr().align_offset(BLOCK);
    &bytes[first..first + BLOCK]
}

/// What a replica re-encrypts is read back by the other engine; a device that gives back something else stops it.
#[test]
fn what_does_not_read_back_stops_its_replica_alone_and_the_change_waits_for_it() {
    let peers = Peers::founded(&PeersOptions::default());
    let data = zone(&peers, "b", "data");
    let mut options = File::options();
    let file = options.write(true).custom_flags(nix::libc::O_DIRECT).open(peers.path("b", "disk.km")).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut byte, mut block) = (0u8, Vec::new());
            while !stop.load(Ordering::Relaxed) {
                byte = byte.wrapping_add(1);
                for extent in data.clone().step_by(64 << 10) {
                    file.write_all_at(aligned(&mut block, byte), extent).unwrap();
                }
            }
        });
        peers.succeed("a", &["rotate", "start", VOLUME]);
        peers.wait("b has stopped", |peers| state(peers, "b") == "failed");
        stop.store(true, Ordering::Relaxed);
    });
    peers.wait("a and c are drained", |peers| {
        ["a", "c"].iter().all(|node| peers.key(node, 2) == Some(("active".into(), 256)))
    });
    peers.wait("the alarm names b, and what it is", |peers| {
        let alarms = peers.status("a")["alarms"].to_string();
        alarms.contains("re-encryption has stopped on b") && alarms.contains("reads back differently")
    });
    let waiting = peers.status("a")["waiting"].to_string();
    assert!(waiting.contains("\"b\"") && waiting.contains("its re-encryption has stopped: "), "{waiting}");
    assert_eq!(peers.step("a"), "active");
    assert!(peers.connect("b").read(0, 4096).is_ok(), "it is served as before");
    peers.succeed("a", &["peer", "expel", VOLUME, "b", "--reason", "its disk rots"]);
    peers.wait("a and c are done", |peers| ["a", "c"].iter().all(|node| peers.step(node) == "finalized"));
    peers.wait("the alarm is over", |peers| peers.status("a")["alarms"] == Value::Array(Vec::new()));
}
