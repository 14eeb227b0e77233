//! Bad lines between nodes: slow, torn, stalled, half-open, broken within a frame.

use std::fs;
use std::time::Duration;

use crate::support::next;
use crate::support::peers::{Peers, PeersOptions, VOLUME};
use crate::support::proxy::{Line, Passage, Proxy};
use crate::support::writer::{Mirror, Writer};

/// Three nodes on loopback whose lines to the others all go through a proxy of their own.
fn behind_lines() -> (Peers, Vec<Proxy>, Writer) {
    let options = PeersOptions::default();
    let mut peers = Peers::new(&options);
    let mut lines = Vec::new();
    for node in peers.full() {
        for other in peers.full().into_iter().filter(|other| *other != node) {
            let line = Proxy::to(peers.address(&other).parse().unwrap());
            let config = peers.path(&node, "config.toml");
            let text = fs::read_to_string(&config).unwrap();
            let entry = |address: &str| format!("address = \"{address}\"");
            let (plain, bent) = (entry(peers.address(&other)), entry(&line.address().to_string()));
            assert_eq!(text.matches(&plain).count(), 1, "{text}");
            fs::write(&config, text.replace(&plain, &bent)).unwrap();
            lines.push(line);
        }
    }
    peers.start("a");
    peers.make_replicas();
    peers.start("b");
    peers.start("c");
    peers.wait_for_agreement();
    let legs = peers.full().into_iter().map(|node| {
        let socket = peers.path(&node, "nbd");
        (node, socket, VOLUME.to_owned())
    });
    let writer = Writer::start(Mirror::new(legs.collect(), options.size, 41));
    (peers, lines, writer)
}

fn ends_well(peers: &Peers, writer: Writer) {
    peers.wait_for_step("finalized");
    writer.goes_on();
    writer.stop().verify();
}

#[test]
fn slow_and_torn() {
    let (peers, lines, writer) = behind_lines();
    lines.iter().for_each(|line| line.set(Line { delay: Duration::from_millis(2), gulp: 97, ..Line::GOOD }));
    peers.succeed("a", &["rotate", "start", VOLUME, "--rate", "8MiB", "--fixed"]);
    ends_well(&peers, writer);
    assert!(lines.iter().map(Proxy::passed).sum::<u64>() > 0, "nothing went through the lines");
}

#[test]
fn broken_within_frames() {
    let (peers, lines, writer) = behind_lines();
    peers.succeed("a", &["rotate", "start", VOLUME, "--rate", "4MiB", "--fixed"]);
    let mut random = 42;
    for _ in 0..8 {
        lines.iter().for_each(|line| line.sever_after(1 + next(&mut random) % 3000));
        std::thread::sleep(Duration::from_millis(400));
    }
    lines.iter().for_each(|line| line.sever_after(u64::MAX));
    ends_well(&peers, writer);
}

#[test]
fn stalled_and_half_open() {
    let (peers, lines, writer) = behind_lines();
    // Slow enough to be under way until both silences have been noticed.
    peers.succeed("a", &["rotate", "start", VOLUME, "--rate", "128KiB", "--fixed"]);
    peers.wait_for_step("active");
    for way in [Passage::Stalled, Passage::Swallowed] {
        lines.iter().for_each(|line| line.set(Line { forth: way, back: way, ..Line::GOOD }));
        // Nobody closes such a connection: silence alone tells.
        peers.wait("everybody has noticed", |peers| {
            peers.full().iter().all(|node| {
                let members = peers.status(node)["members"].to_string();
                members.contains("\"up\":false") && !members.contains("\"up\":true")
            })
        });
        writer.goes_on();
        assert_eq!(peers.step("a"), "active");
        lines.iter().for_each(|line| line.set(Line::GOOD));
        peers.wait("everybody is there again", |peers| {
            peers
                .full()
                .iter()
                .all(|node| peers.status(node)["members"].to_string().matches("\"up\":true").count() == 2)
        });
    }
    peers.succeed("a", &["rotate", "pace", VOLUME, "--rate", "unlimited"]);
    ends_well(&peers, writer);
}
