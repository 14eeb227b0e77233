//! Superblocks, raw and as authentic bodies. Promises: what is accepted has a shape within bounds and zones that do not
//! overlap and hold what they must; it fits its block when written again, and reads back as the same.

use keymoult::format::envelope::{SUPERBLOCK, peek};
use keymoult::format::superblock::Superblock;
use keymoult::limits::BATCH_EXTENTS_MAX;
use keymoult::units::BLOCK;

use crate::support::sealed::{both_ways, seal};

pub fn run(bytes: &[u8]) {
    let Some(block) = both_ways(SUPERBLOCK, 0, bytes, Superblock::decode) else { return };
    let (shape, zones) = (&block.shape, &block.zones);
    assert_eq!(shape.check(), Ok(()));
    assert!(!zones.overlap(block.detached));
    assert!(shape.extents() > 0 && shape.extents() <= shape.extents_max());
    assert!(shape.batch_extents() as usize <= BATCH_EXTENTS_MAX);
    assert_eq!(shape.extent_range(shape.extents() - 1).1, shape.size);
    assert!(block.served_size() > 0 && (block.served_size() < shape.size) == block.unfinished.is_some());
    let ring = u64::from(block.ring_slots) * u64::from(block.slot_size);
    assert!(zones.ring.length >= ring && u64::from(block.slot_size) >= shape.slot_size());
    assert!(block.tail.checked_add(u64::from(block.ring_slots) + 1).is_some(), "records after the tail have numbers");
    assert!(block.checkpoint.checked_add(1).is_some() && block.epoch.checked_add(1).is_some());

    let again = block.seal(seal(), 8);
    assert_eq!(again.len() as u64, BLOCK);
    assert_eq!(Superblock::decode(&peek(SUPERBLOCK, &again).unwrap()), Ok(block));
}
