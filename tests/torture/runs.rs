//! The runs of the suite: a bounded one on each ground, and the soak that `tools/torture` starts.
//!
//! Every run prints its seeds; `KEYMOULT_TORTURE_SEED` gives another first one. A campaign's plan replays from its seed.

use std::time::{Duration, Instant};

use crate::campaign;
use crate::setting::{Ground, Setting};
use crate::tally::Tally;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// Campaigns of `blows` each over consecutive seeds.
fn bounded(ground: Ground, first: u64, campaigns: u64, blows: u64) {
    let first = number("KEYMOULT_TORTURE_SEED").unwrap_or(first);
    let mut tally = Tally::default();
    for seed in first..first + campaigns {
        let setting = Setting::draw(seed, ground);
        println!("{setting:?}");
        if let Err(wrong) = campaign::run(setting, blows, None, &mut tally) {
            panic!("seed {seed}: {wrong}");
        }
    }
    println!("{}", tally.text());
    assert!(tally.blows() >= campaigns * blows);
    assert!(tally.traffic.requests > 0 && tally.commands.rotations > 0 && tally.full_checks > 0);
    assert!(tally.recoveries > 0, "no daemon found anything to recover: the blows all missed");
}

#[test]
fn kills_lose_nothing_answered_on_a_file() {
    bounded(Ground::File, 1, 4, 10);
}

#[test]
fn kills_lose_nothing_answered_in_memory() {
    bounded(Ground::Memory, 1, 4, 10);
}

#[test]
fn power_cuts_lose_nothing_flushed() {
    bounded(Ground::Disk, 1, 6, 10);
}

/// As long as asked for: `KEYMOULT_TORTURE_KILLS` and `_MINUTES`, whichever comes first. See `tools/torture`.
#[test]
#[ignore = "runs for hours: started by tools/torture"]
fn soak() {
    let kills = number("KEYMOULT_TORTURE_KILLS").unwrap_or(1000);
    let minutes = number("KEYMOULT_TORTURE_MINUTES").unwrap_or(u64::MAX / 60);
    let first = number("KEYMOULT_TORTURE_SEED").unwrap_or(1);
    let begun = Instant::now();
    let mut tally = Tally::default();
    let mut seed = first;
    while tally.blows() < kills && begun.elapsed() < Duration::from_secs(minutes * 60) && tally.violation.is_none() {
        let ground = [Ground::File, Ground::Memory, Ground::Disk][seed as usize % 3];
        let setting = Setting::draw(seed, ground);
        let blows = (kills - tally.blows()).min(20);
        if let Err(wrong) = campaign::run(setting, blows, None, &mut tally) {
            tally.violation = Some(format!("seed {seed}: {wrong}"));
        }
        println!("seed {seed}: {} blows in {} s", tally.blows(), begun.elapsed().as_secs());
        seed += 1;
    }
    report(&tally, first, seed, begun.elapsed());
    assert!(tally.violation.is_none(), "see above");
}

/// Text on standard output, JSON in the file that `KEYMOULT_TORTURE_REPORT` names.
fn report(tally: &Tally, first: u64, end: u64, took: Duration) {
    println!("\nseeds {first} to {}, {} s\n{}", end - 1, took.as_secs(), tally.text());
    let Some(path) = std::env::var_os("KEYMOULT_TORTURE_REPORT") else { return };
    let json = serde_json::json!({ "first_seed": first, "end_seed": end, "seconds": took.as_secs(), "tally": tally });
    std::fs::write(&path, serde_json::to_string_pretty(&json).unwrap() + "\n").unwrap();
    println!("JSON in {}", path.display());
}
