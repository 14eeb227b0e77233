//! Metadata that move between the check's look and its judgement: each move planted at exactly that moment, none of them
//! taken for a fault.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use super::fixture::{EXTENTS, Fixture, Keks, bad, pipeline, spec};
use crate::crypto::EngineKind;
use crate::engine::Disk;
use crate::format::layout::{SUPERBLOCK_A, SUPERBLOCK_B};
use crate::keys::{FileKek, Kek};
use crate::units::Extent;
use crate::volume::Volume;
use crate::volume::check::OnlineOptions;
use crate::volume::info::tag_page_places;
use crate::volume::open::open_disks;
use crate::volume::tests::hooked::{Hooked, Hooks};

type Move = Box<dyn FnOnce(&Arc<Volume>) + Send>;

/// Something happens right after a range was read.
struct Moving {
    volume: OnceLock<Weak<Volume>>,
    next: Mutex<Option<(Range<u64>, Move)>>,
}

impl Moving {
    fn after_read_of(&self, offset: u64, len: u64) {
        let mut next = self.next.lock().unwrap();
        let due = next.as_ref().is_some_and(|(range, _)| offset < range.end && range.start < offset + len);
        let taken = if due { next.take() } else { None };
        drop(next);
        if let (Some((_, action)), Some(volume)) = (taken, self.volume.get().and_then(Weak::upgrade)) {
            action(&volume);
        }
    }
}

impl Hooks for Moving {
    fn read(&self, disk: &dyn Disk, offset: u64, data: &mut [u8]) -> io::Result<()> {
        disk.read_at(offset, data)?;
        self.after_read_of(offset, data.len() as u64);
        Ok(())
    }
}

/// Checks a volume while `action` happens right after the check has read something in `range`.
fn while_moving(range: impl Fn(&Volume) -> Range<u64>, action: impl Fn(&Arc<Volume>, &Keks) + Send + 'static) {
    let fixture = Fixture::new();
    let hooks = Moving { volume: OnceLock::new(), next: Mutex::new(None) };
    let disk = Arc::new(Hooked { disk: fixture.data_disk(), hooks });
    let opened = open_disks(Arc::clone(&disk) as Arc<dyn Disk>, None, &fixture.keks, false, EngineKind::AwsLc);
    let volume = Arc::new(opened.unwrap());
    disk.hooks.volume.set(Arc::downgrade(&volume)).unwrap();
    let keks: Keks = vec![Kek::unwitnessed(FileKek::open(&fixture.folder.path().join("kek0")).unwrap())];
    *disk.hooks.next.lock().unwrap() = Some((range(&volume), Box::new(move |volume| action(volume, &keks))));
    let options = OnlineOptions { full: true, bytes_per_s: None };
    let report = volume.check_online(&fixture.keks, options, &mut |_, _| true).unwrap();
    assert!(disk.hooks.next.lock().unwrap().is_none(), "nothing moved");
    assert!(report.passed && bad(&report).is_empty(), "{:#?}", bad(&report));
}

/// A rotation that begins and goes as far as `steps` batches of two extents.
fn rotate(volume: &Arc<Volume>, keks: &Keks, steps: u32) {
    let target = volume.start_rotation(keks, &spec()).unwrap();
    let mut pipeline = pipeline(volume);
    for step in 0..steps.min(EXTENTS / 2) {
        pipeline.step(&[Extent(step * 2), Extent(step * 2 + 1)], target, 0).unwrap();
    }
}

#[test]
fn superblocks_and_tables() {
    for place in [SUPERBLOCK_A, SUPERBLOCK_B] {
        while_moving(move |_| place..place + 1, |volume, _| volume.meta().commit_superblock(|_| {}).unwrap());
    }
    while_moving(
        |volume| {
            let place = volume.meta().superblock.zones.generations.offset;
            place..place + 1
        },
        |volume, _| volume.update_rotation(|rotation| rotation.reason = "moved".into()).unwrap(),
    );
}

#[test]
fn a_whole_rotation_at_any_look() {
    for steps in [0, 3, 8] {
        for zone in 0..6 {
            let range = move |volume: &Volume| {
                let superblock = volume.meta().superblock.clone();
                let zones = superblock.zones;
                let place = [SUPERBLOCK_B, zones.generations.offset, zones.stamp.offset, zones.ring.offset];
                let start = match zone {
                    4 => zones.canaries.offset + crate::format::canary::SLOT,
                    5 => tag_page_places(&superblock, 0)[0],
                    other => place[other],
                };
                start..start + 1
            };
            while_moving(range, move |volume, keks| rotate(volume, keks, steps));
        }
    }
}

#[test]
fn a_checkpoint_between_page_and_memory() {
    let page = |volume: &Volume| {
        let place = tag_page_places(&volume.meta().superblock, 0)[0];
        place..place + 1
    };
    while_moving(page, |volume, _| {
        let mut meta = volume.meta();
        meta.touch(Extent(0));
        meta.checkpoint(&volume.tags).unwrap();
    });
    // Half of one: the pages are written, nothing names them yet.
    while_moving(page, |volume, _| {
        let mut meta = volume.meta();
        meta.touch(Extent(0));
        assert!(meta.begin_checkpoint(&volume.tags).is_ok());
    });
}
