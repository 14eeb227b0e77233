//! Retirement and its proof.

use super::*;

#[test]
fn nothing_needs_it_so_its_key_leaves_memory_and_can_come_back() {
    for (mode, detached) in [(WriteMode::InPlace, false), (WriteMode::InPlace, true), (WriteMode::Journal, false)] {
        let (mut rig, content) = finalized(mode, detached);
        let (retired, kept) = retire(&rig.volume, &still()).unwrap();
        assert!(retired.left_memory && rig.volume.is_closed(OLD));
        let statement = &retired.statement;
        assert_eq!((statement.generation, statement.extents.get(&2)), (1, Some(&EXTENTS)));
        assert_eq!((statement.extents.len(), statement.time, statement.holders.len()), (1, 20, 0));
        assert_eq!(rig.volume.table().entry(OLD).unwrap().life.evidence, retired.digest);
        let verdict = rig.volume.verify_statement(&kept).unwrap();
        assert!(verdict.authentic && verdict.on_record && verdict.digest == retired.digest);
        rig.reopen();
        assert_eq!((state(&rig.volume, OLD), rig.volume.is_closed(OLD)), (KeyState::Disabled, true));
        assert!(rig.client.content() == content);
        assert!(rig.volume.verify_statement(&kept).unwrap().on_record, "whoever opens the volume can check it");
        check(&rig.disks);
        restore(&rig.volume, OLD, &by(30)).unwrap();
        assert_eq!((state(&rig.volume, OLD), rig.volume.is_closed(OLD)), (KeyState::Empty, false));
        assert!(!rig.volume.verify_statement(&kept).unwrap().on_record, "it is not retired any more");
        rig.reopen();
        assert_eq!((state(&rig.volume, OLD), rig.volume.is_closed(OLD)), (KeyState::Empty, false));
        check(&rig.disks);
    }
}

#[test]
fn a_statement_that_was_changed_or_is_of_another_volume_is_not_authentic() {
    let (rig, _) = finalized(WriteMode::InPlace, false);
    let (_, kept) = retire(&rig.volume, &still()).unwrap();
    for changed in [kept.replace("\"generation\":1", "\"generation\":2"), kept.replace("why not", "why yes")] {
        assert_ne!(changed, kept);
        let verdict = rig.volume.verify_statement(&changed).unwrap();
        assert!(!verdict.authentic && !verdict.on_record);
    }
    let (other, _) = finalized(WriteMode::InPlace, false);
    assert!(!other.volume.verify_statement(&kept).unwrap().authentic);
    for none in ["", "{}", "[]", &kept.replace("\"kind\"", "\"sort\""), &kept.replace("retirement 1", "retirement 2")] {
        assert!(why(rig.volume.verify_statement(none)).contains("not a retirement statement"), "{none}");
    }
}

/// A request that began before holds the key: it is waited for, and if it does not end nothing has changed.
#[test]
fn a_request_under_way_is_waited_for() {
    let (rig, _) = finalized(WriteMode::InPlace, false);
    let held = Cell::new(rig.volume.keyring.get(OLD));
    let clock = still();
    assert!(why(retire(&rig.volume, &clock)).contains("requests that began before"));
    assert_eq!((state(&rig.volume, OLD), clock.elapsed().as_secs()), (KeyState::Empty, 10));
    assert!(!rig.volume.is_closed(OLD));
    let clock = TestClock::new(|| drop(held.take()));
    assert!(retire(&rig.volume, &clock).unwrap().0.left_memory);
}

/// Found by the scan alone: the table says empty, but a page of the device still names it.
#[test]
fn what_the_device_still_names_is_not_retired() {
    let (mut rig, content) = rotating(WriteMode::InPlace, false);
    rig.step(2).unwrap();
    rig.pipeline.drain(NEW).unwrap();
    rig.volume.commit_table(|table| table.rotation.rollback_to = None).unwrap();
    rig.volume.commit_table(|table| table.entry_mut(OLD).unwrap().state = KeyState::Empty).unwrap();
    let why = why(retire(&rig.volume, &still()));
    assert!(why.contains("4 extents, 4 tags of pages, 0 records and 0 live intents"), "{why}");
    assert!(rig.client.content() == content);
}

#[test]
fn it_is_refused_while_there_is_a_way_back_and_if_its_proof_cannot_be_kept() {
    let (rig, _) = rotating(WriteMode::InPlace, false);
    assert!(why(retire(&rig.volume, &still())).contains("generation 1 is draining: it cannot be retired"));
    assert!(why(rig.volume.schedule(OLD, 9, &by(1))).contains("it cannot be scheduled for destruction"));
    assert!(why(rig.volume.schedule(Generation(9), 9, &by(1))).contains("no generation 9"));
    assert!(why(rig.volume.schedule(Generation(0), 9, &by(1))).contains("metadata key"));
    let (rig, _) = finalized(WriteMode::InPlace, false);
    let full = |_: &Statement, _: &str| Err(VolumeError::Refused("the disk is full".into()));
    assert!(why(rig.volume.retire(OLD, &by(1), &still(), &mut { full })).contains("full"));
    assert_eq!((state(&rig.volume, OLD), rig.volume.is_closed(OLD)), (KeyState::Empty, false));
    let read_only = Arc::new(rig.disks.open(&rig.keks, EngineKind::AwsLc, true).unwrap());
    assert!(why(retire(&read_only, &still())).contains("read-only"));
}

/// Generation 1 is retired in the middle of a rotation from 2 to 3, whose records are in the ring.
#[test]
fn a_rotation_of_others_is_no_obstacle() {
    let (mut rig, content) = finalized(WriteMode::InPlace, false);
    rig.start_rotation(Suite::Aes256Xts);
    rig.step(2).unwrap();
    rig.step(2).unwrap();
    let (retired, _) = retire(&rig.volume, &still()).unwrap();
    assert!(retired.statement.extents.keys().all(|generation| *generation > 1));
    rig.rotate().unwrap();
    assert!(rig.client.content() == content);
    rig.reopen();
    assert!(rig.client.content() == content);
    check(&rig.disks);
}
