//! Comparing replicas without sending what they hold: digests of the tags, and keyed digests of what clients read.
//!
//! Invariants: content is read through the gates as any read is, so a digest is of what a client would be given then, also in
//! the middle of a rewrite; what cannot be read is said to be so, never guessed at; one call is bounded in what it reads and
//! in what it tells. The key of the content's digests is one that replicas agree on anew each time: without it a digest tells
//! nothing about the content.

use std::ops::Range;

use sha2::{Digest, Sha256};

use crate::crypto::Secret;
use crate::crypto::mac::MacKey;
use crate::limits::PIECE_MAX;
use crate::units::{BLOCK, Extent, Generation};
use crate::volume::gates::ReadGate;
use crate::volume::keyring::GenerationKey;
use crate::volume::{Volume, VolumeError, holes};

/// Bytes whose digests one call gives at most.
pub const DIGEST_BYTES_MAX: u64 = 64 << 20;
/// Digests that one call gives at most.
pub const DIGESTS_MAX: u64 = 1 << 14;

/// The digest of some of the content, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlainDigest {
    /// It.
    Of([u8; 16]),
    /// The generation's key is not in memory: it was withdrawn.
    Closed(Generation),
    /// A record names a key that was not loaded.
    Barred,
    /// The device does not give it.
    Unread(String),
}

fn refused<T>(why: String) -> Result<T, VolumeError> {
    Err(VolumeError::Refused(why))
}

impl Volume {
    /// Digests of what the device's tags are, `per_range` extents each, of the extents `first..first + count`.
    ///
    /// # Errors
    /// There are no such extents, or too many ranges.
    pub fn map_digests(&self, first: Extent, count: u32, per_range: u32) -> Result<Vec<[u8; 32]>, VolumeError> {
        let all = self.tags.len();
        let end = first.0.checked_add(count).filter(|end| *end <= all);
        let Some(end) = end else {
            return refused(format!("there are no extents {first} and {count} on: the volume has {all}"));
        };
        if per_range == 0 || u64::from(count.div_ceil(per_range)) > DIGESTS_MAX {
            return refused(format!("ranges of {per_range} extents are not possible: at most {DIGESTS_MAX} of them"));
        }
        let ranges = (first.0..end).step_by(per_range as usize);
        Ok(ranges.map(|from| self.map_digest(from..from.saturating_add(per_range).min(end))).collect())
    }

    fn map_digest(&self, extents: Range<u32>) -> [u8; 32] {
        let mut digest = Sha256::new();
        for (extent, tag) in extents.clone().zip(self.tags.committed_range(extents.start, extents.end)) {
            digest.update(extent.to_le_bytes());
            digest.update(tag.0.to_le_bytes());
        }
        digest.finalize().into()
    }

    /// Keyed digests of what clients read, `step` bytes each (a power of two from 4096 to the extent's size), of `len` bytes
    /// from byte `offset` on, a multiple of `step`. Holes read as zeros; the last step of a volume may be short.
    ///
    /// # Errors
    /// The range is not within the volume or too large, or the step not possible.
    pub fn plain_digests(
        &self,
        key: &[u8; 32],
        offset: u64,
        len: u64,
        step: u64,
    ) -> Result<Vec<PlainDigest>, VolumeError> {
        let size = self.size();
        let end = offset.checked_add(len).filter(|end| *end <= size);
        let Some(end) = end else {
            return refused(format!("there are no {len} bytes at {offset}: the volume has {size}"));
        };
        if !step.is_power_of_two() || !(BLOCK..=self.extent_size()).contains(&step) || !offset.is_multiple_of(step) {
            let most = self.extent_size();
            return refused(format!(
                "steps of {step} bytes from {offset} on are not possible: a power of two from {BLOCK} to {most}, aligned"
            ));
        }
        if len > DIGEST_BYTES_MAX || len.div_ceil(step) > DIGESTS_MAX {
            return refused(format!(
                "{len} bytes in steps of {step} are too many for one call: at most {DIGEST_BYTES_MAX} bytes in {DIGESTS_MAX} steps"
            ));
        }
        let key = MacKey::new(&Secret::filled(key.len(), |bytes| bytes.copy_from_slice(key)));
        let run = step.max((PIECE_MAX as u64).min(self.extent_size()));
        let mut digests = Vec::with_capacity(len.div_ceil(step) as usize);
        let mut bytes = vec![0; run.min(len) as usize];
        let mut at = offset;
        while at < end {
            // Never beyond an extent: runs are a power of two, too.
            let until = (at / run * run + run).min(end);
            let bytes = &mut bytes[..(until - at) as usize];
            match self.read_plain(at, bytes) {
                Ok(()) => digests.extend((at..until).step_by(step as usize).zip(bytes.chunks(step as usize)).map(
                    |(place, part)| {
                        let tag = key.tag(&[&place.to_le_bytes(), part]);
                        PlainDigest::Of(std::array::from_fn(|index| tag[index]))
                    },
                )),
                Err(why) => digests.extend((at..until).step_by(step as usize).map(|_| why.clone())),
            }
            at = until;
        }
        Ok(digests)
    }

    /// Reads what a client would be given; the range lies in one extent.
    fn read_plain(&self, at: u64, bytes: &mut [u8]) -> Result<(), PlainDigest> {
        let extent = self.extent_of(at);
        match self.gates.begin_read(&self.tags, extent) {
            ReadGate::Barred => Err(PlainDigest::Barred),
            ReadGate::Image(image) => {
                let key = self.keyring.get(image.generation).ok_or(PlainDigest::Closed(image.generation))?;
                image.copy_to(at, bytes);
                self.open_plain(&key, at, bytes)
            }
            ReadGate::Device(generation) => {
                let read = self.read_device(generation, at, bytes);
                self.gates.end_read(extent);
                read
            }
        }
    }

    fn read_device(&self, generation: Generation, at: u64, bytes: &mut [u8]) -> Result<(), PlainDigest> {
        let key = self.keyring.get(generation).ok_or(PlainDigest::Closed(generation))?;
        let read = self.data.read_at(self.data_offset + at, bytes);
        read.map_err(|error| PlainDigest::Unread(error.to_string()))?;
        self.open_plain(&key, at, bytes)
    }

    fn open_plain(&self, key: &GenerationKey, at: u64, bytes: &mut [u8]) -> Result<(), PlainDigest> {
        match holes::decrypt(&key.cipher, at, bytes) && !self.is_whole() {
            true => Err(PlainDigest::Unread("the data backing was truncated".into())),
            false => Ok(()),
        }
    }
}
