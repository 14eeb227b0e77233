//! What is due of itself: proofs, activation, drains, reports, finalization, and asking again.
//!
//! Invariants: a generation is activated only on proofs of all replicas at the committed record, and with every member able to
//! read its suite; finalized, retired or destroyed only on reports of all replicas at that record.

use super::machine::{Node, RETRY_S, Turn};
use super::memory::{Proof, Report, Stage};
use super::{Command, Refused};
use crate::cluster::message::Body;
use crate::cluster::name::NodeName;
use crate::cluster::record::Step;
use crate::cluster::rules::{self, Rule};
use crate::cluster::steps;
use crate::format::generations::Phase;
use crate::units::Generation;

/// Seconds a command waits for reports.
const REPORTS_S: u64 = 60;
/// Seconds a replica may be unreachable before its turn to drain goes to the next.
const TURN_S: u64 = 300;

impl Node {
    pub(super) fn drive(&mut self, turn: &mut Turn<'_>) {
        let retries = self.passed.saturating_sub(self.retried) >= RETRY_S;
        if retries {
            self.retried = self.passed;
            self.lead.asked.clear();
            self.lead.reports.retain(|_, report| report.references.is_none());
            if self.hindrance.is_some() {
                self.ordered = None;
            }
            self.ask_for_promises(turn);
        }
        self.converge(turn);
        if self.durable.out.is_none() {
            self.tally(turn);
        }
        if !self.leads() || self.is_saving() {
            return;
        }
        if retries {
            self.ask_again(turn);
        }
        self.count_again(turn);
        self.meet_deadline(turn);
        if self.is_saving() || self.lead.making.is_some() || self.base().stamp.epoch != self.durable.promised {
            return;
        }
        if self.lead.proposal.is_some() {
            return;
        }
        if self.lead.task.is_some() {
            return self.drive_task(turn);
        }
        match self.base().change.step {
            Step::Prepared => self.drive_proofs(turn),
            Step::Active | Step::RolledBack => self.drive_drain(turn),
            Step::Idle | Step::Finalized => {}
        }
    }

    fn ask_again(&mut self, turn: &mut Turn<'_>) {
        let refused =
            matches!(self.lead.proposal.as_ref().map(|proposal| proposal.stage), Some(Stage::GuardRefused(_)));
        if refused {
            self.guard(turn);
        }
        for name in self.others() {
            if self.is_up(&name) {
                self.sync(&name, turn);
            }
        }
    }

    fn full_members(&self) -> Vec<NodeName> {
        self.base().full().map(|member| member.name.clone()).collect()
    }

    /// Whether a member's proof counts.
    pub(super) fn is_proven(&self, name: &NodeName) -> bool {
        let base = self.base();
        let key = base.key(base.change.target);
        let proof = self.lead.proofs.get(name);
        proof.zip(key).is_some_and(|(proof, key)| {
            let same = proof.key_id == key.key_id && proof.check == key.check;
            proof.stamp == base.stamp && same && (proof.cold || !base.change.cold_proof)
        })
    }

    fn drive_proofs(&mut self, turn: &mut Turn<'_>) {
        let (stamp, change) = (self.base().stamp, self.base().change.clone());
        let Some(key) = self.base().key(change.target) else { return };
        let (generation, key_id, suite) = (change.target, key.key_id, key.suite);
        let missing: Vec<NodeName> = self.full_members().into_iter().filter(|name| !self.is_proven(name)).collect();
        for name in &missing {
            if self.is_up(name) && self.lead.asked.insert((name.clone(), generation)) {
                self.say(name, Body::Prove { stamp, generation, key_id, cold: change.cold_proof }, turn);
            }
        }
        let all = missing.is_empty() || !rules::holds(Rule::ActivateByAll);
        if all && !change.paused && self.cannot_read(suite).is_none() {
            let next = steps::activated(self.base(), self.now);
            self.propose_due(next, format!("generation {generation} active"), turn);
        }
    }

    fn propose_due(&mut self, next: crate::cluster::record::Keyring, what: String, turn: &mut Turn<'_>) {
        if let Err(why) = self.propose(next, what, None, turn) {
            self.save_failed = Some(why.to_string());
        }
    }

    pub(super) fn on_proven(&mut self, from: NodeName, body: Body) {
        if let Body::Proven { stamp, key_id, check, cold, .. } = body
            && self.leads()
            && stamp == self.base().stamp
        {
            self.lead.proofs.insert(from, Proof { stamp, key_id, check, cold });
        }
    }

    pub(super) fn on_reported(&mut self, from: NodeName, body: Body) {
        if let Body::Reported { stamp, generation, references, pins } = body
            && self.leads()
            && stamp == self.base().stamp
        {
            self.lead.reports.insert((from, generation), Report { stamp, references, pins });
        }
    }

    /// Whether a replica says that it is drained and verified, and brought to the committed record.
    pub(super) fn is_drained(&self, name: &NodeName) -> bool {
        let base = self.base();
        self.progress_of(name).is_some_and(|progress| {
            let here = progress.converged == base.stamp && progress.target == base.change.target;
            here && progress.hindrance.is_none() && matches!(progress.phase, Phase::Drained | Phase::Finalized)
        })
    }

    fn drive_drain(&mut self, turn: &mut Turn<'_>) {
        self.give_turn(turn);
        let target = self.base().change.target;
        if !self.is_to_be_finalized() || !self.full_members().iter().all(|name| self.is_drained(name)) {
            return;
        }
        let mut all = true;
        for generation in self.draining() {
            all &= self.gather(generation, true, turn).is_empty();
        }
        let draining = self.draining();
        let refer =
            self.lead.reports.iter().any(|((_, of), report)| draining.contains(of) && report.references.is_some());
        if all && !refer {
            let next = steps::finalized(self.base(), self.now);
            self.propose_due(next, format!("the change to generation {target} finalized"), turn);
        }
    }

    /// Whether the change ends once all replicas are drained.
    pub(super) fn is_to_be_finalized(&self) -> bool {
        let change = &self.base().change;
        let is_asked = self.lead.finalize.as_ref().is_some_and(|(id, _)| *id == change.id);
        (!change.hold_finalize || is_asked) && !change.paused
    }

    /// Whose turn it is to drain.
    fn give_turn(&mut self, turn: &mut Turn<'_>) {
        if !self.base().change.one_at_a_time {
            return;
        }
        let waits = |node: &Node, name: &NodeName| {
            let peer = node.peers.get(name);
            let long = peer.is_some_and(|peer| !peer.up && node.passed.saturating_sub(peer.down_since) > TURN_S);
            !node.is_drained(name) && !long
        };
        let holds = self.turn.as_ref().is_some_and(|name| self.base().member(name).is_some() && waits(self, name));
        if holds {
            return;
        }
        let next = self.full_members().into_iter().find(|name| self.is_up(name) && waits(self, name));
        if next.is_some() && next != self.turn {
            self.turn = next;
            self.beat_all(turn);
            self.converge(turn);
        }
    }

    /// Asks all replicas for reports on a generation; who has not given one that counts.
    fn gather(&mut self, generation: Generation, of_all: bool, turn: &mut Turn<'_>) -> Vec<NodeName> {
        let stamp = self.base().stamp;
        let counts = |report: &Report| report.stamp == stamp || !rules::holds(Rule::FreshReports);
        let full = self.full_members().into_iter();
        let missing: Vec<NodeName> = full
            .filter(|name| !self.lead.reports.get(&(name.clone(), generation)).is_some_and(counts))
            .filter(|name| of_all || self.is_up(name))
            .collect();
        for name in &missing {
            if self.is_up(name) && self.lead.asked.insert((name.clone(), generation)) {
                self.say(name, Body::Report { stamp, generation }, turn);
            }
        }
        missing
    }

    fn drive_task(&mut self, turn: &mut Turn<'_>) {
        let Some(task) = self.lead.task.clone() else { return };
        let generation = task.generation;
        let destroys = matches!(task.command, Command::Destroy { .. });
        let missing = self.gather(generation, !destroys || rules::holds(Rule::ReportsOfAll), turn);
        let refusal = match missing.is_empty() {
            true => self.referred(&task.command, generation),
            false if self.passed.saturating_sub(task.since) > REPORTS_S => {
                let names: Vec<String> = missing.iter().map(NodeName::to_string).collect();
                Some(Refused::Members(format!(
                    "{} has not reported whether it needs generation {generation}: all replicas have to",
                    names.join(", ")
                )))
            }
            false => return,
        };
        match refusal {
            None => self.carry_out(turn),
            Some(why) => {
                self.lead.task = None;
                turn.answer(task.ticket, Err(why));
            }
        }
    }

    /// What the reports have against it.
    fn referred(&self, command: &Command, generation: Generation) -> Option<Refused> {
        let pins_count = match command {
            Command::Destroy { despite_pins, .. } => !despite_pins && rules::holds(Rule::PinsCount),
            _ => false,
        };
        for ((name, of), report) in &self.lead.reports {
            if *of != generation || self.base().member(name).is_none() {
                continue;
            }
            if let Some(what) = &report.references {
                return Some(Refused::State(format!("generation {generation} is needed on {name}: {what}")));
            }
            if pins_count && !report.pins.is_empty() {
                let pins = report.pins.join(", ");
                return Some(Refused::State(format!("generation {generation} is held on {name} by {pins}")));
            }
        }
        None
    }
}
