//! The intent ring: every slot, the order of its records, and their replay on top of the tags.

use std::collections::BTreeMap;

use super::references::count;
use super::report::{CheckReport, LiveIntentReport, Place, Severity};
use super::tags::TagScan;
use crate::engine::Disk;
use crate::format::generations::{GenerationTable, KeyState};
use crate::format::intents::{Record, slot_of};
use crate::format::superblock::Superblock;
use crate::format::{Damage, Seal, envelope};
use crate::units::{Extent, Generation};
use crate::volume::info::Bytes;
use crate::volume::replay::{LiveIntent, ReplayError, SlotContent, live_records, replay};

/// What stands in the ring.
pub(super) struct RingScan {
    /// With keys, what an open would see.
    slots: Vec<SlotContent>,
    tail: u64,
}

/// Tags and intents once the ring is applied.
pub(super) struct Effective {
    pub census: BTreeMap<Generation, u64>,
    pub overlay: BTreeMap<u32, Generation>,
    pub live: Vec<LiveIntent>,
}

impl RingScan {
    /// Records after the tail that name `generation`.
    pub fn records_naming(&self, generation: Generation) -> u64 {
        let records = self.slots.iter().filter_map(|slot| match slot {
            SlotContent::Valid(record) if record.sequence > self.tail => Some(record),
            _ => None,
        });
        records
            .filter(|record| {
                record.commits.iter().any(|commit| commit.generation == generation)
                    || record.intents.iter().any(|intent| intent.old == generation || intent.new == generation)
            })
            .count() as u64
    }
}

impl Effective {
    /// Live intents that name `generation`.
    pub fn live_naming(&self, generation: Generation) -> u64 {
        let names = |live: &&LiveIntent| live.intent.old == generation || live.intent.new == generation;
        self.live.iter().filter(names).count() as u64
    }

    /// The tag of an extent that checkpointed as `tag`.
    pub fn tag(&self, extent: u32, tag: Generation) -> Generation {
        self.overlay.get(&extent).copied().unwrap_or(tag)
    }
}

/// Why a slot holds no record.
pub(super) enum SlotFault {
    /// The device does not give it back.
    Unreadable(String),
    /// What stands there is none.
    Damaged(Damage),
}

/// Where a slot stands.
pub(super) fn place_of(superblock: &Superblock, slot: u32) -> Place {
    let offset = superblock.zones.ring.offset + u64::from(slot) * u64::from(superblock.slot_size);
    Place::header(format_args!("intent ring slot {slot}"), offset)
}

/// Reads one slot: by MAC with a seal, by CRC without.
pub(super) fn read_slot(
    superblock: &Superblock,
    slot: u32,
    seal: Option<&Seal>,
    header: &dyn Disk,
) -> Result<Record, SlotFault> {
    let size = u64::from(superblock.slot_size);
    let offset = superblock.zones.ring.offset + u64::from(slot) * size;
    let bytes = Bytes::of(header).try_read(offset, size);
    let bytes = bytes.map_err(|error| SlotFault::Unreadable(error.to_string()))?;
    let record = match seal {
        Some(seal) => Record::open(seal, slot, &bytes, &superblock.shape),
        None => envelope::peek(envelope::RECORD, &bytes).and_then(|found| Record::decode(&found, &superblock.shape)),
    };
    record.map_err(SlotFault::Damaged)
}

/// Reads every slot. `None` if a record is not authentic.
pub(super) fn scan(
    report: &mut CheckReport,
    superblock: &Superblock,
    seal: Option<&Seal>,
    header: &dyn Disk,
) -> Option<RingScan> {
    let mut scan = RingScan { slots: Vec::new(), tail: superblock.tail };
    let mut bad: Vec<(u32, Damage)> = Vec::new();
    let mut believed = true;
    for slot in 0..superblock.ring_slots {
        let content = match read_slot(superblock, slot, seal, header) {
            Ok(record) => SlotContent::Valid(record),
            Err(SlotFault::Unreadable(error)) => {
                // As opening sees it: a record that a power cut interrupted. If it was not the last one, there is a gap.
                report.add(Severity::Warning, "ring-unreadable", place_of(superblock, slot), error, None);
                SlotContent::Invalid
            }
            Err(SlotFault::Damaged(damage)) => {
                if damage.is_tampering() {
                    report.damage(Severity::Error, "ring", place_of(superblock, slot), &damage, None);
                    believed = false;
                } else if !matches!(damage, Damage::Zero { .. }) {
                    bad.push((slot, damage));
                }
                SlotContent::Invalid
            }
        };
        scan.slots.push(content);
    }
    order(report, superblock, &scan, &bad)?;
    believed.then_some(scan)
}

/// The records after the tail must follow each other; a damaged slot may only be the next one, torn.
fn order(report: &mut CheckReport, superblock: &Superblock, scan: &RingScan, bad: &[(u32, Damage)]) -> Option<()> {
    let live = live_records(&scan.slots, superblock.tail);
    let last = live.as_ref().map_or(superblock.tail, |records| superblock.tail + records.len() as u64);
    let torn = slot_of(last + 1, superblock.ring_slots);
    for (slot, damage) in bad {
        let place = place_of(superblock, *slot);
        if *slot == torn && live.is_ok() {
            let what =
                format!("holds no valid record: {damage}. Record {} was being written when a crash came", last + 1);
            report.add(Severity::Note, "ring-torn", place, what, None);
        } else {
            let severity = if live.is_ok() { Severity::Warning } else { Severity::Error };
            report.damage(
                severity,
                "ring",
                place,
                damage,
                live.is_ok().then_some("its record is dead: nothing needs it"),
            );
        }
    }
    match live {
        Ok(records) => {
            let what = format!("{} records after the tail {}, in order", records.len(), superblock.tail);
            report.good("intent ring", what);
            Some(())
        }
        Err(error) => {
            report.add(Severity::Error, name_of(&error), "intent ring", error.to_string(), None);
            None
        }
    }
}

pub(super) fn name_of(error: &ReplayError) -> &'static str {
    match error {
        ReplayError::Gap { .. } => "ring-gap",
        ReplayError::Contradiction { .. } => "ring-contradiction",
    }
}

/// Applies the ring to the tags, as an open would.
pub(super) fn against_tags(
    report: &mut CheckReport,
    superblock: &Superblock,
    table: &GenerationTable,
    tags: &TagScan,
    ring: &RingScan,
) -> Effective {
    let checkpointed = |extent: Extent| tags.tags.get(extent.0 as usize).copied().unwrap_or_default();
    let mut effective = Effective { census: count(&tags.tags), overlay: BTreeMap::new(), live: Vec::new() };
    let Ok(records) = live_records(&ring.slots, superblock.tail) else { return effective };
    let replayed = match replay(&records, superblock.tail, checkpointed) {
        Ok(replayed) => replayed,
        Err(error) => {
            report.add(Severity::Error, name_of(&error), "intent ring", error.to_string(), None);
            return effective;
        }
    };
    for (extent, tag) in &replayed.tags {
        let before = checkpointed(Extent(*extent));
        if let Some(count) = effective.census.get_mut(&before) {
            *count -= 1;
        }
        *effective.census.entry(*tag).or_insert(0) += 1;
    }
    effective.census.retain(|_, count| *count > 0);
    generations(report, table, &records);
    barred(report, table, &replayed.live);
    for live in &replayed.live {
        let intent = &live.intent;
        report.live_intents.push(LiveIntentReport {
            extent: intent.extent.0,
            old: intent.old.0,
            new: intent.new.0,
            record: live.sequence,
        });
    }
    if !replayed.live.is_empty() {
        let what = format!("{} extents have a live intent: the next open rolls them forward", replayed.live.len());
        report.add(Severity::Note, "ring-live", "intent ring", what, None);
    }
    effective.overlay = replayed.tags;
    effective.live = replayed.live;
    effective
}

/// Live intents whose keys are not loaded at open leave their extents barred.
fn barred(report: &mut CheckReport, table: &GenerationTable, live: &[LiveIntent]) {
    for LiveIntent { sequence, intent } in live {
        let mut named = [intent.old, intent.new].into_iter().filter_map(|generation| table.entry(generation));
        let Some(entry) = named.find(|entry| !entry.state.is_loaded()) else { continue };
        let gone = entry.state == KeyState::Destroyed;
        let severity = if gone { Severity::Error } else { Severity::Warning };
        let (extent, generation, state) = (intent.extent, entry.generation, entry.state.name());
        let what = format!("extent {extent}: record {sequence} needs generation {generation}, which is {state}");
        report.add(severity, "ring-barred", "intent ring", what, None);
    }
}

/// Records may only name generations of the table.
pub(super) fn generations(report: &mut CheckReport, table: &GenerationTable, records: &[&Record]) {
    let known = |generation: Generation| generation != Generation::METADATA && table.entry(generation).is_some();
    for record in records {
        let named = record.commits.iter().map(|commit| commit.generation);
        let named = named.chain(record.intents.iter().flat_map(|intent| [intent.old, intent.new]));
        if let Some(unknown) = named.into_iter().find(|generation| !known(*generation)) {
            let what = format!("record {} names generation {unknown}, which the volume does not have", record.sequence);
            report.add(Severity::Error, "ring-generation", "intent ring", what, None);
        }
    }
}
