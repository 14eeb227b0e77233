//! Records of the intent ring: what the rotation is about to rewrite, and what it has rewritten durably.
//!
//! Record *n* stands in slot *n* mod slots, contiguous and self-validating. It carries commits ("this extent now
//! carries that generation, as the intent of that sequence said") and intents (extent, old and new generation, and
//! per granule a fingerprint of the **old** ciphertext; in journal mode the new ciphertext itself).
//! Invariant: encoding never exceeds the slot; decoding never believes a count before holding it against the bytes left.

use super::Damage;
use super::codec::{Reader, Writer};
use super::envelope::{self, RECORD, Seal, Unverified};
use super::layout::{INTENT_BYTES, Shape, WriteMode};
use crate::limits::BATCH_EXTENTS_MAX;
use crate::units::{BLOCK, Extent, Generation, align_up};

/// "This extent now carries this generation." A commit to the intent's old generation voids it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Commit {
    /// Which extent.
    pub extent: Extent,
    /// Its tag from now on.
    pub generation: Generation,
    /// Sequence of the record whose intent this settles.
    pub intent: u64,
}

/// What an intent promises about the extent's content.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Image {
    /// Fingerprints of the old ciphertext, one per granule.
    Fingerprints(Vec<u64>),
    /// The whole new ciphertext (journal mode).
    Ciphertext(Vec<u8>),
}

/// "This extent is about to be rewritten."
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Intent {
    /// Which extent.
    pub extent: Extent,
    /// The generation it carries.
    pub old: Generation,
    /// The generation it will carry.
    pub new: Generation,
    /// What tells the one from the other, or replaces it.
    pub image: Image,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Record {
    /// Position in the log; consecutive.
    pub sequence: u64,
    /// Commits, applied before the intents.
    pub commits: Vec<Commit>,
    /// Intents.
    pub intents: Vec<Intent>,
}

impl Record {
    /// Seals the record for its slot, padded to whole blocks.
    pub fn seal(&self, seal: &Seal, slots: u32) -> Vec<u8> {
        let mut out = Writer::new();
        out.u32(self.commits.len() as u32).u32(self.intents.len() as u32).u64(0);
        for commit in &self.commits {
            out.u32(commit.extent.0).u32(commit.generation.0).u64(commit.intent);
        }
        for intent in &self.intents {
            out.u32(intent.extent.0).u32(intent.old.0).u32(intent.new.0);
            match &intent.image {
                Image::Fingerprints(prints) => {
                    out.u32(prints.len() as u32 * 8);
                    for print in prints {
                        out.u64(*print);
                    }
                }
                Image::Ciphertext(bytes) => {
                    out.u32(bytes.len() as u32).raw(bytes);
                }
            }
        }
        let slot = slot_of(self.sequence, slots);
        let mut bytes = seal.seal(RECORD, u64::from(slot), self.sequence, &out.bytes);
        let len = align_up(bytes.len() as u64, BLOCK) as usize;
        bytes.resize(len, 0);
        bytes
    }

    /// Opens the record in slot `slot`, holding every extent and image length against `shape`.
    pub fn open(seal: &Seal, slot: u32, bytes: &[u8], shape: &Shape) -> Result<Record, Damage> {
        let found = envelope::peek(RECORD, bytes)?;
        seal.verify(&found, u64::from(slot))?;
        Record::decode(&found, shape)
    }

    /// Reads the fields of an unverified record, for `check` without a key.
    pub fn decode(found: &Unverified<'_>, shape: &Shape) -> Result<Record, Damage> {
        let sequence = found.sequence;
        let mut reader = Reader::new(RECORD.name, found.body);
        let r = &mut reader;
        let (commits, intents) = (r.u32("commit count")? as usize, r.u32("intent count")? as usize);
        r.u64("reserved")?;
        r.require(commits <= BATCH_EXTENTS_MAX && intents <= BATCH_EXTENTS_MAX, "count")?;
        let mut record =
            Record { sequence, commits: Vec::with_capacity(commits), intents: Vec::with_capacity(intents) };
        for _ in 0..commits {
            let (extent, generation, intent) = (r.u32("extent")?, r.u32("generation")?, r.u64("intent")?);
            r.require(extent < shape.extents(), "extent")?;
            record.commits.push(Commit { extent: Extent(extent), generation: Generation(generation), intent });
        }
        for _ in 0..intents {
            record.intents.push(decode_intent(r, shape)?);
        }
        Ok(record)
    }
}

fn decode_intent(r: &mut Reader<'_>, shape: &Shape) -> Result<Intent, Damage> {
    let (extent, old, new) = (r.u32("extent")?, r.u32("generation")?, r.u32("generation")?);
    r.require(extent < shape.extents(), "extent")?;
    let len = r.u32("image length")? as usize;
    let image = r.bytes("image", len)?;
    let (first, end) = shape.extent_range(extent);
    let image = match shape.mode {
        WriteMode::InPlace => {
            r.require(len as u64 == (end - first).div_ceil(u64::from(shape.granule)) * 8, "image length")?;
            Image::Fingerprints(image.chunks_exact(8).map(le64).collect())
        }
        WriteMode::Journal => {
            r.require(len as u64 == end - first, "image length")?;
            Image::Ciphertext(image.to_vec())
        }
    };
    Ok(Intent { extent: Extent(extent), old: Generation(old), new: Generation(new), image })
}

fn le64(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The slot of a record.
pub fn slot_of(sequence: u64, slots: u32) -> u32 {
    (sequence % u64::from(slots)) as u32
}

const _: () = assert!(INTENT_BYTES == 16);
