//! Online: the ring on the device against the daemon's own bookkeeping.
//!
//! Slots are read without the metadata lock as far as they hold still; under it only those written meanwhile are read
//! again. Records are kept without their fingerprints or ciphertext, so that a whole ring fits in little memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Online;
use super::pace::Pacer;
use crate::engine::Disk;
use crate::format::Seal;
use crate::format::intents::{Image, Record, slot_of};
use crate::format::superblock::Superblock;
use crate::units::{Extent, Generation};
use crate::volume::VolumeError;
use crate::volume::check::references::Tally;
use crate::volume::check::report::{CheckReport, LiveIntentReport, Severity};
use crate::volume::check::ring::{self, SlotFault};
use crate::volume::meta::Meta;
use crate::volume::replay::{LiveIntent, replay};

/// Looks at the ring without the lock before the one under it.
const LOOKS: usize = 2;

/// Where the ring stands: records up to `tail` are dead, `last` is the newest.
#[derive(Clone, Copy)]
struct Span {
    tail: u64,
    last: u64,
}

impl Span {
    fn of(meta: &Meta) -> Span {
        Span { tail: meta.superblock.tail, last: meta.log.next() - 1 }
    }

    /// The newest record that went to `slot`.
    fn newest_in(self, slot: u32, slots: u32) -> Option<u64> {
        let ahead = u64::from((slot_of(self.last, slots) + slots - slot) % slots);
        self.last.checked_sub(ahead).filter(|sequence| *sequence > 0)
    }
}

/// What was last seen in every slot.
pub(super) struct Slots<'a> {
    header: &'a dyn Disk,
    superblock: Superblock,
    seal: Arc<Seal>,
    seen: Vec<Option<Result<Record, SlotFault>>>,
}

impl<'a> Slots<'a> {
    /// Nothing seen yet.
    pub fn new(online: &Online<'a>) -> Slots<'a> {
        let superblock = online.meta().superblock.clone();
        let seen = (0..superblock.ring_slots).map(|_| None).collect();
        Slots { header: &*online.volume.header, superblock, seal: Arc::clone(&online.seal), seen }
    }

    /// Reads slots whose content is not what `span` says it must be; the live ones only, or all.
    fn refresh(&mut self, span: Span, dead_too: bool) -> u64 {
        let mut read = 0;
        for slot in 0..self.superblock.ring_slots {
            let newest = span.newest_in(slot, self.superblock.ring_slots);
            let current = self.seen[slot as usize].as_ref().is_some_and(|seen| match seen {
                Ok(record) => newest == Some(record.sequence),
                Err(_) => false,
            });
            if current || !dead_too && newest.is_none_or(|newest| newest <= span.tail) {
                continue;
            }
            let found = ring::read_slot(&self.superblock, slot, Some(&self.seal), self.header);
            self.seen[slot as usize] = Some(found.map(without_images));
            read += u64::from(self.superblock.slot_size);
        }
        read
    }

    /// Records after the tail, in order, as far as they are there.
    fn live(&self, span: Span) -> Vec<&Record> {
        let at = |sequence| {
            let slot = slot_of(sequence, self.superblock.ring_slots) as usize;
            self.seen[slot].as_ref()?.as_ref().ok().filter(|record| record.sequence == sequence)
        };
        (span.tail + 1..=span.last).map_while(at).collect()
    }

    /// What the records after the tail commit, by extent.
    pub fn overlay(&mut self, meta: &Meta) -> BTreeMap<u32, Generation> {
        let span = Span::of(meta);
        self.refresh(span, false);
        let commits = self.live(span).into_iter().flat_map(|record| &record.commits);
        commits.map(|commit| (commit.extent.0, commit.generation)).collect()
    }
}

fn without_images(mut record: Record) -> Record {
    for intent in &mut record.intents {
        intent.image = Image::Fingerprints(Vec::new());
    }
    record
}

impl Online<'_> {
    /// Checks every slot; records and live intents by generation.
    pub(super) fn ring(
        &self,
        report: &mut CheckReport,
        slots: &mut Slots<'_>,
        pacer: &mut Pacer<'_>,
    ) -> Result<(Tally, Tally), VolumeError> {
        for _ in 0..LOOKS {
            let span = Span::of(&self.meta());
            pacer.spend(slots.refresh(span, true))?;
        }
        let meta = self.meta();
        let span = Span::of(&meta);
        slots.refresh(span, true);
        let mut part = CheckReport::default();
        self.slots(&mut part, slots, span);
        let tallies = self.records(&mut part, slots, &meta, span);
        drop(meta);
        report.absorb(part);
        Ok(tallies)
    }

    /// Each slot must hold the newest record that went there.
    fn slots(&self, report: &mut CheckReport, slots: &Slots<'_>, span: Span) {
        let count = slots.superblock.ring_slots;
        for (slot, seen) in (0u32..).zip(&slots.seen) {
            let newest = span.newest_in(slot, count);
            let live = newest.filter(|newest| *newest > span.tail);
            let place = || ring::place_of(&slots.superblock, slot);
            let found = match seen {
                Some(Ok(record)) if record.sequence > span.last || live.is_some_and(|live| live != record.sequence) => {
                    format!("record {} stands there", record.sequence)
                }
                Some(Err(fault)) => {
                    fault_in(report, fault, place(), live.is_some(), slot == slot_of(span.last + 1, count));
                    "no record stands there".to_owned()
                }
                _ => continue,
            };
            match (live, seen) {
                (None, Some(Err(_))) => {}
                (Some(live), _) => {
                    let what = format!("{found}, but the daemon wrote record {live}");
                    report.add(Severity::Error, "ring-differs", place(), what, None);
                }
                (None, _) => {
                    let what = format!("{found}, but the daemon's last one is {}", span.last);
                    report.add(Severity::Error, "ring-differs", place(), what, None);
                }
            }
        }
    }

    /// The live records against tags, table and the daemon's own list of intents.
    fn records(&self, report: &mut CheckReport, slots: &Slots<'_>, meta: &Meta, span: Span) -> (Tally, Tally) {
        let records = slots.live(span);
        ring::generations(report, &meta.table, &records);
        let mut naming = Tally::new();
        for record in &records {
            let commits = record.commits.iter().map(|commit| commit.generation);
            let named: BTreeSet<Generation> =
                commits.chain(record.intents.iter().flat_map(|intent| [intent.old, intent.new])).collect();
            named.into_iter().for_each(|generation| *naming.entry(generation).or_insert(0) += 1);
        }
        // Without a commit in the ring a tag is what the page says, which is what memory says: the pages were compared.
        let replayed = match replay(&records, span.tail, |extent| self.volume.tags.committed(extent)) {
            Ok(replayed) => replayed,
            Err(error) => {
                report.add(Severity::Error, ring::name_of(&error), "intent ring", error.to_string(), None);
                return (naming, Tally::new());
            }
        };
        for (extent, said) in replayed.tags.iter().map(|(extent, tag)| (Extent(*extent), *tag)) {
            let known = self.volume.tags.committed(extent);
            if said != known && meta.log.committing(extent) != Some(said) {
                let what = format!("the ring commits extent {extent} to generation {said}, memory to {known}");
                report.add(Severity::Error, "ring-differs", "intent ring", what, None);
            }
        }
        self.intents(report, meta, &replayed.live);
        let mut live = Tally::new();
        for LiveIntent { sequence, intent } in &replayed.live {
            let (extent, old, new) = (intent.extent.0, intent.old.0, intent.new.0);
            report.live_intents.push(LiveIntentReport { extent, old, new, record: *sequence });
            [intent.old, intent.new].into_iter().for_each(|generation| *live.entry(generation).or_insert(0) += 1);
        }
        let what =
            format!("{} records after the tail {}, {} live intents", records.len(), span.tail, replayed.live.len());
        report.good("intent ring", what);
        (naming, live)
    }

    /// Live by the ring must be live for the daemon, and the other way round. A read-only volume lists only those it
    /// could not roll forward in memory.
    fn intents(&self, report: &mut CheckReport, meta: &Meta, live: &[LiveIntent]) {
        let on_disk: BTreeSet<_> =
            live.iter().map(|live| (live.intent.extent, live.sequence, live.intent.old, live.intent.new)).collect();
        let known: BTreeSet<_> = meta.log.uncommitted().collect();
        let only_there = on_disk.difference(&known).filter(|_| !self.volume.read_only);
        let only_known = known.difference(&on_disk);
        for (extent, record, old, new) in only_there {
            let what =
                format!("extent {extent}: record {record} ({old} to {new}) is live there, but not for the daemon");
            report.add(Severity::Error, "ring-differs", "intent ring", what, None);
        }
        for (extent, record, old, new) in only_known {
            let what =
                format!("extent {extent}: record {record} ({old} to {new}) is live for the daemon, but not there");
            report.add(Severity::Error, "ring-differs", "intent ring", what, None);
        }
    }
}

/// Names what is wrong with a slot that holds no record.
fn fault_in(
    report: &mut CheckReport,
    fault: &SlotFault,
    place: crate::volume::check::report::Place,
    live: bool,
    next: bool,
) {
    let dead = Some("its record is dead: nothing needs it");
    match fault {
        SlotFault::Unreadable(error) => report.add(Severity::Error, "ring-unreadable", place, error.clone(), None),
        SlotFault::Damaged(damage) if damage.is_tampering() || live => {
            report.damage(Severity::Error, "ring", place, damage, None);
        }
        SlotFault::Damaged(crate::format::Damage::Zero { .. }) => {}
        SlotFault::Damaged(damage) if next => {
            report.add(Severity::Note, "ring-torn", place, format!("holds no valid record: {damage}"), None);
        }
        SlotFault::Damaged(damage) => report.damage(Severity::Warning, "ring", place, damage, dead),
    }
}
