//! An escrow bundle: the keys of a volume, sealed to recipients of another administrative domain, and a header backup beside them.
//!
//! Bytes only: who seals and opens the sealed parts is `keys::escrow`. Invariants: everything but the sealed parts is readable by
//! anybody and holds no secret; what authenticates the whole is the sealing of the keys, whose associated data is the digest of everything
//! else; texts and counts are within their bounds.

use super::Damage;
use super::backup::BACKUP_MAX;
use super::codec::{Reader, Writer};
use crate::crypto::shamir::SHARES_MAX;
use crate::units::VolumeId;

/// The first eight bytes.
pub const MAGIC: [u8; 8] = *b"KMESCROW";
/// The version this build writes and reads.
pub const VERSION: u32 = 1;
/// Longest recipient, bytes.
pub const RECIPIENT_MAX: usize = 128;
/// Longest sealed share, bytes.
pub const SHARE_MAX: usize = 1024;
/// Longest sealed keys, bytes.
pub const KEYS_MAX: usize = 64 << 10;
/// Longest bundle a reader takes, bytes.
pub const BUNDLE_MAX: u64 = BACKUP_MAX + (1 << 20);

const WHAT: &str = "escrow bundle";

/// One recipient's share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// For whom it is, as text.
    pub recipient: String,
    /// An age file for that recipient alone.
    pub sealed: Vec<u8>,
}

/// What a bundle says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Whose keys they are.
    pub volume: VolumeId,
    /// Identity of the holder that the volume's table has for this bundle.
    pub holder: [u8; 16],
    /// When it was made, seconds since 1970.
    pub made: u64,
    /// Shares it takes to open it.
    pub threshold: u8,
    /// The shares; the number of the first is 1.
    pub shares: Vec<Share>,
    /// The keys, sealed under what the shares give.
    pub keys: Vec<u8>,
    /// A header backup of the same moment.
    pub backup: Vec<u8>,
}

impl Bundle {
    /// Everything but the sealed keys and the CRC: what the sealing of the keys authenticates.
    pub fn open_part(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(&MAGIC).u32(VERSION).raw(&self.volume.0).raw(&self.holder).u64(self.made);
        out.u8(self.threshold).u8(u8::try_from(self.shares.len()).unwrap_or(u8::MAX));
        for share in &self.shares {
            out.short_bytes(share.recipient.as_bytes()).short_bytes(&share.sealed);
        }
        out.u32(u32::try_from(self.backup.len()).unwrap_or(u32::MAX)).raw(&self.backup);
        out.bytes
    }

    /// The bundle as a file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer { bytes: self.open_part() };
        out.u32(u32::try_from(self.keys.len()).unwrap_or(u32::MAX)).raw(&self.keys);
        let crc = crc32fast::hash(&out.bytes);
        out.u32(crc);
        out.bytes
    }

    /// Reads a bundle; nothing of it is authenticated yet.
    pub fn decode(bytes: &[u8]) -> Result<Bundle, Damage> {
        let mut reader = Reader::new(WHAT, bytes);
        let r = &mut reader;
        if r.array("magic")? != MAGIC {
            return Err(Damage::NotThis { what: WHAT });
        }
        let version = r.u32("version")?;
        if version != VERSION {
            return Err(Damage::Newer { what: WHAT, found: version });
        }
        let (body, crc) = bytes.split_at(bytes.len() - 4);
        if crc32fast::hash(body).to_le_bytes() != crc {
            return Err(Damage::Crc { what: WHAT });
        }
        let (volume, holder, made) = (VolumeId(r.array("volume id")?), r.array("holder id")?, r.u64("time")?);
        let (threshold, count) = (r.u8("threshold")?, usize::from(r.u8("shares")?));
        r.require((1..=SHARES_MAX).contains(&count), "shares")?;
        r.require((1..=count).contains(&usize::from(threshold)), "threshold")?;
        let mut shares = Vec::with_capacity(count);
        for _ in 0..count {
            let recipient = r.string("recipient", RECIPIENT_MAX)?;
            shares.push(Share { recipient, sealed: r.short_bytes("sealed share", SHARE_MAX)?.to_vec() });
        }
        let len = r.u32("header backup")? as usize;
        let backup = r.bytes("header backup", len)?.to_vec();
        let len = r.u32("sealed keys")? as usize;
        r.require(len <= KEYS_MAX, "sealed keys")?;
        let keys = r.bytes("sealed keys", len)?.to_vec();
        r.require(r.rest().len() == 4, "end")?;
        Ok(Bundle { volume, holder, made, threshold, shares, keys, backup })
    }
}
