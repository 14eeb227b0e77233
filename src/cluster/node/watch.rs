//! What is waited for, what is wrong, and deadlines.
//!
//! Invariants: an alarm is raised once and cleared once; a deadline is met once for a step; only time that passed while the step
//! waited for members counts.

use std::collections::BTreeMap;

use super::machine::{Node, Turn};
use super::{Action, View, Waiting};
use crate::cluster::message::Refusal;
use crate::cluster::name::NodeName;
use crate::cluster::record::{OnDeadline, Step};
use crate::cluster::rules::Quorum;
use crate::format::generations::Phase;

use super::memory::Stage;

/// Since when something is waited for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Since {
    pub member: NodeName,
    pub what: String,
    pub since: u64,
}

/// A step's name in messages.
pub(super) fn step_name(step: Step) -> &'static str {
    match step {
        Step::Idle => "idle",
        Step::Prepared => "prepared",
        Step::Active => "active",
        Step::RolledBack => "rolled back",
        Step::Finalized => "finalized",
    }
}

impl Node {
    /// What is waited for, and of whom.
    fn waits(&self) -> Vec<(NodeName, String)> {
        let mut waits = Vec::new();
        let own = &self.durable.accepted.record;
        if let Some(election) = &self.lead.election {
            let missing =
                own.members.iter().filter(|one| one.name != self.me && !election.promises.contains_key(&one.name));
            waits.extend(missing.map(|one| (one.name.clone(), format!("its promise of epoch {}", election.epoch))));
        }
        if !self.leads() {
            if self.durable.accepted_stamp() > self.durable.committed_stamp() {
                waits.push((own.lead.clone(), format!("word that record {} is committed", own.stamp)));
            }
            return waits;
        }
        match &self.lead.proposal {
            Some(proposal) if proposal.stage != Stage::Sent => {
                waits.push((
                    self.me.clone(),
                    format!("record {} to be published ({})", proposal.signed.record.stamp, proposal.what),
                ));
            }
            Some(proposal) => {
                let record = &proposal.signed.record;
                let missing = record.members.iter().filter(|one| !proposal.acks.contains(&one.name));
                let what = format!("record {} to be durable there ({})", record.stamp, proposal.what);
                waits.extend(missing.map(|one| (one.name.clone(), what.clone())));
            }
            None => self.waits_of_step(&mut waits),
        }
        waits
    }

    fn waits_of_step(&self, waits: &mut Vec<(NodeName, String)>) {
        let base = self.base();
        let target = base.change.target;
        let full = base.full().map(|member| member.name.clone());
        if let Some(task) = &self.lead.task {
            let missing = full.filter(|name| !self.lead.reports.contains_key(&(name.clone(), task.generation)));
            waits.extend(missing.map(|name| (name, format!("its report on generation {}", task.generation))));
            return;
        }
        match base.change.step {
            Step::Prepared => {
                let missing = full.filter(|name| !self.is_proven(name));
                waits.extend(missing.map(|name| (name, format!("its proof of generation {target}"))));
                let suite = base.key(target).map_or(0, |key| key.suite);
                let old = self.cannot_read(suite);
                waits.extend(
                    old.map(|name| (name, format!("an upgrade: it cannot read suite {suite} of generation {target}"))),
                );
            }
            Step::Active | Step::RolledBack => {
                let missing: Vec<NodeName> = full.filter(|name| !self.is_drained(name)).collect();
                if missing.is_empty() && self.is_to_be_finalized() {
                    self.waits_of_reports(waits);
                }
                waits.extend(missing.into_iter().map(|name| (name, format!("its drain to generation {target}"))));
            }
            Step::Idle | Step::Finalized => {}
        }
    }

    /// Replicas that have not shown that nothing needs what is to be finalized.
    fn waits_of_reports(&self, waits: &mut Vec<(NodeName, String)>) {
        let base = self.base();
        let shown = |name: &NodeName, generation| {
            let report = self.lead.reports.get(&(name.clone(), generation));
            report.is_some_and(|report| report.stamp == base.stamp && report.references.is_none())
        };
        for generation in self.draining() {
            let missing = base.full().map(|member| &member.name).filter(|name| !shown(name, generation));
            waits.extend(missing.map(|name| (name.clone(), format!("its report on generation {generation}"))));
        }
    }

    /// The wait, in full words.
    fn worded(&self, name: &NodeName, what: &str) -> String {
        match self.peers.get(name).and_then(|peer| peer.refusal.as_ref()) {
            _ if !self.is_up(name) => format!("{what}; {name} cannot be reached"),
            Some(refusal) => format!("{what}; {name} refuses: {refusal}"),
            None => match self.stopped(name) {
                Some(why) => format!("{what}; its re-encryption has stopped: {why}"),
                None => what.to_owned(),
            },
        }
    }

    /// Why a replica does not go on by itself, if its re-encryption has failed.
    fn stopped(&self, name: &NodeName) -> Option<&str> {
        let failed = self.progress_of(name).filter(|progress| progress.phase == Phase::Failed)?;
        Some(failed.hindrance.as_deref().unwrap_or("`rotate status` there says why"))
    }

    pub(super) fn watch(&mut self, turn: &mut Turn<'_>) {
        let waits = self.waits();
        let now = self.now;
        let since = |what: &(NodeName, String), known: &std::collections::BTreeSet<Since>| {
            known.iter().find(|one| one.member == what.0 && one.what == what.1).map_or(now, |one| one.since)
        };
        self.since = waits
            .iter()
            .map(|what| Since { member: what.0.clone(), what: what.1.clone(), since: since(what, &self.since) })
            .collect();
        let wanted = self.wrong(&waits);
        for key in self.alarms.keys().filter(|key| !wanted.contains_key(*key)) {
            turn.act(Action::Clear(key.clone()));
        }
        for (key, text) in &wanted {
            if self.alarms.get(key) != Some(text) {
                turn.act(Action::Alarm(key.clone(), text.clone()));
            }
        }
        self.alarms = wanted;
    }

    /// What an operator has to know, by key.
    fn wrong(&self, waits: &[(NodeName, String)]) -> BTreeMap<String, String> {
        let mut wrong = BTreeMap::new();
        if let Some(why) = &self.durable.out {
            wrong.insert("out".into(), format!("this node takes no part any more: {why}"));
        }
        if let Some(epoch) = self.lead.fenced {
            let text =
                format!("a member follows epoch {epoch}: this node does not lead any more; promote one that shall");
            wrong.insert("fenced".into(), text);
        }
        if let Some(why) = &self.hindrance {
            wrong.insert(
                "volume".into(),
                format!("the volume cannot be brought to record {}: {why}", self.base().stamp),
            );
        }
        if let Some(why) = &self.save_failed {
            wrong.insert("save".into(), format!("what must outlast a crash could not be written: {why}"));
        }
        for (name, what) in waits {
            if let Some(why) = self.stopped(name).filter(|_| self.is_up(name)) {
                wrong.insert(format!("stopped {name}"), format!("re-encryption has stopped on {name}: {why}"));
            }
            if !self.is_up(name) {
                wrong.insert(format!("unreachable {name}"), format!("{name} cannot be reached, and holds up {what}"));
            }
            match self.peers.get(name).and_then(|peer| peer.refusal.as_ref()) {
                Some(Refusal::Upgrade(why)) => {
                    wrong.insert(format!("upgrade {name}"), format!("{name}: upgrade needed: {why}"))
                }
                Some(Refusal::Fork { have }) => wrong.insert(
                    format!("fork {name}"),
                    format!("{name} has record {have}, which is not in this lead's history: it has quarantined itself"),
                ),
                Some(Refusal::Out(why)) => {
                    wrong.insert(format!("out {name}"), format!("{name} takes no part any more: {why}"))
                }
                Some(why @ (Refusal::Rule(_) | Refusal::NotEntitled(_) | Refusal::Failed(_))) => {
                    wrong.insert(format!("refusal {name}"), format!("{name} refuses {what}: {why}"))
                }
                _ => None,
            };
        }
        if let Some((id, step, _, true)) = self.lead.waits {
            let text = format!("change {id} has waited for members while {}: its deadline has passed", step_name(step));
            wrong.insert("deadline".into(), text);
        }
        wrong
    }

    /// The change and step that is waiting for members, if one is.
    fn stalled(&self) -> Option<(u64, Step)> {
        if let Some(proposal) = &self.lead.proposal {
            let change = &proposal.signed.record.change;
            let ends = matches!(change.step, Step::Prepared | Step::Active | Step::Finalized | Step::RolledBack);
            return (ends && proposal.quorum == Quorum::All).then_some((change.id, change.step));
        }
        let change = &self.base().change;
        let waits = match change.step {
            Step::Prepared => self.base().full().any(|member| !self.is_proven(&member.name)),
            Step::Active | Step::RolledBack => {
                self.base().full().any(|member| !self.is_up(&member.name) && !self.is_drained(&member.name))
            }
            Step::Idle | Step::Finalized => false,
        };
        waits.then_some((change.id, change.step))
    }

    /// Counts the time a step waits, and ends the wait when its deadline has passed.
    pub(super) fn meet_deadline(&mut self, turn: &mut Turn<'_>) {
        let passed = self.passed.saturating_sub(self.lead.waits_from);
        self.lead.waits_from = self.passed;
        let Some((id, step)) = self.stalled() else {
            self.lead.waits = None;
            return;
        };
        let (waited, met) = match self.lead.waits {
            Some((of, at, waited, met)) if (of, at) == (id, step) => (waited.saturating_add(passed), met),
            _ => (0, false),
        };
        let record = self.lead.proposal.as_ref().map_or(self.base(), |proposal| &proposal.signed.record);
        let (deadline, does) = (record.change.deadline_s, record.change.on_deadline);
        let due = deadline > 0 && waited >= deadline && !met;
        self.lead.waits = Some((id, step, waited, met || due));
        if due && does == OnDeadline::Undo && self.undo(turn).is_ok() {
            self.lead.waits = Some((id, step, waited, true));
        }
    }

    /// Where the machine stands.
    pub fn view(&self, _now: u64) -> View {
        let members = self.durable.accepted.record.members.iter();
        View {
            durable: self.durable.clone(),
            leads: self.leads(),
            waiting: self
                .since
                .iter()
                .map(|one| Waiting {
                    member: one.member.clone(),
                    what: self.worded(&one.member, &one.what),
                    since: one.since,
                })
                .collect(),
            members: members.map(|one| (one.name.clone(), self.progress_of(&one.name).cloned())).collect(),
            refusals: self
                .peers
                .iter()
                .filter_map(|(name, peer)| peer.refusal.clone().map(|refusal| (name.clone(), refusal)))
                .collect(),
        }
    }
}
