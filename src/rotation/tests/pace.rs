//! The pacer in front of simulated clients: the clock, their requests and their latency are made here.

use super::*;
use crate::latency::bucket;

const MS: Duration = Duration::from_millis(1);
const MIB: f64 = (1 << 20) as f64;

fn pace(rate: u64, adaptive: bool) -> Pace {
    Pace { rate, adaptive, factor_percent: 150 }
}

/// What clients see at a moment at which the rotation moves so many bytes a second.
#[derive(Clone, Copy)]
struct Clients {
    per_second: f64,
    mean_us: f64,
    p99_us: f64,
}

/// A machine that `capacity` bytes a second of rotation would fill. Clients lose throughput in proportion and their tail
/// grows four times as fast.
fn sharing(capacity: f64) -> impl Fn(f64) -> Clients {
    move |rate| {
        let left = (1.0 - rate / capacity).max(0.05);
        Clients { per_second: 20_000.0 * left, mean_us: 300.0 / left, p99_us: 600.0 * (1.0 + 4.0 * rate / capacity) }
    }
}

/// A pacer, its clock and a device that moves two gigabytes a second.
struct Sim {
    pacer: Pacer,
    now: Duration,
    moved: u64,
    /// When the window began, and what had been moved by then.
    mark: (Duration, u64),
    /// The rate the pacer had at the end of every window.
    rates: Vec<f64>,
}

impl Sim {
    const BATCH: u64 = 2 << 20;
    const DEVICE: f64 = 2e9;

    fn new(pace: Pace) -> Sim {
        let pacer = Pacer::new(pace, Duration::ZERO, 0);
        Sim { pacer, now: Duration::ZERO, moved: 0, mark: (Duration::ZERO, 0), rates: Vec::new() }
    }

    /// Runs for some seconds beside clients; gives the bytes a second moved meanwhile.
    fn run(&mut self, seconds: f64, clients: Option<&dyn Fn(f64) -> Clients>) -> f64 {
        let (begun, before) = (self.now, self.moved);
        let end = self.now + Duration::from_secs_f64(seconds);
        while self.now < end {
            if self.pacer.window_over(self.now) {
                let time = (self.now - self.mark.0).as_secs_f64();
                let rate = (self.moved - self.mark.1) as f64 / time.max(1e-3);
                let seen = clients.map_or_else(Histogram::default, |clients| window(clients(rate), time));
                self.pacer.hear(self.now, &seen);
                self.mark = (self.now, self.moved);
                self.rates.push(self.pacer.adaptive_rate);
            }
            let wait = self.pacer.wait(self.now, clients.is_some());
            if wait.is_zero() {
                self.moved += Sim::BATCH;
                self.pacer.spend_up_to(self.moved);
                self.now += Duration::from_secs_f64(Sim::BATCH as f64 / Sim::DEVICE);
            } else {
                self.now += wait.min(MS * 20);
            }
        }
        (self.moved - before) as f64 / (self.now - begun).as_secs_f64()
    }
}

/// Requests of a window: one in fifty took the p99, the others what leaves the mean as it is said to be.
fn window(clients: Clients, seconds: f64) -> Histogram {
    let mut seen = Histogram::default();
    let requests = (clients.per_second * seconds) as u64;
    let slow = requests / 50;
    let usual = (clients.mean_us - 0.02 * clients.p99_us) / 0.98;
    seen.0[bucket(Duration::from_secs_f64(clients.p99_us / 1e6))] += slow;
    seen.0[bucket(Duration::from_secs_f64(usual.max(1.0) / 1e6))] += requests - slow;
    seen
}

#[test]
fn a_fixed_rate_is_kept_over_time() {
    let rate = Sim::new(pace(100 << 20, false)).run(10.0, Some(&sharing(1e9)));
    assert!((0.95..1.05).contains(&(rate / (100.0 * MIB))), "{rate}");
}

#[test]
fn a_fixed_rate_is_a_ceiling_for_the_adaptive_one() {
    let rate = Sim::new(pace(100 << 20, true)).run(10.0, Some(&sharing(1e12)));
    assert!((0.85..1.0).contains(&(rate / (100.0 * MIB))), "{rate}: a tenth of the time goes to listening");
}

/// Seen in a benchmark: rotations ran at twice their pace. A wait ends the holds first, and what that wrote was nobody's
/// step, so nobody paid for it.
#[test]
fn what_is_written_between_two_steps_is_paid_for_by_the_next() {
    let rate = 100 << 20;
    let mut pacer = Pacer::new(pace(rate, false), Duration::ZERO, 7 << 20);
    let (mut now, mut moved) = (Duration::ZERO, 7 << 20);
    while now < Duration::from_secs(10) {
        let wait = pacer.wait(now, true);
        if wait.is_zero() {
            pacer.spend_up_to(moved); // a step that only holds its batch
            now += MS;
        } else {
            moved += 8 << 20; // the end of the holds
            now += wait;
        }
        if pacer.wait(now, true).is_zero() {
            moved += 8 << 20; // a step that writes the batch held by the one before
            pacer.spend_up_to(moved);
        }
    }
    let kept = (moved - (7 << 20)) as f64 / 10.0 / rate as f64;
    assert!((0.9..1.1).contains(&kept), "{kept}");
}

#[test]
fn no_limit_without_clients() {
    let rate = Sim::new(pace(0, true)).run(5.0, None);
    assert!(rate > 0.99 * Sim::DEVICE, "{rate}");
}

#[test]
fn listens_before_it_moves_beside_clients() {
    let mut sim = Sim::new(pace(0, true));
    sim.run(0.045, Some(&sharing(1e9)));
    assert_eq!(sim.moved, 0);
    sim.run(0.2, Some(&sharing(1e9)));
    assert!(sim.moved > 0);
}

/// Where clients share a machine that 2 GB/s would fill, their p99 reaches its limit, half more, at an eighth of that.
#[test]
fn finds_the_rate_clients_bear_and_stays_there() {
    for (capacity, bearable) in [(2e9, 250e6), (8e9, 1e9), (5e8, 62e6)] {
        let mut sim = Sim::new(pace(0, true));
        sim.run(10.0, Some(&sharing(capacity)));
        sim.rates.clear();
        let rate = sim.run(30.0, Some(&sharing(capacity)));
        assert!((0.6..1.05).contains(&(rate / bearable)), "{rate} beside {bearable}");
        let (low, high) =
            sim.rates.iter().fold((f64::MAX, 0f64), |(low, high), rate| (low.min(*rate), high.max(*rate)));
        assert!(high / low < 1.5, "swings between {low} and {high}");
    }
}

#[test]
fn goes_at_full_speed_when_clients_leave_and_slows_down_when_they_return() {
    let clients = sharing(1e9);
    let mut sim = Sim::new(pace(0, true));
    sim.run(10.0, Some(&clients));
    assert!(sim.run(2.0, None) > 0.9 * Sim::DEVICE);
    assert!(sim.run(5.0, Some(&clients)) < 0.2 * Sim::DEVICE);
}

#[test]
fn recovers_when_clients_bear_more_than_before() {
    let mut sim = Sim::new(pace(0, true));
    sim.run(20.0, Some(&sharing(1e8)));
    assert!(sim.pacer.adaptive_rate < 20.0 * MIB);
    sim.run(10.0, Some(&sharing(1e10)));
    assert!(sim.pacer.adaptive_rate > 400.0 * MIB, "{}", sim.pacer.adaptive_rate);
}

/// Clients that slow down of their own accord do so in the listening windows too.
#[test]
fn clients_that_change_their_ways_are_not_taken_for_suffering() {
    let slow = |_: f64| Clients { per_second: 2_000.0, mean_us: 900.0, p99_us: 5000.0 };
    let fast = |_: f64| Clients { per_second: 50_000.0, mean_us: 60.0, p99_us: 150.0 };
    let mut sim = Sim::new(pace(0, true));
    sim.run(5.0, Some(&fast));
    let before = sim.pacer.adaptive_rate;
    for _ in 0..5 {
        sim.run(4.0, Some(&slow));
        sim.run(4.0, Some(&fast));
    }
    assert!(sim.pacer.adaptive_rate > before / 2.0, "{} after {before}", sim.pacer.adaptive_rate);
}

#[test]
fn clients_that_always_suffer_do_not_starve_a_rotation() {
    let suffering = |rate: f64| match rate > 0.0 {
        true => Clients { per_second: 100.0, mean_us: 50_000.0, p99_us: 1e6 },
        false => Clients { per_second: 20_000.0, mean_us: 100.0, p99_us: 200.0 },
    };
    let mut sim = Sim::new(pace(0, true));
    sim.run(10.0, Some(&suffering));
    assert_eq!(sim.pacer.adaptive_rate, FLOOR);
    let rate = sim.run(20.0, Some(&suffering));
    assert!(rate > 0.8 * FLOOR, "{rate}");
}
