//! Waiting for something that others do, by a clock that tests put in.

use std::time::{Duration, Instant};

/// What says how late it is, and waits.
pub trait Clock {
    /// Time since the clock was made.
    fn elapsed(&self) -> Duration;

    /// Waits.
    fn sleep(&self, time: Duration);
}

/// The machine's own clock.
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock(Instant::now())
    }
}

impl Clock for SystemClock {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(1);

/// Waits until `done`, at most `patience`; how long it took, or none if it did not come to pass.
pub fn wait_until(clock: &dyn Clock, patience: Duration, mut done: impl FnMut() -> bool) -> Option<Duration> {
    let began = clock.elapsed();
    loop {
        if done() {
            return Some(clock.elapsed() - began);
        }
        if clock.elapsed() - began >= patience {
            return None;
        }
        clock.sleep(LOOK);
    }
}
