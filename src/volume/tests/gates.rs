//! Gates: who waits for whom, in which order, and what a hold does to reads and writes.

use std::sync::atomic::{AtomicBool, Ordering};

use super::super::inbox::{Bell, Call};
use super::*;

const E: Extent = Extent(3);

struct Rig {
    gates: Gates,
    tags: TagTable,
}

fn rig() -> Rig {
    Rig { gates: Gates::default(), tags: TagTable::new(vec![Generation(1); 8].into_iter()) }
}

impl Rig {
    fn write(&self, range: Range<u64>) -> (WriteGate, Arc<Bell>) {
        let bell = Arc::new(Bell::default());
        let ticket = Ticket::Thread(Arc::clone(&bell));
        (self.gates.begin_write(&self.tags, E, range, || ticket), bell)
    }

    fn image(&self) -> Arc<Image> {
        Arc::new(Image { extent: E, generation: Generation(2), parts: Vec::new() })
    }
}

fn called(bell: &Bell) -> bool {
    bell.wait_for(Duration::ZERO) == Some(Call::Admitted)
}

#[test]
fn overlapping_writes_run_in_arrival_order_and_others_do_not_wait() {
    let rig = rig();
    assert_eq!(rig.write(0..8).0, WriteGate::Go(Generation(1)));
    assert_eq!(rig.write(8..16).0, WriteGate::Go(Generation(1)));
    let (parked, second) = rig.write(4..12);
    assert_eq!(parked, WriteGate::Parked);
    let (parked, third) = rig.write(10..11);
    assert_eq!(parked, WriteGate::Parked, "behind a parked write it overlaps");
    rig.gates.end_write(E, &(0..8));
    assert!(!called(&second), "8..16 is still in flight");
    rig.gates.end_write(E, &(8..16));
    assert!(called(&second));
    assert!(!called(&third));
    rig.gates.end_write(E, &(4..12));
    assert!(called(&third));
}

#[test]
fn a_hold_parks_writes_serves_reads_and_calls_in_order_on_release() {
    let rig = rig();
    assert_eq!(rig.gates.try_hold(E, || true), Held::Yes);
    assert_eq!(rig.gates.try_hold(E, || true), Held::Busy);
    let (parked, first) = rig.write(0..8);
    assert_eq!(parked, WriteGate::Parked);
    let (_, second) = rig.write(0..8);
    assert!(matches!(rig.gates.begin_read(&rig.tags, E), ReadGate::Device(Generation(1))));
    rig.gates.end_read(E);
    rig.gates.start_rewrite(E, rig.image());
    assert!(matches!(rig.gates.begin_read(&rig.tags, E), ReadGate::Image(_)));
    rig.gates.finish_rewrite(&rig.tags, E, Generation(2));
    assert!(matches!(rig.gates.begin_read(&rig.tags, E), ReadGate::Device(Generation(2))));
    rig.gates.end_read(E);
    assert!(!called(&first));
    rig.gates.release(E);
    assert!(called(&first));
    assert!(!called(&second));
    rig.gates.end_write(E, &(0..8));
    assert!(called(&second));
}

#[test]
fn what_is_not_clean_or_in_use_is_not_held() {
    let rig = rig();
    assert_eq!(rig.gates.try_hold(E, || false), Held::Busy);
    assert_eq!(rig.write(0..8).0, WriteGate::Go(Generation(1)));
    assert_eq!(rig.gates.try_hold(E, || true), Held::Busy);
    rig.gates.end_write(E, &(0..8));
    assert_eq!(rig.gates.try_hold(E, || true), Held::Yes);
}

#[test]
fn a_forced_hold_waits_for_writes_in_flight_and_gives_up_in_the_end() {
    let rig = rig();
    assert_eq!(rig.write(0..8).0, WriteGate::Go(Generation(1)));
    assert!(!rig.gates.hold_and_drain(E, Duration::from_millis(1)));
    let (parked, bell) = rig.write(8..9);
    assert_eq!(parked, WriteGate::Go(Generation(1)), "the hold was given up");
    drop(bell);
    rig.gates.end_write(E, &(8..9));
    std::thread::scope(|scope| {
        let held = scope.spawn(|| rig.gates.hold_and_drain(E, Duration::from_secs(600)));
        std::thread::sleep(Duration::from_millis(5));
        rig.gates.end_write(E, &(0..8));
        assert!(held.join().unwrap());
    });
}

#[test]
fn a_rewrite_waits_for_reads_that_began_on_the_device() {
    let rig = rig();
    assert!(matches!(rig.gates.begin_read(&rig.tags, E), ReadGate::Device(_)));
    assert_eq!(rig.gates.try_hold(E, || true), Held::Yes);
    let left = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let rewriting = scope.spawn(|| {
            rig.gates.start_rewrite(E, rig.image());
            assert!(left.load(Ordering::SeqCst), "the read was still on the device");
        });
        std::thread::sleep(Duration::from_millis(5));
        left.store(true, Ordering::SeqCst);
        rig.gates.end_read(E);
        rewriting.join().unwrap();
    });
}

#[test]
fn a_barred_extent_serves_nobody_and_poison_answers_those_who_wait() {
    let rig = rig();
    assert_eq!(rig.gates.try_hold(E, || true), Held::Yes);
    let (_, waiting) = rig.write(0..8);
    rig.gates.refuse_writes();
    assert!(called(&waiting));
    rig.gates.bar(Extent(5));
    assert!(matches!(rig.gates.begin_read(&rig.tags, Extent(5)), ReadGate::Barred));
}

#[test]
fn a_watch_sees_writes_after_it() {
    let rig = rig();
    assert_eq!(rig.gates.try_hold(E, || true), Held::Yes);
    rig.gates.watch(E);
    rig.gates.release(E);
    assert!(!rig.gates.was_touched(E));
    assert_eq!(rig.write(0..8).0, WriteGate::Go(Generation(1)));
    rig.gates.end_write(E, &(0..8));
    assert!(rig.gates.was_touched(E));
    rig.gates.unwatch(E);
}
