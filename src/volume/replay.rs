//! What the ring says at open: which tags are committed, which intents are live, and what each granule holds. Pure.
//!
//! Why it is right: no data of a batch is issued before its record is durable, so no valid record means untouched. With
//! rule R0 and the hold, once the record is readable each granule is the fingerprinted pre-image or something written
//! later; only the rotation writes before the release, and after it every write is under the new generation. So "equals
//! the fingerprint" means old, up to 2⁻⁶⁴.

use std::collections::BTreeMap;

use super::holes::is_zero;
use super::rules;
use crate::crypto::fingerprint::Fingerprinter;
use crate::format::intents::{Image, Intent, Record, slot_of};
use crate::units::{Extent, Generation, HOLE_SLICE};

/// An intent that no commit settles, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveIntent {
    /// Its record.
    pub sequence: u64,
    /// The intent.
    pub intent: Intent,
}

/// What the ring adds to the checkpointed tags.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Replay {
    /// Tags committed since the checkpoint.
    pub tags: BTreeMap<u32, Generation>,
    /// Intents to roll forward.
    pub live: Vec<LiveIntent>,
    /// Sequence of the last record.
    pub last: u64,
}

/// What stands in a ring slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotContent {
    /// A valid record.
    Valid(Record),
    /// Nothing that validates: never written, torn, or rotted.
    Invalid,
}

/// Why a ring cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// A record is missing although a later one is there: it was durable once.
    #[error(
        "intent record {missing} in slot {slot} is gone, but the later record {later} is there: the ring has a gap"
    )]
    Gap {
        /// The missing record.
        missing: u64,
        /// Where it should be.
        slot: u32,
        /// The later one found.
        later: u64,
    },
    /// A record names an extent twice, or an intent's old generation is not the extent's tag.
    #[error("intent record {sequence} contradicts the tag table at extent {extent}")]
    Contradiction {
        /// The record.
        sequence: u64,
        /// The extent.
        extent: Extent,
    },
}

/// The records after `tail`, in order. Only the last one may be invalid (torn): a gap is refused.
pub fn live_records(slots: &[SlotContent], tail: u64) -> Result<Vec<&Record>, ReplayError> {
    let count = slots.len() as u32;
    let mut records = Vec::new();
    let mut next = tail + 1;
    while records.len() < slots.len() {
        match &slots[slot_of(next, count) as usize] {
            SlotContent::Valid(record) if record.sequence == next => records.push(record),
            _ => break,
        }
        next += 1;
    }
    let newest = slots.iter().filter_map(|slot| match slot {
        SlotContent::Valid(record) => Some(record.sequence),
        SlotContent::Invalid => None,
    });
    match newest.max() {
        Some(later) if later > next => Err(ReplayError::Gap { missing: next, slot: slot_of(next, count), later }),
        _ => Ok(records),
    }
}

/// Applies `records` on top of the checkpointed tags.
pub fn replay(
    records: &[&Record],
    tail: u64,
    mut checkpointed: impl FnMut(Extent) -> Generation,
) -> Result<Replay, ReplayError> {
    let mut replay = Replay { last: tail, ..Replay::default() };
    let mut intents: BTreeMap<u32, Vec<LiveIntent>> = BTreeMap::new();
    for record in records {
        for commit in &record.commits {
            replay.tags.insert(commit.extent.0, commit.generation);
            let known = intents.entry(commit.extent.0).or_default();
            known.retain(|intent| !rules::commit_settles(commit, intent.sequence));
        }
        for intent in &record.intents {
            let known = intents.entry(intent.extent.0).or_default();
            if !known.is_empty() && rules::misfit_is_contradiction() {
                return Err(ReplayError::Contradiction { sequence: record.sequence, extent: intent.extent });
            }
            known.push(LiveIntent { sequence: record.sequence, intent: intent.clone() });
        }
        replay.last = record.sequence;
    }
    for (extent, known) in intents {
        let extent = Extent(extent);
        let tag = replay.tags.get(&extent.0).copied().unwrap_or_else(|| checkpointed(extent));
        if let Some(misfit) = known.iter().find(|intent| intent.intent.old != tag && rules::misfit_is_contradiction()) {
            return Err(ReplayError::Contradiction { sequence: misfit.sequence, extent });
        }
        replay.live.extend(known.into_iter().rfind(|intent| intent.intent.old == tag));
    }
    Ok(replay)
}

/// What a granule of an extent with a live intent holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// All zero: a hole in every generation.
    Hole,
    /// The ciphertext the intent fingerprinted.
    Old,
    /// Something written later, under the new generation.
    New,
}

/// Tells which key a granule is under.
pub fn classify(prints: &Fingerprinter, expected: u64, granule: &[u8]) -> Side {
    if granule.chunks(HOLE_SLICE).all(is_zero) {
        Side::Hole
    } else if prints.one(granule) == expected {
        Side::Old
    } else {
        Side::New
    }
}

/// The fingerprint the intent gives for granule `index`, if it carries fingerprints.
pub fn expected(intent: &Intent, index: usize) -> Option<u64> {
    match &intent.image {
        Image::Fingerprints(prints) => prints.get(index).copied(),
        Image::Ciphertext(_) => None,
    }
}

#[cfg(test)]
#[path = "tests/replay.rs"]
mod tests;
