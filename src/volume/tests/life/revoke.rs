//! Revocation: extents that answer EIO, a key that is gone, and everything else as before.

use std::cell::RefCell;
use std::rc::Rc;

use super::super::rig::{Client, engine};
use super::*;
use crate::units::Extent;
use crate::volume::check::OnlineOptions;
use crate::volume::executor::{IoFailure, RequestKind};
use crate::volume::life::SystemClock;

/// A volume in which the first two extents carry generation 2, the others generation 1, and nothing is under way.
fn half(mode: WriteMode, detached: bool) -> (Rig, Vec<u8>) {
    let (mut rig, content) = rotating(mode, detached);
    rig.step(2).unwrap();
    rig.pipeline.drain(NEW).unwrap();
    assert_eq!(rig.behind().len(), 4);
    (rig, content)
}

/// What carries generation 1 answers EIO, whatever is asked; the rest is served.
fn is_cut_off(client: &mut Client, content: &[u8]) {
    let (served, closed) = (0, 3 * EXTENT);
    assert!(client.read(served, 8192).unwrap() == content[..8192]);
    client.write(served, &content[..8192]).unwrap();
    assert_eq!(client.read(closed, 4096), Err(IoFailure::Io));
    for outcome in [
        client.write(closed, &[9; 4096]),
        client.write(closed + 100, &[9; 100]),
        client.trim(closed, 8192),
        client.zero(closed, 8192, true),
        client.zero(closed, 8192, false),
        client.zero(closed + 10, 20, false),
    ] {
        assert!(matches!(outcome, Err(IoFailure::Io)), "{outcome:?}");
    }
    let across = client.read(EXTENT, 2 * EXTENT as usize);
    assert_eq!((across, client.failed_at), (Err(IoFailure::Io), Some(2 * EXTENT)), "and says where");
}

#[test]
fn its_extents_answer_eio_until_it_is_reinstated_and_nothing_is_lost() {
    for (mode, detached) in [(WriteMode::InPlace, false), (WriteMode::InPlace, true), (WriteMode::Journal, false)] {
        let (mut rig, content) = half(mode, detached);
        let revoked = rig.volume.revoke(OLD, &by(20), &still()).unwrap();
        assert_eq!((revoked.left_memory, revoked.extents), (Some(Duration::ZERO), 4));
        is_cut_off(&mut rig.client, &content);
        rig.reopen();
        assert_eq!(state(&rig.volume, OLD), KeyState::Revoked);
        is_cut_off(&mut rig.client, &content);
        let report = check(&rig.disks);
        let found = |name: &str| report.findings.iter().filter(|finding| finding.name == name).count();
        assert_eq!((found("tag-revoked"), found("data-revoked"), report.data.unwrap().extents_unread), (1, 1, 4));
        let options = OnlineOptions { full: true, bytes_per_s: None };
        let online = rig.volume.check_online(&rig.keks, options, &mut |_, _| true).unwrap();
        assert!(online.passed, "{:?}", online.findings);
        assert!(why(rig.volume.roll_back(&by(21))).contains("generation 1 is revoked: it cannot be activated"));
        let reinstated = reinstate(&rig.volume, OLD, &by(30)).unwrap();
        assert_eq!((reinstated.extents, reinstated.barred, state(&rig.volume, OLD)), (4, 0, KeyState::Draining));
        assert!(rig.client.content() == content);
        rig.rotate().unwrap();
        rig.reopen();
        assert!(rig.client.content() == content);
        check(&rig.disks);
    }
}

/// A rotation passes over what it cannot read, cannot be finalized over it, and ends when it is back.
#[test]
fn a_rotation_goes_on_without_its_extents() {
    let (mut rig, content) = half(WriteMode::InPlace, false);
    rig.volume.revoke(OLD, &by(20), &still()).unwrap();
    for _ in 0..3 {
        rig.step(4).unwrap();
    }
    rig.pipeline.drain(NEW).unwrap();
    assert_eq!((rig.behind().len(), rig.volume.poisoned()), (4, None));
    assert_eq!(rig.volume.read_all_back(1_000_000, &mut |_| true).unwrap(), 2, "what can be read is");
    rig.volume.update_rotation(|rotation| rotation.phase = Phase::Drained).unwrap();
    let refused = why(rig.volume.finalize(&by(21)));
    assert!(refused.contains("4 extents or live intents still refer to generation 1, which is revoked"), "{refused}");
    rig.volume.update_rotation(|rotation| rotation.phase = Phase::Running).unwrap();
    let third = rig.start_rotation(Suite::Aes256Xts);
    rig.step(4).unwrap();
    rig.pipeline.drain(third).unwrap();
    assert_eq!(rig.behind(), [2, 3, 4, 5].map(Extent));
    reinstate(&rig.volume, OLD, &by(30)).unwrap();
    rig.rotate().unwrap();
    rig.volume.update_rotation(|rotation| rotation.phase = Phase::Drained).unwrap();
    assert_eq!(rig.volume.finalize(&by(40)).unwrap(), [OLD, NEW]);
    assert!(rig.client.content() == content);
}

/// A read that the device has holds the key; the revocation waits for it, and no longer than it promises.
#[test]
fn requests_under_way_end_and_only_then_the_key_is_gone() {
    let (rig, content) = half(WriteMode::InPlace, false);
    let client = Rc::new(RefCell::new(Client::new(&rig.volume, engine())));
    client.borrow_mut().start(RequestKind::Read { offset: 3 * EXTENT, len: 4096 });
    let looks = Cell::new(0);
    let answers = RefCell::new(Vec::new());
    let clock = TestClock::new(|| {
        looks.set(looks.get() + 1);
        if looks.get() == 5 {
            answers.borrow_mut().extend(client.borrow_mut().pump());
        }
    });
    let revoked = rig.volume.revoke(OLD, &by(20), &clock).unwrap();
    assert_eq!(revoked.left_memory, Some(Duration::from_millis(5)));
    let answers = answers.into_inner();
    assert!(super::super::rig::bytes_of(answers[0].1.as_ref().unwrap()) == content[3 * EXTENT as usize..][..4096]);
    reinstate(&rig.volume, OLD, &by(21)).unwrap();
    let stuck = rig.volume.keyring.get(OLD);
    let revoked = rig.volume.revoke(OLD, &by(22), &still()).unwrap();
    assert_eq!((revoked.left_memory, state(&rig.volume, OLD)), (None, KeyState::Revoked), "said, not hidden");
    drop(stuck);
}

/// By the machine's own clock, on a volume that nothing uses.
#[test]
fn the_key_of_an_idle_volume_is_gone_at_once() {
    let (rig, _) = half(WriteMode::InPlace, false);
    assert!(rig.volume.revoke(OLD, &by(20), &SystemClock::default()).unwrap().left_memory.is_some());
}

/// A crash, and before it a batch that did not end in time: records name the key that is not there any more.
#[test]
fn live_intents_that_name_it_bar_their_extents_and_are_settled_when_it_is_back() {
    for mode in [WriteMode::InPlace, WriteMode::Journal] {
        let (mut rig, content) = rotating(mode, false);
        rig.step(2).unwrap();
        assert_eq!(rig.volume.meta().log.live_intents(), 2);
        rig.volume.revoke(OLD, &by(20), &still()).unwrap();
        rig.reopen();
        assert_eq!((rig.volume.recovered().barred, rig.volume.poisoned()), (2, None));
        assert_eq!(rig.client.read(0, 4096), Err(IoFailure::Io));
        check_allows_barred(&rig.disks);
        let reinstated = reinstate(&rig.volume, OLD, &by(30)).unwrap();
        assert_eq!(reinstated.barred, 2);
        assert!(rig.client.read(2 * EXTENT, 4096).unwrap() == content[2 * EXTENT as usize..][..4096]);
        rig.reopen();
        assert_eq!((rig.volume.recovered().barred, rig.volume.recovered().rolled_forward), (0, 2));
        assert!(rig.client.content() == content);
        rig.rotate().unwrap();
        assert!(rig.client.content() == content);
    }
}

fn check_allows_barred(disks: &Disks) {
    let keks = OpenKek::list();
    let depth = Depth { keks: Some(&keks), full: false, repair: false };
    let report = check_disks(Arc::clone(&disks.data), None, depth, &mut |_, _| {}).unwrap();
    assert!(report.passed && report.findings.iter().any(|finding| finding.name == "ring-barred"));
}

/// What encrypts new writes is not revoked: there would be nothing to write with.
#[test]
fn the_target_is_not_revoked_and_what_is_empty_comes_back_empty() {
    let (rig, _) = finalized(WriteMode::InPlace, false);
    assert!(why(rig.volume.revoke(NEW, &by(20), &still())).contains("start a rotation away from it first"));
    rig.volume.revoke(OLD, &by(20), &still()).unwrap();
    assert!(why(retire(&rig.volume, &still())).contains("reinstate it first"));
    reinstate(&rig.volume, OLD, &by(21)).unwrap();
    assert_eq!(state(&rig.volume, OLD), KeyState::Empty);
}

/// Found by the simulated machine: of one batch some intents named the revoked key and some did not. Recovery rolled those
/// forward and checkpointed their tags, but the others pinned the ring's tail; the next open replayed all of them, found
/// tags that its intents did not expect, and refused the volume.
#[test]
fn what_is_rolled_forward_beside_barred_extents_stays_so() {
    for mode in [WriteMode::InPlace, WriteMode::Journal] {
        let (mut rig, content) = half(mode, false);
        let third = rig.start_rotation(Suite::Aes256Xts);
        let candidates = [1, 2, 3].map(Extent);
        rig.pipeline.step(&candidates, third, 0).unwrap();
        assert_eq!(rig.volume.meta().log.live_intents(), 3, "one leaves generation 2, two leave generation 1");
        rig.volume.revoke(OLD, &by(20), &still()).unwrap();
        for opened in 0..3 {
            rig.reopen();
            let recovered = rig.volume.recovered();
            assert_eq!((recovered.barred, recovered.rolled_forward), (2, u64::from(opened == 0)));
            assert!(rig.client.read(EXTENT, 4096).unwrap() == content[EXTENT as usize..][..4096]);
        }
        check_allows_barred(&rig.disks);
        reinstate(&rig.volume, OLD, &by(30)).unwrap();
        rig.reopen();
        assert!(rig.client.content() == content);
        rig.rotate().unwrap();
        assert!(rig.client.content() == content);
        check(&rig.disks);
    }
}
