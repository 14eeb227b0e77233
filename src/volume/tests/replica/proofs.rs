//! Proofs that a key is there, and reports that nothing needs it.

use super::super::kek::NamedKek;
use super::super::rig::spec;
use super::*;
use crate::engine::CacheMode;
use crate::format::canary;
use crate::format::generations::Phase;
use crate::format::lives::HolderKind;
use crate::volume::create::{CreateOptions, ModeChoice, create};
use crate::volume::holders::NewHolder;
use crate::volume::life::SystemClock;
use crate::volume::open::cold::{prove_cold, prove_on};
use crate::volume::open::{OpenVolume, open};

fn spoil_canary(rig: &Rig, generation: Generation) {
    let slot = rig.volume.table().entry(generation).unwrap().canary_slot;
    let place = rig.volume.meta().superblock.zones.canaries.offset + u64::from(slot) * canary::SLOT;
    let mut block = vec![0; canary::SLOT as usize];
    rig.disks.data.read_at(place, &mut block).unwrap();
    block[100] ^= 1;
    rig.disks.data.write_at(place, &block).unwrap();
}

#[test]
fn a_canary_that_is_spoilt_is_no_proof() {
    let rig = rig();
    let proof = rig.volume.prove_again(OLD).unwrap();
    assert_eq!((proof.generation, proof.state, proof.suite), (OLD, KeyState::Active, 1));
    let cold = prove_on(&*rig.disks.data, None, &rig.keks, OLD).unwrap();
    assert_eq!((&cold.proof, cold.volume), (&proof, rig.volume.id()));
    assert_eq!(cold.check, rig.volume.handover(&rig.keks, OLD).unwrap().check);
    assert_eq!(cold.opening.unwrap().kek, "test");
    assert!(why(rig.volume.prove_again(NEW)).contains("no generation 7"));
    assert!(why(prove_on(&*rig.disks.data, None, &rig.keks, NEW)).contains("no generation 7"));
    assert!(why(prove_on(&*rig.disks.data, None, &rig.keks, Generation(0))).contains("metadata key"));
    spoil_canary(&rig, OLD);
    for seen in [rig.volume.prove_again(OLD).err(), prove_on(&*rig.disks.data, None, &rig.keks, OLD).err()] {
        assert!(matches!(seen, Some(VolumeError::Damaged { .. })), "{seen:?}");
    }
}

/// Another process can prove what this one serves, and this one goes on.
#[test]
fn a_volume_in_service_is_proven_from_outside() {
    let folder = tempfile::tempdir().unwrap();
    let (path, header) = (folder.path().join("v.km"), folder.path().join("v.header"));
    let keks = [NamedKek::kek("one", false), NamedKek::kek("two", false)];
    let options = CreateOptions {
        path: &path,
        header: Some(&header),
        size: Some(SIZE),
        max_size: None,
        extent_size: EXTENT,
        data_unit: 4096,
        suite: Suite::Aes256Xts,
        replica_of: None,
        mode: ModeChoice::Auto,
        assume_zeroed: false,
        keks: &keks,
        cache: CacheMode::Page,
        now: 5,
    };
    create(&options, &mut |_, _| {}).unwrap();
    let how = OpenVolume {
        path: &path,
        header: Some(&header),
        keks: &keks,
        read_only: false,
        cache: CacheMode::Page,
        engine: EngineKind::AwsLc,
    };
    let volume = Arc::new(open(&how).unwrap());
    let handover = made_elsewhere(&volume, NEW, Suite::Aes256Xts);
    let missing = prove_cold(&path, Some(&header), &keks, NEW);
    assert!(why(missing).contains("no generation 7"));
    volume.hold_prepared(volume.take_key(&keks, &handover, &by(1)).unwrap()).unwrap();
    for kek in &keks {
        let cold = prove_cold(&path, Some(&header), std::slice::from_ref(kek), NEW).unwrap();
        assert_eq!((cold.check, cold.proof.state), (handover.check, KeyState::Prepared));
        assert_eq!(cold.opening.unwrap().kek, kek.describe().label);
        assert_eq!(cold.table, volume.meta().table_sequence());
    }
    let other = prove_cold(&path, Some(&header), &[NamedKek::kek("three", false)], NEW);
    assert!(matches!(other, Err(VolumeError::WrongKey { .. })), "{other:?}");
    assert!(matches!(prove_cold(&path, None, &keks, NEW), Err(VolumeError::NotAVolume { .. })));
    volume.abandon(NEW, &by(2)).unwrap();
    assert!(why(prove_cold(&path, Some(&header), &keks, NEW)).contains("no generation 7"));
}

/// What refers to a generation is told until nothing does, and that moves nothing.
#[test]
fn zero_is_reported_when_nothing_refers_to_a_key() {
    let mut rig = rig();
    let clock = SystemClock::default();
    let report = |rig: &Rig, generation| rig.volume.zero_report(generation, &clock);
    rig.client.write(0, &pattern(SIZE, 1)).unwrap();
    rig.client.flush().unwrap();
    assert!(why(report(&rig, OLD)).contains("generation 1 is active"));
    assert!(why(report(&rig, Generation(0))).contains("it is needed"));
    rig.start_rotation(Suite::Aes256Xts);
    rig.step(2).unwrap();
    let held = report(&rig, OLD).unwrap().references.unwrap();
    assert!(held.starts_with("6 extents") || held.starts_with("4 extents"), "{held}");
    rig.rotate().unwrap();
    let held = report(&rig, OLD).unwrap().references.unwrap();
    assert_eq!(held, "the rotation on record goes back to it");
    rig.volume.update_rotation(|rotation| rotation.phase = Phase::Drained).unwrap();
    rig.volume.finalize(&by(9)).unwrap();
    let key = rig.volume.keyring.get(OLD);
    let clock_that_runs = RunningOut(std::cell::Cell::default());
    let held = rig.volume.zero_report(OLD, &clock_that_runs).unwrap().references.unwrap();
    assert_eq!(held, "requests that began before still hold its key");
    drop(key);
    let new = NewHolder { kind: HolderKind::Snapshot, generations: Some((OLD, OLD)), label: "s1".into(), now: 3 };
    rig.volume.add_holder(&new).unwrap();
    let zero = report(&rig, OLD).unwrap();
    assert_eq!((zero.references, zero.pins), (None, vec!["snapshot s1".to_owned()]));
    assert_eq!(state(&rig.volume, OLD), Some(KeyState::Empty), "nothing has moved");
    let mut keep = |_: &crate::volume::life::Statement, _: &str| Ok(());
    let retired = rig.volume.retire(OLD, &by(20), &clock, &mut keep).unwrap();
    assert_eq!(retired.statement.tag_digest, crate::units::hex(&report(&rig, OLD).unwrap().tag_digest));
    assert_eq!(report(&rig, OLD).unwrap().references, None, "also where it is disabled");
    rig.start_rotation(spec(Suite::Aes256Xts).suite);
    assert_eq!(report(&rig, OLD).unwrap().references, None);
}

/// A clock on which every wait takes as long as it is asked to, at once.
struct RunningOut(std::cell::Cell<std::time::Duration>);

impl crate::volume::life::Clock for RunningOut {
    fn elapsed(&self) -> std::time::Duration {
        self.0.get()
    }

    fn sleep(&self, time: std::time::Duration) {
        self.0.set(self.0.get() + time);
    }
}
