//! Who passes an extent's gate when, and in which order.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::*;
use crate::engine::{EngineOptions, IoKind, open};
use crate::volume::inbox::{Call, Inbox};

/// Long enough never to be reached by a test that passes.
const WATCHDOG: Duration = Duration::from_secs(30);
const X: Extent = Extent(3);
const OLD: Generation = Generation(1);
const NEW: Generation = Generation(2);

struct Rig {
    gates: Gates,
    tags: TagTable,
    inbox: Arc<Inbox>,
}

impl Rig {
    fn new() -> Rig {
        let waker = open(Some(IoKind::Posix), &EngineOptions::default()).unwrap().waker();
        let tags = TagTable::new(vec![OLD; 2 * STRIPES].into_iter());
        Rig { gates: Gates::default(), tags, inbox: Arc::new(Inbox::new(waker)) }
    }

    fn write(&self, piece: u32, range: Range<u64>) -> WriteGate {
        let ticket = || Ticket::Piece { inbox: Arc::clone(&self.inbox), piece };
        self.gates.begin_write(&self.tags, X, range, ticket)
    }

    fn end(&self, range: Range<u64>) {
        self.gates.end_write(X, &range);
    }

    /// The pieces called since the last time, in order.
    fn called(&self) -> Vec<u32> {
        let mut calls = Vec::new();
        self.inbox.take(&mut calls);
        assert!(calls.iter().all(|(_, call)| matches!(call, Call::Admitted | Call::Refused)));
        calls.into_iter().map(|(piece, _)| piece).collect()
    }

    fn image(&self) -> Arc<Image> {
        Arc::new(Image { extent: X, generation: NEW, parts: Vec::new() })
    }

    fn reads_from_device(&self) -> Option<Generation> {
        match self.gates.begin_read(&self.tags, X) {
            ReadGate::Device(generation) => Some(generation),
            ReadGate::Image(_) | ReadGate::Barred => None,
        }
    }
}

#[test]
fn writes_apart_run_side_by_side_and_overlapping_ones_in_order() {
    let rig = Rig::new();
    assert_eq!(rig.write(1, 0..8), WriteGate::Go(OLD));
    assert_eq!(rig.write(2, 8..16), WriteGate::Go(OLD));
    assert_eq!(rig.write(3, 4..12), WriteGate::Parked);
    assert_eq!(rig.write(4, 10..20), WriteGate::Parked, "behind 3, which waits");
    assert_eq!(rig.write(5, 20..24), WriteGate::Go(OLD));
    rig.end(0..8);
    assert_eq!(rig.called(), [] as [u32; 0], "3 still waits for 2");
    rig.end(8..16);
    assert_eq!(rig.called(), [3], "4 waits for 3");
    rig.end(4..12);
    assert_eq!(rig.called(), [4]);
}

#[test]
fn a_write_never_overtakes_a_parked_one_it_overlaps() {
    let rig = Rig::new();
    assert_eq!(rig.write(1, 0..4), WriteGate::Go(OLD));
    assert_eq!(rig.write(2, 0..8), WriteGate::Parked);
    assert_eq!(rig.write(3, 6..8), WriteGate::Parked, "nothing in flight overlaps it, but 2 came first");
    rig.end(0..4);
    assert_eq!(rig.called(), [2]);
    rig.end(0..8);
    assert_eq!(rig.called(), [3]);
}

#[test]
fn a_hold_needs_a_quiet_clean_extent() {
    let rig = Rig::new();
    assert_eq!(rig.gates.try_hold(X, || false), Held::Busy, "not behind a flush");
    assert_eq!(rig.write(1, 0..4), WriteGate::Go(OLD));
    assert_eq!(rig.gates.try_hold(X, || true), Held::Busy, "a write is in flight");
    rig.end(0..4);
    assert_eq!(rig.gates.try_hold(X, || true), Held::Yes);
    assert_eq!(rig.gates.try_hold(X, || true), Held::Busy, "held already");
}

#[test]
fn held_writes_park_and_are_admitted_in_order_at_the_release() {
    let rig = Rig::new();
    assert_eq!(rig.gates.try_hold(X, || true), Held::Yes);
    assert_eq!(rig.write(1, 0..4), WriteGate::Parked);
    assert_eq!(rig.write(2, 0..4), WriteGate::Parked);
    assert_eq!(rig.write(3, 8..12), WriteGate::Parked);
    rig.gates.release(X);
    assert_eq!(rig.called(), [1, 3], "2 overlaps 1");
    rig.end(0..4);
    assert_eq!(rig.called(), [2]);
}

#[test]
fn a_hold_whose_stripe_is_shared_holds_one_extent_only() {
    let rig = Rig::new();
    let twin = Extent(X.0 + STRIPES as u32);
    assert_eq!(rig.gates.try_hold(X, || true), Held::Yes);
    let ticket = || unreachable!("it must not park");
    assert_eq!(rig.gates.begin_write(&rig.tags, twin, 0..4, ticket), WriteGate::Go(OLD));
}

#[test]
fn reads_come_from_the_image_while_the_device_is_rewritten() {
    let rig = Rig::new();
    assert_eq!(rig.gates.try_hold(X, || true), Held::Yes);
    assert_eq!(rig.reads_from_device(), Some(OLD), "a hold does not stop reads");
    rig.gates.end_read(X);
    rig.gates.start_rewrite(X, rig.image());
    assert!(matches!(rig.gates.begin_read(&rig.tags, X), ReadGate::Image(image) if image.generation == NEW));
    rig.gates.finish_rewrite(&rig.tags, X, NEW);
    assert_eq!(rig.reads_from_device(), Some(NEW));
    assert_eq!(rig.write(1, 0..4), WriteGate::Parked, "the hold is not over");
    rig.gates.release(X);
    assert_eq!(rig.called(), [1]);
    assert_eq!(rig.tags.current(X), NEW);
}

#[test]
fn a_rewrite_waits_for_the_last_read_that_began_on_the_device() {
    let rig = Arc::new(Rig::new());
    assert_eq!(rig.gates.try_hold(X, || true), Held::Yes);
    assert_eq!(rig.reads_from_device(), Some(OLD));
    assert_eq!(rig.reads_from_device(), Some(OLD));
    let (tell, told) = channel();
    let other = Arc::clone(&rig);
    let rewriter = std::thread::spawn(move || {
        other.gates.start_rewrite(X, other.image());
        tell.send(()).unwrap();
    });
    // The image is served at once, also while the rewrite still waits; the two reads hold it up.
    while rig.reads_from_device().is_some() {
        rig.gates.end_read(X);
        std::thread::yield_now();
    }
    assert!(told.try_recv().is_err());
    rig.gates.end_read(X);
    assert!(told.try_recv().is_err());
    rig.gates.end_read(X);
    told.recv_timeout(WATCHDOG).expect("the rewrite goes on");
    rewriter.join().unwrap();
}

#[test]
fn a_forced_hold_waits_for_writes_in_flight() {
    let rig = Arc::new(Rig::new());
    assert_eq!(rig.write(1, 0..4), WriteGate::Go(OLD));
    let other = Arc::clone(&rig);
    let holder = std::thread::spawn(move || other.gates.hold_and_drain(X, WATCHDOG));
    while rig.write(2, 8..12) != WriteGate::Parked {
        rig.end(8..12);
        std::thread::yield_now();
    }
    assert_eq!(rig.called(), [] as [u32; 0]);
    rig.end(0..4);
    assert!(holder.join().unwrap());
    rig.gates.release(X);
    assert_eq!(rig.called(), [2]);
}

#[test]
fn a_forced_hold_that_is_given_up_admits_whoever_parked() {
    let rig = Rig::new();
    assert_eq!(rig.write(1, 0..4), WriteGate::Go(OLD));
    assert_eq!(rig.write(2, 0..4), WriteGate::Parked);
    assert!(!rig.gates.hold_and_drain(X, Duration::ZERO));
    assert_eq!(rig.called(), [] as [u32; 0], "2 still waits for 1");
    rig.end(0..4);
    assert_eq!(rig.called(), [2]);
    assert!(!rig.gates.hold_and_drain(X, Duration::ZERO), "2 is in flight");
    rig.end(0..4);
    assert!(rig.gates.hold_and_drain(X, Duration::ZERO));
    assert!(!rig.gates.hold_and_drain(X, Duration::ZERO), "held already");
}

#[test]
fn poisoning_answers_whoever_is_parked_and_lets_nobody_park_again() {
    let rig = Rig::new();
    assert_eq!(rig.gates.try_hold(X, || true), Held::Yes);
    assert_eq!(rig.write(1, 0..4), WriteGate::Parked);
    assert_eq!(rig.write(2, 0..4), WriteGate::Parked);
    rig.gates.refuse_writes();
    assert_eq!(rig.called(), [1, 2], "both, although they overlap: they are refused");
    assert_eq!(rig.write(3, 0..4), WriteGate::Refused);
    assert_eq!(rig.reads_from_device(), Some(OLD), "reads go on");
    // Found by a schedule: refused writes stood inside the hold, where a rewrite under way relied on there being none.
    rig.gates.release(X);
    assert_eq!(rig.gates.try_hold(X, || true), Held::Yes, "a refused write has entered nothing");
}

#[test]
fn a_barred_extent_serves_nobody() {
    let rig = Rig::new();
    rig.gates.bar(X);
    assert!(matches!(rig.gates.begin_read(&rig.tags, X), ReadGate::Barred));
    assert_eq!(rig.write(1, 0..4), WriteGate::Barred);
    assert_eq!(rig.gates.try_hold(X, || true), Held::Busy);
}

#[test]
fn a_watch_sees_every_write_after_the_release() {
    let rig = Rig::new();
    assert_eq!(rig.gates.try_hold(X, || true), Held::Yes);
    assert_eq!(rig.write(1, 0..4), WriteGate::Parked);
    rig.gates.watch(X);
    assert!(!rig.gates.was_touched(X));
    rig.gates.release(X);
    assert!(rig.gates.was_touched(X), "the parked write was admitted");
    rig.end(0..4);
    rig.gates.unwatch(X);
    assert_eq!(rig.gates.try_hold(X, || true), Held::Yes);
    rig.gates.watch(X);
    rig.gates.release(X);
    assert!(!rig.gates.was_touched(X));
    assert_eq!(rig.write(2, 0..4), WriteGate::Go(OLD));
    assert!(rig.gates.was_touched(X));
}

#[test]
fn nothing_is_kept_of_an_extent_nobody_uses() {
    let rig = Rig::new();
    let kept = || rig.gates.slots.iter().map(|slot| slot.stripe.lock().unwrap().active.len()).sum::<usize>();
    assert_eq!(rig.write(1, 0..4), WriteGate::Go(OLD));
    assert!(rig.reads_from_device().is_some());
    assert_eq!(kept(), 1);
    rig.end(0..4);
    rig.gates.end_read(X);
    assert_eq!(rig.gates.try_hold(X, || false), Held::Busy);
    assert_eq!(kept(), 0);
    assert_eq!(rig.gates.try_hold(X, || true), Held::Yes);
    rig.gates.release(X);
    assert_eq!(kept(), 0);
}
