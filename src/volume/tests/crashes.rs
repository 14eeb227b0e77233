//! Crashes of the real code on simulated disks, at every operation, until enough images were looked at:
//! `KEYMOULT_CRASH_IMAGES` says how many (`tools/crash` for a million), `KEYMOULT_CRASH_SEED` is the first seed. A failure
//! prints the seed that replays it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::sim::crash::{Effort, Tally, every_crash};
use super::sim::order::Order;
use super::sim::work::{Setting, record};
use crate::volume::rules::{Rule, drop_rule};

/// Images that CI looks at.
const IMAGES: u64 = 20_000;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Workloads from `next` on, on this thread, until `images` have been looked at by all.
fn look(
    next: &AtomicU64,
    seen: &AtomicU64,
    images: u64,
    depth: u32,
    adapt: fn(Setting) -> Setting,
) -> Result<Tally, String> {
    let effort = Effort { per_operation: 1, depth };
    let mut tally = Tally::default();
    while seen.load(Relaxed) < images {
        let seed = next.fetch_add(1, Relaxed);
        let more = every_crash(&record(adapt(Setting::new(seed))), effort)
            .map_err(|wrong| format!("KEYMOULT_CRASH_SEED={seed} KEYMOULT_CRASH_IMAGES=1: {wrong}"))?;
        let before = seen.fetch_add(more.images, Relaxed);
        if images > IMAGES && before / IMAGES < (before + more.images) / IMAGES {
            println!("{} images, seed {seed}", before + more.images);
        }
        tally.add(&more);
    }
    Ok(tally)
}

/// Looks at so many images or as many as the environment says; what was seen.
fn look_at(images: u64, adapt: fn(Setting) -> Setting) -> Tally {
    look_deep(images, 2, adapt)
}

/// The same, with crashes of recovery nested so deep.
fn look_deep(images: u64, depth: u32, adapt: fn(Setting) -> Setting) -> Tally {
    let (first, images) = (number("KEYMOULT_CRASH_SEED", 1), number("KEYMOULT_CRASH_IMAGES", images));
    let threads = if images == 1 { 1 } else { std::thread::available_parallelism().map_or(1, |count| count.get()) };
    let (next, seen) = (AtomicU64::new(first), AtomicU64::new(0));
    let began = Instant::now();
    let looked: Vec<Result<Tally, String>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(|| look(&next, &seen, images, depth, adapt))).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    let mut tally = Tally::default();
    for result in looked {
        tally.add(&result.unwrap_or_else(|wrong| panic!("{wrong}")));
    }
    println!("seeds {first}..{}: {tally:?} in {:?}", next.load(Relaxed), began.elapsed());
    assert!(tally.images >= images);
    if images >= IMAGES {
        let each =
            [tally.power, tally.kill, tally.during_recovery, tally.rolled_forward, tally.carried_on, tally.inspected];
        assert!(each.iter().all(|count| *count > images / 100), "some kind of image is rare: {tally:?}");
    }
    tally
}

#[test]
fn no_crash_loses_or_garbles_anything() {
    look_at(IMAGES, |setting| setting);
}

/// The same while the volume grows, again and again, in the middle of a rotation and between two. After every operation
/// of it the volume opens at its old size or its new one, what it has gained reads as zeros, or as what clients wrote.
#[test]
fn no_crash_loses_or_garbles_anything_while_the_volume_grows() {
    let tally = look_at(IMAGES / 4, |setting| Setting { grows: 8, ..setting });
    assert!(tally.half_grown > tally.images / 200, "hardly any growth was cut in the middle: {tally:?}");
}

/// The same while keys live and die beside the rotation. After every operation every generation is in its old state or in
/// its new one, what was withdrawn or retired comes back whole, and of what is destroyed nothing is left.
#[test]
fn no_crash_loses_a_key_or_leaves_one_behind() {
    let tally = look_at(IMAGES / 4, |setting| Setting { lives: 3, ..setting });
    assert!(tally.withdrawn > tally.images / 50, "hardly any key was withdrawn: {tally:?}");
}

/// The same while keys are shared with other replicas: taken, held, given up and activated. After every operation what was told
/// of a key is true, what was given up is gone, and giving up what is held, or gone already, leaves nothing. (Its recoveries are long:
/// one of them crashed in another would take minutes for a single workload.)
#[test]
fn no_crash_loses_a_key_that_others_count_on() {
    let tally = look_deep(IMAGES / 8, 1, |setting| Setting { shares: 3, ..setting });
    assert!(tally.held > tally.images / 50, "hardly any key was held: {tally:?}");
}

/// The same while KEKs change, in the middle of a rotation and between two, some of them bad ones. After every operation of it
/// the KEKs that must open the volume do, each alone: the old one until it is proven that the new one does, then the new
/// one; what was removed opens it no more.
#[test]
fn no_crash_locks_anybody_out_while_keks_change() {
    let tally = look_at(IMAGES / 4, |setting| Setting { rewraps: 5, ..setting });
    let rare = tally.images / 400;
    assert!(tally.between_keks > rare && tally.refused_keks > rare, "hardly any change of a KEK was cut: {tally:?}");
}

/// The device's own watch over the order of writes sees each rule of it that is dropped, without any crash.
#[test]
fn the_device_sees_a_write_that_comes_too_early() {
    for rule in [Rule::R0, Rule::SlotReuse, Rule::IntentBeforeData, Rule::DataBeforeCommit] {
        let seen = (1..=60).find_map(|seed| {
            drop_rule(Some(rule));
            let recording = record(Setting { restless: 3, ..Setting::new(seed) });
            drop_rule(None);
            recording.wrongs.into_iter().find(|wrong| wrong.starts_with(Order::TOO_EARLY))
        });
        match seen {
            Some(wrong) => println!("{rule:?} dropped: {wrong}"),
            None => panic!("{rule:?} dropped, and the device sees nothing"),
        }
    }
}
