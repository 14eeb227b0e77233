//! What the data and the remains of a header say about a backup: whether any extent can have changed its generation since.
//!
//! Invariants: only what is authentic under the backup's own metadata key is believed, the rest is unknown, and what is unknown
//! never speaks for a restore. Pure but for [`Evidence::read`]; FORMAT.md, section 11, has the rule and why it is enough.

use crate::engine::Disk;
use crate::format::backup::Backup;
use crate::format::envelope::{GENERATIONS, SUPERBLOCK, peek};
use crate::format::generations::GenerationTable;
use crate::format::intents::Record;
use crate::format::layout::{GENERATIONS_COPY, SUPERBLOCK_A, SUPERBLOCK_B};
use crate::format::superblock::Superblock;
use crate::format::{Damage, Seal, stamp};
use crate::units::BLOCK;
use crate::volume::error::VolumeError;
use crate::volume::open::read_or_empty;

/// Why a backup may be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// It is settled, and the data are of its epoch.
    Epoch,
    /// It is not, but the header that is there shows that nothing has moved.
    Unmoved,
}

/// What stands in the ring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ring {
    /// The newest authentic record.
    pub newest: Option<u64>,
    /// Slots that are neither zero nor an authentic record.
    pub unknown: Vec<u32>,
}

/// Everything that can be asked.
pub(super) struct Evidence {
    /// The epoch of the stamp on the data; none where the volume has no room for one.
    pub stamp: Option<Result<u64, Damage>>,
    /// Both superblock copies, and their sequences.
    pub superblocks: [Result<(Superblock, u64), Damage>; 2],
    /// The newest authentic table.
    pub table: Option<(GenerationTable, u64)>,
    /// The ring.
    pub ring: Ring,
}

impl Evidence {
    /// Looks at `header` and `data` where the backup says that things stand.
    pub fn read(backup: &Backup, seal: &Seal, header: &dyn Disk, data: &dyn Disk) -> Evidence {
        let superblock = &backup.superblock.0;
        let superblocks = [SUPERBLOCK_A, SUPERBLOCK_B].map(|place| {
            let bytes = read_or_empty(header, place, BLOCK);
            let found = peek(SUPERBLOCK, &bytes)?;
            let (sequence, _) = seal.verify(&found, 0)?;
            Ok((Superblock::decode(&found)?, sequence))
        });
        let tables = [0, 1].map(|copy| {
            let place = superblock.zones.generations.offset + copy * GENERATIONS_COPY;
            let bytes = read_or_empty(header, place, GENERATIONS_COPY);
            let found = peek(GENERATIONS, &bytes).ok()?;
            let (sequence, _) = seal.verify(&found, 0).ok()?;
            Some((GenerationTable::decode(&found).ok()?, sequence))
        });
        Evidence {
            stamp: read_stamp(seal, superblock, data),
            superblocks,
            table: tables.into_iter().flatten().max_by_key(|(_, sequence)| *sequence),
            ring: read_ring(seal, superblock, header),
        }
    }

    /// Whether the backup may be restored; why not.
    pub fn judge(&self, backup: &Backup) -> Result<Ground, VolumeError> {
        let epoch = backup.superblock.0.epoch;
        match &self.stamp {
            Some(Ok(found)) if *found == epoch => {}
            Some(Ok(found)) if *found > epoch => {
                return Err(stale(format!(
                    "it is of rotation epoch {epoch}, and the data are of epoch {found}: a rotation has started or ended since"
                )));
            }
            Some(Ok(found)) => {
                return Err(stale(format!(
                    "it is of rotation epoch {epoch}, and the data are of epoch {found}: the data are an older copy"
                )));
            }
            Some(Err(damage)) => {
                return Err(stale(format!(
                    "where it says that the data's epoch stamp stands there is none of this volume ({damage}): the volume has \
                     grown since, or these are not its data"
                )));
            }
            None => {}
        }
        match backup.is_settled() && self.stamp.is_some() {
            true => Ok(Ground::Epoch),
            false => self.nothing_moved(backup).map(|()| Ground::Unmoved).map_err(|why| {
                stale(format!(
                    "it was made in the middle of a rotation, so extents may have been re-encrypted since within its epoch, and {why}"
                ))
            }),
        }
    }

    /// Whether the header that is there shows that no extent has moved; why not.
    fn nothing_moved(&self, backup: &Backup) -> Result<(), String> {
        let tail = backup.superblock.0.tail;
        let changed = |(table, _): &&(GenerationTable, u64)| table.rotation.id != backup.table.0.rotation.id;
        if let Some((table, _)) = self.table.as_ref().filter(changed) {
            let id = table.rotation.id;
            return Err(format!(
                "the present generation table is at rotation {id}: it was rolled back, or another one began"
            ));
        }
        if let Some(newest) = self.ring.newest.filter(|newest| *newest > tail) {
            return Err(format!(
                "the ring of the present header has record {newest}, the backup ends with {tail}: they were"
            ));
        }
        if let Some(slot) = self.ring.unknown.first() {
            return Err(format!("slot {slot} of the present header's ring cannot be read, which could tell"));
        }
        if tail > 0 && self.ring.newest == Some(tail) {
            return Ok(());
        }
        for (copy, found) in ["A", "B"].iter().zip(&self.superblocks) {
            match found {
                Ok((found, _)) if found.tail > tail => {
                    return Err(format!(
                        "the present superblock names record {}, the backup ends with {tail}: they were",
                        found.tail
                    ));
                }
                Ok(_) => {}
                Err(damage) => {
                    return Err(format!("superblock copy {copy}, which could tell, is not to be had ({damage})"));
                }
            }
        }
        Ok(())
    }

    fn authentic(&self) -> impl Iterator<Item = &(Superblock, u64)> {
        self.superblocks.iter().flatten()
    }

    /// The newest sequence of a superblock.
    pub fn newest_superblock(&self) -> u64 {
        self.authentic().map(|(_, sequence)| *sequence).max().unwrap_or(0)
    }

    /// The superblock to write: the backup's, its checkpoint newer than any page ever written, and the poison of now.
    pub fn restored(&self, backup: &Backup) -> Superblock {
        let mut superblock = backup.superblock.0.clone();
        for (found, _) in self.authentic() {
            superblock.checkpoint = superblock.checkpoint.max(found.checkpoint);
            superblock.tail = superblock.tail.max(found.tail);
        }
        superblock.checkpoint += 1;
        let newest = self.authentic().max_by_key(|(_, sequence)| *sequence);
        superblock.poisoned = newest.map(|(found, _)| found.poisoned.clone()).unwrap_or_default();
        superblock
    }
}

fn stale(why: String) -> VolumeError {
    VolumeError::StaleBackup { why }
}

fn read_stamp(seal: &Seal, superblock: &Superblock, data: &dyn Disk) -> Option<Result<u64, Damage>> {
    let zone = superblock.zones.stamp;
    let blocks = (0..zone.length / BLOCK).map(|copy| read_or_empty(data, zone.offset + copy * BLOCK, BLOCK));
    let copies: Vec<_> = blocks.map(|block| stamp::open(seal, &block)).collect();
    (!copies.is_empty()).then(|| stamp::newest(copies))
}

fn read_ring(seal: &Seal, superblock: &Superblock, header: &dyn Disk) -> Ring {
    let mut ring = Ring::default();
    for slot in 0..superblock.ring_slots {
        let place = superblock.zones.ring.offset + u64::from(slot) * u64::from(superblock.slot_size);
        let bytes = read_or_empty(header, place, superblock.slot_size.into());
        match Record::open(seal, slot, &bytes, &superblock.shape) {
            Ok(record) => ring.newest = ring.newest.max(Some(record.sequence)),
            Err(Damage::Zero { .. }) => {}
            Err(_) => ring.unknown.push(slot),
        }
    }
    ring
}
