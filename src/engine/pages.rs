//! Which 4 KiB pages of one chunk are free: a bitmap that hands out aligned runs of a power of two.
//!
//! Invariant: a run that was taken is not handed out again before it is given back; `memory` safety of the arena
//! rests on that, so giving back what is not taken panics.

/// Bytes of one page, the smallest buffer.
pub(super) const PAGE: usize = 4096;
/// Pages of one chunk.
pub(super) const PAGES: usize = 512;
/// Number of run lengths: 1, 2, 4 … 256 pages.
pub(super) const ORDERS: usize = 9;

const WORD: usize = 64;
const WORDS: usize = PAGES / WORD;
/// Orders up to this one lie within one word.
const WORD_ORDER: usize = 6;

const _: () = assert!(PAGES.is_multiple_of(WORD));
const _: () = assert!(1 << (ORDERS - 1) <= PAGES && WORD == 1 << WORD_ORDER);

/// The free pages of one chunk.
pub(super) struct Pages {
    free: [u64; WORDS],
    count: usize,
    /// No free run of this order or above exists: spares the search. An upper bound, not exact.
    bound: usize,
}

impl Pages {
    /// All pages free.
    pub(super) fn new() -> Pages {
        Pages { free: [u64::MAX; WORDS], count: PAGES, bound: ORDERS }
    }

    /// Whether nothing is taken.
    pub(super) fn all_free(&self) -> bool {
        self.count == PAGES
    }

    /// Takes a run of `1 << order` pages; the first page's index is a multiple of the length.
    pub(super) fn take(&mut self, order: usize) -> Option<usize> {
        if order >= self.bound {
            return None;
        }
        let found = if order < WORD_ORDER { self.within_word(order) } else { self.whole_words(order) };
        match found {
            Some(page) => {
                self.mark(page, order, false);
                self.count -= 1 << order;
            }
            None => self.bound = order,
        }
        found
    }

    /// Gives a run back.
    ///
    /// # Panics
    /// If any of its pages is free already.
    pub(super) fn give(&mut self, page: usize, order: usize) {
        self.mark(page, order, true);
        self.count += 1 << order;
        self.bound = ORDERS;
    }

    fn within_word(&self, order: usize) -> Option<usize> {
        self.free.iter().enumerate().find_map(|(index, &word)| {
            let mut runs = word;
            for step in 0..order {
                runs &= runs >> (1 << step);
            }
            runs &= starts(order);
            (runs != 0).then(|| index * WORD + runs.trailing_zeros() as usize)
        })
    }

    fn whole_words(&self, order: usize) -> Option<usize> {
        let words = 1 << (order - WORD_ORDER);
        self.free
            .chunks_exact(words)
            .position(|run| run.iter().all(|&word| word == u64::MAX))
            .map(|at| at * words * WORD)
    }

    fn mark(&mut self, page: usize, order: usize, free: bool) {
        let length = 1usize << order;
        assert!(page.is_multiple_of(length) && page + length <= PAGES, "run {page}+{length} is not of this chunk");
        let mask = if length >= WORD { u64::MAX } else { ((1u64 << length) - 1) << (page % WORD) };
        for word in &mut self.free[page / WORD..(page + length).div_ceil(WORD)] {
            assert!(*word & mask == if free { 0 } else { mask }, "run {page}+{length} changes hands twice");
            *word ^= mask;
        }
    }
}

/// The bits at which a run of `1 << order` pages may begin.
fn starts(order: usize) -> u64 {
    u64::MAX / ((1u64 << (1 << order)) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_order_fills_the_chunk_exactly() {
        for order in 0..ORDERS {
            let mut pages = Pages::new();
            let taken: Vec<usize> = std::iter::from_fn(|| pages.take(order)).collect();
            let expected: Vec<usize> = (0..PAGES).step_by(1 << order).collect();
            assert_eq!(taken, expected, "order {order}");
            taken.into_iter().for_each(|page| pages.give(page, order));
            assert!(pages.all_free());
        }
    }

    #[test]
    #[should_panic(expected = "changes hands twice")]
    fn giving_back_twice_panics() {
        let mut pages = Pages::new();
        let page = pages.take(3).unwrap();
        pages.give(page, 3);
        pages.give(page, 3);
    }

    proptest! {
        #[test]
        fn runs_never_overlap_and_merge_again(steps in prop::collection::vec((0usize..ORDERS, any::<bool>(), any::<usize>()), 1..200)) {
            let mut pages = Pages::new();
            let mut held: Vec<(usize, usize)> = Vec::new();
            for (order, take, pick) in steps {
                if take || held.is_empty() {
                    if let Some(page) = pages.take(order) {
                        prop_assert!(page.is_multiple_of(1 << order));
                        let end = page + (1 << order);
                        prop_assert!(held.iter().all(|&(p, o)| end <= p || p + (1 << o) <= page));
                        held.push((page, order));
                    }
                } else {
                    let (page, order) = held.swap_remove(pick % held.len());
                    pages.give(page, order);
                }
            }
            held.into_iter().for_each(|(page, order)| pages.give(page, order));
            prop_assert!(pages.all_free());
            prop_assert_eq!(pages.take(ORDERS - 1), Some(0));
        }
    }
}
