//! The ring at open: any records in any slots on top of any tags. The input says, slot by slot, what stands there; every
//! record passes through its sealed form. Promises: the records taken as live follow the tail without a gap and none is
//! newer; an extent gets at most one live intent, whose old generation is the extent's tag; a tag is what the last commit
//! said; what is left over can be taken up by the log.

use std::collections::BTreeMap;

use keymoult::format::intents::{Commit, Image, Intent, Record, slot_of};
use keymoult::format::layout::{Shape, WriteMode};
use keymoult::units::{Extent, Generation};
use keymoult::volume::log::IntentLog;
use keymoult::volume::replay::{Replay, SlotContent, live_records, replay};

use crate::support::input::Input;
use crate::support::sealed::{seal, shape};

const EXTENTS: usize = 8;

fn eight_extents() -> Shape {
    Shape { size: 8 * (64 << 10), ..shape(WriteMode::InPlace, 4096) }
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let shape = eight_extents();
    let slots = 3 + input.index(14);
    // Small tails, and those at the end of what a superblock may say.
    let tail = if input.flag() { u64::from(input.u8()) } else { (1 << 62) - 32 - u64::from(input.u8()) };
    let tags: Vec<Generation> = (0..EXTENTS).map(|_| generation(&mut input)).collect();
    let ring: Vec<SlotContent> = (0..slots).map(|_| slot(&mut input, slots as u32, tail, &shape)).collect();
    let Ok(records) = live_records(&ring, tail) else { return };
    for (record, sequence) in records.iter().zip(tail + 1..) {
        assert_eq!(record.sequence, sequence);
        assert_eq!(ring[slot_of(sequence, slots as u32) as usize], SlotContent::Valid((*record).clone()));
    }
    let last = tail + records.len() as u64;
    assert!(ring.iter().all(|slot| !matches!(slot, SlotContent::Valid(record) if record.sequence > last + 1)));
    let Ok(found) = replay(&records, tail, |extent| tags[extent.0 as usize]) else { return };
    assert_eq!(found.last, last);
    holds(&found, &records, &tags);
    take_up(&found, slots as u32, tail);
}

fn generation(input: &mut Input<'_>) -> Generation {
    Generation(1 + u32::from(input.u8() % 3))
}

/// What stands in one slot: nothing valid, or a record that has been sealed and opened again.
fn slot(input: &mut Input<'_>, slots: u32, tail: u64, shape: &Shape) -> SlotContent {
    let choice = input.u8();
    if choice & 0xc0 == 0xc0 {
        return SlotContent::Invalid;
    }
    let sequence = (tail + u64::from(choice & 0x1f)).saturating_sub(u64::from(choice & 0x20) / 4);
    let commits = (0..input.index(4)).map(|_| Commit {
        extent: Extent(input.index(EXTENTS) as u32),
        generation: generation(input),
        intent: (tail + u64::from(input.u8() & 0x1f)).saturating_sub(4),
    });
    let commits: Vec<Commit> = commits.collect();
    let intents = (0..input.index(4)).map(|_| Intent {
        extent: Extent(input.index(EXTENTS) as u32),
        old: generation(input),
        new: generation(input),
        image: Image::Fingerprints(vec![u64::from(input.u8()); 16]),
    });
    let record = Record { sequence, commits, intents: intents.collect() };
    let sealed = record.seal(seal(), slots);
    let opened = Record::open(seal(), slot_of(sequence, slots), &sealed, shape);
    assert_eq!(opened.as_ref(), Ok(&record));
    SlotContent::Valid(record)
}

fn holds(found: &Replay, records: &[&Record], checkpointed: &[Generation]) {
    let mut tags = BTreeMap::new();
    for commit in records.iter().flat_map(|record| &record.commits) {
        tags.insert(commit.extent.0, commit.generation);
    }
    assert_eq!(found.tags, tags);
    let mut seen = Vec::new();
    for live in &found.live {
        let extent = live.intent.extent.0;
        let tag = tags.get(&extent).copied().unwrap_or(checkpointed[extent as usize]);
        assert_eq!(live.intent.old, tag, "a live intent starts from the extent's tag");
        assert!(!seen.contains(&extent), "two live intents for one extent");
        assert!(records.iter().any(|record| record.sequence == live.sequence && record.intents.contains(&live.intent)));
        seen.push(extent);
    }
}

/// The log takes up what replay left, as if no key were at hand, and goes on.
fn take_up(found: &Replay, slots: u32, tail: u64) {
    let live = found.live.iter().map(|live| (live.intent.extent, live.sequence, live.intent.old, live.intent.new));
    let stuck: Vec<_> = live.collect();
    let mut log = IntentLog::with_stuck(slots, tail, found.last, &stuck);
    assert!(log.is_settled() && log.live_intents() == stuck.len());
    assert!(log.tail_after_checkpoint() <= found.last);
    let tail = log.tail_after_checkpoint().max(tail);
    log.checkpointed(tail);
    if log.has_room() {
        assert_eq!(log.append(Vec::new(), Vec::new()).map(|record| record.sequence), Ok(found.last + 1));
    }
}
