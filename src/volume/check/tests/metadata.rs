//! Superblock, table, stamp and tag pages.

use std::sync::Arc;

use super::fixture::{Fixture, bad, clean, fails_by, flip, only, passes_with, read, tamper};
use crate::engine::Disk;
use crate::engine::mem::MemDisk;
use crate::format::generations::{KeyState, Phase};
use crate::format::layout::{GENERATIONS_COPY, SUPERBLOCK_A, SUPERBLOCK_B};
use crate::format::stamp;
use crate::units::{BLOCK, Generation};
use crate::volume::check::{Depth, Severity, check_disks};
use crate::volume::create::ModeChoice;
use crate::volume::info::tag_page_places;
use crate::volume::tags::TagTable;

#[test]
fn a_fresh_volume_is_clean() {
    for detached in [false, true] {
        let fixture = Fixture::with(detached, 1, ModeChoice::InPlace);
        let before = fixture.bytes();
        let report = fixture.check_full();
        clean(&report);
        assert!(report.with_keys);
        assert_eq!(report.census.into_iter().collect::<Vec<_>>(), [(1, 16)]);
        assert_eq!(report.references.len(), 1);
        assert!(report.references[0].is_target && !report.references[0].proven_empty);
        assert!(before == fixture.bytes(), "a check writes nothing");
        passes_with(&fixture.check_without_keys(), "no-key", Severity::Note);
    }
}

/// Two copies each, the newest in B.
fn with_twins() -> Fixture {
    let fixture = Fixture::new(); // create writes both copies
    clean(&fixture.check());
    fixture
}

fn table_places(fixture: &Fixture) -> [u64; 2] {
    let first = fixture.open(true).meta().superblock.zones.generations.offset;
    [first, first + GENERATIONS_COPY]
}

#[test]
fn a_torn_twin_is_a_warning() {
    for copy in 0..2 {
        let fixture = with_twins();
        flip(fixture.meta_disk(), [SUPERBLOCK_A, SUPERBLOCK_B][copy] + 30);
        let said = passes_with(&fixture.check(), "superblock-crc", Severity::Warning);
        assert!(said.starts_with(&format!("superblock copy {}", ["A", "B"][copy])), "{said}");
        let fixture = with_twins();
        flip(fixture.meta_disk(), table_places(&fixture)[copy] + 30);
        let said = passes_with(&fixture.check(), "table-crc", Severity::Warning);
        assert!(said.starts_with(&format!("generation table copy {}", ["A", "B"][copy])), "{said}");
    }
}

#[test]
fn a_forged_copy_is_an_error_counting_or_not() {
    for copy in 0..2 {
        let fixture = with_twins();
        tamper(fixture.meta_disk(), [SUPERBLOCK_A, SUPERBLOCK_B][copy], 24 + 220);
        fails_by(&fixture.check(), if copy == 1 { "superblock-field" } else { "superblock-mac" });
        let fixture = with_twins();
        tamper(fixture.meta_disk(), [SUPERBLOCK_A, SUPERBLOCK_B][copy], 24 + 204);
        let said = fails_by(&fixture.check(), "superblock-mac");
        assert!(said.contains("not authentic"), "{said}");
        let fixture = with_twins();
        tamper(fixture.meta_disk(), table_places(&fixture)[copy], 24 + 2 + 42);
        fails_by(&fixture.check(), "table-mac");
        // Without a key nobody can tell.
        assert!(fixture.check_without_keys().passed);
    }
}

#[test]
fn both_copies_gone() {
    let fixture = with_twins();
    for place in [SUPERBLOCK_A, SUPERBLOCK_B] {
        flip(fixture.meta_disk(), place + 30);
    }
    let report = fixture.check();
    assert_eq!(report.named("superblock-crc").count(), 2);
    assert!(!report.passed && report.volume.is_none());
    let fixture = with_twins();
    for place in table_places(&fixture) {
        flip(fixture.meta_disk(), place + 30);
    }
    let report = fixture.check();
    assert_eq!(report.named("table-crc").count(), 2);
    assert!(!report.passed);
    let nothing: Arc<dyn Disk> = Arc::new(MemDisk::new(1 << 20));
    let report = check_disks(nothing, None, Depth { keks: None, full: false, repair: false }, &mut |_, _| {}).unwrap();
    assert!(!report.passed && report.named("superblock-zero").count() == 2);
}

#[test]
fn a_newer_version_is_named() {
    let fixture = with_twins();
    fixture.meta_disk().write_at(SUPERBLOCK_B + 8, &[2]).unwrap();
    let said = fails_by(&fixture.check(), "superblock-newer");
    assert!(said.contains("version 2"), "{said}");
}

#[test]
fn copies_that_never_stand_side_by_side() {
    let fixture = with_twins();
    let old = read(fixture.meta_disk(), SUPERBLOCK_A, BLOCK);
    let volume = fixture.open(true);
    for _ in 0..3 {
        volume.meta().mend_superblock().unwrap();
    }
    drop(volume);
    fixture.meta_disk().write_at(SUPERBLOCK_A, &old).unwrap();
    // B has a newer sequence than the one that follows A's.
    passes_with(&fixture.check(), "superblock-twin", Severity::Warning);
    let fixture = with_twins();
    let newest = read(fixture.meta_disk(), SUPERBLOCK_B, BLOCK);
    fixture.meta_disk().write_at(SUPERBLOCK_A, &newest).unwrap();
    let report = fixture.check();
    assert!(report.passed);
    only(&report, "superblock-place", Severity::Warning);
    only(&report, "superblock-twin", Severity::Warning);
}

#[test]
fn files_that_are_not_this_volumes() {
    let fixture = Fixture::with(true, 1, ModeChoice::InPlace);
    let depth = Depth { keks: Some(&fixture.keks), full: false, repair: false };
    let alone = check_disks(fixture.header_disk().unwrap(), None, depth, &mut |_, _| {}).unwrap();
    fails_by(&alone, "header-kind");
    let short: Arc<dyn Disk> = Arc::new(MemDisk::new(64 << 10));
    let report = check_disks(short, fixture.header_disk(), depth, &mut |_, _| {}).unwrap();
    assert!(fails_by(&report, "backing-truncated").contains("the data backing: 65536 bytes long"));
    let other = Fixture::with(true, 1, ModeChoice::InPlace);
    let report = check_disks(other.data_disk(), fixture.header_disk(), depth, &mut |_, _| {}).unwrap();
    assert_eq!((report.named("stamp-mac").count(), report.passed), (2, false));
}

#[test]
fn the_epoch_stamp() {
    let fixture = Fixture::new();
    let place = fixture.open(true).meta().superblock.zones.stamp.offset;
    let seal = Arc::clone(&fixture.open(true).meta().seal);
    let put = |epoch: u64| {
        let block = stamp::seal(&seal, epoch);
        fixture.data.write_at(place, &block).unwrap();
        fixture.data.write_at(place + BLOCK, &block).unwrap();
    };
    put(0);
    passes_with(&fixture.check(), "epoch-behind", Severity::Note);
    put(1);
    fixture.data.write_at(place, &stamp::seal(&seal, 2)).unwrap();
    assert!(fails_by(&fixture.check(), "epoch-stale").contains("the header is older"));
    let report = fixture.check_without_keys();
    assert_eq!(report.named("epoch-stale").count(), 1);
    put(1);
    flip(&*fixture.data, place + 24);
    passes_with(&fixture.check(), "stamp-crc", Severity::Warning);
    flip(&*fixture.data, place + BLOCK + 24);
    let report = fixture.check();
    assert_eq!((report.named("stamp-crc").count(), report.passed), (2, false));
    fixture.data.write_at(place, &[0; 2 * BLOCK as usize]).unwrap();
    let report = fixture.check();
    assert_eq!((report.named("stamp-zero").count(), report.passed), (2, false));
}

#[test]
fn a_table_that_contradicts_itself() {
    let fixture = Fixture::new();
    fixture.change_table(|table| {
        let mut second = table.entries[1].clone();
        second.generation = Generation(2);
        table.entries.push(second);
    });
    // The second entry copies wrap, canary slot and state of the first: each contradiction has its name.
    let report = fixture.check();
    assert!(report.named("table-target").count() == 1 && report.named("table-canary").count() == 2);
    assert!(report.named("wrap-tampered").count() == 1, "the wrap is bound to its generation: {:#?}", bad(&report));
    let fixture = Fixture::new();
    fixture.change_table(|table| table.rotation.rollback_to = Some(Generation(7)));
    fails_by(&fixture.check(), "table-rotation");
    let fixture = Fixture::new();
    fixture.rotate(1);
    fixture.change_table(|table| table.rotation.phase = Phase::Drained);
    assert!(fixture.check().named("table-rotation").any(|finding| finding.what.contains("16 extents do not carry")));
}

fn page_places(fixture: &Fixture) -> [u64; 2] {
    tag_page_places(&fixture.open(true).meta().superblock, 0)
}

/// Checkpoints `tags`, so that both copies of the page exist; the counting one is B.
fn checkpoint(fixture: &Fixture, tag: impl Fn(u32) -> u32) {
    let volume = fixture.open(true);
    let tags: Vec<Generation> = (0..volume.shape().extents()).map(|extent| Generation(tag(extent))).collect();
    let mut meta = volume.meta();
    meta.touch(crate::units::Extent(0));
    meta.checkpoint(&TagTable::new(tags.into_iter())).unwrap();
}

#[test]
fn a_bad_tag_page_copy() {
    let fixture = Fixture::new();
    checkpoint(&fixture, |_| 1);
    let places = page_places(&fixture);
    clean(&fixture.check());
    flip(fixture.meta_disk(), places[0] + 100);
    let said = passes_with(&fixture.check(), "tag-page-crc", Severity::Warning);
    assert!(said.starts_with("tag page 0 copy A"), "{said}");
    // The one that counts: its older twin must not stand in.
    let fixture = Fixture::new();
    checkpoint(&fixture, |_| 1);
    flip(fixture.meta_disk(), places[1] + 100);
    let report = fixture.check();
    fails_by(&report, "tag-digest");
    only(&report, "tag-page-crc", Severity::Warning);
    assert!(fixture.opens().unwrap_err().contains("not the ones checkpoint"));
    flip(fixture.meta_disk(), places[0] + 100);
    let report = fixture.check();
    only(&report, "tag-page-lost", Severity::Error);
    let fixture = Fixture::new();
    checkpoint(&fixture, |_| 1);
    tamper(fixture.meta_disk(), places[0], 100);
    fails_by(&fixture.check(), "tag-page-mac");
}

#[test]
fn a_replayed_tag_page() {
    let fixture = Fixture::new();
    let places = page_places(&fixture);
    let old = read(fixture.meta_disk(), places[0], BLOCK);
    for _ in 0..3 {
        checkpoint(&fixture, |_| 1);
    }
    clean(&fixture.check());
    // Sequence 4 counts, in B; 3 is in A. Bring back sequence 1 in both.
    fixture.meta_disk().write_at(places[0], &old).unwrap();
    fixture.meta_disk().write_at(places[1], &old).unwrap();
    fails_by(&fixture.check(), "tag-digest");
}

#[test]
fn a_checkpoint_that_a_crash_cut_off() {
    let fixture = Fixture::new();
    let volume = fixture.open(true);
    let mut meta = volume.meta();
    meta.touch(crate::units::Extent(0));
    let _ = meta.begin_checkpoint(&TagTable::new(vec![Generation(1); 16].into_iter())).unwrap();
    drop(meta);
    passes_with(&fixture.check(), "checkpoint-cut-off", Severity::Note);
}

#[test]
fn tags_no_generation_stands_for() {
    let fixture = Fixture::new();
    checkpoint(&fixture, |extent| if extent == 5 { 9 } else { 1 });
    let report = fixture_check_without_open(&fixture);
    let finding = only(&report, "tag-unknown", Severity::Error);
    assert!(finding.what.contains("1 extents carry generation 9"), "{}", finding.what);
}

/// The volume no longer opens, so the disks are checked directly.
fn fixture_check_without_open(fixture: &Fixture) -> crate::volume::check::CheckReport {
    assert!(fixture.opens().is_err());
    fixture.check()
}

#[test]
fn tags_of_a_generation_that_must_not_have_any() {
    for state in [KeyState::Prepared, KeyState::Empty, KeyState::Disabled, KeyState::Scheduled] {
        let fixture = Fixture::new();
        fixture.rotate(1);
        fixture.change_table(|table| {
            table.rotation.rollback_to = None;
            table.entry_mut(Generation(1)).unwrap().state = state;
        });
        let said = fails_by(&fixture.check(), "tag-state");
        assert!(said.contains(&format!("which is {}", state.name())), "{said}");
    }
    // A key that is gone for good: what is under way under it is lost as well.
    let fixture = Fixture::new();
    fixture.rotate(1);
    fixture.change_table(|table| {
        table.rotation.rollback_to = None;
        table.entry_mut(Generation(1)).unwrap().state = KeyState::Destroyed;
    });
    let report = fixture.check_full();
    assert!(
        only(&report, "tag-state", Severity::Error).what.contains("16 extents carry generation 1, which is destroyed")
    );
    assert_eq!((report.named("ring-barred").count(), report.named("data-key").count()), (2, 16));
}
