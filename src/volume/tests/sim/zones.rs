//! What a power cut may do to a write that was not flushed, zone by zone.
//!
//! Metadata validate themselves and are written to places that do not count, so anything may happen to them: the old
//! block, the new one, one in between, a shorn one, garbage, a read error. Data in place rely on granules that change as a
//! whole, as REENCRYPTION.md says. In journal mode nothing vouches for that: a granule may be shorn between its sectors.

use std::ops::Range;

use crate::format::layout::{Plan, SUPERBLOCK_A, SUPERBLOCK_B, WriteMode};
use crate::units::BLOCK;

/// How granules of a range may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frailty {
    /// Old, new, or any version in between.
    Atomic,
    /// Also shorn between two of its 512-byte sectors.
    Shearing,
    /// Also shorn anywhere, garbage, or unreadable until it is written again.
    Fragile,
}

/// The frailty of every byte of a disk.
#[derive(Clone, Debug, Default)]
pub struct Frailties(Vec<(Range<u64>, Frailty)>);

impl Frailties {
    /// Of the data disk of a volume, or of its header's; of an attached header's one disk both.
    pub fn of(plan: &Plan, mode: WriteMode, detached: bool, header: bool) -> Frailties {
        let zones = &plan.zones;
        let mut ranges = Vec::new();
        let mut add = |first: u64, end: u64, frailty| ranges.push((first..end, frailty));
        if header || !detached {
            for place in [SUPERBLOCK_A, SUPERBLOCK_B] {
                add(place, place + BLOCK, Frailty::Fragile);
            }
            for zone in [zones.generations, zones.canaries, zones.tags, zones.ring] {
                add(zone.offset, zone.end(), Frailty::Fragile);
            }
        }
        if !header || !detached {
            add(zones.stamp.offset, zones.stamp.end(), Frailty::Fragile);
            let data = if mode == WriteMode::Journal { Frailty::Shearing } else { Frailty::Atomic };
            add(zones.data.offset, zones.data.end(), data);
        }
        Frailties(ranges)
    }

    /// The data disk has become `len` bytes long: data, and a stamp of two blocks at its end.
    pub fn grow(&mut self, len: u64) {
        let [.., stamp, data] = self.0.as_mut_slice() else { return };
        stamp.0 = len - 2 * BLOCK..len;
        data.0.end = stamp.0.start;
    }

    pub fn at(&self, offset: u64) -> Frailty {
        let found = self.0.iter().find(|(range, _)| range.contains(&offset));
        found.map_or(Frailty::Atomic, |(_, frailty)| *frailty)
    }
}
