//! The state of a few real machines with their replicas, and what may happen next.
//!
//! Links keep order and lose nothing until they are cut; an answer to a lead comes at once, so that only what a lead has sent is
//! under way. A node may crash at any time, and in the middle of any save: then what it said was said, and nothing was saved.

mod begin;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use super::setting::Setting;
use crate::cluster::message::{Body, Message};
use crate::cluster::name::NodeName;
use crate::cluster::node::{Action, Command, Event, Local, Node};
use crate::cluster::record::Step;
use crate::cluster::tests::invariants::has_replica;
use crate::cluster::tests::rig::{Seal, Seat};
use crate::cluster::tests::world::{SUITES, by, name, wanted};
use crate::format::generations::KeyState;
use crate::units::Generation;

/// A clock that stands, but for steps that make machines ask again.
const NOW: u64 = 1000;

/// Everything.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub seats: Vec<Rc<Seat>>,
    links: BTreeMap<(usize, usize), VecDeque<Message>>,
    cut: Option<usize>,
    /// How often each thing has happened.
    crashes: u8,
    cuts: u8,
    elections: u8,
    rotations: u8,
    rollbacks: u8,
    snapshots: u8,
    resyncs: u8,
    pauses: u8,
}

/// What may happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// What one has sent the other arrives.
    Deliver(usize, usize),
    /// It arrives, and the node crashes while it saves.
    DeliverAndCrash(usize, usize),
    Say(usize, Command),
    /// The node crashes while it saves what the command comes to.
    SayAndCrash(usize, Command),
    Drain(usize),
    Crash(usize),
    Restart(usize),
    Cut(usize),
    Heal,
    /// A snapshot of the disk, or a backup, needs what is on it now.
    Snapshot(usize),
    Forget(usize),
    /// A replica gets back what its snapshot holds.
    BringBack(usize),
    /// The second replica gets the extents of the first, as they are.
    Resync(usize, usize),
}

pub fn node_name(index: usize) -> NodeName {
    name(["a", "b", "c"][index])
}

fn index_of(of: &NodeName) -> usize {
    (0..3).find(|index| node_name(*index) == *of).expect("it is one of them")
}

impl State {
    pub fn number(&self) -> u128 {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        self.hash(&mut Both(&mut hasher));
        hasher.digest128()
    }

    /// The seats.
    pub fn all(&self) -> Vec<&Seat> {
        self.seats.iter().map(|seat| &**seat).collect()
    }

    fn reaches(&self, a: usize, b: usize) -> bool {
        let runs = |index: usize| self.seats[index].node.is_some() && self.cut != Some(index);
        runs(a) && runs(b)
    }

    fn start(&mut self, index: usize) {
        let seat = Rc::make_mut(&mut self.seats[index]);
        seat.node = Some(Node::new(node_name(index), seat.disk.clone(), SUITES.to_vec(), NOW));
        self.feed(index, Event::Tick, false);
        self.meet(index);
    }

    fn meet(&mut self, index: usize) {
        for other in (0..3).filter(|other| *other != index) {
            if self.reaches(index, other) {
                self.feed(index, Event::Up(node_name(other), SUITES.to_vec()), false);
                self.feed(other, Event::Up(node_name(index), SUITES.to_vec()), false);
            }
        }
    }

    fn part(&mut self, index: usize) {
        self.links.retain(|(from, to), _| *from != index && *to != index);
        for other in (0..3).filter(|other| *other != index) {
            self.feed(other, Event::Down(node_name(index)), false);
            self.feed(index, Event::Down(node_name(other)), false);
        }
    }

    /// What it has sent is still on its way.
    fn crash(&mut self, index: usize) {
        Rc::make_mut(&mut self.seats[index]).node = None;
        let sent = self.links.clone().into_iter().filter(|((from, _), _)| *from == index);
        let sent: Vec<_> = sent.collect();
        self.part(index);
        self.links.extend(sent);
    }

    fn deliver(&mut self, from: usize, to: usize, crash: bool) -> bool {
        let Some(queue) = self.links.get_mut(&(from, to)) else { return false };
        let message = queue.pop_front();
        if queue.is_empty() {
            self.links.remove(&(from, to));
        }
        message.is_some_and(|message| self.feed(to, Event::Heard(node_name(from), message), crash))
    }

    /// Gives a node an event and carries out what comes; whether it crashed in the middle of a save, if it was to.
    fn feed(&mut self, index: usize, event: Event, crash: bool) -> bool {
        let mut events = VecDeque::from([event]);
        let mut crashed = false;
        while let Some(event) = events.pop_front().filter(|_| !crashed) {
            let converged = matches!(event, Event::Done(Local::Converge { .. }, _));
            let seat = Rc::make_mut(&mut self.seats[index]);
            let Some(node) = &mut seat.node else { return false };
            let actions = node.handle(NOW, event, &Seal::of(&node_name(index)));
            node.forget_the_past();
            for action in actions {
                crashed |= self.carry_out(index, action, crash, &mut events);
            }
            if converged && !crashed {
                self.tell(index);
            }
        }
        if crashed && self.seats[index].node.is_some() {
            self.crash(index);
        }
        crashed
    }

    fn carry_out(&mut self, index: usize, action: Action, crash: bool, events: &mut VecDeque<Event>) -> bool {
        match action {
            Action::Save(..) if crash => return true,
            Action::Save(ticket, durable) => {
                Rc::make_mut(&mut self.seats[index]).disk = *durable;
                events.push_back(Event::Saved(ticket));
            }
            Action::Send(to, message, handover) => self.send(index, index_of(&to), message, handover),
            Action::Local(local) => {
                let outcome = Rc::make_mut(&mut self.seats[index]).replica.perform(&local);
                events.push_back(Event::Done(local, outcome));
            }
            Action::Guard(..) | Action::Answer(..) | Action::Note(_) | Action::Alarm(..) | Action::Clear(_) => {}
        }
        false
    }

    fn send(&mut self, from: usize, to: usize, mut message: Message, generation: Option<Generation>) {
        if let (Body::Put { handover, .. }, Some(generation)) = (&mut message.body, generation) {
            *handover = self.seats[from].replica.keys.get(&generation).map(|key_id| key_id.to_vec());
        }
        if !self.reaches(from, to) {
            return;
        }
        let is_asked = matches!(
            message.body,
            Body::Put { .. } | Body::Beat { .. } | Body::Prove { .. } | Body::Report { .. } | Body::Elect { .. }
        );
        match is_asked {
            true => self.links.entry((from, to)).or_default().push_back(message),
            false => {
                self.feed(to, Event::Heard(node_name(from), message), false);
            }
        }
    }

    fn tell(&mut self, index: usize) {
        let resyncs = u64::from(self.resyncs);
        let replica = &mut Rc::make_mut(&mut self.seats[index]).replica;
        let mut progress = replica.progress();
        replica.told = 0;
        progress.sequence = progress.converged.revision * 4 + u64::from(replica.is_drained());
        progress.at = resyncs;
        self.feed(index, Event::Told(progress), false);
    }

    /// What may happen, within the bounds of a setting.
    pub fn acts(&self, bounds: &Setting) -> Vec<Act> {
        let mut acts = Vec::new();
        for (from, to) in self.links.keys() {
            acts.push(Act::Deliver(*from, *to));
            if self.crashes < bounds.crashes && (*to == 0 || !bounds.cast) {
                acts.push(Act::DeliverAndCrash(*from, *to));
            }
        }
        for index in 0..3 {
            self.acts_of(index, bounds, &mut acts);
        }
        if self.cut.is_some() {
            acts.push(Act::Heal);
        }
        acts
    }

    fn acts_of(&self, index: usize, bounds: &Setting, acts: &mut Vec<Act>) {
        let seat = &self.seats[index];
        let Some(node) = &seat.node else { return acts.push(Act::Restart(index)) };
        if self.crashes < bounds.crashes && (index == 0 || !bounds.cast) {
            acts.push(Act::Crash(index));
        }
        if self.cuts < bounds.cuts && self.cut.is_none() && (index == 0 || !bounds.cast) {
            acts.push(Act::Cut(index));
        }
        let mut replica = seat.replica.clone();
        if !bounds.still && replica.drain() {
            acts.push(Act::Drain(index));
        }
        if self.snapshots < bounds.snapshots && has_replica(seat) {
            acts.push(Act::Snapshot(index));
        }
        if !seat.replica.pins.is_empty() {
            acts.push(Act::Forget(index));
        }
        if self.resyncs < bounds.resyncs && self.may_bring_back(index) {
            acts.push(Act::BringBack(index));
        }
        for to in (0..3).filter(|to| *to != index && self.resyncs < bounds.resyncs) {
            if self.may_resync(index, to) {
                acts.push(Act::Resync(index, to));
            }
        }
        for command in self.commands(node, bounds) {
            if bounds.cast && index != 1 && matches!(command, Command::Promote(_)) {
                continue;
            }
            if self.crashes < bounds.crashes && (index == 0 || !bounds.cast) {
                acts.push(Act::SayAndCrash(index, command.clone()));
            }
            acts.push(Act::Say(index, command));
        }
    }

    /// A replica refuses what it has closed, and what it has no key for.
    fn may_resync(&self, from: usize, to: usize) -> bool {
        let (from, seat) = (&self.seats[from].replica, &self.seats[to]);
        let takes = |(generation, key_id): &(Generation, _)| {
            !seat.disk.closed.contains(generation) && seat.replica.keys.get(generation) == Some(key_id)
        };
        seat.node.is_some()
            && has_replica(seat)
            && from.extents != seat.replica.extents
            && from.extents.iter().all(takes)
    }

    /// The same of what a snapshot holds.
    fn may_bring_back(&self, index: usize) -> bool {
        let seat = &self.seats[index];
        let takes = |generation: &Generation| {
            !seat.disk.closed.contains(generation) && seat.replica.keys.contains_key(generation)
        };
        let pins = &seat.replica.pins;
        !pins.is_empty() && pins.iter().all(takes) && !pins.contains(&seat.replica.target.0)
    }

    fn commands(&self, node: &Node, bounds: &Setting) -> Vec<Command> {
        let mut commands = Vec::new();
        let record = &node.durable().committed.record;
        let is_latest = (0..3).all(|index| self.seats[index].disk.promised <= record.stamp.epoch);
        if !node.leads() && self.elections < bounds.elections {
            commands.push(Command::Promote(0));
        }
        if !node.leads() {
            return commands;
        }
        let step = record.change.step;
        if self.rotations < bounds.rotations && matches!(step, Step::Idle | Step::Finalized) && is_latest {
            commands.push(Command::Rotate(wanted()));
        }
        if self.rollbacks < bounds.rollbacks && matches!(step, Step::Active | Step::Prepared) {
            commands.push(Command::RollBack);
        }
        if self.pauses < bounds.pauses && matches!(step, Step::Active | Step::Prepared) && !record.change.paused {
            commands.push(Command::Pause(true));
        }
        if record.change.paused {
            commands.push(Command::Pause(false));
        }
        for key in record.keys.iter().filter(|_| bounds.ends) {
            let generation = key.generation;
            match key.state {
                KeyState::Empty => commands.push(Command::Retire(generation)),
                KeyState::Disabled => commands.push(Command::Schedule(generation, 0)),
                KeyState::Scheduled => {
                    commands.push(Command::Destroy { generation, early: false, despite_pins: false });
                }
                _ => {}
            }
        }
        commands
    }

    /// The state after an act; none if it comes to nothing.
    pub fn after(&self, act: &Act) -> Option<State> {
        let mut next = self.clone();
        match act {
            Act::Deliver(from, to) => {
                next.deliver(*from, *to, false);
            }
            Act::DeliverAndCrash(from, to) => {
                next.crashes += 1;
                if !next.deliver(*from, *to, true) {
                    return None;
                }
            }
            Act::Say(index, command) => next.say(*index, command, false).then_some(())?,
            Act::SayAndCrash(index, command) => {
                next.crashes += 1;
                if !next.say(*index, command, true) {
                    return None;
                }
            }
            Act::Drain(index) => {
                Rc::make_mut(&mut next.seats[*index]).replica.drain();
                next.tell(*index);
            }
            Act::Crash(index) => {
                next.crashes += 1;
                next.crash(*index);
            }
            Act::Restart(index) => next.start(*index),
            Act::Cut(index) => {
                next.cuts += 1;
                next.cut = Some(*index);
                next.part(*index);
            }
            Act::Heal => {
                let index = next.cut.take()?;
                next.meet(index);
            }
            Act::Snapshot(index) => {
                next.snapshots += 1;
                let replica = &mut Rc::make_mut(&mut next.seats[*index]).replica;
                replica.pins = replica.extents.iter().map(|(generation, _)| *generation).collect();
            }
            Act::Forget(index) => Rc::make_mut(&mut next.seats[*index]).replica.pins.clear(),
            Act::BringBack(index) => {
                next.resyncs += 1;
                let replica = &mut Rc::make_mut(&mut next.seats[*index]).replica;
                let held = replica.pins.iter().filter_map(|generation| replica.keys.get_key_value(generation));
                replica.extents = held.map(|(generation, key_id)| (*generation, *key_id)).collect();
                next.tell(*index);
            }
            Act::Resync(from, to) => {
                next.resyncs += 1;
                let extents = next.seats[*from].replica.extents.clone();
                Rc::make_mut(&mut next.seats[*to]).replica.extents = extents;
                next.tell(*to);
            }
        }
        Some(next)
    }

    fn say(&mut self, index: usize, command: &Command, crash: bool) -> bool {
        match command {
            Command::Promote(_) => self.elections += 1,
            Command::Rotate(_) => self.rotations += 1,
            Command::RollBack => self.rollbacks += 1,
            Command::Pause(true) => self.pauses += 1,
            _ => {}
        }
        let crashed = self.feed(index, Event::Command(1, command.clone(), by()), crash);
        crashed || !crash
    }
}

/// What hashes into a borrowed hasher.
struct Both<'a>(&'a mut xxhash_rust::xxh3::Xxh3);

impl Hasher for Both<'_> {
    fn finish(&self) -> u64 {
        self.0.digest()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}
