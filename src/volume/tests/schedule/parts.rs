//! Gates and flush clock alone, driven as the executor and the pipeline drive them, on a device of a few cells: short
//! schedules, so very many of them.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::explore::{check, every, holds, wrong};
use crate::sync::schedule;
use crate::units::{Extent, Generation};
use crate::volume::flush::{Ask, FlushGroup};
use crate::volume::gates::{Gates, Held, ReadGate, WriteGate};
use crate::volume::image::Image;
use crate::volume::inbox::{Bell, Call, Ticket};
use crate::volume::tags::TagTable;

pub const X: Extent = Extent(0);
const OLD: Generation = Generation(1);
const NEW: Generation = Generation(2);
const CELLS: usize = 3;

/// What the device holds and what its user does, seen from outside: no step of the schedule lies in here.
#[derive(Default)]
struct Device {
    written: u64,
    durable: u64,
    flushing: u32,
    /// The generation each cell is encrypted under.
    cells: [u32; CELLS],
    inside: Vec<Range<u64>>,
    holders: u32,
}

/// The order of calls that ships, and orders that must be noticed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Right,
    /// A write leaves its gate before it is entered in the flush clock.
    LeaveThenMark,
    /// The tag changes before the image is on the device.
    TagThenImage,
    /// The device is written while reads still go to it.
    ImageUnannounced,
    /// Whoever does a flush forgets those who asked meanwhile.
    ForgetWaiting,
}

/// One extent.
pub struct Model {
    gates: Gates,
    tags: TagTable,
    flushes: FlushGroup,
    device: Mutex<Device>,
    order: Order,
}

impl Model {
    pub fn new(order: Order) -> Arc<Model> {
        let device = Device { cells: [OLD.0; CELLS], ..Device::default() };
        Arc::new(Model {
            gates: Gates::default(),
            tags: TagTable::new([OLD].into_iter()),
            flushes: FlushGroup::new(1, 1),
            device: Mutex::new(device),
            order,
        })
    }

    fn device(&self) -> MutexGuard<'_, Device> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tag(&self) -> Generation {
        self.tags.current(X)
    }

    /// A write of some cells, as `piece` does it.
    fn write(&self, range: Range<u64>) {
        let bell = Arc::new(Bell::default());
        let ticket = || Ticket::Thread(Arc::clone(&bell));
        let tag = match self.gates.begin_write(&self.tags, X, range.clone(), ticket) {
            WriteGate::Go(tag) => tag,
            WriteGate::Parked => {
                let call = bell.wait();
                check(call == Call::Admitted, || format!("{call:?}"));
                self.tag()
            }
            other => wrong(format!("{other:?}")),
        };
        let overlaps = |other: &Range<u64>| other.start < range.end && range.start < other.end;
        let mut device = self.device();
        let alone = !device.inside.iter().any(overlaps) && device.holders == 0;
        device.inside.push(range.clone());
        drop(device);
        check(alone, || "a write beside an overlapping one or inside a hold".into());
        for cell in range.clone() {
            schedule::point();
            self.device().cells[cell as usize] = tag.0;
        }
        check(self.tag() == tag, || "the tag changed under a write".into());
        let mut device = self.device();
        device.written += 1;
        device.inside.retain(|other| *other != range);
        drop(device);
        if self.order == Order::LeaveThenMark {
            self.gates.end_write(X, &range);
            self.flushes.mark(X);
        } else {
            self.flushes.mark(X);
            self.gates.end_write(X, &range);
        }
        check(bell.wait_for(Duration::ZERO).is_none(), || "a parked write was called twice".into());
    }

    /// A read of every cell, one after the other.
    fn read(&self) {
        match self.gates.begin_read(&self.tags, X) {
            ReadGate::Barred => wrong("barred"),
            ReadGate::Image(image) => check(image.generation == NEW, || "an old image".into()),
            ReadGate::Device(tag) => {
                for cell in 0..CELLS {
                    schedule::point();
                    let found = self.device().cells[cell];
                    check(found == tag.0, || format!("cell {cell} is under {found}, the tag was {tag}"));
                }
                check(self.tag() == tag, || "the tag changed under a read".into());
                self.gates.end_read(X);
            }
        }
    }

    /// Does the flush that the group has started, and the next ones, as `Volume::flush_for_group`.
    fn run_flushes(&self) {
        loop {
            let mut device = self.device();
            let covered = device.written;
            device.flushing += 1;
            let one = device.flushing == 1;
            drop(device);
            check(one, || "two flushes run".into());
            schedule::point();
            let mut device = self.device();
            device.durable = device.durable.max(covered);
            device.flushing -= 1;
            drop(device);
            let (served, again) = self.flushes.finish(true);
            for ticket in served {
                ticket.call(Call::Flushed(Ok(())));
            }
            if !again || self.order == Order::ForgetWaiting {
                return;
            }
        }
    }

    fn told(&self, bell: &Bell, written: u64) {
        check(bell.wait() == Call::Flushed(Ok(())), || "told something else".into());
        check(bell.wait_for(Duration::ZERO).is_none(), || "told twice".into());
        let durable = self.device().durable;
        check(durable >= written, || format!("{written} had been written, only {durable} is durable"));
    }

    /// A client's flush.
    fn flush(&self) {
        let bell = Arc::new(Bell::default());
        let written = self.device().written;
        if self.flushes.ask(Ticket::Thread(Arc::clone(&bell)), true) == Ask::Start {
            self.run_flushes();
        }
        self.told(&bell, written);
    }

    /// The pipeline's: it waits for a client's and starts one of its own when none comes.
    fn join(&self) {
        let bell = Arc::new(Bell::default());
        let written = self.device().written;
        self.flushes.join(Ticket::Thread(Arc::clone(&bell)));
        if let Some(call) = bell.wait_for(Duration::from_millis(1)) {
            check(call == Call::Flushed(Ok(())), || "told something else".into());
            let durable = self.device().durable;
            return check(durable >= written, || "served by a flush that had begun before".into());
        }
        if self.flushes.hurry() {
            self.run_flushes();
        }
        self.told(&bell, written);
    }

    fn enter_hold(&self) {
        let mut device = self.device();
        device.holders += 1;
        let alone = device.holders == 1 && device.inside.is_empty();
        drop(device);
        check(alone, || "held twice, or beside a write".into());
    }

    fn leave_hold(&self) {
        self.device().holders -= 1;
        self.gates.release(X);
    }

    /// Takes the extent if rule R0 allows it: then every write is durable.
    fn take_if_clean(&self) {
        if self.gates.try_hold(X, || self.flushes.is_clean(X)) == Held::Yes {
            self.enter_hold();
            let device = self.device();
            let (written, durable) = (device.written, device.durable);
            drop(device);
            check(written == durable, || format!("R0: {written} written, {durable} durable"));
            schedule::point();
            self.leave_hold();
        }
    }

    /// Holds by force and rewrites, as the pipeline; false if writes in flight did not end in time.
    fn rewrite(&self, patience: Duration) -> bool {
        if !self.gates.hold_and_drain(X, patience) {
            return false;
        }
        self.enter_hold();
        let image = Image { extent: X, generation: NEW, parts: Vec::new() };
        if self.order != Order::ImageUnannounced {
            self.gates.start_rewrite(X, Arc::new(image));
        }
        if self.order == Order::TagThenImage {
            self.gates.finish_rewrite(&self.tags, X, NEW);
        }
        for cell in 0..CELLS {
            schedule::point();
            self.device().cells[cell] = NEW.0;
        }
        match self.order {
            Order::TagThenImage => {}
            Order::ImageUnannounced => self.tags.set_current(X, NEW),
            _ => self.gates.finish_rewrite(&self.tags, X, NEW),
        }
        self.leave_hold();
        true
    }
}

type Guest = fn(&Model);

/// Everybody at once, to the end.
pub fn party(model: &Arc<Model>, guests: &[Guest]) {
    let threads: Vec<_> = guests
        .iter()
        .map(|guest| {
            let (model, guest) = (Arc::clone(model), *guest);
            shuttle::thread::spawn(move || guest(&model))
        })
        .collect();
    for thread in threads {
        check(thread.join().is_ok(), || "a thread panicked".into());
    }
}

/// Two writers, flushers, and a taker that trusts the clock.
pub const CLOCK: &[Guest] = &[
    |model| (0..3).for_each(|_| model.write(0..1)),
    |model| (0..2).for_each(|_| model.write(1..2)),
    |model| (0..2).for_each(|_| model.flush()),
    |model| model.join(),
    |model| (0..4).for_each(|_| model.take_if_clean()),
];

#[test]
fn the_clock_never_calls_an_extent_clean_too_early() {
    holds(4000, |_| party(&Model::new(Order::Right), CLOCK));
}

/// Readers, overlapping writers, a rival holder, and one rewrite.
pub const GATES: &[Guest] = &[
    |model| (0..3).for_each(|_| model.read()),
    |model| (0..2).for_each(|_| model.read()),
    |model| (0..2).for_each(|_| model.write(0..2)),
    |model| (0..2).for_each(|_| model.write(1..3)),
    |model| {
        if model.gates.try_hold(X, || true) == Held::Yes {
            model.enter_hold();
            schedule::point();
            model.leave_hold();
        }
    },
    |model| {
        while !model.rewrite(Duration::MAX) {
            shuttle::thread::yield_now();
        }
    },
];

#[test]
fn a_tag_is_stable_and_a_hold_is_alone() {
    holds(4000, |_| {
        let model = Model::new(Order::Right);
        party(&model, GATES);
        check(model.tag() == NEW && model.device().cells == [NEW.0; CELLS], || "not rewritten".into());
    });
}

/// A holder that gives up after a while leaves everything as it was.
#[test]
fn a_hold_given_up_admits_every_parked_write() {
    holds(4000, |_| {
        let model = Model::new(Order::Right);
        let guests: [Guest; 4] = [
            |model| (0..3).for_each(|_| model.write(0..2)),
            |model| (0..3).for_each(|_| model.write(1..3)),
            |model| (0..2).for_each(|_| model.read()),
            |model| {
                if !model.rewrite(Duration::from_millis(1)) {
                    model.rewrite(Duration::ZERO);
                }
            },
        ];
        party(&model, &guests);
        let device = model.device();
        check(device.written == 6 && device.inside.is_empty(), || "a write was lost".into());
    });
}

/// Clients' flushes beside the pipeline's: everybody is told once, by a flush that began after it asked.
pub const FLUSHES: &[Guest] = &[
    |model| (0..2).for_each(|_| model.flush()),
    |model| {
        model.write(0..1);
        model.flush();
    },
    |model| {
        model.write(1..2);
        model.join();
        model.join();
    },
];

#[test]
fn whoever_asks_for_a_flush_is_told_once() {
    holds(6000, |_| party(&Model::new(Order::Right), FLUSHES));
}

/// Poison while writes park: every one of them is called, to be refused, and none parks afterwards.
#[test]
fn refusing_strands_nobody() {
    fn write(model: &Model, range: Range<u64>) {
        let bell = Arc::new(Bell::default());
        match model.gates.begin_write(&model.tags, X, range.clone(), || Ticket::Thread(Arc::clone(&bell))) {
            WriteGate::Refused => return,
            WriteGate::Go(_) => {}
            WriteGate::Parked => match bell.wait() {
                Call::Admitted => {}
                Call::Refused => return,
                other => wrong(format!("{other:?}")),
            },
            WriteGate::Barred => wrong("barred"),
        }
        schedule::point();
        model.flushes.mark(X);
        model.gates.end_write(X, &range);
        check(bell.wait_for(Duration::ZERO).is_none(), || "called twice".into());
    }
    holds(4000, |_| {
        let model = Model::new(Order::Right);
        let guests: [Guest; 5] = [
            |model| (0..2).for_each(|_| write(model, 0..2)),
            |model| (0..2).for_each(|_| write(model, 1..3)),
            |model| write(model, 0..3),
            |model| model.gates.refuse_writes(),
            // A rotation that holds and, as the volume is poisoned, never lets go.
            |model| {
                model.gates.hold_and_drain(X, Duration::from_millis(1));
            },
        ];
        party(&model, &guests);
        model.gates.release(X);
        check(model.gates.try_hold(X, || true) == Held::Yes, || "a write was left inside".into());
    });
}

/// One write completing beside one flush, with a look at the clock after each: every interleaving there is.
#[test]
fn every_interleaving_of_a_mark_and_a_flush() {
    let count = every(|| {
        let model = Model::new(Order::Right);
        let marked = Arc::new(Mutex::new(0));
        let (writer, told) = (Arc::clone(&model), Arc::clone(&marked));
        let writer = shuttle::thread::spawn(move || {
            writer.device().written = 1;
            writer.flushes.mark(X);
            *told.lock().unwrap() = 1;
        });
        let look = || {
            let marked = *marked.lock().unwrap();
            let clean = model.flushes.is_clean(X);
            let durable = model.device().durable;
            check(!clean || durable >= marked, || "clean without a flush".into());
        };
        let ticket = Ticket::Thread(Arc::default());
        check(model.flushes.ask(ticket, false) == Ask::Start, || "a flush runs already".into());
        let covered = model.device().written;
        model.device().durable = covered;
        check(!model.flushes.finish(true).1, || "nobody else asked".into());
        look();
        let _ = writer.join();
        look();
    });
    println!("{count} interleavings");
    assert!(count > 1000, "{count}");
}
