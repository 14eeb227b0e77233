//! Pages of a file, mapped to be copied from, whatever becomes of the file.
//!
//! Invariants:
//! - Nobody gets a reference into a mapping: what others may change at any time is only ever copied.
//! - A page that cannot be had (somebody cut the file short; memory failed) raises SIGBUS, which would end the process
//!   and every volume in it. Here it ends the mapping: the handler puts zeros in its place and marks it lost, and
//!   [`Mapping::copy`] looks at the mark *after* it has copied. (libwayland treats its clients' buffers so.)
//! - The handler takes no lock, allocates nothing, and leaves a SIGBUS that is none of ours to whoever had it before.
#![allow(unsafe_code, reason = "memory that others change, and the signal that comes when it is gone")]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering, fence};

use memmap2::{Advice, MmapOptions, MmapRaw};

use super::pages::PAGE;

/// Pages looked for at a time.
pub(super) const LOOK: u64 = u64::BITS as u64;
/// Mappings a process may have at a time.
const PLACES: usize = 256;

/// What the handler may look at whenever it runs; so it is never freed: 24 bytes for each file that was mapped.
struct Region {
    start: usize,
    len: usize,
    lost: AtomicBool,
}

/// The regions that are mapped.
static REGIONS: [AtomicPtr<Region>; PLACES] = [const { AtomicPtr::new(ptr::null_mut()) }; PLACES];

/// Who had SIGBUS before; `None` where it cannot be had.
static BEFORE: OnceLock<Option<libc::sigaction>> = OnceLock::new();

/// The first bytes of a file, mapped.
pub(super) struct Mapping {
    raw: MmapRaw,
    region: &'static Region,
    place: &'static AtomicPtr<Region>,
}

impl Mapping {
    /// Maps the first `len` bytes of `file`, which may end before: what is behind its end cannot be copied.
    pub(super) fn new(file: &File, len: usize) -> io::Result<Mapping> {
        if BEFORE.get_or_init(handle_bus_errors).is_none() {
            return Err(io::Error::other("SIGBUS cannot be handled"));
        }
        let raw = MmapOptions::new().len(len).map_raw_read_only(file)?;
        let _ = raw.advise(Advice::DontDump); // a dump is spared what lies on the backing anyway
        let region =
            Box::into_raw(Box::new(Region { start: raw.as_ptr() as usize, len, lost: AtomicBool::new(false) }));
        let is_free = |place: &&AtomicPtr<Region>| {
            place.compare_exchange(ptr::null_mut(), region, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let place = REGIONS.iter().find(is_free);
        // SAFETY: it comes from a Box and is never freed.
        let region = unsafe { &*region };
        let place = place.ok_or_else(|| io::Error::other("this process has as many mappings as it may"))?;
        Ok(Mapping { raw, region, place })
    }

    /// Fills `data` from byte `offset` of the file. False if that cannot be had: `data` is whatever it is then.
    pub(super) fn copy(&self, offset: u64, data: &mut [u8]) -> bool {
        let fits = |at: &usize| at.checked_add(data.len()).is_some_and(|end| end <= self.region.len);
        let Some(at) = usize::try_from(offset).ok().filter(fits) else { return false };
        if self.region.lost.load(Ordering::Relaxed) {
            return false;
        }
        // SAFETY: the range lies in the mapping, which lives as long as `self` and is readable: where the file is not, the
        // handler puts zeros. `data` is exclusively borrowed and no part of it. Others may change the bytes meanwhile:
        // no reference to them exists, and whoever reads and writes one place at once gets a mixture, as from read(2).
        unsafe { ptr::copy_nonoverlapping(self.raw.as_ptr().add(at), data.as_mut_ptr(), data.len()) };
        fence(Ordering::Acquire); // the mark is looked at after the copy
        !self.region.lost.load(Ordering::Relaxed)
    }

    /// Which of these pages, at most [`LOOK`], are in memory: a bit for each, the first one lowest. A page that is a hole, or
    /// was never written, is not; nor is one of a file this process may not write to. (mincore(2))
    pub(super) fn present(&self, pages: Range<u64>) -> u64 {
        let mut found = [0_u8; LOOK as usize];
        let count = (pages.end - pages.start) as usize;
        assert!(count <= found.len() && pages.end as usize * PAGE <= self.region.len);
        // SAFETY: the pages lie in the mapping; the kernel writes a byte for each, and there is room for all.
        let failed = unsafe {
            let first = self.raw.as_ptr().add(pages.start as usize * PAGE);
            libc::mincore(first.cast_mut().cast(), count * PAGE, found.as_mut_ptr())
        };
        if failed != 0 || self.region.lost.load(Ordering::Relaxed) {
            return 0;
        }
        found.iter().enumerate().fold(0, |bits, (index, page)| bits | u64::from(page & 1) << index)
    }

    /// Enters pages that are in memory into the page table at once, instead of sixteen by sixteen as they are touched.
    pub(super) fn enter(&self, pages: Range<u64>) {
        let len = (pages.end - pages.start) as usize * PAGE;
        let _ = self.raw.advise_range(Advice::PopulateRead, pages.start as usize * PAGE, len);
    }
}

impl Drop for Mapping {
    /// Before it is unmapped the handler forgets it: somebody else may get the addresses.
    fn drop(&mut self) {
        self.place.store(ptr::null_mut(), Ordering::Release);
    }
}

fn handle_bus_errors() -> Option<libc::sigaction> {
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    let mut ours = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: sigaction is integers and pointers, for which zero is valid: no flags, an empty mask. The handler has the
    // signature SA_SIGINFO asks for. The kernel fills `before` where it returns 0.
    unsafe {
        let action = ours.assume_init_mut();
        action.sa_sigaction = on_bus_error as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        (libc::sigaction(libc::SIGBUS, action, before.as_mut_ptr()) == 0).then(|| before.assume_init())
    }
}

/// A page could not be had. Runs on the thread that touched it, which then touches it again.
extern "C" fn on_bus_error(_signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel hands a handler with SA_SIGINFO the siginfo of its signal.
    let address = unsafe { (*info).si_addr() } as usize;
    let region = REGIONS.iter().find_map(|place| {
        // SAFETY: null, or a region, which is never freed.
        let region = unsafe { place.load(Ordering::Acquire).as_ref() }?;
        (address.wrapping_sub(region.start) < region.len).then_some(region)
    });
    if region.is_some_and(give_up) {
        return;
    }
    if let Some(Some(before)) = BEFORE.get() {
        // SAFETY: puts back what the kernel handed out; it gets the signal when the instruction is tried again.
        unsafe { libc::sigaction(libc::SIGBUS, before, ptr::null_mut()) };
    }
}

/// Puts zeros in place of a region; false if that cannot be done.
fn give_up(region: &Region) -> bool {
    region.lost.store(true, Ordering::SeqCst);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
    // SAFETY: the region is a mapping of ours that is in use, since it was just touched; whoever copies from it meanwhile
    // reads zeros and sees the mark afterwards.
    let zeros = unsafe { libc::mmap(region.start as *mut libc::c_void, region.len, libc::PROT_READ, flags, -1, 0) };
    zeros != libc::MAP_FAILED
}

#[cfg(test)]
impl Mapping {
    /// Whether a page of it could not be had.
    pub(super) fn is_lost(&self) -> bool {
        self.region.lost.load(Ordering::Relaxed)
    }
}

/// Reads byte `len` of a file of `len` bytes through a mapping that is none of ours: SIGBUS.
#[cfg(test)]
pub(super) fn touch_behind_the_end(file: &File, len: usize) -> u8 {
    let raw = MmapOptions::new().len(2 * len).map_raw_read_only(file).unwrap();
    // SAFETY: the address lies in the mapping.
    unsafe { raw.as_ptr().add(len).read_volatile() }
}
