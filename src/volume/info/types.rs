//! The figures of `volume info`, as plain structs. Every one of them is unauthenticated.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::crypto::Suite;
use crate::format::Damage;
use crate::format::generations::{Entry, Order, Rotation, SUITE_METADATA, VerifyMode};
use crate::format::layout::WriteMode;
use crate::format::superblock::Superblock;
use crate::keys::ProviderKind;
use crate::volume::lifecycle::phase_name;

/// What a volume's metadata say of themselves, by CRC only.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Info {
    /// Always false: no key, no authentication. Stands in the output so that nobody takes it for more.
    pub verified: bool,
    /// Who holds the backing's lock; what is shown may be changing then.
    pub in_use: Option<String>,
    /// Format version.
    pub format_version: u32,
    /// Superblock copies A and B.
    pub superblocks: [CopyInfo; 2],
    /// Shape and state from the superblock that counts.
    pub volume: VolumeInfo,
    /// Where the zones stand.
    pub zones: Vec<ZoneInfo>,
    /// Generation-table copies A and B.
    pub generation_tables: [CopyInfo; 2],
    /// Generations, the metadata key (0) first; empty if no table copy can be read.
    pub generations: Vec<GenerationInfo>,
    /// The rotation on record.
    pub rotation: Option<RotationInfo>,
    /// Tag pages.
    pub tag_pages: TagPagesInfo,
    /// Intent ring.
    pub ring: RingInfo,
    /// Epoch stamp at the end of the data; none if the volume has none or its data were not given.
    pub stamp: Option<CopyInfo>,
}

/// One structure, or one copy of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CopyInfo {
    /// `good` (by its CRC), `never written`, `newer`, or `damaged`.
    pub state: &'static str,
    /// Its sequence, if good; the epoch of a stamp.
    pub sequence: Option<u64>,
    /// Whether it is the copy that counts.
    pub counts: bool,
    /// What is wrong with it.
    pub damage: Option<String>,
}

impl CopyInfo {
    /// Describes what a decoder found.
    pub(in crate::volume) fn of<T: AsSequence>(found: &Result<T, Damage>) -> CopyInfo {
        match found {
            Ok(found) => CopyInfo { state: "good", sequence: Some(found.sequence()), counts: false, damage: None },
            Err(damage) => {
                let state = match damage {
                    Damage::Zero { .. } => "never written",
                    Damage::Newer { .. } => "newer",
                    _ => "damaged",
                };
                CopyInfo { state, sequence: None, counts: false, damage: Some(damage.to_string()) }
            }
        }
    }
}

/// What has a sequence.
pub(in crate::volume) trait AsSequence {
    /// It.
    fn sequence(&self) -> u64;
}

impl AsSequence for u64 {
    fn sequence(&self) -> u64 {
        *self
    }
}

impl AsSequence for crate::format::envelope::Unverified<'_> {
    fn sequence(&self) -> u64 {
        self.sequence
    }
}

/// A volume's shape and state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VolumeInfo {
    /// Identity, as a UUID.
    pub id: String,
    /// Bytes clients see.
    pub size: u64,
    /// Bytes it may grow to.
    pub max_size: u64,
    /// Bytes it had before a growth that is unfinished; none: no growth is.
    pub growing_from: Option<u64>,
    /// Bytes of an extent.
    pub extent_size: u64,
    /// Extents.
    pub extents: u32,
    /// Bytes of a data unit.
    pub sector_size: u32,
    /// Bytes the backing replaces atomically.
    pub granule: u32,
    /// Who vouches for that.
    pub granule_source: String,
    /// `in-place` or `journal`.
    pub mode: &'static str,
    /// Whether the header is a file of its own.
    pub detached: bool,
    /// Seconds since 1970.
    pub created: u64,
    /// Rotation epoch.
    pub epoch: u64,
    /// Newest tag pages that count.
    pub checkpoint: u64,
    /// Why writes are refused; none: they are not.
    pub poisoned: Option<String>,
}

impl VolumeInfo {
    pub(super) fn of(superblock: &Superblock) -> VolumeInfo {
        let shape = &superblock.shape;
        VolumeInfo {
            id: superblock.volume.to_string(),
            size: shape.size,
            max_size: shape.max_size,
            growing_from: superblock.unfinished.map(|_| superblock.served_size()),
            extent_size: shape.extent_size,
            extents: shape.extents(),
            sector_size: shape.data_unit,
            granule: shape.granule,
            granule_source: superblock.granule_source.clone(),
            mode: match shape.mode {
                WriteMode::InPlace => "in-place",
                WriteMode::Journal => "journal",
            },
            detached: superblock.detached,
            created: superblock.created,
            epoch: superblock.epoch,
            checkpoint: superblock.checkpoint,
            poisoned: Some(superblock.poisoned.clone()).filter(|why| !why.is_empty()),
        }
    }
}

/// One zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ZoneInfo {
    /// Its name.
    pub name: &'static str,
    /// `header` or `data`; the same file where the header is attached.
    pub backing: &'static str,
    /// Bytes from the start of the backing.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// One key generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GenerationInfo {
    /// Its number; 0 is the metadata key.
    pub generation: u32,
    /// Key state.
    pub state: &'static str,
    /// Cipher suite.
    pub suite: String,
    /// Bytes of a data unit.
    pub data_unit: u32,
    /// Bytes the tweak counts in.
    pub tweak_unit: u32,
    /// Tweak of volume offset 0.
    pub tweak_base: u64,
    /// Whether it is marked as known to others.
    pub compromised: bool,
    /// Seconds since 1970.
    pub created: u64,
    /// Seconds since 1970; 0: never.
    pub activated: u64,
    /// Bytes encrypted under it, at most.
    pub bytes_encrypted_max: u64,
    /// Why it was made.
    pub reason: String,
    /// Its canary block, by CRC; the metadata key has none.
    pub canary: Option<CopyInfo>,
    /// Its wrapped copies.
    pub wraps: Vec<WrapInfo>,
}

/// One wrap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WrapInfo {
    /// Who keeps the KEK.
    pub provider: String,
    /// The KEK's id.
    pub kek_id: String,
    /// Its version.
    pub kek_version: u32,
    /// Bytes of the wrapped key.
    pub bytes: usize,
}

impl GenerationInfo {
    pub(super) fn of(entry: &Entry, canary: Option<CopyInfo>) -> GenerationInfo {
        let keeper = |id| ProviderKind::from_id(id).map_or_else(|| format!("keeper {id}"), |kind| kind.to_string());
        let wraps = entry.wraps.iter().map(|wrap| WrapInfo {
            provider: keeper(wrap.provider),
            kek_id: wrap.kek_id.clone(),
            kek_version: wrap.kek_version,
            bytes: wrap.blob.len(),
        });
        GenerationInfo {
            generation: entry.generation.0,
            state: entry.state.name(),
            suite: suite_name(entry.suite),
            data_unit: entry.data_unit,
            tweak_unit: entry.tweak_unit,
            tweak_base: entry.tweak_base,
            compromised: entry.compromised,
            created: entry.created,
            activated: entry.activated,
            bytes_encrypted_max: entry.bytes_reserved,
            reason: entry.reason.clone(),
            canary,
            wraps: wraps.collect(),
        }
    }
}

/// The name of a suite id.
pub(in crate::volume) fn suite_name(id: u16) -> String {
    match (id, Suite::from_id(id)) {
        (SUITE_METADATA, _) => "metadata key".into(),
        (_, Some(suite)) => suite.to_string(),
        (id, None) => format!("unknown suite {id}"),
    }
}

/// The rotation on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RotationInfo {
    /// Counts rotations.
    pub id: u64,
    /// Where it stands; not verified.
    pub phase: &'static str,
    /// The target generation.
    pub target: u32,
    /// What a rollback would make the target.
    pub rollback_to: Option<u32>,
    /// Whether it is a rollback.
    pub is_rollback: bool,
    /// Whether the operator finalizes.
    pub hold_finalize: bool,
    /// Which extents go first.
    pub order: &'static str,
    /// Bytes per second; 0: no limit.
    pub rate: u64,
    /// Whether client latency slows it.
    pub adaptive: bool,
    /// Extents in a million that are read back.
    pub verify_ppm: u32,
    /// Extents verified so far.
    pub verified_extents: u64,
    /// Seconds since 1970.
    pub started: u64,
    /// Seconds since 1970.
    pub drained: u64,
    /// Why.
    pub reason: String,
}

impl RotationInfo {
    pub(super) fn of(rotation: &Rotation) -> RotationInfo {
        RotationInfo {
            id: rotation.id,
            phase: phase_name(rotation.phase),
            target: rotation.target.0,
            rollback_to: rotation.rollback_to.map(|to| to.0),
            is_rollback: rotation.is_rollback,
            hold_finalize: rotation.hold_finalize,
            order: match rotation.order {
                Order::Sequential => "sequential",
                Order::OldestFirst => "oldest first",
                Order::Ranges(_) => "given ranges first",
            },
            rate: rotation.pace.rate,
            adaptive: rotation.pace.adaptive,
            verify_ppm: match rotation.verify {
                VerifyMode::Off => 0,
                VerifyMode::Sample(ppm) => ppm,
                VerifyMode::Full => 1_000_000,
            },
            verified_extents: rotation.verified,
            started: rotation.started,
            drained: rotation.drained,
            reason: rotation.reason.clone(),
        }
    }
}

/// The tag pages, two copies each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TagPagesInfo {
    /// Pages.
    pub pages: u32,
    /// Copies whose CRC is right.
    pub good: u32,
    /// Copies never written.
    pub unwritten: u32,
    /// Copies damaged.
    pub damaged: u32,
    /// The first pages with a damaged copy.
    pub damaged_pages: Vec<u32>,
    /// Extents by generation as of the checkpoint; what the ring adds is not in it.
    pub extents_by_generation: BTreeMap<u32, u64>,
    /// Extents whose page has no usable copy.
    pub extents_unknown: u64,
}

/// The intent ring.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RingInfo {
    /// Slots.
    pub slots: u32,
    /// Bytes of a slot.
    pub slot_size: u32,
    /// The newest dead record.
    pub tail: u64,
    /// Slots with a record whose CRC is right.
    pub records: u32,
    /// Of these, records after the tail.
    pub live: u32,
    /// Slots never written.
    pub unwritten: u32,
    /// Slots that hold something else: torn or rotted records.
    pub damaged: u32,
    /// Sequence of the newest record.
    pub newest: Option<u64>,
}
