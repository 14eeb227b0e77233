//! The machine itself: what it remembers, one event at a time, and the one save that may be under way.
//!
//! Invariants: while a save is under way every other event waits, so that what is decided is decided on durable state alone; of a
//! save that failed nothing is believed; time is counted by what passes, at most [`JUMP_MAX`] at a time, so that no jump of a clock
//! ends a wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::member::{Asked, Preparing};
use super::memory::{Lead, Peer, Saving, Then};
use super::watch::Since;
use super::{Action, By, Command, Event, Local, Notary, Outcome, Refused, Ticket};
use crate::cluster::durable::Durable;
use crate::cluster::message::{Body, Message, Refusal};
use crate::cluster::name::NodeName;
use crate::cluster::progress::Progress;
use crate::cluster::record::{Hash, Member, Role, Signed};
use crate::cluster::rules;
use crate::cluster::stamp::Stamp;
use crate::format::wrapped::Wrapped;
use crate::units::Generation;

/// Seconds that count at most between two events.
pub const JUMP_MAX: u64 = 10;
/// Seconds after which what has not been answered is asked again.
pub const RETRY_S: u64 = 5;
/// Messages that wait for a save; more are dropped, as a network may.
const BACKLOG_MAX: usize = 1024;

/// A member of a volume's peers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub(super) me: NodeName,
    pub(super) suites: Vec<u16>,
    pub(super) durable: Durable,
    pub(super) guarded: bool,
    started: bool,
    pub(super) now: u64,
    /// Seconds passed since the start.
    pub(super) passed: u64,
    tickets: Ticket,
    saving: Option<Saving>,
    backlog: VecDeque<Event>,
    pub(super) peers: BTreeMap<NodeName, Peer>,
    pub(super) told: Option<Progress>,
    /// The epoch promised since the start, and to whom.
    pub(super) promised_to: Option<(u64, NodeName)>,
    /// What a lead has said is committed, and this node does not hold.
    pub(super) heard_committed: Option<(NodeName, Stamp, Hash)>,
    pub(super) preparing: Option<Preparing>,
    /// Own wraps of the generation prepared last.
    pub(super) wraps: Option<(Generation, Vec<Wrapped>)>,
    pub(super) proving: Option<Asked>,
    pub(super) reporting: Option<Asked>,
    /// The record the volume has been brought to.
    pub(super) converged: Option<Stamp>,
    /// What the volume was last asked to be brought to.
    pub(super) ordered: Option<(Stamp, bool)>,
    pub(super) hindrance: Option<String>,
    pub(super) turn: Option<NodeName>,
    pub(super) lead: Lead,
    pub(super) retried: u64,
    pub(super) save_failed: Option<String>,
    pub(super) alarms: BTreeMap<String, String>,
    pub(super) since: BTreeSet<Since>,
}

/// What one event comes to.
pub(super) struct Turn<'a> {
    pub actions: Vec<Action>,
    pub notary: &'a dyn Notary,
}

impl Turn<'_> {
    pub fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub fn answer(&mut self, ticket: Ticket, answer: Result<String, Refused>) {
        self.act(Action::Answer(ticket, answer));
    }
}

impl Node {
    /// A member as it starts, from what is durable. `suites`: what this build reads.
    pub fn new(me: NodeName, durable: Durable, suites: Vec<u16>, now: u64) -> Node {
        Node {
            me,
            suites,
            durable,
            guarded: false,
            started: false,
            now,
            passed: 0,
            tickets: 0,
            saving: None,
            backlog: VecDeque::new(),
            peers: BTreeMap::new(),
            told: None,
            promised_to: None,
            heard_committed: None,
            preparing: None,
            wraps: None,
            proving: None,
            reporting: None,
            converged: None,
            ordered: None,
            hindrance: None,
            turn: None,
            lead: Lead::default(),
            retried: 0,
            save_failed: None,
            alarms: BTreeMap::new(),
            since: BTreeSet::new(),
        }
    }

    /// The same, with a coordinator that publishes every record before members see it.
    #[must_use]
    pub fn guarded(mut self) -> Node {
        self.guarded = true;
        self
    }

    /// What is durable.
    pub fn durable(&self) -> &Durable {
        &self.durable
    }

    /// Takes an event; what the driver is to do comes out, in this order. The first event of all also begins what was under way
    /// before a restart.
    pub fn handle(&mut self, now: u64, event: Event, notary: &dyn Notary) -> Vec<Action> {
        let mut turn = Turn { actions: Vec::new(), notary };
        self.passed += now.saturating_sub(self.now).min(JUMP_MAX);
        self.now = now;
        if !self.started {
            self.started = true;
            self.start(&mut turn);
        }
        match event {
            Event::Saved(ticket) => self.saved(ticket, &mut turn),
            Event::NotSaved(ticket, why) => self.not_saved(ticket, why, &mut turn),
            event if self.saving.is_some() => self.put_off(event),
            event => self.take(event, &mut turn),
        }
        self.go_on(&mut turn);
        self.watch(&mut turn);
        turn.actions
    }

    /// Events that waited, then whatever is due.
    fn go_on(&mut self, turn: &mut Turn<'_>) {
        while self.saving.is_none() {
            match self.backlog.pop_front() {
                Some(event) => self.take(event, turn),
                None => {
                    self.drive(turn);
                    if self.saving.is_some() || self.backlog.is_empty() {
                        return;
                    }
                }
            }
        }
    }

    fn put_off(&mut self, event: Event) {
        let may_go =
            matches!(event, Event::Tick) || matches!(event, Event::Heard(..)) && self.backlog.len() >= BACKLOG_MAX;
        if !may_go {
            self.backlog.push_back(event);
        }
    }

    fn take(&mut self, event: Event, turn: &mut Turn<'_>) {
        match event {
            Event::Tick => {}
            Event::Up(name, suites) => self.up(name, suites, turn),
            Event::Down(name) => self.down(&name),
            Event::Heard(from, message) if message.volume == self.durable.accepted.record.volume => {
                self.heard(from, message.body, turn);
            }
            Event::Heard(..) | Event::Saved(_) | Event::NotSaved(..) => {}
            Event::Guarded(ticket, answer) => self.guard_answered(ticket, answer, turn),
            Event::Done(local, outcome) => self.done(local, outcome, turn),
            Event::Told(progress) => self.own_progress(progress, turn),
            Event::Command(ticket, command, by) => self.command(ticket, command, by, turn),
        }
    }

    fn heard(&mut self, from: NodeName, body: Body, turn: &mut Turn<'_>) {
        if from != self.me && self.is_expelled(&from) {
            return self.tell_the_expelled(from, &body, turn);
        }
        match body {
            Body::Put { record, handover } => self.on_put(from, record, handover, turn),
            Body::Beat { committed, hash, turn: whose } => self.on_beat(from, committed, hash, whose, turn),
            Body::Prove { stamp, generation, key_id, cold } => {
                self.on_prove(Asked { from, stamp, generation, key_id, cold }, turn);
            }
            Body::Report { stamp, generation } => {
                self.on_report(Asked { from, stamp, generation, key_id: [0; 16], cold: false }, turn);
            }
            Body::Elect { epoch } => self.on_elect(from, epoch, turn),
            Body::Ack { stamp, hash, wraps } => self.on_ack(from, stamp, hash, wraps, turn),
            Body::Refused { stamp, why } => self.on_refused(from, stamp, why, turn),
            Body::Behind { have } => self.on_behind(&from, have, turn),
            Body::Proven { .. } => self.on_proven(from, body),
            Body::Reported { .. } => self.on_reported(from, body),
            Body::Promised { promise, record } => self.on_promised(from, promise, record, turn),
            Body::Progress(progress) => self.peer_progress(from, progress),
            Body::Check(_) => {}
        }
    }

    /// After a restart: the volume is brought to what is committed, and a record that was not committed is proposed again.
    fn start(&mut self, turn: &mut Turn<'_>) {
        if self.leads() && self.durable.accepted_stamp() != self.durable.committed_stamp() {
            self.propose_again(turn);
        }
    }

    fn up(&mut self, name: NodeName, suites: Vec<u16>, turn: &mut Turn<'_>) {
        let peer = self.peers.entry(name.clone()).or_default();
        (peer.up, peer.suites, peer.refusal) = (true, suites, None);
        self.lead.forget_asked(&name);
        if self.leads() {
            self.sync(&name, turn);
        }
        self.ask_for_promise(&name, turn);
        if let Some(progress) = self.told.clone() {
            self.say(&name, Body::Progress(progress), turn);
        }
    }

    fn down(&mut self, name: &NodeName) {
        let passed = self.passed;
        if let Some(peer) = self.peers.get_mut(name).filter(|peer| peer.up) {
            (peer.up, peer.down_since) = (false, passed);
        }
    }

    pub(super) fn is_up(&self, name: &NodeName) -> bool {
        *name == self.me || self.peers.get(name).is_some_and(|peer| peer.up)
    }

    fn own_progress(&mut self, progress: Progress, turn: &mut Turn<'_>) {
        for name in self.others() {
            if self.is_up(&name) {
                self.say(&name, Body::Progress(progress.clone()), turn);
            }
        }
        self.told = Some(progress);
    }

    fn peer_progress(&mut self, from: NodeName, progress: Progress) {
        let peer = self.peers.entry(from).or_default();
        let restarted = peer.progress.as_ref().is_none_or(|old| progress.at > old.at);
        if restarted || peer.progress.as_ref().is_none_or(|old| progress.sequence > old.sequence) {
            peer.progress = Some(progress);
        }
    }

    pub(super) fn progress_of(&self, name: &NodeName) -> Option<&Progress> {
        match *name == self.me {
            true => self.told.as_ref(),
            false => self.peers.get(name).and_then(|peer| peer.progress.as_ref()),
        }
    }

    /// Members but this one.
    pub(super) fn others(&self) -> Vec<NodeName> {
        let members = self.durable.accepted.record.members.iter();
        members.filter(|member| member.name != self.me).map(|member| member.name.clone()).collect()
    }

    pub(super) fn member(&self) -> Option<&Member> {
        self.durable.accepted.record.member(&self.me)
    }

    /// Whether this node holds a replica.
    pub(super) fn is_full(&self) -> bool {
        self.member().is_some_and(|member| member.role == Role::Full)
    }

    fn is_expelled(&self, name: &NodeName) -> bool {
        self.durable.committed.record.expelled.contains(name) && self.durable.accepted.record.member(name).is_none()
    }

    /// Whoever is out and does not know it is told by the record that says so.
    fn tell_the_expelled(&mut self, name: NodeName, body: &Body, turn: &mut Turn<'_>) {
        if self.leads() && !matches!(body, Body::Refused { .. }) {
            let record = self.durable.committed.clone();
            self.say(&name, Body::Put { record, handover: None }, turn);
        }
    }

    /// Says something to a peer, or to this node itself, which hears it next.
    pub(super) fn say(&mut self, to: &NodeName, body: Body, turn: &mut Turn<'_>) {
        let message = Message { volume: self.durable.accepted.record.volume, body };
        match *to == self.me {
            true => self.backlog.push_back(Event::Heard(self.me.clone(), message)),
            false => turn.act(Action::Send(to.clone(), message, None)),
        }
    }

    pub(super) fn is_saving(&self) -> bool {
        self.saving.is_some()
    }

    /// Makes a draft durable; `then` happens when it is.
    pub(super) fn save(&mut self, mut draft: Durable, then: Then, turn: &mut Turn<'_>) {
        debug_assert!(self.saving.is_none(), "one save at a time");
        let keys = draft.accepted.record.keys.last();
        draft.highest = draft.highest.max(keys.map_or(Generation::METADATA, |key| key.generation));
        self.note(&draft, turn);
        self.tickets += 1;
        turn.act(Action::Save(self.tickets, Box::new(draft.clone())));
        if let (Then::Ack(to), false) = (&then, rules::holds(rules::Rule::PersistFirst)) {
            let (to, ack) = (to.clone(), self.ack_of(&draft.accepted));
            self.say(&to, ack, turn);
        }
        self.saving = Some(Saving { ticket: self.tickets, draft, then });
    }

    /// Into the audit log, before the record it is about is durable.
    fn note(&self, draft: &Durable, turn: &mut Turn<'_>) {
        let say = |what: &str, signed: &Signed| {
            let (record, change) = (&signed.record, &signed.record.change);
            format!(
                "{what} record {} of {}: change {} {}, target {}, {}",
                record.stamp,
                record.lead,
                change.id,
                super::watch::step_name(change.step),
                change.target,
                change.reason
            )
        };
        if draft.accepted != self.durable.accepted {
            turn.act(Action::Note(say("accepts", &draft.accepted)));
        }
        if draft.committed != self.durable.committed {
            turn.act(Action::Note(say("holds as committed", &draft.committed)));
        }
    }

    fn saved(&mut self, ticket: Ticket, turn: &mut Turn<'_>) {
        let Some(saving) = self.saving.take_if(|saving| saving.ticket == ticket) else { return };
        self.save_failed = None;
        let led = self.leads();
        self.durable = saving.draft;
        if led && !self.leads() {
            self.stop_leading("another lead was promised to", turn);
        }
        match saving.then {
            Then::Ack(to) => {
                let ack = self.ack_of(&self.durable.accepted);
                if rules::holds(rules::Rule::PersistFirst) {
                    self.say(&to, ack, turn);
                }
            }
            Then::Converge => {}
            Then::Standing => self.ask_for_promises(turn),
            Then::Proposed => self.proposed(turn),
            Then::Committed => self.committed(turn),
            Then::Promised(to) => self.promise(&to, turn),
            Then::Closed(to, report) => self.say(&to, report, turn),
            Then::Held(ticket) => {
                let held = if self.durable.held { "is held on this node" } else { "goes on" };
                turn.answer(ticket, Ok(format!("the drain {held}")));
            }
            Then::Out(to, stamp, why) => self.say(&to, Body::Refused { stamp, why }, turn),
        }
    }

    fn not_saved(&mut self, ticket: Ticket, why: String, turn: &mut Turn<'_>) {
        let Some(saving) = self.saving.take_if(|saving| saving.ticket == ticket) else { return };
        self.save_failed = Some(why.clone());
        let stamp = saving.draft.accepted_stamp();
        let failed = Refusal::Failed(format!("its file of peers could not be written: {why}"));
        match saving.then {
            Then::Ack(to) | Then::Promised(to) | Then::Closed(to, _) | Then::Out(to, _, _) => {
                self.say(&to, Body::Refused { stamp, why: failed }, turn);
            }
            Then::Proposed => self.drop_proposal(&failed.to_string(), turn),
            Then::Standing => self.lose_election(&failed.to_string(), turn),
            Then::Held(ticket) => turn.answer(ticket, Err(Refused::State(failed.to_string()))),
            Then::Converge | Then::Committed => {}
        }
    }

    fn done(&mut self, local: Local, outcome: Result<Outcome, String>, turn: &mut Turn<'_>) {
        match local {
            Local::Make { generation, .. } => self.made(generation, outcome, turn),
            Local::Prepare { record, .. } => self.prepare_done(&record, outcome, turn),
            Local::Prove { generation, .. } => self.prove_done(generation, outcome, turn),
            Local::Report { generation } => self.report_done(generation, outcome, turn),
            Local::Converge { record, may_drain } => self.brought(record.stamp, may_drain, outcome),
        }
    }

    /// What came of an order to converge. Only the latest order's failure is one, and its success alone ends a failure.
    fn brought(&mut self, stamp: Stamp, may_drain: bool, outcome: Result<Outcome, String>) {
        if outcome.is_ok() {
            self.converged = self.converged.max(Some(stamp));
        }
        if self.ordered == Some((stamp, may_drain)) {
            self.hindrance = outcome.err();
        }
    }

    fn command(&mut self, ticket: Ticket, command: Command, by: By, turn: &mut Turn<'_>) {
        if let Some(why) = &self.durable.out {
            return turn.answer(ticket, Err(Refused::State(format!("this node is out of the volume: {why}"))));
        }
        match command {
            Command::Hold | Command::Release => {
                let mut draft = self.durable.clone();
                draft.held = command == Command::Hold;
                self.save(draft, Then::Held(ticket), turn);
            }
            Command::Promote(epoch) => self.stand(ticket, epoch, turn),
            Command::StepDown => self.step_down(ticket, turn),
            command => self.lead_command(ticket, command, by, turn),
        }
    }

    /// Brings the volume to what is committed, unless it was asked to already.
    pub(super) fn converge(&mut self, turn: &mut Turn<'_>) {
        let out = self.durable.out.is_some();
        let by_turn = !self.durable.committed.record.change.one_at_a_time || self.turn.as_ref() == Some(&self.me);
        let may_drain = !self.durable.held && by_turn && !out;
        let signed = match rules::holds(rules::Rule::CommitFirst) {
            true => &self.durable.committed,
            false => &self.durable.accepted,
        };
        let order = (signed.record.stamp, may_drain);
        if self.is_full() && !out && self.ordered != Some(order) {
            self.ordered = Some(order);
            turn.act(Action::Local(Local::Converge { record: Box::new(signed.record.clone()), may_drain }));
        }
    }
}

#[cfg(test)]
impl Node {
    /// Takes out of the state what only counts time, is only told to people, or is about a record that is behind: a model does not
    /// tell states by it.
    pub fn forget_the_past(&mut self) {
        (self.passed, self.retried, self.tickets) = (0, 0, 0);
        self.lead.forget_time();
        self.since.clear();
        self.alarms.clear();
        self.peers.values_mut().for_each(|peer| (peer.down_since, peer.refusal) = (0, None));
        let committed = self.durable.committed_stamp();
        self.heard_committed.take_if(|(_, stamp, _)| *stamp <= committed);
    }
}
