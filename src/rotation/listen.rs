//! What clients feel of a rotation: windows in which it moves against windows beside them in which it listens. Pure.
//!
//! Windows follow each other: the rotation moves for [`MOVE`], is quiet for [`SETTLE`] so that what it left under way ends,
//! and listens for [`LISTEN`]; then the two are compared. So both sides of the comparison are of the same moment, and a
//! client that changes its ways is measured against its new ways within a second or two. Once enough was heard, both sides
//! count for half from then on, together, so that old and new requests have the same share on both; of a slow client more
//! windows are put together.
//!
//! Clients suffer when their p99 passes the factor of what it is without the rotation, or when their mean latency or their
//! requests a second are worse by a third of the way there. Requests a second show what latency inside the server does
//! not: clients that wait for a CPU, or for their own kernel.

use std::time::Duration;

use crate::latency::Histogram;

/// How long a rotation moves between two listening windows.
pub const MOVE: Duration = Duration::from_millis(450);
/// How long it is quiet before it listens.
pub const SETTLE: Duration = Duration::from_millis(5);
/// How long it listens.
pub const LISTEN: Duration = Duration::from_millis(45);
/// Requests either side must have to be compared.
pub const SAMPLE_MIN: u64 = 100;
/// Requests heard on either side beyond which both sides count for half from the next window on.
pub const ENOUGH: u64 = 500;
/// A p99 that has grown by less than this is not held against a rotation, microseconds.
pub const NOISE_US: f64 = 50.0;
/// Nor is a mean that has grown by less than this, microseconds.
pub const NOISE_MEAN_US: f64 = 10.0;

/// Requests and the time they came in.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    requests: Histogram,
    seconds: f64,
}

impl Heard {
    fn add(&mut self, seen: &Histogram, time: Duration) {
        self.requests.add(seen);
        self.seconds += time.as_secs_f64();
    }

    fn halve(&mut self) {
        self.requests.halve();
        self.seconds /= 2.0;
    }

    fn p99_us(&self) -> f64 {
        self.requests.quantile_us(0.99).unwrap_or(0) as f64
    }

    fn rate(&self) -> f64 {
        self.requests.requests() as f64 / self.seconds.max(1e-6)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Window {
    /// No clients: there is nothing to hear.
    #[default]
    None,
    Moving,
    Settling,
    Listening,
}

/// Windows, and what was heard in them.
#[derive(Debug, Default)]
pub struct Ear {
    window: Window,
    began: Duration,
    alone: Heard,
    beside: Heard,
}

impl Ear {
    /// How long the rotation must be quiet from `now` on; zero while it may move.
    pub fn quiet(&mut self, now: Duration, clients: bool) -> Duration {
        match (self.window, clients) {
            (Window::None, true) => self.enter(Window::Settling, now),
            (Window::Moving, false) => self.enter(Window::None, now),
            _ => {}
        }
        match self.window {
            Window::Settling | Window::Listening => self.end().saturating_sub(now).max(Duration::from_nanos(1)),
            Window::None | Window::Moving => Duration::ZERO,
        }
    }

    /// Whether the window is over, and [`Ear::hear`] wants to know what clients saw in it.
    pub fn window_over(&self, now: Duration) -> bool {
        self.window != Window::None && now >= self.end()
    }

    /// The window has ended in which clients saw `seen`; `factor_percent` is what their p99 may be of what it is alone. Tells,
    /// once it can be said, which share of what they may lose clients have lost: above 1, they suffer.
    pub fn hear(&mut self, now: Duration, seen: &Histogram, factor_percent: u16) -> Option<f64> {
        let time = now.saturating_sub(self.began);
        match self.window {
            Window::None => {}
            Window::Moving => {
                self.beside.add(seen, time);
                self.enter(Window::Settling, now);
            }
            Window::Settling => self.enter(Window::Listening, now),
            Window::Listening => {
                self.alone.add(seen, time);
                self.enter(Window::Moving, now);
                let strain = self.compare(f64::from(factor_percent) / 100.0);
                if self.alone.requests.requests().min(self.beside.requests.requests()) >= ENOUGH {
                    self.alone.halve();
                    self.beside.halve();
                }
                return strain;
            }
        }
        None
    }

    fn enter(&mut self, window: Window, now: Duration) {
        self.window = window;
        self.began = now;
    }

    fn end(&self) -> Duration {
        let length = match self.window {
            Window::None => Duration::ZERO,
            Window::Moving => MOVE,
            Window::Settling => SETTLE,
            Window::Listening => LISTEN,
        };
        self.began + length
    }

    fn compare(&self, factor: f64) -> Option<f64> {
        let (alone, beside) = (&self.alone, &self.beside);
        if alone.requests.requests() < SAMPLE_MIN || beside.requests.requests() < SAMPLE_MIN {
            return None;
        }
        let third = 1.0 + (factor - 1.0).max(0.0) / 3.0;
        let p99 = share(alone.p99_us(), beside.p99_us(), factor, NOISE_US);
        let mean = share(alone.requests.mean_us(), beside.requests.mean_us(), third, NOISE_MEAN_US);
        let slower = share(beside.rate(), alone.rate(), third, 0.0);
        Some(p99.max(mean).max(slower))
    }
}

/// Which share of the growth that `factor`, or `noise`, allows over `base` there is in `found`.
fn share(base: f64, found: f64, factor: f64, noise: f64) -> f64 {
    (found - base) / (base * (factor - 1.0)).max(noise).max(1e-6)
}

#[cfg(test)]
#[path = "tests/listen.rs"]
mod tests;
