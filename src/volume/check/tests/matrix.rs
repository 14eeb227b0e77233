//! Every structure × every kind of damage: each planted alone, each found by its name at its own byte offset.

use std::sync::Arc;

use super::data::worn;
use super::fixture::{Fixture, at, bad, clean, explained, fails_by, flip, only, read, tamper};
use crate::engine::Disk;
use crate::engine::mem::MemDisk;
use crate::format::generations::KeyState;
use crate::format::intents::slot_of;
use crate::format::layout::{GENERATIONS_COPY, SUPERBLOCK_A, SUPERBLOCK_B};
use crate::format::{canary, stamp};
use crate::keys::{FileKek, Kek};
use crate::units::{BLOCK, Generation};
use crate::volume::check::{CheckReport, Depth, Severity, catalogue, check_disks};
use crate::volume::create::ModeChoice;
use crate::volume::info::tag_page_places;

/// A structure, where its one damaged copy stands, and how bad that is.
struct Structure {
    name: &'static str,
    backing: &'static str,
    place: u64,
    len: u64,
    /// Whether the volume counts on it.
    counts: bool,
    /// Damage by accident.
    accident: Severity,
}

/// A volume in the middle of a rotation, and every structure on it.
fn structures(fixture: &Fixture) -> Vec<Structure> {
    let volume = fixture.open(true);
    let meta = volume.meta();
    let (zones, superblock) = (meta.superblock.zones, &meta.superblock);
    let ring = zones.ring.offset + u64::from(slot_of(2, superblock.ring_slots)) * u64::from(superblock.slot_size);
    let size = u64::from(superblock.slot_size);
    let counting = [meta.superblock_sequence(), meta.table_sequence()].map(crate::format::layout::copy_of);
    let (table, page) =
        (zones.generations.offset, tag_page_places(superblock, 0)[usize::from(meta.page(0).unwrap().copy)]);
    let of = |name, place, len, counts| {
        let accident =
            if matches!(name, "superblock" | "table" | "stamp") { Severity::Warning } else { Severity::Error };
        let backing = if name == "stamp" { "data" } else { "header" };
        Structure { name, backing, place, len, counts, accident }
    };
    vec![
        of("superblock", SUPERBLOCK_A, BLOCK, counting[0] == 0),
        of("superblock", SUPERBLOCK_B, BLOCK, counting[0] == 1),
        of("table", table, GENERATIONS_COPY, counting[1] == 0),
        of("table", table + GENERATIONS_COPY, GENERATIONS_COPY, counting[1] == 1),
        of("tag-page", page, BLOCK, true),
        of("canary", zones.canaries.offset + canary::SLOT, canary::SLOT, true),
        of("ring", ring, size, true),
        of("stamp", zones.stamp.offset, BLOCK, true),
        of("stamp", zones.stamp.offset + BLOCK, BLOCK, false),
    ]
}

fn rotating() -> Fixture {
    let fixture = Fixture::with(true, 1, ModeChoice::InPlace);
    fixture.rotate(3);
    assert!(fixture.check().passed);
    fixture
}

/// Plants, checks, and takes back what was planted.
fn planted(fixture: &Fixture, structure: &Structure, plant: impl FnOnce(&MemDisk)) -> CheckReport {
    let disk = if structure.backing == "data" { &*fixture.data } else { fixture.meta_disk() };
    let before = read(disk, structure.place, structure.len);
    plant(disk);
    let report = fixture.check();
    disk.write_at(structure.place, &before).unwrap();
    report
}

#[track_caller]
fn found(report: &CheckReport, structure: &Structure, kind: &str, severity: Severity) {
    let finding = only(report, &format!("{}-{kind}", structure.name), severity).clone();
    assert_eq!(
        (finding.backing.as_deref(), finding.offset),
        (Some(structure.backing), Some(structure.place)),
        "{finding:?}"
    );
}

#[test]
fn a_flipped_bit_in_every_class_of_field() {
    let fixture = rotating();
    for structure in structures(&fixture) {
        let disk = if structure.backing == "data" { &*fixture.data } else { fixture.meta_disk() };
        let length = read(disk, structure.place + 12, 4);
        let length = u64::from(u32::from_le_bytes(length.try_into().unwrap()));
        let fields = [
            ("magic", 3, "missing"),
            ("version", 8, "newer"),
            ("length", 12, "crc"),
            ("sequence", 16, "crc"),
            ("body", 24, "crc"),
            ("end of the body", 24 + length - 1, "crc"),
            ("MAC", 24 + length, "crc"),
            ("CRC", 24 + length + 32, "crc"),
        ];
        for (field, offset, kind) in fields {
            let report = planted(&fixture, &structure, |disk| flip(disk, structure.place + offset));
            let severity = match (structure.name, kind) {
                ("ring", _) => Severity::Error,
                (_, "newer") => Severity::Error,
                _ => structure.accident,
            };
            println!("{} {field}", structure.name);
            found(&report, &structure, kind, severity);
            // Where the copy that counts is lost an older one does; what that says may fail the check by itself.
            if !structure.counts {
                assert!(report.passed == (severity == Severity::Warning), "{field}: {:#?}", bad(&report));
            }
        }
    }
    clean_but_for_the_rotation(&fixture.check());
}

/// The rotation was cut off; nothing else is the matter.
fn clean_but_for_the_rotation(report: &CheckReport) {
    assert!(bad(report).iter().all(|finding| finding.name == "ring-live"), "{:#?}", bad(report));
}

#[test]
fn a_changed_field_with_a_right_crc() {
    let fixture = rotating();
    for structure in structures(&fixture) {
        for offset in [16, 24] {
            let report = planted(&fixture, &structure, |disk| tamper(disk, structure.place, offset));
            let names: Vec<&str> = bad(&report).iter().map(|finding| finding.name.as_str()).collect();
            // A sequence that grew makes a superblock or table copy count; its fields are judged as well.
            let mac = format!("{}-mac", structure.name);
            let field = format!("{}-field", structure.name);
            let foreign = "superblock-foreign";
            assert!(names.iter().any(|name| *name == mac || *name == field || *name == foreign), "{mac}: {names:?}");
            assert!(!report.passed);
        }
    }
}

#[test]
fn a_zeroed_block() {
    let fixture = rotating();
    for structure in structures(&fixture) {
        let report = planted(&fixture, &structure, |disk| {
            disk.write_at(structure.place, &vec![0; structure.len as usize]).unwrap();
        });
        match structure.name {
            // A slot of zeros is like one never written: what names it is the gap.
            "ring" => assert!(only(&report, "ring-gap", Severity::Error).what.contains("record 2")),
            // Copy B was never written: now both are zero.
            "tag-page" => {
                let zero: Vec<_> = report.named("tag-page-zero").map(|finding| finding.offset).collect();
                assert!(zero.len() == 2 && zero.contains(&Some(structure.place)), "{zero:?}");
                only(&report, "tag-page-lost", Severity::Error);
            }
            _ => found(&report, &structure, "zero", structure.accident),
        }
    }
}

#[test]
fn a_block_the_device_does_not_give_back() {
    let fixture = rotating();
    for structure in structures(&fixture) {
        let spoilt = |disk: Arc<dyn Disk>, backing: &str| -> Arc<dyn Disk> {
            let gone = if backing == structure.backing { structure.place..structure.place + 1 } else { 0..0 };
            worn(disk, gone, 4096)
        };
        let (data, header) = (spoilt(fixture.data_disk(), "data"), spoilt(fixture.header_disk().unwrap(), "header"));
        let before = fixture.bytes();
        let depth = Depth { keks: Some(&fixture.keks), full: false, repair: true };
        let report = explained(check_disks(data, Some(header), depth, &mut |_, _| {}).unwrap());
        let severity = if structure.name == "ring" { Severity::Warning } else { structure.accident };
        found(&report, &structure, "unreadable", severity);
        assert!(report.repaired.is_empty() && before == fixture.bytes(), "it may be the newer one");
    }
}

#[test]
fn both_copies_the_device_does_not_give_back() {
    let fixture = Fixture::new();
    let table = fixture.open(true).meta().superblock.zones.generations.offset;
    for (gone, name) in
        [(0..SUPERBLOCK_B + 1, "superblock-unreadable"), (table..table + GENERATIONS_COPY + 1, "table-unreadable")]
    {
        let worn = worn(fixture.data_disk(), gone, 4096);
        let depth = Depth { keks: Some(&fixture.keks), full: false, repair: false };
        let report = check_disks(worn, None, depth, &mut |_, _| {}).unwrap();
        let found: Vec<_> = report.named(name).collect();
        assert!(found.len() == 2 && found.iter().all(|finding| finding.severity == Severity::Error), "{found:#?}");
        assert!(!report.passed);
    }
}

#[test]
fn a_header_cut_short() {
    let fixture = Fixture::with(true, 1, ModeChoice::InPlace);
    let whole = fixture.bytes();
    let short = MemDisk::new(whole.len() - (2 << 20));
    short.write_at(0, &whole[..whole.len() - (2 << 20)]).unwrap();
    let depth = Depth { keks: Some(&fixture.keks), full: false, repair: false };
    let report = explained(check_disks(fixture.data_disk(), Some(Arc::new(short)), depth, &mut |_, _| {}).unwrap());
    assert!(fails_by(&report, "backing-truncated").starts_with("the header backing"));
}

#[test]
fn structures_of_another_volume() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    let place = fixture.open(true).meta().superblock.zones.generations.offset;
    // Its table, in both copies, and its KEK: the wraps are bound to their volume.
    let table = read(other.meta_disk(), place, 2 * GENERATIONS_COPY);
    let own = read(fixture.meta_disk(), place, 2 * GENERATIONS_COPY);
    fixture.meta_disk().write_at(place, &table).unwrap();
    let keks: super::fixture::Keks = vec![Kek::unwitnessed(FileKek::open(&other.folder.path().join("kek0")).unwrap())];
    let report = fixture.check_with(Depth { keks: Some(&keks), full: false, repair: false });
    assert_eq!(report.named("wrap-tampered").count(), 1, "{:#?}", bad(&report));
    only(&report, "key-missing", Severity::Error);
    fixture.meta_disk().write_at(place, &own).unwrap();
    clean(&fixture.check());
    // Its superblock, with a sequence that counts.
    let strange = other.open(true).meta().superblock.clone().seal(&other.open(true).meta().seal, 9);
    fixture.meta_disk().write_at(SUPERBLOCK_A, &strange).unwrap();
    let report = fixture.check();
    at(&report, "superblock-foreign", Severity::Error, SUPERBLOCK_A);
    assert!(!report.passed);
    // Its stamp, canary and tag page.
    for (index, name) in [(0, "stamp-mac"), (1, "canary-mac"), (2, "tag-page-mac")] {
        let fixture = Fixture::new();
        let zones = fixture.open(true).meta().superblock.zones;
        let place = [zones.stamp.offset, zones.canaries.offset + canary::SLOT, zones.tags.offset][index];
        let block = read(&*other.data, place, if name == "canary-mac" { canary::SLOT } else { BLOCK });
        fixture.data.write_at(place, &block).unwrap();
        assert_eq!(fixture.check().named(name).count(), 1, "{name}");
    }
}

#[test]
fn a_ring_record_of_another_volume() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    fixture.rotate(3);
    other.rotate(3);
    let superblock = fixture.open(true).meta().superblock.clone();
    let size = u64::from(superblock.slot_size);
    let place = superblock.zones.ring.offset + u64::from(slot_of(3, superblock.ring_slots)) * size;
    fixture.data.write_at(place, &read(&*other.data, place, size)).unwrap();
    at(&fixture.check(), "ring-mac", Severity::Error, place);
}

#[test]
fn a_live_intent_whose_key_is_put_away() {
    for (state, severity) in [
        (KeyState::Disabled, Severity::Warning),
        (KeyState::Scheduled, Severity::Warning),
        (KeyState::Destroyed, Severity::Error),
    ] {
        let fixture = Fixture::new();
        fixture.rotate(3);
        fixture.change_table(|table| {
            table.rotation.rollback_to = None;
            table.entry_mut(Generation(1)).unwrap().state = state;
        });
        let report = fixture.check();
        let found: Vec<_> = report.named("ring-barred").collect();
        assert_eq!(found.len(), 4, "{:#?}", bad(&report));
        assert!(found.iter().all(|finding| finding.severity == severity && finding.what.contains(state.name())));
    }
}

#[test]
fn a_table_whose_generations_point_at_each_others_canaries() {
    let fixture = Fixture::new();
    fixture.rotate(1);
    fixture.change_table(|table| {
        let slots = [table.entries[2].canary_slot, table.entries[1].canary_slot];
        (table.entries[1].canary_slot, table.entries[2].canary_slot) = (slots[0], slots[1]);
    });
    let report = fixture.check();
    assert_eq!(report.named("canary-wrong").count(), 2, "{:#?}", bad(&report));
}

#[test]
fn a_stamp_from_the_future_is_a_stale_header() {
    let fixture = Fixture::new();
    let old = fixture.bytes();
    fixture.rotate_all();
    let (zones, seal) = {
        let volume = fixture.open(true);
        let meta = volume.meta();
        (meta.superblock.zones, Arc::clone(&meta.seal))
    };
    // The whole header as it was before the rotation, over data and stamp of now.
    fixture.meta_disk().write_at(0, &old[..zones.data.offset as usize]).unwrap();
    assert!(fails_by(&fixture.check(), "epoch-stale").contains("the header is older"));
    let block = stamp::seal(&seal, 9);
    fixture.data.write_at(zones.stamp.offset + BLOCK, &block).unwrap();
    assert!(fails_by(&fixture.check(), "epoch-stale").contains("epoch 9"));
}

#[test]
fn the_catalogue_names_each_thing_once() {
    let names = catalogue::names();
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len());
    for name in &names {
        let entry = catalogue::entry(name).unwrap();
        assert!(entry.means.len() > 10, "{name}");
    }
    assert_eq!(catalogue::entry("ok"), None);
    assert_eq!(catalogue::entry("superblock-haunted"), None);
}
