//! Pool chunks registered with a ring, so that direct I/O finds their pages pinned already.
//!
//! Invariants: a table entry stands for one chunk serial; serials are never reused, so a buffer of a later chunk cannot
//! be taken for an earlier one's. A chunk that is unmapped stays pinned until its entry is replaced, which only costs
//! memory. Where the lockable-memory limit refuses a chunk, everything goes on unregistered.
#![allow(unsafe_code, reason = "registers memory with the ring")]

use std::io;

use io_uring::Submitter;

use crate::engine::buffer::{Buf, CHUNK};

/// Entries of the table: 1 GiB of buffers.
const ENTRIES: u32 = 512;

/// The chunks registered with one ring.
pub(super) struct Chunks {
    /// Serial + 1 of the chunk in each entry; 0 = none. Empty = no table.
    table: Vec<u64>,
    /// Why no further chunk is registered.
    refused: Option<io::Error>,
}

impl Chunks {
    /// No table.
    pub(super) fn unregistered() -> Chunks {
        Chunks { table: Vec::new(), refused: None }
    }

    /// An empty table in the ring, if it takes one.
    pub(super) fn registered(submitter: &Submitter<'_>) -> io::Result<Chunks> {
        submitter.register_buffers_sparse(ENTRIES)?;
        Ok(Chunks { table: vec![0; ENTRIES as usize], refused: None })
    }

    /// Whether there is a table.
    pub(super) fn is_registered(&self) -> bool {
        !self.table.is_empty()
    }

    /// Why registering stopped, if it did.
    pub(super) fn refused(&self) -> Option<&io::Error> {
        self.refused.as_ref()
    }

    /// The table entry a buffer lies in, registering its chunk when it is seen first.
    pub(super) fn index(&mut self, submitter: &Submitter<'_>, buf: &Buf) -> Option<u16> {
        let (serial, base) = buf.chunk()?;
        let index = (serial % u64::from(ENTRIES)) as u16;
        let entry = self.table.get_mut(usize::from(index))?;
        if *entry == serial + 1 {
            return Some(index);
        }
        // Two live chunks that share an entry must not take turns in it: the newer one keeps it.
        if self.refused.is_some() || *entry > serial + 1 {
            return None;
        }
        let memory = [libc::iovec { iov_base: base.cast(), iov_len: CHUNK }];
        // SAFETY: `base` begins a mapping of CHUNK bytes that `buf` keeps alive during the call. The kernel pins the
        // pages themselves, so a later unmapping cannot make it touch foreign memory; and since the table is searched
        // by serial, no operation uses the entry for any memory but this chunk's.
        match unsafe { submitter.register_buffers_update(u32::from(index), &memory, None) } {
            Ok(()) => {
                *entry = serial + 1;
                Some(index)
            }
            Err(error) => {
                self.refused = Some(error);
                None
            }
        }
    }
}
