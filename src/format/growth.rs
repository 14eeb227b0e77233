//! How the zones of a volume change when it grows. Pure.
//!
//! Invariant: nothing that the zones of before name is touched until those of after are durable. So the new stamp stands
//! behind the old one even where the data need less room, and what the old one leaves behind is zeroed last.

use super::layout::{Place, Zones};
use crate::units::BLOCK;

/// What a growth changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// The zones after it.
    pub zones: Zones,
    /// Bytes the data backing then needs.
    pub data_len: u64,
    /// What must read as zeros before the new zones count: nothing of the volume's stands there.
    pub fresh: Place,
    /// What must be zeroed once they count, before anybody sees it: where the old stamp stood. None without a stamp.
    pub stale: Option<Place>,
}

/// The zones of a volume that grows to `size` bytes, a multiple of [`BLOCK`] beyond what it has; none if something stands
/// in the way.
pub fn grow(zones: &Zones, detached: bool, size: u64) -> Option<Growth> {
    let old = zones.data;
    let data = Place { length: size, ..old };
    if size <= old.length || !size.is_multiple_of(BLOCK) || size >= 1 << 62 {
        return None;
    }
    let (stamp, fresh, stale) = if zones.stamp.length == 0 {
        (zones.stamp, old.end(), None)
    } else if zones.stamp.offset < old.end() {
        return None; // it stands elsewhere: no build puts it there, and none knows what stands behind the data
    } else {
        let behind = zones.stamp.end();
        let stamp = Place { offset: data.end().max(behind), ..zones.stamp };
        let stale = Place { offset: old.end(), length: behind - old.end() };
        (stamp, behind, Some(stale))
    };
    let after = Zones { data, stamp, ..*zones };
    let end = after.data_len();
    // All of it must be free, not only what is data or stamp.
    let taken = Zones { data: Place { length: end - old.offset, ..old }, stamp: Place::default(), ..after };
    let fresh = Place { offset: fresh, length: end - fresh };
    (!taken.overlap(detached)).then_some(Growth { zones: after, data_len: end, fresh, stale })
}
