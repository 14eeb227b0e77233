//! What a lead does with one record: made durable here, published, sent, acknowledged, committed.
//!
//! Invariants: one proposal at a time; it is on this node's disk before anybody sees it; a proposal that gives way to another one
//! stays in the history of that, so that whoever has accepted it can follow.

use std::collections::BTreeSet;

use super::machine::{Node, Turn};
use super::member::{prepared_in, reopen};
use super::memory::{Making, Proposal, Stage, Then};
use super::{Action, By, Local, Outcome, Refused, Ticket, Wanted};
use crate::cluster::message::{Body, Message, Refusal};
use crate::cluster::name::NodeName;
use crate::cluster::record::{ANCESTORS_MAX, Ancestor, Hash, Keyring, NodeWrap, Role, Signed, Step};
use crate::cluster::rules::{self, Quorum, Rule};
use crate::cluster::stamp::Stamp;
use crate::cluster::steps::{self, Made};
use crate::format::generations::KeyState;
use crate::format::wrapped::Wrapped;
use crate::units::Generation;

impl Node {
    /// Whether this node leads.
    pub fn leads(&self) -> bool {
        let record = &self.durable.accepted.record;
        let mine = record.lead == self.me && record.stamp.epoch == self.durable.promised;
        mine && self.durable.out.is_none() && !self.lead.stepped_down && self.lead.fenced.is_none()
    }

    /// What stands: the record that commands build upon.
    pub(super) fn base(&self) -> &Keyring {
        &self.durable.committed.record
    }

    /// Proposes what `next` says, with its place in the history, this epoch's right and the wraps that have come in.
    pub(super) fn propose(
        &mut self,
        next: Keyring,
        what: String,
        ticket: Option<Ticket>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refused> {
        let mut record = next;
        let before = &self.durable.accepted.record;
        record.stamp = Stamp::new(before.stamp.epoch, before.stamp.revision + 1);
        record.mandate = before.mandate.clone();
        record.ancestors = ancestors_after(before);
        self.enter_wraps(&mut record);
        self.propose_record(record, what, ticket, turn)
    }

    /// Proposes a record that has its place.
    pub(super) fn propose_record(
        &mut self,
        record: Keyring,
        what: String,
        ticket: Option<Ticket>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refused> {
        let record = Keyring { lead: self.me.clone(), ..record };
        self.check_own(&record)?;
        let signed = Signed { signature: turn.notary.sign(&record.signed_bytes()), record };
        let old = self.lead.proposal.take();
        if let Some(ticket) = old.and_then(|old| old.ticket) {
            let why = format!("it gave way to record {}: {what}", signed.record.stamp);
            turn.answer(ticket, Err(Refused::Busy(why)));
        }
        self.lead.proposal = Some(self.proposal_of(&signed, what, ticket));
        let mut draft = self.durable.clone();
        draft.accepted = signed.clone();
        draft.promised = draft.promised.max(signed.record.stamp.epoch);
        self.save(draft, Then::Proposed, turn);
        if !rules::holds(Rule::OwnSaveFirst) {
            self.put_to_all(&signed, turn);
        }
        Ok(())
    }

    fn proposal_of(&self, signed: &Signed, what: String, ticket: Option<Ticket>) -> Proposal {
        Proposal {
            hash: signed.record.hash(),
            quorum: rules::quorum(&self.durable.committed.record, &signed.record),
            before: self.durable.committed.record.members.iter().map(|member| member.name.clone()).collect(),
            acks: BTreeSet::new(),
            stage: Stage::Saving,
            signed: signed.clone(),
            ticket,
            what,
        }
    }

    /// A lead holds itself to what members will hold it to.
    fn check_own(&self, record: &Keyring) -> Result<(), Refused> {
        if Keyring::decode(&record.encode()).as_ref() != Ok(record) {
            return Err(Refused::State("the record would break a bound of its format: it has too many entries".into()));
        }
        rules::may_follow(&self.durable.committed.record, record).map_err(Refused::State)
    }

    fn enter_wraps(&self, record: &mut Keyring) {
        for ((node, generation), wraps) in &self.lead.wraps {
            let member = record.member(node).is_some();
            let key = record.keys.iter_mut().find(|key| key.generation == *generation);
            let Some(key) = key.filter(|key| member && key.state != KeyState::Destroyed) else { continue };
            key.wraps.retain(|wrap| wrap.node != *node);
            key.wraps.extend(wraps.iter().map(|wrapped| NodeWrap { node: node.clone(), wrapped: wrapped.clone() }));
            key.wraps.sort_by(|a, b| a.node.cmp(&b.node));
        }
    }

    /// A record that was durable here before a restart, byte for byte.
    pub(super) fn propose_again(&mut self, turn: &mut Turn<'_>) {
        let signed = self.durable.accepted.clone();
        let what = format!("record {} once more", signed.record.stamp);
        self.lead.proposal = Some(self.proposal_of(&signed, what, None));
        self.proposed(turn);
    }

    /// It is durable here.
    pub(super) fn proposed(&mut self, turn: &mut Turn<'_>) {
        match self.guarded {
            true => self.guard(turn),
            false => self.publish(turn),
        }
    }

    pub(super) fn guard(&mut self, turn: &mut Turn<'_>) {
        let Some(proposal) = &mut self.lead.proposal else { return };
        let record = &proposal.signed.record;
        let before = record.ancestors.first().map_or(Stamp::default(), |ancestor| ancestor.stamp);
        let ticket = record.stamp.revision;
        proposal.stage = Stage::Guarding(ticket);
        turn.act(Action::Guard(ticket, before, Box::new(proposal.signed.clone())));
    }

    pub(super) fn guard_answered(&mut self, ticket: Ticket, answer: Result<(), String>, turn: &mut Turn<'_>) {
        let passed = self.passed;
        let waiting = self.lead.proposal.as_mut().filter(|proposal| proposal.stage == Stage::Guarding(ticket));
        let Some(proposal) = waiting else { return };
        match answer {
            Ok(()) => self.publish(turn),
            Err(why) => {
                proposal.stage = Stage::GuardRefused(passed);
                proposal.what = format!("{}{WAITS}{why}", bare(&proposal.what));
            }
        }
    }

    fn publish(&mut self, turn: &mut Turn<'_>) {
        let Some(proposal) = &mut self.lead.proposal else { return };
        proposal.stage = Stage::Sent;
        proposal.acks.insert(self.me.clone());
        let signed = proposal.signed.clone();
        if let Some((generation, _)) = prepared_in(&signed.record) {
            let own = self.wraps.as_ref().filter(|(of, _)| *of == generation);
            if let Some((_, wraps)) = own {
                self.lead.wraps.insert((self.me.clone(), generation), wraps.clone());
            }
        }
        self.put_to_all(&signed, turn);
        self.count(turn);
    }

    fn put_to_all(&mut self, signed: &Signed, turn: &mut Turn<'_>) {
        for member in signed.record.members.iter().filter(|member| member.name != self.me) {
            if self.is_up(&member.name) {
                self.put(&member.name, signed, turn);
            }
        }
    }

    fn put(&self, to: &NodeName, signed: &Signed, turn: &mut Turn<'_>) {
        let is_full = signed.record.member(to).is_some_and(|member| member.role == Role::Full);
        let handover = prepared_in(&signed.record).filter(|_| is_full).map(|(generation, _)| generation);
        let body = Body::Put { record: signed.clone(), handover: None };
        turn.act(Action::Send(to.clone(), Message { volume: signed.record.volume, body }, handover));
    }

    /// Brings a member up to date: first to what is committed, then to what is proposed.
    pub(super) fn sync(&mut self, name: &NodeName, turn: &mut Turn<'_>) {
        let committed = self.durable.committed_stamp();
        let known = self.lead.known.get(name).copied().unwrap_or_default();
        let of_epoch = committed.epoch == self.durable.promised;
        if of_epoch && known >= committed {
            self.beat(name, turn);
        }
        let sent = self.lead.proposal.as_ref().filter(|proposal| proposal.stage == Stage::Sent);
        let waits =
            sent.filter(|proposal| !proposal.acks.contains(name) && proposal.signed.record.member(name).is_some());
        match waits.map(|proposal| proposal.signed.clone()) {
            Some(signed) if known >= committed || !of_epoch => self.put(name, &signed, turn),
            _ if of_epoch && known < committed => {
                self.beat(name, turn);
                self.put(name, &self.durable.committed.clone(), turn);
            }
            _ => {}
        }
    }

    fn beat(&mut self, name: &NodeName, turn: &mut Turn<'_>) {
        let record = &self.durable.committed.record;
        let turn_of = self.turn.clone().filter(|_| record.change.one_at_a_time);
        let body = Body::Beat { committed: record.stamp, hash: record.hash(), turn: turn_of };
        self.say(name, body, turn);
    }

    pub(super) fn beat_all(&mut self, turn: &mut Turn<'_>) {
        for name in self.others() {
            if self.is_up(&name) && self.durable.committed_stamp().epoch == self.durable.promised {
                self.beat(&name, turn);
            }
        }
    }

    pub(super) fn on_behind(&mut self, from: &NodeName, have: Stamp, turn: &mut Turn<'_>) {
        let committed = self.durable.committed.clone();
        if !self.leads() {
            // Who has no record at all cannot promise before it has the first one.
            let founds = self.lead.election.is_some() && committed.record.lead == self.me && have == Stamp::default();
            if founds {
                self.put(from, &committed, turn);
            }
            return;
        }
        if have < committed.record.stamp {
            if committed.record.stamp.epoch == self.durable.promised {
                self.put(from, &committed, turn);
            }
        } else {
            self.sync(from, turn);
        }
    }

    pub(super) fn on_ack(
        &mut self,
        from: NodeName,
        stamp: Stamp,
        hash: Hash,
        wraps: Vec<Wrapped>,
        turn: &mut Turn<'_>,
    ) {
        if !self.leads() {
            return;
        }
        let of =
            [&self.durable.accepted.record, &self.durable.committed.record].into_iter().find(|one| one.stamp == stamp);
        let Some(generation) = of.filter(|record| record.hash() == hash).map(prepared_in) else { return };
        if let Some((generation, _)) = generation.filter(|_| !wraps.is_empty()) {
            self.lead.wraps.insert((from.clone(), generation), wraps);
        }
        let known = self.lead.known.entry(from.clone()).or_default();
        *known = (*known).max(stamp);
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.refusal = None;
        }
        let proposal = self.lead.proposal.as_mut().filter(|proposal| proposal.hash == hash);
        match proposal {
            Some(proposal) => {
                proposal.acks.insert(from);
                self.count(turn);
            }
            None => self.sync(&from, turn),
        }
    }

    /// Whether enough have acknowledged.
    fn count(&mut self, turn: &mut Turn<'_>) {
        let Some(proposal) = self.lead.proposal.as_ref().filter(|proposal| proposal.stage == Stage::Sent) else {
            return;
        };
        let record = &proposal.signed.record;
        let enough = match proposal.quorum {
            Quorum::All => record.members.iter().all(|member| proposal.acks.contains(&member.name)),
            Quorum::Majority => {
                let before = proposal.acks.intersection(&proposal.before).count();
                before > proposal.before.len() / 2
            }
        };
        if enough && !self.is_saving() {
            let mut draft = self.durable.clone();
            draft.committed = proposal.signed.clone();
            reopen(&mut draft);
            self.save(draft, Then::Committed, turn);
        }
    }

    /// A commit that could not be saved is tried again.
    pub(super) fn count_again(&mut self, turn: &mut Turn<'_>) {
        self.count(turn);
    }

    pub(super) fn committed(&mut self, turn: &mut Turn<'_>) {
        let Some(proposal) = self.lead.proposal.take() else { return };
        self.lead.asked.clear();
        self.lead.proofs.clear();
        if rules::holds(Rule::FreshReports) {
            self.lead.reports.clear();
        }
        if let Some(ticket) = proposal.ticket {
            let record = &proposal.signed.record;
            let missing: Vec<String> = record
                .members
                .iter()
                .filter(|member| !proposal.acks.contains(&member.name))
                .map(|member| member.name.to_string())
                .collect();
            let committed = format!("{}: committed as record {}", proposal.what, record.stamp);
            turn.answer(
                ticket,
                Ok(match missing.is_empty() {
                    true => committed,
                    false => format!("{committed}; not yet on {}", missing.join(", ")),
                }),
            );
        }
        let change = &proposal.signed.record.change;
        if change.step == Step::Finalized
            && let Some((_, ticket)) = self.lead.finalize.take_if(|(id, _)| *id == change.id)
        {
            turn.answer(ticket, Ok(format!("change {} is finalized", change.id)));
        }
        for name in &proposal.acks {
            let known = self.lead.known.entry(name.clone()).or_default();
            *known = (*known).max(proposal.signed.record.stamp);
        }
        self.beat_all(turn);
    }

    pub(super) fn drop_proposal(&mut self, why: &str, turn: &mut Turn<'_>) {
        let proposal = self.lead.proposal.take();
        if let Some(ticket) = proposal.and_then(|proposal| proposal.ticket) {
            turn.answer(ticket, Err(Refused::State(format!("nothing has changed: {why}"))));
        }
    }

    pub(super) fn on_refused(&mut self, from: NodeName, stamp: Stamp, why: Refusal, turn: &mut Turn<'_>) {
        if from == self.me {
            return;
        }
        if !matches!(why, Refusal::Older { .. }) {
            self.peers.entry(from.clone()).or_default().refusal = Some(why.clone());
        }
        match why {
            Refusal::Older { have }
                if self.leads() && have.epoch == self.durable.promised && have > self.durable.accepted_stamp() =>
            {
                self.rolled_back(&from, have, turn);
            }
            Refusal::Epoch { promised } => {
                if self.lead.election.is_some() {
                    self.outbid(promised, turn);
                } else if self.leads() && promised > self.durable.promised {
                    self.lead.fenced = Some(promised);
                    self.stop_leading(&format!("{from} follows epoch {promised}"), turn);
                }
            }
            // It has gone on already: what it holds is asked for by the next beat.
            Refusal::Older { have } if self.leads() && have.epoch == self.durable.promised => {
                let known = self.lead.known.entry(from.clone()).or_default();
                let before = std::mem::replace(known, (*known).max(have.min(stamp)));
                if *known > before {
                    self.sync(&from, turn);
                }
            }
            _ => {}
        }
    }

    /// What a lead has under way is given up; what is durable stays.
    pub(super) fn stop_leading(&mut self, why: &str, turn: &mut Turn<'_>) {
        let why = Refused::State(format!("this node does not lead any more: {why}"));
        let lead = std::mem::take(&mut self.lead);
        let tickets = [
            lead.proposal.and_then(|proposal| proposal.ticket),
            lead.making.map(|making| making.ticket),
            lead.task.map(|task| task.ticket),
            lead.finalize.map(|(_, ticket)| ticket),
        ];
        for ticket in tickets.into_iter().flatten() {
            turn.answer(ticket, Err(why.clone()));
        }
        (self.lead.fenced, self.lead.stepped_down, self.lead.election) =
            (lead.fenced, lead.stepped_down, lead.election);
    }

    pub(super) fn made(&mut self, about: Generation, outcome: Result<Outcome, String>, turn: &mut Turn<'_>) {
        let Some(making) = self.lead.making.take_if(|making| making.generation == about) else { return };
        let (generation, key_id, check, wraps) = match outcome {
            Ok(Outcome::Prepared { generation, key_id, check, wraps }) => (generation, key_id, check, wraps),
            Ok(_) => return turn.answer(making.ticket, Err(Refused::State("the volume made no generation".into()))),
            Err(why) => return turn.answer(making.ticket, Err(Refused::State(why))),
        };
        self.wraps = Some((generation, wraps.clone()));
        let wraps = wraps.into_iter().map(|wrapped| NodeWrap { node: self.me.clone(), wrapped }).collect();
        let made = Made { generation, key_id, check, wraps };
        let what = format!("generation {generation} prepared");
        let next = steps::prepared(self.base(), &making.wanted, made, &making.by, self.now);
        if self.lead.proposal.is_some() {
            let why = "another record has come first: say it again".into();
            return turn.answer(making.ticket, Err(Refused::Busy(why)));
        }
        match next.and_then(|next| self.propose(next, what, None, turn)) {
            Ok(()) => {
                let id = self.durable.committed.record.change.id + 1;
                turn.answer(making.ticket, Ok(format!("change {id} to generation {generation} has begun")));
            }
            Err(why) => turn.answer(making.ticket, Err(why)),
        }
    }

    /// Asks the volume to make the next generation.
    pub(super) fn make(&mut self, ticket: Ticket, wanted: Wanted, by: By, turn: &mut Turn<'_>) {
        let generation = Generation(self.durable.highest.0 + 1);
        let suite = wanted.suite;
        self.lead.making = Some(Making { generation, wanted, by, ticket });
        turn.act(Action::Local(Local::Make { generation, suite }));
    }
}

/// What stands between a change and why it is not published yet.
const WAITS: &str = ", which waits: ";

fn bare(what: &str) -> &str {
    what.split(WAITS).next().unwrap_or(what)
}

/// The history of whatever comes after `before`.
pub(super) fn ancestors_after(before: &Keyring) -> Vec<Ancestor> {
    let newest = Ancestor { stamp: before.stamp, hash: before.hash() };
    std::iter::once(newest).chain(before.ancestors.iter().copied()).take(ANCESTORS_MAX).collect()
}
