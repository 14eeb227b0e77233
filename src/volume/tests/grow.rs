//! Growth on disks that work: what it gives, what it refuses, and what is done about one that was cut off.
//! `crashes`, `failures` and `controls` have the rest.

use std::io;
use std::sync::Arc;

use super::hooked::{Hooked, Hooks};
use super::kek::OpenKek;
use super::rig::{Client, Disks, Rig, engine, shape};
use crate::crypto::{EngineKind, Suite};
use crate::engine::{Disk, mem::MemDisk};
use crate::format::layout::{Place, Shape, WriteMode};
use crate::units::{BLOCK, Generation};
use crate::volume::background::kept;
use crate::volume::check::{CheckReport, Depth, Severity, check_disks};
use crate::volume::life::By;
use crate::volume::{Volume, VolumeError};

const EXTENT: u64 = 64 << 10;
/// Three extents and a half.
const SIZE: u64 = 3 * EXTENT + EXTENT / 2;

fn small() -> Shape {
    shape(SIZE, 4096, 4096, WriteMode::InPlace)
}

fn grow(volume: &Arc<Volume>, size: u64) -> Result<u64, VolumeError> {
    volume.grow(size, &mut |_, _| true)
}

fn why(refused: Result<u64, VolumeError>) -> String {
    match refused {
        Err(VolumeError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

fn pattern(len: u64, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at / 509) as u8 ^ seed | 1).collect()
}

#[test]
fn it_keeps_what_was_there_adds_zeros_and_goes_on_as_any_volume() {
    for (mode, detached) in [(WriteMode::InPlace, false), (WriteMode::InPlace, true), (WriteMode::Journal, false)] {
        let mut rig = Rig::new(&Shape { mode, ..small() }, Suite::Aes256Xts, detached, EngineKind::AwsLc);
        // The last extent, short as it is, gets records in the ring: they must not outlive its length.
        let mut content = pattern(SIZE, 3);
        rig.client.write(0, &content).unwrap();
        rig.start_rotation(Suite::Aes256Xts);
        rig.rotate().unwrap();
        for size in [SIZE + BLOCK, SIZE + 2 * BLOCK, 4 * EXTENT, 9 * EXTENT + BLOCK] {
            let before = rig.volume.size();
            assert_eq!(grow(&rig.volume, size).unwrap(), before);
            assert_eq!((rig.volume.size(), rig.volume.shape().size), (size, size));
            content.resize(size as usize, 0);
            assert!(rig.client.content() == content, "{mode:?}: what it gains are zeros, the rest is as it was");
            let more = pattern(size - before, size as u8);
            rig.client.write(before, &more).unwrap();
            content[before as usize..].copy_from_slice(&more);
            rig.reopen();
            assert_eq!(rig.volume.size(), size);
            assert!(rig.client.content() == content);
        }
        let target = rig.target();
        assert_eq!(rig.volume.census().into_iter().collect::<Vec<_>>(), [(target, 10)]);
        rig.start_rotation(Suite::Aes128Xts);
        rig.rotate().unwrap();
        assert!(rig.client.content() == content);
        rig.reopen();
        assert!(rig.client.content() == content);
        assert_eq!(rig.volume.census().into_iter().collect::<Vec<_>>(), [(Generation(target.0 + 1), 10)]);
    }
}

/// Tags are mixed while a rotation is held; what is added carries its target, and the rotation ends as if it had been there.
#[test]
fn a_rotation_that_is_held_is_no_obstacle_and_goes_on_either_way() {
    for back in [false, true] {
        let mut rig = Rig::new(&small(), Suite::Aes256Xts, false, EngineKind::AwsLc);
        let mut content = pattern(SIZE, 9);
        rig.client.write(0, &content).unwrap();
        rig.client.flush().unwrap();
        let target = rig.start_rotation(Suite::Aes256Xts);
        rig.step(2).unwrap();
        assert!(why(grow(&rig.volume, 8 * EXTENT)).contains("pause"), "an intent is live");
        rig.pipeline.drain(target).unwrap();
        assert_eq!(rig.behind().len(), 2);
        grow(&rig.volume, 8 * EXTENT).unwrap();
        assert_eq!(rig.behind().len(), 2, "what is added carries the target");
        content.resize(8 * EXTENT as usize, 0);
        let more = pattern(EXTENT, 1);
        rig.client.write(SIZE - BLOCK, &more).unwrap();
        content[(SIZE - BLOCK) as usize..][..more.len()].copy_from_slice(&more);
        rig.client.flush().unwrap();
        if back {
            rig.volume.roll_back(&By::daemon("test", 3)).unwrap();
        }
        rig.rotate().unwrap();
        assert!(rig.client.content() == content);
        rig.reopen();
        assert!(rig.client.content() == content);
    }
}

#[test]
fn what_cannot_be_is_refused_with_the_reason_and_changes_nothing() {
    let mut rig = Rig::new(&small(), Suite::Aes256Xts, false, EngineKind::AwsLc);
    let (len, before) = (rig.disks.data.len().unwrap(), rig.volume.metadata_bytes());
    assert!(why(grow(&rig.volume, SIZE - BLOCK)).contains("cannot shrink"));
    assert!(why(grow(&rig.volume, SIZE + 512)).contains("no multiple of 4096"));
    assert!(why(grow(&rig.volume, (8 << 20) + BLOCK)).contains("--max-size"));
    assert_eq!(grow(&rig.volume, SIZE).unwrap(), SIZE, "what it has already is no error");
    assert_eq!((rig.disks.data.len().unwrap(), rig.volume.metadata_bytes()), (len, before));
    let read_only = Arc::new(rig.disks.open(&rig.keks, EngineKind::AwsLc, true).unwrap());
    assert!(why(grow(&read_only, 8 * EXTENT)).contains("read-only"));
    rig.volume.poison("test");
    assert!(matches!(grow(&rig.volume, 8 * EXTENT), Err(VolumeError::Poisoned(_))));
    kept::run_all();
    rig.reopen();
    assert!(matches!(grow(&rig.volume, SIZE), Err(VolumeError::Poisoned(_))));
}

/// Longer than the volume needs, and full of what somebody left there.
#[test]
fn what_stands_behind_the_volume_does_not_show() {
    let plan = crate::format::layout::plan(&small(), false);
    let data = MemDisk::new(plan.data_len as usize + (4 << 20));
    data.write_at(plan.data_len, &vec![0xee; 4 << 20]).unwrap();
    let disks = Disks { data: Arc::new(data), header: None };
    disks.create(&small(), Suite::Aes256Xts, &OpenKek::list());
    let mut rig = Rig::on(disks, OpenKek::list(), EngineKind::AwsLc);
    let mut told = Vec::new();
    let grown = rig.volume.grow(20 * EXTENT, &mut |done, total| {
        told.push((done, total));
        true
    });
    assert_eq!(grown.unwrap(), SIZE);
    assert_eq!(
        told,
        [(20 * EXTENT - SIZE, 20 * EXTENT - SIZE)],
        "all of it, the old stamp aside, the new one included"
    );
    assert!(rig.client.content().iter().all(|byte| *byte == 0));
    let cut = rig.volume.grow(30 * EXTENT, &mut |_, _| false);
    assert!(why(cut).contains("cut short"));
    assert_eq!((rig.volume.size(), rig.volume.poisoned()), (20 * EXTENT, None));
    rig.reopen();
    assert_eq!(rig.volume.size(), 20 * EXTENT);
}

/// A device of a fixed length.
struct Fixed;

impl Hooks for Fixed {
    fn set_len(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[test]
fn a_device_that_is_too_small_says_how_large_it_must_be() {
    let disks = Disks::in_memory(&small(), true);
    disks.create(&small(), Suite::Aes256Xts, &OpenKek::list());
    let data = Arc::new(Hooked { disk: Arc::clone(&disks.data), hooks: Fixed });
    let rig = Rig::on(Disks { data, ..disks }, OpenKek::list(), EngineKind::AwsLc);
    let why = why(grow(&rig.volume, 8 * EXTENT));
    assert!(why.contains("237568 bytes") && why.contains("532480 are needed"), "{why}");
    assert_eq!((rig.volume.size(), rig.volume.poisoned()), (SIZE, None));
}

/// A volume whose growth was committed and not finished, its old stamp in the middle of its data, and opened by nobody.
fn cut_off(detached: bool, poison: &str) -> (Disks, Vec<u8>) {
    let mut rig = Rig::new(&small(), Suite::Aes256Xts, detached, EngineKind::AwsLc);
    let content = pattern(SIZE, 7);
    rig.client.write(0, &content).unwrap();
    rig.client.flush().unwrap();
    grow(&rig.volume, 8 * EXTENT).unwrap();
    let mut meta = rig.volume.meta();
    let stale = Place { offset: meta.superblock.zones.data.offset + SIZE, length: 2 * BLOCK };
    rig.disks.data.write_at(stale.offset, &vec![0x5a; stale.length as usize]).unwrap();
    meta.commit_superblock(|superblock| {
        superblock.unfinished = Some(stale);
        superblock.poisoned = poison.into();
    })
    .unwrap();
    drop(meta);
    (rig.disks.clone(), content)
}

fn check(disks: &Disks, repair: bool) -> CheckReport {
    let keks = OpenKek::list();
    let depth = Depth { keks: Some(&keks), full: true, repair };
    check_disks(Arc::clone(&disks.data), disks.header.clone(), depth, &mut |_, _| {}).unwrap()
}

fn found(report: &CheckReport, name: &str) -> bool {
    assert!(report.findings.iter().all(|finding| finding.severity != Severity::Error), "{:?}", report.findings);
    report.findings.iter().any(|finding| finding.name == name)
}

fn is_grown(disks: &Disks, content: &[u8]) {
    let mut rig = Rig::on(disks.clone(), OpenKek::list(), EngineKind::AwsLc);
    assert_eq!((rig.volume.size(), rig.volume.poisoned()), (8 * EXTENT, None));
    let found = rig.client.content();
    assert!(found.starts_with(content) && found[content.len()..].iter().all(|byte| *byte == 0));
    assert!(rig.volume.meta().superblock.unfinished.is_none());
}

#[test]
fn a_growth_cut_off_is_served_at_the_old_size_until_an_open_for_writing_finishes_it() {
    for detached in [false, true] {
        let (disks, content) = cut_off(detached, "");
        for _ in 0..2 {
            let volume = Arc::new(disks.open(&OpenKek::list(), EngineKind::AwsLc, true).unwrap());
            assert_eq!(volume.size(), SIZE);
            assert!(Client::new(&volume, engine()).content() == content);
        }
        assert!(found(&check(&disks, false), "growth-unfinished"));
        is_grown(&disks, &content);
        assert!(!found(&check(&disks, false), "growth-unfinished"));
    }
}

#[test]
fn check_repair_finishes_a_growth_and_a_poisoned_one_too() {
    for poison in ["", "a flush failed"] {
        let (disks, content) = cut_off(false, poison);
        let volume = Arc::new(disks.open(&OpenKek::list(), EngineKind::AwsLc, poison.is_empty()).unwrap());
        assert_eq!(volume.size(), SIZE, "neither read-only nor poisoned it is finished");
        drop(volume);
        let report = check(&disks, true);
        assert!(report.repaired.iter().any(|what| what.contains("growth")), "{:?}", report.repaired);
        assert!(!found(&report, "growth-unfinished") && report.passed);
        assert_eq!(report.poison_cleared, !poison.is_empty());
        assert_eq!(check(&disks, true).repaired, [] as [&str; 0], "once is enough");
        is_grown(&disks, &content);
    }
}

/// A superblock copy that still asks for zeros must not come to count when its twin rots: clients have written there since.
#[test]
fn no_copy_that_asks_for_zeros_outlives_the_open_that_makes_them() {
    let (disks, _) = cut_off(false, "");
    let mut rig = Rig::on(disks.clone(), OpenKek::list(), EngineKind::AwsLc);
    let written = pattern(2 * BLOCK, 2);
    rig.client.write(SIZE, &written).unwrap();
    rig.client.flush().unwrap();
    for place in [crate::format::layout::SUPERBLOCK_A, crate::format::layout::SUPERBLOCK_B] {
        let mut good = vec![0; BLOCK as usize];
        disks.data.read_at(place, &mut good).unwrap();
        disks.data.write_at(place, &vec![0xff; BLOCK as usize]).unwrap();
        let volume = Arc::new(disks.open(&OpenKek::list(), EngineKind::AwsLc, true).unwrap());
        assert!(Client::new(&volume, engine()).read(SIZE, written.len()).unwrap() == written);
        disks.data.write_at(place, &good).unwrap();
    }
}
