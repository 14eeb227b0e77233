//! A new lead: promises of a majority, the latest record among them, and the record that begins the new epoch.
//!
//! Invariants: an epoch is promised once, durably, before it is answered; the new epoch builds on the latest record that a majority
//! holds, and gives up a generation that is only prepared, since its DEK may be with the old lead alone. Whom a coordinator has
//! told to stand does so until it is told otherwise, in one epoch, however long a majority is away.

use std::collections::BTreeMap;

use super::lead::ancestors_after;
use super::machine::{Node, Turn};
use super::memory::{Election, Lead, Then};
use super::{Refused, Ticket};
use crate::cluster::message::{Body, Refusal};
use crate::cluster::name::NodeName;
use crate::cluster::record::{Keyring, Promise, Role, Signed, Step};
use crate::cluster::rules::{self, Rule};
use crate::cluster::stamp::Stamp;
use crate::cluster::steps;
use crate::units::Generation;

/// Seconds a candidate waits for a majority.
const PATIENCE_S: u64 = 30;
/// Times a candidate tries a higher epoch.
const TRIES: u8 = 8;

impl Node {
    /// Stands for the lead: at least in this epoch.
    pub(super) fn stand(&mut self, ticket: Ticket, epoch: u64, turn: &mut Turn<'_>) {
        if self.member().is_none_or(|me| me.role != Role::Full) {
            let why = "a witness cannot lead: it makes no keys; promote a node with a replica";
            return turn.answer(ticket, Err(Refused::State(why.into())));
        }
        if self.leads() && epoch <= self.durable.promised {
            return turn.answer(ticket, Err(Refused::State("this node leads already".into())));
        }
        if self.lead.election.as_ref().is_some_and(|standing| !self.guarded || epoch <= standing.epoch) {
            return turn.answer(ticket, Err(Refused::Busy("this node is standing already".into())));
        }
        self.lose_election("it stands in a higher epoch", turn);
        let epoch = epoch.max(self.durable.promised + 1).max(self.lead.fenced.map_or(0, |fenced| fenced + 1));
        self.begin_election(Election { epoch, ticket, promises: BTreeMap::new(), since: self.passed, tries: 0 }, turn);
    }

    fn begin_election(&mut self, election: Election, turn: &mut Turn<'_>) {
        let mut draft = self.durable.clone();
        draft.promised = election.epoch;
        self.lead.election = Some(election);
        self.save(draft, Then::Standing, turn);
    }

    /// Somebody has promised a higher epoch: that plus one is tried.
    pub(super) fn outbid(&mut self, promised: u64, turn: &mut Turn<'_>) {
        let Some(mut election) = self.lead.election.take_if(|election| promised >= election.epoch) else { return };
        if election.tries >= TRIES {
            let why = format!("epoch {promised} is promised to another node, which keeps standing");
            return turn.answer(election.ticket, Err(Refused::Members(why)));
        }
        (election.epoch, election.tries) = (promised + 1, election.tries + 1);
        election.promises.clear();
        self.begin_election(election, turn);
    }

    /// Asks whoever has not promised.
    pub(super) fn ask_for_promises(&mut self, turn: &mut Turn<'_>) {
        for name in self.others() {
            if self.is_up(&name) {
                self.ask_for_promise(&name, turn);
            }
        }
    }

    pub(super) fn ask_for_promise(&mut self, name: &NodeName, turn: &mut Turn<'_>) {
        let standing = self.lead.election.as_ref().filter(|election| election.epoch == self.durable.promised);
        let Some(election) = standing else { return };
        if !election.promises.contains_key(name) && self.durable.accepted.record.member(name).is_some() {
            let epoch = election.epoch;
            self.say(name, Body::Elect { epoch }, turn);
        }
    }

    /// A candidate asks this node.
    pub(super) fn on_elect(&mut self, from: NodeName, epoch: u64, turn: &mut Turn<'_>) {
        let stamp = self.durable.accepted_stamp();
        let refusal = match (&self.durable.out, self.durable.promised) {
            (Some(why), _) => Some(Refusal::Out(why.clone())),
            (None, _) if self.durable.accepted.record.member(&from).is_none_or(|one| one.role != Role::Full) => {
                Some(Refusal::NotEntitled(format!("{from} is no member with a replica")))
            }
            _ if self.promised_to == Some((epoch, from.clone())) && self.durable.promised == epoch => {
                return self.promise(&from, turn);
            }
            (None, promised) if epoch <= promised && rules::holds(Rule::EpochFence) => {
                Some(Refusal::Epoch { promised })
            }
            _ => None,
        };
        if let Some(why) = refusal {
            return self.say(&from, Body::Refused { stamp, why }, turn);
        }
        if self.guarded {
            self.lose_election("another node stands in a higher epoch", turn);
        }
        self.promised_to = Some((epoch, from.clone()));
        self.preparing = None;
        let mut draft = self.durable.clone();
        draft.promised = epoch;
        self.save(draft, Then::Promised(from), turn);
    }

    fn own_promise(&self, candidate: &NodeName, turn: &Turn<'_>) -> Promise {
        let record = &self.durable.accepted.record;
        let mut promise = Promise {
            epoch: self.durable.promised,
            candidate: candidate.clone(),
            by: self.me.clone(),
            stamp: record.stamp,
            hash: record.hash(),
            highest: self.durable.highest,
            signature: [0; 64],
        };
        promise.signature = turn.notary.sign(&promise.signed_bytes(record.volume));
        promise
    }

    pub(super) fn promise(&mut self, to: &NodeName, turn: &mut Turn<'_>) {
        let (promise, record) = (self.own_promise(to, turn), self.durable.accepted.clone());
        self.say(to, Body::Promised { promise, record }, turn);
    }

    pub(super) fn on_promised(&mut self, from: NodeName, promise: Promise, record: Signed, turn: &mut Turn<'_>) {
        let is_for = |election: &&mut Election| promise.epoch == election.epoch && promise.by == from;
        let mine = promise.candidate == self.me
            && promise.hash == record.record.hash()
            && promise.stamp == record.record.stamp;
        let key = self.durable.accepted.record.member(&from).map(|member| member.sign);
        let signed = key.is_some_and(|key| self.is_promise(&promise, &key, turn));
        if let Some(election) = self.lead.election.as_mut().filter(is_for).filter(|_| mine && signed) {
            election.promises.insert(from, (promise, record));
        }
    }

    /// Whether the election is won: then the new epoch's record is proposed.
    pub(super) fn tally(&mut self, turn: &mut Turn<'_>) {
        let standing = self.lead.election.as_ref().filter(|election| election.epoch == self.durable.promised);
        let Some(election) = standing.cloned() else { return };
        let own = (self.own_promise(&self.me, turn), self.durable.accepted.clone());
        let mut promises = election.promises;
        promises.insert(self.me.clone(), own);
        let latest = promises.values().map(|(_, signed)| signed).max_by_key(|signed| signed.record.stamp);
        let Some(latest) = latest.cloned() else { return };
        let of_members = promises.keys().filter(|name| latest.record.member(name).is_some()).count();
        if of_members < latest.record.majority() {
            if !self.guarded && self.passed.saturating_sub(election.since) > PATIENCE_S {
                let why = format!(
                    "{of_members} of {} members have promised: a majority is needed",
                    latest.record.members.len()
                );
                self.lose_election(&why, turn);
            }
            return;
        }
        self.lead.election = None;
        let answer = self.begin_epoch(election.epoch, latest, promises, election.ticket, turn);
        if let Err(why) = answer {
            turn.answer(election.ticket, Err(why));
        }
    }

    fn begin_epoch(
        &mut self,
        epoch: u64,
        latest: Signed,
        promises: BTreeMap<NodeName, (Promise, Signed)>,
        ticket: Ticket,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refused> {
        if latest.record != self.durable.accepted.record {
            self.examine_inherited(&latest, turn)?;
        }
        let highest = promises.values().map(|(promise, _)| promise.highest).max();
        self.lead = Lead::default();
        let mut next = match latest.record.change.step {
            Step::Prepared => steps::abandoned(&latest.record, self.now),
            _ => latest.record.clone(),
        };
        next.stamp = Stamp::new(epoch, latest.record.stamp.revision);
        next.mandate = promises.into_values().map(|(promise, _)| promise).collect();
        let what = format!("{} leads epoch {epoch}", self.me);
        self.inherit(&latest.record, highest);
        self.propose_epoch(next, &latest.record, what, ticket, turn)
    }

    fn inherit(&mut self, latest: &Keyring, highest: Option<Generation>) {
        let known = latest.keys.last().map_or(Generation::METADATA, |key| key.generation);
        self.durable.highest = self.durable.highest.max(known).max(highest.unwrap_or_default());
    }

    /// The latest record of the majority is checked as one that was put here would be.
    fn examine_inherited(&self, latest: &Signed, turn: &Turn<'_>) -> Result<(), Refused> {
        let stamp = latest.record.stamp;
        if latest.record.stamp <= self.durable.accepted_stamp() {
            return Ok(());
        }
        self.examine(latest, turn).map_err(|why| Refused::Members(format!("record {stamp} of the majority: {why}")))
    }

    fn propose_epoch(
        &mut self,
        next: Keyring,
        latest: &Keyring,
        what: String,
        ticket: Ticket,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refused> {
        let mut record = next;
        record.stamp.revision = latest.stamp.revision + 1;
        record.ancestors = ancestors_after(latest);
        self.propose_record(record, what, Some(ticket), turn)
    }

    pub(super) fn lose_election(&mut self, why: &str, turn: &mut Turn<'_>) {
        if let Some(election) = self.lead.election.take() {
            turn.answer(election.ticket, Err(Refused::Members(why.into())));
        }
    }

    /// A coordinator has given the lead to another node.
    pub(super) fn step_down(&mut self, ticket: Ticket, turn: &mut Turn<'_>) {
        self.lead.stepped_down = true;
        self.lose_election("a coordinator has given the lead to another node", turn);
        self.stop_leading("a coordinator has given the lead to another node", turn);
        turn.answer(ticket, Ok("this node does not lead any more".into()));
    }
}
