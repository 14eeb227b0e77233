//! A key is made, taken, held, given up, activated.

use super::super::kek::{NamedKek, OpenKek};
use super::super::rig::spec;
use super::*;
use crate::format::canary;
use crate::format::generations::Phase;

fn make(rig: &Rig, number: Generation) -> Handover {
    let made = rig.volume.make_key_to_share(&rig.keks, &spec(Suite::Aes256Xts), number);
    let (new, handover) = made.unwrap();
    let held = rig.volume.hold_prepared(new).unwrap();
    assert_eq!((held.generation, held.key_id, held.check), (number, handover.key_id, handover.check));
    assert_eq!(held.wraps.len(), rig.keks.len());
    handover
}

fn take(rig: &Rig, handover: &Handover) -> Result<(), VolumeError> {
    let new = rig.volume.take_key(&rig.keks, handover, &by(3))?;
    let held = rig.volume.hold_prepared(new)?;
    assert_eq!((held.key_id, held.check), (handover.key_id, handover.check));
    Ok(())
}

/// The whole way on one replica, with every step done twice and the volume opened anew in between.
#[test]
fn from_its_making_to_the_end_of_its_rotation() {
    for (mode, detached) in [(WriteMode::InPlace, false), (WriteMode::InPlace, true), (WriteMode::Journal, false)] {
        let mut rig = Rig::new(&small(mode), Suite::Aes256Xts, detached, EngineKind::AwsLc);
        let content = pattern(SIZE, 5);
        rig.client.write(0, &content).unwrap();
        rig.client.flush().unwrap();
        let handover = make(&rig, NEW);
        assert_eq!(rig.target(), OLD, "nothing is written under it yet");
        rig.reopen();
        take(&rig, &arrived(&handover)).unwrap();
        assert_eq!(state(&rig.volume, NEW), Some(KeyState::Prepared));
        let proof = rig.volume.prove_again(NEW).unwrap();
        assert_eq!((proof.key_id, proof.state), (handover.key_id, KeyState::Prepared));
        assert!(rig.volume.activate_prepared(NEW, &spec(Suite::Aes256Xts)).unwrap());
        assert!(!rig.volume.activate_prepared(NEW, &spec(Suite::Aes256Xts)).unwrap());
        let rotation = rig.volume.rotation();
        assert_eq!((rotation.target, rotation.rollback_to, rotation.id), (NEW, Some(OLD), 1));
        assert!(rotation.hold_finalize && rotation.phase == Phase::Running);
        assert!(why(rig.volume.abandon(NEW, &by(4))).contains("is active: only a prepared one"));
        rig.rotate().unwrap();
        rig.reopen();
        assert!(rig.client.content() == content);
        take(&rig, &handover).unwrap();
        assert_eq!(rig.volume.census().len(), 1);
        rig.volume.update_rotation(|rotation| rotation.phase = Phase::Drained).unwrap();
        assert_eq!(rig.volume.finalize(&by(9)).unwrap(), [OLD]);
        assert_eq!(rig.volume.rotation().rollback_to, None);
    }
}

/// What is on the device of a key that was given up: nothing, wherever it stood; and its number is free.
#[test]
fn a_key_that_is_given_up_leaves_nothing() {
    let mut rig = rig();
    let first = make(&rig, NEW);
    let blob = rig.volume.table().entry(NEW).unwrap().wraps[0].blob.clone();
    let slot = rig.volume.table().entry(NEW).unwrap().canary_slot;
    let stands = |rig: &Rig| {
        let zones = rig.volume.meta().superblock.zones;
        let mut header = vec![0; zones.tags.offset as usize];
        rig.disks.data.read_at(0, &mut header).unwrap();
        let place = (zones.canaries.offset + u64::from(slot) * canary::SLOT) as usize;
        let canary = header[place..place + canary::SLOT as usize].iter().any(|byte| *byte != 0);
        (header.windows(16).filter(|window| *window == &blob[..16]).count(), canary)
    };
    assert_eq!(stands(&rig), (2, true), "in both tables, and its canary");
    assert!(rig.volume.abandon(NEW, &by(4)).unwrap());
    assert_eq!((stands(&rig), state(&rig.volume, NEW)), ((0, false), None));
    assert!(rig.volume.is_closed(NEW) && !rig.volume.openings().contains_key(&NEW));
    assert!(!rig.volume.abandon(NEW, &by(5)).unwrap());
    let second = made_elsewhere(&rig.volume, NEW, Suite::Aes128Xts);
    take(&rig, &second).unwrap();
    assert!(why(take(&rig, &first)).contains("generation 7 is prepared with another key: abandon that one first"));
    rig.reopen();
    assert_eq!(rig.volume.table().entry(NEW).unwrap().key_id, second.key_id);
    assert!(why(rig.volume.activate_prepared(NEW, &spec(Suite::Aes256Xts))).contains("its suite is 2"));
    assert!(rig.volume.activate_prepared(NEW, &spec(Suite::Aes128Xts)).unwrap());
}

/// A crash between the commit and the canary's erasure: the canary is nobody's, and goes when the key is given up again.
#[test]
fn giving_up_once_more_does_the_rest() {
    let rig = rig();
    let zone = rig.volume.meta().superblock.zones.canaries;
    let stray = vec![0x5a; canary::SLOT as usize];
    rig.disks.data.write_at(zone.offset + 9 * canary::SLOT, &stray).unwrap();
    assert!(!rig.volume.abandon(NEW, &by(1)).unwrap());
    let mut blocks = vec![0; zone.length as usize];
    rig.disks.data.read_at(zone.offset, &mut blocks).unwrap();
    let used: Vec<usize> =
        (0..256).filter(|slot| blocks[slot * 8192..(slot + 1) * 8192].iter().any(|byte| *byte != 0)).collect();
    assert_eq!(used, [1], "the canary of generation 1");
}

#[test]
fn what_does_not_fit_is_not_taken() {
    let rig = rig();
    let good = || made_elsewhere(&rig.volume, NEW, Suite::Aes256Xts);
    let refused = |what: &str, handover: Handover| {
        let before = rig.volume.table();
        let why = why(take(&rig, &handover));
        assert!(why.contains(what), "{why}");
        assert_eq!(rig.volume.table(), before);
    };
    refused("check value", Handover { check: [1; 16], ..good() });
    refused("check value", Handover { key_id: [1; 16], ..good() });
    refused("check value", Handover { generation: Generation(8), ..good() });
    refused("check value", Handover { tweak_base: 1, ..good() });
    refused("suite 3 is unknown", Handover { suite: 3, ..good() });
    refused("its data unit is 512", Handover { data_unit: 512, tweak_unit: 512, ..good() });
    refused("would be plaintext", handover(&rig.volume, NEW, Suite::None, Secret::zeroed(0)));
    refused("generation 0 is active with another key", made_elsewhere(&rig.volume, Generation(0), Suite::Aes256Xts));
    refused("generation 1 is active with another key", made_elsewhere(&rig.volume, OLD, Suite::Aes256Xts));
    let other = self::rig();
    refused("check value", made_elsewhere(&other.volume, NEW, Suite::Aes256Xts));
    for (key, suite) in [(Secret::zeroed(64), Suite::Aes256Xts), (Secret::zeroed(32), Suite::Aes256Xts)] {
        let taken = take(&rig, &handover(&rig.volume, NEW, suite, key));
        assert!(matches!(taken, Err(VolumeError::Crypto(_))), "halves that are equal, a key too short: {taken:?}");
    }
    let spec = spec(Suite::Aes256Xts);
    assert!(why(rig.volume.make_key_to_share(&rig.keks, &spec, OLD).map(|_| ())).contains("next number"));
    let plain = crate::volume::lifecycle::RotationSpec { suite: Suite::None, ..spec };
    assert!(why(rig.volume.make_key_to_share(&rig.keks, &plain, NEW).map(|_| ())).contains("suite none has no key"));
    assert!(why(rig.volume.activate_prepared(NEW, &plain)).contains("no generation 7"));
}

/// A KEK that slips is noticed before anything is written; one that is not asked cannot.
#[test]
fn keepers_are_asked_once() {
    let rig = rig();
    let handover = made_elsewhere(&rig.volume, NEW, Suite::Aes256Xts);
    let bad = [NamedKek::kek("bad", true)];
    let taken = rig.volume.take_key(&bad, &handover, &by(1)).map(|_| ());
    assert!(why(taken).contains("does not give back what it wrapped"));
    take(&rig, &handover).unwrap();
    let again = rig.volume.take_key(&bad, &handover, &by(1)).unwrap();
    assert_eq!(rig.volume.hold_prepared(again).unwrap().wraps.len(), 1, "it is wrapped already");
}

/// The same number and id with another key: the canary tells.
#[test]
fn another_key_under_the_same_name_is_found_out() {
    let rig = rig();
    let first = made_elsewhere(&rig.volume, NEW, Suite::Aes256Xts);
    take(&rig, &first).unwrap();
    let mut second = made_elsewhere(&rig.volume, NEW, Suite::Aes256Xts);
    second.key_id = first.key_id;
    second.check = check_value(rig.volume.id(), &entry_from(&second, Life::default()), &second.key);
    let taken = take(&rig, &second);
    assert!(matches!(taken, Err(VolumeError::Canary { generation: NEW })), "{taken:?}");
    let mut third = arrived(&first);
    third.tweak_base = 5;
    third.check = check_value(rig.volume.id(), &entry_from(&third, Life::default()), &third.key);
    assert!(why(take(&rig, &third)).contains("another suite or data unit"));
}

/// A key that is prepared for the next rotation is still prepared when the one before it is finalized; one that was left
/// behind is not.
#[test]
fn finalizing_leaves_what_comes_next() {
    let mut rig = rig();
    rig.start_rotation(Suite::Aes256Xts);
    take(&rig, &made_elsewhere(&rig.volume, NEW, Suite::Aes256Xts)).unwrap();
    rig.rotate().unwrap();
    rig.volume.update_rotation(|rotation| rotation.phase = Phase::Drained).unwrap();
    assert_eq!(rig.volume.finalize(&by(9)).unwrap(), [OLD]);
    assert_eq!(state(&rig.volume, NEW), Some(KeyState::Prepared));
    let next = rig.start_rotation(Suite::Aes256Xts);
    rig.rotate().unwrap();
    rig.volume.update_rotation(|rotation| rotation.phase = Phase::Drained).unwrap();
    assert_eq!((next, rig.volume.finalize(&by(9)).unwrap()), (Generation(8), vec![Generation(2), NEW]));
    assert!(why(rig.volume.activate_prepared(NEW, &spec(Suite::Aes256Xts))).contains("it is empty, not prepared"));
}

/// What one replica has, another one that lacks it can be given later; but not what is withdrawn.
#[test]
fn a_key_can_be_handed_over_again() {
    let rig = rig();
    let made = make(&rig, NEW);
    let again = rig.volume.handover(&OpenKek::list(), NEW).unwrap();
    assert!(again.key.ct_eq(&made.key) && again.check == made.check && again.key_id == made.key_id);
    assert!(why(rig.volume.handover(&rig.keks, Generation(0)).map(|_| ())).contains("every replica has its own"));
    let clock = crate::volume::life::SystemClock::default();
    rig.volume.revoke(NEW, &by(3), &clock).unwrap();
    assert!(why(rig.volume.handover(&rig.keks, NEW).map(|_| ())).contains("is revoked"));
    assert!(why(rig.volume.abandon(NEW, &by(4))).contains("is revoked: only a prepared one"));
}
