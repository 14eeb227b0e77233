//! What the ring says after a crash: in order, without gaps, fenced.

use super::*;
use crate::crypto::Secret;
use crate::crypto::fingerprint::SECRET_LEN;
use crate::format::intents::Commit;

const A: Generation = Generation(1);
const B: Generation = Generation(2);
const C: Generation = Generation(3);
const SLOTS: u32 = 4;

fn intent(extent: u32, old: Generation, new: Generation) -> Intent {
    Intent { extent: Extent(extent), old, new, image: Image::Fingerprints(vec![7, 8]) }
}

fn commit(extent: u32, generation: Generation, intent: u64) -> Commit {
    Commit { extent: Extent(extent), generation, intent }
}

fn record(sequence: u64, commits: Vec<Commit>, intents: Vec<Intent>) -> Record {
    Record { sequence, commits, intents }
}

/// A ring that holds `records` in their slots.
fn ring(records: &[Record]) -> Vec<SlotContent> {
    let mut slots = vec![SlotContent::Invalid; SLOTS as usize];
    for record in records {
        slots[slot_of(record.sequence, SLOTS) as usize] = SlotContent::Valid(record.clone());
    }
    slots
}

fn empty(sequence: u64) -> Record {
    record(sequence, vec![], vec![])
}

fn replayed(records: &[Record], tail: u64, tag: Generation) -> Result<Replay, ReplayError> {
    let slots = ring(records);
    let live = live_records(&slots, tail)?;
    replay(&live, tail, |_| tag)
}

#[test]
fn an_empty_ring_says_nothing() {
    let found = replayed(&[], 9, A).unwrap();
    assert_eq!(found, Replay { last: 9, ..Replay::default() });
}

#[test]
fn records_up_to_the_tail_are_dead() {
    let found = replayed(&[record(8, vec![], vec![intent(1, A, B)]), empty(9)], 9, A).unwrap();
    assert_eq!((found.live.len(), found.last), (0, 9));
}

#[test]
fn the_last_record_may_be_torn() {
    let found = replayed(&[empty(10), empty(11)], 9, A).unwrap();
    assert_eq!(found.last, 11);
}

#[test]
fn a_gap_is_refused_by_name() {
    let error = replayed(&[empty(10), empty(12)], 9, A).unwrap_err();
    assert_eq!(error, ReplayError::Gap { missing: 11, slot: 3, later: 12 });
    let error = replayed(&[empty(11)], 9, A).unwrap_err();
    assert_eq!(error, ReplayError::Gap { missing: 10, slot: 2, later: 11 });
}

#[test]
fn a_record_that_overwrote_a_live_one_is_a_gap() {
    // Record 14 stands where record 10 should be.
    let error = replayed(&[empty(14), empty(11), empty(12), empty(13)], 9, A).unwrap_err();
    assert_eq!(error, ReplayError::Gap { missing: 10, slot: 2, later: 14 });
}

#[test]
fn a_whole_ring_of_live_records_is_read() {
    let found = replayed(&[empty(10), empty(11), empty(12), empty(13)], 9, A).unwrap();
    assert_eq!(found.last, 13);
}

#[test]
fn an_intent_is_live_until_its_commit() {
    let first = record(10, vec![], vec![intent(1, A, B), intent(2, A, B)]);
    let second = record(11, vec![commit(1, B, 10)], vec![]);
    let found = replayed(&[first, second], 9, A).unwrap();
    assert_eq!(found.tags, BTreeMap::from([(1, B)]));
    assert_eq!(found.live, [LiveIntent { sequence: 10, intent: intent(2, A, B) }]);
}

#[test]
fn a_voided_intent_leaves_the_old_tag() {
    let records = [record(10, vec![], vec![intent(1, A, B)]), record(11, vec![commit(1, A, 10)], vec![])];
    let found = replayed(&records, 9, A).unwrap();
    assert_eq!((found.tags, found.live), (BTreeMap::from([(1, A)]), vec![]));
}

#[test]
fn a_commit_and_the_next_intent_ride_in_one_record() {
    let records =
        [record(10, vec![], vec![intent(1, A, B)]), record(11, vec![commit(1, B, 10)], vec![intent(1, B, C)])];
    let found = replayed(&records, 9, A).unwrap();
    assert_eq!(found.tags, BTreeMap::from([(1, B)]));
    assert_eq!(found.live, [LiveIntent { sequence: 11, intent: intent(1, B, C) }]);
}

/// Rolled back A→B→A: the first intent fits the extent's tag again and must stay dead all the same.
#[test]
fn a_stale_intent_is_not_revived_by_a_rollback() {
    let records = [
        record(10, vec![], vec![intent(1, A, B)]),
        record(11, vec![commit(1, B, 10)], vec![intent(1, B, A)]),
        record(12, vec![commit(1, A, 11)], vec![]),
    ];
    let found = replayed(&records, 9, A).unwrap();
    assert_eq!((found.tags, found.live), (BTreeMap::from([(1, A)]), vec![]));
}

#[test]
fn a_late_commit_does_not_settle_a_newer_intent() {
    let records = [
        record(10, vec![], vec![intent(1, A, B)]),
        record(11, vec![commit(1, B, 10)], vec![intent(1, B, C)]),
        record(12, vec![commit(1, B, 10)], vec![]),
    ];
    let found = replayed(&records, 9, A).unwrap();
    assert_eq!(found.live, [LiveIntent { sequence: 11, intent: intent(1, B, C) }]);
}

#[test]
fn two_intents_of_an_extent_contradict_each_other() {
    let records = [record(10, vec![], vec![intent(1, A, B)]), record(11, vec![], vec![intent(1, A, C)])];
    let error = replayed(&records, 9, A).unwrap_err();
    assert_eq!(error, ReplayError::Contradiction { sequence: 11, extent: Extent(1) });
}

#[test]
fn an_intent_whose_old_generation_is_not_the_tag_is_a_contradiction() {
    let error = replayed(&[record(10, vec![], vec![intent(1, B, C)])], 9, A).unwrap_err();
    assert_eq!(error, ReplayError::Contradiction { sequence: 10, extent: Extent(1) });
}

#[test]
fn a_granule_is_a_hole_the_pre_image_or_new() {
    let prints = Fingerprinter::new(Secret::filled(SECRET_LEN, |bytes| bytes.fill(3)));
    let old = [5u8; 4096];
    let print = prints.one(&old);
    assert_eq!(classify(&prints, print, &old), Side::Old);
    let mut changed = old;
    changed[4095] ^= 1;
    assert_eq!(classify(&prints, print, &changed), Side::New);
    assert_eq!(classify(&prints, print, &[0; 4096]), Side::Hole);
    assert_eq!(classify(&prints, prints.one(&[0; 4096]), &[0; 4096]), Side::Hole, "a hole before and after");
    let mut half = [0u8; 4096];
    half[..512].fill(5);
    assert_eq!(classify(&prints, prints.one(&half), &half), Side::Old, "half a hole is judged as a whole");
    assert_eq!(expected(&intent(1, A, B), 1), Some(8));
    assert_eq!(expected(&intent(1, A, B), 2), None);
}
