//! How long to wait before a peer is dialled again: longer after each failure, by chance longer or shorter, so that nodes
//! that fell together do not rise together.

use std::time::Duration;

/// Waits of one peer.
#[derive(Debug)]
pub struct Backoff {
    least: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// Begins with `least` and never exceeds `most`.
    pub const fn new(least: Duration, most: Duration) -> Backoff {
        Backoff { least, most, failures: 0 }
    }

    /// It went well; the next wait is short again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next wait: between half and all of what the failures so far ask for, as `chance` has it.
    pub fn wait(&mut self, chance: u8) -> Duration {
        let full = self.least.saturating_mul(1 << self.failures.min(16)).min(self.most);
        self.failures = self.failures.saturating_add(1);
        full / 2 + full * u32::from(chance) / 510
    }
}

/// A byte by chance; any will do if the system has none.
pub fn chance() -> u8 {
    let mut byte = [128];
    let _ = getrandom::fill(&mut byte);
    byte[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_start_again() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        let waits: Vec<u64> = (0..8).map(|_| backoff.wait(255).as_millis() as u64).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(backoff.wait(0), Duration::from_secs(5), "by chance half of it");
        backoff.reset();
        assert_eq!(backoff.wait(0), Duration::from_millis(100));
        (0..100).for_each(|_| assert!(backoff.wait(255) <= Duration::from_secs(10)));
    }
}
