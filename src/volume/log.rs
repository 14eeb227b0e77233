//! The intent log's bookkeeping: which record may be written when, and where its live part begins. Pure.
//!
//! Rules it enforces (REENCRYPTION.md; the crash models show what breaks without each):
//! - **slots**: a slot is reused only when the record in it is dead: the commits of its intents are durable and
//!   checkpointed, and so are the commits it carries.
//! - **one intent**: an extent gets a new intent only when its last commit is durable or rides in the same record.
//! - **order**: data is issued only for intents that are durable; commits only for data that is durable.
//! - **no orphan**: an intent whose record is written stays live until a durable record commits or voids it.
//!
//! Invariant: `tail ≤ durable < next`, and `next - 1 - tail ≤ slots`.

use std::collections::BTreeMap;

use super::rules;
use crate::format::intents::{Commit, Intent, Record};
use crate::units::{Extent, Generation};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Stage {
    /// The intent's record is written; no data may be.
    Written,
    /// The intent is durable: data may be issued.
    Durable,
    /// The data is durable: the commit may be written.
    DataDurable,
    /// The commit's record is written.
    Committing {
        /// Its sequence.
        record: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Live {
    sequence: u64,
    old: Generation,
    new: Generation,
    settled: Generation,
    stage: Stage,
    stuck: bool,
}

/// The bookkeeping of one volume's ring.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IntentLog {
    slots: u32,
    next: u64,
    durable: u64,
    tail: u64,
    live: BTreeMap<u32, Live>,
}

/// Why a record may not be written now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Every slot holds a live record: a checkpoint must advance the tail first.
    #[error("every slot of the intent ring is live; a checkpoint must come first")]
    RingFull,
    /// The extent has an intent that is not settled.
    #[error("extent {0} has an intent that is not settled")]
    TwoIntents(Extent),
    /// A commit for an intent that does not exist or whose data is not durable.
    #[error("commit of extent {0} without durable data")]
    NoData(Extent),
}

impl IntentLog {
    /// After an open or a checkpoint that emptied it: `last` is the sequence of the last record ever written.
    pub fn empty(slots: u32, last: u64) -> IntentLog {
        IntentLog { slots, next: last + 1, durable: last, tail: last, live: BTreeMap::new() }
    }

    /// After a replay that left the intents `stuck` (extent, record, old, new) live for want of a key.
    pub fn with_stuck(slots: u32, tail: u64, last: u64, stuck: &[(Extent, u64, Generation, Generation)]) -> IntentLog {
        let live = |&(extent, sequence, old, new): &(Extent, u64, Generation, Generation)| {
            (extent.0, Live { sequence, old, new, settled: new, stage: Stage::Durable, stuck: true })
        };
        IntentLog { slots, next: last + 1, durable: last, tail, live: stuck.iter().map(live).collect() }
    }

    /// Extents whose intents recovery left for want of a key: they pin the tail, and a rotation would fill the ring.
    pub fn stuck(&self) -> u64 {
        self.live.values().filter(|live| live.stuck).count() as u64
    }

    /// Recovery has rolled the intent of `extent` in record `sequence` forward, durably, beside others that are stuck: the
    /// tail stays before it, so that it needs a commit of its own.
    pub fn rolled_forward(&mut self, extent: Extent, sequence: u64, old: Generation, new: Generation) {
        let live = Live { sequence, old, new, settled: new, stage: Stage::DataDurable, stuck: false };
        self.live.insert(extent.0, live);
    }

    /// Sequence of the next record.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Whether a slot is free for the next record.
    pub fn has_room(&self) -> bool {
        rules::slot_is_free(self.next, self.tail, self.slots)
    }

    /// Slots that hold live records.
    pub fn in_use(&self) -> u64 {
        self.next - 1 - self.tail
    }

    /// Whether `extent` has an intent that no durable record settles, unless its commit can ride in the next record.
    pub fn is_busy(&self, extent: Extent) -> bool {
        let live = self.live.get(&extent.0);
        live.is_some_and(|live| live.stage != Stage::DataDurable) && !rules::allows_second_intent()
    }

    /// Whether every live intent is one that recovery left for want of a key: nothing of a pipeline is under way.
    pub fn is_settled(&self) -> bool {
        self.live.values().all(|live| live.stuck)
    }

    /// Intents not settled by a durable record.
    pub fn live_intents(&self) -> usize {
        self.live.len()
    }

    /// Intents no written record settles: what a replay of the ring as written finds live. Extent, record, old, new.
    pub fn uncommitted(&self) -> impl Iterator<Item = (Extent, u64, Generation, Generation)> + '_ {
        let open = self.live.iter().filter(|(_, live)| !matches!(live.stage, Stage::Committing { .. }));
        open.map(|(extent, live)| (Extent(*extent), live.sequence, live.old, live.new))
    }

    /// What the commit of `extent` says that is written but not known to be durable, if there is one.
    pub fn committing(&self, extent: Extent) -> Option<Generation> {
        let live = self.live.get(&extent.0)?;
        matches!(live.stage, Stage::Committing { .. }).then_some(live.settled)
    }

    /// Extents with live intents and the generations those name.
    pub fn live_references(&self) -> impl Iterator<Item = (Extent, Generation, Generation)> + '_ {
        self.live.iter().map(|(extent, live)| (Extent(*extent), live.old, live.new))
    }

    /// Commits for every intent whose data is durable.
    pub fn ready_commits(&self) -> Vec<Commit> {
        let ready = self.live.iter().filter(|(_, live)| live.stage == Stage::DataDurable);
        ready
            .map(|(extent, live)| Commit { extent: Extent(*extent), generation: live.settled, intent: live.sequence })
            .collect()
    }

    /// Enters the next record; the caller writes it to its slot.
    pub fn append(&mut self, commits: Vec<Commit>, intents: Vec<Intent>) -> Result<Record, Refused> {
        if !self.has_room() {
            return Err(Refused::RingFull);
        }
        for commit in &commits {
            let live = self.live.get(&commit.extent.0);
            if !live.is_some_and(|live| live.stage == Stage::DataDurable && live.sequence == commit.intent) {
                return Err(Refused::NoData(commit.extent));
            }
        }
        for intent in &intents {
            let rides = commits.iter().any(|commit| commit.extent == intent.extent);
            if self.live.contains_key(&intent.extent.0) && !rides && !rules::allows_second_intent() {
                return Err(Refused::TwoIntents(intent.extent));
            }
        }
        let sequence = self.next;
        self.next += 1;
        for commit in &commits {
            if let Some(live) = self.live.get_mut(&commit.extent.0) {
                live.stage = Stage::Committing { record: sequence };
            }
        }
        for intent in &intents {
            let live = Live {
                sequence,
                old: intent.old,
                new: intent.new,
                settled: intent.new,
                stage: Stage::Written,
                stuck: false,
            };
            self.live.insert(intent.extent.0, live);
        }
        Ok(Record { sequence, commits, intents })
    }

    /// A flush has completed that started after record `sequence` was written and after the data of `written`
    /// extents was written: gives the extents whose commits are durable now.
    pub fn flushed(&mut self, sequence: u64, written: &[Extent]) -> Vec<Extent> {
        self.durable = self.durable.max(sequence);
        let mut settled = Vec::new();
        for (extent, live) in &mut self.live {
            match live.stage {
                Stage::Committing { record } if record <= self.durable => settled.push(Extent(*extent)),
                Stage::Durable if written.contains(&Extent(*extent)) => live.stage = Stage::DataDurable,
                Stage::Written if live.sequence <= self.durable => live.stage = Stage::Durable,
                _ => {}
            }
        }
        for extent in &settled {
            self.live.remove(&extent.0);
        }
        settled
    }

    /// Whether the data of `extent` may be issued: its intent is durable.
    pub fn may_write(&self, extent: Extent) -> bool {
        self.live.get(&extent.0).is_some_and(|live| live.stage == Stage::Durable)
    }

    /// Settles a durable intent whose data was never issued: its commit will say "still the old generation".
    pub fn void(&mut self, extent: Extent) {
        if let Some(live) = self.live.get_mut(&extent.0)
            && live.stage == Stage::Durable
        {
            live.settled = live.old;
            live.stage = Stage::DataDurable;
        }
    }

    /// The newest record that would be dead once the committed tags of now are checkpointed.
    pub fn tail_after_checkpoint(&self) -> u64 {
        let oldest = self.live.values().map(|live| live.sequence).min();
        rules::tail_before_live(self.durable, oldest)
    }

    /// The checkpoint that names `tail` is durable.
    pub fn checkpointed(&mut self, tail: u64) {
        debug_assert!(tail <= self.tail_after_checkpoint());
        self.tail = self.tail.max(tail);
    }
}

#[cfg(test)]
#[path = "tests/log.rs"]
mod tests;
