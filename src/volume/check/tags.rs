//! Tag pages: both copies of each, which one counts, and the digest that says which ones were meant.

use super::report::{CheckReport, Place, Severity};
use crate::engine::Disk;
use crate::format::layout::TAGS_PER_PAGE;
use crate::format::superblock::Superblock;
use crate::format::tags::{TagPage, counting_copy, digest, open_page, peek_page, peek_tags};
use crate::format::{Damage, Seal};
use crate::units::{BLOCK, Generation};
use crate::volume::info::{Bytes, tag_page_places};
use crate::volume::open::MetadataKeys;

const REPAIR: &str = "volume check --repair rewrites it from its twin";

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
        let copies = read(header, superblock, index, keys.map(|keys| &keys.seal));
        let found = copies.each_ref().map(|copy| copy.as_ref().ok().map(|page| page.sequence));
        let counting = counting_copy(superblock.checkpoint, found);
        if judge(report, superblock, index, &copies, counting) {
            scan.bad_twins.extend(counting.map(|counting| (index, counting)));
        }
        cut_off += u32::from(found.iter().flatten().any(|sequence| *sequence > superblock.checkpoint));
        let Some(counting) = counting else {
            let what = "neither copy can be used: the generations of its extents are unknown";
            report.add(Severity::Error, "tag-page-lost", format!("tag page {index}"), what, None);
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
            report.add(Severity::Error, "tag-digest", "tag pages", what, None);
            return None;
        }
        let what = format!("{pages} pages are exactly the ones checkpoint {} named", superblock.checkpoint);
        report.good("tag pages", what);
    }
    Some(scan)
}

/// Both copies of a page.
pub(super) type Pages = [Result<TagPage, PageFault>; 2];

/// Reads both copies of page `index`: by MAC with a seal, by CRC without.
pub(super) fn read(header: &dyn Disk, superblock: &Superblock, index: u32, seal: Option<&Seal>) -> Pages {
    tag_page_places(superblock, index).map(|place| page(header, place, index, seal))
}

fn page(header: &dyn Disk, place: u64, index: u32, seal: Option<&Seal>) -> Result<TagPage, PageFault> {
    let bytes = Bytes::of(header).try_read(place, BLOCK).map_err(|error| PageFault::Unreadable(error.to_string()))?;
    let page = match seal {
        Some(seal) => open_page(seal, index, &bytes),
        None => peek_page(&bytes).and_then(|sequence| Ok(TagPage { sequence, tags: peek_tags(&bytes)? })),
    };
    page.map_err(PageFault::Damaged)
}

/// What is wrong with a copy.
pub(super) enum PageFault {
    /// The device does not give it back.
    Unreadable(String),
    /// It is not a page.
    Damaged(Damage),
}

/// Where copy `copy` of page `index` stands.
pub(super) fn place_of(superblock: &Superblock, index: u32, copy: usize) -> Place {
    let offset = tag_page_places(superblock, index)[copy];
    Place::header(format_args!("tag page {index} copy {}", ["A", "B"][copy]), offset)
}

/// Names what is wrong with the copies; true if the one that does not count is bad by accident.
pub(super) fn judge(
    report: &mut CheckReport,
    superblock: &Superblock,
    index: u32,
    copies: &Pages,
    counting: Option<usize>,
) -> bool {
    let mut bad_twin = false;
    for (copy, page) in copies.iter().enumerate() {
        let place = place_of(superblock, index, copy);
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
                bad_twin |= counting.is_some();
                match fault {
                    PageFault::Damaged(damage) => report.damage(severity, "tag-page", place, damage, hint),
                    PageFault::Unreadable(error) => report.add(severity, "tag-page-unreadable", place, error, hint),
                }
            }
        }
    }
    bad_twin
}
