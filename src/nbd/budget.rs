//! How many bytes of payload the sessions of one worker may hold together, and whose turn it is when that is spent.
//!
//! Invariants: `used` is the sum of what sessions hold; a reservation is granted when it fits or when nothing else is
//! held, so that the largest request always gets through; while somebody waits, only the first in line is served, so
//! that small requests cannot starve a large one.

use std::collections::VecDeque;

/// The payload budget of one worker.
#[derive(Debug)]
pub struct Budget {
    used: usize,
    limit: usize,
    /// Slots of sessions that wait for bytes or buffers, longest first.
    waiting: VecDeque<u32>,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Budget {
        Budget { used: 0, limit, waiting: VecDeque::new() }
    }

    /// Reserves `len` bytes for the session in `slot`; on false the session is to [`Budget::wait`].
    pub fn reserve(&mut self, slot: u32, len: usize) -> bool {
        let turn = self.waiting.front().is_none_or(|first| *first == slot);
        let fits = self.used == 0 || self.used + len <= self.limit;
        if turn && fits {
            self.used += len;
        }
        turn && fits
    }

    /// Gives bytes back.
    pub fn release(&mut self, len: usize) {
        debug_assert!(len <= self.used, "released {len} of {}", self.used);
        self.used = self.used.saturating_sub(len);
    }

    /// Queues a session; one that is queued keeps its place.
    pub fn wait(&mut self, slot: u32) {
        if !self.waiting.contains(&slot) {
            self.waiting.push_back(slot);
        }
    }

    /// Takes a session out of the queue: it got what it needed, or is gone.
    pub fn leave(&mut self, slot: u32) {
        if !self.waiting.is_empty() {
            self.waiting.retain(|waiting| *waiting != slot);
        }
    }

    /// The session that waits longest.
    pub fn first(&self) -> Option<u32> {
        self.waiting.front().copied()
    }

    /// Bytes held now.
    #[cfg(test)]
    fn used(&self) -> usize {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_in_line_is_served_before_small_latecomers() {
        let mut budget = Budget::new(100);
        assert!(budget.reserve(1, 60));
        assert!(!budget.reserve(2, 50));
        budget.wait(2);
        assert!(!budget.reserve(3, 10), "would fit, but 2 waits");
        budget.wait(3);
        budget.release(60);
        assert!(!budget.reserve(3, 10));
        assert!(budget.reserve(2, 50));
        budget.leave(2);
        assert!(budget.reserve(3, 10));
        assert_eq!(budget.used(), 60);
    }

    #[test]
    fn what_exceeds_the_budget_goes_alone() {
        let mut budget = Budget::new(100);
        assert!(budget.reserve(1, 1000));
        assert!(!budget.reserve(2, 1));
        budget.release(1000);
        assert!(budget.reserve(2, 1));
    }
}
