//! Reading back what a rotation has written, with and without helpers: all of it, before the rotation ends; what the
//! device does not give back as it was written stops writes; what clients have written since is theirs.

use super::rig::{Rig, engine, shape};
use crate::crypto::{EngineKind, Suite};
use crate::format::layout::WriteMode;
use crate::units::{Extent, Generation};
use crate::volume::VolumeError;

const EXTENT: usize = 64 << 10;
const ALL: u32 = 1_000_000;

/// Four extents that were taken, written and flushed, and are not read back yet.
fn written(helpers: usize, mode: WriteMode) -> (Rig, Generation) {
    let shape = shape(4 * EXTENT as u64, 4096, 4096, mode);
    let mut rig = Rig::new(&shape, Suite::Aes256Xts, false, EngineKind::AwsLc);
    (0..helpers).for_each(|_| rig.pipeline.add_helper(engine()).unwrap());
    rig.client.write(0, &[1; 4 * EXTENT]).unwrap();
    rig.client.flush().unwrap();
    let target = rig.start_rotation(Suite::Aes256Xts);
    rig.pipeline.step(&[0, 1, 2, 3].map(Extent), target, ALL).unwrap();
    rig.pipeline.step(&[], target, 0).unwrap();
    assert_eq!((rig.pipeline.counters().extents, rig.pipeline.counters().verified), (4, 0));
    (rig, target)
}

fn each(test: impl Fn(usize, WriteMode)) {
    for helpers in [0, 2] {
        for mode in [WriteMode::InPlace, WriteMode::Journal] {
            test(helpers, mode);
        }
    }
}

#[test]
fn all_is_read_back_before_a_rotation_ends() {
    each(|helpers, mode| {
        let (mut rig, target) = written(helpers, mode);
        assert!(!rig.pipeline.is_idle());
        rig.pipeline.drain(target).unwrap();
        assert_eq!(rig.pipeline.counters().verified, 4);
        assert!(rig.client.content().iter().all(|byte| *byte == 1));
    });
}

#[test]
fn holds_that_end_before_a_pause_leave_nothing_unread() {
    each(|helpers, mode| {
        let (mut rig, target) = written(helpers, mode);
        rig.pipeline.end_holds(target).unwrap();
        assert_eq!(rig.pipeline.counters().verified, 4);
    });
}

#[test]
fn a_device_that_gives_back_something_else_poisons_the_volume() {
    each(|helpers, mode| {
        let (mut rig, target) = written(helpers, mode);
        let place = rig.volume.data_offset + 2 * EXTENT as u64 + 8192;
        let mut sector = [0; 512];
        rig.disks.data.read_at(place, &mut sector).unwrap();
        sector[77] ^= 4;
        rig.disks.data.write_at(place, &sector).unwrap();
        let stepped = rig.pipeline.step(&[], target, 0);
        assert!(matches!(stepped, Err(VolumeError::ReadBack { extent: Extent(2) })), "{stepped:?}");
        assert!(rig.volume.poisoned().is_some());
    });
}

#[test]
fn what_a_client_has_written_meanwhile_is_not_read_back() {
    for helpers in [0, 2] {
        let (mut rig, target) = written(helpers, WriteMode::InPlace);
        rig.client.write(EXTENT as u64, &[2; 4096]).unwrap();
        rig.pipeline.drain(target).unwrap();
        let counters = rig.pipeline.counters();
        assert_eq!((counters.verified, counters.verify_skipped), (3, 1));
    }
}

/// Helpers rest then, and the pipeline's own thread does their work.
#[test]
fn beside_clients_all_is_read_back_too() {
    let (mut rig, target) = written(2, WriteMode::InPlace);
    rig.pipeline.set_beside_clients(true);
    rig.pipeline.drain(target).unwrap();
    assert_eq!(rig.pipeline.counters().verified, 4);
}
