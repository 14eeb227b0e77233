//! The order of durable steps, asserted by the device: it looks into what is written to it and says at once which write
//! came too early, whether or not a crash would show it.
//!
//! It trusts nothing but the bytes it holds: what is durable, and what only the cache has.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ops::Range;

use super::setting::Setting;
use super::state::DiskState;
use crate::format::envelope::{RECORD, SUPERBLOCK, peek};
use crate::format::intents::Record;
use crate::format::layout::{GENERATIONS_COPY, RING_SLOTS, SUPERBLOCK_A, SUPERBLOCK_B, Shape, Zones, plan};
use crate::format::superblock::Superblock;
use crate::units::BLOCK;

thread_local! {
    static ROTATING: Cell<bool> = const { Cell::new(false) };
}

/// From here this thread's writes are the rotation's, or not. Gives what it was before.
pub fn rotating(now: bool) -> bool {
    ROTATING.replace(now)
}

/// What a write must wait for.
pub struct Order {
    shape: Shape,
    zones: Zones,
    slot_size: u64,
    /// The disk that has the metadata.
    header: usize,
    /// Numbers of the rotation's data writes.
    rotated: BTreeSet<u64>,
}

/// A write that is about to begin.
pub struct Write<'a> {
    pub disk: usize,
    pub offset: u64,
    /// None: zeros.
    pub bytes: Option<&'a [u8]>,
    pub number: u64,
}

impl Order {
    /// How every complaint begins.
    pub const TOO_EARLY: &str = "too early: ";

    pub fn of(setting: &Setting) -> Order {
        let zones = plan(&setting.shape, setting.detached).zones;
        let (slot_size, header) = (setting.shape.slot_size(), usize::from(setting.detached));
        Order { shape: setting.shape, zones, slot_size, header, rotated: BTreeSet::new() }
    }

    /// What `write` comes too early for, if it does.
    pub fn judge(&mut self, disks: &[DiskState], write: &Write<'_>) -> Result<(), String> {
        let zones = self.zones;
        let within = |zone: crate::format::layout::Place| (zone.offset..zone.end()).contains(&write.offset);
        if write.disk == 0 && within(zones.data) {
            return self.data(disks, write);
        }
        if write.disk != self.header {
            return Ok(());
        }
        match write.offset {
            SUPERBLOCK_A => self.superblock(disks, write, SUPERBLOCK_B),
            SUPERBLOCK_B => self.superblock(disks, write, SUPERBLOCK_A),
            _ if within(zones.ring) => self.record(disks, write),
            _ if within(zones.generations) => {
                let first = zones.generations.offset;
                let other = if write.offset < first + GENERATIONS_COPY { first + GENERATIONS_COPY } else { first };
                self.settled(disks, self.header, other..other + GENERATIONS_COPY, "the other table copy")
            }
            _ => Ok(()),
        }
    }

    fn settled(&self, disks: &[DiskState], disk: usize, range: Range<u64>, what: &str) -> Result<(), String> {
        match disks[disk].first_pending(range, |_| true) {
            Some(number) => Err(format!("write {number} to {what} is not durable yet")),
            None => Ok(()),
        }
    }

    fn extent(&self, extent: u32) -> Range<u64> {
        let (first, end) = self.shape.extent_range(extent);
        self.zones.data.offset + first..self.zones.data.offset + end
    }

    /// The rotation writes data only for an intent that is durable and not yet settled.
    fn data(&mut self, disks: &[DiskState], write: &Write<'_>) -> Result<(), String> {
        if !ROTATING.get() {
            return Ok(());
        }
        self.rotated.insert(write.number);
        let extent = ((write.offset - self.zones.data.offset) / self.shape.extent_size) as u32;
        let records = self.durable_records(&disks[self.header]);
        let intents = records.iter().filter(|record| record.intents.iter().any(|intent| intent.extent.0 == extent));
        let Some(intent) = intents.map(|record| record.sequence).max() else {
            return Err(format!("data of extent {extent} without a durable intent"));
        };
        let commits = records.iter().flat_map(|record| &record.commits);
        match commits.filter(|commit| commit.extent.0 == extent).any(|commit| commit.intent >= intent) {
            true => Err(format!("data of extent {extent} for intent {intent}, which is settled")),
            false => Ok(()),
        }
    }

    /// The ring may be emptied when every record in it is dead by both superblock copies.
    fn forget(&self, disks: &[DiskState]) -> Result<(), String> {
        let header = &disks[self.header];
        self.settled(disks, self.header, SUPERBLOCK_A..SUPERBLOCK_A + BLOCK, "superblock copy A")?;
        self.settled(disks, self.header, SUPERBLOCK_B..SUPERBLOCK_B + BLOCK, "superblock copy B")?;
        let copies = [SUPERBLOCK_A, SUPERBLOCK_B].map(|place| header.durable_bytes(place, BLOCK as usize));
        let tail = copies.iter().map(|bytes| decode_superblock(bytes).map_or(0, |copy| copy.tail)).min();
        match self.durable_records(header).iter().find(|record| Some(record.sequence) > tail) {
            Some(record) => Err(format!("zeros over record {}, which a superblock may need", record.sequence)),
            None => Ok(()),
        }
    }

    /// A superblock that names a larger volume comes behind its stamp and an empty ring; one that calls the growth
    /// finished, behind the zeros where the old stamp stood.
    fn growth(&mut self, disks: &[DiskState], found: &Superblock) -> Result<(), String> {
        let durable = self.durable_superblock(&disks[self.header]);
        if found.shape.size > self.shape.size {
            let stamp = found.zones.stamp;
            self.settled(disks, 0, stamp.offset..stamp.end(), "the new stamp")?;
            self.settled(disks, self.header, self.zones.ring.offset..self.zones.ring.end(), "the ring")?;
            (self.shape, self.zones) = (found.shape, found.zones);
        }
        let Some(place) = durable.and_then(|durable| durable.unfinished) else { return Ok(()) };
        if found.unfinished.is_none() {
            self.settled(disks, 0, place.offset..place.end(), "where the old stamp stood")?;
            let bytes = disks[0].durable_bytes(place.offset, place.length as usize);
            if bytes.iter().any(|byte| *byte != 0) {
                return Err("the old stamp stands in the data".into());
            }
        }
        Ok(())
    }

    /// Commits are written for durable data only; intents for extents that are behind a flush; a slot is reused
    /// only if the durable tail is past the record in it.
    fn record(&self, disks: &[DiskState], write: &Write<'_>) -> Result<(), String> {
        let Some(bytes) = write.bytes else { return self.forget(disks) };
        let found = peek(RECORD, bytes).map_err(|damage| format!("a bad record is written: {damage}"))?;
        let record = Record::decode(&found, &self.shape).map_err(|damage| damage.to_string())?;
        for commit in &record.commits {
            let ours = |number| self.rotated.contains(&number);
            if let Some(number) = disks[0].first_pending(self.extent(commit.extent.0), ours) {
                return Err(format!(
                    "record {} commits {}: write {number} is not durable",
                    record.sequence, commit.extent
                ));
            }
        }
        for intent in &record.intents {
            self.settled(disks, 0, self.extent(intent.extent.0), "an extent with a new intent")?;
        }
        let slot = (write.offset - self.zones.ring.offset) / self.slot_size;
        let there = self.durable_record(&disks[self.header], slot).map_or(0, |record| record.sequence);
        let tail = self.durable_superblock(&disks[self.header]).map_or(0, |superblock| superblock.tail);
        match there > tail {
            true => Err(format!("record {} over record {there}, beyond the durable tail {tail}", record.sequence)),
            false => Ok(()),
        }
    }

    /// One copy in the cache at a time, and a checkpoint is named only when its pages are durable.
    fn superblock(&mut self, disks: &[DiskState], write: &Write<'_>, other: u64) -> Result<(), String> {
        let header = &disks[self.header];
        self.settled(disks, self.header, other..other + BLOCK, "the other superblock copy")?;
        let found = write.bytes.and_then(decode_superblock).ok_or("no superblock is written")?;
        self.growth(disks, &found)?;
        let durable = self.durable_superblock(header).map_or(0, |superblock| superblock.checkpoint);
        match found.checkpoint > durable {
            true => self.settled(disks, self.header, self.zones.tags.offset..self.zones.tags.end(), "a tag page"),
            false => Ok(()),
        }
    }

    fn durable_superblock(&self, header: &DiskState) -> Option<Superblock> {
        let copies = [SUPERBLOCK_A, SUPERBLOCK_B].map(|place| header.durable_bytes(place, BLOCK as usize));
        let found = copies.iter().filter_map(|bytes| peek(SUPERBLOCK, bytes).ok());
        found.max_by_key(|copy| copy.sequence).and_then(|copy| Superblock::decode(&copy).ok())
    }

    fn durable_record(&self, header: &DiskState, slot: u64) -> Option<Record> {
        let place = self.zones.ring.offset + slot * self.slot_size;
        let bytes = header.durable_bytes(place, self.slot_size as usize);
        Record::decode(&peek(RECORD, &bytes).ok()?, &self.shape).ok()
    }

    fn durable_records(&self, header: &DiskState) -> Vec<Record> {
        (0..u64::from(RING_SLOTS)).filter_map(|slot| self.durable_record(header, slot)).collect()
    }
}

fn decode_superblock(bytes: &[u8]) -> Option<Superblock> {
    Superblock::decode(&peek(SUPERBLOCK, bytes).ok()?).ok()
}
