//! The log's rules: what each refuses, and that a whole pipeline passes.

use super::*;
use crate::format::intents::Image;

const A: Generation = Generation(1);
const B: Generation = Generation(2);

fn intent(extent: u32, old: Generation, new: Generation) -> Intent {
    Intent { extent: Extent(extent), old, new, image: Image::Fingerprints(Vec::new()) }
}

fn flushed(log: &mut IntentLog, written: &[u32]) -> Vec<Extent> {
    let extents: Vec<Extent> = written.iter().map(|extent| Extent(*extent)).collect();
    log.flushed(log.next() - 1, &extents)
}

#[test]
fn an_intent_goes_from_written_to_committed_one_flush_at_a_time() {
    let mut log = IntentLog::empty(8, 0);
    assert_eq!(log.append(vec![], vec![intent(5, A, B)]).unwrap().sequence, 1);
    assert!(!log.may_write(Extent(5)), "not durable yet");
    assert_eq!(flushed(&mut log, &[]), []);
    assert!(log.may_write(Extent(5)));
    assert_eq!(log.ready_commits(), [], "its data is not written");
    assert_eq!(flushed(&mut log, &[5]), []);
    assert!(!log.may_write(Extent(5)), "it is written already");
    let commits = log.ready_commits();
    assert_eq!(commits, [Commit { extent: Extent(5), generation: B, intent: 1 }]);
    log.append(commits, vec![]).unwrap();
    assert_eq!(flushed(&mut log, &[]), [Extent(5)]);
    assert!(log.is_settled() && log.live_intents() == 0);
}

#[test]
fn a_flush_that_began_before_the_record_proves_nothing_for_it() {
    let mut log = IntentLog::empty(8, 0);
    log.append(vec![], vec![intent(5, A, B)]).unwrap();
    assert_eq!(log.flushed(0, &[]), []);
    assert!(!log.may_write(Extent(5)));
}

#[test]
fn a_commit_needs_durable_data() {
    let mut log = IntentLog::empty(8, 0);
    let commit = Commit { extent: Extent(5), generation: B, intent: 1 };
    assert_eq!(log.append(vec![commit], vec![]), Err(Refused::NoData(Extent(5))), "no intent");
    log.append(vec![], vec![intent(5, A, B)]).unwrap();
    assert_eq!(log.append(vec![commit], vec![]), Err(Refused::NoData(Extent(5))), "intent not durable");
    flushed(&mut log, &[]);
    assert_eq!(log.append(vec![commit], vec![]), Err(Refused::NoData(Extent(5))), "data not written");
    flushed(&mut log, &[5]);
    let stale = Commit { intent: 9, ..commit };
    assert_eq!(log.append(vec![stale], vec![]), Err(Refused::NoData(Extent(5))), "another intent");
    log.append(vec![commit], vec![]).unwrap();
    assert_eq!(log.append(vec![commit], vec![]), Err(Refused::NoData(Extent(5))), "committed already");
}

#[test]
fn an_extent_has_one_intent_but_the_next_may_ride_with_its_commit() {
    let mut log = IntentLog::empty(8, 0);
    log.append(vec![], vec![intent(5, A, B)]).unwrap();
    for written in [&[] as &[u32], &[5]] {
        assert!(log.is_busy(Extent(5)));
        assert_eq!(log.append(vec![], vec![intent(5, B, A)]), Err(Refused::TwoIntents(Extent(5))));
        flushed(&mut log, written);
    }
    assert!(!log.is_busy(Extent(5)), "its commit can ride in the next record");
    assert_eq!(log.append(vec![], vec![intent(5, B, A)]), Err(Refused::TwoIntents(Extent(5))), "but it must");
    let commits = log.ready_commits();
    let record = log.append(commits, vec![intent(5, B, A)]).unwrap();
    assert_eq!((record.commits.len(), record.intents.len()), (1, 1));
    assert!(log.is_busy(Extent(5)));
}

#[test]
fn a_slot_is_reused_only_behind_the_tail_and_the_tail_stays_before_live_intents() {
    let mut log = IntentLog::empty(3, 0);
    log.append(vec![], vec![intent(1, A, B)]).unwrap();
    flushed(&mut log, &[]);
    for _ in 0..2 {
        log.append(vec![], vec![]).unwrap();
        flushed(&mut log, &[]);
    }
    assert_eq!(log.in_use(), 3);
    assert!(!log.has_room());
    assert_eq!(log.append(vec![], vec![]), Err(Refused::RingFull));
    assert_eq!(log.tail_after_checkpoint(), 0, "record 1 holds a live intent");
    flushed(&mut log, &[1]);
    assert_eq!(log.tail_after_checkpoint(), 0, "its data is durable, its commit is not");
}

#[test]
fn a_checkpoint_frees_what_is_durable_and_settled() {
    let mut log = IntentLog::empty(8, 40);
    log.append(vec![], vec![intent(1, A, B)]).unwrap();
    flushed(&mut log, &[]);
    flushed(&mut log, &[1]);
    let commits = log.ready_commits();
    log.append(commits, vec![intent(2, A, B)]).unwrap();
    assert_eq!(log.tail_after_checkpoint(), 40, "the commit is not durable");
    flushed(&mut log, &[]);
    assert_eq!(log.tail_after_checkpoint(), 41, "record 42 carries a live intent");
    log.checkpointed(41);
    assert_eq!(log.in_use(), 1);
    flushed(&mut log, &[2]);
    let commits = log.ready_commits();
    log.append(commits, vec![]).unwrap();
    assert_eq!(log.tail_after_checkpoint(), 41);
    flushed(&mut log, &[]);
    assert_eq!(log.tail_after_checkpoint(), 43);
    log.checkpointed(43);
    assert_eq!(log.in_use(), 0);
}

#[test]
fn a_voided_intent_commits_its_old_generation() {
    let mut log = IntentLog::empty(8, 0);
    log.append(vec![], vec![intent(5, A, B)]).unwrap();
    log.void(Extent(5));
    assert_eq!(log.ready_commits(), [], "not before it is durable");
    flushed(&mut log, &[]);
    log.void(Extent(5));
    assert_eq!(log.ready_commits(), [Commit { extent: Extent(5), generation: A, intent: 1 }]);
    assert!(!log.may_write(Extent(5)));
}

#[test]
fn a_stuck_intent_pins_the_tail_and_counts_as_nobodys() {
    let mut log = IntentLog::with_stuck(8, 10, 12, &[(Extent(5), 11, A, B)]);
    assert_eq!((log.next(), log.in_use()), (13, 2));
    assert!(log.is_settled() && log.is_busy(Extent(5)));
    log.append(vec![], vec![intent(6, A, B)]).unwrap();
    flushed(&mut log, &[]);
    assert!(!log.is_settled());
    assert_eq!(log.tail_after_checkpoint(), 10);
    assert_eq!(log.live_references().collect::<Vec<_>>(), [(Extent(5), A, B), (Extent(6), A, B)]);
}

/// A pipeline over many extents with a checkpoint at half a ring: it never meets a refusal, in the smallest ring allowed.
#[test]
fn a_pipeline_runs_for_ever_in_the_smallest_ring() {
    let slots = crate::limits::RING_SLOTS_MIN;
    let mut log = IntentLog::empty(slots, 0);
    let (mut current, mut written): (Option<u32>, Vec<u32>) = (None, Vec::new());
    let mut named: Option<u64> = None;
    for extent in 0..1000u32 {
        if let Some(current) = current.take() {
            assert!(log.may_write(Extent(current)));
            written.push(current);
        }
        let commits = log.ready_commits();
        log.append(commits, vec![intent(extent, A, B)]).unwrap();
        let begun = (log.in_use() * 2 >= u64::from(slots) && named.is_none()).then(|| log.tail_after_checkpoint());
        flushed(&mut log, &written);
        written.clear();
        if let Some(tail) = named.take() {
            log.checkpointed(tail);
        }
        named = begun;
        current = Some(extent);
    }
    assert!(log.in_use() <= u64::from(slots));
}
