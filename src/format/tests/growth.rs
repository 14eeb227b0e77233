//! Where the zones of a grown volume stand.

use super::sample;
use crate::format::growth::grow;
use crate::format::layout::{Place, WriteMode, Zones, plan};
use crate::units::BLOCK;

fn zones(detached: bool) -> Zones {
    plan(&sample::shape(WriteMode::InPlace, 512), detached).zones
}

#[test]
fn the_stamp_moves_behind_the_new_end() {
    for detached in [false, true] {
        let before = zones(detached);
        let size = before.data.length + (1 << 20);
        let growth = grow(&before, detached, size).unwrap();
        assert_eq!(
            growth.zones,
            Zones {
                data: Place { length: size, ..before.data },
                stamp: Place { offset: before.data.offset + size, ..before.stamp },
                ..before
            }
        );
        assert_eq!(growth.stale, Some(Place { offset: before.data.end(), length: before.stamp.length }));
        assert_eq!(growth.fresh, Place { offset: before.stamp.end(), length: growth.data_len - before.stamp.end() });
        assert_eq!(growth.data_len, growth.zones.stamp.end());
    }
}

/// Nothing the old zones name is touched before the new ones count, however small the step; and what a small step leaves
/// between data and stamp is zeroed by it or by the next one.
#[test]
fn small_steps_never_touch_the_stamp_that_counts() {
    let mut before = zones(false);
    for step in [1, 1, 2, 1, 3, 1, 7] {
        let growth = grow(&before, false, before.data.length + step * BLOCK).unwrap();
        let stale = growth.stale.unwrap();
        assert!(growth.zones.stamp.offset >= before.stamp.end(), "{growth:?}");
        assert!(growth.fresh.offset >= before.stamp.end(), "{growth:?}");
        assert_eq!((stale.offset, stale.end()), (before.data.end(), before.stamp.end()));
        assert_eq!(stale.end(), growth.fresh.offset, "no byte between the two is forgotten");
        assert!(!growth.zones.overlap(false));
        before = growth.zones;
    }
}

#[test]
fn a_volume_without_a_stamp_grows_too() {
    let before = Zones { stamp: Place::default(), ..zones(true) };
    let growth = grow(&before, true, before.data.length + BLOCK).unwrap();
    assert_eq!((growth.stale, growth.zones.stamp), (None, Place::default()));
    assert_eq!(growth.fresh, Place { offset: before.data.end(), length: BLOCK });
}

#[test]
fn what_stands_in_the_way_is_not_overwritten() {
    let before = zones(false);
    let far = Place { offset: before.stamp.end() + 4 * BLOCK, ..before.ring };
    let moved = Zones { ring: far, ..before };
    assert_eq!(grow(&moved, false, before.data.length + 8 * BLOCK), None, "the ring stands behind the data");
    assert!(grow(&moved, true, before.data.length + 8 * BLOCK).is_some(), "on another backing it does not");
    let inside = Zones { stamp: Place { offset: 0, ..before.stamp }, ..before };
    assert_eq!(grow(&inside, true, before.data.length + BLOCK), None);
}

#[test]
fn only_larger_sizes_of_whole_blocks() {
    let before = zones(true);
    let size = before.data.length;
    for refused in [0, size - BLOCK, size, size + 512, 1 << 62, u64::MAX - 4095] {
        assert_eq!(grow(&before, true, refused), None, "{refused}");
    }
}
