//! Step 2 of the pipeline for one batch: read the data runs of each extent, fingerprint, decrypt, encrypt.
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
use crate::engine::{Buf, Done, Engine, Op, Pool};
use crate::format::intents::{Image as IntentImage, Intent};
use crate::format::layout::WriteMode;
use crate::units::{BLOCK, Extent, Generation, align_down, align_up};

/// Bytes of one device read: one pool buffer.
const PART: u64 = 1 << 20;

/// Digest of an extent's plaintext, held in memory only. A sum over its blocks, each mixed with its place, so that
/// parts may be added in whatever order their reads complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// Adds plaintext that begins at byte `offset` of the volume, a multiple of [`BLOCK`].
    fn add(&mut self, prints: &Fingerprinter, offset: u64, plaintext: &[u8]) {
        let mut place = offset;
        for block in plaintext.chunks(BLOCK as usize) {
            let mixed = prints.one(block).rotate_left(23) ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.0 = self.0.wrapping_add(mixed.wrapping_mul(0xff51_afd7_ed55_8ccd));
            place += BLOCK;
        }
    }

    /// Reads the image's runs from the device and decrypts them with the engine that did not write.
    pub fn matches(&self, volume: &Volume, image: &Image) -> Result<bool, VolumeError> {
        let Some(key) = volume.keyring.get(image.generation) else {
            return Err(VolumeError::Refused(format!("generation {} is not loaded", image.generation)));
        };
        let io = VolumeError::io;
        volume.data.drop_cache().map_err(io("drop the cache before reading back"))?;
        let mut found = Digest::default();
        let mut bytes = vec![0u8; PART as usize];
        for part in &image.parts {
            let bytes = &mut bytes[..part.len];
            volume.data.read_at(volume.data_offset + part.offset, bytes).map_err(io("read an extent back"))?;
            holes::decrypt(&key.other, part.offset, bytes);
            found.add(&volume.prints, part.offset, bytes);
        }
        Ok(found == *self)
    }
}

/// One extent on its way.
struct Work {
    extent: Extent,
    old: Arc<GenerationKey>,
    prints: Vec<u64>,
    digest: Option<Digest>,
    parts: Vec<Option<Part>>,
    failure: Option<VolumeError>,
}

/// One batch on its way.
pub struct Rewrite {
    volume: Arc<Volume>,
    pool: Pool,
    target: Generation,
    new: Option<Arc<GenerationKey>>,
    hole_print: u64,
    works: Vec<Work>,
    reading: usize,
    /// Known data of the volume, from an earlier look: on some file systems looking for a hole costs the length of the
    /// data before it. If it is stale, a hole made meanwhile is read as zeros and written as zeros.
    dense: Range<u64>,
}

/// Tokens of reads: apart from those of writes, which are small indexes.
const READ_BIT: u64 = 1 << 62;

impl Rewrite {
    /// An empty batch towards `target`.
    pub fn new(volume: &Arc<Volume>, pool: &Pool, target: Generation, dense: Range<u64>) -> Rewrite {
        let hole = vec![0u8; volume.shape.granule as usize];
        let hole_print = volume.prints.one(&hole);
        let new = volume.keyring.get(target);
        let (volume, pool) = (Arc::clone(volume), pool.clone());
        Rewrite { volume, pool, target, new, hole_print, works: Vec::new(), reading: 0, dense }
    }

    /// Reads under way.
    pub fn reading(&self) -> usize {
        self.reading
    }

    /// Starts reading an extent, which is held.
    pub fn read(&mut self, engine: &mut dyn Engine, extent: Extent, digest: bool) -> Result<(), VolumeError> {
        let tag = self.volume.tags.current(extent);
        let Some(old) = self.volume.keyring.get(tag) else {
            return Err(VolumeError::Refused(format!("generation {tag} is not loaded")));
        };
        let (first, end) = self.volume.shape.extent_range(extent.0);
        let granules = (end - first).div_ceil(u64::from(self.volume.shape.granule)) as usize;
        let prints = match self.volume.shape.mode {
            WriteMode::InPlace => vec![self.hole_print; granules],
            WriteMode::Journal => Vec::new(),
        };
        let index = self.works.len();
        let digest = digest.then(Digest::default);
        self.works.push(Work { extent, old, prints, digest, parts: Vec::new(), failure: None });
        let mut at = first;
        while let Some((from, to)) = self.next_run(at, end)? {
            let Some(buf) = self.pool.take((to - from) as usize) else {
                return Err(VolumeError::Refused("no memory for a batch".into()));
            };
            let token = READ_BIT | (index as u64) << 32 | self.works[index].parts.len() as u64;
            let disk = Arc::clone(&self.volume.data);
            let offset = self.volume.data_offset + from;
            engine.submit(token, Op::Read { disk, offset, buf, range: 0..(to - from) as usize });
            self.reading += 1;
            self.works[index].parts.push(None);
            at = to;
        }
        Ok(())
    }

    /// The next run of data in `at..end`, whole units, at most one buffer long.
    fn next_run(&mut self, at: u64, end: u64) -> Result<Option<(u64, u64)>, VolumeError> {
        if at >= end {
            return Ok(None);
        }
        let (base, unit) = (self.volume.data_offset, self.volume.io_unit.max(BLOCK));
        if !self.dense.contains(&at) {
            let io = VolumeError::io("find data on the backing");
            let Some(data) = self.volume.data.next_data(base + at, base + end).map_err(io)? else { return Ok(None) };
            let io = VolumeError::io("find holes on the backing");
            let hole = self.volume.data.next_hole(data, base + self.volume.shape.size).map_err(io)?;
            self.dense = data - base..hole - base;
        }
        let from = align_down(self.dense.start.max(at), unit).max(at);
        let limit = (align_down(from, PART) + PART).min(end);
        let to = align_up(self.dense.end.max(from + 1), unit).min(limit);
        Ok(Some((from, to)))
    }

    /// A read is done: the pass over it. What fails is kept until [`Rewrite::finish`]: nothing was changed yet.
    pub fn take(&mut self, done: Done) {
        let Op::Read { offset, buf, range, .. } = done.op else { return };
        self.reading -= 1;
        let work = ((done.token & !READ_BIT) >> 32) as usize;
        let part = done.token as u32 as usize;
        let passed = match done.result {
            Ok(_) => self.pass(work, part, offset - self.volume.data_offset, buf, range.len()),
            Err(source) => Err(VolumeError::Io { what: "read an extent to re-encrypt", source }),
        };
        if let Err(error) = passed {
            self.works[work].failure = Some(error);
        }
    }

    /// Fingerprint, decrypt, digest, encrypt: in pieces that stay in the first-level cache.
    fn pass(&mut self, work: usize, part: usize, offset: u64, mut buf: Buf, len: usize) -> Result<(), VolumeError> {
        const PASS: usize = 16 << 10;
        let volume = &self.volume;
        let Some(new) = &self.new else {
            return Err(VolumeError::Refused(format!("generation {} is not loaded", self.target)));
        };
        let work = &mut self.works[work];
        let granule = volume.shape.granule as usize;
        let first = volume.shape.extent_range(work.extent.0).0;
        let mut at = offset;
        for pass in buf[..len].chunks_mut(PASS) {
            if !work.prints.is_empty() {
                let index = ((at - first) / granule as u64) as usize;
                for (print, bytes) in work.prints[index..].iter_mut().zip(pass.chunks(granule)) {
                    *print = volume.prints.one(bytes);
                }
            }
            let digest = &mut work.digest;
            holes::reencrypt(&work.old.cipher, &new.cipher, at, pass, |plain| {
                if let Some(digest) = digest {
                    digest.add(&volume.prints, at, plain);
                }
            });
            at += pass.len() as u64;
        }
        if new.count(len as u64) {
            volume.reserve_counters();
        }
        work.parts[part] = Some(Part { offset, len, buf: Arc::new(buf) });
        Ok(())
    }

    /// All reads are done: the images and their intents, and the extents that could not be read.
    pub fn finish(self) -> Batch {
        let mut batch = Batch { dense: self.dense, ..Batch::default() };
        for work in self.works {
            if let Some(error) = work.failure {
                batch.failed.push((work.extent, error));
                continue;
            }
            let parts: Vec<Part> = work.parts.into_iter().flatten().collect();
            let image = Image { extent: work.extent, generation: self.target, parts };
            let record = match self.volume.shape.mode {
                WriteMode::InPlace => IntentImage::Fingerprints(work.prints),
                WriteMode::Journal => IntentImage::Ciphertext(whole(&self.volume, &image)),
            };
            let old = work.old.generation;
            batch.intents.push(Intent { extent: work.extent, old, new: self.target, image: record });
            batch.members.push(Member { image: Arc::new(image), digest: work.digest });
        }
        batch
    }
}

/// A batch ready for its intents.
#[derive(Default)]
pub struct Batch {
    /// The new ciphertext of each extent.
    pub members: Vec<Member>,
    /// The intent of each extent.
    pub intents: Vec<Intent>,
    /// Extents that could not be read; they are untouched.
    pub failed: Vec<(Extent, VolumeError)>,
    /// For the next batch.
    pub dense: Range<u64>,
}

fn whole(volume: &Volume, image: &Image) -> Vec<u8> {
    let (first, end) = volume.shape.extent_range(image.extent.0);
    let mut bytes = vec![0u8; (end - first) as usize];
    image.copy_to(first, &mut bytes);
    bytes
}
