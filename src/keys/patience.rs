//! Trying again where that can help: the keeper did not answer, is sealed, or asks to come back later.
//!
//! Invariants: whatever else is wrong is never tried again, a changed wrap least of all; every try is a use of its own, and
//! witnessed as such; pauses grow, differ between processes that began together, and end at a limit over all tries. A
//! keeper that was given up is asked once per use until it answers: the many keys of a volume do not wait for it in turn.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::keys::error::KeyError;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(15);
/// How long one use of a KEK is tried.
const BRIEF: Duration = Duration::from_secs(3);

/// Time and chance, for [`Patience`]; tests have their own.
pub trait Clock: Send + Sync {
    /// Time since some moment.
    fn now(&self) -> Duration;
    /// Waits.
    fn sleep(&self, time: Duration);
    /// A random number.
    fn random(&self) -> u32;
}

/// The real one.
struct Machine;

impl Clock for Machine {
    fn now(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn random(&self) -> u32 {
        // Without chance, pauses are merely alike.
        getrandom::u32().unwrap_or(0)
    }
}

/// The pauses between tries: each up to twice the one before, the upper half of it by chance.
#[derive(Clone, Debug)]
pub struct Backoff {
    limit: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses within `limit`, counted from the first try.
    pub fn new(limit: Duration) -> Backoff {
        Backoff { limit, next: FIRST }
    }

    /// How long to wait, `spent` after the first try; none to give up.
    pub fn pause(&mut self, spent: Duration, random: u32) -> Option<Duration> {
        let half = self.next / 2;
        let pause = half + half.mul_f64(f64::from(random) / f64::from(u32::MAX));
        self.next = (self.next * 2).min(LONGEST);
        (spent + pause <= self.limit).then_some(pause)
    }
}

/// How long to try, and whether it was in vain lately.
pub struct Patience {
    limit: Duration,
    clock: Arc<dyn Clock>,
    is_given_up: AtomicBool,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience::with(BRIEF, Arc::new(Machine))
    }
}

impl Patience {
    /// Tries for `limit`, by `clock`.
    pub fn with(limit: Duration, clock: Arc<dyn Clock>) -> Patience {
        Patience { limit, clock, is_given_up: AtomicBool::new(false) }
    }

    /// Calls `ask` until it succeeds, fails in a way that no waiting mends, or time is up.
    pub fn run<T>(&self, ask: impl Fn() -> Result<T, KeyError>) -> Result<T, KeyError> {
        let start = self.clock.now();
        let mut backoff = Backoff::new(self.limit);
        let mut logged_in = false;
        loop {
            let error = match ask() {
                Ok(answer) => {
                    self.is_given_up.store(false, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(KeyError::LoginExpired { .. }) if !logged_in => {
                    logged_in = true;
                    continue;
                }
                Err(error) if !error.class().is_retryable() => return Err(error),
                Err(error) => error,
            };
            let spent = self.clock.now().saturating_sub(start);
            let pause = backoff.pause(spent, self.clock.random());
            let Some(pause) = pause.filter(|_| !self.is_given_up.load(Ordering::Relaxed)) else {
                self.is_given_up.store(true, Ordering::Relaxed);
                return Err(error);
            };
            self.clock.sleep(pause);
        }
    }
}

#[cfg(test)]
#[path = "tests/patience.rs"]
mod tests;
