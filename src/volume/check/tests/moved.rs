//! Whole blocks in the wrong place or from the wrong time: swapped, replayed, doubled.

use super::fixture::{Fixture, at, bad, clean, explained, fails_by, only, read};
use crate::engine::Disk;
use crate::format::canary;
use crate::format::intents::{Image, Intent, Record, slot_of};
use crate::format::layout::{GENERATIONS_COPY, SUPERBLOCK_A, SUPERBLOCK_B};
use crate::units::{BLOCK, Extent, Generation};
use crate::volume::check::Severity;
use crate::volume::create::ModeChoice;
use crate::volume::info::tag_page_places;

fn swap(fixture: &Fixture, a: u64, b: u64, len: u64) {
    let disk = fixture.meta_disk();
    let (first, second) = (read(disk, a, len), read(disk, b, len));
    disk.write_at(a, &second).unwrap();
    disk.write_at(b, &first).unwrap();
}

#[test]
fn copies_that_have_changed_places() {
    let fixture = Fixture::new();
    let table = fixture.open(true).meta().superblock.zones.generations.offset;
    for (what, a, b, len) in [
        ("superblock", SUPERBLOCK_A, SUPERBLOCK_B, BLOCK),
        ("table", table, table + GENERATIONS_COPY, GENERATIONS_COPY),
    ] {
        swap(&fixture, a, b, len);
        let report = fixture.check();
        assert!(report.passed);
        let found: Vec<_> = report.named(&format!("{what}-place")).map(|finding| finding.offset).collect();
        assert_eq!(found, [Some(a), Some(b)], "{:#?}", bad(&report));
        swap(&fixture, a, b, len);
    }
    clean(&fixture.check());
}

#[test]
fn pages_canaries_and_records_are_bound_to_their_places() {
    let fixture = Fixture::reserving(false, 1, ModeChoice::InPlace, 128 << 20);
    fixture.rotate(3);
    let (superblock, pages) = {
        let volume = fixture.open(true);
        let superblock = volume.meta().superblock.clone();
        let pages = [tag_page_places(&superblock, 0)[0], tag_page_places(&superblock, 1)[0]];
        (superblock, pages)
    };
    let zones = superblock.zones;
    let canaries = [1, 2].map(|slot| zones.canaries.offset + slot * canary::SLOT);
    let size = u64::from(superblock.slot_size);
    let slots = [1, 2].map(|record| zones.ring.offset + u64::from(slot_of(record, superblock.ring_slots)) * size);
    for (name, [a, b], len) in
        [("tag-page-mac", pages, BLOCK), ("canary-mac", canaries, canary::SLOT), ("ring-mac", slots, size)]
    {
        swap(&fixture, a, b, len);
        let report = fixture.check();
        let mut found: Vec<_> = report.named(name).map(|finding| finding.offset.unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, [a, b], "{name}: {:#?}", bad(&report));
        assert!(!report.passed);
        swap(&fixture, a, b, len);
    }
    assert!(fixture.check().passed);
}

#[test]
fn two_histories_under_one_sequence() {
    let fixture = Fixture::new();
    let (seal, mut superblock, sequence) = {
        let volume = fixture.open(true);
        let meta = volume.meta();
        (std::sync::Arc::clone(&meta.seal), meta.superblock.clone(), meta.superblock_sequence())
    };
    superblock.created += 1;
    fixture.meta_disk().write_at(SUPERBLOCK_A, &superblock.seal(&seal, sequence)).unwrap();
    let report = fixture.repair(true);
    let finding = only(&report, "superblock-twin", Severity::Error);
    assert!(finding.what.contains("two histories"), "{}", finding.what);
    assert!(report.repaired.is_empty() && !report.passed);
}

/// An intent record that fits the shape.
fn record(fixture: &Fixture, sequence: u64, extent: u32) -> Record {
    let volume = fixture.open(true);
    let granules = (volume.shape().extent_size / u64::from(volume.shape().granule)) as usize;
    let image = Image::Fingerprints(vec![1; granules]);
    let intent = Intent { extent: Extent(extent), old: Generation(1), new: Generation(1), image };
    Record { sequence, commits: Vec::new(), intents: vec![intent] }
}

/// Four records, the tail moved so far that they follow it, and what stood in the slot of one a lap ago.
fn a_lap_later() -> (Fixture, u64, Vec<u8>) {
    let fixture = Fixture::new();
    let volume = fixture.open(true);
    let slots = u64::from(volume.meta().superblock.ring_slots);
    let old = record(&fixture, 2, 3);
    let records: Vec<Record> = (1..=4).map(|step| record(&fixture, slots + step, step as u32)).collect();
    let mut meta = volume.meta();
    meta.write_record(&old).unwrap();
    let place = meta.superblock.zones.ring.offset
        + u64::from(slot_of(2, meta.superblock.ring_slots)) * u64::from(meta.superblock.slot_size);
    let before = read(fixture.meta_disk(), place, u64::from(meta.superblock.slot_size));
    meta.commit_superblock(|superblock| superblock.tail = slots).unwrap();
    records.iter().for_each(|record| meta.write_record(record).unwrap());
    drop(meta);
    (fixture, place, before)
}

#[test]
fn a_record_of_the_lap_before() {
    let (fixture, place, before) = a_lap_later();
    assert!(fixture.check().passed);
    fixture.meta_disk().write_at(place, &before).unwrap();
    let report = fixture.check();
    assert!(only(&report, "ring-gap", Severity::Error).what.contains("is gone"), "{:#?}", bad(&report));
    assert!(!report.passed);
}

#[test]
fn a_record_from_the_future() {
    let fixture = Fixture::new();
    fixture.rotate(3);
    let future = record(&fixture, 9, 9);
    fixture.open(true).meta().write_record(&future).unwrap();
    let report = explained(fixture.check());
    assert!(fails_by(&report, "ring-gap").contains("record 4"));
}

#[test]
fn an_older_superblock_beside_the_newest_and_an_older_pair() {
    let fixture = Fixture::new();
    let [a, b] = [SUPERBLOCK_A, SUPERBLOCK_B].map(|place| read(fixture.meta_disk(), place, BLOCK));
    let volume = fixture.open(false);
    let target = volume.start_rotation(&fixture.keks, &super::fixture::spec()).unwrap();
    assert_eq!(target, Generation(2));
    drop(volume);
    clean(&fixture.check());
    // Both, from before the rotation: the stamp knows.
    fixture.meta_disk().write_at(SUPERBLOCK_A, &a).unwrap();
    fixture.meta_disk().write_at(SUPERBLOCK_B, &b).unwrap();
    assert!(fails_by(&fixture.check(), "epoch-stale").contains("the header is older"));
}

#[test]
fn an_older_table_is_betrayed_by_the_tags() {
    let fixture = Fixture::new();
    let place = fixture.open(true).meta().superblock.zones.generations.offset;
    let old = read(fixture.meta_disk(), place, 2 * GENERATIONS_COPY);
    fixture.rotate_all();
    fixture.meta_disk().write_at(place, &old).unwrap();
    let report = fixture.check();
    let finding = only(&report, "tag-unknown", Severity::Error);
    assert!(finding.what.contains("16 extents carry generation 2"), "{}", finding.what);
    // One copy alone: it does not count, and is not the predecessor.
    let fixture = Fixture::new();
    let old = read(fixture.meta_disk(), place, GENERATIONS_COPY);
    (0..3).for_each(|_| fixture.change_table(|_| {}));
    let volume = fixture.open(true);
    let counts_in_a = volume.meta().table_sequence() % 2 == 1;
    drop(volume);
    if counts_in_a {
        fixture.change_table(|_| {});
    }
    fixture.meta_disk().write_at(place, &old).unwrap();
    let report = fixture.check();
    assert!(report.passed);
    at(&report, "table-twin", Severity::Warning, place);
}
