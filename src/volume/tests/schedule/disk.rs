//! A disk whose every block is a step of the schedule, and which knows which version of a block is durable.
//!
//! The model: each write gives its block a new stamp. A flush makes the stamps of the moment it began durable, when it
//! ends. What a failed flush was to cover is lost: no later flush vouches for it, only a later write.

use std::io;
use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::explore::check;
use crate::engine::{Disk, DiskCaps, InlinePolicy};
use crate::sync::schedule;

pub const BLOCK: usize = 4096;

#[derive(Clone, Copy, Default)]
struct Block {
    allocated: bool,
    stamp: u64,
    durable: u64,
    lost: u64,
}

/// See the module's head.
pub struct TurnDisk {
    state: Mutex<State>,
    /// Flushes must not overlap.
    one_flush: bool,
}

struct State {
    bytes: Vec<u8>,
    blocks: Vec<Block>,
    stamp: u64,
    flushing: u32,
    /// Flushes to go until one fails.
    fails_in: Option<u64>,
}

impl TurnDisk {
    /// A disk that holds `bytes`, durably; `one_flush` if nobody may flush it while another one does.
    pub fn new(bytes: Vec<u8>, one_flush: bool) -> TurnDisk {
        let block = |bytes: &[u8]| Block { allocated: bytes.iter().any(|byte| *byte != 0), ..Block::default() };
        let blocks = bytes.chunks(BLOCK).map(block).collect();
        let state = State { bytes, blocks, stamp: 0, flushing: 0, fails_in: None };
        TurnDisk { state: Mutex::new(state), one_flush }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The flush after `count` more fails.
    pub fn fail_flush(&self, count: u64) {
        self.lock().fails_in = Some(count);
    }

    /// The newest version of a block, and the newest one that is durable.
    pub fn stamps(&self, block: usize) -> (u64, u64) {
        let state = self.lock();
        (state.blocks[block].stamp, state.blocks[block].durable)
    }

    fn change(&self, offset: u64, len: usize, durable: bool, f: impl Fn(&mut State, usize, usize)) {
        let mut at = offset as usize;
        let end = at + len;
        while at < end {
            let next = (at / BLOCK * BLOCK + BLOCK).min(end);
            schedule::point();
            let mut state = self.lock();
            state.stamp += 1;
            let stamp = state.stamp;
            f(&mut state, at, next);
            let block = &mut state.blocks[at / BLOCK];
            block.stamp = stamp;
            if durable {
                block.durable = stamp;
            }
            at = next;
        }
    }

    fn write(&self, offset: u64, data: &[u8], durable: bool) {
        self.change(offset, data.len(), durable, |state, at, next| {
            let from = at - offset as usize;
            state.bytes[at..next].copy_from_slice(&data[from..from + next - at]);
            state.blocks[at / BLOCK].allocated = true;
        });
    }

    fn find(&self, offset: u64, end: u64, allocated: bool) -> Option<u64> {
        let state = self.lock();
        let mut blocks = offset as usize / BLOCK..(end as usize).div_ceil(BLOCK);
        let found = blocks.find(|block| state.blocks[*block].allocated == allocated);
        found.map(|block| ((block * BLOCK) as u64).max(offset))
    }
}

impl Disk for TurnDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().bytes.len() as u64)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let mut at = offset as usize;
        let end = at + data.len();
        while at < end {
            let next = (at / BLOCK * BLOCK + BLOCK).min(end);
            schedule::point();
            data[at - offset as usize..next - offset as usize].copy_from_slice(&self.lock().bytes[at..next]);
            at = next;
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write(offset, data, false);
        Ok(())
    }

    fn write_through_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write(offset, data, true);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let covered: Vec<u64> = {
            let mut state = self.lock();
            state.flushing += 1;
            let one = state.flushing == 1 || !self.one_flush;
            let stamps = state.blocks.iter().map(|block| block.stamp).collect();
            drop(state);
            check(one, || "two flushes of the data run at once".into());
            stamps
        };
        schedule::point();
        let mut state = self.lock();
        state.flushing -= 1;
        let fails = state.fails_in == Some(0);
        state.fails_in = state.fails_in.and_then(|left| left.checked_sub(1));
        for (block, stamp) in state.blocks.iter_mut().zip(covered) {
            if fails && block.stamp > block.durable {
                block.lost = block.stamp;
            } else if !fails && stamp > block.lost {
                block.durable = block.durable.max(stamp);
            }
        }
        if fails { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.change(offset, len as usize, false, |state, at, next| {
            state.bytes[at..next].fill(0);
            state.blocks[at / BLOCK].allocated &= next - at < BLOCK;
        });
        Ok(())
    }

    fn zero_range(&self, offset: u64, len: u64) -> io::Result<()> {
        self.change(offset, len as usize, false, |state, at, next| {
            state.bytes[at..next].fill(0);
            state.blocks[at / BLOCK].allocated = true;
        });
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
            describe: "scheduled disk".to_owned(),
        }
    }
}
