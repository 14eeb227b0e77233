//! Where everything stands: zones, and the numbers derived from a volume's shape.
//!
//! Invariants: zones do not overlap, start on block boundaries and stand in the order of [`Zone`]; the superblock
//! names each zone's place, so a reader never computes one. [`plan`] is the only place that decides them.

use super::Damage;
use super::codec::{Reader, Writer};
use super::envelope::OVERHEAD;
use crate::limits::{BATCH_MAX, EXTENT_MAX, EXTENT_MIN, EXTENTS_MAX, GENERATIONS_MAX, RING_SLOTS_MIN};
use crate::units::{BLOCK, align_up};

/// Offset of superblock copy A in the header backing, bytes.
pub const SUPERBLOCK_A: u64 = 0;
/// Offset of superblock copy B in the header backing, bytes: far enough that one damaged track takes only one.
pub const SUPERBLOCK_B: u64 = 32 << 10;
/// Bytes of one generation-table copy.
pub const GENERATIONS_COPY: u64 = 256 << 10;
/// Which of two copies the write with `sequence` goes to: odd to A (0), even to B (1). The rule of superblock and
/// generation table.
pub const fn copy_of(sequence: u64) -> usize {
    sequence.is_multiple_of(2) as usize
}

/// Tags in one tag page.
pub const TAGS_PER_PAGE: u32 = 1008;
/// Alignment of the data zone, bytes.
pub const DATA_ALIGN: u64 = 1 << 20;
/// Slots a new volume's ring gets.
pub const RING_SLOTS: u32 = 16;
/// Bytes of a journal-mode batch at most (or one extent, if that is larger).
pub const JOURNAL_BATCH_MAX: u64 = 8 << 20;

const _: () = assert!(RING_SLOTS >= RING_SLOTS_MIN);
const _: () = assert!(TAGS_PER_PAGE as usize * 4 + OVERHEAD <= BLOCK as usize);
const _: () = assert!(SUPERBLOCK_B >= BLOCK && GENERATIONS_COPY.is_multiple_of(BLOCK));

/// Bytes of a record before its lists.
pub const RECORD_FIXED: u64 = 16;
/// Bytes of one commit in a record.
pub const COMMIT_BYTES: u64 = 16;
/// Bytes of one intent in a record, its fingerprints aside.
pub const INTENT_BYTES: u64 = 16;

/// One contiguous place on a backing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Place {
    /// Bytes from the start of the backing.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

impl Place {
    /// The first byte behind it.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// How ciphertext is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// In place, under fingerprint intents: needs an atomic granule.
    InPlace,
    /// Through the ring first: for backings nothing vouches for.
    Journal,
}

/// The zones of a volume. `data` and `stamp` are on the data backing, the others on the header's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Zones {
    /// Generation table, copies A and B.
    pub generations: Place,
    /// Canary blocks, one per generation-table entry.
    pub canaries: Place,
    /// Tag pages: all A copies, then all B copies.
    pub tags: Place,
    /// Intent ring.
    pub ring: Place,
    /// Ciphertext, identity mapped.
    pub data: Place,
    /// Epoch stamp, two copies (one in a zone of one block); length 0 where the backing has no room for one.
    pub stamp: Place,
}

impl Zones {
    /// The least that the data backing is long, bytes.
    pub fn data_len(&self) -> u64 {
        self.data.end().max(if self.stamp.length > 0 { self.stamp.end() } else { 0 })
    }

    /// Whether two of them, or one and a superblock copy, share a byte; those of different backings cannot.
    pub fn overlap(&self, detached: bool) -> bool {
        let superblocks = [SUPERBLOCK_A, SUPERBLOCK_B].map(|offset| Place { offset, length: BLOCK });
        let mut header = vec![self.generations, self.canaries, self.tags, self.ring];
        header.extend(superblocks);
        let data = [self.data, self.stamp];
        if !detached {
            header.extend(data);
            return any_overlap(&header);
        }
        any_overlap(&header) || any_overlap(&data)
    }

    /// Appends the six places.
    pub fn encode(&self, out: &mut Writer) {
        for place in [self.generations, self.canaries, self.tags, self.ring, self.data, self.stamp] {
            out.u64(place.offset).u64(place.length);
        }
    }

    /// Reads the six places; each must be block aligned and end within 2^63.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Zones, Damage> {
        let mut place = |field| -> Result<Place, Damage> {
            let place = Place { offset: reader.u64(field)?, length: reader.u64(field)? };
            let aligned = place.offset.is_multiple_of(BLOCK) && place.length.is_multiple_of(512);
            let bounded = place.offset < 1 << 62 && place.length < 1 << 62;
            reader.require(aligned && bounded, field)?;
            Ok(place)
        };
        Ok(Zones {
            generations: place("generation zone")?,
            canaries: place("canary zone")?,
            tags: place("tag zone")?,
            ring: place("ring zone")?,
            data: place("data zone")?,
            stamp: place("stamp zone")?,
        })
    }
}

fn any_overlap(places: &[Place]) -> bool {
    let mut places: Vec<Place> = places.iter().filter(|place| place.length > 0).copied().collect();
    places.sort_by_key(|place| place.offset);
    places.windows(2).any(|pair| pair[0].end() > pair[1].offset)
}

/// The shape of a volume: what it is at its creation, but for the size, which may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes clients see.
    pub size: u64,
    /// Bytes it may grow to: what the tag zone has room for.
    pub max_size: u64,
    /// Bytes of one extent, a power of two.
    pub extent_size: u64,
    /// Bytes of a data unit by default: 512 or 4096.
    pub data_unit: u32,
    /// Bytes the backing replaces atomically: 512 or 4096; the unit of fingerprints.
    pub granule: u32,
    /// How ciphertext is replaced.
    pub mode: WriteMode,
}

impl Shape {
    /// Extents of the volume.
    pub fn extents(&self) -> u32 {
        self.size.div_ceil(self.extent_size) as u32
    }

    /// Extents the tag zone has room for.
    pub fn extents_max(&self) -> u32 {
        self.max_size.div_ceil(self.extent_size) as u32
    }

    /// Tag pages of the tag zone.
    pub fn tag_pages(&self) -> u32 {
        self.extents_max().div_ceil(TAGS_PER_PAGE)
    }

    /// Byte range `first..end` of an extent within the volume; the last one may be short.
    pub fn extent_range(&self, extent: u32) -> (u64, u64) {
        let first = u64::from(extent) * self.extent_size;
        (first, (first + self.extent_size).min(self.size))
    }

    /// The unit every device write is a whole multiple of: rule R1 asks for whole granules.
    pub fn write_unit(&self) -> u32 {
        self.data_unit.max(self.granule)
    }

    /// Bytes of extents one record covers at most.
    pub fn batch_bytes(&self) -> u64 {
        let wanted = (self.max_size / 16).next_power_of_two();
        let most = match self.mode {
            WriteMode::InPlace => BATCH_MAX,
            WriteMode::Journal => JOURNAL_BATCH_MAX,
        };
        wanted.clamp(self.extent_size, most.max(self.extent_size))
    }

    /// Extents one record carries at most.
    pub fn batch_extents(&self) -> u32 {
        (self.batch_bytes() / self.extent_size) as u32
    }

    /// Bytes of one ring slot.
    pub fn slot_size(&self) -> u64 {
        let batch = self.batch_bytes();
        let per_extent = u64::from(self.batch_extents()) * (COMMIT_BYTES + INTENT_BYTES);
        let content = match self.mode {
            WriteMode::InPlace => batch / u64::from(self.granule) * 8,
            WriteMode::Journal => batch,
        };
        align_up(OVERHEAD as u64 + RECORD_FIXED + per_extent + content, BLOCK)
    }

    /// Checks every bound; the message of the error names the field and what it must be.
    pub fn check(&self) -> Result<(), ShapeError> {
        let extent_ok = self.extent_size.is_power_of_two() && (EXTENT_MIN..=EXTENT_MAX).contains(&self.extent_size);
        if !extent_ok {
            return Err(ShapeError::ExtentSize { found: self.extent_size });
        }
        if !matches!(self.data_unit, 512 | 4096) {
            return Err(ShapeError::DataUnit { found: self.data_unit });
        }
        if !matches!(self.granule, 512 | 4096) {
            return Err(ShapeError::Granule { found: self.granule });
        }
        if self.size == 0 || !self.size.is_multiple_of(BLOCK) {
            return Err(ShapeError::Size { found: self.size });
        }
        if self.max_size < self.size || self.max_size.div_ceil(self.extent_size) > EXTENTS_MAX {
            return Err(ShapeError::MaxSize {
                found: self.max_size,
                most: EXTENTS_MAX.saturating_mul(self.extent_size),
            });
        }
        Ok(())
    }
}

/// Why a shape is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Extent size.
    #[error("extent size {found} is not a power of two from {EXTENT_MIN} (64 KiB) to {EXTENT_MAX} (64 MiB) bytes")]
    ExtentSize {
        /// Bytes asked for.
        found: u64,
    },
    /// Data unit.
    #[error("sector size {found} is neither 512 nor 4096 bytes")]
    DataUnit {
        /// Bytes asked for.
        found: u32,
    },
    /// Granule.
    #[error("granule {found} is neither 512 nor 4096 bytes")]
    Granule {
        /// Bytes found.
        found: u32,
    },
    /// Size.
    #[error("volume size {found} is not a positive multiple of {BLOCK} bytes")]
    Size {
        /// Bytes asked for.
        found: u64,
    },
    /// Size limit.
    #[error("maximum size {found} is smaller than the size or beyond {most} bytes, the most this extent size allows")]
    MaxSize {
        /// Bytes asked for.
        found: u64,
        /// Bytes allowed.
        most: u64,
    },
}

/// A new volume's zones.
pub struct Plan {
    /// The places.
    pub zones: Zones,
    /// Bytes the header backing needs (attached: the offset of the data zone).
    pub header_len: u64,
    /// Bytes the data backing needs, epoch stamp included.
    pub data_len: u64,
}

/// Lays out a new volume: `detached` puts the data zone at offset 0 of a backing of its own.
pub fn plan(shape: &Shape, detached: bool) -> Plan {
    let generations = Place { offset: 64 << 10, length: 2 * GENERATIONS_COPY };
    let canaries = Place { offset: generations.end(), length: GENERATIONS_MAX as u64 * super::canary::SLOT };
    let tags = Place { offset: canaries.end(), length: 2 * u64::from(shape.tag_pages()) * BLOCK };
    let ring = Place { offset: tags.end(), length: u64::from(RING_SLOTS) * shape.slot_size() };
    let header_len = align_up(ring.end(), DATA_ALIGN);
    let data = Place { offset: if detached { 0 } else { header_len }, length: shape.size };
    let stamp = Place { offset: align_up(data.end(), BLOCK), length: 2 * BLOCK };
    Plan { zones: Zones { generations, canaries, tags, ring, data, stamp }, header_len, data_len: stamp.end() }
}

/// The largest volume that fits on a data backing of `backing_len` bytes with this shape, 0 if none does.
pub fn largest_size(shape: &Shape, backing_len: u64, detached: bool) -> u64 {
    let fits = |blocks: u64| {
        let size = blocks * BLOCK;
        plan(&Shape { size, max_size: size, ..*shape }, detached).data_len <= backing_len
    };
    // What a volume needs only grows with its size: halve the range between what fits and what does not.
    let (mut fit, mut too_much) = (0, backing_len.min(EXTENTS_MAX * shape.extent_size) / BLOCK + 1);
    while too_much - fit > 1 {
        let middle = fit + (too_much - fit) / 2;
        if fits(middle) {
            fit = middle;
        } else {
            too_much = middle;
        }
    }
    fit * BLOCK
}
