//! Numbers that only grow, made small again, so that recovery cut off again and again comes back to an image already seen.
//!
//! Why nothing is lost: of page and checkpoint sequences the product asks only which is newer, which are equal, and for one
//! newer than all; of superblock sequences which is newer, and the parity. So page and checkpoint sequences are replaced by
//! their ranks, and superblock sequences moved down by an even number. Record sequences stay: recovery writes no record.

use std::collections::BTreeSet;

use super::content::{Content, Library, Superblock};
use super::device::Device;

/// `device` with the least numbers it could have.
pub fn relabelled(device: &Device, library: &mut Library) -> Device {
    let mut ranks = BTreeSet::new();
    let mut superblocks = BTreeSet::new();
    for id in device.all() {
        match library.get(id) {
            Content::Page { sequence, .. } => {
                ranks.insert(*sequence);
            }
            Content::Superblock(superblock) => {
                superblocks.insert(superblock.sequence);
                ranks.insert(superblock.checkpoint);
                ranks.extend(&superblock.pages);
            }
            _ => {}
        }
    }
    let ranks: Vec<u64> = ranks.into_iter().collect();
    let rank = |sequence: u64| ranks.partition_point(|other| *other < sequence) as u64;
    let shift = superblocks.first().map_or(0, |first| (first - 1) & !1);
    let is_least = shift == 0 && ranks.last().is_none_or(|last| *last + 1 == ranks.len() as u64);
    if is_least {
        return device.clone();
    }
    device.with(|id| {
        let content = match library.get(id) {
            Content::Page { sequence, tags } => Content::Page { sequence: rank(*sequence), tags: tags.clone() },
            Content::Superblock(it) => Content::Superblock(Superblock {
                sequence: it.sequence - shift,
                checkpoint: rank(it.checkpoint),
                tail: it.tail,
                pages: it.pages.iter().map(|page| rank(*page)).collect(),
            }),
            _ => return id,
        };
        library.number(content)
    })
}
