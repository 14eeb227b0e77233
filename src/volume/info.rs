//! What can be said of a volume without a key: what its header claims, checked by CRC only.
//!
//! Nothing here is authenticated; every figure is what the metadata say of themselves. Works while the volume is being
//! served: it takes no lock (it only reports whether somebody holds one), reads a handful of blocks, and writes nothing.
//! What it reads may then be changing under it, which [`Info::in_use`] says.
//!
//! Invariant: no input makes it panic; a structure that cannot be decoded is described by its damage.

mod read;
mod types;

use std::path::Path;

pub(super) use read::{Bytes, Copies, tag_page_places};
pub(super) use types::suite_name;
pub use types::{CopyInfo, GenerationInfo, Info, RingInfo, RotationInfo, TagPagesInfo, VolumeInfo, WrapInfo, ZoneInfo};

use super::error::VolumeError;
use super::open::no_superblock;
use crate::engine::{Backing, CacheMode, Disk, EngineError, OpenOptions};
use crate::format::envelope::{CANARY, RECORD, STAMP, peek};
use crate::format::generations::GenerationTable;
use crate::format::superblock::Superblock;
use crate::format::{Damage, VERSION};
use crate::format::{canary, stamp as stamp_block, tags};
use crate::units::{BLOCK, Generation};

/// Damaged tag pages named one by one, at most.
const NAMED_MAX: usize = 16;

/// Describes the volume at `path`, with its header at `header` if that is detached.
///
/// # Errors
/// The files cannot be read, or neither superblock copy is one.
pub fn info(path: &Path, header: Option<&Path>) -> Result<Info, VolumeError> {
    let in_use = holder(path);
    let data = Bytes::open(path)?;
    let apart = match header {
        Some(path) => Some(Bytes::open(path)?),
        None => None,
    };
    describe(apart.as_ref().unwrap_or(&data), Some(&data), apart.is_some(), in_use)
}

/// Describes a volume from disks: the seam at which a simulated device stands in.
///
/// # Errors
/// Neither superblock copy is one.
pub fn info_disks(data: &dyn Disk, header: Option<&dyn Disk>) -> Result<Info, VolumeError> {
    let bytes = Bytes::of(data);
    let apart = header.map(Bytes::of);
    describe(apart.as_ref().unwrap_or(&bytes), Some(&bytes), apart.is_some(), None)
}

/// Who holds the backing's lock, in words; none if nobody does.
fn holder(path: &Path) -> Option<String> {
    match Backing::open(path, &OpenOptions { read_only: true, cache: CacheMode::Page }) {
        Err(error @ EngineError::InUse { .. }) => Some(error.to_string()),
        _ => None,
    }
}

fn describe(
    header: &Bytes<'_>,
    data: Option<&Bytes<'_>>,
    apart: bool,
    in_use: Option<String>,
) -> Result<Info, VolumeError> {
    let copies = Copies::superblocks(header);
    let found = copies.peek();
    if let Some(damage @ Damage::Newer { .. }) =
        found.iter().find_map(|copy| copy.as_ref().err().filter(|it| is_newer(it)))
    {
        return Err(VolumeError::damaged("the superblock")(damage.clone()));
    }
    let Some(counting) = copies.newest() else { return Err(no_superblock(&found)) };
    let superblock = match &found[counting] {
        Ok(unverified) => Superblock::decode(unverified).map_err(VolumeError::damaged("the superblock"))?,
        Err(damage) => return Err(VolumeError::damaged("the superblock")(damage.clone())),
    };
    let tables = Copies::tables(header, &superblock);
    let table = tables.newest().and_then(|copy| GenerationTable::decode(tables.peek()[copy].as_ref().ok()?).ok());
    // The header of a detached volume, given alone: the data are elsewhere.
    let data = data.filter(|_| apart || !superblock.detached);
    Ok(Info {
        verified: false,
        in_use,
        format_version: VERSION,
        superblocks: copies.states(),
        volume: VolumeInfo::of(&superblock),
        zones: zones(&superblock),
        generation_tables: tables.states(),
        generations: table.iter().flat_map(|table| generations(table, header, &superblock)).collect(),
        rotation: table.as_ref().map(|table| RotationInfo::of(&table.rotation)),
        tag_pages: tag_pages(header, &superblock),
        ring: ring(header, &superblock),
        stamp: stamp(data, &superblock),
    })
}

fn is_newer(damage: &Damage) -> bool {
    matches!(damage, Damage::Newer { .. })
}

fn zones(superblock: &Superblock) -> Vec<ZoneInfo> {
    let zones = &superblock.zones;
    let header = [
        ("generation table", zones.generations),
        ("canaries", zones.canaries),
        ("tag pages", zones.tags),
        ("intent ring", zones.ring),
    ];
    let data = [("data", zones.data), ("epoch stamp", zones.stamp)];
    let zone = |backing, (name, place): (&'static str, crate::format::layout::Place)| ZoneInfo {
        name,
        backing,
        offset: place.offset,
        length: place.length,
    };
    header.into_iter().map(|it| zone("header", it)).chain(data.into_iter().map(|it| zone("data", it))).collect()
}

fn generations(table: &GenerationTable, header: &Bytes<'_>, superblock: &Superblock) -> Vec<GenerationInfo> {
    let canary_state = |slot: u16| {
        let place = superblock.zones.canaries.offset + u64::from(slot) * canary::SLOT;
        let bytes = header.read(place, canary::SLOT);
        CopyInfo::of(&peek(CANARY, &bytes))
    };
    let entries = table.entries.iter();
    entries
        .map(|entry| {
            let has_canary = entry.generation != Generation::METADATA;
            GenerationInfo::of(entry, has_canary.then(|| canary_state(entry.canary_slot)))
        })
        .collect()
}

/// Every copy of every page, by its CRC.
fn tag_pages(header: &Bytes<'_>, superblock: &Superblock) -> TagPagesInfo {
    let mut info = TagPagesInfo { pages: superblock.shape.tag_pages(), ..TagPagesInfo::default() };
    let mut left = u64::from(superblock.shape.extents());
    for index in 0..info.pages {
        let blocks = tag_page_places(superblock, index).map(|place| header.read(place, BLOCK));
        let mut sequences = [None; 2];
        for (copy, bytes) in blocks.iter().enumerate() {
            let state = CopyInfo::of(&tags::peek_page(bytes));
            match state.state {
                "good" => info.good += 1,
                "never written" => info.unwritten += 1,
                _ => {
                    info.damaged += 1;
                    if info.damaged_pages.len() < NAMED_MAX {
                        info.damaged_pages.push(index);
                    }
                }
            }
            sequences[copy] = state.sequence;
        }
        let here = left.min(u64::from(crate::format::layout::TAGS_PER_PAGE));
        left -= here;
        match tags::counting_copy(superblock.checkpoint, sequences) {
            Some(copy) => {
                for tag in tags::peek_tags(&blocks[copy]).into_iter().flatten().take(here as usize) {
                    *info.extents_by_generation.entry(tag.0).or_insert(0) += 1;
                }
            }
            None => info.extents_unknown += here,
        }
    }
    info
}

fn ring(header: &Bytes<'_>, superblock: &Superblock) -> RingInfo {
    let slot_size = u64::from(superblock.slot_size);
    let mut info = RingInfo {
        slots: superblock.ring_slots,
        slot_size: superblock.slot_size,
        tail: superblock.tail,
        ..RingInfo::default()
    };
    let mut live = Vec::new();
    for slot in 0..superblock.ring_slots {
        let bytes = header.read(superblock.zones.ring.offset + u64::from(slot) * slot_size, slot_size);
        let state = CopyInfo::of(&peek(RECORD, &bytes).map(|found| found.sequence));
        match (state.state, state.sequence) {
            (_, Some(sequence)) => {
                info.records += 1;
                info.newest = info.newest.max(Some(sequence));
                if sequence > superblock.tail {
                    live.push(sequence);
                }
            }
            ("never written", _) => info.unwritten += 1,
            _ => info.damaged += 1,
        }
    }
    live.sort_unstable();
    info.live = live.len() as u32;
    info
}

fn stamp(data: Option<&Bytes<'_>>, superblock: &Superblock) -> Option<CopyInfo> {
    let zone = superblock.zones.stamp;
    let data = data.filter(|_| zone.length > 0)?;
    let blocks: Vec<_> = (0..zone.length / BLOCK).map(|copy| data.read(zone.offset + copy * BLOCK, BLOCK)).collect();
    let epochs = blocks.iter().map(|block| peek(STAMP, block).map(|found| found.sequence)).collect();
    Some(CopyInfo::of(&stamp_block::newest(epochs)))
}
