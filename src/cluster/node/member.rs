//! What a member does: it checks a record on its own, makes it durable, acknowledges it, proves, reports and promises.
//!
//! Invariants: nothing is answered from memory; a fork or an expulsion takes the node out, durably; a generation that was reported
//! empty stays refused but for the way back of a change that is not finalized.

use super::machine::{Node, Turn};
use super::memory::Then;
use super::{Action, Local, Outcome};
use crate::cluster::codec::PINS_MAX;
use crate::cluster::message::{Body, Refusal};
use crate::cluster::name::NodeName;
use crate::cluster::record::{Hash, Keyring, Promise, Role, Signed, Step};
use crate::cluster::rules::{self, Rule};
use crate::cluster::stamp::Stamp;
use crate::format::generations::KeyState;
use crate::units::Generation;

/// A record whose new generation the volume is preparing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Preparing {
    pub from: NodeName,
    pub signed: Signed,
}

/// A proof or a report that a lead has asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub from: NodeName,
    pub stamp: Stamp,
    pub generation: Generation,
    pub key_id: [u8; 16],
    pub cold: bool,
}

/// The generation that is *prepared* in a record, if one is.
pub(super) fn prepared_in(record: &Keyring) -> Option<(Generation, [u8; 16])> {
    let key = record.keys.iter().find(|key| key.state == KeyState::Prepared);
    key.map(|key| (key.generation, key.key_id))
}

impl Node {
    fn refuse(&mut self, to: &NodeName, stamp: Stamp, why: Refusal, turn: &mut Turn<'_>) {
        self.say(to, Body::Refused { stamp, why }, turn);
    }

    /// What stands against any word of a lead of this epoch.
    fn barred(&self, epoch: u64) -> Option<Refusal> {
        if let Some(why) = &self.durable.out {
            return Some(Refusal::Out(why.clone()));
        }
        let promised = self.durable.promised;
        (epoch < promised && rules::holds(Rule::EpochFence)).then_some(Refusal::Epoch { promised })
    }

    pub(super) fn on_put(&mut self, from: NodeName, signed: Signed, handover: Option<Vec<u8>>, turn: &mut Turn<'_>) {
        let stamp = signed.record.stamp;
        if let Some(why) = self.barred(stamp.epoch) {
            return self.refuse(&from, stamp, why, turn);
        }
        if from != signed.record.lead {
            let why = Refusal::NotEntitled(format!("{from} sends a record of {}", signed.record.lead));
            return self.refuse(&from, stamp, why, turn);
        }
        let have = self.durable.accepted_stamp();
        let hash = signed.record.hash();
        if stamp == have {
            return match hash == self.durable.accepted.record.hash() {
                true => {
                    let ack = self.ack_of(&self.durable.accepted);
                    self.say(&from, ack, turn);
                }
                false => self.fork(from, stamp, turn),
            };
        }
        if stamp < have && rules::holds(Rule::EpochFence) {
            return self.on_older(from, signed, hash, turn);
        }
        match self.examine(&signed, turn) {
            Err(Refusal::Fork { .. }) => self.fork(from, stamp, turn),
            Err(Refusal::Out(why)) => self.leave(from, stamp, Refusal::Out(why), turn),
            Err(why) => self.refuse(&from, stamp, why, turn),
            Ok(()) => self.take_record(from, signed, handover, turn),
        }
    }

    /// A record between what this node knows to be committed and what it has accepted: taken if its lead has said that it is
    /// committed.
    fn on_older(&mut self, from: NodeName, signed: Signed, hash: Hash, turn: &mut Turn<'_>) {
        let (stamp, have) = (signed.record.stamp, self.durable.accepted_stamp());
        let said = self.heard_committed == Some((from.clone(), stamp, hash));
        if !said || stamp <= self.durable.committed_stamp() {
            return self.refuse(&from, stamp, Refusal::Older { have }, turn);
        }
        match self.examine(&signed, turn) {
            Err(why) => self.refuse(&from, stamp, why, turn),
            Ok(()) => {
                let mut draft = self.durable.clone();
                draft.committed = signed;
                reopen(&mut draft);
                self.save(draft, Then::Converge, turn);
            }
        }
    }

    /// Whether a record is to be believed and taken, but for its new key.
    pub(super) fn examine(&self, signed: &Signed, turn: &Turn<'_>) -> Result<(), Refusal> {
        let record = &signed.record;
        self.entitled(signed, turn)?;
        let (mine, committed) = (&self.durable.accepted, &self.durable.committed);
        if !rules::descends(record, committed.record.stamp, &committed.record.hash()) {
            return Err(Refusal::Fork { have: committed.record.stamp });
        }
        let same_epoch = mine.record.stamp.epoch == record.stamp.epoch && mine.record.stamp < record.stamp;
        if same_epoch && !rules::descends(record, mine.record.stamp, &mine.record.hash()) {
            return Err(Refusal::Fork { have: mine.record.stamp });
        }
        rules::may_follow(&committed.record, record).map_err(Refusal::Rule)?;
        let Some(me) = record.member(&self.me) else {
            return Err(Refusal::Out(format!("record {} of {} has expelled it", record.stamp, record.lead)));
        };
        let used = |state| matches!(state, KeyState::Prepared | KeyState::Active | KeyState::Draining);
        let unknown = record.keys.iter().find(|key| used(key.state) && !self.suites.contains(&key.suite));
        if let Some(key) = unknown {
            let (suite, generation) = (key.suite, key.generation);
            return Err(Refusal::Upgrade(format!(
                "generation {generation} has suite {suite}, which this build cannot read"
            )));
        }
        if me.role == Role::Full {
            self.has_keys(record)?;
        }
        self.closed_stay_closed(record)
    }

    /// Keys in use are here: but for a prepared one, which comes with its record.
    fn has_keys(&self, record: &Keyring) -> Result<(), Refusal> {
        let held = |generation, key_id: &[u8; 16]| {
            let mut records = [&self.durable.accepted.record, &self.durable.committed.record].into_iter();
            records.any(|record| record.key(generation).is_some_and(|key| key.key_id == *key_id))
        };
        let here = |state| matches!(state, KeyState::Prepared | KeyState::Destroyed);
        let missing = record.keys.iter().find(|key| !here(key.state) && !held(key.generation, &key.key_id));
        match missing {
            Some(key) => Err(Refusal::Rule(format!("generation {} was never handed over to it", key.generation))),
            None => Ok(()),
        }
    }

    fn closed_stay_closed(&self, record: &Keyring) -> Result<(), Refusal> {
        let back = |key: Generation| {
            let (was, is) = (&self.durable.committed.record.change, &record.change);
            is.step == Step::RolledBack && is.target == key && (was.id < is.id || was.step != Step::Finalized)
        };
        let opened = record.keys.iter().find(|key| {
            let opens = matches!(key.state, KeyState::Active | KeyState::Prepared);
            opens && self.durable.closed.contains(&key.generation) && !back(key.generation)
        });
        match opened {
            Some(key) => Err(Refusal::Rule(format!(
                "generation {} was reported to have no references, and is refused since",
                key.generation
            ))),
            None => Ok(()),
        }
    }

    /// The lead's signature, and by what right it leads.
    fn entitled(&self, signed: &Signed, turn: &Turn<'_>) -> Result<(), Refusal> {
        let (record, mine) = (&signed.record, &self.durable.accepted.record);
        let no = |why: String| Err(Refusal::NotEntitled(why));
        let known = mine.member(&record.lead).or_else(|| self.durable.committed.record.member(&record.lead));
        let Some(lead) = known.filter(|lead| record.member(&record.lead) == Some(lead)) else {
            return no(format!("{} is no member by this node's record {}", record.lead, mine.stamp));
        };
        if !turn.notary.is_by(&lead.sign, &record.signed_bytes(), &signed.signature) {
            return no(format!("record {} is not signed by {}", record.stamp, record.lead));
        }
        if record.stamp.epoch == mine.stamp.epoch && record.lead != mine.lead {
            return no(format!("{} leads epoch {}, not {}", mine.lead, mine.stamp.epoch, record.lead));
        }
        if record.stamp.epoch == self.durable.committed.record.stamp.epoch {
            return Ok(());
        }
        let promises = record.mandate.iter().filter(|promise| {
            let by = record.member(&promise.by).or_else(|| mine.member(&promise.by));
            let named = promise.epoch == record.stamp.epoch && promise.candidate == record.lead;
            named && by.is_some_and(|by| self.is_promise(promise, &by.sign, turn))
        });
        let count = promises.count();
        // Who has been expelled or taken in since may make the majority of one record larger than that of the other.
        match count >= record.majority().min(mine.majority()) {
            true => Ok(()),
            false => {
                no(format!("epoch {} has {count} promises of {} members", record.stamp.epoch, record.members.len()))
            }
        }
    }

    pub(super) fn is_promise(&self, promise: &Promise, key: &[u8; 32], turn: &Turn<'_>) -> bool {
        let volume = self.durable.accepted.record.volume;
        turn.notary.is_by(key, &promise.signed_bytes(volume), &promise.signature)
    }

    /// A record is good: its new key is prepared, or it is made durable at once.
    fn take_record(&mut self, from: NodeName, signed: Signed, handover: Option<Vec<u8>>, turn: &mut Turn<'_>) {
        let new = prepared_in(&signed.record).filter(|new| !self.holds_prepared(*new));
        let is_full = signed.record.member(&self.me).is_some_and(|me| me.role == Role::Full);
        let Some((generation, _)) = new.filter(|_| is_full) else {
            return self.accept(from, signed, turn);
        };
        let Some(handover) = handover else {
            let why = format!("the DEK of generation {generation} did not come with the record");
            return self.refuse(&from, signed.record.stamp, Refusal::Failed(why), turn);
        };
        let busy = self.preparing.as_ref().is_some_and(|preparing| preparing.signed == signed);
        if !busy {
            let record = Box::new(signed.record.clone());
            self.preparing = Some(Preparing { from, signed });
            turn.act(Action::Local(Local::Prepare { record, handover }));
        }
    }

    fn holds_prepared(&self, new: (Generation, [u8; 16])) -> bool {
        [&self.durable.accepted, &self.durable.committed].iter().any(|signed| {
            signed.record.key(new.0).is_some_and(|key| key.key_id == new.1 && key.state != KeyState::Destroyed)
        })
    }

    pub(super) fn prepare_done(&mut self, record: &Keyring, outcome: Result<Outcome, String>, turn: &mut Turn<'_>) {
        let Some(preparing) = self.preparing.take_if(|preparing| preparing.signed.record == *record) else { return };
        let (from, signed) = (preparing.from, preparing.signed);
        let stamp = signed.record.stamp;
        let wanted = prepared_in(&signed.record);
        let check = wanted.and_then(|(generation, _)| record.key(generation)).map_or([0; 16], |key| key.check);
        match outcome {
            Ok(Outcome::Prepared { generation, key_id, check: found, wraps })
                if wanted == Some((generation, key_id)) && found == check =>
            {
                self.wraps = Some((generation, wraps));
                // Its lead may have been overtaken meanwhile.
                self.accept_if_good(from, signed, turn);
            }
            Ok(_) => {
                let why = Refusal::Failed("the DEK that was handed over is not the one that the record names".into());
                self.refuse(&from, stamp, why, turn);
            }
            Err(why) => self.refuse(&from, stamp, Refusal::Failed(why), turn),
        }
    }

    fn accept_if_good(&mut self, from: NodeName, signed: Signed, turn: &mut Turn<'_>) {
        let stamp = signed.record.stamp;
        if let Some(why) = self.barred(stamp.epoch) {
            return self.refuse(&from, stamp, why, turn);
        }
        let have = self.durable.accepted_stamp();
        if stamp <= have {
            return self.refuse(&from, stamp, Refusal::Older { have }, turn);
        }
        match self.examine(&signed, turn) {
            Ok(()) => self.accept(from, signed, turn),
            Err(why) => self.refuse(&from, stamp, why, turn),
        }
    }

    fn accept(&mut self, from: NodeName, signed: Signed, turn: &mut Turn<'_>) {
        let mut draft = self.durable.clone();
        draft.promised = draft.promised.max(signed.record.stamp.epoch);
        if self.heard_committed == Some((from.clone(), signed.record.stamp, signed.record.hash())) {
            draft.committed = signed.clone();
            reopen(&mut draft);
        }
        draft.accepted = signed;
        self.save(draft, Then::Ack(from), turn);
    }

    pub(super) fn ack_of(&self, signed: &Signed) -> Body {
        let prepared = prepared_in(&signed.record).map(|(generation, _)| generation);
        let wraps = self.wraps.as_ref().filter(|(generation, _)| Some(*generation) == prepared);
        Body::Ack {
            stamp: signed.record.stamp,
            hash: signed.record.hash(),
            wraps: wraps.map(|(_, wraps)| wraps.clone()).unwrap_or_default(),
        }
    }

    fn fork(&mut self, from: NodeName, stamp: Stamp, turn: &mut Turn<'_>) {
        let have = self.durable.accepted_stamp();
        self.leave(from, stamp, Refusal::Fork { have }, turn);
    }

    /// A member has a record of this node's own that this node does not know: its file is an old one.
    pub(super) fn rolled_back(&mut self, from: &NodeName, have: Stamp, turn: &mut Turn<'_>) {
        let mut draft = self.durable.clone();
        draft.out = Some(format!(
            "{from} has record {have}, which this node has written and does not know: its file of peers is an old copy; promote \
             another node, expel this one, and found it anew"
        ));
        self.save(draft, Then::Converge, turn);
    }

    /// Takes no part any more.
    fn leave(&mut self, from: NodeName, stamp: Stamp, why: Refusal, turn: &mut Turn<'_>) {
        let mut draft = self.durable.clone();
        draft.out = Some(match &why {
            Refusal::Out(why) => why.clone(),
            _ => format!(
                "fork: its record {} is not in the history of record {stamp} of {from}; compare both, then wipe this replica \
                 and found it anew",
                self.durable.accepted_stamp()
            ),
        });
        self.save(draft, Then::Out(from, stamp, why), turn);
    }

    pub(super) fn on_beat(
        &mut self,
        from: NodeName,
        stamp: Stamp,
        hash: Hash,
        whose: Option<NodeName>,
        turn: &mut Turn<'_>,
    ) {
        if let Some(why) = self.barred(stamp.epoch) {
            return self.refuse(&from, stamp, why, turn);
        }
        let (accepted, committed) = (self.durable.accepted_stamp(), self.durable.committed_stamp());
        let follows = self.durable.accepted.record.lead == from;
        if follows {
            self.turn = whose;
        }
        if stamp == accepted && follows {
            return match hash == self.durable.accepted.record.hash() {
                true if stamp == committed => {}
                true => {
                    let mut draft = self.durable.clone();
                    draft.committed = draft.accepted.clone();
                    reopen(&mut draft);
                    self.save(draft, Then::Converge, turn);
                }
                false => self.fork(from, stamp, turn),
            };
        }
        if stamp < committed {
            return self.refuse(&from, stamp, Refusal::Older { have: committed }, turn);
        }
        if stamp > committed && stamp != accepted {
            self.heard_committed = Some((from.clone(), stamp, hash));
            let have = if stamp > accepted { accepted } else { committed };
            self.say(&from, Body::Behind { have }, turn);
        }
    }

    /// Whether a lead's question is about the committed record of this node, and its lead's.
    fn is_current(&mut self, asked: &Asked, turn: &mut Turn<'_>) -> bool {
        if let Some(why) = self.barred(asked.stamp.epoch) {
            self.refuse(&asked.from, asked.stamp, why, turn);
            return false;
        }
        let committed = &self.durable.committed.record;
        if asked.stamp > committed.stamp {
            let have = committed.stamp;
            self.say(&asked.from, Body::Behind { have }, turn);
            return false;
        }
        asked.stamp == committed.stamp && asked.from == committed.lead && self.is_full()
    }

    pub(super) fn on_prove(&mut self, asked: Asked, turn: &mut Turn<'_>) {
        if !self.is_current(&asked, turn) || self.proving.as_ref() == Some(&asked) {
            return;
        }
        let (generation, cold) = (asked.generation, asked.cold);
        let key = self.durable.committed.record.key(generation);
        if key.is_some_and(|key| key.key_id == asked.key_id && key.state == KeyState::Prepared) {
            self.proving = Some(asked);
            turn.act(Action::Local(Local::Prove { generation, cold }));
        }
    }

    pub(super) fn prove_done(&mut self, about: Generation, outcome: Result<Outcome, String>, turn: &mut Turn<'_>) {
        let Some(asked) = self.proving.take_if(|asked| asked.generation == about) else { return };
        let (stamp, cold) = (asked.stamp, asked.cold);
        match outcome {
            Ok(Outcome::Proven { generation, key_id, check }) => {
                self.say(&asked.from, Body::Proven { stamp, generation, key_id, check, cold }, turn);
            }
            Ok(_) => {}
            Err(why) => self.refuse(&asked.from, stamp, Refusal::Failed(why), turn),
        }
    }

    pub(super) fn on_report(&mut self, asked: Asked, turn: &mut Turn<'_>) {
        if !self.is_current(&asked, turn) || self.reporting.as_ref() == Some(&asked) {
            return;
        }
        let generation = asked.generation;
        let in_use = |state| matches!(state, KeyState::Active | KeyState::Prepared | KeyState::Destroyed);
        let key = self.durable.committed.record.key(generation);
        let fits = key.is_some_and(|key| !in_use(key.state));
        if fits && self.converged == Some(asked.stamp) {
            self.reporting = Some(asked);
            turn.act(Action::Local(Local::Report { generation }));
        }
    }

    pub(super) fn report_done(&mut self, about: Generation, outcome: Result<Outcome, String>, turn: &mut Turn<'_>) {
        let Some(asked) = self.reporting.take_if(|asked| asked.generation == about) else { return };
        let (stamp, generation) = (asked.stamp, asked.generation);
        let (references, pins) = match outcome {
            Ok(Outcome::Reported { references, mut pins }) => {
                pins.truncate(PINS_MAX);
                (references, pins)
            }
            Ok(_) => return,
            Err(why) => return self.refuse(&asked.from, stamp, Refusal::Failed(why), turn),
        };
        let overtaken = self.durable.committed_stamp() != stamp || self.barred(stamp.epoch).is_some();
        if overtaken && rules::holds(Rule::EpochFence) {
            return;
        }
        let empty = references.is_none();
        let body = Body::Reported { stamp, generation, references, pins };
        if empty && rules::holds(Rule::PromiseReports) && !self.durable.closed.contains(&generation) {
            let mut draft = self.durable.clone();
            draft.closed.insert(generation);
            return self.save(draft, Then::Closed(asked.from, body), turn);
        }
        self.say(&asked.from, body, turn);
    }
}

/// What is active, or destroyed, by the committed record is not closed any more.
pub(super) fn reopen(draft: &mut crate::cluster::durable::Durable) {
    let record = &draft.committed.record;
    let over = |generation: &Generation| {
        let state = record.key(*generation).map(|key| key.state);
        matches!(state, Some(KeyState::Active | KeyState::Destroyed))
    };
    draft.closed.retain(|generation| !over(generation));
}
