//! Memory for secrets: locked, left out of core dumps and of forked children, wiped when given back.
//!
//! An unprivileged process may lock 8 MiB by default, and a page is the least that can be locked, so small secrets
//! share pages: an arena hands out power-of-two slots from 16 KiB chunks, one size class per chunk.
//!
//! Invariants:
//! - A slot belongs to exactly one [`Region`] from the moment its bit in `used` is set until it is cleared, and is all
//!   zeros while it belongs to none: it is wiped before the bit is cleared.
//! - A chunk stays mapped while one of its slots is in use.
//! - Chunks are excluded from dumps (`MADV_DONTDUMP`) and from children (`MADV_DONTFORK`: a fork that went on using a
//!   key must fault, not read zeros).
//! - What the kernel would not lock is used all the same, and counted in [`unlocked_bytes`] for `status` to tell.

#![allow(unsafe_code, reason = "slots are raw parts of shared locked mappings")]

use std::alloc::{Layout, handle_alloc_error};
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use memmap2::{Advice, MmapMut};
use zeroize::Zeroize;

/// Bytes of a chunk, and so of the least that is ever locked at once.
const CHUNK: usize = 16 << 10;
/// The smallest slot, bytes; a slot is aligned to its size.
const SLOT_MIN: usize = 32;
/// The largest slot, bytes; longer secrets get a mapping of their own.
const SLOT_MAX: usize = 4096;
const CLASSES: usize = (SLOT_MAX / SLOT_MIN).trailing_zeros() as usize + 1;
const BITMAP_WORDS: usize = CHUNK / SLOT_MIN / 64;

const _: () = assert!(SLOT_MIN.is_power_of_two() && SLOT_MAX.is_power_of_two());
const _: () = assert!(CHUNK.is_multiple_of(SLOT_MAX) && (CHUNK / SLOT_MIN).is_multiple_of(64));

static ARENA: Mutex<Arena> = Mutex::new(Arena { chunks: [const { Vec::new() }; CLASSES] });
static UNLOCKED: AtomicUsize = AtomicUsize::new(0);

/// Bytes of secret memory in use now that the kernel refused to lock (`RLIMIT_MEMLOCK`), so that could reach swap.
pub fn unlocked_bytes() -> usize {
    UNLOCKED.load(Ordering::Relaxed)
}

/// A mapping with the right advice, locked if the kernel allows it.
///
/// Its bytes are reached through `base` alone, so that views of different slots never pass through one slice.
struct Pages {
    base: NonNull<u8>,
    len: usize,
    locked: bool,
    _map: MmapMut,
}

// SAFETY: `base` points into `_map`, which is owned here and may move between threads.
unsafe impl Send for Pages {}

impl Pages {
    fn new(len: usize) -> Pages {
        let Ok(mut map) = MmapMut::map_anon(len) else { out_of_memory(len) };
        let Some(base) = NonNull::new(map.as_mut_ptr()) else { out_of_memory(len) };
        // Advice may be unknown to the kernel; the pages serve all the same.
        let _ = map.advise(Advice::DontDump);
        let _ = map.advise(Advice::DontFork);
        let locked = map.lock().is_ok();
        if !locked {
            UNLOCKED.fetch_add(len, Ordering::Relaxed);
        }
        Pages { base, len, locked, _map: map }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if !self.locked {
            UNLOCKED.fetch_sub(self.len, Ordering::Relaxed);
        }
    }
}

fn out_of_memory(len: usize) -> ! {
    handle_alloc_error(Layout::from_size_align(len, 1).unwrap_or(Layout::new::<u8>()))
}

/// Slots of one size class in one mapping.
struct Chunk {
    pages: Pages,
    used: [u64; BITMAP_WORDS],
    free: usize,
}

impl Chunk {
    fn new(slot: usize) -> Chunk {
        Chunk { pages: Pages::new(CHUNK), used: [0; BITMAP_WORDS], free: CHUNK / slot }
    }

    /// Takes a free slot of `slot` bytes; there is one.
    fn take(&mut self, slot: usize) -> NonNull<u8> {
        let count = CHUNK / slot;
        let index = (0..count).find(|i| self.used[i / 64] >> (i % 64) & 1 == 0);
        let Some(index) = index else { unreachable!("a chunk without a free slot was asked for one") };
        self.used[index / 64] |= 1 << (index % 64);
        self.free -= 1;
        // SAFETY: `index < CHUNK / slot`, so the offset lies inside the mapping of CHUNK bytes.
        unsafe { self.pages.base.add(index * slot) }
    }

    fn holds(&self, at: NonNull<u8>) -> bool {
        let first = self.pages.base.addr().get();
        (first..first + self.pages.len).contains(&at.addr().get())
    }

    fn give(&mut self, at: NonNull<u8>, slot: usize) {
        let index = (at.addr().get() - self.pages.base.addr().get()) / slot;
        self.used[index / 64] &= !(1 << (index % 64));
        self.free += 1;
    }
}

/// All chunks, by size class.
struct Arena {
    chunks: [Vec<Chunk>; CLASSES],
}

impl Arena {
    fn lock() -> MutexGuard<'static, Arena> {
        ARENA.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&mut self, slot: usize) -> NonNull<u8> {
        let chunks = &mut self.chunks[class(slot)];
        if let Some(chunk) = chunks.iter_mut().find(|chunk| chunk.free > 0) {
            return chunk.take(slot);
        }
        let mut chunk = Chunk::new(slot);
        let at = chunk.take(slot);
        chunks.push(chunk);
        at
    }

    /// Takes a wiped slot back; unmaps its chunk when it is the last one in it and another chunk has room.
    fn give(&mut self, at: NonNull<u8>, slot: usize) {
        let chunks = &mut self.chunks[class(slot)];
        let Some(index) = chunks.iter().position(|chunk| chunk.holds(at)) else {
            unreachable!("a slot was given back to an arena that never lent it")
        };
        chunks[index].give(at, slot);
        let room_elsewhere = chunks.iter().enumerate().any(|(i, c)| i != index && c.free > 0);
        if chunks[index].free == CHUNK / slot && room_elsewhere {
            chunks.swap_remove(index);
        }
    }
}

fn class(slot: usize) -> usize {
    (slot / SLOT_MIN).trailing_zeros() as usize
}

/// Where the bytes of a region come from.
enum Home {
    /// A slot of the arena, of this many bytes.
    Slot(usize),
    /// A mapping of its own.
    Own(#[expect(dead_code, reason = "held for its drop")] Pages),
}

/// A run of secret memory, zeros when new, with one owner.
pub(super) struct Region {
    at: NonNull<u8>,
    len: usize,
    home: Home,
}

// SAFETY: a region is the only owner of its bytes (arena invariant), which are plain memory of the process; nothing
// about it is tied to a thread, and shared access only reads.
unsafe impl Send for Region {}
// SAFETY: as above; `&Region` gives out `&[u8]` only.
unsafe impl Sync for Region {}

impl Region {
    /// `len` zero bytes, aligned to the next power of two up to 4096.
    pub(super) fn zeroed(len: usize) -> Region {
        if len > SLOT_MAX {
            let pages = Pages::new(len);
            return Region { at: pages.base, len, home: Home::Own(pages) };
        }
        let slot = len.max(SLOT_MIN).next_power_of_two();
        let at = Arena::lock().take(slot);
        Region { at, len, home: Home::Slot(slot) }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: `at` points at `len` initialised bytes of a mapping that outlives `self` (arena invariant, or `home`
        // owns it), and only `self` can hand out a mutable view, which would borrow it mutably.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`; `&mut self` makes this the only view.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }

    /// Forgets the bytes from `len` on, wiping them.
    pub(super) fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.as_mut_slice()[len..].zeroize();
            self.len = len;
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.as_mut_slice().zeroize();
        if let Home::Slot(slot) = self.home {
            Arena::lock().give(self.at, slot);
        }
    }
}

/// A value that lives in locked memory: cipher and MAC states, which hold keys in their own form.
pub(super) struct Locked<T> {
    region: Region,
    value: PhantomData<T>,
}

impl<T> Locked<T> {
    /// Moves `value` into locked memory. What the move leaves on the stack is the caller's to wipe, where it can.
    pub(super) fn new(value: T) -> Locked<T> {
        const { assert!(size_of::<T>() <= SLOT_MAX && align_of::<T>() <= SLOT_MIN) };
        let region = Region::zeroed(size_of::<T>());
        // SAFETY: the region is at least as long as a `T`, aligned to 32 or more (slots are aligned to their size,
        // checked above to suffice), and nobody else refers to it.
        unsafe { region.at.cast::<T>().write(value) };
        Locked { region, value: PhantomData }
    }
}

impl<T> Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `new` wrote a `T` here, which stays until drop, and only shared views are given out.
        unsafe { self.region.at.cast::<T>().as_ref() }
    }
}

impl<T> Drop for Locked<T> {
    fn drop(&mut self) {
        // SAFETY: the value was written by `new` and is dropped once, here; the region is wiped and given back after.
        unsafe { self.region.at.cast::<T>().drop_in_place() };
    }
}

/// Locks memory that someone else allocated and will wipe, and keeps it out of dumps: the pages it lies on.
///
/// Meant for key schedules that AWS-LC puts on the heap. The lock stays with the pages, which the allocator uses again
/// for the next such schedule; what cannot be locked is counted for good.
pub(super) fn lock_in_place(at: NonNull<u8>, len: usize) {
    const PAGE: usize = 4096;
    let first = at.as_ptr().addr() & !(PAGE - 1);
    let end = (at.as_ptr().addr() + len).next_multiple_of(PAGE);
    let pages = at.as_ptr().with_addr(first).cast();
    // SAFETY: mlock and MADV_DONTDUMP change no byte and no permission; the range covers mapped memory of this process
    // (the pages of a live allocation), and an address the kernel does not like gives an error, not harm.
    let locked = unsafe {
        libc::madvise(pages, end - first, libc::MADV_DONTDUMP);
        libc::mlock(pages, end - first) == 0
    };
    if !locked {
        UNLOCKED.fetch_add(len, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_zero_disjoint_and_aligned() {
        for len in [0, 1, 31, 32, 33, 64, 192, 1000, 4096, 4097, 20_000] {
            let mut regions: Vec<Region> = (0..600).map(|_| Region::zeroed(len)).collect();
            for (index, region) in regions.iter_mut().enumerate() {
                assert_eq!(region.as_slice().len(), len);
                assert!(region.as_slice().iter().all(|byte| *byte == 0), "{len}");
                let align = len.max(SLOT_MIN).next_power_of_two().min(SLOT_MAX);
                assert_eq!(region.at.as_ptr().addr() % align, 0, "{len}");
                region.as_mut_slice().fill(index as u8 | 1);
            }
            for (index, region) in regions.iter().enumerate() {
                assert!(region.as_slice().iter().all(|byte| *byte == index as u8 | 1), "{len}");
            }
        }
        // Everything came back wiped: the slots handed out next are zero again.
        for len in [1, 64, 4096] {
            assert!(Region::zeroed(len).as_slice().iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn a_slot_given_back_is_lent_again() {
        let mut chunk = Chunk::new(64);
        let at = chunk.take(64);
        let other = chunk.take(64);
        assert_ne!(at, other);
        assert_eq!(chunk.free, CHUNK / 64 - 2);
        chunk.give(at, 64);
        assert_eq!(chunk.take(64), at);
    }

    #[test]
    fn truncation_wipes_the_tail() {
        let mut region = Region::zeroed(64);
        region.as_mut_slice().fill(7);
        region.truncate(10);
        assert_eq!(region.as_slice(), [7; 10]);
        // SAFETY: the slot is 64 bytes long and still ours; truncation only shortened the view.
        let whole = unsafe { std::slice::from_raw_parts(region.at.as_ptr(), 64) };
        assert!(whole[10..].iter().all(|byte| *byte == 0));
    }

    /// The kernel's own view of the pages: locked, not dumped, not inherited.
    #[test]
    fn the_kernel_knows_how_to_treat_the_pages() {
        for len in [64, 20_000] {
            let region = Region::zeroed(len);
            let at = region.at.addr().get();
            let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let mut inside = false;
            let mut flags = None;
            for line in maps.lines() {
                let first = line.split(' ').next().unwrap();
                if let Some((from, end)) = first.split_once('-') {
                    let parse = |hex| usize::from_str_radix(hex, 16).unwrap();
                    inside = (parse(from)..parse(end)).contains(&at);
                } else if let Some(found) = line.strip_prefix("VmFlags: ")
                    && inside
                {
                    flags = Some(found.split_whitespace().collect::<Vec<_>>());
                }
            }
            let flags = flags.unwrap();
            for flag in ["lo", "dd", "dc"] {
                assert!(flags.contains(&flag), "{flag} is not among {flags:?}");
            }
        }
    }

    #[test]
    fn locked_values_are_dropped_once() {
        let counter = std::rc::Rc::new(());
        let held = Locked::new(counter.clone());
        assert_eq!(std::rc::Rc::strong_count(&held), 2);
        drop(held);
        assert_eq!(std::rc::Rc::strong_count(&counter), 1);
    }
}
