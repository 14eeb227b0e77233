//! Memory of the buffer pool: 2 MiB chunks of anonymous memory, cut into blocks that own their bytes.
//!
//! Invariants: live blocks of one chunk never overlap ([`Pages`] hands a run out once); a block keeps its chunk mapped;
//! a chunk's serial number is never used twice in a process, so whoever remembers a chunk by its serial (registered
//! ring buffers) cannot mistake a later mapping for it.
#![allow(unsafe_code, reason = "blocks hand out slices of a shared mapping")]

use std::io;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Advice, MmapMut};

use super::pages::{PAGE, PAGES, Pages};

/// Bytes of one chunk: one huge page.
pub(super) const CHUNK: usize = PAGE * PAGES;

static SERIALS: AtomicU64 = AtomicU64::new(0);

/// One mapped chunk.
pub(super) struct Chunk {
    base: NonNull<u8>,
    serial: u64,
    _map: MmapMut,
}

// SAFETY: `base` points into the mapping this value owns; the chunk itself never reads or writes through it, only
// blocks do, each within its own exclusive run of pages.
unsafe impl Send for Chunk {}
// SAFETY: as above: a shared chunk gives out only its address and its serial.
unsafe impl Sync for Chunk {}

impl Chunk {
    fn map() -> io::Result<Chunk> {
        let mut map = MmapMut::map_anon(CHUNK)?;
        let mut skip = map.as_ptr().align_offset(CHUNK);
        if skip != 0 {
            // Kernels before 6.7 do not align large anonymous mappings. Address space is free: map twice the size.
            map = MmapMut::map_anon(2 * CHUNK)?;
            skip = map.as_ptr().align_offset(CHUNK);
        }
        // Both only advice: without huge pages it is slower; a core dump of buffers would show client data.
        let _ = map.advise(Advice::HugePage);
        let _ = map.advise(Advice::DontDump);
        // SAFETY: `skip` < CHUNK when the mapping is twice that and 0 otherwise, so the address lies in the mapping
        // with CHUNK bytes after it, and is not null.
        let base = unsafe { NonNull::new_unchecked(map.as_mut_ptr().add(skip)) };
        Ok(Chunk { base, serial: SERIALS.fetch_add(1, Ordering::Relaxed), _map: map })
    }

    /// The chunk's number, unique in this process.
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    /// The chunk's first byte; [`CHUNK`] bytes follow.
    pub(super) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }
}

/// An exclusive run of pages of a chunk. Dropping it without [`Arena::give`] leaks the pages, not the memory.
pub(super) struct Block {
    start: NonNull<u8>,
    chunk: Arc<Chunk>,
    place: u32,
    page: u16,
    order: u16,
}

// SAFETY: a block is the only owner of its bytes, like a Box<[u8]>.
unsafe impl Send for Block {}
// SAFETY: a shared block gives out only `&[u8]`.
unsafe impl Sync for Block {}

impl Block {
    /// log2 of the length in pages.
    pub(super) fn order(&self) -> usize {
        usize::from(self.order)
    }

    /// The chunk the bytes are in.
    pub(super) fn chunk(&self) -> &Chunk {
        &self.chunk
    }

    /// The block's bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: `start` and the run's length lie within the mapping that `chunk` keeps alive; it was zeroed by the
        // kernel, so it is initialised; no other block overlaps it and `&self` excludes `bytes_mut`.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), PAGE << self.order) }
    }

    /// The block's bytes, to be written.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `&mut self` on the only owner of the run makes the slice exclusive.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), PAGE << self.order) }
    }
}

struct Place {
    chunk: Arc<Chunk>,
    pages: Pages,
}

/// The chunks of one pool.
pub(super) struct Arena {
    places: Vec<Option<Place>>,
    /// How many chunks may be mapped.
    limit: usize,
    /// Where the last block was found: the search begins there.
    hint: usize,
}

impl Arena {
    /// An arena that maps at most `limit` chunks.
    pub(super) fn new(limit: usize) -> Arena {
        Arena { places: Vec::new(), limit, hint: 0 }
    }

    /// Chunks mapped now.
    pub(super) fn mapped(&self) -> usize {
        self.places.iter().flatten().count()
    }

    /// Takes a block of `PAGE << order` bytes from the chunks that are mapped.
    pub(super) fn take(&mut self, order: usize) -> Option<Block> {
        let (count, hint) = (self.places.len(), self.hint);
        (0..count).map(|step| (hint + step) % count).find_map(|index| self.take_from(index, order))
    }

    fn take_from(&mut self, index: usize, order: usize) -> Option<Block> {
        let place = self.places.get_mut(index)?.as_mut()?;
        let page = place.pages.take(order)?;
        self.hint = index;
        // SAFETY: `page` + the run's length is at most PAGES, so the address stays within the chunk's CHUNK bytes.
        let start = unsafe { place.chunk.base.add(page * PAGE) };
        // No truncation: index < limit, page < PAGES = 512, order < 9.
        Some(Block {
            start,
            chunk: Arc::clone(&place.chunk),
            place: index as u32,
            page: page as u16,
            order: order as u16,
        })
    }

    /// Maps one more chunk; false if the limit or the system forbids it.
    pub(super) fn grow(&mut self) -> bool {
        if self.mapped() >= self.limit {
            return false;
        }
        let Ok(chunk) = Chunk::map() else {
            return false;
        };
        let place = Some(Place { chunk: Arc::new(chunk), pages: Pages::new() });
        self.hint = self.places.iter().position(Option::is_none).unwrap_or(self.places.len());
        match self.places.get_mut(self.hint) {
            Some(slot) => *slot = place,
            None => self.places.push(place),
        }
        true
    }

    /// Takes a block back.
    ///
    /// # Panics
    /// If the block is of another arena.
    pub(super) fn give(&mut self, block: Block) {
        let place = self.places.get_mut(block.place as usize).and_then(Option::as_mut);
        match place {
            Some(place) if Arc::ptr_eq(&place.chunk, &block.chunk) => {
                place.pages.give(usize::from(block.page), block.order())
            }
            _ => panic!("a block came back to an arena it is not of"),
        }
    }

    /// Unmaps the chunks of which nothing is taken, but for `keep` of them; returns how many went.
    pub(super) fn trim(&mut self, keep: usize) -> usize {
        let mut kept = 0;
        let mut gone = 0;
        for slot in &mut self.places {
            if slot.as_ref().is_some_and(|place| place.pages.all_free()) {
                if kept < keep {
                    kept += 1;
                } else {
                    *slot = None;
                    gone += 1;
                }
            }
        }
        gone
    }
}
