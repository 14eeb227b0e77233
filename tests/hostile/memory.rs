//! Ten thousand hostile connections: what they cost is bounded by the limits, and others are served.

use std::time::Instant;

use keymoult::nbd::wire::*;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::ground::{Ground, KNOWN};
use crate::peer::{Form, Peer, fixed, option_claiming, request};

/// Connections, where the system lets this process have as many descriptors.
const CROWD: usize = 10_000;
/// Descriptors this process needs besides.
const OTHERS: usize = 200;
/// What all may hold by the limits given, bytes.
const IN_ALL: usize = 64 << 20;
/// What a connection that holds nothing may always have, bytes (`nbd::budget::FLOOR`).
const FLOOR: usize = 64 << 10;
/// Buffers for receiving and for headers, and what a session is itself, bytes.
const EACH: usize = 16 << 10;

/// How many connections this process can have.
fn crowd() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    CROWD.min(hard as usize - OTHERS)
}

/// Requests a good client makes in a fixed number of rounds, per second.
fn rate(ground: &Ground<'_>) -> f64 {
    const ROUNDS: usize = 3000;
    let mut client = ground.client();
    let start = Instant::now();
    for round in 0..ROUNDS {
        let at = round * 4096 % KNOWN;
        assert!(client.read(at as u64, 4096).unwrap() == ground.known(at, 4096));
    }
    ROUNDS as f64 / start.elapsed().as_secs_f64()
}

#[test]
fn a_crowd_of_hostile_connections_costs_what_the_limits_say() {
    let count = crowd();
    let places = format!("connections = {}", count + 100);
    let per_peer = format!("connections-per-peer = {}", count + 100);
    let limits =
        ["[limits]", &places, &per_peer, "bytes-in-all = \"64MiB\"", "handshake-time = \"1h\"", "stall-time = \"1h\""];
    Ground::with(&limits, |ground| {
        let alone = rate(ground);
        let before = ground.resident();
        let mut crowd = Vec::with_capacity(count);
        for number in 0..count {
            crowd.push(match number % 4 {
                0 => ground.peer(),
                1 => {
                    let mut half = ground.peer();
                    half.send(&[fixed(), option_claiming(NBD_OPT_GO, 60_000)].concat());
                    half
                }
                2 => {
                    let mut deaf = Peer::open(ground, Form::Structured);
                    (0..4)
                        .for_each(|cookie| deaf.send(&request(Form::Structured, NBD_CMD_READ, 0, cookie, 0, 1 << 20)));
                    deaf
                }
                _ => {
                    let mut stuck = Peer::open(ground, Form::Simple);
                    stuck.send(&request(Form::Simple, NBD_CMD_WRITE, 0, 1, crate::ground::SCRATCH, 1 << 20));
                    stuck.send(&[1; 1000]);
                    stuck
                }
            });
        }
        (0..100).for_each(|_| ground.check());
        let beside = rate(ground);
        let growth = ground.resident().saturating_sub(before);
        let bound = 2 * IN_ALL + count / 2 * FLOOR + count * EACH;
        println!(
            "{count} hostile connections: {} MiB more, {} allowed; a good client {alone:.0} reads/s alone, {beside:.0} beside",
            growth >> 20,
            bound >> 20
        );
        assert!(growth <= bound, "{} MiB more than before, {} MiB are allowed", growth >> 20, bound >> 20);
        drop(crowd);
        (0..10).for_each(|_| ground.check());
    });
}
