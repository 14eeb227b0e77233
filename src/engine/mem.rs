//! A disk in memory: a test double. It has no descriptor, so engines run all its operations inline through the trait.
//!
//! Blocks never written, or punched, are holes and read as zeros. Nothing survives the value; flushes are counted.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskCaps, InlinePolicy};

const BLOCK: usize = 4096;

/// A disk in memory, for tests.
#[derive(Debug)]
pub struct MemDisk {
    state: Mutex<State>,
    flushes: AtomicU64,
}

#[derive(Debug)]
struct State {
    bytes: Vec<u8>,
    allocated: Vec<bool>,
}

impl MemDisk {
    /// A disk of `len` bytes, all holes.
    pub fn new(len: usize) -> MemDisk {
        let state = State { bytes: vec![0; len], allocated: vec![false; len.div_ceil(BLOCK)] };
        MemDisk { state: Mutex::new(state), flushes: AtomicU64::new(0) }
    }

    /// Flushes so far.
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, offset: u64, end: u64, allocated: bool) -> Option<u64> {
        let state = self.lock();
        let first = offset / BLOCK as u64;
        (first..end.div_ceil(BLOCK as u64))
            .find(|&block| state.allocated.get(block as usize) == Some(&allocated))
            .map(|block| (block * BLOCK as u64).max(offset))
    }
}

impl State {
    fn slice(&mut self, offset: u64, len: u64, past_end: io::ErrorKind) -> io::Result<&mut [u8]> {
        let range = usize::try_from(offset).ok().zip(usize::try_from(len).ok());
        let range = range.and_then(|(start, len)| Some(start..start.checked_add(len)?));
        range.and_then(|range| self.bytes.get_mut(range)).ok_or_else(|| past_end.into())
    }

    fn mark(&mut self, offset: u64, len: u64) {
        let blocks = (offset as usize / BLOCK)..(offset + len).div_ceil(BLOCK as u64) as usize;
        self.allocated[blocks].fill(true);
    }
}

impl Disk for MemDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().bytes.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut state = self.lock();
        state.bytes.resize(len, 0);
        state.allocated.resize(len.div_ceil(BLOCK), false);
        Ok(())
    }

    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let mut state = self.lock();
        data.copy_from_slice(state.slice(offset, data.len() as u64, io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        state.slice(offset, data.len() as u64, io::ErrorKind::StorageFull)?.copy_from_slice(data);
        state.mark(offset, data.len() as u64);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.slice(offset, len, io::ErrorKind::InvalidInput)?.fill(0);
        let blocks = offset.div_ceil(BLOCK as u64) as usize..((offset + len) / BLOCK as u64) as usize;
        if let Some(blocks) = state.allocated.get_mut(blocks) {
            blocks.fill(false);
        }
        Ok(())
    }

    fn zero_range(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.slice(offset, len, io::ErrorKind::StorageFull)?.fill(0);
        state.mark(offset, len);
        Ok(())
    }

    fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<u64>> {
        Ok(self.find(offset, end, true))
    }

    fn next_hole(&self, offset: u64, end: u64) -> io::Result<u64> {
        Ok(self.find(offset, end, false).unwrap_or(end))
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(())
    }

    fn fd(&self) -> Option<RawFd> {
        None
    }

    fn caps(&self) -> DiskCaps {
        DiskCaps {
            align: 1,
            inline: InlinePolicy::Always,
            granule: 4096,
            granule_source: "memory",
            punches: true,
            rotational: false,
            describe: "disk in memory (test double)".to_owned(),
        }
    }
}
