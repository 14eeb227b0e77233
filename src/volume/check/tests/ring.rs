//! The intent ring, live and dead, and what refers to which generation.

use super::fixture::{Fixture, bad, fails_by, flip, only, passes_with, tamper};
use crate::engine::Disk;
use crate::format::intents::{Image, Intent, Record, slot_of};
use crate::units::{BLOCK, Extent, Generation};
use crate::volume::check::Severity;
use crate::volume::create::ModeChoice;

fn slot_place(fixture: &Fixture, sequence: u64) -> u64 {
    let volume = fixture.open(true);
    let meta = volume.meta();
    let slot = slot_of(sequence, meta.superblock.ring_slots);
    meta.superblock.zones.ring.offset + u64::from(slot) * u64::from(meta.superblock.slot_size)
}

#[test]
fn live_intents_are_listed() {
    for mode in [ModeChoice::InPlace, ModeChoice::Journal] {
        let fixture = Fixture::with(true, 1, mode);
        fixture.rotate(3);
        let report = fixture.check_full();
        passes_with(&report, "ring-live", Severity::Note);
        let live: Vec<_> =
            report.live_intents.iter().map(|live| (live.extent, live.old, live.new, live.record)).collect();
        // Step 1 wrote the intents of 0 and 1; step 3 committed them; 2 to 5 are under way.
        assert_eq!(live, [(2, 1, 2, 2), (3, 1, 2, 2), (4, 1, 2, 3), (5, 1, 2, 3)]);
        assert_eq!(report.census.iter().map(|(tag, count)| (*tag, *count)).collect::<Vec<_>>(), [(1, 14), (2, 2)]);
        let old = &report.references[0];
        assert_eq!((old.generation, old.extents, old.live_intents, old.proven_empty), (1, 14, 4, false));
        assert!(old.page_tags == 16 && old.ring_records == 3);
        let data = report.data.unwrap();
        assert_eq!((data.extents, data.extents_unread), (16, 0));
        if mode == ModeChoice::InPlace {
            // Extents 2 and 4 hold data: 2 was rewritten, 4 was not. 16 granules of 4096 bytes each.
            assert_eq!((data.granules_old, data.granules_new), (16, 16));
        }
    }
}

#[test]
fn nothing_refers_to_the_old_generation_after_finalize() {
    let fixture = Fixture::new();
    let target = fixture.rotate_all();
    let report = fixture.check_full();
    assert!(report.passed && bad(&report).is_empty(), "{:#?}", bad(&report));
    let (old, new) = (&report.references[0], &report.references[1]);
    assert!(old.proven_empty && old.state == "empty");
    assert_eq!((old.extents, old.page_tags, old.ring_records, old.live_intents), (0, 0, 0, 0));
    assert!(new.is_target && new.generation == target.0 && new.extents == 16);
    let said = report.findings.iter().find(|finding| finding.place == "generation 1 (empty)").unwrap();
    assert_eq!(said.what, "0 extents, 0 page tags, 0 ring records, 0 live intents refer to it");
    // Without keys the same figures prove nothing.
    assert!(!fixture.check_without_keys().references[0].proven_empty);
}

#[test]
fn a_missing_record_is_a_gap() {
    let fixture = Fixture::new();
    fixture.rotate(3);
    flip(fixture.meta_disk(), slot_place(&fixture, 2) + 200);
    let report = fixture.check();
    assert!(only(&report, "ring-gap", Severity::Error).what.contains("record 2"));
    assert!(!report.passed && fixture.opens().is_err());
    assert_eq!(fixture.check_without_keys().named("ring-gap").count(), 1);
}

#[test]
fn a_torn_last_record_is_expected() {
    let fixture = Fixture::new();
    fixture.rotate(3);
    let next = slot_place(&fixture, 4);
    let third = super::fixture::read(fixture.meta_disk(), slot_place(&fixture, 3), BLOCK);
    fixture.meta_disk().write_at(next, &third[..256]).unwrap();
    let report = fixture.check();
    assert!(report.passed);
    only(&report, "ring-torn", Severity::Note);
    only(&report, "ring-live", Severity::Note);
}

#[test]
fn a_rotten_dead_record_is_a_warning() {
    let fixture = Fixture::new();
    fixture.rotate_all();
    flip(fixture.meta_disk(), slot_place(&fixture, 1) + 200);
    passes_with(&fixture.check(), "ring-crc", Severity::Warning);
}

#[test]
fn a_forged_record() {
    for sequence in [1, 3] {
        let fixture = Fixture::new();
        fixture.rotate(3);
        tamper(fixture.meta_disk(), slot_place(&fixture, sequence), 40);
        let report = fixture.check();
        only(&report, "ring-mac", Severity::Error);
        assert!(!report.passed && fixture.opens().is_err());
    }
}

fn put(fixture: &Fixture, sequence: u64, old: u32, new: u32) {
    let volume = fixture.open(true);
    let granules = (volume.shape().extent_size / u64::from(volume.shape().granule)) as usize;
    let image = Image::Fingerprints(vec![1; granules]);
    let intent = Intent { extent: Extent(9), old: Generation(old), new: Generation(new), image };
    let record = Record { sequence, commits: Vec::new(), intents: vec![intent] };
    volume.meta().write_record(&record).unwrap();
}

#[test]
fn records_against_tags_and_generations() {
    let fixture = Fixture::new();
    put(&fixture, 1, 2, 1);
    let report = fixture.check();
    assert!(only(&report, "ring-contradiction", Severity::Error).what.contains("extent 9"));
    let fixture = Fixture::new();
    put(&fixture, 1, 1, 7);
    assert!(fails_by(&fixture.check(), "ring-generation").contains("generation 7"));
}
