//! What can go wrong with a volume, as one closed enum: where it happened and what it means, the cause as source.

use std::io;

use crate::crypto::CryptoError;
use crate::engine::EngineError;
use crate::format::Damage;
use crate::format::layout::ShapeError;
use crate::keys::KeyError;
use crate::keys::escrow::EscrowError;
use crate::units::{Extent, Generation, VolumeId};
use crate::volume::log::Refused;
use crate::volume::replay::ReplayError;

/// A failure of a volume operation.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The backing could not be opened or created.
    #[error("the backing cannot be used")]
    Backing(#[from] EngineError),
    /// A device operation failed.
    #[error("cannot {what}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The device's answer.
        source: io::Error,
    },
    /// The shape asked for is not possible.
    #[error("such a volume cannot be made")]
    Shape(#[from] ShapeError),
    /// Neither superblock copy is one.
    #[error("no keymoult volume here: {why}")]
    NotAVolume {
        /// What stands at the two places.
        why: String,
    },
    /// The format is newer than this build.
    #[error("the volume's format is version {found}; this build reads up to version {known}")]
    Newer {
        /// The version found.
        found: u32,
        /// The newest version known.
        known: u32,
    },
    /// A metadata structure is damaged and no twin can stand in.
    #[error("{place} cannot be used")]
    Damaged {
        /// Which structure, and where.
        place: String,
        /// How it is damaged.
        source: Damage,
    },
    /// The backing is shorter than the volume.
    #[error("the {which} backing is {found} bytes long, but the volume needs {needed}: it was truncated")]
    Truncated {
        /// Data or header.
        which: &'static str,
        /// Bytes found.
        found: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// None of the keys opens the volume.
    #[error("none of the keys given opens volume {volume}; it is wrapped for {wanted}")]
    WrongKey {
        /// Which volume.
        volume: VolumeId,
        /// The KEK ids of its wraps.
        wanted: String,
    },
    /// A KEK could not be used.
    #[error("a key-encryption key cannot be used")]
    Key(#[from] KeyError),
    /// A cipher could not be set up.
    #[error("a cipher cannot be set up")]
    Crypto(#[from] CryptoError),
    /// The canary of a generation is wrong: the key is not the one that encrypted.
    #[error("generation {generation} fails its canary: the unwrapped key is not the one that encrypted it")]
    Canary {
        /// Which generation.
        generation: Generation,
    },
    /// Header and data are not of the same time.
    #[error("the header is of rotation epoch {header}, the data of epoch {data}: {meaning}")]
    StaleHeader {
        /// Epoch in the superblock.
        header: u64,
        /// Epoch in the stamp.
        data: u64,
        /// Which one is old, in words.
        meaning: &'static str,
    },
    /// A header backup that would decrypt to garbage, or may.
    #[error("the header backup is stale: {why}")]
    StaleBackup {
        /// What shows it.
        why: String,
    },
    /// Keys could not be put into escrow.
    #[error("the keys cannot be put into escrow")]
    Escrow(#[from] EscrowError),
    /// Everything that may hold keys of the volume is on record, and there is no room for more.
    #[error("the volume has as many holders on record as it can: release those that are gone first")]
    HoldersFull,
    /// A header was given for an attached volume, or none for a detached one.
    #[error("{0}")]
    HeaderKind(&'static str),
    /// The tag pages are not the ones the superblock names.
    #[error("the tag pages are not the ones checkpoint {checkpoint} wrote: a page was rolled back or lost{suspects}")]
    TagDigest {
        /// Which checkpoint.
        checkpoint: u64,
        /// Pages with an unreadable copy, in words.
        suspects: String,
    },
    /// An extent carries a tag no generation has.
    #[error("extent {extent} carries generation {generation}, which this volume does not have")]
    UnknownTag {
        /// Which extent.
        extent: Extent,
        /// The tag.
        generation: Generation,
    },
    /// An extent carries a tag of a generation that no extent may be under.
    #[error("extent {extent} carries generation {generation}, which is {state}: no extent may be under it")]
    TagState {
        /// Which extent.
        extent: Extent,
        /// The tag.
        generation: Generation,
        /// The generation's key state.
        state: &'static str,
    },
    /// The ring contradicts itself or the tags.
    #[error("the intent ring cannot be replayed")]
    Ring(#[from] ReplayError),
    /// The log's rules forbid a step.
    #[error("the intent log refuses the step")]
    Log(#[from] Refused),
    /// Writes are refused since a flush or metadata write failed.
    #[error("the volume is poisoned: {0}")]
    Poisoned(String),
    /// The operation does not fit the state.
    #[error("{0}")]
    Refused(String),
    /// An extent read back after its rewrite is not what was written.
    #[error("extent {extent} reads back differently from what was written")]
    ReadBack {
        /// Which extent.
        extent: Extent,
    },
    /// An extent could not be read back after its rewrite.
    #[error("extent {extent} was re-encrypted, but cannot be read back")]
    NotReadBack {
        /// Which extent.
        extent: Extent,
        /// Why.
        source: Box<VolumeError>,
    },
    /// A wrap that others would make way for could not be proven from the device.
    #[error("{what}")]
    Unproven {
        /// Which wrap of which key, and what became of it.
        what: String,
        /// Why.
        source: Box<VolumeError>,
    },
    /// The generation table has no room.
    #[error("the generation table is full; retire and destroy old generations first")]
    TableFull,
}

impl VolumeError {
    /// An I/O failure while doing `what`.
    pub fn io(what: &'static str) -> impl FnOnce(io::Error) -> VolumeError {
        move |source| VolumeError::Io { what, source }
    }

    /// Damage at `place`; a newer format version is told apart.
    pub fn damaged(place: impl Into<String>) -> impl FnOnce(Damage) -> VolumeError {
        move |source| match source {
            Damage::Newer { found, .. } => VolumeError::Newer { found, known: crate::format::VERSION },
            source => VolumeError::Damaged { place: place.into(), source },
        }
    }
}
