//! The seat of one volume among its peers: gives the state machine its events, one at a time, and carries out what it says.
//!
//! One thread, `km-seat`. Invariants: actions are carried out in the order given, and a save is durable before what follows it; a record
//! that cannot be noted in the audit log is not saved, unless it makes safe; nothing here waits for a keeper or a peer; trouble of
//! the seat never touches the volume's clients.

mod first;
mod sealing;

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::alarms::SeatAlarms;
use super::check::{Answerer, Comparison};
use super::guard::{Guard, Order};
use super::hands::{Tools, Workers};
use super::notary::NodeNotary;
use super::post::Post;
use super::progress::{Reporter, Standing};
use super::shelf::Shelf;
use crate::cli::words;
use crate::cluster::durable::Durable;
use crate::cluster::founding::Founding;
use crate::cluster::message::{Body, Message};
use crate::cluster::name::NodeName;
use crate::cluster::node::{Action, By as Wish, Command, Event, Local, Node, Outcome, Refused, Ticket, View};
use crate::cluster::record::Keyring;
use crate::control::audit::Space;
use crate::control::authorize::{Object, Verb};
use crate::control::door::Door;
use crate::format::generations::KeyState;
use crate::units::Generation;
use crate::volume::life::By;

/// How often time passes for the state machine.
const TICK: Duration = Duration::from_millis(500);
/// Seconds after which a convergence that was hindered is tried again.
const TRY_AGAIN: u64 = 5;
/// Messages that wait for a DEK to be sealed, at most.
const SEALING_MAX: usize = 64;

/// What comes to a seat.
pub enum Input {
    /// For the state machine.
    Event(Box<Event>),
    /// An operator wants something.
    Ask(Command, Wish, SyncSender<Result<String, Refused>>),
    /// A DEK is at hand, or cannot be had.
    Fetched(Generation, Result<(), String>),
    /// What is the matter with the coordinator, if anything is.
    Coordinator(Option<String>),
    /// The daemon ends.
    Stop,
}

/// What others see of a seat.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Where the machine stands.
    pub view: Option<View>,
    /// What needs an operator's eye.
    pub alarms: SeatAlarms,
    /// Why the seat takes no part, before it has a machine that would say so.
    pub out: Option<String>,
    /// Since when the lead is known to have a record that does not name this node.
    pub unadmitted: Option<u64>,
}

/// Who sits there.
pub enum Chair {
    /// A member with a record.
    Seated(Box<Node>),
    /// A member that waits for its first record.
    Waiting(Box<Founding>),
    /// Nobody, and why.
    Out(String),
}

impl Chair {
    /// A member that goes on from what is durable; `is_guarded` where a coordinator publishes records first.
    pub fn new(me: &NodeName, durable: Durable, is_guarded: bool) -> Chair {
        let node = Node::new(me.clone(), durable, super::suites(), words::now());
        Chair::Seated(Box::new(if is_guarded { node.guarded() } else { node }))
    }

    /// Why nobody sits there.
    pub fn why_out(&self) -> Option<String> {
        match self {
            Chair::Out(why) => Some(why.clone()),
            Chair::Seated(_) | Chair::Waiting(_) => None,
        }
    }

    fn node(&self) -> Option<&Node> {
        match self {
            Chair::Seated(node) => Some(node),
            Chair::Waiting(_) | Chair::Out(_) => None,
        }
    }
}

/// What a seat works with.
pub struct Driver {
    /// Export name of the volume, or what stands for one on a witness.
    pub name: String,
    /// This node.
    pub me: NodeName,
    /// The state machine, once there is a record.
    pub chair: Chair,
    /// Its signatures.
    pub notary: NodeNotary,
    /// Its memory.
    pub shelf: Shelf,
    /// The way to others.
    pub post: Arc<Post>,
    /// The way into the audit log.
    pub door: Arc<Door>,
    /// The volume's side; a witness has none.
    pub hands: Option<(Arc<Tools>, Workers)>,
    /// Who answers questions of a comparison; a witness has nothing to say.
    pub answerer: Option<Answerer>,
    /// The coordinator, where one stands guard over records.
    pub guard: Option<Guard>,
    /// The comparison that this node drives.
    pub comparison: Arc<Comparison>,
    /// Alarms that its start gave cause for.
    pub alarms: SeatAlarms,
    /// What others see.
    pub shown: Arc<Mutex<Shown>>,
}

/// A driver at work.
pub struct Running {
    driver: Driver,
    asked: BTreeMap<Ticket, SyncSender<Result<String, Refused>>>,
    tickets: Ticket,
    /// Who wanted the change that is being made.
    wish: Wish,
    /// Peers that can be reached, and the suites they read.
    links: BTreeMap<NodeName, Vec<u16>>,
    sealing: Vec<(NodeName, Message, Generation)>,
    alarms: SeatAlarms,
    reporter: Reporter,
    standing: Standing,
    /// A convergence that was hindered, and when that was: told later, so that it is not tried again at once.
    hindered: Option<(Event, u64)>,
    saved: Option<Durable>,
    unadmitted: Option<u64>,
}

impl Driver {
    /// Runs until told to stop, or until nobody is left to tell.
    pub fn run(self, inputs: &Receiver<Input>) {
        let now = words::now();
        let no_wish = Wish { actor: "daemon".into(), reason: String::new() };
        let mut running = Running {
            saved: self.chair.node().map(|node| node.durable().clone()),
            alarms: self.alarms.clone(),
            driver: self,
            asked: BTreeMap::new(),
            tickets: 1,
            wish: no_wish,
            links: BTreeMap::new(),
            sealing: Vec::new(),
            reporter: Reporter::new(now),
            standing: Standing::default(),
            hindered: None,
            unadmitted: None,
        };
        running.run(inputs);
    }
}

impl Running {
    fn run(&mut self, inputs: &Receiver<Input>) {
        self.step(Event::Tick);
        let mut due = Instant::now() + TICK;
        loop {
            let patience = due.saturating_duration_since(Instant::now());
            match inputs.recv_timeout(patience) {
                Ok(Input::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Input::Event(event)) => self.hear(*event),
                Ok(Input::Ask(command, wish, answer)) => self.ask(command, wish, answer),
                Ok(Input::Coordinator(trouble)) => self.coordinator(trouble),
                Ok(Input::Fetched(generation, fetched)) => self.fetched(generation, &fetched),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= due {
                self.tick();
                due = Instant::now() + TICK;
            }
            self.show();
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Up(peer, suites) => {
                self.links.insert(peer.clone(), suites.clone());
                self.step(Event::Up(peer, suites));
            }
            Event::Down(peer) => {
                self.links.remove(&peer);
                self.step(Event::Down(peer));
            }
            Event::Done(Local::Converge { record, may_drain }, done) => self.converged(record, may_drain, done),
            Event::Heard(from, Message { body: Body::Check(payload), .. }) => self.compare(from, payload),
            Event::Heard(from, message) if matches!(self.driver.chair, Chair::Waiting(_)) => self.begin(from, message),
            event => self.step(event),
        }
    }

    fn coordinator(&mut self, trouble: Option<String>) {
        match trouble {
            None => self.alarms.clear("coordinator"),
            Some(why) => {
                self.alarm(
                    "coordinator",
                    &format!("no change goes forward while the coordinator cannot be asked: {why}"),
                );
            }
        }
    }

    /// A question or an answer of a comparison: of a member's alone.
    fn compare(&self, from: NodeName, payload: Vec<u8>) {
        let Some(node) = self.driver.chair.node() else { return };
        let member = node.durable().committed.record.member(&from).map(|member| member.role);
        let (Some(role), false) = (member, self.driver.comparison.heard(&from, &payload)) else { return };
        if let Some(answerer) = &self.driver.answerer {
            answerer.ask(from, role, payload);
        }
    }

    /// Time passes: links that came or went unheard, how far the replica is, what was hindered.
    fn tick(&mut self) {
        let states = self.driver.post.links().map(|links| links.peers()).unwrap_or_default();
        for state in states {
            let known = self.links.contains_key(&state.name);
            match (known, state.up, state.hello) {
                (false, true, Some(hello)) => self.hear(Event::Up(state.name, hello.capabilities.suites)),
                (true, false, _) => self.hear(Event::Down(state.name)),
                _ => {}
            }
        }
        let now = words::now();
        if let Some((event, _)) = self.hindered.take_if(|(_, since)| now.abs_diff(*since) >= TRY_AGAIN) {
            self.step(event);
        }
        self.step(Event::Tick);
        self.tell();
    }

    /// Tells how far this replica is.
    fn tell(&mut self) {
        let Some(durable) = &self.saved else { return };
        let Some((tools, _)) = &self.driver.hands else { return };
        self.standing.held = durable.held;
        let told = self.reporter.tell(&tools.served, &durable.committed.record, &self.standing, words::now());
        if let Some(progress) = told {
            self.step(Event::Told(progress));
        }
    }

    fn converged(&mut self, record: Box<Keyring>, may_drain: bool, done: Result<Outcome, String>) {
        let stamp = record.stamp;
        let is_done = done.is_ok();
        self.standing.hindrance = done.as_ref().err().cloned();
        let event = Event::Done(Local::Converge { record, may_drain }, done);
        if is_done {
            self.standing.converged = self.standing.converged.max(stamp);
            self.hindered = None;
            self.step(event);
        } else {
            self.hindered = Some((event, words::now()));
        }
        self.tell();
    }

    fn ask(&mut self, command: Command, wish: Wish, answer: SyncSender<Result<String, Refused>>) {
        if let Some(why) = self.why_nobody() {
            // Whoever asked may have gone.
            let _ = answer.try_send(Err(Refused::State(why)));
            return;
        }
        self.tickets += 1;
        self.asked.insert(self.tickets, answer);
        self.wish = wish.clone();
        self.step(Event::Command(self.tickets, command, wish));
    }

    /// Why there is nobody to ask.
    fn why_nobody(&self) -> Option<String> {
        match &self.driver.chair {
            Chair::Seated(_) => None,
            Chair::Waiting(founding) => {
                Some(format!("the volume has no record of its peers yet: it comes from {}", founding.lead))
            }
            Chair::Out(why) => Some(format!("this node takes no part in what the peers of the volume do: {why}")),
        }
    }

    /// Gives the machine an event, and carries out what it says, until it says nothing more.
    fn step(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let Chair::Seated(node) = &mut self.driver.chair else { return };
            let actions = node.handle(words::now(), event, &self.driver.notary);
            self.carry_out(actions, &mut events);
        }
    }

    fn carry_out(&mut self, actions: Vec<Action>, events: &mut VecDeque<Event>) {
        let mut unrecorded = None;
        let mut notes = Vec::new();
        for action in actions {
            match action {
                Action::Note(what) => notes.push(what),
                Action::Save(ticket, durable) => {
                    let noted = self.note(&std::mem::take(&mut notes), Some(&durable));
                    let saved = match noted.err().or(unrecorded.take()) {
                        Some(why) => Err(why),
                        None => self.save(&durable),
                    };
                    events.push_back(match saved {
                        Ok(()) => Event::Saved(ticket),
                        Err(why) => Event::NotSaved(ticket, why),
                    });
                }
                other => {
                    unrecorded = self.note(&std::mem::take(&mut notes), None).err().or(unrecorded);
                    self.carry_out_one(other, events);
                }
            }
        }
        // What follows nothing is a remark.
        let _ = self.note(&notes, None);
    }

    fn carry_out_one(&mut self, action: Action, events: &mut VecDeque<Event>) {
        match action {
            Action::Send(to, message, None) => drop(self.driver.post.send(&to, &message)),
            Action::Send(to, message, Some(generation)) => self.send_sealed(to, message, generation),
            Action::Guard(ticket, previous, signed) => match &self.driver.guard {
                Some(guard) => {
                    let is_safe =
                        self.saved.as_ref().is_some_and(|saved| makes_safe(&saved.committed.record, &signed.record));
                    guard.publish(Order { ticket, previous, signed, is_safe });
                }
                None => events.push_back(Event::Guarded(ticket, Err("no coordinator is configured".into()))),
            },
            Action::Local(local) => self.order(local),
            Action::Answer(ticket, answer) => {
                // Whoever is answered finds what the answer is about.
                self.show();
                // Whoever asked may have gone.
                let _ = self.asked.remove(&ticket).map(|asker| asker.try_send(answer));
            }
            Action::Alarm(key, what) => self.alarm(&key, &what),
            Action::Clear(key) => self.alarms.clear(&key),
            Action::Note(_) | Action::Save(..) => {}
        }
    }

    /// Raises an alarm, and says so when it is a new one.
    fn alarm(&mut self, key: &str, what: &str) {
        if self.alarms.raise(key, what, words::now()) {
            tracing::error!(name = self.driver.name, alarm = key, what, "alarm");
        }
    }

    /// Puts notes on record. What makes safe may use the space that is set aside for it.
    fn note(&self, notes: &[String], durable: Option<&Durable>) -> Result<(), String> {
        let space = match (durable, &self.saved) {
            (Some(new), Some(old)) if makes_safe(&old.accepted.record, &new.accepted.record) => Space::Reserve,
            // What was accepted before it is committed now.
            (Some(new), Some(old)) if new.accepted == old.accepted => Space::Reserve,
            (Some(_), _) => Space::Ordinary,
            (None, _) => Space::Reserve,
        };
        let object = Object::Volume(self.driver.name.clone());
        for what in notes {
            let recorded = self.driver.door.record(Verb::PeerRecord, &object, what, space);
            recorded.map_err(|error| format!("refused, for it cannot be recorded: {error}"))?;
        }
        Ok(())
    }

    fn save(&mut self, durable: &Durable) -> Result<(), String> {
        let saved = self.driver.shelf.save(durable).map_err(|error| crate::rotation::controller::describe(&error));
        match &saved {
            Ok(()) => {
                self.forget_handed_over(&durable.committed.record);
                self.saved = Some(durable.clone());
                self.alarms.clear("shelf");
            }
            Err(why) => drop(self.alarms.raise(
                "shelf",
                &format!("what its peers agree on cannot be kept: {why}"),
                words::now(),
            )),
        }
        saved
    }

    fn order(&mut self, local: Local) {
        let Some((_, workers)) = &self.driver.hands else { return };
        if matches!(local, Local::Converge { .. }) {
            self.hindered = None;
        }
        let Wish { actor, reason } = self.wish.clone();
        workers.order(local, By { actor, reason, now: words::now() });
    }

    fn show(&self) {
        let view = self.driver.chair.node().map(|node| node.view(words::now()));
        let (alarms, out) = (self.alarms.clone(), self.driver.chair.why_out());
        let shown = Shown { view, alarms, out, unadmitted: self.unadmitted };
        *self.driver.shown.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }
}

/// Whether a record makes safe what the one before left open: such a one may use what is set aside in the audit log.
fn makes_safe(old: &Keyring, new: &Keyring) -> bool {
    use crate::cluster::record::Step;
    let (before, after) = (&old.change, &new.change);
    let state = |record: &Keyring, generation| record.key(generation).map(|key| key.state);
    let withdrawn = new.keys.iter().any(|key| {
        let was = state(old, key.generation);
        (key.state == KeyState::Revoked && was != Some(KeyState::Revoked))
            || (key.state == KeyState::Disabled && was == Some(KeyState::Scheduled))
            || (key.state == KeyState::Destroyed && was == Some(KeyState::Prepared))
            || (key.compromised && old.key(key.generation).is_some_and(|old| !old.compromised))
    });
    new.stamp.epoch > old.stamp.epoch
        || (after.step == Step::RolledBack && before.step != Step::RolledBack)
        || (after.paused && !before.paused)
        || withdrawn
}
