//! A node that is gone for good: expelled, and another taken in instead, made from an invite.

use serde_json::Value;

use crate::scene::Scene;
use crate::support::peers::{PeersOptions, VOLUME};
use crate::support::writer::Writer;

#[test]
fn expelled_and_another_admitted() {
    let mut scene = Scene::of(&["a", "b", "c", "d"], PeersOptions::default());
    let mut client = scene.client(51);
    (0..400).for_each(|_| client.write());
    let writer = Writer::start(client);
    scene.rotate("a", "1MiB");
    scene.peers.wait_for_step("active");
    scene.peers.kill_9("c");
    writer.goes_on();
    scene.peers.succeed("a", &["rotate", "pace", VOLUME, "--rate", "unlimited"]);
    scene.peers.wait("c is waited for", |_| scene.waits_for("a", "c"));
    let refused = scene.peers.refused("a", &["peer", "expel", VOLUME, "nobody", "--reason", "test"]);
    assert!(refused.contains("nobody"), "{refused}");
    scene.peers.succeed("a", &["peer", "expel", VOLUME, "c", "--reason", "its disk is broken"]);
    // What it had is nobody's any more: the rotation goes on without it.
    scene.peers.forget("c");
    scene.peers.wait_for_step("finalized");
    let mut client = writer.stop();
    client.remove("c");

    let address = scene.address("d");
    scene.peers.add("d", address);
    for node in ["a", "b"] {
        scene.peers.reload(node);
        scene.peers.wait("the new member is dialled", |peers| peers.link(node, "d").is_some());
    }
    let invite = scene.peers.folder().join("invite-d");
    scene.peers.succeed("a", &["peer", "invite", VOLUME, "--node", "d", "--into", invite.to_str().unwrap()]);
    scene.peers.make_replica("d", &invite);
    scene.peers.start("d");
    scene.peers.wait("it is there", |peers| ["a", "b"].iter().all(|node| peers.link(node, "d") == Some(true)));
    let list: Value = serde_json::from_str(&scene.peers.succeed("d", &["--json", "peer", "list"])).unwrap();
    scene.peers.succeed("a", &["peer", "admit", VOLUME, list["public"].as_str().unwrap(), "--reason", "instead of c"]);
    scene.peers.wait_for_agreement();
    // What was written before it was made has to be copied, as md and QEMU do.
    client.add("d", scene.peers.path("d", "nbd"), VOLUME);
    client.verify();
    let writer = Writer::start(client);
    scene.rotate("a", "8MiB");
    writer.goes_on();
    scene.ends_well("a", writer.stop());
}
