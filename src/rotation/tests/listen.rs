//! Windows follow each other, and what is compared is compared fairly.

use super::*;
use crate::latency::bucket;

fn requests(count: u64, us: u64) -> Histogram {
    let mut seen = Histogram::default();
    seen.0[bucket(Duration::from_micros(us))] = count;
    seen
}

/// Moves through one cycle: what clients saw while it moved and while it listened.
fn cycle(ear: &mut Ear, now: &mut Duration, beside: Histogram, alone: Histogram) -> Option<f64> {
    let mut strain = None;
    for (length, seen) in [(MOVE, beside), (SETTLE, requests(1, 1_000_000)), (LISTEN, alone)] {
        *now += length;
        assert!(ear.window_over(*now));
        strain = ear.hear(*now, &seen, 150);
    }
    strain
}

/// An ear that has listened once, in vain, and moves now.
fn moving() -> (Ear, Duration) {
    moving_after(Histogram::default())
}

fn moving_after(heard: Histogram) -> (Ear, Duration) {
    let (mut ear, mut now) = (Ear::default(), Duration::ZERO);
    assert_eq!(ear.quiet(now, true), SETTLE);
    now += SETTLE;
    assert_eq!(ear.hear(now, &Histogram::default(), 150), None);
    assert_eq!(ear.quiet(now, true), LISTEN);
    now += LISTEN;
    assert_eq!(ear.hear(now, &heard, 150), None);
    assert_eq!(ear.quiet(now, true), Duration::ZERO);
    (ear, now)
}

#[test]
fn nothing_to_hear_without_clients() {
    let mut ear = Ear::default();
    assert_eq!(ear.quiet(Duration::ZERO, false), Duration::ZERO);
    assert!(!ear.window_over(Duration::from_secs(9)));
    let (mut ear, now) = moving();
    assert_eq!(ear.quiet(now, false), Duration::ZERO);
    assert!(!ear.window_over(now + MOVE));
}

#[test]
fn the_same_in_both_windows_is_no_strain() {
    let (mut ear, mut now) = moving_after(requests(900, 200));
    let strain = cycle(&mut ear, &mut now, requests(9000, 200), requests(900, 200));
    assert!(strain.is_some_and(|strain| strain.abs() < 0.01), "{strain:?}");
}

#[test]
fn strain_is_what_is_worst() {
    let (mut ear, mut now) = moving_after(requests(900, 200));
    let mut tail = requests(8800, 200);
    tail.0[bucket(Duration::from_micros(900))] = 200;
    let strain = cycle(&mut ear, &mut now, tail, requests(900, 200));
    assert!(
        strain.is_some_and(|strain| (6.5..8.0).contains(&strain)),
        "p99: 700 more where 100 are allowed: {strain:?}"
    );
    let (mut ear, mut now) = moving_after(requests(900, 200));
    let strain = cycle(&mut ear, &mut now, requests(9000, 280), requests(900, 200));
    assert!(
        strain.is_some_and(|strain| (2.1..2.7).contains(&strain)),
        "mean: 80 more where 33 are allowed: {strain:?}"
    );
    let (mut ear, mut now) = moving_after(requests(900, 200));
    let strain = cycle(&mut ear, &mut now, requests(4500, 200), requests(900, 200));
    assert!(
        strain.is_some_and(|strain| (5.9..6.1).contains(&strain)),
        "half the requests, a seventh allowed: {strain:?}"
    );
}

#[test]
fn small_differences_of_small_latencies_are_noise() {
    let (mut ear, mut now) = moving();
    let strain = cycle(&mut ear, &mut now, requests(9000, 13), requests(900, 6));
    assert!(strain.is_some_and(|strain| strain < 1.0), "{strain:?}");
}

#[test]
fn a_slow_client_is_heard_over_several_cycles() {
    let (mut ear, mut now) = moving();
    let mut verdicts = (0..20).map(|_| cycle(&mut ear, &mut now, requests(90, 4000), requests(9, 4000)));
    assert_eq!(verdicts.position(|strain| strain.is_some()), Some(11), "when a hundred came while it listened");
}

#[test]
fn old_windows_are_forgotten() {
    let (mut ear, mut now) = moving();
    for _ in 0..5 {
        cycle(&mut ear, &mut now, requests(9000, 5000), requests(900, 200));
    }
    let strain = (0..8).map(|_| cycle(&mut ear, &mut now, requests(9000, 200), requests(900, 200))).last();
    assert!(strain.flatten().is_some_and(|strain| strain < 1.0), "{strain:?}");
}
