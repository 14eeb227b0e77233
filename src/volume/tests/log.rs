//! The intent log's rules, one by one, and the pipeline's own sequence through a ring that is reused many times.

use super::*;
use crate::format::intents::Image;

fn intent(extent: u32, old: u32, new: u32) -> Intent {
    let image = Image::Fingerprints(vec![1]);
    Intent { extent: Extent(extent), old: Generation(old), new: Generation(new), image }
}

/// Takes one extent through intent, data and commit; gives the log afterwards.
fn rewrite(log: &mut IntentLog, extent: u32, old: u32, new: u32) {
    let record = log.append(Vec::new(), vec![intent(extent, old, new)]).unwrap();
    assert!(log.flushed(record.sequence, &[]).is_empty());
    assert!(log.may_write(Extent(extent)));
    assert!(log.flushed(record.sequence, &[Extent(extent)]).is_empty());
    let record = log.append(log.ready_commits(), Vec::new()).unwrap();
    assert_eq!(log.flushed(record.sequence, &[]), [Extent(extent)]);
}

#[test]
fn data_waits_for_the_intents_flush_and_commits_for_the_datas() {
    let mut log = IntentLog::empty(8, 0);
    let record = log.append(Vec::new(), vec![intent(5, 1, 2)]).unwrap();
    assert!(!log.may_write(Extent(5)), "the intent is not durable");
    log.flushed(record.sequence, &[]);
    assert!(log.may_write(Extent(5)));
    let early = vec![Commit { extent: Extent(5), generation: Generation(2), intent: record.sequence }];
    assert_eq!(log.append(early, Vec::new()), Err(Refused::NoData(Extent(5))));
    assert!(log.ready_commits().is_empty());
    log.flushed(record.sequence, &[Extent(5)]);
    assert_eq!(log.ready_commits(), [Commit { extent: Extent(5), generation: Generation(2), intent: 1 }]);
}

#[test]
fn an_extent_has_one_intent_unless_its_commit_rides_along() {
    let mut log = IntentLog::empty(8, 0);
    let record = log.append(Vec::new(), vec![intent(3, 1, 2)]).unwrap();
    log.flushed(record.sequence, &[]);
    assert!(log.is_busy(Extent(3)));
    assert_eq!(log.append(Vec::new(), vec![intent(3, 2, 1)]), Err(Refused::TwoIntents(Extent(3))));
    log.flushed(record.sequence, &[Extent(3)]);
    assert!(!log.is_busy(Extent(3)), "its commit can ride in the next record");
    let record = log.append(log.ready_commits(), vec![intent(3, 2, 1)]).unwrap();
    assert_eq!((record.commits.len(), record.intents.len()), (1, 1));
}

#[test]
fn a_slot_is_reused_only_after_a_checkpoint() {
    let mut log = IntentLog::empty(4, 0);
    rewrite(&mut log, 0, 1, 2);
    rewrite(&mut log, 1, 1, 2);
    assert!(!log.has_room());
    assert_eq!(log.append(Vec::new(), vec![intent(2, 1, 2)]), Err(Refused::RingFull));
    assert_eq!(log.tail_after_checkpoint(), 4);
    log.checkpointed(4);
    assert!(log.has_room());
    assert_eq!(log.in_use(), 0);
}

#[test]
fn the_tail_stays_before_the_oldest_live_intent() {
    let mut log = IntentLog::empty(8, 0);
    let first = log.append(Vec::new(), vec![intent(0, 1, 2)]).unwrap();
    log.flushed(first.sequence, &[]);
    let second = log.append(Vec::new(), vec![intent(1, 1, 2)]).unwrap();
    log.flushed(second.sequence, &[Extent(0)]);
    assert_eq!(log.tail_after_checkpoint(), 0, "both intents are live");
    let third = log.append(log.ready_commits(), Vec::new()).unwrap();
    assert_eq!(log.tail_after_checkpoint(), 0, "the commit is not durable");
    log.flushed(third.sequence, &[Extent(1)]);
    assert_eq!(log.tail_after_checkpoint(), 1, "only extent 1's intent, in record 2, is live");
}

#[test]
fn a_voided_intent_commits_its_old_generation() {
    let mut log = IntentLog::empty(8, 0);
    let record = log.append(Vec::new(), vec![intent(7, 1, 2)]).unwrap();
    log.flushed(record.sequence, &[]);
    log.void(Extent(7));
    assert_eq!(log.ready_commits(), [Commit { extent: Extent(7), generation: Generation(1), intent: 1 }]);
}

#[test]
fn a_long_rotation_with_checkpoints_never_fills_the_ring() {
    let mut log = IntentLog::empty(8, 100);
    for round in 0..1000u32 {
        if log.in_use() * 2 >= 8 {
            log.checkpointed(log.tail_after_checkpoint());
        }
        rewrite(&mut log, round % 7, round, round + 1);
    }
    assert_eq!(log.live_intents(), 0);
    assert_eq!(log.next(), 2101);
}

#[test]
fn an_intent_stuck_for_want_of_a_key_pins_the_tail() {
    let stuck = [(Extent(2), 11, Generation(1), Generation(2))];
    let mut log = IntentLog::with_stuck(4, 10, 12, &stuck);
    assert!(log.is_settled(), "nothing of a pipeline is under way");
    assert_eq!(log.tail_after_checkpoint(), 10);
    assert!(log.has_room());
    let record = log.append(Vec::new(), vec![intent(0, 1, 2)]).unwrap();
    log.flushed(record.sequence, &[]);
    log.append(Vec::new(), vec![intent(1, 1, 2)]).unwrap();
    assert!(!log.has_room(), "slots of records 11 to 14 are all live");
}
