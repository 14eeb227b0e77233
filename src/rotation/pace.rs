//! How many bytes a rotation may move now. Pure: time and client latency are given to it.
//!
//! A fixed rate is a token bucket that holds a quarter of a second. Adaptive mode adds a rate of its own that grows by
//! a sixteenth per window while clients do not suffer and halves when they do; it never falls under [`FLOOR`], so clients
//! cannot starve a rotation. Clients suffer when their p99 passes the factor of its baseline, or their mean a third of the way
//! there: the mean is what their throughput follows. The baseline is what they see in short *listening windows* in which the
//! rotation moves nothing, repeated every [`RELISTEN`] while clients are active.

use std::time::Duration;

use crate::format::generations::Pace;

/// Bytes per second an adaptive rotation is never slower than.
pub const FLOOR: f64 = (16 << 20) as f64;
/// Bytes per second an adaptive rotation starts with beside active clients.
pub const START: f64 = (256 << 20) as f64;
/// Length of a window in which latency is judged.
pub const WINDOW: Duration = Duration::from_millis(100);
/// How often the baseline is measured again.
pub const RELISTEN: Duration = Duration::from_secs(10);
/// Client requests a window needs to be judged.
pub const SAMPLE_MIN: u64 = 20;
/// A p99 under this is never held against a rotation, microseconds.
pub const NOISE_US: u64 = 1000;
/// Nor is a mean that has grown by less than this, microseconds.
pub const NOISE_MEAN_US: u64 = 10;

/// What clients saw in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Requests finished.
    pub requests: u64,
    /// Their 99th percentile of latency, microseconds.
    pub p99_us: u64,
    /// Their mean latency, microseconds.
    pub mean_us: u64,
}

impl Seen {
    /// What clients may see beside a rotation if this is what they see without; `factor_percent` is for p99.
    fn limit(self, factor_percent: u16) -> Seen {
        let factor = u64::from(factor_percent);
        let third = 100 + factor.saturating_sub(100) / 3;
        Seen {
            requests: self.requests,
            p99_us: (self.p99_us * factor / 100).max(NOISE_US),
            mean_us: (self.mean_us * third / 100).max(self.mean_us + NOISE_MEAN_US),
        }
    }
}

/// The pace of one rotation.
#[derive(Debug)]
pub struct Pacer {
    pace: Pace,
    /// Bytes that may go now; negative: a debt.
    tokens: f64,
    /// Bytes moved so far that were paid for.
    paid: u64,
    last: Duration,
    adaptive_rate: f64,
    baseline: Option<Seen>,
    window_began: Duration,
    listening_until: Option<Duration>,
    listened: Option<Duration>,
}

impl Pacer {
    /// A pacer at time `now`, counted from any fixed moment, of a pipeline that has moved `moved` bytes before.
    pub fn new(pace: Pace, now: Duration, moved: u64) -> Pacer {
        Pacer {
            pace,
            tokens: 0.0,
            paid: moved,
            last: now,
            adaptive_rate: START,
            baseline: None,
            window_began: now,
            listening_until: None,
            listened: None,
        }
    }

    /// The operator changed the pace.
    pub fn set(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// What clients see without the rotation, where it is known.
    pub fn baseline(&self) -> Option<Seen> {
        self.baseline
    }

    fn rate(&self, clients: bool) -> Option<f64> {
        let fixed = (self.pace.rate > 0).then_some(self.pace.rate as f64);
        let adaptive = (self.pace.adaptive && clients && self.baseline.is_some()).then_some(self.adaptive_rate);
        match (fixed, adaptive) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Whether the window is over, so that [`Pacer::judge`] wants to know what clients saw in it.
    pub fn window_over(&self, now: Duration) -> bool {
        self.pace.adaptive && now.saturating_sub(self.window_began) >= WINDOW
    }

    /// A window has ended in which clients saw `seen`.
    pub fn judge(&mut self, now: Duration, seen: Seen) {
        let was_listening = self.listening_until.is_some();
        self.window_began = now;
        self.listening_until = None;
        if seen.requests < SAMPLE_MIN {
            return;
        }
        if was_listening {
            self.baseline = Some(seen);
            return;
        }
        let Some(baseline) = self.baseline else { return };
        let limit = baseline.limit(self.pace.factor_percent);
        if seen.p99_us > limit.p99_us || seen.mean_us > limit.mean_us {
            self.adaptive_rate = (self.adaptive_rate / 2.0).max(FLOOR);
        } else {
            self.adaptive_rate = (self.adaptive_rate * (1.0 + 1.0 / 16.0)).min((64u64 << 30) as f64);
        }
    }

    /// How long to wait before the next batch, zero if it may go now. `clients`: client requests came lately.
    pub fn wait(&mut self, now: Duration, clients: bool) -> Duration {
        if self.pace.adaptive && clients && self.listened.is_none_or(|last| now.saturating_sub(last) >= RELISTEN) {
            self.listened = Some(now);
            self.window_began = now;
            self.listening_until = Some(now + WINDOW);
        }
        if let Some(until) = self.listening_until
            && now < until
        {
            return until - now;
        }
        let Some(rate) = self.rate(clients) else {
            self.last = now;
            self.tokens = 0.0;
            return Duration::ZERO;
        };
        self.tokens = (self.tokens + rate * now.saturating_sub(self.last).as_secs_f64()).min(rate / 4.0);
        self.last = now;
        if self.tokens >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64((-self.tokens / rate).min(3600.0)) }
    }

    /// The pipeline has moved `moved` bytes in all: pays for what is new, whether a step moved it or the end of its holds
    /// before a wait did.
    pub fn spend_up_to(&mut self, moved: u64) {
        self.tokens -= moved.saturating_sub(self.paid) as f64;
        self.paid = self.paid.max(moved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pace(rate: u64, adaptive: bool) -> Pace {
        Pace { rate, adaptive, factor_percent: 150 }
    }

    #[test]
    fn a_fixed_rate_is_kept_over_time() {
        let mut pacer = Pacer::new(pace(100 << 20, false), Duration::ZERO, 0);
        let (mut now, mut moved) = (Duration::ZERO, 0u64);
        while now < Duration::from_secs(10) {
            let wait = pacer.wait(now, true);
            if wait.is_zero() {
                moved += 8 << 20;
                pacer.spend_up_to(moved);
                now += MS;
            } else {
                now += wait;
            }
        }
        let rate = moved as f64 / 10.0 / (100u64 << 20) as f64;
        assert!((0.95..1.05).contains(&rate), "{rate}");
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
        let mut pacer = Pacer::new(pace(0, true), Duration::ZERO, 0);
        for step in 0..100 {
            assert_eq!(pacer.wait(MS * step, false), Duration::ZERO);
            pacer.spend_up_to(u64::from(step) << 30);
        }
    }

    #[test]
    fn listens_before_it_moves_beside_clients_and_slows_down_when_they_suffer() {
        let mut pacer = Pacer::new(pace(0, true), Duration::ZERO, 0);
        assert_eq!(pacer.wait(Duration::ZERO, true), WINDOW);
        let seen = |p99_us, mean_us| Seen { requests: 100, p99_us, mean_us };
        pacer.judge(WINDOW, seen(2000, 300));
        assert_eq!(pacer.baseline(), Some(seen(2000, 300)));
        let before = pacer.adaptive_rate;
        pacer.judge(WINDOW * 2, seen(3001, 300));
        assert_eq!(pacer.adaptive_rate, before / 2.0);
        pacer.judge(WINDOW * 3, seen(2900, 348));
        assert!(pacer.adaptive_rate > before / 2.0);
        let before = pacer.adaptive_rate;
        pacer.judge(WINDOW * 4, seen(2000, 349));
        assert_eq!(pacer.adaptive_rate, before / 2.0, "throughput suffers before p99 does");
        for step in 5..100 {
            pacer.judge(WINDOW * step, seen(1_000_000, 300));
        }
        assert_eq!(pacer.adaptive_rate, FLOOR);
    }

    #[test]
    fn a_window_with_few_requests_judges_nothing() {
        let mut pacer = Pacer::new(pace(0, true), Duration::ZERO, 0);
        pacer.judge(WINDOW, Seen { requests: SAMPLE_MIN - 1, p99_us: 9, mean_us: 5 });
        assert_eq!(pacer.baseline(), None);
    }
}
