//! The flush clock of a state of the model. The product's [`FlushGroup`] cannot be copied, so a state keeps what can be
//! observed of one, and every question and every step is put to a group rebuilt from that.
//!
//! Invariant: two groups with the same observations behave alike from there on: which extents are dirty now, which would
//! be after the flush under way, and whether the pipeline is served by it.

use std::sync::Arc;
use std::time::Duration;

use crate::units::Extent;
use crate::volume::flush::{Ask, FlushGroup};
use crate::volume::inbox::{Bell, Call, Ticket};

/// Whether the pipeline waits for a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Waits {
    No,
    /// For one that has not started.
    Queued,
    /// For the one under way.
    Served,
}

/// What can be observed of a flush group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Clock {
    extents: u8,
    running: bool,
    pipeline: Waits,
    /// Extents that are dirty now, one bit each.
    now: u8,
    /// Extents that would be dirty if the flush under way were done.
    after: u8,
}

struct Rebuilt {
    group: FlushGroup,
    bell: Option<Arc<Bell>>,
}

fn somebody() -> Ticket {
    Ticket::Thread(Arc::new(Bell::default()))
}

impl Clock {
    pub fn new(extents: u8) -> Clock {
        Clock { extents, running: false, pipeline: Waits::No, now: 0, after: 0 }
    }

    pub fn is_running(&self) -> bool {
        self.running
    }

    pub fn pipeline(&self) -> Waits {
        self.pipeline
    }

    fn each(&self) -> impl Iterator<Item = (u8, Extent)> {
        (0..self.extents).map(|index| (1 << index, Extent(u32::from(index))))
    }

    fn rebuild(&self) -> Rebuilt {
        let group = FlushGroup::new(u32::from(self.extents), u32::from(self.extents));
        let mark = |bits: u8| self.each().filter(|(bit, _)| bits & bit != 0).for_each(|(_, extent)| group.mark(extent));
        let bell = (self.pipeline != Waits::No).then(|| Arc::new(Bell::default()));
        let ticket = || bell.clone().map_or_else(somebody, Ticket::Thread);
        mark(self.now & !self.after);
        if self.running {
            let first = if self.pipeline == Waits::Served { ticket() } else { somebody() };
            assert_eq!(group.ask(first, true), Ask::Start);
        }
        mark(self.after);
        if self.pipeline == Waits::Queued {
            group.join(ticket());
        }
        Rebuilt { group, bell }
    }

    fn dirty(&self, group: &FlushGroup) -> u8 {
        self.each().filter(|(_, extent)| !group.is_clean(*extent)).map(|(bit, _)| bit).sum()
    }

    /// What can be observed of `rebuilt`, of which it is known whether a flush is under way.
    fn observe(&self, rebuilt: &Rebuilt, running: bool) -> Clock {
        let now = self.dirty(&rebuilt.group);
        if !running {
            let pipeline = rebuilt.bell.as_ref().map_or(Waits::No, |_| Waits::Queued);
            return Clock { running, pipeline, now, after: now, ..*self };
        }
        let served = finish(&rebuilt.group).0;
        let after = self.dirty(&rebuilt.group);
        let pipeline = match &rebuilt.bell {
            None => Waits::No,
            Some(bell) if rings(&served, bell) => Waits::Served,
            Some(_) => Waits::Queued,
        };
        Clock { running, pipeline, now, after, ..*self }
    }

    /// Puts a question to the group.
    pub fn ask<T>(&self, question: impl FnOnce(&FlushGroup) -> T) -> T {
        question(&self.rebuild().group)
    }

    /// A client write to `extent` has completed.
    pub fn mark(&mut self, extent: Extent) {
        let rebuilt = self.rebuild();
        rebuilt.group.mark(extent);
        *self = self.observe(&rebuilt, self.running);
    }

    /// A lie for a control: the extent counts as behind a flush.
    pub fn forget(&mut self, extent: Extent) {
        self.now &= !(1 << extent.0);
        self.after &= !(1 << extent.0);
    }

    /// A client asks for a flush, or the pipeline's patience ends: one starts unless one is under way.
    pub fn start(&mut self, by_client: bool) -> bool {
        let rebuilt = self.rebuild();
        let starts = if by_client { rebuilt.group.ask(somebody(), true) == Ask::Start } else { rebuilt.group.hurry() };
        if starts {
            *self = self.observe(&rebuilt, true);
        }
        starts
    }

    /// The pipeline asks for a flush: it joins whoever asks next.
    pub fn join(&mut self) {
        assert_eq!(self.pipeline, Waits::No, "the pipeline waits for one flush at a time");
        self.pipeline = Waits::Queued;
    }

    /// A lie for a control: the flush under way, if any, will do.
    pub fn join_the_one_under_way(&mut self) {
        self.join();
        if self.running {
            self.pipeline = Waits::Served;
        }
    }

    /// The flush under way is done. Gives whether it served the pipeline, and whether the next one starts at once.
    pub fn finish(&mut self) -> (bool, bool) {
        let mut rebuilt = self.rebuild();
        let (served, again) = finish(&rebuilt.group);
        let pipeline = rebuilt.bell.as_ref().is_some_and(|bell| rings(&served, bell));
        if pipeline {
            rebuilt.bell = None;
        }
        *self = self.observe(&rebuilt, again);
        (pipeline, again)
    }
}

fn finish(group: &FlushGroup) -> (Vec<Ticket>, bool) {
    group.finish(true)
}

/// Whether one of `tickets` rings `bell`.
fn rings(tickets: &[Ticket], bell: &Bell) -> bool {
    for ticket in tickets {
        ticket.clone().call(Call::Flushed(Ok(())));
    }
    bell.wait_for(Duration::ZERO).is_some()
}
