//! The new ciphertext of one extent: written in place by the rotation, and read by clients while it is.
//!
//! Invariants: `parts` cover the extent's data runs, ascending and apart; everything between them is a hole. Once
//! built, an image is never changed.

use std::ops::Range;
use std::sync::Arc;

use crate::engine::Buf;
use crate::units::{Extent, Generation};

/// One run of data.
#[derive(Clone)]
pub struct Part {
    /// Byte offset in the volume.
    pub offset: u64,
    /// The bytes, from the start of the buffer.
    pub len: usize,
    /// The buffer.
    pub buf: Arc<Buf>,
}

impl Part {
    /// Where it stands in the volume.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.len as u64
    }
}

/// The new ciphertext of one extent.
pub struct Image {
    /// Which extent.
    pub extent: Extent,
    /// What it is encrypted under.
    pub generation: Generation,
    /// Its data runs.
    pub parts: Vec<Part>,
}

impl Image {
    /// Copies the ciphertext of the volume's bytes from `offset` on into `into`; holes are zeros.
    pub fn copy_to(&self, offset: u64, into: &mut [u8]) {
        into.fill(0);
        let wanted = offset..offset + into.len() as u64;
        for part in &self.parts {
            let range = part.range();
            let (first, end) = (range.start.max(wanted.start), range.end.min(wanted.end));
            if first < end {
                let from = (first - range.start) as usize..(end - range.start) as usize;
                let to = (first - wanted.start) as usize..(end - wanted.start) as usize;
                into[to].copy_from_slice(&part.buf[from]);
            }
        }
    }

    /// Bytes of data.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.len as u64).sum()
    }
}
