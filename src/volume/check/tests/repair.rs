//! What `repair` rewrites, and what it leaves alone.

use super::fixture::{Fixture, all, at, clean, fails_by, flip, only, read, tamper};
use crate::engine::Disk;
use crate::format::layout::{GENERATIONS_COPY, SUPERBLOCK_A, SUPERBLOCK_B};
use crate::units::{BLOCK, Generation};
use crate::volume::check::Severity;
use crate::volume::info::tag_page_places;
use crate::volume::tags::TagTable;

/// Every structure with both copies written.
pub fn with_twins() -> Fixture {
    let fixture = Fixture::new();
    let volume = fixture.open(true);
    let mut meta = volume.meta();
    meta.touch(crate::units::Extent(0));
    meta.checkpoint(&TagTable::new(vec![Generation(1); 16].into_iter())).unwrap();
    meta.mend_superblock().unwrap();
    drop(meta);
    drop(volume);
    // Twice: the newest of an even number of writes stands in B.
    fixture.change_table(|_| {});
    fixture.change_table(|_| {});
    fixture
}

#[test]
fn bad_twins_are_rewritten_and_nothing_else() {
    let fixture = with_twins();
    let superblock = fixture.open(true).meta().superblock.clone();
    let table = superblock.zones.generations.offset;
    let page = tag_page_places(&superblock, 0)[0];
    // The newest superblock and table stand in B, as does the page that counts.
    let bad = [SUPERBLOCK_A, table, page];
    for place in bad {
        flip(fixture.meta_disk(), place + 40);
    }
    let before = fixture.bytes();
    assert!(fixture.check().repaired.is_empty() && before == fixture.bytes(), "only when asked for");
    let report = fixture.repair(false);
    clean(&report);
    assert_eq!(
        report.repaired,
        [
            "the bad superblock copy A, from the one that counts",
            "the bad generation table copy A, from the one that counts",
            "copy A of tag page 0, from its twin"
        ]
    );
    let after = fixture.bytes();
    for (at, (old, new)) in before.chunks(4096).zip(after.chunks(4096)).enumerate() {
        assert!(old == new || bad.contains(&(at as u64 * 4096)), "block {at} was written");
    }
    clean(&fixture.check_full());
    assert!(fixture.opens().is_ok());
}

#[test]
fn the_counting_copy_in_a_is_repaired_from_b_after_a_torn_commit() {
    let fixture = with_twins();
    let volume = fixture.open(true);
    volume.meta().superblock.created = 5;
    volume.meta().mend_superblock().unwrap();
    drop(volume);
    flip(fixture.meta_disk(), SUPERBLOCK_A + 40);
    let report = fixture.repair(false);
    assert_eq!(report.repaired.len(), 1);
    clean(&report);
    assert_eq!(fixture.open(true).meta().superblock.created, 1_000_000, "the torn commit never happened");
}

#[test]
fn tampering_is_not_repaired_nor_anything_beside_it() {
    let fixture = with_twins();
    tamper(fixture.meta_disk(), SUPERBLOCK_A, 24 + 204);
    let table = fixture.open(true).meta().superblock.zones.generations.offset;
    flip(fixture.meta_disk(), table + 40);
    let before = fixture.bytes();
    let report = fixture.repair(true);
    fails_by(&report, "superblock-mac");
    assert!(report.repaired.is_empty() && before == fixture.bytes());
}

/// Trashes the place of the copy that counts, after copying that into the other one's place: the newest, misplaced.
pub fn misplace(fixture: &Fixture, a: u64, b: u64, len: u64) {
    let newest = read(fixture.meta_disk(), b, len);
    fixture.meta_disk().write_at(a, &newest).unwrap();
    flip(fixture.meta_disk(), b + 40);
}

/// The next sequence goes to the place where the misplaced copy stands: it must be put into its own place first.
#[test]
fn a_misplaced_copy_that_counts_alone_is_put_in_its_place() {
    let fixture = with_twins();
    let table = fixture.open(true).meta().superblock.zones.generations.offset;
    misplace(&fixture, SUPERBLOCK_A, SUPERBLOCK_B, BLOCK);
    misplace(&fixture, table, table + GENERATIONS_COPY, GENERATIONS_COPY);
    let report = fixture.check();
    assert!(report.passed);
    at(&report, "superblock-place", Severity::Warning, SUPERBLOCK_A);
    at(&report, "table-place", Severity::Warning, table);
    let report = fixture.repair(false);
    clean(&report);
    assert_eq!(report.repaired.len(), 4, "{:?}", report.repaired);
    assert!(report.repaired[0].contains("from the place of copy A to its own"), "{:?}", report.repaired);
    let before = fixture.bytes();
    assert!(fixture.repair(true).repaired.is_empty() && before == fixture.bytes(), "nothing is left to do");
}

#[test]
fn a_copy_from_another_time_is_rewritten() {
    let fixture = with_twins();
    let old = read(fixture.meta_disk(), SUPERBLOCK_A, BLOCK);
    let volume = fixture.open(true);
    (0..4).for_each(|_| volume.meta().commit_superblock(|_| {}).unwrap());
    let created = volume.meta().superblock.clone();
    drop(volume);
    fixture.meta_disk().write_at(SUPERBLOCK_A, &old).unwrap();
    only(&fixture.check(), "superblock-twin", Severity::Warning);
    let report = fixture.repair(false);
    clean(&report);
    assert_eq!(report.repaired, ["the bad superblock copy A, from the one that counts"]);
    assert_eq!(fixture.open(true).meta().superblock, created);
}

/// What proves that header and data are of one time cannot be made up.
#[test]
fn the_epoch_stamp_is_never_repaired() {
    let fixture = with_twins();
    let place = fixture.open(true).meta().superblock.zones.stamp.offset;
    for garbage in [0u8, 0x55] {
        fixture.data.write_at(place, &[garbage; 8192]).unwrap();
        let before = fixture.bytes();
        let report = fixture.repair(true);
        assert_eq!(report.named(if garbage == 0 { "stamp-zero" } else { "stamp-missing" }).count(), 2);
        assert!(!report.passed && report.repaired.is_empty() && before == fixture.bytes());
    }
}

fn poisoned() -> Fixture {
    let fixture = with_twins();
    let volume = fixture.open(true);
    volume.meta().commit_superblock(|superblock| superblock.poisoned = "a flush failed: EIO".into()).unwrap();
    fixture
}

#[test]
fn poison_outlives_everything_but_a_full_check_that_passes() {
    let fixture = poisoned();
    assert_eq!(fixture.open(false).poisoned(), Some("a flush failed: EIO"));
    for report in [fixture.check_full(), fixture.repair(false), fixture.check_without_keys()] {
        assert!(report.passed && !report.poison_cleared);
        only(&report, "poisoned", Severity::Warning);
        assert_eq!(report.poisoned.as_deref(), Some("a flush failed: EIO"));
    }
    assert!(fixture.open(false).poisoned().is_some());
    let report = fixture.repair(true);
    assert!(report.passed && report.poison_cleared);
    only(&report, "poison-cleared", Severity::Note);
    assert_eq!(fixture.open(false).poisoned(), None);
    clean(&fixture.check_full());
}

#[test]
fn poison_stays_while_anything_is_wrong() {
    let fixture = poisoned();
    let place = fixture.open(true).meta().superblock.zones.stamp.offset;
    [0, BLOCK].into_iter().for_each(|copy| flip(&*fixture.data, place + copy + 30));
    let report = fixture.repair(true);
    assert_eq!((report.named("stamp-crc").count(), report.passed), (2, false));
    assert!(!report.poison_cleared);
    [0, BLOCK].into_iter().for_each(|copy| flip(&*fixture.data, place + copy + 30));
    assert!(fixture.open(false).poisoned().is_some());
}

#[test]
fn without_keys_nothing_is_repaired() {
    let fixture = with_twins();
    flip(fixture.meta_disk(), SUPERBLOCK_A + 40);
    let before = all(fixture.meta_disk());
    let depth = crate::volume::check::Depth { keks: None, full: true, repair: true };
    let report = fixture.check_with(depth);
    assert!(report.repaired.is_empty() && before == all(fixture.meta_disk()));
}
