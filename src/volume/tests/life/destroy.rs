//! Destruction, and what is left on the device.

use std::io;

use super::super::hooked::{Hooked, Hooks};
use super::*;
use crate::engine::Disk;
use crate::format::layout::GENERATIONS_COPY;
use crate::format::lives::{Holder, HolderKind};
use crate::volume::life::{Destroyed, How, Windows, search};

const FORCED: How = How { early: true, despite_holders: false, drill_max_age: None };

/// The wrapped copies of generation 1.
fn blobs(volume: &Volume) -> Vec<Vec<u8>> {
    let table = volume.table();
    table.entry(OLD).unwrap().wraps.iter().map(|wrap| wrap.blob.clone()).collect()
}

/// Where something of them stands on the header.
fn left(disks: &Disks, blobs: &[Vec<u8>]) -> Vec<u64> {
    let header = disks.header.as_ref().unwrap_or(&disks.data);
    let windows = Windows::of(blobs.iter().map(Vec::as_slice), std::iter::empty());
    assert!(windows.len() > 0);
    search(&**header, header.len().unwrap() / 4096 * 4096, &windows).unwrap().found
}

fn scheduled(mode: WriteMode, detached: bool) -> (Rig, Vec<u8>) {
    let (rig, content) = finalized(mode, detached);
    retire(&rig.volume, &still()).unwrap();
    rig.volume.schedule(OLD, 1000, &by(30)).unwrap();
    (rig, content)
}

#[test]
fn when_it_is_due_nothing_of_it_is_left_on_the_device() {
    for (mode, detached) in [(WriteMode::InPlace, false), (WriteMode::InPlace, true), (WriteMode::Journal, false)] {
        let (mut rig, content) = scheduled(mode, detached);
        let wraps = blobs(&rig.volume);
        assert_eq!(left(&rig.disks, &wraps).len(), 1, "both table copies, within a megabyte");
        assert!(why(rig.volume.destroy(OLD, How::default(), &by(999))).contains("its date comes in 1 s"));
        let destroyed = rig.volume.destroy(OLD, How::default(), &by(1000)).unwrap();
        assert_eq!((destroyed.left.as_slice(), destroyed.wraps.len()), (&[][..], 1));
        assert!(destroyed.windows == 49 && destroyed.bytes_searched > 2 << 20, "{destroyed:?}");
        assert_eq!(left(&rig.disks, &wraps), [] as [u64; 0]);
        let tomb = rig.volume.table().entry(OLD).unwrap().clone();
        assert_eq!((tomb.state, tomb.wraps.len(), tomb.life.changed), (KeyState::Destroyed, 0, 1000));
        assert!(tomb.life.evidence != [0; 32] && tomb.life.scheduled == 1000);
        let canary = rig.volume.meta().superblock.zones.canaries.offset + u64::from(tomb.canary_slot) * 8192;
        let mut bytes = vec![1; 8192];
        rig.disks.header.as_ref().unwrap_or(&rig.disks.data).read_at(canary, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0));
        rig.reopen();
        assert!(rig.client.content() == content);
        check(&rig.disks);
        assert!(why(restore(&rig.volume, OLD, &by(1001))).contains("gone for good"));
        let again = rig.volume.destroy(OLD, How::default(), &by(1002)).unwrap();
        assert_eq!((again.wraps.len(), again.windows), (0, 0), "once more does no harm");
        assert_eq!(rig.volume.table().entry(OLD).unwrap().life.changed, 1000, "and changes nothing");
        rig.start_rotation(Suite::Aes128Xts);
        rig.rotate().unwrap();
        assert!(rig.client.content() == content);
    }
}

/// Older builds wrote a shorter table over a longer one and left the end of it where it was.
#[test]
fn what_a_longer_table_has_left_behind_is_erased_too() {
    let (rig, _) = scheduled(WriteMode::InPlace, false);
    let wraps = blobs(&rig.volume);
    let zone = rig.volume.meta().superblock.zones.generations;
    for copy in [0, 1] {
        let mut stale = vec![0; 8192];
        stale[4090..4090 + 64].copy_from_slice(&wraps[0]);
        rig.disks.data.write_at(zone.offset + (copy + 1) * GENERATIONS_COPY - 8192, &stale).unwrap();
    }
    let destroyed = rig.volume.destroy(OLD, FORCED, &by(40)).unwrap();
    assert_eq!((destroyed.left.len(), left(&rig.disks, &wraps).len()), (0, 0));
}

#[test]
fn a_date_can_be_withdrawn() {
    let (mut rig, content) = scheduled(WriteMode::InPlace, false);
    rig.volume.cancel(OLD, &by(40)).unwrap();
    assert!(
        why(rig.volume.destroy(OLD, FORCED, &by(2000))).contains("generation 1 is disabled: it cannot be destroyed")
    );
    restore(&rig.volume, OLD, &by(50)).unwrap();
    let life = rig.volume.table().entry(OLD).unwrap().life.clone();
    assert_eq!((life.scheduled, life.evidence), (0, [0; 32]));
    rig.reopen();
    assert!(rig.client.content() == content && !rig.volume.is_closed(OLD));
}

#[test]
fn what_else_holds_the_key_is_in_the_way_unless_passed_over_with_a_reason() {
    let (rig, _) = scheduled(WriteMode::InPlace, false);
    let backup = Holder {
        id: [7; 16],
        kind: HolderKind::HeaderBackup,
        first: OLD,
        last: NEW,
        made: 3,
        drilled: 0,
        released: 0,
        label: "/srv/old".into(),
    };
    let kept = |holders: Vec<Holder>| rig.volume.commit_table(|table| table.holders = holders).unwrap();
    kept(vec![backup.clone()]);
    let why = |how, by: &By| why(rig.volume.destroy(OLD, how, by));
    assert!(why(FORCED, &by(40)).contains("header-backup /srv/old"));
    let despite = How { despite_holders: true, ..FORCED };
    assert!(why(despite, &By { reason: " ".into(), ..by(40) }).contains("takes a reason"));
    kept(vec![Holder { released: 9, ..backup.clone() }, Holder { first: NEW, ..backup.clone() }]);
    let statement = rig.volume.table();
    assert!(statement.holders.iter().all(|holder| !holder.pins(OLD)));
    kept(vec![backup]);
    let destroyed = rig.volume.destroy(OLD, despite, &by(50)).unwrap();
    assert_eq!(destroyed.holders, ["header-backup /srv/old"]);
}

/// Where keys are in backups elsewhere, one is destroyed only while a drill has proven lately that the others come back.
#[test]
fn a_drill_too_old_is_in_the_way_unless_passed_over() {
    let (rig, _) = scheduled(WriteMode::InPlace, false);
    let backup = Holder {
        id: [7; 16],
        kind: HolderKind::HeaderBackup,
        first: NEW,
        last: NEW,
        made: 3,
        drilled: 20,
        released: 0,
        label: "/srv/new".into(),
    };
    rig.volume.commit_table(|table| table.holders = vec![backup]).unwrap();
    let policy = How { drill_max_age: Some(10), ..FORCED };
    let late = why(rig.volume.destroy(OLD, policy, &by(31)));
    assert!(late.contains("the last restore drill of header-backup /srv/new is older"), "{late}");
    let destroyed = rig.volume.destroy(OLD, policy, &by(30)).unwrap();
    assert_eq!(destroyed.holders, [] as [String; 0]);
}

/// A device that keeps what was there: zeros at the end of a write do not reach it.
struct Keeps;

impl Hooks for Keeps {
    fn write(&self, disk: &dyn Disk, offset: u64, data: &[u8]) -> io::Result<()> {
        let used = data.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        disk.write_at(offset, &data[..used.next_multiple_of(4096)])
    }
}

#[test]
fn a_device_that_does_not_overwrite_is_found_out() {
    let (rig, _) = scheduled(WriteMode::InPlace, false);
    let wraps = blobs(&rig.volume);
    let place = rig.volume.meta().superblock.zones.generations.offset + GENERATIONS_COPY - 4096;
    let mut stale = vec![0; 4096];
    stale[100..164].copy_from_slice(&wraps[0]);
    rig.disks.data.write_at(place, &stale).unwrap();
    let data: Arc<dyn Disk> = Arc::new(Hooked { disk: Arc::clone(&rig.disks.data), hooks: Keeps });
    let rig = Rig::on(Disks { data, header: None }, OpenKek::list(), EngineKind::AwsLc);
    let Destroyed { left, .. } = rig.volume.destroy(OLD, FORCED, &by(40)).unwrap();
    assert_eq!(left, [place + 100]);
    assert_eq!(state(&rig.volume, OLD), KeyState::Destroyed);
}
