//! The simulated world: what is on its way, what breaks, and what has to hold.

use std::collections::BTreeMap;

use super::chance::Chance;
use crate::cluster::durable::Durable;
use crate::cluster::message::{Body, Message};
use crate::cluster::name::NodeName;
use crate::cluster::node::{Action, Command, Event, Local, Node, Outcome, Ticket, Wanted};
use crate::cluster::record::{Keyring, OnDeadline, Role, Step};
use crate::cluster::tests::invariants::{sank, wrong};
use crate::cluster::tests::rig::{Replica, Seal, Seat};
use crate::cluster::tests::sample;
use crate::cluster::tests::world::{SUITES, by, name, wanted};
use crate::format::generations::KeyState;
use crate::units::Generation;

/// Milliseconds between two rounds.
const ROUND: u64 = 100;
const CHAOS_ROUNDS: u64 = 900;
const PEACE_ROUNDS: u64 = 3000;

/// What happens at a time.
enum Due {
    Frame { from: usize, to: usize, life: u64, bytes: Vec<u8> },
    Saved { at: usize, life: u64, ticket: Ticket, durable: Box<Durable> },
    Done { at: usize, life: u64, local: Local, outcome: Result<Outcome, String> },
}

/// Everything.
pub struct Sim {
    chance: Chance,
    seats: Vec<Seat>,
    /// What each node knows to be durable: a save that failed may be on its disk all the same.
    sure: Vec<Durable>,
    /// Counts the starts of each node: what belonged to an earlier life is lost.
    lives: Vec<u64>,
    jumps: Vec<u64>,
    cut: Vec<bool>,
    due: BTreeMap<(u64, u64), Due>,
    order: u64,
    time: u64,
    rough: bool,
    lines: Vec<String>,
    full: usize,
    expelled: bool,
    failed: Option<String>,
}

impl Sim {
    pub fn new(seed: u64) -> Sim {
        let mut chance = Chance::new(seed);
        let witness = if chance.often(400) { Role::Witness } else { Role::Full };
        let members = [("a", Role::Full), ("b", Role::Full), ("c", witness)];
        let record = sample::founding_of(&members);
        let disk = Durable::found(record.clone(), &Seal::of(&record.lead)).expect("it is sound");
        let seat = |text: &str| Seat {
            name: name(text),
            node: None,
            disk: disk.clone(),
            replica: Replica::new(&name(text), &record, 3),
        };
        let mut sim = Sim {
            chance,
            seats: members.iter().map(|(text, _)| seat(text)).collect(),
            sure: vec![disk.clone(); 3],
            lives: vec![0; 3],
            jumps: vec![1_000_000; 3],
            cut: vec![false; 3],
            due: BTreeMap::new(),
            order: 0,
            time: 0,
            rough: true,
            lines: Vec::new(),
            full: if witness == Role::Full { 3 } else { 2 },
            expelled: false,
            failed: None,
        };
        (0..3).for_each(|at| sim.start(at));
        sim
    }

    /// The latest of what happened.
    pub fn transcript(&self) -> String {
        let from = self.lines.len().saturating_sub(400);
        self.lines[from..].join("\n")
    }

    /// The latest committed record.
    pub fn record(&self) -> &Keyring {
        let all = self.seats.iter().map(|seat| &seat.disk.committed.record);
        all.max_by_key(|record| record.stamp).expect("there are nodes")
    }

    fn say(&mut self, line: String) {
        self.lines.push(format!("{:>7} {line}", self.time));
    }

    fn reaches(&self, a: usize, b: usize) -> bool {
        let runs = |at: usize| self.seats[at].node.is_some() && !self.cut[at];
        runs(a) && runs(b)
    }

    fn later(&mut self, most: u64, due: Due) {
        self.order += 1;
        let delay = 1 + self.chance.below(most);
        self.due.insert((self.time + delay, self.order), due);
    }

    fn start(&mut self, at: usize) {
        self.lives[at] += 1;
        let now = self.now(at);
        let seat = &mut self.seats[at];
        seat.replica.told = 0;
        self.sure[at] = seat.disk.clone();
        seat.node = Some(Node::new(seat.name.clone(), seat.disk.clone(), SUITES.to_vec(), now));
        self.say(format!("{} starts", name_of(at)));
        self.feed(at, Event::Tick);
        self.meet(at);
    }

    fn now(&self, at: usize) -> u64 {
        (self.time / 1000).saturating_add(self.jumps[at])
    }

    fn meet(&mut self, at: usize) {
        for other in (0..3).filter(|other| *other != at) {
            if self.reaches(at, other) {
                self.feed(at, Event::Up(name_of(other), SUITES.to_vec()));
                self.feed(other, Event::Up(name_of(at), SUITES.to_vec()));
            }
        }
    }

    fn part(&mut self, at: usize) {
        for other in (0..3).filter(|other| *other != at) {
            self.feed(other, Event::Down(name_of(at)));
            self.feed(at, Event::Down(name_of(other)));
        }
    }

    fn crash(&mut self, at: usize) {
        if self.seats[at].node.take().is_none() {
            return;
        }
        self.say(format!("{} crashes", name_of(at)));
        // A save under way is there, or not.
        let saves: Vec<(u64, u64)> = self
            .due
            .iter()
            .filter(|(_, due)| matches!(due, Due::Saved { at: of, .. } if *of == at))
            .map(|(key, _)| *key)
            .collect();
        for key in saves {
            if let Some(Due::Saved { durable, .. }) = self.due.remove(&key)
                && self.chance.often(500)
            {
                self.written(at, *durable);
            }
        }
        self.part(at);
    }

    /// What the disk of a node holds from now on.
    fn written(&mut self, at: usize, durable: Durable) {
        let bytes = durable.encode();
        let back = Durable::decode(&bytes);
        let what = sank(&self.sure[at], &durable);
        if back.as_ref() != Ok(&durable) || what.is_some() {
            self.failed =
                Some(format!("{}: {}", name_of(at), what.unwrap_or_else(|| "its file does not read back".into())));
        }
        self.seats[at].disk = durable;
    }

    fn feed(&mut self, at: usize, event: Event) {
        let now = self.now(at);
        let Some(node) = &mut self.seats[at].node else { return };
        let actions = node.handle(now, event, &Seal::of(&name_of(at)));
        for action in actions {
            self.carry_out(at, action);
        }
        self.check();
    }

    fn carry_out(&mut self, at: usize, action: Action) {
        let life = self.lives[at];
        match action {
            Action::Save(ticket, durable) => self.later(50, Due::Saved { at, life, ticket, durable }),
            Action::Send(to, message, handover) => self.send(at, &to, message, handover),
            Action::Local(local) => {
                let fails = self.rough && self.chance.often(50);
                let outcome = match fails {
                    true => Err("its keeper cannot be reached".into()),
                    false => self.seats[at].replica.perform(&local),
                };
                self.later(300, Due::Done { at, life, local, outcome });
            }
            Action::Answer(_, answer) => self.say(format!("{} answers {answer:?}", name_of(at))),
            Action::Note(note) => self.say(format!("{} {note}", name_of(at))),
            Action::Alarm(key, text) => self.say(format!("{} alarm {key}: {text}", name_of(at))),
            Action::Clear(_) | Action::Guard(..) => {}
        }
    }

    fn send(&mut self, from: usize, to: &NodeName, mut message: Message, generation: Option<Generation>) {
        let to = index_of(to);
        if let (Body::Put { handover, .. }, Some(generation)) = (&mut message.body, generation) {
            *handover = self.seats[from].replica.keys.get(&generation).map(|key_id| key_id.to_vec());
        }
        if !self.reaches(from, to) || self.rough && self.chance.often(60) {
            return;
        }
        let (bytes, life) = (message.encode(), self.lives[to]);
        if self.rough && self.chance.often(50) {
            self.later(3000, Due::Frame { from, to, life, bytes: bytes.clone() });
        }
        let most = if self.rough { 400 } else { 20 };
        self.later(most, Due::Frame { from, to, life, bytes });
    }

    fn arrive(&mut self, due: Due) {
        match due {
            Due::Frame { from, to, life, bytes } => {
                if self.lives[to] == life && self.reaches(from, to) {
                    match Message::decode(&bytes) {
                        Ok(message) => self.feed(to, Event::Heard(name_of(from), message)),
                        Err(why) => self.failed = Some(format!("a frame does not read back: {why}")),
                    }
                }
            }
            Due::Saved { at, life, ticket, durable } if self.lives[at] == life => {
                if self.rough && self.chance.often(40) {
                    // The disk is full, or the last step fails: then it may be there all the same.
                    if self.chance.often(300) {
                        self.written(at, *durable);
                    }
                    return self.feed(at, Event::NotSaved(ticket, "no space".into()));
                }
                self.written(at, (*durable).clone());
                self.sure[at] = *durable;
                self.feed(at, Event::Saved(ticket));
            }
            Due::Done { at, life, local, outcome } if self.lives[at] == life => {
                let converges = matches!(local, Local::Converge { .. });
                self.feed(at, Event::Done(local, outcome));
                if converges {
                    self.tell(at);
                }
            }
            Due::Saved { .. } | Due::Done { .. } => {}
        }
    }

    fn tell(&mut self, at: usize) {
        let now = self.now(at);
        let mut progress = self.seats[at].replica.progress();
        progress.at = now;
        self.feed(at, Event::Told(progress));
    }

    fn check(&mut self) {
        let seats: Vec<&Seat> = self.seats.iter().filter(|seat| self.counts(seat)).collect();
        if let Some(what) = wrong(&seats) {
            self.failed.get_or_insert(what);
        }
    }

    /// Who holds a replica and has not been expelled.
    fn counts(&self, seat: &Seat) -> bool {
        let record = self.record();
        record.member(&seat.name).is_some_and(|member| member.role == Role::Full)
    }

    fn round(&mut self) -> Result<(), String> {
        self.time += ROUND;
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= self.time) {
            let due = entry.remove();
            self.arrive(due);
        }
        for at in 0..3 {
            if self.time.is_multiple_of(1000) {
                self.feed(at, Event::Tick);
                self.tell(at);
            }
            if self.seats[at].node.is_some()
                && self.chance.often(100)
                && at < self.full
                && self.seats[at].replica.drain()
            {
                self.tell(at);
            }
        }
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Things go wrong.
    pub fn chaos(&mut self) -> Result<(), String> {
        for _ in 0..CHAOS_ROUNDS {
            self.round()?;
            let at = self.chance.below(3) as usize;
            match self.chance.below(1000) {
                0..10 => self.crash(at),
                10..60 if self.seats[at].node.is_none() => self.start(at),
                60..70 if !self.cut[at] => {
                    self.say(format!("{} is cut off", name_of(at)));
                    self.part(at);
                    self.cut[at] = true;
                }
                70..120 if self.cut[at] => self.heal(at),
                120..125 => self.jumps[at] = self.chance.below(3_000_000),
                125..165 => self.random_command(at),
                _ => {}
            }
        }
        Ok(())
    }

    fn heal(&mut self, at: usize) {
        self.cut[at] = false;
        self.say(format!("{} is reached again", name_of(at)));
        self.meet(at);
    }

    fn command(&mut self, at: usize, command: Command) {
        self.say(format!("{} is told {command:?}", name_of(at)));
        self.feed(at, Event::Command(self.time, command, by()));
    }

    fn random_command(&mut self, at: usize) {
        let pick = self.chance.next() as usize;
        let keys = &self.record().keys;
        let key = keys[pick % keys.len()].generation;
        let undo = if self.chance.often(500) { OnDeadline::Undo } else { OnDeadline::Alarm };
        let rotation = Wanted {
            hold_finalize: self.chance.often(200),
            one_at_a_time: self.chance.often(300),
            deadline_s: self.chance.below(2) * 20,
            on_deadline: undo,
            ..wanted()
        };
        let command = match self.chance.below(20) {
            0..7 => Command::Rotate(rotation),
            7 => Command::RollBack,
            8 => Command::Abandon,
            9 => Command::Pause(self.chance.often(500)),
            10 => Command::Finalize,
            11 => Command::Retire(key),
            12 => Command::Schedule(key, 0),
            13 | 14 => Command::Destroy { generation: key, early: true, despite_pins: false },
            15 | 16 => Command::Promote(0),
            17 => Command::Revoke(key),
            18 => Command::Reinstate(key),
            _ if !self.expelled && self.chance.often(100) => {
                self.expelled = true;
                Command::Expel(name_of(self.chance.below(3) as usize))
            }
            _ => Command::Compromise(key, true),
        };
        self.command(at, command);
    }

    /// All is healed: somebody leads, and what was begun comes to an end.
    pub fn settle(&mut self) -> Result<(), String> {
        self.rough = false;
        for at in 0..3 {
            self.cut[at] = false;
        }
        for at in 0..3 {
            match self.seats[at].node.is_none() {
                true => self.start(at),
                false => self.heal(at),
            }
        }
        for number in 0..PEACE_ROUNDS {
            self.round()?;
            if number % 100 == 99 {
                self.nudge();
            }
            if number > 300 && number.is_multiple_of(10) && self.is_settled() {
                return Ok(());
            }
        }
        Err(format!("it does not settle: {}", self.standing()))
    }

    /// What an operator would do.
    fn nudge(&mut self) {
        let leads = |seat: &Seat| seat.node.as_ref().is_some_and(Node::leads);
        let lead = (0..3).find(|at| leads(&self.seats[*at]));
        let member = |sim: &Sim, at: &usize| sim.counts(&sim.seats[*at]) && sim.seats[*at].disk.out.is_none();
        let Some(lead) = lead else {
            if let Some(at) = (0..3).find(|at| member(self, at)) {
                self.command(at, Command::Promote(0));
            }
            return;
        };
        (0..3).for_each(|at| self.feed(at, Event::Command(0, Command::Release, by())));
        let record = self.seats[lead].disk.committed.record.clone();
        let revoked = record.keys.iter().find(|key| key.state == KeyState::Revoked).map(|key| key.generation);
        if record.change.paused {
            self.command(lead, Command::Pause(false));
        } else if let Some(generation) =
            revoked.filter(|_| matches!(record.change.step, Step::Active | Step::RolledBack))
        {
            self.command(lead, Command::Reinstate(generation));
        } else if record.change.hold_finalize {
            self.command(lead, Command::Finalize);
        }
    }

    fn is_settled(&self) -> bool {
        let record = self.record();
        let ended = matches!(record.change.step, Step::Idle | Step::Finalized);
        let stays = |seat: &&Seat| record.member(&seat.name).is_some();
        let agree = self.seats.iter().filter(stays).all(|seat| {
            let disk = &seat.disk;
            disk.committed.record == *record && disk.accepted.record == *record && disk.out.is_none()
        });
        let brought =
            self.seats.iter().filter(|seat| self.counts(seat)).all(|seat| seat.replica.converged == record.stamp);
        ended && agree && brought
    }

    fn standing(&self) -> String {
        let each = self.seats.iter().map(|seat| {
            let (disk, view) = (&seat.disk, seat.node.as_ref().map(|node| node.view(0)));
            format!(
                "{}: promised {}, accepted {}, committed {} ({:?}), out {:?}, at {}, waits for {:?}",
                seat.name,
                disk.promised,
                disk.accepted_stamp(),
                disk.committed_stamp(),
                disk.committed.record.change.step,
                disk.out,
                seat.replica.converged,
                view.map(|view| view.waiting)
            )
        });
        each.collect::<Vec<_>>().join("\n")
    }
}

fn name_of(at: usize) -> NodeName {
    name(["a", "b", "c"][at])
}

fn index_of(of: &NodeName) -> usize {
    (0..3).find(|at| name_of(*at) == *of).expect("it is one of them")
}
