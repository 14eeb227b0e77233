//! A header backup: one file from which the header of a volume can be written anew.
//!
//! It is one envelope whose sequence is the rotation epoch, so that it is authenticated as a whole by the volume's own metadata
//! key. Inside stand the superblock and the generation table, sealed as on the disk, the canaries, and the tag of every extent, by
//! runs. It is made behind a checkpoint with no intent live, so there is no ring in it. Invariants: nothing in it is secret
//! that the header does not show as well; a decoder believes nothing before [`Sealed::verify`], but what it takes to unwrap the metadata
//! key; tags cover the extents of the superblock exactly.

use super::Damage;
use super::codec::{Reader, Writer};
use super::envelope::{BACKUP, GENERATIONS, SUPERBLOCK, Seal, Unverified, peek};
use super::generations::{GenerationTable, Phase};
use super::superblock::Superblock;
use crate::limits::GENERATIONS_MAX;
use crate::units::{Generation, VolumeId};

/// Longest backup a reader takes, bytes: the largest volume with its tags all mixed comes to 2 GiB, any sane one to kilobytes.
pub const BACKUP_MAX: u64 = 1 << 30;

/// What a backup says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Identity of the holder that the volume's table has for this backup.
    pub holder: [u8; 16],
    /// When it was made, seconds since 1970.
    pub made: u64,
    /// The superblock, and its sequence.
    pub superblock: (Superblock, u64),
    /// The generation table, this backup among its holders, and its sequence.
    pub table: (GenerationTable, u64),
    /// The canaries: their slots, and their blocks without the zeros at the end.
    pub canaries: Vec<(u16, Vec<u8>)>,
    /// The tags of all extents in order: so many extents, of that generation.
    pub tags: Vec<(u32, Generation)>,
}

/// A backup whose CRC is right and whose MAC nobody has checked.
pub struct Sealed<'a> {
    found: Unverified<'a>,
    /// What it claims to be.
    pub claims: Backup,
    superblock: &'a [u8],
    table: &'a [u8],
}

impl Backup {
    /// Whether no extent can change its generation but by a rotation that moves the epoch first: every tag is the target, and
    /// there is no way back.
    pub fn is_settled(&self) -> bool {
        let rotation = &self.table.0.rotation;
        let ended = matches!(rotation.phase, Phase::Idle | Phase::Finalized) && rotation.rollback_to.is_none();
        ended && self.tags.iter().all(|(_, tag)| *tag == rotation.target)
    }

    /// The generations whose wrapped keys are in it, the oldest and the newest.
    pub fn generations(&self) -> (Generation, Generation) {
        span(&self.table.0)
    }

    /// Seals it. `None` if the table breaks its bounds.
    pub fn seal(&self, seal: &Seal) -> Option<Vec<u8>> {
        let (superblock, table) = (&self.superblock, &self.table);
        let mut out = Writer::new();
        out.raw(&superblock.0.volume.0).raw(&self.holder).u64(self.made);
        long(&mut out, &superblock.0.seal(seal, superblock.1));
        long(&mut out, &table.0.seal(seal, table.1)?);
        out.u16(u16::try_from(self.canaries.len()).ok()?);
        for (slot, block) in &self.canaries {
            out.u16(*slot).short_bytes(block);
        }
        out.u32(u32::try_from(self.tags.len()).ok()?);
        for (count, generation) in &self.tags {
            out.u32(*count).u32(generation.0);
        }
        Some(seal.seal(BACKUP, 0, superblock.0.epoch, &out.bytes))
    }
}

/// The oldest and the newest generation of `table` that has a wrapped key.
pub fn span(table: &GenerationTable) -> (Generation, Generation) {
    let held = |generation: &Generation| *generation != Generation::METADATA;
    let with_key = table.entries.iter().filter(|entry| !entry.wraps.is_empty()).map(|entry| entry.generation);
    let (first, last) = (with_key.clone().filter(held).min(), with_key.filter(held).max());
    (first.unwrap_or(Generation::METADATA), last.unwrap_or(Generation::METADATA))
}

fn long(out: &mut Writer, bytes: &[u8]) {
    out.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX)).raw(bytes);
}

fn long_bytes<'a>(r: &mut Reader<'a>, field: &'static str) -> Result<&'a [u8], Damage> {
    let len = r.u32(field)? as usize;
    r.bytes(field, len)
}

impl<'a> Sealed<'a> {
    /// Reads a backup, believing nothing of it.
    pub fn read(bytes: &'a [u8]) -> Result<Sealed<'a>, Damage> {
        let found = peek(BACKUP, bytes)?;
        let mut reader = Reader::new(BACKUP.name, found.body);
        let r = &mut reader;
        let volume = VolumeId(r.array("volume id")?);
        let (holder, made) = (r.array("holder id")?, r.u64("time")?);
        let superblock = long_bytes(r, "superblock")?;
        let table = long_bytes(r, "generation table")?;
        let sealed_superblock = peek(SUPERBLOCK, superblock)?;
        let sealed_table = peek(GENERATIONS, table)?;
        let count = usize::from(r.u16("canaries")?);
        r.require(count <= GENERATIONS_MAX, "canaries")?;
        let mut canaries = Vec::with_capacity(count);
        for _ in 0..count {
            let slot = r.u16("canary slot")?;
            r.require(usize::from(slot) < GENERATIONS_MAX, "canary slot")?;
            canaries.push((slot, r.short_bytes("canary", super::canary::SLOT as usize)?.to_vec()));
        }
        let claims = Backup {
            holder,
            made,
            superblock: (Superblock::decode(&sealed_superblock)?, sealed_superblock.sequence),
            table: (GenerationTable::decode(&sealed_table)?, sealed_table.sequence),
            canaries,
            tags: Vec::new(),
        };
        let extents = claims.superblock.0.shape.extents();
        let claims = Backup { tags: tags(r, extents)?, ..claims };
        r.require(r.rest().is_empty(), "end")?;
        r.require(claims.superblock.0.volume == volume, "volume id")?;
        r.require(claims.superblock.0.epoch == found.sequence, "epoch")?;
        r.require(claims.superblock.0.unfinished.is_none(), "unfinished growth")?;
        Ok(Sealed { found, claims, superblock, table })
    }

    /// Checks the MAC of the whole and those inside; what it says can be believed then.
    pub fn verify(self, seal: &Seal) -> Result<Backup, Damage> {
        seal.verify(&self.found, 0)?;
        seal.open(SUPERBLOCK, 0, self.superblock)?;
        seal.open(GENERATIONS, 0, self.table)?;
        Ok(self.claims)
    }
}

fn tags(r: &mut Reader<'_>, extents: u32) -> Result<Vec<(u32, Generation)>, Damage> {
    let runs = r.u32("runs of tags")?;
    r.require(runs <= extents && r.rest().len() == runs as usize * 8, "runs of tags")?;
    let (mut tags, mut covered) = (Vec::with_capacity(runs as usize), 0u32);
    for _ in 0..runs {
        let (count, generation) = (r.u32("run of tags")?, Generation(r.u32("run of tags")?));
        covered = covered.checked_add(count).ok_or_else(|| r.bad("run of tags"))?;
        r.require(count > 0, "run of tags")?;
        tags.push((count, generation));
    }
    r.require(covered == extents, "runs of tags")?;
    Ok(tags)
}

/// Tags as runs.
pub fn runs(tags: impl IntoIterator<Item = Generation>) -> Vec<(u32, Generation)> {
    let mut runs: Vec<(u32, Generation)> = Vec::new();
    for tag in tags {
        match runs.last_mut() {
            Some((count, last)) if *last == tag => *count += 1,
            _ => runs.push((1, tag)),
        }
    }
    runs
}
