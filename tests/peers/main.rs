//! Several real daemons that are peers of one replicated volume: rotations over all replicas under a mirroring client, and what
//! becomes of them when nodes die, leave, disagree or come back.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "../support/mod.rs"]
mod support;

mod check;
mod crashes;
mod damage;
mod lead;
mod rotation;
mod shelf;
mod trouble;

use support::peers::Peers;

/// The state of a generation on a node.
fn state(peers: &Peers, node: &str, generation: u64) -> String {
    peers.key(node, generation).map_or_else(|| "none".into(), |(state, _)| state)
}

/// Waits until a generation is in `wanted` on all nodes with replicas that run.
#[track_caller]
fn wait_for_state(peers: &Peers, generation: u64, wanted: &str) {
    let nodes: Vec<String> = peers.full().into_iter().filter(|node| peers.is_running(node)).collect();
    peers.wait(&format!("generation {generation} is {wanted}"), |peers| {
        nodes.iter().all(|node| state(peers, node, generation) == wanted)
    });
}
