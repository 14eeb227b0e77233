//! Comparing replicas that clients write to: equal ones are called equal, and a byte that one of them alone has is found.

use crate::support::mirror::Mirror;
use crate::support::peers::{Peers, PeersOptions, VOLUME};
use serde_json::Value;

/// `peer check --data --json`: exit code and what was found.
fn check(peers: &Peers) -> (Option<i32>, Value) {
    let output = peers.ask("a", &["--json", "peer", "check", VOLUME, "--data"]);
    let said = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code(), said)
}

#[test]
fn replicas_that_are_equal_are_called_so_and_a_changed_byte_is_found_with_its_replica() {
    let peers = Peers::founded(&PeersOptions::default());
    let mirror = Mirror::start(&peers, &peers.full(), 6);
    mirror.goes_on(&peers, 200);
    mirror.finish(&peers);
    let (code, said) = check(&peers);
    assert_eq!((code, said["bytes_differing"].as_u64()), (Some(0), Some(0)), "{said}");
    // A write that reached one replica alone.
    let mut client = peers.connect("b");
    let mut block = client.read(5 << 20, 4096).unwrap();
    block[77] ^= 1;
    client.write_fua(5 << 20, &block).unwrap();
    let (code, said) = check(&peers);
    assert_eq!(code, Some(5), "{said}");
    let found = &said["differences"][0];
    assert_eq!((found["first"].as_u64(), found["end"].as_u64()), (Some(5 << 20), Some((5 << 20) + 4096)), "{said}");
    assert_eq!(found["nodes"], serde_json::json!(["b"]), "{said}");
}
