//! Tag pages against the digest and the generations, and what still refers to each generation.

use std::collections::BTreeMap;

use super::report::{CheckReport, Reference, Severity};
use super::ring::{Effective, RingScan};
use crate::engine::Disk;
use crate::format::Damage;
use crate::format::generations::{GenerationTable, KeyState, Phase};
use crate::format::layout::TAGS_PER_PAGE;
use crate::format::superblock::Superblock;
use crate::format::tags::{TagPage, counting_copy, digest, open_page, peek_page, peek_tags};
use crate::units::{BLOCK, Generation};
use crate::volume::info::{Bytes, suite_name, tag_page_places};
use crate::volume::open::MetadataKeys;

const REPAIR: &str = "volume check --repair rewrites it from its twin";
const LOST: &str = "restore the header from a backup of this rotation epoch";

/// All tag pages.
pub(super) struct TagScan {
    /// Tags of all extents as of the checkpoint.
    pub tags: Vec<Generation>,
    /// Pages whose other copy is bad by accident, and which copy counts.
    pub bad_twins: Vec<(u32, usize)>,
}

/// Reads both copies of every page. `None` if the tags cannot be known.
pub(super) fn scan(
    report: &mut CheckReport,
    superblock: &Superblock,
    keys: Option<&MetadataKeys>,
    header: &dyn Disk,
) -> Option<TagScan> {
    let pages = superblock.shape.tag_pages();
    let extents = superblock.shape.extents() as usize;
    let mut scan = TagScan { tags: Vec::new(), bad_twins: Vec::new() };
    let (mut sequences, mut cut_off, mut whole) = (Vec::new(), 0u32, true);
    for index in 0..pages {
        let copies = tag_page_places(superblock, index).map(|place| page(header, place, index, keys));
        let found = copies.each_ref().map(|copy| copy.as_ref().ok().map(|page| page.sequence));
        let counting = counting_copy(superblock.checkpoint, found);
        judge(report, superblock, index, &copies, counting, &mut scan);
        cut_off += u32::from(found.iter().flatten().any(|sequence| *sequence > superblock.checkpoint));
        let Some(counting) = counting else {
            whole = false;
            continue;
        };
        if let Ok(page) = &copies[counting] {
            sequences.push(page.sequence);
            let left = extents - scan.tags.len();
            scan.tags.extend(page.tags.iter().take(left.min(TAGS_PER_PAGE as usize)));
        }
    }
    if cut_off > 0 {
        let what = format!("{cut_off} pages are of a checkpoint that a crash cut off; they do not count");
        report.add(Severity::Note, "checkpoint-cut-off", "tag pages", what, None);
    }
    if !whole {
        return None;
    }
    if let Some(keys) = keys {
        if digest(&keys.digest, sequences.into_iter()) != superblock.tag_digest {
            let what = format!(
                "they are not the ones checkpoint {} wrote: one was rolled back or lost",
                superblock.checkpoint
            );
            report.add(Severity::Error, "tag-digest", "tag pages", what, Some(LOST));
            return None;
        }
        let what = format!("{pages} pages are exactly the ones checkpoint {} named", superblock.checkpoint);
        report.good("tag pages", what);
    }
    Some(scan)
}

/// One copy: by MAC with keys, by CRC without.
fn page(header: &dyn Disk, place: u64, index: u32, keys: Option<&MetadataKeys>) -> Result<TagPage, PageFault> {
    let bytes = Bytes::of(header).try_read(place, BLOCK).map_err(|error| PageFault::Unreadable(error.to_string()))?;
    let page = match keys {
        Some(keys) => open_page(&keys.seal, index, &bytes),
        None => peek_page(&bytes).and_then(|sequence| Ok(TagPage { sequence, tags: peek_tags(&bytes)? })),
    };
    page.map_err(PageFault::Damaged)
}

enum PageFault {
    Unreadable(String),
    Damaged(Damage),
}

fn judge(
    report: &mut CheckReport,
    superblock: &Superblock,
    index: u32,
    copies: &[Result<TagPage, PageFault>; 2],
    counting: Option<usize>,
    scan: &mut TagScan,
) {
    let places = tag_page_places(superblock, index);
    for (copy, page) in copies.iter().enumerate() {
        let place = format!("tag page {index} copy {}, header offset {}", ["A", "B"][copy], places[copy]);
        let (severity, hint) = match counting {
            Some(_) => (Severity::Warning, Some(REPAIR)),
            None => (Severity::Error, None),
        };
        match page {
            Ok(_) => {}
            // Each copy is written for the first time by the first checkpoint that goes to it.
            Err(PageFault::Damaged(Damage::Zero { .. })) if counting.is_some() => {}
            Err(PageFault::Damaged(damage @ (Damage::Mac { .. } | Damage::Newer { .. }))) => {
                report.damage(Severity::Error, "tag-page", place, damage, None);
            }
            Err(fault) => {
                scan.bad_twins.extend(counting.map(|counting| (index, counting)));
                match fault {
                    PageFault::Damaged(damage) => report.damage(severity, "tag-page", place, damage, hint),
                    PageFault::Unreadable(error) => report.add(severity, "tag-page-unreadable", place, error, hint),
                }
            }
        }
    }
    if counting.is_none() {
        let what = "neither copy can be used: the generations of its extents are unknown";
        report.add(Severity::Error, "tag-page-lost", format!("tag page {index}"), what, Some(LOST));
    }
}

/// What refers to each generation, and whether that fits its state and the rotation.
pub(super) fn references(
    report: &mut CheckReport,
    table: &GenerationTable,
    tags: &TagScan,
    ring: &RingScan,
    effective: &Effective,
) {
    let page_tags = count(&tags.tags);
    report.census = effective.census.iter().map(|(generation, count)| (generation.0, *count)).collect();
    for generation in effective.census.keys().filter(|tag| table.entry(**tag).is_none() || tag.0 == 0) {
        let what = format!(
            "{} extents carry generation {generation}, which the volume does not have",
            effective.census[generation]
        );
        report.add(Severity::Error, "tag-unknown", "tags", what, Some(LOST));
    }
    let authenticated = report.with_keys;
    for entry in table.entries.iter().filter(|entry| entry.generation != Generation::METADATA) {
        let generation = entry.generation;
        let extents = effective.census.get(&generation).copied().unwrap_or(0);
        if extents > 0 && !matches!(entry.state, KeyState::Active | KeyState::Draining) {
            let what = format!("{extents} extents carry generation {generation}, which is {}", entry.state.name());
            report.add(Severity::Error, "tag-state", "tags", what, Some(LOST));
        }
        let is_target = generation == table.rotation.target;
        let reference = Reference {
            generation: generation.0,
            state: entry.state.name(),
            suite: suite_name(entry.suite),
            is_target,
            extents,
            page_tags: page_tags.get(&generation).copied().unwrap_or(0),
            ring_records: ring.records_naming(generation),
            live_intents: effective.live_naming(generation),
            proven_empty: false,
        };
        let empty = reference.extents + reference.page_tags + reference.ring_records + reference.live_intents == 0;
        let reference = Reference { proven_empty: empty && authenticated, ..reference };
        if !is_target {
            say(report, &reference);
        }
        report.references.push(reference);
    }
    let settled = matches!(table.rotation.phase, Phase::Idle | Phase::Drained | Phase::Finalized);
    let left =
        effective.census.iter().filter(|(tag, _)| **tag != table.rotation.target).map(|(_, count)| *count).sum::<u64>();
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
pub(super) fn count(tags: &[Generation]) -> BTreeMap<Generation, u64> {
    let mut census = BTreeMap::new();
    for tag in tags {
        *census.entry(*tag).or_insert(0) += 1;
    }
    census
}
