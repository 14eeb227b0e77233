//! Where explorations begin: founded, in the middle of a rotation, or in a second one.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::{State, node_name};
use crate::cluster::durable::Durable;
use crate::cluster::node::Command;
use crate::cluster::record::{Role, Step};
use crate::cluster::tests::exhaustive::setting::Setting;
use crate::cluster::tests::rig::{Replica, Seal, Seat};
use crate::cluster::tests::sample;
use crate::cluster::tests::world::wanted;

impl State {
    pub fn first(bounds: &Setting) -> State {
        let third = if bounds.witness { Role::Witness } else { Role::Full };
        let members = [("a", Role::Full), ("b", Role::Full), ("c", third)];
        let record = sample::founding_of(&members);
        let disk = Durable::found(record.clone(), &Seal::of(&record.lead)).unwrap();
        let seats = (0..3).map(|index| {
            let replica = Replica::new(&node_name(index), &record, 1);
            Rc::new(Seat { name: node_name(index), node: None, disk: disk.clone(), replica })
        });
        let mut state = State {
            seats: seats.collect(),
            links: BTreeMap::new(),
            cut: None,
            crashes: 0,
            cuts: 0,
            elections: 0,
            rotations: 0,
            rollbacks: 0,
            snapshots: 0,
            resyncs: 0,
            pauses: 0,
        };
        (0..3).for_each(|index| state.start(index));
        state.calm();
        if bounds.second {
            state.rotated_and_back();
        }
        if bounds.active || bounds.second {
            state.rotate();
        }
        state
    }

    fn rotate(&mut self) {
        self.say(0, &Command::Rotate(wanted()), false);
        self.calm();
        assert!(self.is_everywhere(Step::Active));
        self.rotations = 0;
    }

    fn is_everywhere(&self, step: Step) -> bool {
        self.seats.iter().all(|seat| seat.disk.committed.record.change.step == step)
    }

    /// A rotation that is rolled back while its end is on its way to the members, who have all reported.
    fn rotated_and_back(&mut self) {
        self.rotate();
        self.drain_all();
        while self.seats[0].disk.accepted.record.change.step != Step::Finalized {
            let (from, to) = self.links.keys().next().copied().expect("it goes on by itself");
            self.deliver(from, to, false);
        }
        self.say(0, &Command::RollBack, false);
        self.calm();
        assert!(self.is_everywhere(Step::RolledBack));
        self.drain_all();
        self.calm();
        assert!(self.is_everywhere(Step::Finalized));
        self.rollbacks = 0;
    }

    fn drain_all(&mut self) {
        for index in 0..3 {
            while Rc::make_mut(&mut self.seats[index]).replica.drain() {}
            self.tell(index);
        }
    }

    /// Until nothing is under way.
    fn calm(&mut self) {
        while let Some((from, to)) = self.links.keys().next().copied() {
            self.deliver(from, to, false);
        }
    }
}
