//! How many bytes of payload the sessions of one worker may hold together, and whose turn it is when that is spent.
//!
//! Nobody can lock others out by what it holds and never lets go:
//! - A session that holds nothing always gets [`FLOOR`] bytes, from beyond the budget: small requests are served whatever
//!   others hold. What that may add up to is known: the floor times the connections.
//! - A session that holds something gets more only while its party (all sessions of one peer) holds no more than is left
//!   for others: one peer alone gets half, two get a third each, and so on; there is always something left.
//!
//! Invariants: `used` is the sum of what sessions hold, floors left out; a reservation is granted when it fits or when
//! nothing else is held, so that the largest request always gets through; while somebody is in line only the first is
//! served, so that small requests cannot starve a large one. Whom its party's share keeps back is not in line but sleeps until
//! something is given back, so that a crowd of such sessions costs nobody time.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::roll::Party;

/// Bytes a session that holds nothing always gets.
pub const FLOOR: usize = 64 << 10;

/// The payload budget of one worker.
#[derive(Debug)]
pub struct Budget {
    used: usize,
    limit: usize,
    parties: HashMap<Party, usize>,
    /// Slots of sessions that wait for bytes or buffers, longest first.
    waiting: VecDeque<u32>,
    /// Sessions that their party's share keeps back, by slot.
    asleep: BTreeMap<u32, Want>,
    /// Something was given back since somebody fell asleep.
    stirred: bool,
    /// From which slot on sleepers are woken next.
    next: u32,
}

/// Most sleepers that are woken at once.
const WOKEN_MAX: usize = 64;

/// A session's wish for bytes.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// The session's party.
    pub party: Party,
    /// What the session holds already, bytes.
    pub held: usize,
    /// How many bytes; 0 for a buffer that counts for nobody.
    pub len: usize,
}

/// Where granted bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// The budget.
    Shared,
    /// Beyond it.
    Floor,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Budget {
        Budget {
            used: 0,
            limit,
            parties: HashMap::new(),
            waiting: VecDeque::new(),
            asleep: BTreeMap::new(),
            stirred: false,
            next: 0,
        }
    }

    /// Whether the party's share allows it.
    fn is_fair(&self, want: &Want) -> bool {
        let party = self.parties.get(&want.party).copied().unwrap_or(0);
        want.held == 0 || want.len == 0 || party + want.len <= self.limit.saturating_sub(self.used)
    }

    /// Reserves bytes for the session in `slot`; on `None` the session is to [`Budget::wait`].
    pub fn reserve(&mut self, slot: u32, want: &Want) -> Option<Grant> {
        let turn = self.waiting.front().is_none_or(|first| *first == slot);
        let fits = self.used == 0 || self.used + want.len <= self.limit;
        if turn && fits && self.is_fair(want) {
            self.used += want.len;
            *self.parties.entry(want.party).or_default() += want.len;
            return Some(Grant::Shared);
        }
        (want.held == 0 && want.len <= FLOOR).then_some(Grant::Floor)
    }

    /// Gives bytes back that came from the budget.
    pub fn release(&mut self, party: Party, len: usize) {
        debug_assert!(len <= self.used, "released {len} of {}", self.used);
        self.used = self.used.saturating_sub(len);
        if let Some(held) = self.parties.get_mut(&party) {
            *held = held.saturating_sub(len);
        }
        self.stirred |= len > 0 && !self.asleep.is_empty();
    }

    /// Forgets what is known of a party that holds nothing: its last session is gone.
    pub fn forget(&mut self, party: Party) {
        if self.parties.get(&party) == Some(&0) {
            self.parties.remove(&party);
        }
    }

    /// Queues a session; one that is queued keeps its place. One that its party's share keeps back sleeps instead.
    pub fn wait(&mut self, slot: u32, want: Want) {
        let is_fair = self.is_fair(&want);
        if !is_fair {
            self.leave(slot);
            self.asleep.insert(slot, want);
        } else if !self.waiting.contains(&slot) {
            self.asleep.remove(&slot);
            self.waiting.push_back(slot);
        }
    }

    /// Takes a session out of the queue: it got what it needed, or is gone.
    pub fn leave(&mut self, slot: u32) {
        if !self.waiting.is_empty() {
            self.waiting.retain(|waiting| *waiting != slot);
        }
        self.asleep.remove(&slot);
    }

    /// Whether anybody is in line, or could be.
    pub fn somebody_waits(&self) -> bool {
        !self.waiting.is_empty() || self.stirred
    }

    /// Puts sleepers into line whose share allows it again, by turns.
    pub fn wake(&mut self) {
        if !std::mem::take(&mut self.stirred) {
            return;
        }
        let by_turns = self.asleep.range(self.next..).chain(self.asleep.range(..self.next));
        let fair = by_turns.filter(|(_, want)| self.is_fair(want)).map(|(slot, _)| *slot);
        let woken: Vec<u32> = fair.take(WOKEN_MAX).collect();
        self.next = woken.last().map_or(self.next, |last| last.wrapping_add(1));
        for slot in woken {
            self.asleep.remove(&slot);
            self.waiting.push_back(slot);
        }
    }

    /// The session that waits longest.
    pub fn first(&self) -> Option<u32> {
        self.waiting.front().copied()
    }

    /// Bytes held now, floors left out.
    #[cfg(test)]
    fn used(&self) -> usize {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Party = Party::User(1);
    const B: Party = Party::User(2);
    const KIB: usize = 1 << 10;

    fn want(party: Party, held: usize, len: usize) -> Want {
        Want { party, held, len }
    }

    #[test]
    fn the_first_in_line_is_served_before_small_latecomers() {
        let mut budget = Budget::new(1000 * KIB);
        assert_eq!(budget.reserve(1, &want(A, 0, 600 * KIB)), Some(Grant::Shared));
        let large = want(B, 0, 500 * KIB);
        assert_eq!(budget.reserve(2, &large), None);
        budget.wait(2, large);
        let late = want(Party::User(3), 0, 100 * KIB);
        assert_eq!(budget.reserve(3, &late), None, "would fit, but 2 waits");
        budget.wait(3, late);
        budget.release(A, 600 * KIB);
        assert_eq!(budget.reserve(3, &late), None);
        assert_eq!(budget.reserve(2, &large), Some(Grant::Shared));
        budget.leave(2);
        assert_eq!(budget.reserve(3, &late), Some(Grant::Shared));
        assert_eq!(budget.used(), 600 * KIB);
    }

    #[test]
    fn what_exceeds_the_budget_goes_alone() {
        let mut budget = Budget::new(100 * KIB);
        assert_eq!(budget.reserve(1, &want(A, 0, 1000 * KIB)), Some(Grant::Shared));
        assert_eq!(budget.reserve(2, &want(B, 0, 90 * KIB)), None);
        budget.release(A, 1000 * KIB);
        assert_eq!(budget.reserve(2, &want(B, 0, 90 * KIB)), Some(Grant::Shared));
    }

    #[test]
    fn a_session_that_holds_nothing_always_gets_the_floor() {
        let mut budget = Budget::new(100 * KIB);
        assert_eq!(budget.reserve(1, &want(A, 0, 100 * KIB)), Some(Grant::Shared));
        assert_eq!(budget.reserve(2, &want(A, 0, FLOOR)), Some(Grant::Floor), "of the same party, too");
        assert_eq!(budget.reserve(2, &want(A, FLOOR, 1)), None, "once");
        assert_eq!(budget.reserve(3, &want(B, 0, FLOOR + 1)), None);
        assert_eq!(budget.used(), 100 * KIB);
    }

    #[test]
    fn one_party_leaves_as_much_as_it_holds_and_bars_nobody_while_it_waits() {
        let mut budget = Budget::new(1024 * KIB);
        let mut held = 0;
        while budget.reserve(1, &want(A, held, 64 * KIB)) == Some(Grant::Shared) {
            held += 64 * KIB;
        }
        assert_eq!(held, 512 * KIB, "half");
        budget.wait(1, want(A, held, 64 * KIB));
        assert!(!budget.somebody_waits(), "it sleeps");
        let mut other = 0;
        while budget.reserve(2, &want(B, other, 64 * KIB)) == Some(Grant::Shared) {
            other += 64 * KIB;
        }
        assert_eq!(other, 256 * KIB, "half of what was left");
        budget.release(A, 512 * KIB);
        budget.wake();
        assert_eq!(budget.first(), Some(1));
    }

    #[test]
    fn sleepers_are_woken_by_turns_and_only_when_something_is_given_back() {
        let mut budget = Budget::new(1024 * KIB);
        assert_eq!(budget.reserve(9, &want(A, 0, 1000 * KIB)), Some(Grant::Shared));
        for slot in 0..100 {
            budget.wait(slot, want(A, FLOOR, 500 * KIB));
        }
        budget.wake();
        assert_eq!(budget.first(), None);
        budget.release(A, 990 * KIB);
        budget.wake();
        let woken = |budget: &Budget| (budget.waiting.front().copied(), budget.waiting.len());
        assert_eq!(woken(&budget), (Some(0), WOKEN_MAX));
        (0..WOKEN_MAX as u32).for_each(|slot| budget.leave(slot));
        budget.release(A, KIB);
        budget.wake();
        assert_eq!(woken(&budget), (Some(WOKEN_MAX as u32), 100 - WOKEN_MAX));
    }
}
