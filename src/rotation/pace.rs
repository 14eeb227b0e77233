//! How many bytes a rotation may move now: a token bucket. Pure: time and client latency are given to it.
//!
//! A fixed rate is kept as it is. Adaptive mode adds a rate of its own, found by comparing what clients see while the rotation
//! moves with what they see in short *listening windows* in which it does not (see [`super::listen`]). It never falls under
//! [`FLOOR`], so clients cannot starve a rotation; without clients there is no limit.

use std::time::Duration;

use super::listen::Ear;
use crate::format::generations::Pace;
use crate::latency::Histogram;

/// Bytes per second an adaptive rotation is never slower than.
pub const FLOOR: f64 = (16 << 20) as f64;
/// Bytes per second an adaptive rotation starts with beside active clients.
pub const START: f64 = (256 << 20) as f64;
/// Bytes per second beyond which a rate says nothing.
const CEILING: f64 = (64u64 << 30) as f64;
/// Seconds of its rate a bucket holds: what a rotation may catch up with at once.
const BUCKET: f64 = 0.05;

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
    ear: Ear,
}

impl Pacer {
    /// A pacer at time `now`, counted from any fixed moment, of a pipeline that has moved `moved` bytes before.
    pub fn new(pace: Pace, now: Duration, moved: u64) -> Pacer {
        Pacer { pace, tokens: 0.0, paid: moved, last: now, adaptive_rate: START, ear: Ear::default() }
    }

    /// The operator changed the pace.
    pub fn set(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// Bytes per second it may move at now; none: no limit. `clients`: client requests came lately.
    pub fn rate(&self, clients: bool) -> Option<f64> {
        let fixed = (self.pace.rate > 0).then_some(self.pace.rate as f64);
        let adaptive = (self.pace.adaptive && clients).then_some(self.adaptive_rate);
        match (fixed, adaptive) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Whether a window is over, so that [`Pacer::hear`] wants to know what clients saw in it.
    pub fn window_over(&self, now: Duration) -> bool {
        self.pace.adaptive && self.ear.window_over(now)
    }

    /// A window has ended in which clients saw `seen`.
    pub fn hear(&mut self, now: Duration, seen: &Histogram) {
        if let Some(strain) = self.ear.hear(now, seen, self.pace.factor_percent) {
            self.adaptive_rate = (self.adaptive_rate * change(strain)).clamp(FLOOR, CEILING);
        }
    }

    /// How long to wait before the next batch, zero if it may go now. `clients`: client requests came lately.
    pub fn wait(&mut self, now: Duration, clients: bool) -> Duration {
        let quiet = if self.pace.adaptive { self.ear.quiet(now, clients) } else { Duration::ZERO };
        if !quiet.is_zero() {
            self.last = now + quiet;
            return quiet;
        }
        let Some(rate) = self.rate(clients) else {
            self.last = now;
            self.tokens = 0.0;
            return Duration::ZERO;
        };
        self.tokens = (self.tokens + rate * now.saturating_sub(self.last).as_secs_f64()).min(rate * BUCKET);
        self.last = self.last.max(now);
        if self.tokens >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64((-self.tokens / rate).min(3600.0)) }
    }

    /// The pipeline has moved `moved` bytes in all: pays for what is new, whether a step moved it or the end of its holds
    /// before a wait did.
    pub fn spend_up_to(&mut self, moved: u64) {
        self.tokens -= moved.saturating_sub(self.paid) as f64;
        self.paid = self.paid.max(moved);
    }
}

/// By how much the rate changes where clients have lost a share `strain` of what they may lose: beyond 1 it falls in
/// proportion, at most to a half; below `COMFORT` it grows by what is left, at most a quarter; between, it stays.
fn change(strain: f64) -> f64 {
    const COMFORT: f64 = 0.9;
    if strain > 1.0 {
        (COMFORT / strain).max(0.5)
    } else if strain < COMFORT {
        1.0 + (1.0 - strain).clamp(0.0, 0.25)
    } else {
        1.0
    }
}

#[cfg(test)]
#[path = "tests/pace.rs"]
mod tests;
