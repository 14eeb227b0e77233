//! Crashes of the real code on simulated disks, at every operation. `KEYMOULT_CRASH_RUNS` sets the number of workloads,
//! `KEYMOULT_CRASH_SEED` the first seed; a failure prints the seed that replays it.

use std::time::Instant;

use super::sim::crash::{Effort, Tally, every_crash};
use super::sim::work::{Setting, record};

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn no_crash_loses_or_garbles_anything() {
    let (first, runs) = (number("KEYMOULT_CRASH_SEED", 1), number("KEYMOULT_CRASH_RUNS", 8));
    let effort = Effort { per_operation: 1, depth: 2 };
    let mut tally = Tally::default();
    let began = Instant::now();
    for seed in first..first + runs {
        let recording = record(Setting::new(seed));
        match every_crash(&recording, effort) {
            Ok(more) => tally.add(&more),
            Err(wrong) => panic!("KEYMOULT_CRASH_SEED={seed} KEYMOULT_CRASH_RUNS=1: {wrong}"),
        }
    }
    println!("{tally:?} in {:?}", began.elapsed());
}
