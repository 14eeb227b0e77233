//! Who may touch an extent right now: reads, writes, and the rotation that rewrites it.
//!
//! Invariants:
//! - An extent's tag changes only while it is held, no client write is in flight on it, and no read that began on the
//!   device is still running; so whoever passed a gate may rely on the tag it was given until it leaves.
//! - Writes that overlap run one after another in arrival order, whichever connection sent them: sub-unit
//!   read-modify-writes lose nothing, and a write of a dead connection cannot land over a newer one.
//! - Reads never wait: while an extent is being rewritten they are served from the image being written.
//!
//! State exists only for extents something is happening to; it is spread over [`STRIPES`] locks held for
//! a few dozen instructions each.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::image::Image;
use super::inbox::{Call, Ticket};
use super::rules;
use super::tags::TagTable;
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::units::{Extent, Generation};

/// Locks the state is spread over.
pub const STRIPES: usize = 256;

/// How a read may proceed.
pub enum ReadGate {
    /// From the device; the extent carries this tag until [`Gates::end_read`].
    Device(Generation),
    /// From the image that is being written; no `end_read`.
    Image(Arc<Image>),
    /// Not at all: a live intent names a key that is not loaded.
    Barred,
}

/// How a write may proceed.
#[derive(Debug, PartialEq, Eq)]
pub enum WriteGate {
    /// Now, under this tag, until [`Gates::end_write`].
    Go(Generation),
    /// Later: the ticket is called when it is this write's turn, with the range already entered.
    Parked,
    /// Not at all: a live intent names a key that is not loaded.
    Barred,
    /// Not at all: the volume is poisoned.
    Refused,
}

/// What became of an attempt to hold an extent.
#[derive(Debug, PartialEq, Eq)]
pub enum Held {
    /// Held: no client write is in flight and new ones wait.
    Yes,
    /// Skipped: client writes are in flight or not behind a flush (rule R0).
    Busy,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    None,
    /// Writes wait.
    Held,
    /// Writes wait, reads are served from the image.
    Rewriting,
    /// Neither is served.
    Barred,
}

struct Parked {
    range: Range<u64>,
    ticket: Ticket,
}

struct Active {
    extent: Extent,
    readers: u32,
    writes: Vec<Range<u64>>,
    hold: Hold,
    image: Option<Arc<Image>>,
    parked: VecDeque<Parked>,
    /// Watched for client writes since the release: verification reads the extent back only if none came.
    watched: bool,
    touched: bool,
}

impl Active {
    fn new(extent: Extent) -> Active {
        Active {
            extent,
            readers: 0,
            writes: Vec::new(),
            hold: Hold::None,
            image: None,
            parked: VecDeque::new(),
            watched: false,
            touched: false,
        }
    }

    fn idle(&self) -> bool {
        let quiet = self.readers == 0 && self.writes.is_empty() && self.parked.is_empty();
        quiet && self.hold == Hold::None && !self.watched
    }

    fn conflicts(&self, range: &Range<u64>) -> bool {
        rules::waits_for_overlapping() && self.writes.iter().any(|other| overlap(other, range))
    }
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

#[derive(Default)]
struct Stripe {
    active: Vec<Active>,
    /// No write enters or parks any more.
    refusing: bool,
}

impl Stripe {
    fn entry(&mut self, extent: Extent) -> &mut Active {
        let index = match self.active.iter().position(|active| active.extent == extent) {
            Some(index) => index,
            None => {
                self.active.push(Active::new(extent));
                self.active.len() - 1
            }
        };
        &mut self.active[index]
    }

    fn tidy(&mut self, extent: Extent) {
        if let Some(index) = self.active.iter().position(|active| active.extent == extent && active.idle()) {
            self.active.swap_remove(index);
        }
    }
}

struct Slot {
    stripe: Mutex<Stripe>,
    drained: Condvar,
}

/// The gates of all extents of a volume.
pub struct Gates {
    slots: Box<[Slot]>,
}

impl Default for Gates {
    fn default() -> Self {
        let slot = || Slot { stripe: Mutex::new(Stripe::default()), drained: Condvar::new() };
        Gates { slots: (0..STRIPES).map(|_| slot()).collect() }
    }
}

impl Gates {
    fn slot(&self, extent: Extent) -> &Slot {
        &self.slots[extent.0 as usize % STRIPES]
    }

    fn lock(&self, extent: Extent) -> MutexGuard<'_, Stripe> {
        self.slot(extent).stripe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A read enters.
    pub fn begin_read(&self, tags: &TagTable, extent: Extent) -> ReadGate {
        let mut stripe = self.lock(extent);
        let active = stripe.entry(extent);
        if active.hold == Hold::Rewriting
            && let Some(image) = &active.image
        {
            return ReadGate::Image(Arc::clone(image));
        }
        if active.hold == Hold::Barred {
            return ReadGate::Barred;
        }
        active.readers += 1;
        ReadGate::Device(tags.current(extent))
    }

    /// A read that went to the device leaves.
    pub fn end_read(&self, extent: Extent) {
        let mut stripe = self.lock(extent);
        let active = stripe.entry(extent);
        debug_assert!(active.readers > 0);
        active.readers -= 1;
        if active.readers == 0 {
            if active.hold == Hold::None {
                stripe.tidy(extent);
            } else {
                self.slot(extent).drained.notify_all();
            }
        }
    }

    /// A write of the byte range `range` of the volume, which lies inside `extent`, enters or parks.
    pub fn begin_write(
        &self,
        tags: &TagTable,
        extent: Extent,
        range: Range<u64>,
        ticket: impl FnOnce() -> Ticket,
    ) -> WriteGate {
        let mut stripe = self.lock(extent);
        if stripe.refusing {
            return WriteGate::Refused;
        }
        let active = stripe.entry(extent);
        if active.hold == Hold::Barred {
            return WriteGate::Barred;
        }
        let behind = active.parked.iter().any(|parked| overlap(&parked.range, &range));
        if active.hold != Hold::None || behind || active.conflicts(&range) {
            active.parked.push_back(Parked { range, ticket: ticket() });
            return WriteGate::Parked;
        }
        active.writes.push(range);
        active.touched = true;
        WriteGate::Go(tags.current(extent))
    }

    /// A write leaves; writes that waited for it are called.
    pub fn end_write(&self, extent: Extent, range: &Range<u64>) {
        let mut stripe = self.lock(extent);
        let active = stripe.entry(extent);
        if let Some(index) = active.writes.iter().position(|other| other == range) {
            active.writes.swap_remove(index);
        }
        if active.hold != Hold::None {
            if active.writes.is_empty() {
                self.slot(extent).drained.notify_all();
            }
            return;
        }
        let called = admit(active);
        stripe.tidy(extent);
        drop(stripe);
        self.call(extent, called);
    }

    /// Calls who was let in. One whose worker is gone leaves again, so that others may enter.
    fn call(&self, extent: Extent, called: Vec<Parked>) {
        for parked in called {
            if !parked.ticket.call(Call::Admitted) {
                self.end_write(extent, &parked.range);
            }
        }
    }

    /// Holds `extent` if no write is in flight and `clean` (asked under the lock) says that its last write is behind a flush.
    pub fn try_hold(&self, extent: Extent, clean: impl FnOnce() -> bool) -> Held {
        let mut stripe = self.lock(extent);
        let active = stripe.entry(extent);
        let free = active.hold == Hold::None && active.writes.is_empty() && active.parked.is_empty() && clean();
        if free {
            active.hold = Hold::Held;
            return Held::Yes;
        }
        stripe.tidy(extent);
        Held::Busy
    }

    /// Holds `extent` whatever clients do and waits until writes in flight are done; the caller flushes next (rule R0).
    /// False if they are not done within `patience`: the hold is given up again.
    pub fn hold_and_drain(&self, extent: Extent, patience: Duration) -> bool {
        let mut stripe = self.lock(extent);
        if stripe.entry(extent).hold != Hold::None {
            return false;
        }
        stripe.entry(extent).hold = Hold::Held;
        let busy = |stripe: &mut Stripe| !stripe.entry(extent).writes.is_empty();
        let waited = self.slot(extent).drained.wait_timeout_while(stripe, patience, busy);
        let (mut stripe, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let drained = stripe.entry(extent).writes.is_empty();
        drop(stripe);
        if !drained {
            self.release(extent);
        }
        drained
    }

    /// From here reads are served from `image`; returns when the last read that began on the device is done.
    pub fn start_rewrite(&self, extent: Extent, image: Arc<Image>) {
        let mut stripe = self.lock(extent);
        let active = stripe.entry(extent);
        debug_assert!(active.hold == Hold::Held && active.writes.is_empty());
        active.hold = Hold::Rewriting;
        active.image = Some(image);
        let busy = |stripe: &mut Stripe| stripe.entry(extent).readers > 0 && rules::waits_for_readers();
        drop(self.slot(extent).drained.wait_while(stripe, busy));
    }

    /// The device holds the image: the tag changes and reads go to the device again. Writes still wait.
    pub fn finish_rewrite(&self, tags: &TagTable, extent: Extent, new: Generation) {
        let mut stripe = self.lock(extent);
        let active = stripe.entry(extent);
        debug_assert!(active.hold == Hold::Rewriting);
        active.hold = Hold::Held;
        active.image = None;
        tags.set_current(extent, new);
    }

    /// Ends the hold; writes that waited are called in order.
    pub fn release(&self, extent: Extent) {
        let mut stripe = self.lock(extent);
        let active = stripe.entry(extent);
        active.hold = Hold::None;
        active.image = None;
        let called = admit(active);
        stripe.tidy(extent);
        drop(stripe);
        self.call(extent, called);
    }

    /// Refuses all I/O to `extent` from now on.
    pub fn bar(&self, extent: Extent) {
        self.lock(extent).entry(extent).hold = Hold::Barred;
    }

    /// Watches a held extent for client writes from its release on.
    pub fn watch(&self, extent: Extent) {
        let mut stripe = self.lock(extent);
        let active = stripe.entry(extent);
        active.watched = true;
        active.touched = false;
    }

    /// Whether a client has written since [`Gates::watch`].
    pub fn was_touched(&self, extent: Extent) -> bool {
        self.lock(extent).entry(extent).touched
    }

    /// Ends the watch.
    pub fn unwatch(&self, extent: Extent) {
        let mut stripe = self.lock(extent);
        stripe.entry(extent).watched = false;
        stripe.tidy(extent);
    }

    /// The volume is poisoned: parked writes are refused, none of them having entered, and no other parks from here on,
    /// since holds may never end. Holds and images stay for readers.
    pub fn refuse_writes(&self) {
        for slot in &self.slots {
            let mut stripe = slot.stripe.lock().unwrap_or_else(PoisonError::into_inner);
            stripe.refusing = true;
            let parked: Vec<Parked> = stripe.active.iter_mut().flat_map(|active| active.parked.drain(..)).collect();
            drop(stripe);
            for parked in parked {
                parked.ticket.call(Call::Refused);
            }
        }
    }
}

/// Lets in every parked write that neither overlaps one in flight nor one parked before it.
fn admit(active: &mut Active) -> Vec<Parked> {
    let mut called = Vec::new();
    let mut index = 0;
    while index < active.parked.len() {
        let range = active.parked[index].range.clone();
        let behind = active.parked.iter().take(index).any(|earlier| overlap(&earlier.range, &range));
        if behind || active.conflicts(&range) {
            index += 1;
        } else if let Some(parked) = active.parked.remove(index) {
            active.writes.push(parked.range.clone());
            active.touched = true;
            called.push(parked);
        }
    }
    called
}

#[cfg(test)]
#[path = "tests/gates.rs"]
mod tests;
