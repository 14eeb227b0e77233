//! What the device says of every generation: tag pages and ring, read anew and authenticated, as an open would.
//!
//! Invariants: it happens under the metadata lock, so nothing of it moves; a page counts only if it is the one that the
//! daemon named; what is behind the ring's tail is checkpointed first unless a pipeline is in the middle of a checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::Disk;
use crate::format::layout::TAGS_PER_PAGE;
use crate::format::tags::view_page;
use crate::units::{BLOCK, Extent, Generation};
use crate::volume::Volume;
use crate::volume::error::VolumeError;
use crate::volume::info::tag_page_places;
use crate::volume::meta::Meta;
use crate::volume::open::{read_or_empty, read_ring};
use crate::volume::replay::{live_records, replay};

/// What the device says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Sequence of the superblock that was read against.
    pub superblock: u64,
    /// Sequence of the generation table.
    pub table: u64,
    /// Rotation epoch.
    pub epoch: u64,
    /// The checkpoint whose pages count.
    pub checkpoint: u64,
    /// Digest of the tag pages, as the superblock names it.
    pub tag_digest: [u8; 32],
    /// Extents by generation, the ring's commits applied.
    pub extents: BTreeMap<u32, u64>,
    /// Tags of the pages alone, by generation.
    pub page_tags: BTreeMap<u32, u64>,
    /// Records after the ring's tail, by generation they name.
    pub records: BTreeMap<u32, u64>,
    /// Intents that nothing settles, by generation they name.
    pub intents: BTreeMap<u32, u64>,
}

impl Scan {
    /// What refers to `generation`, in words; none if nothing does.
    pub fn references(&self, generation: Generation) -> Option<String> {
        let count = |tally: &BTreeMap<u32, u64>| tally.get(&generation.0).copied().unwrap_or(0);
        let (extents, pages) = (count(&self.extents), count(&self.page_tags));
        let (records, intents) = (count(&self.records), count(&self.intents));
        (extents + pages + records + intents > 0).then(|| {
            format!("{extents} extents, {pages} tags of pages, {records} records and {intents} live intents name it")
        })
    }
}

impl Volume {
    /// Reads what the device says, behind a checkpoint.
    pub(super) fn scan(self: &Arc<Self>) -> Result<Scan, VolumeError> {
        let mut meta = self.meta();
        let checkpointed = match meta.is_mid_checkpoint() || meta.log.in_use() == 0 {
            true => Ok(()),
            false => meta.checkpoint(&self.tags),
        };
        if let Err(error) = checkpointed {
            drop(meta);
            self.poison(&format!("a checkpoint failed: {error}"));
            return Err(error);
        }
        self.header.drop_cache().map_err(VolumeError::io("drop the cache before reading the tags"))?;
        scan(&meta, &*self.header)
    }
}

fn scan(meta: &Meta, header: &dyn Disk) -> Result<Scan, VolumeError> {
    let superblock = &meta.superblock;
    if !meta.digest_fits() {
        return Err(VolumeError::TagDigest { checkpoint: superblock.checkpoint, suspects: String::new() });
    }
    let mut found = Scan {
        superblock: meta.superblock_sequence(),
        table: meta.table_sequence(),
        epoch: superblock.epoch,
        checkpoint: superblock.checkpoint,
        tag_digest: superblock.tag_digest,
        ..Scan::default()
    };
    let extents = superblock.shape.extents();
    let mut tags = Vec::with_capacity(extents as usize);
    for index in 0..extents.div_ceil(TAGS_PER_PAGE) {
        let lost =
            || VolumeError::TagDigest { checkpoint: superblock.checkpoint, suspects: format!(" (page {index})") };
        let state = meta.page(index).ok_or_else(lost)?;
        let place = tag_page_places(superblock, index)[usize::from(state.copy)];
        let bytes = read_or_empty(header, place, BLOCK);
        let damaged = VolumeError::damaged(format!("tag page {index}"));
        let page = view_page(&meta.seal, index, &bytes).map_err(damaged)?;
        if page.sequence != state.sequence {
            return Err(lost());
        }
        tags.extend(page.tags().take(extents as usize - tags.len()));
    }
    let slots = read_ring(&meta.seal, superblock, header)?;
    let records = live_records(&slots, superblock.tail)?;
    let replayed = replay(&records, superblock.tail, |extent: Extent| tags[extent.0 as usize])?;
    for (extent, tag) in (0u32..).zip(&tags) {
        add(&mut found.page_tags, *tag);
        add(&mut found.extents, replayed.tags.get(&extent).copied().unwrap_or(*tag));
    }
    for record in &records {
        let commits = record.commits.iter().map(|commit| commit.generation);
        let intents = record.intents.iter().flat_map(|intent| [intent.old, intent.new]);
        let mut named: Vec<Generation> = commits.chain(intents).collect();
        named.sort_unstable();
        named.dedup();
        named.into_iter().for_each(|generation| add(&mut found.records, generation));
    }
    for live in &replayed.live {
        [live.intent.old, live.intent.new].into_iter().for_each(|generation| add(&mut found.intents, generation));
    }
    Ok(found)
}

fn add(tally: &mut BTreeMap<u32, u64>, generation: Generation) {
    *tally.entry(generation.0).or_insert(0) += 1;
}
