//! Volumes as an earlier build made them: each must open, read-only and for writing, and give its plaintext back.
//!
//! An image is never regenerated to make a test pass. A format that cannot read one is a new version, and keeps reading
//! the old one. `generate` adds new images.

use std::sync::Arc;

use keymoult::crypto::EngineKind;
use keymoult::volume::Volume;
use keymoult::volume::check::{CheckReport, Depth, Severity, check_disks};
use keymoult::volume::open::open_disks;

use super::client::Client;
use super::image::{Image, Keks, all, as_disk, file_kek, passphrase_kek};
use super::reader;

/// Bytes of every golden volume: seven extents of 64 KiB and a short one.
pub const SIZE: u64 = 15 << 15;
/// Every golden image.
///
/// The number is the data unit; `on512` says that the granule is 512 bytes, as on a disk with such sectors.
pub const NAMES: [&str; 10] = [
    "attached-4096-idle",
    "attached-512-idle",
    "detached-4096-idle",
    "attached-4096-rotating",
    "attached-512-rotating",
    "detached-512-rotating",
    "detached-journal-rotating",
    "attached-128-finalized",
    "attached-three-generations",
    "attached-4096on512-rotating",
];

/// What was written into every golden volume: (offset, bytes).
pub const WRITES: [(u64, usize); 9] = [
    (0, 4096),
    (65_536 + 3584, 1024),
    (131_072, 8192),
    (196_608 + 512, 512),
    (262_144 + 61_440, 4096),
    (327_680 + 4096, 4096),
    (331_776 + 12_288, 512),
    (393_216 + 100, 50),
    (SIZE - 4096, 4096),
];

/// The byte every golden volume holds at `offset`, where something was written.
pub fn text(offset: u64) -> u8 {
    let mixed = (offset / 8 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (8 * (offset % 8))) as u8
}

/// The plaintext of every golden volume.
pub fn plaintext() -> Vec<u8> {
    let mut bytes = vec![0; SIZE as usize];
    for (offset, len) in WRITES {
        for at in offset..offset + len as u64 {
            bytes[at as usize] = text(at);
        }
    }
    bytes
}

fn open(image: &Image, keks: &Keks, read_only: bool, engine: EngineKind) -> (Arc<Volume>, Image) {
    let (data, header) = image.disks();
    let volume = open_disks(as_disk(&data), header.as_ref().map(as_disk), keks, read_only, engine);
    let volume = Arc::new(volume.unwrap());
    assert!(Client::new(&volume).read_all() == plaintext());
    (volume, Image { data: all(&*data), header: header.map(|header| all(&*header)) })
}

fn check(image: &Image, keks: &Keks) -> CheckReport {
    let (data, header) = image.disks();
    let depth = Depth { keks: Some(keks), full: true, repair: false };
    check_disks(as_disk(&data), header.as_ref().map(as_disk), depth, &mut |_, _| {}).unwrap()
}

#[track_caller]
fn passes(report: &CheckReport) {
    let bad: Vec<_> = report.findings.iter().filter(|finding| finding.severity > Severity::Note).collect();
    assert!(report.passed && bad.is_empty(), "{bad:#?}");
}

fn holds(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let keks: Keks = vec![file_kek(folder.path())];
    let image = Image::load(name);
    for engine in EngineKind::available() {
        let (volume, after) = open(&image, &keks, true, engine);
        assert_eq!(volume.recovered().rolled_forward > 0, name.ends_with("rotating"), "{name}");
        assert!(after.data == image.data && after.header == image.header, "{name}: read-only wrote something");
    }
    passes(&check(&image, &keks));
    assert!(reader::read(&image, &folder.path().join("kek")) == plaintext(), "{name}: by FORMAT.md alone");
    let (volume, after) = open(&image, &keks, false, EngineKind::AwsLc);
    let recovered = volume.recovered().clone();
    assert_eq!(recovered.rolled_forward > 0, name.ends_with("rotating"), "{name}: {recovered:?}");
    drop(volume);
    let report = check(&after, &keks);
    passes(&report);
    assert!(report.live_intents.is_empty(), "{name}: recovery leaves no live intent");
    assert!(reader::read(&after, &folder.path().join("kek")) == plaintext(), "{name}: after recovery");
    // Opening again finds nothing to do.
    let (volume, again) = open(&after, &keks, false, EngineKind::Portable);
    assert_eq!(volume.recovered().rolled_forward, 0);
    assert!(again.data == after.data && again.header == after.header, "{name}: the second open wrote something");
}

macro_rules! golden {
    ($($test:ident: $index:literal,)*) => {
        $(#[test] fn $test() { holds(NAMES[$index]); })*
    };
}

golden! {
    attached_4096_idle: 0,
    attached_512_idle: 1,
    detached_4096_idle: 2,
    attached_4096_rotating: 3,
    attached_512_rotating: 4,
    detached_512_rotating: 5,
    detached_journal_rotating: 6,
    attached_128_finalized: 7,
    attached_three_generations: 8,
    attached_4096on512_rotating: 9,
}

#[test]
fn a_passphrase_opens_too() {
    let folder = tempfile::tempdir().unwrap();
    let keks: Keks = vec![passphrase_kek(folder.path())];
    open(&Image::load("attached-4096-idle"), &keks, true, EngineKind::AwsLc);
}

/// What makes each image worth keeping is still in it.
#[test]
fn images_are_what_their_names_say() {
    let folder = tempfile::tempdir().unwrap();
    let keks: Keks = vec![file_kek(folder.path())];
    for name in NAMES {
        let image = Image::load(name);
        let (volume, _) = open(&image, &keks, true, EngineKind::AwsLc);
        let report = check(&image, &keks);
        assert_eq!(volume.is_detached(), name.starts_with("detached"), "{name}");
        assert_eq!(volume.shape().data_unit == 512, name.contains("-512"), "{name}");
        assert_eq!(volume.mode() == keymoult::format::layout::WriteMode::Journal, name.contains("journal"), "{name}");
        assert_eq!(report.live_intents.len() > 1, name.ends_with("rotating"), "{name}");
        let data = report.data.unwrap();
        let mixed = data.granules_old > 0 && data.granules_new > 0;
        assert_eq!(mixed, name.ends_with("rotating") && !name.contains("journal"), "{name}: {data:?}");
        let generations = report.census.len();
        assert_eq!(generations, if name.contains("three") { 3 } else { 1 + usize::from(name.ends_with("rotating")) });
    }
    let granules: Vec<u32> =
        NAMES.iter().map(|name| open(&Image::load(name), &keks, true, EngineKind::AwsLc).0.shape().granule).collect();
    assert!(granules.contains(&512) && granules.contains(&4096), "{granules:?}");
}
