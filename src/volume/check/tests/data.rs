//! Reading every extent.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::fixture::{Fixture, clean, only};
use crate::crypto::{EngineKind, Suite, TweakRule, Xts, new_key};
use crate::engine::{Disk, DiskCaps};
use crate::units::Generation;
use crate::volume::check::{Depth, Severity, check_disks};
use crate::volume::tests::hooked::{Hooked, Hooks};

/// A device that cannot read a range, or vouches for less.
struct Worn {
    gone: Range<u64>,
    granule: u32,
}

/// A disk so worn.
pub fn worn(disk: Arc<dyn Disk>, gone: Range<u64>, granule: u32) -> Arc<dyn Disk> {
    Arc::new(Hooked { disk, hooks: Worn { gone, granule } })
}

impl Hooks for Worn {
    fn read(&self, disk: &dyn Disk, offset: u64, data: &mut [u8]) -> io::Result<()> {
        if offset < self.gone.end && self.gone.start < offset + data.len() as u64 {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        disk.read_at(offset, data)
    }
    fn caps(&self, caps: DiskCaps) -> DiskCaps {
        DiskCaps { granule: self.granule, ..caps }
    }
}

#[test]
fn figures_of_a_half_full_volume() {
    let fixture = Fixture::new();
    let mut told = Vec::new();
    let depth = Depth { keks: Some(&fixture.keks), full: true, repair: false };
    let report = check_disks(fixture.data_disk(), None, depth, &mut |done, all| told.push((done, all))).unwrap();
    clean(&report);
    let data = report.data.unwrap();
    assert_eq!((data.extents, data.bytes_read, data.bytes_holes), (16, 8 << 16, 8 << 16));
    assert_eq!(data.bytes_agreed, 8 << 16);
    assert_eq!((told.len(), told[15]), (16, (1 << 20, 1 << 20)));
}

#[test]
fn an_extent_the_device_does_not_give_back() {
    let fixture = Fixture::new();
    let base = fixture.open(true).data_offset;
    let gone = base + (4 << 16) + 8192..base + (4 << 16) + 8704;
    let worn = worn(fixture.data_disk(), gone, 4096);
    let depth = |full| Depth { keks: Some(&fixture.keks), full, repair: false };
    clean(&check_disks(Arc::clone(&worn), None, depth(false), &mut |_, _| {}).unwrap());
    let report = check_disks(worn, None, depth(true), &mut |_, _| {}).unwrap();
    let finding = only(&report, "data-unreadable", Severity::Error);
    assert_eq!(finding.place, format!("extent 4, generation 1, data offset {}", base + (4 << 16) + 8192));
    assert_eq!((finding.backing.as_deref(), finding.offset), (Some("data"), Some(base + (4 << 16) + 8192)));
    assert_eq!(report.data.unwrap().extents_unread, 1);
    assert!(!report.passed);
}

#[test]
fn metadata_the_device_does_not_give_back() {
    let fixture = Fixture::new();
    let zones = fixture.open(true).meta().superblock.zones;
    for (place, name, severity) in [
        (zones.canaries.offset + 8192, "canary-unreadable", Severity::Error),
        (zones.tags.offset, "tag-page-unreadable", Severity::Error),
        (zones.ring.offset, "ring-unreadable", Severity::Warning),
        (zones.stamp.offset, "stamp-unreadable", Severity::Warning),
    ] {
        let worn = worn(fixture.data_disk(), place..place + 1, 4096);
        let depth = Depth { keks: Some(&fixture.keks), full: false, repair: false };
        let report = check_disks(worn, None, depth, &mut |_, _| {}).unwrap();
        only(&report, name, severity);
        assert_eq!(report.passed, severity == Severity::Warning);
    }
}

#[test]
fn a_device_that_vouches_for_less() {
    let fixture = Fixture::new();
    let worn = worn(fixture.data_disk(), 0..0, 512);
    let depth = Depth { keks: Some(&fixture.keks), full: false, repair: false };
    let report = check_disks(Arc::clone(&worn), None, depth, &mut |_, _| {}).unwrap();
    only(&report, "granule-unvouched", Severity::Warning);
    // And nobody may start to re-encrypt there.
    let volume = crate::volume::open::open_disks(worn, None, &fixture.keks, false, EngineKind::AwsLc).unwrap();
    let refused = Arc::new(volume).start_rotation(&fixture.keks, &super::fixture::spec()).unwrap_err();
    assert!(refused.to_string().contains("re-encryption could mix keys"), "{refused}");
}

/// The engines cannot be made to differ, so one of them gets another key.
#[test]
fn engines_that_disagree() {
    let fixture = Fixture::new();
    let mut report = fixture.check();
    let volume = fixture.open(true);
    let cipher = |engine| {
        Xts::new(engine, Suite::Aes256Xts, &new_key(Suite::Aes256Xts).unwrap(), 4096, TweakRule::own(4096)).unwrap()
    };
    let keyring = crate::volume::keyring::Keyring::default();
    keyring.insert(crate::volume::keyring::GenerationKey {
        generation: Generation(1),
        cipher: cipher(EngineKind::AwsLc),
        other: cipher(EngineKind::Portable),
        bytes: 0.into(),
        reserved: 0.into(),
    });
    let superblock = volume.meta().superblock.clone();
    let figures = crate::volume::check::data::read_extents_for_test(&*fixture.data, &superblock, &keyring, &mut report);
    assert_eq!(figures.bytes_agreed, 0);
    assert_eq!(report.named("engines-disagree").count(), 8, "the extents with data");
}
