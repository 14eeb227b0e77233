//! Generation tables, raw and as authentic bodies. Promises: what is accepted keeps the table's invariants, can be asked
//! everything the product asks it, and can be written again: else a key change would lock its owner out.

use keymoult::format::envelope::{GENERATIONS, OVERHEAD, peek};
use keymoult::format::generations::GenerationTable;
use keymoult::format::layout::GENERATIONS_COPY;
use keymoult::limits::GENERATIONS_MAX;
use keymoult::units::Generation;

use crate::support::sealed::{both_ways, seal};

pub fn run(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(GENERATIONS_COPY as usize - OVERHEAD)];
    let Some(table) = both_ways(GENERATIONS, 0, bytes, GenerationTable::decode) else { return };
    assert!((1..=GENERATIONS_MAX).contains(&table.entries.len()));
    assert!(table.entries.windows(2).all(|pair| pair[0].generation < pair[1].generation));
    assert!(table.entry(Generation::METADATA).is_some() && table.entry(table.rotation.target).is_some());
    assert_ne!(table.previous_target(), Some(table.rotation.target));
    if let Some(slot) = table.free_slot() {
        assert!(table.entries.iter().all(|entry| entry.canary_slot != slot));
    }
    assert!(table.entries.iter().all(|entry| entry.generation < table.next_generation()));

    let again = table.seal(seal(), 8).expect("what was read can be written");
    assert_eq!(GenerationTable::decode(&peek(GENERATIONS, &again).unwrap()), Ok(table));
}
