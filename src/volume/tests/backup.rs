//! Header backups, restores, escrow and the catalogue of holders, on disks that work; `restores` has the crashes.

use std::sync::Arc;

use super::kek::OpenKek;
use super::rig::{Client, Disks, Rig, engine, shape};
use crate::crypto::age::Identity;
use crate::crypto::{EngineKind, Suite};
use crate::engine::Disk;
use crate::engine::mem::MemDisk;
use crate::format::bundle::Bundle;
use crate::format::generations::Phase;
use crate::format::layout::{SUPERBLOCK_A, SUPERBLOCK_B, Shape, WriteMode};
use crate::format::lives::{HOLDERS_MAX, Holder, HolderKind};
use crate::keys::escrow::{self, EscrowKeeper};
use crate::keys::{FileKek, Kek};
use crate::units::{BLOCK, Generation, hex};
use crate::volume::background::kept;
use crate::volume::backup::MadeBackup;
use crate::volume::holders::{NewHolder, enter, find, overdue};
use crate::volume::restore::{Ground, Prepared, Target};
use crate::volume::{Volume, VolumeError};

const EXTENT: u64 = 64 << 10;
const SIZE: u64 = 5 * EXTENT + EXTENT / 2;

pub fn small() -> Shape {
    shape(SIZE, 4096, 4096, WriteMode::InPlace)
}

pub fn new(kind: HolderKind) -> NewHolder {
    NewHolder { kind, generations: None, label: "test".into(), now: 100 }
}

pub fn back_up(volume: &Arc<Volume>) -> MadeBackup {
    volume.back_up(&new(HolderKind::HeaderBackup)).unwrap()
}

pub fn target(disks: &Disks) -> Target {
    Target { data: Arc::clone(&disks.data), header: disks.header.clone() }
}

/// Leaves nothing of a header but, if it is attached, the data behind it.
pub fn destroy_header(disks: &Disks) {
    let header = disks.header.as_ref().unwrap_or(&disks.data);
    let layout = crate::format::layout::plan(&small(), disks.header.is_some());
    header.write_at(0, &vec![0xd5; layout.header_len as usize]).unwrap();
}

fn restore(disks: &Disks, bytes: &[u8]) -> Result<Prepared, VolumeError> {
    let (keks, target) = (OpenKek::list(), target(disks));
    let prepared = Prepared::of(bytes, &keks, &target)?;
    prepared.write(&target)?;
    let proof = prepared.prove(&target, &keks)?;
    assert_eq!((proof.size, proof.extents), (SIZE, 6));
    Ok(prepared)
}

fn why(refused: Result<Prepared, VolumeError>) -> String {
    match refused {
        Err(VolumeError::StaleBackup { why }) => why,
        Err(error) => panic!("refused otherwise: {error}"),
        Ok(_) => panic!("not refused"),
    }
}

pub fn written(rig: &mut Rig, seed: u8) -> Vec<u8> {
    let content: Vec<u8> = (0..SIZE).map(|at| (at / 509) as u8 ^ seed | 1).collect();
    rig.client.write(0, &content).unwrap();
    rig.client.flush().unwrap();
    content
}

fn reads(disks: &Disks, content: &[u8]) -> bool {
    let volume = Arc::new(disks.open(&OpenKek::list(), EngineKind::AwsLc, true).unwrap());
    Client::new(&volume, engine()).content() == content
}

#[test]
fn a_settled_backup_restores_whatever_became_of_the_header() {
    for detached in [false, true] {
        for rotations in [0, 1, 2] {
            let mut rig = Rig::new(&small(), Suite::Aes256Xts, detached, EngineKind::AwsLc);
            written(&mut rig, 1);
            for _ in 0..rotations {
                rig.start_rotation(Suite::Aes256Xts);
                rig.rotate().unwrap();
                rig.volume.update_rotation(|rotation| rotation.phase = Phase::Drained).unwrap();
                rig.volume.finalize(&crate::volume::life::By::default()).unwrap();
            }
            let made = back_up(&rig.volume);
            assert!(made.settled);
            // Clients go on, and what they write afterwards is there, too.
            let content = written(&mut rig, 2);
            let disks = rig.disks.clone();
            assert_eq!(restore(&disks, &made.bytes).unwrap().ground, Ground::Epoch, "over a sound header");
            assert!(reads(&disks, &content));
            destroy_header(&disks);
            let prepared = restore(&disks, &made.bytes).unwrap();
            assert!(prepared.notes[0].contains("cannot be read"), "{:?}", prepared.notes);
            assert!(reads(&disks, &content));
            // And it is a volume like any other: it is written, rotated and opened again.
            let mut rig = Rig::on(disks, OpenKek::list(), EngineKind::AwsLc);
            assert_eq!(rig.volume.holders(), std::slice::from_ref(&made.holder), "the backup knows of itself");
            let content = written(&mut rig, 3);
            rig.start_rotation(Suite::Aes128Xts);
            rig.rotate().unwrap();
            rig.reopen();
            assert!(rig.client.content() == content);
        }
    }
}

#[test]
fn a_backup_is_refused_once_a_rotation_has_begun_whatever_the_header_says() {
    let mut rig = Rig::new(&small(), Suite::Aes256Xts, false, EngineKind::AwsLc);
    written(&mut rig, 1);
    let made = back_up(&rig.volume);
    rig.start_rotation(Suite::Aes256Xts);
    let refused = |disks: &Disks| why(restore(disks, &made.bytes));
    assert!(refused(&rig.disks).contains("epoch 1, and the data are of epoch 2"));
    rig.rotate().unwrap();
    destroy_header(&rig.disks);
    assert!(refused(&rig.disks).contains("a rotation has started or ended since"));
    assert!(rig.disks.open(&OpenKek::list(), EngineKind::AwsLc, true).is_err(), "nothing was written");
}

/// Without the rule, such a backup would decrypt what was moved with the old key: shown once, so that the refusal has a reason.
#[test]
fn what_is_refused_would_have_been_garbage() {
    let mut rig = Rig::new(&small(), Suite::Aes256Xts, false, EngineKind::AwsLc);
    let content = written(&mut rig, 1);
    let before = copy(&rig.disks);
    rig.start_rotation(Suite::Aes256Xts);
    rig.rotate().unwrap();
    let layout = crate::format::layout::plan(&small(), false);
    let mut header = vec![0; layout.header_len as usize];
    before.data.read_at(0, &mut header).unwrap();
    let mut stamp = vec![0; 2 * BLOCK as usize];
    before.data.read_at(layout.zones.stamp.offset, &mut stamp).unwrap();
    rig.disks.data.write_at(0, &header).unwrap();
    rig.disks.data.write_at(layout.zones.stamp.offset, &stamp).unwrap();
    assert!(!reads(&rig.disks, &content));
}

pub fn copy(disks: &Disks) -> Disks {
    let copy = |disk: &Arc<dyn Disk>| {
        let mut bytes = vec![0; disk.len().unwrap() as usize];
        disk.read_at(0, &mut bytes).unwrap();
        let twin = MemDisk::new(bytes.len());
        twin.write_at(0, &bytes).unwrap();
        Arc::new(twin) as Arc<dyn Disk>
    };
    Disks { data: copy(&disks.data), header: disks.header.as_ref().map(copy) }
}

/// A rotation that is held in the middle, and its backup.
pub fn held() -> (Rig, MadeBackup, Vec<u8>) {
    let mut rig = Rig::new(&small(), Suite::Aes256Xts, false, EngineKind::AwsLc);
    let content = written(&mut rig, 4);
    let target = rig.start_rotation(Suite::Aes256Xts);
    rig.step(2).unwrap();
    rig.pipeline.drain(target).unwrap();
    let refused = rig.volume.back_up(&new(HolderKind::HeaderBackup)).err().unwrap().to_string();
    assert!(refused.contains("pause it"), "{refused}");
    rig.volume.update_rotation(|rotation| rotation.phase = Phase::Paused).unwrap();
    let made = back_up(&rig.volume);
    assert!(!made.settled && !rig.behind().is_empty());
    (rig, made, content)
}

#[test]
fn in_the_middle_of_a_rotation_it_takes_a_header_that_shows_that_nothing_moved() {
    let (rig, made, content) = held();
    assert_eq!(restore(&rig.disks, &made.bytes).unwrap().ground, Ground::Unmoved);
    assert!(reads(&rig.disks, &content));
    // One superblock copy less still does, as the newest record is there; without the ring it does not.
    rig.disks.data.write_at(SUPERBLOCK_A, &vec![0xff; BLOCK as usize]).unwrap();
    assert_eq!(restore(&rig.disks, &made.bytes).unwrap().ground, Ground::Unmoved);
    let ring = crate::format::layout::plan(&small(), false).zones.ring;
    rig.disks.data.write_at(ring.offset, &vec![0xff; 512]).unwrap();
    assert!(why(restore(&rig.disks, &made.bytes)).contains("slot 0"));
    destroy_header(&rig.disks);
    assert!(why(restore(&rig.disks, &made.bytes)).contains("in the middle of a rotation"));
}

#[test]
fn in_the_middle_of_a_rotation_one_more_step_makes_it_stale() {
    let (mut rig, made, content) = held();
    rig.step(1).unwrap();
    let target = rig.target();
    rig.pipeline.drain(target).unwrap();
    assert!(why(restore(&rig.disks, &made.bytes)).contains("they were"));
    // Also where the ring is gone, by the superblocks alone.
    let ring = crate::format::layout::plan(&small(), false).zones.ring;
    rig.volume.meta().checkpoint(&rig.volume.tags).unwrap();
    rig.volume.meta().mend_superblock().unwrap();
    rig.disks.data.zero_range(ring.offset, ring.length).unwrap();
    assert!(why(restore(&rig.disks, &made.bytes)).contains("superblock names record"));
    rig.disks.data.write_at(SUPERBLOCK_B, &vec![0xff; BLOCK as usize]).unwrap();
    assert!(why(restore(&rig.disks, &made.bytes)).contains("superblock names record"));
    assert!(reads(&rig.disks, &content), "nothing was written");
}

#[test]
fn a_rollback_since_makes_it_stale_though_nothing_has_moved_yet() {
    let (rig, made, content) = held();
    rig.volume.roll_back(&crate::volume::life::By::daemon("test", 9)).unwrap();
    assert!(why(restore(&rig.disks, &made.bytes)).contains("it was rolled back"));
    assert!(reads(&rig.disks, &content), "nothing was written");
}

#[test]
fn a_growth_and_another_volumes_data_are_told() {
    let mut rig = Rig::new(&small(), Suite::Aes256Xts, false, EngineKind::AwsLc);
    written(&mut rig, 1);
    let made = back_up(&rig.volume);
    rig.volume.grow(SIZE + EXTENT, &mut |_, _| true).unwrap();
    assert!(why(restore(&rig.disks, &made.bytes)).contains("grown since"));
    let other = Rig::new(&small(), Suite::Aes256Xts, false, EngineKind::AwsLc);
    assert!(why(restore(&other.disks, &made.bytes)).contains("not its data"));
    let detached = Rig::new(&small(), Suite::Aes256Xts, true, EngineKind::AwsLc);
    assert!(matches!(restore(&detached.disks, &made.bytes), Err(VolumeError::HeaderKind(_))));
}

#[test]
fn a_restore_brings_no_key_back_to_life_and_forgets_no_holder() {
    let mut rig = Rig::new(&small(), Suite::Aes256Xts, false, EngineKind::AwsLc);
    written(&mut rig, 1);
    rig.start_rotation(Suite::Aes256Xts);
    rig.rotate().unwrap();
    rig.volume.update_rotation(|rotation| rotation.phase = Phase::Drained).unwrap();
    rig.volume.finalize(&crate::volume::life::By::default()).unwrap();
    let made = back_up(&rig.volume);
    let later = rig.volume.add_holder(&new(HolderKind::Snapshot)).unwrap();
    rig.volume
        .commit_table(|table| {
            let entry = table.entry_mut(Generation::FIRST).unwrap();
            entry.state = crate::format::generations::KeyState::Destroyed;
            entry.wraps.clear();
            table.entry_mut(Generation(2)).unwrap().compromised = true;
        })
        .unwrap();
    let prepared = restore(&rig.disks, &made.bytes).unwrap();
    assert!(prepared.notes.iter().any(|note| note == "generation 1 stays destroyed"), "{:?}", prepared.notes);
    rig.reopen();
    let table = rig.volume.table();
    assert!(table.entry(Generation::FIRST).unwrap().wraps.is_empty());
    assert!(table.entry(Generation(2)).unwrap().compromised);
    assert_eq!(rig.volume.holders().iter().map(|holder| holder.id).collect::<Vec<_>>(), [made.holder.id, later.id]);
}

#[test]
fn what_was_saved_aside_can_be_put_back() {
    let mut rig = Rig::new(&small(), Suite::Aes256Xts, false, EngineKind::AwsLc);
    let content = written(&mut rig, 1);
    let made = back_up(&rig.volume);
    let later = rig.volume.add_holder(&new(HolderKind::Snapshot)).unwrap();
    let target = target(&rig.disks);
    let prepared = Prepared::of(&made.bytes, &OpenKek::list(), &target).unwrap();
    let aside = MemDisk::new(prepared.header_len() as usize);
    assert_eq!(prepared.save(&target, &aside).unwrap(), 0);
    let before = copy(&rig.disks);
    destroy_header(&rig.disks);
    prepared.put_back(&target, &aside).unwrap();
    let read = |disks: &Disks| {
        let mut bytes = vec![0; prepared.header_len() as usize];
        disks.data.read_at(0, &mut bytes).unwrap();
        bytes
    };
    assert!(read(&before) == read(&rig.disks));
    assert!(reads(&rig.disks, &content));
    rig.reopen();
    assert!(rig.volume.holders().iter().any(|holder| holder.id == later.id));
}

#[test]
fn no_backup_is_made_where_it_would_not_be_known_or_not_be_right() {
    let mut rig = Rig::new(&small(), Suite::Aes256Xts, false, EngineKind::AwsLc);
    let read_only = Arc::new(rig.disks.open(&rig.keks, EngineKind::AwsLc, true).unwrap());
    assert!(read_only.back_up(&new(HolderKind::HeaderBackup)).is_err());
    for _ in 0..HOLDERS_MAX {
        rig.volume.add_holder(&new(HolderKind::Snapshot)).unwrap();
    }
    assert!(matches!(rig.volume.back_up(&new(HolderKind::HeaderBackup)), Err(VolumeError::HoldersFull)));
    let first = hex(&rig.volume.holders()[0].id);
    assert!(rig.volume.release_holder(&first, 7).unwrap().1);
    assert!(!rig.volume.release_holder(&first, 8).unwrap().1, "once");
    let made = back_up(&rig.volume);
    assert!(rig.volume.holders().iter().all(|holder| hex(&holder.id) != first), "the released one made room");
    rig.volume.forget_backup(&made.holder).unwrap();
    assert_eq!(rig.volume.holders().len(), HOLDERS_MAX - 1);
    rig.volume.poison("test");
    kept::run_all();
    assert!(matches!(rig.volume.back_up(&new(HolderKind::HeaderBackup)), Err(VolumeError::Poisoned(_))));
    rig.reopen();
}

fn holder(id: u8, made: u64, released: u64) -> Holder {
    Holder {
        id: [id; 16],
        kind: HolderKind::HeaderBackup,
        first: Generation(1),
        last: Generation(1),
        made,
        drilled: 0,
        released,
        label: "x".into(),
    }
}

#[test]
fn only_released_holders_make_room_the_oldest_first() {
    let mut holders: Vec<Holder> = (0..HOLDERS_MAX as u8).map(|id| holder(id, 10, 0)).collect();
    assert!(matches!(enter(&mut holders, holder(200, 20, 0)), Err(VolumeError::HoldersFull)));
    (holders[9].made, holders[9].released) = (5, 30);
    (holders[4].made, holders[4].released) = (6, 30);
    enter(&mut holders, holder(200, 20, 0)).unwrap();
    assert!(holders.iter().all(|holder| holder.id != [9; 16]) && holders.len() == HOLDERS_MAX);
    assert_eq!(find(&holders, "04040404").unwrap().made, 6);
    assert!(find(&holders, "04").is_err() && find(&holders, "ffff").is_err());
}

#[test]
fn a_drill_is_overdue_when_it_is_older_than_the_policy_says() {
    let mut one = holder(1, 100, 0);
    assert!(!overdue(&one, 50, 150) && overdue(&one, 50, 151));
    one.drilled = 140;
    assert!(!overdue(&one, 50, 190) && overdue(&one, 50, 191));
    assert!(!overdue(&Holder { released: 5, ..one.clone() }, 50, 1000));
    assert!(!overdue(&Holder { kind: HolderKind::Snapshot, ..one }, 50, 1000));
}

/// Every KEK is gone, and the header with them.
#[test]
fn from_escrow_a_volume_opens_under_a_new_kek() {
    let mut rig = Rig::new(&small(), Suite::Aes256Xts, true, EngineKind::AwsLc);
    rig.start_rotation(Suite::Aes256Xts);
    rig.rotate().unwrap();
    rig.volume.update_rotation(|rotation| rotation.phase = Phase::Drained).unwrap();
    rig.volume.finalize(&crate::volume::life::By::default()).unwrap();
    let people: Vec<Identity> = (0..3).map(|_| Identity::new().unwrap()).collect();
    let recipients: Vec<_> = people.iter().map(|one| one.recipient().unwrap()).collect();
    let made = rig.volume.export_escrow(&rig.keks, &new(HolderKind::Escrow), &recipients, 2).unwrap();
    assert_eq!((made.holder.first, made.holder.last), (Generation(1), Generation(2)));
    let content = written(&mut rig, 6);
    let disks = rig.disks.clone();
    destroy_header(&disks);
    let bundle = Bundle::decode(&made.bytes).unwrap();
    assert!(escrow::open(&bundle, &people[..1]).is_err());
    let keys = escrow::open(&bundle, &people[1..]).unwrap();
    let keeper = vec![Kek::unwitnessed(EscrowKeeper::new(keys, "bundle".into()))];
    let target = target(&disks);
    let prepared = Prepared::of(&bundle.backup, &keeper, &target).unwrap();
    prepared.write(&target).unwrap();
    prepared.prove(&target, &keeper).unwrap();
    let volume = Arc::new(disks.open(&keeper, EngineKind::AwsLc, false).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let kek = || vec![Kek::unwitnessed(FileKek::open(&folder.path().join("kek")).unwrap())];
    FileKek::create(&folder.path().join("kek")).unwrap();
    assert!(volume.rewrap_for(&keeper, &[]).is_err());
    assert_eq!(volume.rewrap_for(&keeper, &kek()).unwrap(), []);
    drop(volume);
    let volume = Arc::new(disks.open(&kek(), EngineKind::AwsLc, true).unwrap());
    assert!(Client::new(&volume, engine()).content() == content);
    let names: Vec<_> = volume.table().entries.iter().flat_map(|entry| entry.wraps.clone()).collect();
    assert!(names.iter().all(|wrap| wrap.kek_id.starts_with("file-")) && names.len() == 3);
}
