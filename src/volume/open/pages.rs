//! Tag pages at open: both copies of each, exactly those the superblock's digest names, and what their tags may say.

use super::{MetadataKeys, read_or_empty};
use crate::engine::Disk;
use crate::format::Damage;
use crate::format::generations::{GenerationTable, KeyState};
use crate::format::layout::TAGS_PER_PAGE;
use crate::format::superblock::Superblock;
use crate::format::tags::{digest, open_page};
use crate::units::{BLOCK, Extent, Generation};
use crate::volume::checkpoint::PageState;
use crate::volume::error::VolumeError;

/// Tag pages read at once, or one by one where the device does not give all of them.
enum Pages {
    All(Vec<u8>),
    Each(Vec<Vec<u8>>),
}

impl Pages {
    /// A page's bytes; empty if it cannot be read.
    fn page(&self, index: u32) -> &[u8] {
        let at = index as usize * BLOCK as usize;
        match self {
            Pages::All(bytes) => bytes.get(at..at + BLOCK as usize).unwrap_or_default(),
            Pages::Each(pages) => pages.get(index as usize).map(Vec::as_slice).unwrap_or_default(),
        }
    }
}

/// One unreadable page, as a power cut may leave it, must not hide its neighbours.
fn read_pages(header: &dyn Disk, place: u64, count: u32) -> Pages {
    let all = read_or_empty(header, place, u64::from(count) * BLOCK);
    if !all.is_empty() {
        return Pages::All(all);
    }
    Pages::Each((0..u64::from(count)).map(|index| read_or_empty(header, place + index * BLOCK, BLOCK)).collect())
}

/// Reads both copies of every tag page and takes exactly those the superblock's digest names.
pub(super) fn read_tags(
    keys: &MetadataKeys,
    superblock: &Superblock,
    header: &dyn Disk,
) -> Result<(Vec<PageState>, u64, Vec<Generation>), VolumeError> {
    const CHUNK: u32 = 256;
    let (count, extents) = (superblock.shape.tag_pages(), superblock.shape.extents() as usize);
    let mut pages = Vec::with_capacity(count as usize);
    let mut tags = Vec::with_capacity(extents);
    let mut suspects = Vec::new();
    let mut newest = superblock.checkpoint;
    let mut first = 0;
    while first < count {
        let chunk = CHUNK.min(count - first);
        let copies = [0u64, 1].map(|copy| {
            let place = superblock.zones.tags.offset + (copy * u64::from(count) + u64::from(first)) * BLOCK;
            read_pages(header, place, chunk)
        });
        for index in 0..chunk {
            let found = copies.each_ref().map(|copy| open_page(&keys.seal, first + index, copy.page(index)));
            let sequences = found.each_ref().map(|page| page.as_ref().ok().map(|page| page.sequence));
            newest = sequences.iter().flatten().fold(newest, |newest, sequence| newest.max(*sequence));
            let state = PageState::found(superblock.checkpoint, sequences);
            let [a, b] = found;
            let Some(state) = state else {
                let damage = a.err().or(b.err()).unwrap_or(Damage::Crc { what: "tag page" });
                return Err(VolumeError::damaged(format!("tag page {} (both copies)", first + index))(damage));
            };
            let rotten =
                |page: &Result<_, Damage>| matches!(page, Err(damage) if !matches!(damage, Damage::Zero { .. }));
            if rotten(&a) || rotten(&b) {
                suspects.push(first + index);
            }
            let page = if state.copy == 0 { a } else { b };
            let page = page.map_err(VolumeError::damaged(format!("tag page {}", first + index)))?;
            pages.push(state);
            let left = extents - tags.len();
            tags.extend(page.tags.into_iter().take(left.min(TAGS_PER_PAGE as usize)));
        }
        first += chunk;
    }
    if digest(&keys.digest, pages.iter().map(|page| page.sequence)) != superblock.tag_digest {
        let suspects = match suspects.as_slice() {
            [] => String::new(),
            some => format!(" (unreadable copies at pages {some:?})"),
        };
        return Err(VolumeError::TagDigest { checkpoint: superblock.checkpoint, suspects });
    }
    Ok((pages, newest, tags))
}

/// Every tag must name a generation that encrypts or has encrypted extents and still may.
pub(super) fn check_tags(table: &GenerationTable, tags: &[Generation]) -> Result<(), VolumeError> {
    let mut known: Option<Generation> = None;
    for (extent, tag) in (0u32..).zip(tags) {
        if known == Some(*tag) {
            continue;
        }
        let extent = Extent(extent);
        let entry = table.entry(*tag).filter(|entry| entry.generation != Generation::METADATA);
        let Some(entry) = entry else { return Err(VolumeError::UnknownTag { extent, generation: *tag }) };
        if !matches!(entry.state, KeyState::Active | KeyState::Draining) {
            return Err(VolumeError::TagState { extent, generation: *tag, state: entry.state.name() });
        }
        known = Some(*tag);
    }
    Ok(())
}
