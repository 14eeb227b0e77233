//! What refers to each generation, and whether that fits its state and the rotation on record.
//!
//! Invariant: a generation is called proven empty only where everything counted is authentic and of one moment: offline
//! always, online if nothing has moved from the first look to the last.

use std::collections::BTreeMap;

use super::report::{CheckReport, Reference, Severity};
use super::ring::{Effective, RingScan};
use super::tags::TagScan;
use crate::format::generations::{GenerationTable, KeyState, Phase};
use crate::units::Generation;
use crate::volume::info::suite_name;

/// References by generation.
pub(super) type Tally = BTreeMap<Generation, u64>;

/// Everything that refers to generations.
#[derive(Default)]
pub(super) struct Counts {
    /// Extents, the ring's commits applied.
    pub census: Tally,
    /// Tags of the checkpointed pages.
    pub page_tags: Tally,
    /// Records after the ring's tail.
    pub ring_records: Tally,
    /// Live intents.
    pub live_intents: Tally,
    /// Whether all of it is of one moment.
    pub of_one_moment: bool,
}

impl Counts {
    /// What an offline check has found: nothing moves.
    pub fn of(table: &GenerationTable, tags: &TagScan, ring: &RingScan, effective: &Effective) -> Counts {
        let each = |count: &dyn Fn(Generation) -> u64| -> Tally {
            table.entries.iter().map(|entry| (entry.generation, count(entry.generation))).collect()
        };
        Counts {
            census: effective.census.clone(),
            page_tags: count(&tags.tags),
            ring_records: each(&|generation| ring.records_naming(generation)),
            live_intents: each(&|generation| effective.live_naming(generation)),
            of_one_moment: true,
        }
    }
}

/// Enters references and census into the report, and what does not fit the table.
pub(super) fn references(report: &mut CheckReport, table: &GenerationTable, counts: &Counts) {
    report.census = counts.census.iter().map(|(generation, count)| (generation.0, *count)).collect();
    for (generation, extents) in counts.census.iter().filter(|(tag, _)| table.entry(**tag).is_none() || tag.0 == 0) {
        let what = format!("{extents} extents carry generation {generation}, which the volume does not have");
        report.add(Severity::Error, "tag-unknown", "tags", what, None);
    }
    let proven = report.with_keys && counts.of_one_moment;
    for entry in table.entries.iter().filter(|entry| entry.generation != Generation::METADATA) {
        let generation = entry.generation;
        let of = |tally: &Tally| tally.get(&generation).copied().unwrap_or(0);
        let extents = of(&counts.census);
        if extents > 0 && entry.state == KeyState::Revoked {
            let what = format!("{extents} extents carry generation {generation}, which is revoked");
            report.add(Severity::Note, "tag-revoked", "tags", what, None);
        } else if extents > 0 && !entry.state.may_be_tagged() {
            let what = format!("{extents} extents carry generation {generation}, which is {}", entry.state.name());
            report.add(Severity::Error, "tag-state", "tags", what, None);
        }
        let (page_tags, ring_records) = (of(&counts.page_tags), of(&counts.ring_records));
        let live_intents = of(&counts.live_intents);
        let reference = Reference {
            generation: generation.0,
            state: entry.state.name().to_owned(),
            suite: suite_name(entry.suite),
            is_target: generation == table.rotation.target,
            extents,
            page_tags,
            ring_records,
            live_intents,
            proven_empty: extents + page_tags + ring_records + live_intents == 0 && proven,
        };
        if !reference.is_target {
            say(report, &reference);
        }
        report.references.push(reference);
    }
    settled(report, table, &counts.census);
}

/// A rotation that is over has brought every extent to its target.
fn settled(report: &mut CheckReport, table: &GenerationTable, census: &Tally) {
    let settled = matches!(table.rotation.phase, Phase::Idle | Phase::Drained | Phase::Finalized);
    let behind = census.iter().filter(|(tag, _)| **tag != table.rotation.target);
    let left = behind.map(|(_, count)| *count).sum::<u64>();
    if settled && left > 0 {
        let phase = crate::volume::lifecycle::phase_name(table.rotation.phase);
        let what = format!("the rotation is {phase}, but {left} extents do not carry its target");
        report.add(Severity::Error, "table-rotation", "the generation table", what, None);
    }
}

fn say(report: &mut CheckReport, reference: &Reference) {
    let what = format!(
        "{} extents, {} page tags, {} ring records, {} live intents refer to it",
        reference.extents, reference.page_tags, reference.ring_records, reference.live_intents
    );
    report.good(format!("generation {} ({})", reference.generation, reference.state), what);
}

/// Tags by generation.
pub(super) fn count(tags: &[Generation]) -> Tally {
    let mut census = BTreeMap::new();
    for tag in tags {
        *census.entry(*tag).or_insert(0) += 1;
    }
    census
}
