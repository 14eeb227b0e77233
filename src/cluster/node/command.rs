//! What a lead makes of an operator's commands.
//!
//! Invariant: what needs all members waits its turn; what a majority decides (going back, withdrawing, pausing) takes the place of
//! whatever is on its way, and builds on what is committed.

use super::machine::{Node, Turn};
use super::memory::Task;
use super::{By, Command, Refused, Ticket, Wanted};
use crate::cluster::name::NodeName;
use crate::cluster::record::{Keyring, Step};
use crate::cluster::rules::{self, Quorum};
use crate::cluster::steps;
use crate::format::generations::KeyState;

impl Node {
    pub(super) fn lead_command(&mut self, ticket: Ticket, command: Command, by: By, turn: &mut Turn<'_>) {
        if !self.leads() {
            let lead = self.durable.accepted.record.lead.clone();
            let epoch = self.durable.promised.max(self.lead.fenced.unwrap_or_default());
            return turn.answer(
                ticket,
                Err(match lead == self.me {
                    true => Refused::Busy(format!("epoch {epoch} has no lead yet that this node knows of")),
                    false => Refused::NotLead { lead, epoch },
                }),
            );
        }
        if let Err(why) = self.led_command(ticket, command, by, turn) {
            turn.answer(ticket, Err(why));
        }
    }

    fn led_command(&mut self, ticket: Ticket, command: Command, by: By, turn: &mut Turn<'_>) -> Result<(), Refused> {
        if self.base().stamp.epoch != self.durable.promised {
            let epoch = self.durable.promised;
            return Err(Refused::Busy(format!("epoch {epoch} is not acknowledged by a majority yet")));
        }
        match command {
            Command::Rotate(wanted) => self.rotate(ticket, wanted, by, turn),
            Command::Finalize => self.finalize(ticket),
            Command::Retire(generation) | Command::Destroy { generation, .. } => {
                self.is_idle()?;
                steps::next(self.base(), &command, self.now)?;
                self.all_reachable(&[])?;
                self.lead.asked.clear();
                self.lead.reports.retain(|(_, of), _| *of != generation);
                self.lead.task = Some(Task { command, generation, ticket, since: self.passed });
                Ok(())
            }
            command => self.change(ticket, &command, turn),
        }
    }

    /// Nothing else is on its way.
    fn is_idle(&self) -> Result<(), Refused> {
        let what = match (&self.lead.proposal, &self.lead.making, &self.lead.task) {
            (Some(proposal), _, _) => format!("record {} ({})", proposal.signed.record.stamp, proposal.what),
            (_, Some(making), _) => format!("generation {} is being made", making.generation),
            (_, _, Some(task)) => format!("reports on generation {}", task.generation),
            _ => return Ok(()),
        };
        Err(Refused::Busy(format!(
            "something else is under way: {what}; wait for it, or see `peer status` for what it waits for"
        )))
    }

    /// Members that cannot be reached, but for these.
    fn all_reachable(&self, besides: &[&NodeName]) -> Result<(), Refused> {
        let members = self.base().members.iter().map(|member| &member.name);
        let down: Vec<String> =
            members.filter(|name| !besides.contains(name) && !self.is_up(name)).map(NodeName::to_string).collect();
        match down.is_empty() {
            true => Ok(()),
            false => Err(Refused::Members(format!(
                "{} cannot be reached, and all members are needed: bring it back, or expel it",
                down.join(", ")
            ))),
        }
    }

    fn rotate(&mut self, ticket: Ticket, wanted: Wanted, by: By, turn: &mut Turn<'_>) -> Result<(), Refused> {
        self.is_idle()?;
        steps::may_rotate(self.base())?;
        self.all_reachable(&[])?;
        if let Some(name) = self.cannot_read(wanted.suite) {
            let suite = wanted.suite;
            return Err(Refused::Members(format!("{name} cannot read suite {suite}: upgrade it first")));
        }
        self.make(ticket, wanted, by, turn);
        Ok(())
    }

    /// A member whose build does not read a suite.
    pub(super) fn cannot_read(&self, suite: u16) -> Option<NodeName> {
        let reads = |name: &NodeName| match *name == self.me {
            true => self.suites.contains(&suite),
            false => self.peers.get(name).is_some_and(|peer| peer.suites.contains(&suite)),
        };
        self.base().members.iter().map(|member| &member.name).find(|name| !reads(name)).cloned()
    }

    fn finalize(&mut self, ticket: Ticket) -> Result<(), Refused> {
        let change = &self.base().change;
        if !matches!(change.step, Step::Active | Step::RolledBack) {
            return Err(Refused::State("no change is draining".into()));
        }
        let id = change.id;
        let full: Vec<NodeName> = self.base().full().map(|member| member.name.clone()).collect();
        let behind: Vec<String> = full.iter().filter(|name| !self.is_drained(name)).map(NodeName::to_string).collect();
        if !behind.is_empty() {
            return Err(Refused::Members(format!("not drained and verified yet: {}", behind.join(", "))));
        }
        if self.lead.finalize.is_some() {
            return Err(Refused::Busy("it is being finalized already".into()));
        }
        self.lead.finalize = Some((id, ticket));
        Ok(())
    }

    fn change(&mut self, ticket: Ticket, command: &Command, turn: &mut Turn<'_>) -> Result<(), Refused> {
        let base = self.base_for(command)?;
        let next = steps::next(&base, command, self.now)?;
        let what = what(command);
        if rules::quorum(self.base(), &next) == Quorum::All {
            self.is_idle()?;
            let new = match command {
                Command::Admit(member) => Some(&member.name),
                _ => None,
            };
            self.all_reachable(&[])?;
            if let Some(name) = new.filter(|name| !self.is_up(name)) {
                return Err(Refused::Members(format!(
                    "{name} cannot be reached: found it from a bundle and start it first"
                )));
            }
        }
        self.give_way(turn);
        self.propose(next, what, Some(ticket), turn)
    }

    /// What a command builds on. A generation that was being prepared when it came is given up.
    fn base_for(&self, command: &Command) -> Result<Keyring, Refused> {
        let (base, now) = (self.base(), self.now);
        let pending = self.lead.proposal.as_ref().map(|proposal| &proposal.signed.record);
        let activating = pending.is_some_and(|record| record.change.step == Step::Active);
        if *command == Command::RollBack && base.change.step == Step::Prepared && !activating {
            return Err(Refused::State("the generation is not active yet: abandon it".into()));
        }
        let preparing =
            pending.filter(|record| record.change.id != base.change.id && record.change.step == Step::Prepared);
        Ok(match preparing {
            Some(record) if *command == Command::Abandon => record.clone(),
            Some(record) => steps::abandoned(record, now),
            None => base.clone(),
        })
    }

    /// What was waiting for reports is dropped: the record it was about is not the latest any more.
    pub(super) fn give_way(&mut self, turn: &mut Turn<'_>) {
        let why = Refused::Busy("another record has come first: say it again".into());
        let tickets =
            [self.lead.task.take().map(|task| task.ticket), self.lead.finalize.take().map(|(_, ticket)| ticket)];
        for ticket in tickets.into_iter().flatten() {
            turn.answer(ticket, Err(why.clone()));
        }
    }

    /// The members' step back of a change that waits too long.
    pub(super) fn undo(&mut self, turn: &mut Turn<'_>) -> Result<(), Refused> {
        let pending = self.lead.proposal.as_ref().map(|proposal| proposal.signed.record.change.step);
        let command = match (self.base().change.step, pending) {
            (Step::Active, pending) if pending != Some(Step::Finalized) => Command::RollBack,
            (Step::Prepared, _) | (_, Some(Step::Prepared)) => Command::Abandon,
            _ => return Err(Refused::State("there is no way back".into())),
        };
        let next = steps::next(&self.base_for(&command)?, &command, self.now)?;
        self.give_way(turn);
        self.propose(next, format!("{}, since its deadline has passed", what(&command)), None, turn)
    }

    /// The command that waited for reports has them all.
    pub(super) fn carry_out(&mut self, turn: &mut Turn<'_>) {
        let Some(task) = self.lead.task.take() else { return };
        let next = steps::next(self.base(), &task.command, self.now);
        let done = next.and_then(|next| self.propose(next, what(&task.command), Some(task.ticket), turn));
        if let Err(why) = done {
            turn.answer(task.ticket, Err(why));
        }
    }

    /// Generations that nothing may refer to once the change is finalized.
    pub(super) fn draining(&self) -> Vec<crate::units::Generation> {
        let keys = self.base().keys.iter().filter(|key| key.state == KeyState::Draining);
        keys.map(|key| key.generation).collect()
    }
}

/// A command in the words of an answer.
fn what(command: &Command) -> String {
    match command {
        Command::Abandon => "the change is abandoned".into(),
        Command::Pause(true) => "the drain is paused".into(),
        Command::Pause(false) => "the drain goes on".into(),
        Command::Pace(_) => "the pace is set".into(),
        Command::RollBack => "the change is rolled back".into(),
        Command::Retire(generation) => format!("generation {generation} is retired"),
        Command::Restore(generation) => format!("generation {generation} is restored"),
        Command::Schedule(generation, _) => format!("generation {generation} is scheduled for destruction"),
        Command::Cancel(generation) => format!("generation {generation} is kept from destruction"),
        Command::Destroy { generation, .. } => format!("generation {generation} is destroyed"),
        Command::Compromise(generation, true) => format!("generation {generation} is marked compromised"),
        Command::Compromise(generation, false) => format!("the mark of generation {generation} is taken away"),
        Command::Revoke(generation) => format!("generation {generation} is revoked"),
        Command::Reinstate(generation) => format!("generation {generation} is reinstated"),
        Command::Expel(name) => format!("{name} is expelled"),
        Command::Admit(member) => format!("{} is admitted", member.name),
        Command::Rotate(_)
        | Command::Finalize
        | Command::Promote(_)
        | Command::StepDown
        | Command::Hold
        | Command::Release => "the record is changed".into(),
    }
}
