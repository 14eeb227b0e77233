//! Step 2 of the pipeline for one extent: its data runs are read, fingerprinted, decrypted and encrypted.
//!
//! Invariant: fingerprints are of the ciphertext as read, before anything is changed, one per granule of the whole
//! extent, holes included; the image holds data runs only, so rotation preserves thinness.

use std::ops::Range;
use std::sync::Arc;

use super::Volume;
use super::error::VolumeError;
use super::holes;
use super::image::{Image, Part};
use super::keyring::GenerationKey;
use super::pipeline::Member;
use crate::crypto::fingerprint::Fingerprinter;
use crate::engine::Buf;
use crate::format::intents::{Image as IntentImage, Intent};
use crate::format::layout::WriteMode;
use crate::units::{BLOCK, Extent, Generation, align_down, align_up};

/// Digest of an extent's plaintext, held in memory only. A sum over its blocks, each mixed with its place, so that
/// parts may be added in whatever order their reads complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// Adds plaintext that begins at byte `offset` of the volume, a multiple of [`BLOCK`].
    pub fn add(&mut self, prints: &Fingerprinter, offset: u64, plaintext: &[u8]) {
        let mut place = offset;
        for block in plaintext.chunks(BLOCK as usize) {
            let mixed = prints.one(block).rotate_left(23) ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.0 = self.0.wrapping_add(mixed.wrapping_mul(0xff51_afd7_ed55_8ccd));
            place += BLOCK;
        }
    }
}

/// One extent on its way. It is held.
pub struct Rewrite {
    volume: Arc<Volume>,
    extent: Extent,
    old: Arc<GenerationKey>,
    new: Arc<GenerationKey>,
    prints: Vec<u64>,
    digest: Option<Digest>,
    parts: Vec<Part>,
}

impl Rewrite {
    /// `extent` towards `target`; `digest` says whether it will be read back.
    pub fn new(volume: &Arc<Volume>, extent: Extent, target: Generation, digest: bool) -> Result<Rewrite, VolumeError> {
        let keys = &volume.keyring;
        let (old, new) = (keys.loaded(volume.tags.current(extent))?, keys.loaded(target)?);
        let granule = volume.shape().granule;
        let (first, end) = volume.shape().extent_range(extent.0);
        let prints = match volume.shape().mode {
            WriteMode::InPlace => {
                let hole = volume.prints.one(&vec![0u8; granule as usize]);
                vec![hole; (end - first).div_ceil(u64::from(granule)) as usize]
            }
            WriteMode::Journal => Vec::new(),
        };
        let (volume, digest) = (Arc::clone(volume), digest.then(Digest::default));
        Ok(Rewrite { volume, extent, old, new, prints, digest, parts: Vec::new() })
    }

    /// The extent's runs of data, whole units, each at most `most` bytes long. `dense` is known data of the volume from an
    /// earlier look: on some file systems looking for a hole costs the length of the data before it. If it is stale, a
    /// hole made meanwhile is read as zeros and written as zeros.
    pub fn runs(&self, dense: &mut Range<u64>, most: u64) -> Result<Vec<Range<u64>>, VolumeError> {
        let (first, end) = self.volume.shape().extent_range(self.extent.0);
        let (mut runs, mut at) = (Vec::new(), first);
        while at < end {
            let Some(run) = self.next_run(at, end, dense, most)? else { break };
            at = run.end;
            runs.push(run);
        }
        Ok(runs)
    }

    fn next_run(
        &self,
        at: u64,
        end: u64,
        dense: &mut Range<u64>,
        most: u64,
    ) -> Result<Option<Range<u64>>, VolumeError> {
        let (base, unit) = (self.volume.data_offset, self.volume.io_unit.max(BLOCK));
        if !dense.contains(&at) {
            let io = VolumeError::io("find data on the backing");
            let Some(data) = self.volume.data.next_data(base + at, base + end).map_err(io)? else { return Ok(None) };
            let io = VolumeError::io("find holes on the backing");
            let hole = self.volume.data.next_hole(data, base + self.volume.shape().size).map_err(io)?;
            *dense = data - base..hole - base;
        }
        let from = align_down(dense.start.max(at), unit).max(at);
        let limit = (align_down(from, most) + most).min(end);
        Ok(Some(from..align_up(dense.end.max(from + 1), unit).min(limit)))
    }

    /// A run of `len` bytes from byte `offset` of the volume is read. Fingerprint, decrypt, digest, encrypt: in pieces that
    /// stay in the first-level cache.
    pub fn pass(&mut self, offset: u64, mut buf: Buf, len: usize) {
        const PASS: usize = 16 << 10;
        let volume = &self.volume;
        let granule = volume.shape().granule as usize;
        let first = volume.shape().extent_range(self.extent.0).0;
        let mut at = offset;
        for pass in buf[..len].chunks_mut(PASS) {
            if !self.prints.is_empty() {
                let index = ((at - first) / granule as u64) as usize;
                for (print, bytes) in self.prints[index..].iter_mut().zip(pass.chunks(granule)) {
                    *print = volume.prints.one(bytes);
                }
            }
            let digest = &mut self.digest;
            holes::reencrypt(&self.old.cipher, &self.new.cipher, at, pass, |plain| {
                if let Some(digest) = digest {
                    digest.add(&volume.prints, at, plain);
                }
            });
            at += pass.len() as u64;
        }
        if self.new.count(len as u64) {
            volume.reserve_counters();
        }
        self.parts.push(Part { offset, len, buf: Arc::new(buf) });
    }

    /// All runs are read: the image and its intent.
    pub fn finish(mut self) -> (Member, Intent) {
        self.parts.sort_unstable_by_key(|part| part.offset);
        let image = Image { extent: self.extent, generation: self.new.generation, parts: self.parts };
        let record = match self.volume.shape().mode {
            WriteMode::InPlace => IntentImage::Fingerprints(self.prints),
            WriteMode::Journal => IntentImage::Ciphertext(whole(&self.volume, &image)),
        };
        let (old, new) = (self.old.generation, self.new.generation);
        let intent = Intent { extent: self.extent, old, new, image: record };
        (Member { image: Arc::new(image), digest: self.digest }, intent)
    }
}

fn whole(volume: &Volume, image: &Image) -> Vec<u8> {
    let (first, end) = volume.shape().extent_range(image.extent.0);
    let mut bytes = vec![0u8; (end - first) as usize];
    image.copy_to(first, &mut bytes);
    bytes
}
