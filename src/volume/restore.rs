//! Restoring a header from a backup, or refusing to, for the reason that it would decrypt to garbage.
//!
//! Order: [`Prepared::of`] opens the backup with a KEK, holds it against the epoch stamp of the data and against what is left of
//! the header (FORMAT.md, section 11), and proves every canary, all without writing; [`Prepared::save`] copies the header zones
//! that are there to a place of their own; [`Prepared::write`] has the durable steps: (1) canaries, table, tag pages, and the ring where
//! something foreign stands in it; (2) flush; (3) one superblock copy and a flush, **the commit point**; (4) the other copy and a
//! flush. [`Prepared::prove`] opens the volume and reads a sample of it; [`Prepared::put_back`] undoes it all from what was saved.
//!
//! Invariants: nothing but header zones is written, and only after everything has been verified; a crash before the commit point
//! leaves a header that is as it was or is refused at open, with all the evidence that running the restore again will ask for; a
//! generation that the present header calls compromised, revoked, disabled or destroyed does not come back to life.

mod evidence;

use std::sync::Arc;

use super::backup::expanded;
use super::canaries::check_canary;
use super::error::VolumeError;
use super::holders::united;
use super::keyring::GenerationKey;
use super::open::{MetadataKeys, data_key, open_disks, unwrap};
use crate::crypto::{EngineKind, Suite};
use crate::engine::Disk;
use crate::format::backup::{Backup, Sealed};
use crate::format::generations::{GenerationTable, KeyState};
use crate::format::layout::{GENERATIONS_COPY, Place, SUPERBLOCK_A, SUPERBLOCK_B, TAGS_PER_PAGE, copy_of};
use crate::format::superblock::Superblock;
use crate::format::tags::{digest, seal_page};
use crate::format::{Damage, canary};
use crate::keys::Kek;
use crate::units::{BLOCK, Generation};
use evidence::Evidence;
pub use evidence::Ground;

/// Bytes that are copied or written at a time.
const STEP: u64 = 1 << 20;
/// Extents that are read to prove a restored volume, about.
const SAMPLE: u64 = 64;

/// The disks of the volume that is to have its header back.
#[derive(Clone)]
pub struct Target {
    /// The data backing.
    pub data: Arc<dyn Disk>,
    /// The header backing, if it is one of its own.
    pub header: Option<Arc<dyn Disk>>,
}

impl Target {
    fn header(&self) -> &dyn Disk {
        self.header.as_deref().unwrap_or(&*self.data)
    }
}

/// What a restored volume was proven by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Generations whose canary both engines decrypt.
    pub canaries: u32,
    /// Extents read and decrypted by both engines.
    pub extents: u64,
    /// Bytes clients see.
    pub size: u64,
}

/// A restore that may be done.
pub struct Prepared {
    /// Why it may.
    pub ground: Ground,
    /// The backup, verified.
    pub backup: Backup,
    /// What is not as it was when the backup was made, in words.
    pub notes: Vec<String>,
    keys: MetadataKeys,
    superblock: Superblock,
    table: GenerationTable,
    /// The newest sequence of superblock and of table that is known.
    sequences: (u64, u64),
    /// Something foreign stands in the ring.
    empty_ring: bool,
}

/// Opens a backup with `keks`: what it says, authenticated, and the keys that follow from its metadata key.
///
/// # Errors
/// Damage, a key that does not open it, or one that does and does not authenticate it.
pub fn open_backup(bytes: &[u8], keks: &[Kek]) -> Result<(Backup, MetadataKeys), VolumeError> {
    let place = "the header backup";
    let sealed = Sealed::read(bytes).map_err(VolumeError::damaged(place))?;
    let volume = sealed.claims.superblock.0.volume;
    let entry = sealed.claims.table.0.entry(Generation::METADATA).ok_or(VolumeError::TableFull)?;
    let keys = MetadataKeys::derive(volume, &unwrap(volume, entry, keks)?.key);
    let backup = sealed.verify(&keys.seal).map_err(VolumeError::damaged(place))?;
    Ok((backup, keys))
}

impl Prepared {
    /// Holds the backup in `bytes` against `target`, writing nothing.
    ///
    /// # Errors
    /// It does not open, it is of another kind of header, it is stale, or a key fails its canary.
    pub fn of(bytes: &[u8], keks: &[Kek], target: &Target) -> Result<Prepared, VolumeError> {
        let (backup, keys) = open_backup(bytes, keks)?;
        fits(&backup.superblock.0, target)?;
        let evidence = Evidence::read(&backup, &keys.seal, target.header(), &*target.data);
        let ground = evidence.judge(&backup)?;
        prove_keys(&backup, &keys, keks)?;
        let (mut table, mut notes) = (backup.table.0.clone(), Vec::new());
        match &evidence.table {
            Some((live, _)) => carry_over(live, &mut table, &mut notes),
            None => notes.push(
                "the generation table that was there cannot be read: holders, and marks of compromise, revocation and destruction \
                 made after the backup are lost"
                    .into(),
            ),
        }
        let target_entry = table.entry(table.rotation.target);
        if let Some(entry) = target_entry.filter(|entry| entry.state != KeyState::Active) {
            let (generation, state) = (entry.generation, entry.state.name());
            let why = format!("it makes generation {generation} the target, which is {state} by now");
            return Err(VolumeError::StaleBackup { why });
        }
        let superblock = evidence.restored(&backup);
        if !superblock.poisoned.is_empty() {
            notes.push(format!("the volume stays poisoned: {}", superblock.poisoned));
        }
        let sequences = (
            evidence.newest_superblock().max(backup.superblock.1),
            evidence.table.as_ref().map_or(0, |table| table.1).max(backup.table.1),
        );
        let empty_ring = !evidence.ring.unknown.is_empty();
        Ok(Prepared { ground, backup, notes, keys, superblock, table, sequences, empty_ring })
    }

    /// Bytes at the front of the header backing that [`Prepared::save`] copies.
    pub fn header_len(&self) -> u64 {
        let zones = &self.superblock.zones;
        let ends = [zones.generations, zones.canaries, zones.tags, zones.ring].map(|zone| zone.end());
        ends.into_iter().max().unwrap_or(0).max(SUPERBLOCK_B + BLOCK)
    }

    /// Copies what is now in front of the header backing, up to the end of its last zone, to `aside`, durably. Blocks that cannot
    /// be read are zeros there; gives their number.
    ///
    /// # Errors
    /// The copy cannot be written.
    pub fn save(&self, target: &Target, aside: &dyn Disk) -> Result<u64, VolumeError> {
        let (header, mut unread) = (target.header(), 0);
        let end = self.header_len().min(header.len().map_err(VolumeError::io("ask the header's size"))?);
        for (place, len) in steps(0, end) {
            let mut bytes = vec![0u8; len as usize];
            if header.read_at(place, &mut bytes).is_err() {
                for (index, block) in bytes.chunks_mut(BLOCK as usize).enumerate() {
                    let gone = header.read_at(place + index as u64 * BLOCK, block).is_err();
                    if gone {
                        block.fill(0);
                    }
                    unread += u64::from(gone);
                }
            }
            if bytes.iter().any(|byte| *byte != 0) {
                aside.write_at(place, &bytes).map_err(VolumeError::io("save the header that is there"))?;
            }
        }
        aside.flush().map_err(VolumeError::io("save the header that is there"))?;
        Ok(unread)
    }

    /// Writes back what [`Prepared::save`] has saved.
    ///
    /// # Errors
    /// A device failed; what was saved is still there.
    pub fn put_back(&self, target: &Target, aside: &dyn Disk) -> Result<(), VolumeError> {
        let header = target.header();
        let end = self.header_len().min(header.len().map_err(VolumeError::io("ask the header's size"))?);
        let (io, superblocks) = (VolumeError::io, [SUPERBLOCK_A, SUPERBLOCK_B]);
        // The superblocks last, as in every change: until they are there nothing is believed.
        for block in superblocks {
            header.write_at(block, &[0; BLOCK as usize]).map_err(io("put the header back"))?;
        }
        header.flush().map_err(io("put the header back"))?;
        for (place, len) in steps(0, end) {
            let mut bytes = vec![0u8; len as usize];
            aside.read_at(place, &mut bytes).map_err(io("read the header saved aside"))?;
            for block in superblocks.into_iter().filter(|block| (place..place + len).contains(block)) {
                bytes[(block - place) as usize..][..BLOCK as usize].fill(0);
            }
            header.write_at(place, &bytes).map_err(io("put the header back"))?;
        }
        header.flush().map_err(io("put the header back"))?;
        for block in superblocks {
            let mut bytes = vec![0u8; BLOCK as usize];
            aside.read_at(block, &mut bytes).map_err(io("read the header saved aside"))?;
            header.write_at(block, &bytes).map_err(io("put the header back"))?;
        }
        header.flush().map_err(io("put the header back"))
    }

    /// Writes the header.
    ///
    /// # Errors
    /// A device failed: put back what was saved, or run it again.
    pub fn write(&self, target: &Target) -> Result<(), VolumeError> {
        let (header, io) = (target.header(), VolumeError::io);
        let zones = &self.superblock.zones;
        if header.len().map_err(io("ask the header's size"))? < self.header_len() {
            header.set_len(self.header_len()).map_err(io("lengthen the header backing"))?;
        }
        for (slot, block) in &self.backup.canaries {
            let mut block = block.clone();
            block.resize(canary::SLOT as usize, 0);
            let place = zones.canaries.offset + u64::from(*slot) * canary::SLOT;
            header.write_at(place, &block).map_err(io("write a canary"))?;
        }
        for sequence in [self.sequences.1 + 1, self.sequences.1 + 2] {
            let bytes = self.table.seal(&self.keys.seal, sequence).ok_or(VolumeError::TableFull)?;
            let place = zones.generations.offset + copy_of(sequence) as u64 * GENERATIONS_COPY;
            header.write_at(place, &bytes).map_err(io("write the generation table"))?;
        }
        self.write_tags(header)?;
        if self.empty_ring {
            header.zero_range(zones.ring.offset, zones.ring.length).map_err(io("empty the intent ring"))?;
        }
        header.flush().map_err(io("flush the header"))?;
        let mut superblock = self.superblock.clone();
        let pages = superblock.shape.tag_pages();
        superblock.tag_digest = digest(&self.keys.digest, (0..pages).map(|_| superblock.checkpoint));
        for sequence in [self.sequences.0 + 1, self.sequences.0 + 2] {
            let place = [SUPERBLOCK_A, SUPERBLOCK_B][copy_of(sequence)];
            let bytes = superblock.seal(&self.keys.seal, sequence);
            header.write_at(place, &bytes).map_err(io("write the superblock"))?;
            header.flush().map_err(io("flush the header"))?;
        }
        Ok(())
    }

    fn write_tags(&self, header: &dyn Disk) -> Result<(), VolumeError> {
        let (zone, pages) = (self.superblock.zones.tags, self.superblock.shape.tag_pages());
        let mut tags = expanded(&self.backup.tags).map(|(_, tag)| tag);
        let (per_step, mut bytes) = ((STEP / BLOCK) as u32, Vec::with_capacity(STEP as usize));
        for index in 0..pages {
            let page: Vec<Generation> = tags.by_ref().take(TAGS_PER_PAGE as usize).collect();
            bytes.extend(seal_page(&self.keys.seal, index, self.superblock.checkpoint, page.into_iter()));
            if (index + 1).is_multiple_of(per_step) || index + 1 == pages {
                let end = zone.offset + u64::from(index + 1) * BLOCK;
                header.write_at(end - bytes.len() as u64, &bytes).map_err(VolumeError::io("write tag pages"))?;
                bytes.clear();
            }
        }
        let twins = Place { offset: zone.offset + u64::from(pages) * BLOCK, length: u64::from(pages) * BLOCK };
        header.zero_range(twins.offset, twins.length).map_err(VolumeError::io("write tag pages"))
    }

    /// Opens the volume read-only, which verifies all of it, and reads a sample of its extents with both engines.
    ///
    /// # Errors
    /// It does not open, or an extent cannot be read.
    pub fn prove(&self, target: &Target, keks: &[Kek]) -> Result<Proof, VolumeError> {
        let (data, header) = (Arc::clone(&target.data), target.header.clone());
        let volume = Arc::new(open_disks(data, header, keks, true, EngineKind::best())?);
        let extents = u64::from(volume.shape().extents()).max(1);
        let sample = (SAMPLE * 1_000_000).div_ceil(extents).min(1_000_000) as u32;
        let read = volume.read_all_back(sample, &mut |_| true)?;
        let loaded = self.table.entries.iter().filter(|entry| entry.generation != Generation::METADATA);
        let canaries = loaded.filter(|entry| entry.state.is_loaded()).count() as u32;
        Ok(Proof { canaries, extents: read, size: volume.size() })
    }
}

/// Places and lengths of `first..end`, in steps.
fn steps(first: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
    (first..end).step_by(STEP as usize).map(move |place| (place, STEP.min(end - place)))
}

/// Whether header and backing are of the kind the backup was made of.
fn fits(superblock: &Superblock, target: &Target) -> Result<(), VolumeError> {
    match (superblock.detached, target.header.is_some()) {
        (true, false) => {
            return Err(VolumeError::HeaderKind("the backup is of a detached header: say where it goes with --header"));
        }
        (false, true) => {
            return Err(VolumeError::HeaderKind("the backup is of an attached header: it goes in front of the data"));
        }
        _ => {}
    }
    let (found, needed) =
        (target.data.len().map_err(VolumeError::io("ask a backing's size"))?, superblock.zones.data_len());
    match found < needed {
        true => Err(VolumeError::Truncated { which: "data", found, needed }),
        false => Ok(()),
    }
}

/// Holds every key that the volume needs against its canary in the backup.
fn prove_keys(backup: &Backup, keys: &MetadataKeys, keks: &[Kek]) -> Result<(), VolumeError> {
    let table = &backup.table.0;
    for entry in
        table.entries.iter().filter(|entry| entry.generation != Generation::METADATA && entry.state.is_loaded())
    {
        let suite = Suite::from_id(entry.suite).ok_or_else(|| {
            VolumeError::Refused(format!("generation {} uses a suite unknown to this build", entry.generation))
        })?;
        let dek = data_key(backup.superblock.0.volume, entry, suite, keks)?;
        let key = GenerationKey::new(EngineKind::best(), entry, suite, &dek)?;
        let block =
            backup.canaries.iter().find(|(slot, _)| *slot == entry.canary_slot).map(|(_, block)| block.as_slice());
        let missing = Damage::Zero { what: "canary block" };
        let block = block.ok_or_else(|| {
            VolumeError::damaged(format!("the canary of generation {} in the backup", entry.generation))(missing)
        })?;
        check_canary(keys, entry, &key, block)?;
    }
    Ok(())
}

/// What the present table says of generations and holders is newer than what the backup says.
fn carry_over(live: &GenerationTable, table: &mut GenerationTable, notes: &mut Vec<String>) {
    for entry in &mut table.entries {
        let Some(now) = live.entries.iter().find(|now| now.key_id == entry.key_id) else {
            continue;
        };
        entry.bytes_reserved = entry.bytes_reserved.max(now.bytes_reserved);
        entry.compromised |= now.compromised;
        if !now.state.is_loaded() && entry.generation != Generation::METADATA {
            notes.push(format!("generation {} stays {}", entry.generation, now.state.name()));
            (entry.state, entry.life) = (now.state, now.life.clone());
            if now.state == KeyState::Destroyed {
                entry.wraps.clear();
            }
        }
        let back: Vec<&str> = (entry.wraps.iter())
            .filter(|wrap| now.wraps.iter().all(|known| known.kek_id != wrap.kek_id))
            .map(|wrap| wrap.kek_id.as_str())
            .collect();
        if !back.is_empty() && entry.generation == Generation::METADATA {
            notes.push(format!("wraps by a KEK that was removed since are back: {}", back.join(", ")));
        }
    }
    table.holders = united(&table.holders, &live.holders);
}
