#![doc = include_str!("FORMAT.md")]
//!
//! # Modules
//! Bytes only: nothing in this layer does I/O. Decoders take length-checked slices and return [`Damage`];
//! no input can make them panic or allocate beyond the bounds of [`crate::limits`].

pub mod backup;
pub mod bundle;
pub mod canary;
pub mod codec;
pub mod envelope;
pub mod generations;
pub mod growth;
pub mod handover;
pub mod intents;
pub mod layout;
pub mod lives;
pub mod stamp;
pub mod superblock;
pub mod tags;
pub mod wrapped;

#[cfg(test)]
mod tests;

pub use envelope::{Kind, Seal};

/// The format version this build writes and the newest it reads.
pub const VERSION: u32 = 1;

/// The largest sequence, epoch or count that is believed. Nothing that counts writes or bytes comes near it, and what
/// counts on from it cannot overflow.
pub const COUNTER_MAX: u64 = 1 << 62;

/// Why a structure read from a disk is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The magic at the start is another one: nothing of this kind is here.
    #[error("no {what} here: the magic does not match")]
    NotThis {
        /// The structure looked for.
        what: &'static str,
    },
    /// All bytes are zero.
    #[error("{what} is all zero")]
    Zero {
        /// The structure looked for.
        what: &'static str,
    },
    /// Written by a newer format.
    #[error("{what} has format version {found}; this build reads up to {VERSION}")]
    Newer {
        /// The structure looked for.
        what: &'static str,
        /// The version found.
        found: u32,
    },
    /// The checksum does not match: an accident (torn write, rot).
    #[error("{what} is damaged: CRC mismatch (torn write or rot)")]
    Crc {
        /// The structure looked for.
        what: &'static str,
    },
    /// The checksum matches but the MAC does not: tampering, or another volume's block.
    #[error("{what} is not authentic: its CRC is right but its MAC is not (tampering, or a block of another volume)")]
    Mac {
        /// The structure looked for.
        what: &'static str,
    },
    /// A field is outside its bounds.
    #[error("{what}: {field} is out of bounds")]
    Field {
        /// The structure looked for.
        what: &'static str,
        /// The field.
        field: &'static str,
    },
}

impl Damage {
    /// Whether the structure is whole but its authentication failed.
    pub fn is_tampering(&self) -> bool {
        matches!(self, Damage::Mac { .. })
    }
}
