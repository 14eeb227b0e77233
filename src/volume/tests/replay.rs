//! Replay: what a ring says, including what must be refused.

use super::*;
use crate::crypto::Secret;
use crate::crypto::fingerprint::SECRET_LEN;
use crate::format::intents::Commit;

const OLD: Generation = Generation(1);
const NEW: Generation = Generation(2);

fn intent(extent: u32, old: Generation, new: Generation) -> Intent {
    Intent { extent: Extent(extent), old, new, image: Image::Fingerprints(vec![7]) }
}

fn commit(extent: u32, generation: Generation, intent: u64) -> Commit {
    Commit { extent: Extent(extent), generation, intent }
}

fn record(sequence: u64, commits: Vec<Commit>, intents: Vec<Intent>) -> Record {
    Record { sequence, commits, intents }
}

fn ring(records: &[Record], slots: usize) -> Vec<SlotContent> {
    let mut ring = vec![SlotContent::Invalid; slots];
    for record in records {
        ring[slot_of(record.sequence, slots as u32) as usize] = SlotContent::Valid(record.clone());
    }
    ring
}

fn run(records: &[Record], tail: u64) -> Result<Replay, ReplayError> {
    let slots = ring(records, 8);
    let live = live_records(&slots, tail)?;
    replay(&live, tail, |_| OLD)
}

#[test]
fn an_intent_without_a_commit_is_live_and_a_commit_settles_it() {
    let first = record(1, Vec::new(), vec![intent(4, OLD, NEW)]);
    let found = run(std::slice::from_ref(&first), 0).unwrap();
    assert_eq!((found.live.len(), found.tags.len(), found.last), (1, 0, 1));
    let second = record(2, vec![commit(4, NEW, 1)], Vec::new());
    let found = run(&[first, second], 0).unwrap();
    assert!(found.live.is_empty());
    assert_eq!(found.tags.get(&4), Some(&NEW));
}

#[test]
fn records_up_to_the_tail_are_dead() {
    let found = run(&[record(1, Vec::new(), vec![intent(0, NEW, OLD)]), record(2, Vec::new(), Vec::new())], 1).unwrap();
    assert!(found.live.is_empty() && found.tags.is_empty());
    assert_eq!(found.last, 2);
}

#[test]
fn there_and_back_leaves_no_stale_intent() {
    let records = [
        record(1, Vec::new(), vec![intent(0, OLD, NEW)]),
        record(2, vec![commit(0, NEW, 1)], vec![intent(0, NEW, OLD)]),
        record(3, vec![commit(0, OLD, 2)], Vec::new()),
    ];
    let found = run(&records, 0).unwrap();
    assert!(found.live.is_empty());
    assert_eq!(found.tags.get(&0), Some(&OLD));
    let half = run(&records[..2], 0).unwrap();
    assert_eq!(half.live[0].sequence, 2, "the newer intent stays, the commit of the older one does not settle it");
}

#[test]
fn only_the_last_record_may_be_missing() {
    let records = [record(1, Vec::new(), Vec::new()), record(3, Vec::new(), Vec::new())];
    assert_eq!(run(&records, 0), Err(ReplayError::Gap { missing: 2, slot: 2, later: 3 }));
    assert_eq!(run(&records[..1], 0).unwrap().last, 1, "record 2 torn: it never counted");
}

#[test]
fn a_full_ring_wraps() {
    let records: Vec<Record> = (9..17).map(|sequence| record(sequence, Vec::new(), Vec::new())).collect();
    assert_eq!(run(&records, 8).unwrap().last, 16);
    // An older record in the slot of the next one ends the log.
    assert_eq!(run(&records, 12).unwrap().last, 16);
}

#[test]
fn an_intent_that_contradicts_the_tags_is_refused() {
    let wrong = record(1, Vec::new(), vec![intent(0, NEW, OLD)]);
    let refused = ReplayError::Contradiction { sequence: 1, extent: Extent(0) };
    assert_eq!(run(&[wrong], 0), Err(refused));
    let twice = [record(1, Vec::new(), vec![intent(0, OLD, NEW)]), record(2, Vec::new(), vec![intent(0, OLD, NEW)])];
    assert_eq!(run(&twice, 0), Err(ReplayError::Contradiction { sequence: 2, extent: Extent(0) }));
}

#[test]
fn granules_are_told_apart() {
    let prints = Fingerprinter::new(Secret::filled(SECRET_LEN, |bytes| bytes.fill(9)));
    let old = [5u8; 4096];
    let expected = prints.one(&old);
    assert_eq!(classify(&prints, expected, &old), Side::Old);
    assert_eq!(classify(&prints, expected, &[0; 4096]), Side::Hole);
    let mut other = old;
    other[4095] ^= 1;
    assert_eq!(classify(&prints, expected, &other), Side::New);
}
