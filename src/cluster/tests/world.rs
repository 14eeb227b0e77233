//! A few machines with their replicas, disks that do not fail and links that are reliable until they are cut; all of it told line
//! by line.

use std::collections::{BTreeMap, VecDeque};

use super::rig::{Replica, Seal};
use super::sample;
use crate::cluster::durable::Durable;
use crate::cluster::message::{Body, Message, Refusal};
use crate::cluster::name::NodeName;
use crate::cluster::node::{Action, By, Command, Event, Local, Node, Wanted};
use crate::cluster::record::{Keyring, OnDeadline, Role};
use crate::format::generations::{Pace, VerifyMode};

pub const SUITES: &[u16] = &[1, 2];

/// A machine and what is around it.
pub struct Seat {
    pub node: Option<Node>,
    pub disk: Durable,
    pub replica: Replica,
    pub suites: Vec<u16>,
}

/// All of them.
pub struct World {
    pub seats: BTreeMap<NodeName, Seat>,
    links: BTreeMap<(NodeName, NodeName), VecDeque<Message>>,
    cut: Vec<NodeName>,
    pub now: u64,
    pub lines: Vec<String>,
    /// Replicas re-encrypt by themselves.
    pub drains: bool,
    /// The next save on this node is not durable: the node ends there.
    pub crash_at_save: Option<NodeName>,
    tickets: u64,
    inbox: VecDeque<(NodeName, Event)>,
    feeding: bool,
}

pub fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

pub fn by() -> By {
    By { actor: "op".into(), reason: "why".into() }
}

pub fn wanted() -> Wanted {
    Wanted {
        suite: 1,
        hold_finalize: false,
        one_at_a_time: false,
        cold_proof: false,
        pace: Pace { rate: 0, adaptive: true, factor_percent: 150 },
        verify: VerifyMode::Full,
        deadline_s: 0,
        on_deadline: OnDeadline::Alarm,
    }
}

impl World {
    /// Members of these roles; the first leads, all hold the first record.
    pub fn new(members: &[(&str, Role)]) -> World {
        let record = sample::founding_of(members);
        let lead = Seal::of(&record.lead);
        let disk = Durable::found(record.clone(), &lead).unwrap();
        let seats = members.iter().map(|(text, _)| {
            let replica = Replica::new(&name(text), &record, 2);
            (name(text), Seat { node: None, disk: disk.clone(), replica, suites: SUITES.to_vec() })
        });
        let mut world = World {
            seats: seats.collect(),
            links: BTreeMap::new(),
            cut: Vec::new(),
            now: 1000,
            lines: Vec::new(),
            drains: true,
            crash_at_save: None,
            tickets: 0,
            inbox: VecDeque::new(),
            feeding: false,
        };
        for (text, _) in members {
            world.start(text);
        }
        world.run();
        world.lines.clear();
        world
    }

    fn line(&mut self, line: String) {
        self.lines.push(line);
    }

    pub fn comment(&mut self, text: &str) {
        self.line(format!("# {text}"));
    }

    pub fn record(&self, text: &str) -> &Keyring {
        &self.seats[&name(text)].disk.committed.record
    }

    fn reaches(&self, a: &NodeName, b: &NodeName) -> bool {
        let runs = |name| self.seats[name].node.is_some();
        runs(a) && runs(b) && !self.cut.contains(a) && !self.cut.contains(b)
    }

    pub fn start(&mut self, text: &str) {
        let me = name(text);
        let seat = self.seats.get_mut(&me).unwrap();
        seat.node = Some(Node::new(me.clone(), seat.disk.clone(), seat.suites.clone(), self.now));
        self.line(format!("{me} starts"));
        self.feed(&me, Event::Tick);
        self.meet(&me);
    }

    /// Links of a node come up.
    fn meet(&mut self, me: &NodeName) {
        for other in self.seats.keys().cloned().collect::<Vec<_>>() {
            if other != *me && self.reaches(me, &other) {
                let (mine, theirs) = (self.seats[me].suites.clone(), self.seats[&other].suites.clone());
                self.feed(me, Event::Up(other.clone(), theirs));
                self.feed(&other, Event::Up(me.clone(), mine));
            }
        }
    }

    fn part(&mut self, me: &NodeName) {
        for other in self.seats.keys().cloned().collect::<Vec<_>>() {
            self.links.remove(&(me.clone(), other.clone()));
            self.links.remove(&(other.clone(), me.clone()));
            if other != *me {
                self.feed(&other, Event::Down(me.clone()));
                self.feed(me, Event::Down(other));
            }
        }
    }

    pub fn crash(&mut self, text: &str) {
        let me = name(text);
        self.seats.get_mut(&me).unwrap().node = None;
        self.line(format!("{me} crashes"));
        self.part(&me);
    }

    pub fn cut(&mut self, text: &str) {
        self.line(format!("{text} is cut off"));
        self.cut.push(name(text));
        self.part(&name(text));
    }

    pub fn heal(&mut self, text: &str) {
        self.line(format!("{text} is reached again"));
        self.cut.retain(|cut| cut.as_str() != text);
        self.meet(&name(text));
    }

    pub fn command(&mut self, text: &str, command: Command) {
        self.tickets += 1;
        let said = format!("{command:?}");
        self.line(format!("{text} is told: {}", said.split([' ', '{']).next().unwrap_or_default()));
        self.feed(&name(text), Event::Command(self.tickets, command, by()));
        self.run();
    }

    /// Time passes, second by second.
    pub fn pass(&mut self, seconds: u64) {
        self.line(format!("{seconds} s pass"));
        for _ in 0..seconds {
            self.now += 1;
            for me in self.seats.keys().cloned().collect::<Vec<_>>() {
                self.feed(&me, Event::Tick);
            }
            self.run();
        }
    }

    /// Until nothing is under way.
    pub fn run(&mut self) {
        for _ in 0..10_000 {
            let link = self.links.iter().find(|(_, queue)| !queue.is_empty()).map(|(link, _)| link.clone());
            if let Some((from, to)) = link {
                let message = self.links.get_mut(&(from.clone(), to.clone())).and_then(VecDeque::pop_front).unwrap();
                self.feed(&to, Event::Heard(from, message));
            } else if !self.drains || !self.drain() {
                return;
            }
        }
        panic!("it never ends:\n{}", self.lines.join("\n"));
    }

    fn drain(&mut self) -> bool {
        let names: Vec<NodeName> = self.seats.keys().cloned().collect();
        let mut some = false;
        for me in names {
            let seat = self.seats.get_mut(&me).unwrap();
            if seat.node.is_some() && seat.replica.drain() {
                some = true;
                while seat.replica.drain() {}
                self.line(format!("{me} has drained"));
                self.tell(&me);
            }
        }
        some
    }

    fn tell(&mut self, me: &NodeName) {
        let progress = self.seats.get_mut(me).unwrap().replica.progress();
        self.feed(me, Event::Told(progress));
    }

    /// Gives a node an event; what comes of it is carried out before anything else is given to anybody.
    fn feed(&mut self, me: &NodeName, event: Event) {
        self.inbox.push_back((me.clone(), event));
        if std::mem::replace(&mut self.feeding, true) {
            return;
        }
        while let Some((me, event)) = self.inbox.pop_front() {
            let now = self.now;
            let Some(node) = self.seats.get_mut(&me).and_then(|seat| seat.node.as_mut()) else { continue };
            for action in node.handle(now, event, &Seal::of(&me)) {
                if !self.carry_out(&me, action) {
                    break;
                }
            }
        }
        self.feeding = false;
    }

    /// Whether the node still runs.
    fn carry_out(&mut self, me: &NodeName, action: Action) -> bool {
        match action {
            Action::Save(ticket, durable) => {
                let old = &self.seats[me].disk;
                self.line(format!("{me} saves {}", saved(old, &durable)));
                if self.crash_at_save.take_if(|crash| crash == me).is_some() {
                    self.crash(me.as_str());
                    return false;
                }
                assert_eq!(Durable::decode(&durable.encode()).as_ref(), Ok(&*durable));
                self.seats.get_mut(me).unwrap().disk = *durable;
                self.feed(me, Event::Saved(ticket));
            }
            Action::Send(to, message, handover) => self.send(me, to, message, handover),
            Action::Guard(..) => panic!("there is no coordinator"),
            Action::Local(local) => {
                let outcome = self.seats.get_mut(me).unwrap().replica.perform(&local);
                let result = outcome.as_ref().err().map_or(String::new(), |why| format!(": {why}"));
                self.line(format!("{me} {}{result}", local_name(&local)));
                let converges = matches!(local, Local::Converge { .. });
                self.feed(me, Event::Done(local, outcome));
                if converges {
                    self.tell(me);
                }
            }
            Action::Answer(_, answer) => self.line(match answer {
                Ok(text) => format!("{me} answers: {text}"),
                Err(why) => format!("{me} refuses: {why}"),
            }),
            Action::Note(_) => {}
            Action::Alarm(key, text) => self.line(format!("{me} raises {key}: {text}")),
            Action::Clear(key) => self.line(format!("{me} clears {key}")),
        }
        self.seats[me].node.is_some()
    }

    fn send(
        &mut self,
        me: &NodeName,
        to: NodeName,
        mut message: Message,
        generation: Option<crate::units::Generation>,
    ) {
        if let (Body::Put { handover, .. }, Some(generation)) = (&mut message.body, generation) {
            *handover = self.seats[me].replica.keys.get(&generation).map(|key_id| key_id.to_vec());
        }
        if !self.reaches(me, &to) {
            return;
        }
        if let Some(said) = body_name(&message.body) {
            self.line(format!("{me} -> {to}: {said}"));
        }
        let message = Message::decode(&message.encode()).unwrap();
        self.links.entry((me.clone(), to)).or_default().push_back(message);
    }
}

fn saved(old: &Durable, new: &Durable) -> String {
    let mut what = Vec::new();
    if old.promised != new.promised && old.accepted == new.accepted {
        what.push(format!("promise of epoch {}", new.promised));
    }
    if old.accepted != new.accepted {
        what.push(format!("record {}", new.accepted_stamp()));
    }
    if old.committed != new.committed {
        what.push(format!("{} as committed", new.committed_stamp()));
    }
    if old.closed != new.closed {
        let closed: Vec<String> = new.closed.iter().map(ToString::to_string).collect();
        what.push(format!("closed generations [{}]", closed.join(", ")));
    }
    if let Some(why) = &new.out {
        what.push(format!("that it is out: {why}"));
    }
    what.join(", ")
}

fn local_name(local: &Local) -> String {
    match local {
        Local::Make { generation, .. } => format!("makes generation {generation}"),
        Local::Prepare { record, .. } => format!("prepares what record {} names", record.stamp),
        Local::Prove { generation, cold } => {
            format!("proves generation {generation}{}", if *cold { " from a fresh process" } else { "" })
        }
        Local::Report { generation } => format!("looks for references to generation {generation}"),
        Local::Converge { record, may_drain } => {
            format!("brings its volume to {}{}", record.stamp, if *may_drain { "" } else { ", not draining" })
        }
    }
}

/// Progress is left out: it is said all the time.
fn body_name(body: &Body) -> Option<String> {
    Some(match body {
        Body::Put { record, handover } => {
            format!("put {}{}", record.record.stamp, if handover.is_some() { ", with a DEK" } else { "" })
        }
        Body::Ack { stamp, .. } => format!("ack {stamp}"),
        Body::Refused { why: Refusal::Out(_), stamp } => format!("refused {stamp}: it is out"),
        Body::Refused { stamp, why } => format!("refused {stamp}: {why}"),
        Body::Beat { committed, turn, .. } => {
            format!("committed {committed}{}", turn.as_ref().map_or(String::new(), |turn| format!(", {turn} drains")))
        }
        Body::Behind { have } => format!("behind, has {have}"),
        Body::Prove { generation, .. } => format!("prove {generation}"),
        Body::Proven { generation, .. } => format!("proven {generation}"),
        Body::Report { generation, .. } => format!("report {generation}"),
        Body::Reported { generation, references, pins, .. } => {
            let pinned = if pins.is_empty() { "" } else { ", pinned" };
            format!("reported {generation}: {}{pinned}", references.as_deref().unwrap_or("no reference"))
        }
        Body::Elect { epoch } => format!("elect me for epoch {epoch}"),
        Body::Promised { promise, record } => format!("promised {}, has {}", promise.epoch, record.record.stamp),
        Body::Progress(_) | Body::Check(_) => return None,
    })
}
