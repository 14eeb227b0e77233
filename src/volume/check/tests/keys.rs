//! KEKs, wraps, canaries.

use super::fixture::{Fixture, Keks, bad, clean, fails_by, flip, only, tamper};
use crate::crypto::{Secret, Suite, new_key};
use crate::format::canary::{self, Canary};
use crate::keys::{FileKek, Kek, WrapPurpose};
use crate::units::Generation;
use crate::volume::check::{Depth, Severity};
use crate::volume::create::ModeChoice;

fn other_kek(fixture: &Fixture) -> Keks {
    vec![Kek::unwitnessed(FileKek::create(&fixture.folder.path().join("other")).unwrap())]
}

#[test]
fn a_wrong_key_opens_nothing() {
    let fixture = Fixture::new();
    let keks = other_kek(&fixture);
    let report = fixture.check_with(Depth { keks: Some(&keks), full: true, repair: true });
    fails_by(&report, "key-missing");
    only(&report, "wrap-untried", Severity::Note);
    only(&report, "data-not-read", Severity::Note);
    assert!(report.references.is_empty(), "nothing unauthenticated is reported as if it were");
}

#[test]
fn one_of_two_keks_is_enough() {
    let fixture = Fixture::with(false, 2, ModeChoice::InPlace);
    clean(&fixture.check());
    let one: Keks = vec![Kek::unwitnessed(FileKek::open(&fixture.folder.path().join("kek1")).unwrap())];
    let report = fixture.check_with(Depth { keks: Some(&one), full: true, repair: false });
    assert!(report.passed);
    assert_eq!(report.named("wrap-untried").count(), 2, "the metadata key's and generation 1's first wraps");
    assert_eq!(bad(&report).len(), 2);
}

#[test]
fn a_changed_wrap() {
    let fixture = Fixture::with(false, 2, ModeChoice::InPlace);
    fixture.change_table(|table| table.entries[1].wraps[0].blob[3] ^= 1);
    let said = fails_by(&fixture.check(), "wrap-tampered");
    assert!(said.starts_with("generation 1, wrap 0 (file file-"), "{said}");
    assert!(fixture.opens().is_ok(), "the other wrap still opens it");
}

#[test]
fn a_wrap_of_another_key() {
    let fixture = Fixture::with(false, 2, ModeChoice::InPlace);
    let volume = fixture.open(true).id();
    let wrong = new_key(Suite::Aes256Xts).unwrap();
    fixture.change_table(|table| {
        let entry = &mut table.entries[1];
        let purpose = WrapPurpose { volume, generation: entry.generation, key_id: entry.key_id, suite: entry.suite };
        entry.wraps[1] = fixture.keks[1].wrap(&purpose, &wrong).unwrap();
    });
    let said = fails_by(&fixture.check(), "wrap-differs");
    assert!(said.starts_with("generation 1, wrap 1"), "{said}");
}

#[test]
fn a_key_that_is_not_the_one_that_encrypted() {
    let fixture = Fixture::new();
    let volume = fixture.open(true).id();
    let wrong = new_key(Suite::Aes256Xts).unwrap();
    fixture.change_table(|table| {
        let entry = &mut table.entries[1];
        let purpose = WrapPurpose { volume, generation: entry.generation, key_id: entry.key_id, suite: entry.suite };
        entry.wraps = vec![fixture.keks[0].wrap(&purpose, &wrong).unwrap()];
    });
    fails_by(&fixture.check(), "canary-wrong");
    // With the data: none of its extents can be read either.
    let report = fixture.check_full();
    assert_eq!(report.named("data-key").count(), 16);
    assert!(!report.passed);
}

fn canary_place(fixture: &Fixture) -> u64 {
    fixture.open(true).meta().superblock.zones.canaries.offset + canary::SLOT
}

#[test]
fn canaries_rotten_forged_and_swapped() {
    let fixture = Fixture::new();
    let place = canary_place(&fixture);
    flip(fixture.meta_disk(), place + 100);
    fails_by(&fixture.check(), "canary-crc");
    let fixture = Fixture::new();
    tamper(fixture.meta_disk(), place, 100);
    fails_by(&fixture.check(), "canary-mac");
    let fixture = Fixture::new();
    let volume = fixture.open(true);
    let forged = Canary { generation: Generation(1), ciphertext: vec![7; canary::LEN] };
    let block = forged.seal(&volume.meta().seal, 1);
    crate::engine::Disk::write_at(fixture.meta_disk(), place, &block).unwrap();
    fails_by(&fixture.check(), "canary-wrong");
}

#[test]
fn a_suite_this_build_does_not_know() {
    let fixture = Fixture::new();
    fixture.change_table(|table| {
        let mut entry = table.entries[1].clone();
        (entry.generation, entry.canary_slot, entry.suite) = (Generation(2), 2, 77);
        entry.state = crate::format::generations::KeyState::Prepared;
        table.entries.push(entry);
    });
    fails_by(&fixture.check(), "suite-unknown");
}

#[test]
fn a_disabled_key_may_be_out_of_reach() {
    let fixture = Fixture::with(false, 1, ModeChoice::InPlace);
    let volume = fixture.open(true).id();
    let other = other_kek(&fixture);
    let purpose = WrapPurpose { volume, generation: Generation(2), key_id: [9; 16], suite: 1 };
    let wrap = other[0].wrap(&purpose, &Secret::random(64).unwrap()).unwrap();
    fixture.change_table(|table| {
        let mut entry = table.entries[1].clone();
        (entry.generation, entry.canary_slot, entry.key_id) = (Generation(2), 2, [9; 16]);
        entry.state = crate::format::generations::KeyState::Disabled;
        entry.wraps = vec![wrap];
        table.entries.push(entry);
    });
    let report = fixture.check();
    assert!(report.passed, "{:#?}", bad(&report));
    only(&report, "key-missing", Severity::Note);
}
