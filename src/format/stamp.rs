//! The epoch stamp at the end of the data backing.
//!
//! Durable before a rotation's first intent, so that a header from before that rotation, attached or detached, is
//! noticed when it is opened with this data. Invariant: the stamp's epoch is the superblock's, or one less if a
//! crash fell between the two writes (the header is always written first).

use super::Damage;
use super::codec::{Reader, Writer};
use super::envelope::{STAMP, Seal};
use crate::units::BLOCK;

/// Seals a stamp for `epoch` into one block.
pub fn seal(seal: &Seal, epoch: u64) -> Vec<u8> {
    let mut out = Writer::new();
    out.u64(epoch);
    let mut block = seal.seal(STAMP, 0, epoch, &out.bytes);
    block.resize(BLOCK as usize, 0);
    block
}

/// Opens a stamp: its epoch.
pub fn open(seal: &Seal, bytes: &[u8]) -> Result<u64, Damage> {
    let (_, body) = seal.open(STAMP, 0, bytes)?;
    Reader::new(STAMP.name, body).u64("epoch")
}
