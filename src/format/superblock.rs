//! The superblock: what the volume is, where its zones stand, and where the ring's live part begins.
//!
//! Two copies, written alternately; the newest valid one counts. It is rewritten by a checkpoint, by a change of
//! epoch, by poisoning and by growth. Invariants: `checkpoint` and `tail` change together with `tag_digest`, in one write;
//! `epoch` and the size never decrease.

use super::codec::{Reader, Writer};
use super::envelope::{SUPERBLOCK, Seal, Unverified};
use super::layout::{Place, Shape, WriteMode, Zones};
use super::{COUNTER_MAX, Damage};
use crate::units::{BLOCK, VolumeId};

/// Fields of a superblock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Identity of the volume.
    pub volume: VolumeId,
    /// Its shape; of it only the size changes, by growth.
    pub shape: Shape,
    /// What vouches for the granule, in words.
    pub granule_source: String,
    /// Where the zones stand.
    pub zones: Zones,
    /// Whether the header is a file of its own.
    pub detached: bool,
    /// Slots of the ring.
    pub ring_slots: u32,
    /// Bytes of one slot.
    pub slot_size: u32,
    /// Sequence of the last record that is dead: live ones follow it without a gap.
    pub tail: u64,
    /// Sequence of the newest tag pages that count.
    pub checkpoint: u64,
    /// Keyed digest over (index, sequence) of every tag page.
    pub tag_digest: [u8; 32],
    /// Rotation epoch; the stamp on the data backing carries the same.
    pub epoch: u64,
    /// Why writes are refused until `check` passes; empty: they are not.
    pub poisoned: String,
    /// Seconds since 1970 at creation.
    pub created: u64,
    /// A growth is unfinished: this place on the data backing, from the old end of the data on, is still to be zeroed.
    pub unfinished: Option<Place>,
}

/// Feature bit: a growth is unfinished, and the place to zero follows the texts.
const GROWING: u64 = 1;

/// Longest text of `granule_source` and `poisoned`, bytes.
pub const TEXT_MAX: usize = 512;

impl Superblock {
    /// Seals the superblock into one block.
    pub fn seal(&self, seal: &Seal, sequence: u64) -> Vec<u8> {
        let mut out = Writer { bytes: seal.seal(SUPERBLOCK, 0, sequence, &self.encode()) };
        out.pad_to(BLOCK as usize);
        out.bytes
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        let shape = &self.shape;
        out.raw(&self.volume.0).u64(shape.size).u64(shape.max_size).u64(shape.extent_size);
        out.u32(shape.data_unit).u32(shape.granule);
        out.u8(match shape.mode {
            WriteMode::InPlace => 0,
            WriteMode::Journal => 1,
        });
        out.u8(u8::from(self.detached)).u8(0).u8(0); // hole rule 0: zero slices are holes; reserved
        self.zones.encode(&mut out);
        out.u32(self.ring_slots).u32(self.slot_size).u64(self.tail).u64(self.checkpoint).raw(&self.tag_digest);
        out.u64(self.epoch).u64(self.created);
        out.u64(if self.unfinished.is_some() { GROWING } else { 0 }); // feature bits a reader must know
        out.short_text(&self.granule_source, TEXT_MAX).short_text(&self.poisoned, TEXT_MAX);
        if let Some(place) = self.unfinished {
            out.u64(place.offset).u64(place.length);
        }
        out.bytes
    }

    /// Bytes clients may see: while a growth is unfinished, those from before it.
    pub fn served_size(&self) -> u64 {
        self.unfinished.map_or(self.shape.size, |place| place.offset - self.zones.data.offset)
    }

    /// Reads the fields of an unverified superblock: `info` shows them, opening verifies them afterwards.
    pub fn decode(found: &Unverified<'_>) -> Result<Superblock, Damage> {
        let mut reader = Reader::new(SUPERBLOCK.name, found.body);
        let r = &mut reader;
        let volume = VolumeId(r.array("volume id")?);
        let (size, max_size, extent_size) = (r.u64("size")?, r.u64("maximum size")?, r.u64("extent size")?);
        let (data_unit, granule) = (r.u32("sector size")?, r.u32("granule")?);
        let mode = match r.u8("write mode")? {
            0 => WriteMode::InPlace,
            1 => WriteMode::Journal,
            _ => return Err(r.bad("write mode")),
        };
        let header_kind = r.u8("header kind")?;
        r.require(header_kind <= 1, "header kind")?;
        let detached = header_kind == 1;
        let hole_rule = r.u8("hole rule")?;
        r.require(hole_rule == 0, "hole rule")?;
        r.u8("reserved")?;
        let shape = Shape { size, max_size, extent_size, data_unit, granule, mode };
        r.require(shape.check().is_ok(), "shape")?;
        let zones = Zones::decode(r)?;
        let (ring_slots, slot_size) = (r.u32("ring slots")?, r.u32("slot size")?);
        let features;
        let mut block = Superblock {
            volume,
            shape,
            zones,
            detached,
            ring_slots,
            slot_size,
            tail: r.u64("ring tail")?,
            checkpoint: r.u64("checkpoint")?,
            tag_digest: r.array("tag digest")?,
            epoch: r.u64("epoch")?,
            created: r.u64("creation time")?,
            granule_source: {
                features = r.u64("feature bits")?;
                r.require(features & !GROWING == 0, "feature bits (written by a newer build)")?;
                r.string("granule source", TEXT_MAX)?
            },
            poisoned: r.string("poison", TEXT_MAX)?,
            unfinished: None,
        };
        if features & GROWING != 0 {
            block.unfinished = Some(Place { offset: r.u64("place to zero")?, length: r.u64("place to zero")? });
        }
        block.check(r)?;
        Ok(block)
    }

    /// Holds counters and zones against their bounds and the shape, so that no later arithmetic on them can overflow.
    fn check(&self, r: &Reader<'_>) -> Result<(), Damage> {
        let zones = &self.zones;
        r.require(self.tail <= COUNTER_MAX, "ring tail")?;
        r.require(self.checkpoint <= COUNTER_MAX, "checkpoint")?;
        r.require(self.epoch <= COUNTER_MAX, "epoch")?;
        r.require(zones.generations.length >= 2 * super::layout::GENERATIONS_COPY, "generation zone")?;
        r.require(zones.canaries.length >= crate::limits::GENERATIONS_MAX as u64 * super::canary::SLOT, "canary zone")?;
        r.require(zones.tags.length == 2 * u64::from(self.shape.tag_pages()) * BLOCK, "tag zone")?;
        r.require((3..=1024).contains(&self.ring_slots), "ring slots")?;
        r.require(u64::from(self.slot_size) >= self.shape.slot_size(), "slot size")?;
        r.require(self.slot_size.is_multiple_of(BLOCK as u32) && self.slot_size <= 128 << 20, "slot size")?;
        r.require(zones.ring.length >= u64::from(self.ring_slots) * u64::from(self.slot_size), "ring zone")?;
        r.require(zones.data.length == self.shape.size, "data zone")?;
        r.require(zones.stamp.length <= 2 * BLOCK && zones.stamp.length.is_multiple_of(BLOCK), "stamp zone")?;
        r.require(!zones.overlap(self.detached), "zones (they overlap)")?;
        r.require(self.unfinished.is_none_or(|place| self.is_grown_over(place)), "place to zero")
    }

    /// Whether `place` may be what a growth leaves to zero: whole blocks from inside the data on, and none of any zone
    /// behind them.
    fn is_grown_over(&self, place: Place) -> bool {
        let zones = &self.zones;
        let whole = place.offset.is_multiple_of(BLOCK) && place.length.is_multiple_of(BLOCK) && place.length > 0;
        let inside = zones.data.offset < place.offset && place.offset < zones.data.end();
        let rest = Place { offset: zones.data.end(), length: place.end().saturating_sub(zones.data.end()) };
        let longer = Place { length: zones.data.length + rest.length, ..zones.data };
        whole && inside && place.length < 1 << 62 && !Zones { data: longer, ..*zones }.overlap(self.detached)
    }
}
