//! The flush clock in every interleaving of a few writes and flushes, and who is told what.

use std::sync::Arc;

use super::*;
use crate::volume::inbox::Bell;

const X: Extent = Extent(70);

fn group() -> FlushGroup {
    FlushGroup::new(128, 128)
}

fn thread_ticket() -> (Ticket, Arc<Bell>) {
    let bell = Arc::new(Bell::default());
    (Ticket::Thread(Arc::clone(&bell)), bell)
}

/// What may happen next in the exhaustive test.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A write to the extent completes.
    Write,
    /// A flush starts, if none runs.
    Start,
    /// The running flush ends well.
    End,
    /// The running flush fails.
    Fail,
}

/// The clock as the rule states it, word for word.
#[derive(Default)]
struct Oracle {
    time: u64,
    last_write: Option<u64>,
    running: Option<u64>,
    /// When the newest flush that has completed well had started.
    covered: Option<u64>,
}

impl Oracle {
    fn is_clean(&self) -> bool {
        self.last_write.is_none_or(|write| self.covered.is_some_and(|start| start > write))
    }
}

/// Every sequence of up to nine steps: the clock never says clean where the rule says dirty, and says clean at the latest
/// when one more flush than the rule needs has run.
#[test]
fn the_clock_never_says_clean_too_early() {
    const STEPS: [Step; 4] = [Step::Write, Step::Start, Step::End, Step::Fail];
    let mut clean_agreed = 0;
    for code in 0..4u32.pow(9) {
        let (flushes, mut oracle) = (group(), Oracle::default());
        let mut failed = false;
        for place in 0..9 {
            oracle.time += 1;
            match STEPS[(code >> (2 * place)) as usize % 4] {
                Step::Write => {
                    flushes.mark(X);
                    oracle.last_write = Some(oracle.time);
                }
                Step::Start if oracle.running.is_none() => {
                    assert_eq!(flushes.ask(thread_ticket().0, false), Ask::Start);
                    oracle.running = Some(oracle.time);
                }
                Step::End => {
                    if let Some(start) = oracle.running.take() {
                        flushes.finish(true);
                        oracle.covered = oracle.covered.max(Some(start));
                    }
                }
                Step::Fail => {
                    if oracle.running.take().is_some() {
                        flushes.finish(false);
                        failed = true;
                    }
                }
                Step::Start => {}
            }
            let clean = flushes.is_clean(X);
            assert!(!clean || oracle.is_clean(), "code {code}: clean too early at step {place}");
            if !failed {
                assert_eq!(clean, oracle.is_clean(), "code {code}: needlessly dirty at step {place}");
                clean_agreed += u64::from(clean && oracle.last_write.is_some());
            }
        }
    }
    assert!(clean_agreed > 0, "no sequence ended clean after a write");
}

#[test]
fn a_write_that_ends_while_a_flush_runs_is_not_covered_by_it() {
    let flushes = group();
    assert_eq!(flushes.ask(thread_ticket().0, false), Ask::Start);
    flushes.mark(X);
    flushes.finish(true);
    assert!(!flushes.is_clean(X));
    assert!(flushes.is_clean(Extent(71)), "its neighbour in the same word");
    assert_eq!(flushes.ask(thread_ticket().0, false), Ask::Start);
    flushes.finish(true);
    assert!(flushes.is_clean(X));
}

#[test]
fn whoever_asks_while_one_runs_is_served_by_the_next() {
    let flushes = group();
    let (first, second, third) = (thread_ticket(), thread_ticket(), thread_ticket());
    assert_eq!(flushes.ask(first.0, true), Ask::Start);
    assert_eq!(flushes.ask(second.0, true), Ask::Queued);
    flushes.join(third.0);
    let (served, again) = flushes.finish(true);
    assert_eq!((served.len(), again), (1, true), "the others need a flush that starts now");
    let (served, again) = flushes.finish(true);
    assert_eq!((served.len(), again), (2, false));
    assert_eq!(flushes.started(), 2);
}

/// Beside a client that flushes all the time, whoever joined costs no flush of its own.
#[test]
fn the_end_of_a_flush_starts_none_for_those_who_only_joined() {
    let flushes = group();
    let (first, joined, later) = (thread_ticket(), thread_ticket(), thread_ticket());
    assert_eq!(flushes.ask(first.0, true), Ask::Start);
    flushes.join(joined.0);
    let (served, again) = flushes.finish(true);
    assert_eq!((served.len(), again), (1, false));
    assert_eq!(flushes.ask(later.0, true), Ask::Start);
    let (served, again) = flushes.finish(true);
    assert_eq!((served.len(), again), (2, false), "the joined rides along with the next");
    assert_eq!(flushes.started(), 2);
}

#[test]
fn hurry_starts_a_flush_only_for_somebody_and_only_one() {
    let flushes = group();
    assert!(!flushes.hurry(), "nobody waits");
    flushes.join(thread_ticket().0);
    assert!(flushes.hurry());
    flushes.join(thread_ticket().0);
    assert!(!flushes.hurry(), "one runs");
    let (served, again) = flushes.finish(true);
    assert_eq!((served.len(), again), (1, true));
}

/// A thread marks while another flushes: clean means that no mark has completed since the flush began.
#[test]
fn a_mark_beside_a_flush_is_never_lost() {
    const WRITES: u64 = 200_000;
    let flushes = Arc::new(group());
    let marked = Arc::new(AtomicU64::new(0));
    let writer = {
        let (flushes, marked) = (Arc::clone(&flushes), Arc::clone(&marked));
        std::thread::spawn(move || {
            for number in 1..=WRITES {
                flushes.mark(X);
                marked.store(number, SeqCst);
            }
        })
    };
    loop {
        let is_last = marked.load(SeqCst) == WRITES;
        assert_eq!(flushes.ask(thread_ticket().0, false), Ask::Start);
        let at_start = marked.load(SeqCst);
        flushes.finish(true);
        let at_end = marked.load(SeqCst);
        if flushes.is_clean(X) {
            // One mark may have come before the flush began and been counted after.
            assert!(at_end <= at_start + 1, "marks {} to {at_end} were lost", at_start + 1);
        }
        if is_last {
            break;
        }
    }
    writer.join().unwrap();
    assert!(flushes.is_clean(X));
}

/// Found by failing every operation: a client's flush failed while a checkpoint was between its pages and its superblock;
/// the device had told the client, so the checkpoint's own flush succeeded, and the superblock named pages that were lost.
#[test]
fn a_flush_after_one_that_failed_fails_too() {
    let group = FlushGroup::new(1, 1);
    let disk = crate::engine::mem::MemDisk::new(4096);
    assert!(group.run(&disk).is_ok());
    let bell = Arc::new(Bell::default());
    assert_eq!(group.ask(Ticket::Thread(bell), true), Ask::Start);
    let (told, ..) = group.settle(Err("EIO".into()));
    assert_eq!(told, Err("EIO".into()));
    assert_eq!(group.run(&disk).unwrap_err().to_string(), "EIO");
}
