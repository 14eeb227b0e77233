//! Tag pages at open: both copies of each, exactly those the superblock's digest names, and what their tags may say.
//!
//! A volume of 15 TiB has 64 MiB of tags to read and authenticate, most of what its opening takes: threads share the
//! work, run by run of pages, and each puts the tags where they stay. Invariants: what is found, and the fault that is
//! named, do not depend on the number of threads; a table of one run is read by the caller alone, in order. What lies
//! before a copy's first data is not read: it reads as zeros, and as zeros it is judged.

use std::collections::BTreeMap;
use std::iter::repeat_with;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use super::{MetadataKeys, read_or_empty};
use crate::engine::Disk;
use crate::format::generations::{GenerationTable, KeyState};
use crate::format::layout::TAGS_PER_PAGE;
use crate::format::superblock::Superblock;
use crate::format::tags::{PageView, digest, view_page};
use crate::format::{Damage, Seal};
use crate::sync::{AtomicU32, Mutex};
use crate::units::{BLOCK, Extent, Generation};
use crate::volume::checkpoint::PageState;
use crate::volume::error::VolumeError;
use crate::volume::info::tag_page_places;
use crate::volume::rules;
use crate::volume::tags::{Census, room};

/// Pages of a run: what one thread reads at a time, of each copy.
const RUN: usize = 256;
/// Bytes of a page.
const PAGE: usize = BLOCK as usize;
/// Threads that read at most.
const THREADS_MAX: usize = 4;

/// A page that was never written.
const ZEROS: [u8; PAGE] = [0; PAGE];

/// What all pages say.
pub(super) struct TagPages {
    /// Every page.
    pub pages: Vec<PageState>,
    /// The newest sequence on any copy of any page.
    pub newest: u64,
    /// Tags of all extents, as of the checkpoint; behind them room for more.
    pub tags: Box<[AtomicU32]>,
    /// How many extents carry each.
    pub census: Census,
}

/// Reads both copies of every tag page and takes exactly those the superblock's digest names.
pub(super) fn read_tags(
    keys: &MetadataKeys,
    superblock: &Superblock,
    header: &dyn Disk,
) -> Result<TagPages, VolumeError> {
    let mut pages = vec![PageState { sequence: 0, copy: 0, dirty: false }; superblock.shape.tag_pages() as usize];
    // Zeros that the system hands out when they are first written: by the thread that does. There is room to grow into.
    let (extents, extents_max) = (superblock.shape.extents(), superblock.shape.extents_max());
    let mut tags = room(extents_max, extents);
    let reader = Reader { seal: &keys.seal, superblock, header, data: first_data(superblock, header) };
    let found = reader.read_all(&mut pages, &mut tags[..extents as usize])?;
    if digest(&keys.digest, pages.iter().map(|page| page.sequence)) != superblock.tag_digest {
        let suspects = match found.suspects.as_slice() {
            [] => String::new(),
            some => format!(" (unreadable copies at pages {some:?})"),
        };
        return Err(VolumeError::TagDigest { checkpoint: superblock.checkpoint, suspects });
    }
    Ok(TagPages { pages, newest: found.newest.max(superblock.checkpoint), tags, census: found.census })
}

/// A run of pages and where its findings go.
struct Run<'a> {
    first: u32,
    pages: &'a mut [PageState],
    /// Of its extents; none behind the last one.
    tags: &'a mut [AtomicU32],
}

/// What a thread's runs say together.
#[derive(Default)]
struct Findings {
    newest: u64,
    census: Census,
    /// Pages with a copy that cannot be read.
    suspects: Vec<u32>,
    /// The first run at fault, if one is.
    fault: Option<(u32, VolumeError)>,
}

impl Findings {
    fn merge(mut self, other: Findings) -> Findings {
        self.newest = self.newest.max(other.newest);
        for (generation, count) in other.census {
            *self.census.entry(generation).or_insert(0) += count;
        }
        self.suspects.extend(other.suspects);
        self.fault = self.fault.into_iter().chain(other.fault).min_by_key(|(run, _)| *run);
        self
    }
}

struct Reader<'a> {
    seal: &'a Seal,
    superblock: &'a Superblock,
    header: &'a dyn Disk,
    /// See [`first_data`].
    data: [u64; 2],
}

/// Where the data of each copy of the pages begins. Asked once: asked for each run, tmpfs walks what is allocated and was never
/// written page by page, each time to its end.
fn first_data(superblock: &Superblock, header: &dyn Disk) -> [u64; 2] {
    let [starts, ends] = [0, superblock.shape.tag_pages()].map(|page| tag_page_places(superblock, page));
    // What cannot be asked is read.
    [0, 1].map(|copy| header.next_data(starts[copy], ends[copy]).map_or(0, |first| first.unwrap_or(ends[copy])))
}

impl Reader<'_> {
    fn read_all(&self, pages: &mut [PageState], tags: &mut [AtomicU32]) -> Result<Findings, VolumeError> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let threads = threads.min(THREADS_MAX).min(pages.len().div_ceil(RUN));
        let run_bytes = pages.len().min(RUN) * PAGE;
        let tags = tags.chunks_mut(RUN * TAGS_PER_PAGE as usize).chain(repeat_with(Default::default));
        let runs = (0u32..).step_by(RUN).zip(pages.chunks_mut(RUN)).zip(tags);
        let runs = Mutex::new(runs.map(|((first, pages), tags)| Run { first, pages, tags }));
        let next = || runs.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || self.read_runs(run_bytes, next);
        let mut found = thread::scope(|scope| {
            // Without a thread the others do its part.
            let spawn = |_| thread::Builder::new().name("km-open".into()).spawn_scoped(scope, work).ok();
            let others: Vec<_> = (1..threads).filter_map(spawn).collect();
            let own = work();
            others.into_iter().fold(own, |found, other| match other.join() {
                Ok(other) => found.merge(other),
                Err(panic) => std::panic::resume_unwind(panic),
            })
        });
        found.suspects.sort_unstable();
        match found.fault {
            Some((_, error)) => Err(error),
            None => Ok(found),
        }
    }

    /// Takes run after run. Runs are handed out in order, so one before a faulty one is read to its end by somebody.
    fn read_runs<'r>(&self, run_bytes: usize, next: impl Fn() -> Option<Run<'r>>) -> Findings {
        let mut found = Findings::default();
        // Aligned, so that direct I/O needs no buffer of its own, which threads would wait for.
        let mut memory = vec![0; 2 * run_bytes + PAGE];
        let aligned = memory.as_ptr().align_offset(PAGE);
        let (a, b) = memory[aligned..].split_at_mut(run_bytes);
        while let Some(run) = next() {
            let first = run.first;
            if let Err(error) = self.read_run(run, [&mut *a, &mut *b], &mut found) {
                found.fault = Some((first, error));
                break;
            }
        }
        found
    }

    fn read_run(&self, run: Run<'_>, buffers: [&mut [u8]; 2], found: &mut Findings) -> Result<(), VolumeError> {
        let [a, b] = buffers;
        let copies = [self.read_copy(0, &run, a), self.read_copy(1, &run, b)];
        let tags = run.tags.chunks_mut(TAGS_PER_PAGE as usize).chain(repeat_with(Default::default));
        for ((slot, state), tags) in run.pages.iter_mut().enumerate().zip(tags) {
            let index = run.first + slot as u32;
            let copies = copies.each_ref().map(|copy| view_page(self.seal, index, copy.page(slot)));
            let page;
            (*state, page) = self.judge(index, copies, found)?;
            for (place, tag) in tags.iter_mut().zip(page.tags()) {
                *place.get_mut() = tag.0;
            }
            count(tags, &mut found.census);
        }
        Ok(())
    }

    fn read_copy<'a>(&self, copy: usize, run: &Run<'_>, buffer: &'a mut [u8]) -> Pages<'a> {
        let place = tag_page_places(self.superblock, run.first)[copy];
        let count = run.pages.len();
        match place + count as u64 * BLOCK <= self.data[copy] {
            true => Pages::Hole,
            false => Pages::read(self.header, place, count, buffer),
        }
    }

    /// Which copy counts.
    fn judge<'a>(
        &self,
        index: u32,
        copies: [Result<PageView<'a>, Damage>; 2],
        found: &mut Findings,
    ) -> Result<(PageState, PageView<'a>), VolumeError> {
        let sequences = copies.each_ref().map(|page| page.as_ref().ok().map(|page| page.sequence));
        found.newest = sequences.iter().flatten().fold(found.newest, |newest, sequence| newest.max(*sequence));
        let state = PageState::found(self.superblock.checkpoint, sequences);
        let [a, b] = copies;
        let Some(state) = state else {
            let damage = a.err().or(b.err()).unwrap_or(Damage::Crc { what: "tag page" });
            return Err(VolumeError::damaged(format!("tag page {index} (both copies)"))(damage));
        };
        let rotten = |page: &Result<_, Damage>| matches!(page, Err(damage) if !matches!(damage, Damage::Zero { .. }));
        if rotten(&a) || rotten(&b) {
            found.suspects.push(index);
        }
        let page = if state.copy == 0 { a } else { b };
        let page = page.map_err(|damage| VolumeError::damaged(format!("tag page {index}"))(damage))?;
        Ok((state, page))
    }
}

/// Adds a page's tags to the census, run by run. Most pages have one tag throughout, which vector instructions find out.
fn count(tags: &mut [AtomicU32], census: &mut Census) {
    let mut add = |tag, count| *census.entry(Generation(tag)).or_insert(0) += count;
    let Some(first) = tags.first_mut().map(|tag| *tag.get_mut()) else { return };
    if tags.iter_mut().fold(0, |differing, tag| differing | (*tag.get_mut() ^ first)) == 0 {
        return add(first, tags.len() as u64);
    }
    let mut run = (first, 0);
    for tag in tags.iter_mut().map(|tag| *tag.get_mut()) {
        if tag != run.0 {
            add(run.0, run.1);
            run = (tag, 0);
        }
        run.1 += 1;
    }
    add(run.0, run.1);
}

/// A run of one copy: not there to be read, read at once, or page by page where the device does not give all of it.
enum Pages<'a> {
    Hole,
    All(&'a [u8]),
    Each(Vec<Vec<u8>>),
}

impl<'a> Pages<'a> {
    /// One unreadable page, as a power cut may leave it, must not hide its neighbours.
    fn read(header: &dyn Disk, place: u64, count: usize, buffer: &'a mut [u8]) -> Pages<'a> {
        let all = &mut buffer[..count * PAGE];
        if header.read_at(place, all).is_ok() {
            return Pages::All(all);
        }
        Pages::Each((0..count as u64).map(|index| read_or_empty(header, place + index * BLOCK, BLOCK)).collect())
    }

    /// A page's bytes; empty if it cannot be read.
    fn page(&self, slot: usize) -> &[u8] {
        match self {
            Pages::Hole => &ZEROS,
            Pages::All(bytes) => bytes.as_chunks::<PAGE>().0.get(slot).map_or(&[], |page| page),
            Pages::Each(pages) => pages.get(slot).map(Vec::as_slice).unwrap_or_default(),
        }
    }
}

/// Every tag must name a generation that encrypts or has encrypted extents and still may.
pub(super) fn check_tags(table: &GenerationTable, found: &TagPages) -> Result<(), VolumeError> {
    let faults: BTreeMap<u32, Fault> =
        found.census.keys().filter_map(|tag| Some((tag.0, fault_of(table, *tag)?))).collect();
    if faults.is_empty() {
        return Ok(());
    }
    for (extent, tag) in (0u32..).zip(&found.tags) {
        let (extent, generation) = (Extent(extent), Generation(tag.load(Relaxed)));
        match faults.get(&generation.0) {
            Some(Fault::Unknown) => return Err(VolumeError::UnknownTag { extent, generation }),
            Some(Fault::State(state)) => return Err(VolumeError::TagState { extent, generation, state: state.name() }),
            None => {}
        }
    }
    Ok(())
}

/// What is wrong with a tag.
enum Fault {
    Unknown,
    State(KeyState),
}

fn fault_of(table: &GenerationTable, tag: Generation) -> Option<Fault> {
    match table.entry(tag).filter(|entry| entry.generation != Generation::METADATA) {
        None => Some(Fault::Unknown),
        Some(entry) => (!may_be_tagged(entry.state)).then_some(Fault::State(entry.state)),
    }
}

/// Whether extents may carry a generation in this state.
fn may_be_tagged(state: KeyState) -> bool {
    state.may_be_tagged() && (state != KeyState::Revoked || rules::accepts_revoked_tags())
}
