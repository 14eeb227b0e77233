//! Another replica is made: it has the volume's identity and keys, and a metadata key and wraps of its own.

use super::super::kek::NamedKek;
use super::super::rig::{Client, engine, spec};
use super::*;
use crate::format::generations::Phase;
use crate::format::handover::Founding;
use crate::keys::Kek;
use crate::volume::check::{Depth, Severity, check_disks};
use crate::volume::create::{NewVolume, create_on_disks};
use crate::volume::life::SystemClock;

/// Makes a replica from `founding` on disks of its own, for another KEK.
fn found(founding: &Founding, mode: WriteMode, detached: bool, keks: &[Kek]) -> Result<Disks, VolumeError> {
    let shape = Shape { size: founding.size, max_size: founding.max_size, ..small(mode) };
    let disks = Disks::in_memory(&shape, detached);
    let new = NewVolume {
        shape,
        granule_source: "test".into(),
        suite: Suite::None,
        replica_of: Some(founding),
        keks,
        now: 100,
    };
    create_on_disks(&new, &disks.data, disks.header.as_ref())?;
    Ok(disks)
}

fn finish(rig: &mut Rig) {
    rig.rotate().unwrap();
    rig.volume.update_rotation(|rotation| rotation.phase = Phase::Drained).unwrap();
    rig.volume.finalize(&by(9)).unwrap();
}

/// A volume with generations in every state: 1 destroyed, 2 revoked, 3 disabled, 4 empty, 5 active, 7 prepared.
fn seasoned() -> (Rig, Vec<u8>) {
    let mut rig = rig();
    let content = pattern(SIZE, 9);
    rig.client.write(0, &content).unwrap();
    for _ in 0..4 {
        rig.start_rotation(Suite::Aes256Xts);
        finish(&mut rig);
    }
    let clock = SystemClock::default();
    let mut keep = |_: &crate::volume::life::Statement, _: &str| Ok(());
    for generation in [OLD, Generation(3)] {
        rig.volume.retire(generation, &by(20), &clock, &mut keep).unwrap();
    }
    rig.volume.schedule(OLD, 1, &by(21)).unwrap();
    rig.volume.destroy(OLD, crate::volume::life::How::default(), &by(22)).unwrap();
    rig.volume.revoke(Generation(2), &by(23), &clock).unwrap();
    rig.volume.mark(Generation(4), true, &by(24)).unwrap();
    let new = rig.volume.take_key(&rig.keks, &made_elsewhere(&rig.volume, NEW, Suite::Aes128Xts), &by(25)).unwrap();
    rig.volume.hold_prepared(new).unwrap();
    rig.client.flush().unwrap();
    (rig, content)
}

#[test]
fn a_replica_has_the_same_keys_and_its_own_wraps() {
    let (rig, _) = seasoned();
    let founding = rig.volume.founding(&rig.keks).unwrap();
    let arrived = Founding::decode(founding.encode().expose()).unwrap();
    for detached in [false, true] {
        let keks = [NamedKek::kek("elsewhere", false)];
        let disks = found(&arrived, WriteMode::Journal, detached, &keks).unwrap();
        assert!(matches!(disks.open(&rig.keks[..0], EngineKind::AwsLc, true), Err(VolumeError::WrongKey { .. })));
        let replica = Rig::on(disks, keks.to_vec(), EngineKind::Portable);
        assert_eq!((replica.volume.id(), replica.volume.size()), (rig.volume.id(), SIZE));
        assert_eq!(replica.volume.shape().max_size, rig.volume.shape().max_size);
        let (ours, theirs) = (replica.volume.table(), rig.volume.table());
        let known = |table: &crate::format::generations::GenerationTable| {
            let entries = table.entries.iter().filter(|entry| entry.generation != Generation(0));
            entries.map(|it| (it.generation, it.key_id, it.suite, it.compromised, it.activated)).collect::<Vec<_>>()
        };
        assert_eq!(known(&ours), known(&theirs));
        use KeyState::{Active, Destroyed, Disabled, Empty, Prepared};
        let states: Vec<KeyState> = ours.entries[1..].iter().map(|entry| entry.state).collect();
        assert_eq!(states, [Destroyed, Destroyed, Disabled, Empty, Active, Prepared], "what is withdrawn is not given");
        assert_ne!(ours.entries[0].key_id, theirs.entries[0].key_id, "a metadata key of its own");
        assert!(ours.entries[1..3].iter().all(|entry| entry.wraps.is_empty()));
        assert!(ours.entries[3..].iter().all(|entry| entry.wraps[0].kek_id == "elsewhere"));
        assert_eq!((ours.rotation.target, ours.rotation.phase), (Generation(5), Phase::Idle));
        assert_eq!(replica.volume.census().into_iter().collect::<Vec<_>>(), [(Generation(5), EXTENTS)]);
        let depth = Depth { keks: Some(&keks), full: true, repair: false };
        let report = check_disks(Arc::clone(&replica.disks.data), replica.disks.header.clone(), depth, &mut |_, _| {});
        let errors: Vec<_> =
            report.unwrap().findings.into_iter().filter(|finding| finding.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}

/// Both rotate to a key that one of them made; then each holds the other's ciphertext, and reads what the other wrote.
#[test]
fn replicas_read_each_others_ciphertext() {
    let (mut rig, content) = seasoned();
    let keks = vec![NamedKek::kek("elsewhere", false)];
    let founding = rig.volume.founding(&rig.keks).unwrap();
    let disks = found(&founding, WriteMode::InPlace, true, &keks).unwrap();
    let mut replica = Rig::on(disks, keks, EngineKind::Portable);
    assert!(replica.client.content() == vec![0; SIZE as usize]);
    swap(&rig, &mut replica);
    assert!(replica.client.content() == content, "under the generation that was active");
    let number = Generation(8);
    let (new, handover) = rig.volume.make_key_to_share(&rig.keks, &spec(Suite::Aes256Xts), number).unwrap();
    rig.volume.hold_prepared(new).unwrap();
    replica.volume.hold_prepared(replica.volume.take_key(&replica.keks, &arrived(&handover), &by(5)).unwrap()).unwrap();
    for rig in [&mut rig, &mut replica] {
        assert!(rig.volume.activate_prepared(number, &spec(Suite::Aes256Xts)).unwrap());
        finish(rig);
    }
    let other = pattern(SIZE, 77);
    rig.client.write(0, &other).unwrap();
    rig.client.trim(EXTENT, 8192).unwrap();
    rig.client.flush().unwrap();
    let expected = rig.client.content();
    assert_ne!(ciphertext(&rig.disks, &rig.volume), ciphertext(&replica.disks, &replica.volume));
    swap(&rig, &mut replica);
    assert!(replica.client.content() == expected);
    replica.client.write(0, &content).unwrap();
    replica.client.flush().unwrap();
    rig.client.write(0, &content).unwrap();
    rig.client.flush().unwrap();
    assert_eq!(ciphertext(&rig.disks, &rig.volume), ciphertext(&replica.disks, &replica.volume), "the same bytes");
}

/// Puts the data area of one over the other's.
fn swap(from: &Rig, to: &mut Rig) {
    to.disks.data.write_at(to.volume.data_offset, &ciphertext(&from.disks, &from.volume)).unwrap();
    to.client = Client::new(&to.volume, engine());
}

#[test]
fn none_is_founded_in_the_middle_of_a_rotation() {
    let mut rig = rig();
    rig.volume.founding(&rig.keks).unwrap();
    rig.start_rotation(Suite::Aes256Xts);
    assert!(why(rig.volume.founding(&rig.keks).map(|_| ())).contains("the rotation is running"));
    rig.rotate().unwrap();
    rig.volume.update_rotation(|rotation| rotation.phase = Phase::Drained).unwrap();
    assert!(why(rig.volume.founding(&rig.keks).map(|_| ())).contains("the rotation is drained"));
    rig.volume.finalize(&by(9)).unwrap();
    rig.volume.founding(&rig.keks).unwrap();
    let plain = Rig::new(&small(WriteMode::InPlace), Suite::None, false, EngineKind::AwsLc);
    assert!(why(plain.volume.founding(&plain.keks).map(|_| ())).contains("plaintext"));
}

#[test]
fn a_founding_that_lies_makes_no_volume() {
    let (rig, _) = seasoned();
    let keks = [NamedKek::kek("elsewhere", false)];
    let lies = |lie: &dyn Fn(&mut Founding)| {
        let mut founding = rig.volume.founding(&rig.keks).unwrap();
        lie(&mut founding);
        match found(&founding, WriteMode::InPlace, false, &keks) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("it was believed"),
        }
    };
    assert!(lies(&|founding| founding.keys[4].handover.check[3] ^= 1).contains("check value"));
    assert!(lies(&|founding| founding.volume.0[3] ^= 1).contains("check value"));
    assert!(lies(&|founding| founding.keys[4].handover.suite = 9).contains("suite 9 is unknown"));
    assert!(lies(&|founding| founding.keys[4].handover.data_unit = 512).contains("data unit is 512"));
    assert!(lies(&|founding| founding.keys[2].handover.key = Secret::zeroed(64)).contains("cipher"));
}
