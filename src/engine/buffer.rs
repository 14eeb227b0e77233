//! The buffer pool: 4096-aligned buffers of eight powers of two, handed out from lazily mapped chunks under one limit.
//!
//! Invariants: at most the pool's limit is mapped; a buffer goes back to its pool when dropped; taking one either
//! succeeds at once or says `None`, which is back-pressure, not an error. A buffer's first contents are whatever its
//! last user left: the caller writes before it reads.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::arena::{Arena, Block};
use super::faults;
use super::pages::{ORDERS, PAGE};

/// Smallest buffer, bytes; also the alignment of every buffer.
pub const CLASS_MIN: usize = PAGE;
/// Largest buffer, bytes.
pub const CLASS_MAX: usize = PAGE << (ORDERS - 1);
/// Bytes by which a pool grows.
pub const CHUNK: usize = super::arena::CHUNK;

/// Bytes of returned blocks that one class keeps at hand, so that taking the next is a pop.
const AT_HAND: usize = 4 << 20;
/// Chunks that stay mapped when an idle pool is trimmed.
const TRIM_KEEPS: usize = 1;

const _: () = assert!(CLASS_MAX <= CHUNK && CLASS_MAX <= AT_HAND);

/// A shared, bounded supply of buffers. Clones share it.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

/// What a pool holds at one moment, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolUsage {
    /// Handed out as buffers (whole classes).
    pub taken: usize,
    /// Mapped from the system.
    pub mapped: usize,
    /// The most that may be mapped.
    pub limit: usize,
}

struct Shared {
    state: Mutex<State>,
    limit: usize,
}

struct State {
    arena: Arena,
    /// Returned blocks by order, taken from the arena's point of view.
    at_hand: [Vec<Block>; ORDERS],
    taken: usize,
}

impl Pool {
    /// A pool that maps at most `limit` bytes, rounded down to whole chunks of 2 MiB but at least one of them.
    pub fn new(limit: usize) -> Pool {
        let chunks = (limit / CHUNK).max(1);
        let state = State { arena: Arena::new(chunks), at_hand: [const { Vec::new() }; ORDERS], taken: 0 };
        Pool { shared: Arc::new(Shared { state: Mutex::new(state), limit: chunks * CHUNK }) }
    }

    /// A buffer of at least `len` bytes (the next class up), or `None` when the pool is over its budget now.
    /// `None` for more than [`CLASS_MAX`] too: such a length never fits.
    pub fn take(&self, len: usize) -> Option<Buf> {
        if faults::no_buffer() {
            return None;
        }
        let order = order_for(len)?;
        let mut state = self.shared.lock();
        let block = state.take(order)?;
        state.taken += PAGE << order;
        Some(Buf { block: Some(block), pool: Arc::clone(&self.shared) })
    }

    /// What the pool holds now.
    pub fn usage(&self) -> PoolUsage {
        let state = self.shared.lock();
        PoolUsage { taken: state.taken, mapped: state.arena.mapped() * CHUNK, limit: self.shared.limit }
    }

    /// Gives memory back to the system that no buffer uses, but for one chunk; returns how many bytes. For idle times:
    /// chunks registered with a ring stay pinned there until the ring replaces them.
    pub fn trim(&self) -> usize {
        let mut state = self.shared.lock();
        state.put_back_at_hand();
        state.arena.trim(TRIM_KEEPS) * CHUNK
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.usage().fmt(f)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent between any two statements that can panic, so a poisoned lock is still good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, order: usize) -> Option<Block> {
        if let Some(block) = self.at_hand[order].pop() {
            return Some(block);
        }
        if let Some(block) = self.arena.take(order) {
            return Some(block);
        }
        if !self.arena.grow() && !self.put_back_at_hand() {
            return None;
        }
        self.arena.take(order)
    }

    fn give(&mut self, block: Block) {
        let order = block.order();
        self.taken -= PAGE << order;
        if self.at_hand[order].len() << order < AT_HAND / PAGE {
            self.at_hand[order].push(block);
        } else {
            self.arena.give(block);
        }
    }

    /// Returns the blocks at hand to their chunks, where they merge; false if there were none.
    fn put_back_at_hand(&mut self) -> bool {
        let mut any = false;
        for class in &mut self.at_hand {
            for block in class.drain(..) {
                self.arena.give(block);
                any = true;
            }
        }
        any
    }
}

fn order_for(len: usize) -> Option<usize> {
    let class = len.max(CLASS_MIN).checked_next_power_of_two()?;
    (class <= CLASS_MAX).then(|| (class / PAGE).trailing_zeros() as usize)
}

/// A buffer of a [`Pool`]: 4096-aligned, of a power-of-two length from 4 KiB to 1 MiB. Returns to its pool on drop.
pub struct Buf {
    /// `Some` until dropped.
    block: Option<Block>,
    pool: Arc<Shared>,
}

impl Buf {
    /// The whole length of the buffer, bytes: that of its class, not what was asked for.
    pub fn capacity(&self) -> usize {
        self.len()
    }

    /// Where the buffer lives: its chunk's serial number and first byte, for registering the chunk with a ring.
    pub(super) fn chunk(&self) -> Option<(u64, *mut u8)> {
        self.block.as_ref().map(|block| (block.chunk().serial(), block.chunk().base()))
    }
}

impl Deref for Buf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.block.as_ref().map_or(&[], Block::bytes)
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.block.as_mut().map_or(&mut [], Block::bytes_mut)
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.pool.lock().give(block);
        }
    }
}

impl fmt::Debug for Buf {
    /// Shows the length only: the contents may be client data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buf({} bytes)", self.len())
    }
}

#[cfg(test)]
#[path = "tests/buffer.rs"]
mod tests;
