//! Opening the model's volume after a crash: what the product's `open` and `recover` do, on the model's device.
//!
//! Invariant: which page counts, which records are live, what they mean, what a granule holds and what is converted are
//! decided by the product's own functions: [`PageState::found`], [`live_records`], [`replay`], [`classify`], [`rules`],
//! [`outcome`]. The order of writes and flushes is that of `recover`.

use super::books::{Books, Tags};
use super::content::{CELL_BYTES, Cell, Content, GARBLED, Superblock};
use super::device::{Backing, Device};
use super::setting::Lie;
use super::state::World;
use crate::format::intents::Image;
use crate::units::{Extent, Generation};
use crate::volume::checkpoint::{Copies, PageState};
use crate::volume::log::IntentLog;
use crate::volume::recover::outcome;
use crate::volume::replay::{LiveIntent, Replay, Side, SlotContent, classify, expected, live_records, replay};
use crate::volume::rules;

/// No write of a client is under way: there is no client yet.
fn nothing(_: usize) -> bool {
    false
}

/// Recovers `device`. `seen` is shown the device after every step at which a crash may leave something new.
pub fn recover(
    world: &mut World,
    mut device: Device,
    seen: &mut dyn FnMut(&'static str, &Device),
) -> Result<Books, String> {
    if rules::flushes_before_recovery(false) {
        device.flush(&world.layout, Backing::Header, nothing);
        device.flush(&world.layout, Backing::Data, nothing);
    }
    let (mut books, found) = open(world, device)?;
    for (extent, generation) in &found.tags {
        settle_tag(world, &mut books, Extent(*extent), *generation);
    }
    for live in &found.live {
        roll_forward(world, &mut books.device, live);
        seen("an extent was rolled forward", &books.device);
    }
    if found.last == books.superblock.tail {
        return Ok(books);
    }
    if rules::flushes_recovered() {
        books.device.flush(&world.layout, Backing::Data, nothing);
    }
    for live in &found.live {
        settle_tag(world, &mut books, live.intent.extent, outcome(live));
    }
    let checkpoint = books.begin_checkpoint(world, nothing);
    seen("the tag pages were written", &books.device);
    books.flush_header(world, nothing);
    books.name_checkpoint(world, &checkpoint, nothing);
    seen("the superblock was written", &books.device);
    books.flush_header(world, nothing);
    books.end_checkpoint(&checkpoint);
    seen("the superblock was flushed", &books.device);
    Ok(books)
}

fn settle_tag(world: &World, books: &mut Books, extent: Extent, generation: Generation) {
    books.tags.step(|table| {
        if table.current(extent) != generation {
            table.set_current(extent, generation);
        }
        table.commit(extent);
    });
    books.touch(world, extent);
}

/// Reads and holds everything against everything; writes nothing.
fn open(world: &World, device: Device) -> Result<(Books, Replay), String> {
    let content = |place: usize| world.library.get(device.visible(place));
    let layout = &world.layout;
    let superblocks = [0, 1].map(|copy| match content(layout.superblock(copy)) {
        Content::Superblock(superblock) => Some(superblock),
        _ => None,
    });
    let newest = superblocks.into_iter().flatten().max_by_key(|superblock| superblock.sequence);
    let superblock: Superblock = newest.ok_or("open refuses: both superblocks are torn")?.clone();
    let mut pages = Vec::new();
    let mut tags = Vec::new();
    let mut newest = superblock.checkpoint;
    for page in 0..layout.pages {
        let copies = [0, 1].map(|copy| match content(layout.page(page, copy)) {
            Content::Page { sequence, tags } => Some((*sequence, tags)),
            _ => None,
        });
        let sequences = copies.map(|copy| copy.map(|(sequence, _)| sequence));
        newest = sequences.iter().flatten().fold(newest, |newest, sequence| newest.max(*sequence));
        let state = PageState::found(superblock.checkpoint, sequences)
            .ok_or_else(|| format!("open refuses: no copy of tag page {page} counts at {}", superblock.checkpoint))?;
        tags.extend(copies[state.copy as usize].into_iter().flat_map(|(_, tags)| tags.iter().copied()));
        pages.push(state);
    }
    if pages.iter().map(|page| page.sequence).ne(superblock.pages.iter().copied()) {
        return Err("open refuses: the tag pages are not those the superblock's digest names".into());
    }
    let slots: Vec<SlotContent> = (0..layout.slots)
        .map(|slot| match content(layout.slot(slot)) {
            Content::Record(record) => SlotContent::Valid(record.clone()),
            _ => SlotContent::Invalid,
        })
        .collect();
    let tail = superblock.tail;
    let refusal = |error| format!("open refuses: {error}");
    let records = live_records(&slots, tail).map_err(refusal)?;
    let found = replay(&records, tail, |extent| tags[extent.0 as usize]).map_err(refusal)?;
    let books = Books {
        log: IntentLog::with_stuck(layout.slots as u32, tail, found.last, &[]),
        copies: Copies::new(superblock.sequence, pages, newest),
        tags: Tags::new(tags),
        superblock,
        device,
    };
    Ok((books, found))
}

/// Brings the extent of a live intent where [`outcome`] says; writes all of it if any of it changes.
fn roll_forward(world: &mut World, device: &mut Device, live: &LiveIntent) {
    let setting = world.setting;
    let extent = live.intent.extent.0 as usize;
    let mut cells: Vec<Cell> = Vec::new();
    let mut changed = false;
    for (index, granule) in setting.granules_of(extent).enumerate() {
        let held: Vec<Cell> = setting.cells_of(granule).map(|cell| world.cell(device, cell)).collect();
        match &live.intent.image {
            Image::Ciphertext(bytes) => {
                let from = index * setting.cells;
                let journalled = bytes.chunks(CELL_BYTES).skip(from).take(setting.cells);
                cells.extend(journalled.map(Cell::from_journal));
                changed = true;
            }
            Image::Fingerprints(_) => {
                let side = side_of(world, device, live, index, granule);
                cells.extend(converted(&held, side, live));
                changed |= side == rules::converts();
            }
        }
    }
    if changed {
        let first = setting.granules_of(extent).start * setting.cells;
        for (step, cell) in cells.into_iter().enumerate() {
            let id = world.library.cell_number(cell);
            device.write(first + step, id);
        }
    }
}

fn side_of(world: &World, device: &Device, live: &LiveIntent, index: usize, granule: usize) -> Side {
    let bytes = world.granule(device, granule);
    let side = expected(&live.intent, index).map_or(Side::New, |print| classify(&world.prints, print, &bytes));
    match (world.setting.lie, side) {
        (Some(Lie::FingerprintsOfNew), Side::Old) => Side::New,
        (Some(Lie::FingerprintsOfNew), Side::New) => Side::Old,
        _ => side,
    }
}

/// A granule after recovery has decrypted it under the key its side names and encrypted it under the other. If the side is
/// wrong the text is gone.
fn converted(held: &[Cell], side: Side, live: &LiveIntent) -> Vec<Cell> {
    let believed = if side == Side::Old { live.intent.old } else { live.intent.new };
    let convert = |cell: &Cell| match cell.generation {
        Some(under) if side == rules::converts() && under == believed => cell.under(outcome(live)),
        Some(_) if side == rules::converts() => Cell { generation: Some(outcome(live)), version: GARBLED },
        _ => *cell,
    };
    held.iter().map(convert).collect()
}
