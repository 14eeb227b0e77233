//! Figures of peers, printed: `cargo test --test hosts -- --ignored --nocapture figures`.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::scene::Scene;
use crate::support::peers::{PeersOptions, VOLUME};
use crate::support::{ClientError, Daemon, MIB, ServeOptions, Store, VolumeOptions, succeed, tool};

/// Times one rollback from asked to agreed on, and to agreed on and done everywhere.
fn rollback(size: u64, what: &str) {
    let options = PeersOptions { size, extent_size: MIB, ..PeersOptions::default() };
    let scene = Scene::of(&["a", "b", "c"], options);
    scene.rotate("a", "1MiB");
    scene.peers.wait_for_step("active");
    let asked = Instant::now();
    scene.peers.succeed("a", &["rotate", "rollback", VOLUME, "--reason", "figure"]);
    let agreed = asked.elapsed();
    scene.peers.wait("all are back", |peers| {
        peers.full().iter().all(|node| scene.elsewhere(node, 1) == 0 && peers.converged(node))
    });
    println!(
        "rollback, {what}: agreed on after {agreed:?}, every replica writing the old key after {:?}",
        asked.elapsed()
    );
}

#[test]
#[ignore = "a figure, not a check"]
fn figures_of_rollback() {
    rollback(1 << 30, "1 GiB, empty");
    rollback(1 << 40, "1 TiB, empty");
}

#[test]
#[ignore = "a figure, not a check"]
fn figures_of_revoke() {
    let scene = Scene::three();
    for node in scene.peers.full() {
        scene.peers.connect(&node).write_fua(0, &[7; 4096]).unwrap();
        scene.peers.succeed(&node, &["rotate", "pause", VOLUME, "--here"]);
    }
    scene.rotate("a", "1MiB");
    scene.peers.wait_for_step("active");
    let asked = Instant::now();
    scene.peers.succeed("a", &["key", "revoke", VOLUME, "1", "--reason", "figure"]);
    let agreed = asked.elapsed();
    let refuses = |node: &String| matches!(scene.peers.connect(node).read(0, 4096), Err(ClientError::Refused(5)));
    scene.peers.wait("all refuse", |peers| peers.full().iter().all(refuses));
    println!("revoke: agreed on after {agreed:?}, refused by every replica after {:?}", asked.elapsed());
}

/// Bytes a node's links have carried, both ways.
fn carried(scene: &Scene, node: &str) -> u64 {
    let list: Value = serde_json::from_str(&scene.peers.succeed(node, &["--json", "peer", "list"])).unwrap();
    let links = list["links"].as_array().unwrap();
    links.iter().map(|link| link["sent_bytes"].as_u64().unwrap() + link["received_bytes"].as_u64().unwrap()).sum()
}

#[test]
#[ignore = "a figure, not a check"]
fn figures_of_links() {
    let scene = Scene::three();
    let over = |seconds: u64, what: &str| {
        let before = (carried(&scene, "a"), scene.lan.traffic("a"));
        thread::sleep(Duration::from_secs(seconds));
        let (frames, wire) = (carried(&scene, "a") - before.0, scene.lan.traffic("a"));
        let wire = wire.0 + wire.1 - before.1.0 - before.1.1;
        println!(
            "links of the lead of three, {what}: {frames} bytes of frames, {wire} bytes of packets in {seconds} s"
        );
    };
    over(30, "idle");
    scene.rotate("a", "128KiB");
    over(30, "while rotating");
    let ring = scene.peers.path("a", "state/peers");
    for file in std::fs::read_dir(&ring).unwrap() {
        let file = file.unwrap();
        println!("{}: {} bytes", file.path().display(), file.metadata().unwrap().len());
    }
}

#[test]
#[ignore = "a figure, not a check"]
fn figures_of_the_record() {
    let scene = Scene::of(&["a", "b", "c"], PeersOptions { size: MIB, ..PeersOptions::default() });
    for generation in 2..=10 {
        scene.rotate("a", "unlimited");
        scene.peers.wait("it is finalized", |peers| {
            let change = peers.status("a")["change"].clone();
            change["target"] == generation && change["step"] == "finalized"
        });
    }
    for file in std::fs::read_dir(scene.peers.path("a", "state/peers")).unwrap() {
        let file = file.unwrap();
        println!("3 members, 10 generations: {}: {} bytes", file.path().display(), file.metadata().unwrap().len());
    }
}

fn fio(uri: &str, rw: &str) -> f64 {
    let mut command: Command = tool("fio");
    command.args([
        "--name=job",
        "--ioengine=nbd",
        "--bs=4k",
        "--iodepth=16",
        "--size=16M",
        "--time_based",
        "--runtime=5",
    ]);
    command.args([&format!("--rw={rw}"), &format!("--uri={uri}"), "--output-format=json"]);
    let said = succeed(&mut command);
    // A remark of fio's may stand in front.
    let said: Value = serde_json::from_str(&said[said.find('{').unwrap()..]).unwrap();
    let kind = if rw.contains("read") { "read" } else { "write" };
    said["jobs"][0][kind]["iops"].as_f64().unwrap()
}

#[test]
#[ignore = "a figure, not a check"]
fn figures_of_client_io() {
    let scene = Scene::three();
    let store = Store::new();
    let volume = store.create("vol", &VolumeOptions { size: 16 * MIB, ..VolumeOptions::default() });
    let alone = Daemon::start(&store, &[volume], &ServeOptions::default());
    let replica = format!("nbd+unix:///{VOLUME}?socket={}", scene.peers.path("a", "nbd").display());
    for round in 0..3 {
        for rw in ["randread", "randwrite"] {
            let (without, with) = (fio(&alone.uri(), rw), fio(&replica, rw));
            println!(
                "round {round}, {rw} 4k: alone {without:.0}, replicated and idle {with:.0}, ratio {:.3}",
                with / without
            );
        }
    }
}
