//! Which extents a rotation takes next.
//!
//! Invariant: every extent whose tag is not the target is offered again and again until it is; the order only says which
//! ones come first.

use crate::format::generations::Order;
use crate::units::{Extent, Generation};

/// A position in the round over a volume's extents.
pub struct Cursor {
    order: Order,
    extent_size: u64,
    extents: u32,
    /// Stages of a round: each is a range of extents and, if given, the one generation taken in it.
    stages: Vec<(u32, u32, Option<Generation>)>,
    stage: usize,
    next: u32,
    /// Whether the present round has offered anything.
    offered: bool,
}

impl Cursor {
    /// A cursor over `extents` extents of `extent_size` bytes.
    pub fn new(order: Order, extents: u32, extent_size: u64) -> Cursor {
        Cursor { order, extent_size, extents, stages: Vec::new(), stage: 0, next: 0, offered: false }
    }

    /// The next extents to take, at most `most`; `tag` gives an extent's current generation, `old` lists the
    /// generations that drain, oldest first. Empty: a whole round found nothing.
    pub fn next(
        &mut self,
        most: usize,
        target: Generation,
        old: &[Generation],
        tag: impl Fn(Extent) -> Generation,
    ) -> Vec<Extent> {
        let mut found = Vec::new();
        let mut rounds = 0;
        while found.len() < most {
            if self.stage >= self.stages.len() {
                if rounds > 0 || !found.is_empty() {
                    break;
                }
                rounds += 1;
                self.begin_round(old);
            }
            let (_, end, only) = self.stages[self.stage];
            if self.next >= end {
                self.stage += 1;
                self.next = self.stages.get(self.stage).map_or(0, |(first, _, _)| *first);
                continue;
            }
            let extent = Extent(self.next);
            self.next += 1;
            let generation = tag(extent);
            if generation != target && only.is_none_or(|only| only == generation) {
                found.push(extent);
            }
        }
        self.offered |= !found.is_empty();
        found
    }

    fn begin_round(&mut self, old: &[Generation]) {
        let all = (0, self.extents, None);
        self.stages = match &self.order {
            Order::Sequential => vec![all],
            Order::OldestFirst => {
                let mut stages: Vec<_> = old.iter().map(|generation| (0, self.extents, Some(*generation))).collect();
                stages.push(all);
                stages
            }
            Order::Ranges(ranges) => {
                let extent = |byte: u64| u32::try_from(byte / self.extent_size).unwrap_or(u32::MAX).min(self.extents);
                let range = |&(first, end): &(u64, u64)| {
                    let end = u32::try_from(end.div_ceil(self.extent_size)).unwrap_or(u32::MAX).min(self.extents);
                    (extent(first), end, None)
                };
                ranges.iter().map(range).chain([all]).collect()
            }
        };
        self.stage = 0;
        self.offered = false;
        self.next = self.stages.first().map_or(0, |(first, _, _)| *first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(order: Order, tags: &[u32], most: usize) -> Vec<u32> {
        let mut cursor = Cursor::new(order, tags.len() as u32, 100);
        let old = [Generation(1), Generation(2)];
        let tag = |extent: Extent| Generation(tags[extent.0 as usize]);
        cursor.next(most, Generation(3), &old, tag).into_iter().map(|extent| extent.0).collect()
    }

    #[test]
    fn sequential_skips_what_is_done() {
        assert_eq!(take(Order::Sequential, &[1, 3, 2, 3, 1], 9), [0, 2, 4]);
    }

    #[test]
    fn oldest_first_then_the_rest() {
        assert_eq!(take(Order::OldestFirst, &[2, 1, 2, 1, 3], 4), [1, 3, 0, 2]);
    }

    #[test]
    fn ranges_come_first_and_may_lie_outside() {
        let order = Order::Ranges(vec![(250, 320), (9_000, u64::MAX)]);
        assert_eq!(take(order, &[1, 1, 1, 1], 2), [2, 3]);
    }

    #[test]
    fn a_finished_volume_ends_the_round() {
        assert_eq!(take(Order::OldestFirst, &[3, 3], 4), [0u32; 0]);
    }

    #[test]
    fn rounds_repeat_until_all_is_done() {
        let mut cursor = Cursor::new(Order::Sequential, 2, 100);
        for _ in 0..3 {
            let found = cursor.next(1, Generation(2), &[Generation(1)], |_| Generation(1));
            assert_eq!(found.len(), 1);
        }
    }
}
