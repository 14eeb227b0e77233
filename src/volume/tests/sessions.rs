//! Requests of sessions that die, requests that wait for buffers, and reads of an extent while it is rewritten.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::hooked::{Hooked, Hooks};
use super::kek::OpenKek;
use super::rig::{Disks, Rig, on_tmpfs, shape};
use crate::crypto::{EngineKind, Suite};
use crate::engine::Disk;
use crate::engine::mem::MemDisk;
use crate::format::layout::{WriteMode, plan};
use crate::units::Extent;
use crate::volume::executor::{IoFailure, RequestKind};

const EXTENT: usize = 64 << 10;

fn rig() -> Rig {
    let shape = shape(4 * EXTENT as u64, 4096, 4096, WriteMode::InPlace);
    let mut rig = Rig::new(&shape, Suite::Aes256Xts, false, EngineKind::AwsLc);
    rig.client.write(0, &[1; 4 * EXTENT]).unwrap();
    rig.client.flush().unwrap();
    rig
}

/// Extents 0 and 1 are held, their intents durable.
fn holding() -> Rig {
    let mut rig = rig();
    let target = rig.start_rotation(Suite::Aes256Xts);
    rig.pipeline.step(&[Extent(0), Extent(1)], target, 0).unwrap();
    assert!(rig.pipeline.holds_any());
    rig
}

#[test]
fn a_dead_sessions_parked_writes_are_dropped_and_others_are_not() {
    let mut rig = holding();
    let (dead, alive) = (rig.client.write_kind(0, &[2; 4096], false), rig.client.write_kind(4096, &[3; 4096], false));
    rig.client.start_as(7, dead);
    let kept = rig.client.start_as(8, alive);
    assert!(rig.client.pump().is_empty(), "both are parked");
    rig.client.executor.drop_session(7);
    let target = rig.target();
    rig.pipeline.end_holds(target).unwrap();
    let answers = rig.client.pump();
    assert_eq!(answers.iter().map(|(cookie, _)| *cookie).collect::<Vec<_>>(), [kept]);
    assert_eq!(rig.client.executor.underway(), 0);
    let content = rig.client.content();
    assert!(content[..4096].iter().all(|byte| *byte == 1), "the dead session's write must not land");
    assert!(content[4096..8192].iter().all(|byte| *byte == 3));
}

#[test]
fn a_dead_sessions_parked_write_frees_the_range_behind_it() {
    let mut rig = holding();
    let (dead, alive) = (rig.client.write_kind(0, &[2; 8192], false), rig.client.write_kind(4096, &[3; 8192], false));
    rig.client.start_as(7, dead);
    let kept = rig.client.start_as(8, alive);
    assert!(rig.client.pump().is_empty());
    rig.client.executor.drop_session(7);
    let target = rig.target();
    rig.pipeline.end_holds(target).unwrap();
    assert_eq!(rig.client.pump().len(), 1, "request {kept}, parked behind the dead one, is carried out");
    assert!(rig.client.content()[4096..12288].iter().all(|byte| *byte == 3));
}

#[test]
fn a_poisoned_volume_answers_everybody_and_goes_on_reading() {
    let mut rig = holding();
    let kind = rig.client.write_kind(0, &[2; 4096], false);
    let parked = rig.client.start(kind);
    assert!(rig.client.pump().is_empty());
    rig.volume.poison("test");
    let answers = rig.client.pump();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].0, parked);
    assert_eq!(answers[0].1.as_ref().unwrap_err(), &IoFailure::Poisoned);
    for kind in [
        rig.client.write_kind(0, &[2; 4096], false),
        RequestKind::Flush,
        RequestKind::Trim { offset: 0, len: 4096, fua: false },
        RequestKind::Zeroes { offset: 0, len: 4096, fua: false, no_hole: false },
    ] {
        assert_eq!(rig.client.run(kind).unwrap_err(), IoFailure::Poisoned);
    }
    assert!(rig.client.content().iter().all(|byte| *byte == 1));
    let target = rig.target();
    assert!(rig.pipeline.step(&[Extent(2)], target, 0).is_err());
    assert!(rig.pipeline.drain(target).is_err(), "it must end, with an error");
    rig.reopen();
    assert_eq!(rig.volume.poisoned(), Some("test"));
    assert!(rig.client.content().iter().all(|byte| *byte == 1));
}

#[test]
fn a_read_only_volume_refuses_changes() {
    let rig = rig();
    let volume = std::sync::Arc::new(rig.disks.open(&rig.keks, EngineKind::Portable, true).unwrap());
    let mut client = super::rig::Client::new(&volume, super::rig::engine());
    assert_eq!(client.write(0, &[2; 512]).unwrap_err(), IoFailure::ReadOnly);
    assert_eq!(client.trim(0, 4096).unwrap_err(), IoFailure::ReadOnly);
    assert_eq!(client.zero(0, 4096, true).unwrap_err(), IoFailure::ReadOnly);
    client.flush().unwrap();
    assert!(client.content().iter().all(|byte| *byte == 1));
}

/// A rig whose volume is a file on tmpfs, and the file's path.
fn in_file(folder: &tempfile::TempDir) -> (Rig, std::path::PathBuf) {
    let shape = shape(4 * EXTENT as u64, 4096, 4096, WriteMode::InPlace);
    let disks = Disks { data: on_tmpfs(folder, &shape, false), header: None };
    (Rig::new_on(disks, &shape, Suite::Aes256Xts, EngineKind::AwsLc), folder.path().join("data"))
}

/// What NBD calls ERROR_OFFSET: a client may take the bytes before it for good.
#[test]
fn a_failure_says_the_lowest_byte_it_concerns() {
    for was_read in [false, true] {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let (mut rig, path) = in_file(&folder);
        rig.client.write(0, &[1; 4 * EXTENT]).unwrap();
        for _ in 0..2 * u8::from(was_read) {
            rig.client.content();
        }
        // Extents 2 and 3 are lost but for the first unit.
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_len(rig.volume.data_offset + 2 * EXTENT as u64 + 4096).unwrap();
        for (offset, len, at) in [(0, 4 * EXTENT, 2 * EXTENT), (2 * EXTENT + 9000, 100, 2 * EXTENT + 9000)] {
            assert_eq!(rig.client.read(offset as u64, len).unwrap_err(), IoFailure::Io);
            assert_eq!(rig.client.failed_at, Some(at as u64));
        }
        assert!(rig.client.read(0, 2 * EXTENT).unwrap().iter().all(|byte| *byte == 1));
        assert_eq!(rig.client.failed_at, None);
    }
}

#[test]
fn rotation_keeps_holes_and_tells_allocation() {
    use crate::volume::{STATUS_HOLE_ZERO, StatusKind};
    let shape = shape(4 * EXTENT as u64, 4096, 4096, WriteMode::InPlace);
    let mut rig = Rig::new(&shape, Suite::Aes256Xts, true, EngineKind::AwsLc);
    rig.client.write(EXTENT as u64 + 8192, &[5; 4096]).unwrap();
    rig.client.write(3 * EXTENT as u64, &[6; EXTENT]).unwrap();
    rig.client.trim(3 * EXTENT as u64 + 4096, 8192).unwrap();
    rig.client.flush().unwrap();
    let allocation = |rig: &Rig| rig.volume.block_status(0, 4 * EXTENT as u64, StatusKind::Allocation, 99).unwrap();
    let before = allocation(&rig);
    let extent = EXTENT as u64;
    let (hole, data) = (STATUS_HOLE_ZERO, 0);
    let expected = [
        (extent + 8192, hole),
        (4096, data),
        (2 * extent - 8192 - 4096, hole),
        (4096, data),
        (8192, hole),
        (extent - 12288, data),
    ];
    assert_eq!(before, expected);
    let content = rig.client.content();
    rig.start_rotation(Suite::Aes128Xts);
    rig.rotate().unwrap();
    assert_eq!(allocation(&rig), before, "holes stay holes");
    assert_eq!(rig.client.content(), content);
    let generations = rig.volume.block_status(100, 2 * extent, StatusKind::Generation, 99).unwrap();
    assert_eq!(generations, [(2 * extent, 2)]);
    assert_eq!(rig.pipeline.counters().extents, 4);
    assert!(rig.pipeline.counters().holes > 2 * extent);
}

#[test]
fn a_client_that_never_lets_go_is_held_flushed_and_taken() {
    let mut rig = rig();
    let target = rig.start_rotation(Suite::Aes256Xts);
    rig.pipeline.set_patience(crate::volume::pipeline::Patience::NONE);
    for _ in 0..crate::volume::pipeline::SKIPS_MAX {
        rig.client.write(0, &[9; 4096]).unwrap();
        rig.pipeline.step(&[Extent(0)], target, 0).unwrap();
        assert!(!rig.pipeline.holds_any(), "it is not behind a flush: rule R0");
    }
    assert_eq!(rig.pipeline.counters().skipped, u64::from(crate::volume::pipeline::SKIPS_MAX));
    rig.client.write(0, &[9; 4096]).unwrap();
    let flushes = rig.volume.flushes_started();
    rig.pipeline.step(&[Extent(0)], target, 0).unwrap();
    assert!(rig.pipeline.holds_any());
    assert_eq!(rig.pipeline.counters().forced, 1);
    assert_eq!(rig.volume.flushes_started() - flushes, 2, "one for the hold, one for the batch");
    rig.pipeline.drain(target).unwrap();
    assert_eq!(rig.volume.tag(Extent(0)), target);
    assert!(rig.client.content()[..4096].iter().all(|byte| *byte == 9));
}

/// A backing that lost its end while it was served looks like a hole there. Reading it fails, so the map must not promise
/// zeros.
#[test]
fn what_a_backing_has_lost_is_no_hole() {
    use crate::volume::{STATUS_HOLE_ZERO, StatusKind};
    struct Short(AtomicU64);
    impl Hooks for Short {
        fn len(&self, disk: &dyn Disk) -> std::io::Result<u64> {
            Ok(disk.len()?.min(self.0.load(Ordering::Relaxed)))
        }
    }
    let extent = EXTENT as u64;
    let shape = shape(4 * extent, 4096, 4096, WriteMode::InPlace);
    let layout = plan(&shape, false);
    let disk = Arc::new(MemDisk::new(layout.data_len as usize)) as Arc<dyn Disk>;
    let disk = Arc::new(Hooked { disk, hooks: Short(u64::MAX.into()) });
    let disks = Disks { data: Arc::clone(&disk) as Arc<dyn Disk>, header: None };
    disks.create(&shape, Suite::Aes256Xts, &OpenKek::list());
    let volume = disks.open(&OpenKek::list(), EngineKind::AwsLc, true).unwrap();
    let status = |offset, len| volume.block_status(offset, len, StatusKind::Allocation, 99);
    assert_eq!(status(0, 4 * extent).unwrap(), [(4 * extent, STATUS_HOLE_ZERO)]);
    disk.hooks.0.store(layout.zones.data.offset + 3 * extent, Ordering::Relaxed);
    assert_eq!(status(0, 3 * extent).unwrap(), [(3 * extent, STATUS_HOLE_ZERO)]);
    for (offset, len) in [(0, 4 * extent), (3 * extent, 1)] {
        assert_eq!(status(offset, len).unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    }
}
