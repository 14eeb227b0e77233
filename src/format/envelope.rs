//! The envelope every on-disk structure is sealed in.
//!
//! ```text
//! 0   magic     [8]   names the kind of structure
//! 8   version   u32   format version of this structure
//! 12  length    u32   bytes of the body
//! 16  sequence  u64   grows with every write of this structure
//! 24  body      [length]
//! ..  mac       [32]  HMAC-SHA256 over volume id ‖ place (u64) ‖ everything above
//! ..  crc       u32   CRC32 (IEEE) over everything above, the MAC included
//! ```
//!
//! Invariants: the CRC can be checked without a key and tells accident from attack; the MAC binds a
//! structure to its volume and to its place (page index, ring slot), so that a block moved elsewhere is refused.

use super::codec::{Reader, Writer};
use super::{COUNTER_MAX, Damage, VERSION};
use crate::crypto::mac::MacKey;
use crate::units::VolumeId;

/// Bytes before the body.
pub const HEAD: usize = 24;
/// Bytes of the MAC.
pub const MAC: usize = 32;
/// Bytes behind the body: MAC and CRC.
pub const TAIL: usize = MAC + 4;
/// What an envelope adds to its body.
pub const OVERHEAD: usize = HEAD + TAIL;

/// A kind of structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The first eight bytes on disk.
    pub magic: [u8; 8],
    /// What messages call it.
    pub name: &'static str,
}

/// The superblock.
pub const SUPERBLOCK: Kind = Kind { magic: *b"KEYMOULT", name: "superblock" };
/// The generation table.
pub const GENERATIONS: Kind = Kind { magic: *b"KMGENTAB", name: "generation table" };
/// A canary block.
pub const CANARY: Kind = Kind { magic: *b"KMCANARY", name: "canary block" };
/// A page of the tag table.
pub const TAG_PAGE: Kind = Kind { magic: *b"KMTAGPAG", name: "tag page" };
/// A record of the intent ring.
pub const RECORD: Kind = Kind { magic: *b"KMINTENT", name: "intent record" };
/// The epoch stamp at the end of the data backing.
pub const STAMP: Kind = Kind { magic: *b"KMEPOCH\0", name: "epoch stamp" };
/// A backup of the header, a file of its own.
pub const BACKUP: Kind = Kind { magic: *b"KMBACKUP", name: "header backup" };

/// What seals and opens envelopes of one volume.
pub struct Seal {
    volume: VolumeId,
    key: MacKey,
}

/// An envelope whose CRC is right and whose MAC nobody has checked.
pub struct Unverified<'a> {
    /// Grows with every write of the structure.
    pub sequence: u64,
    /// The structure's fields.
    pub body: &'a [u8],
    kind: Kind,
    signed: &'a [u8],
    mac: &'a [u8],
}

impl Seal {
    /// A seal for `volume` under `key`.
    pub fn new(volume: VolumeId, key: MacKey) -> Seal {
        Seal { volume, key }
    }

    /// The volume this seal binds to.
    pub fn volume(&self) -> VolumeId {
        self.volume
    }

    /// Seals `body`; the result is [`OVERHEAD`] bytes longer.
    pub fn seal(&self, kind: Kind, place: u64, sequence: u64, body: &[u8]) -> Vec<u8> {
        let mut out = Writer { bytes: Vec::with_capacity(body.len() + OVERHEAD) };
        out.raw(&kind.magic).u32(VERSION).u32(body.len() as u32).u64(sequence).raw(body);
        let mac = self.key.tag(&[&self.volume.0, &place.to_le_bytes(), &out.bytes]);
        out.raw(&mac);
        let crc = crc32fast::hash(&out.bytes);
        out.u32(crc);
        out.bytes
    }

    /// Checks the MAC of what [`peek`] returned and gives its sequence and body.
    pub fn verify<'a>(&self, found: &Unverified<'a>, place: u64) -> Result<(u64, &'a [u8]), Damage> {
        let parts: [&[u8]; 3] = [&self.volume.0, &place.to_le_bytes(), found.signed];
        if self.key.verify(&parts, found.mac) {
            Ok((found.sequence, found.body))
        } else {
            Err(Damage::Mac { what: found.kind.name })
        }
    }

    /// [`peek`] and [`Seal::verify`] in one.
    pub fn open<'a>(&self, kind: Kind, place: u64, bytes: &'a [u8]) -> Result<(u64, &'a [u8]), Damage> {
        self.verify(&peek(kind, bytes)?, place)
    }
}

/// Checks magic, version, length, CRC and the sequence's bound: what can be said without a key.
pub fn peek(kind: Kind, bytes: &[u8]) -> Result<Unverified<'_>, Damage> {
    let what = kind.name;
    let mut reader = Reader::new(what, bytes);
    let magic: [u8; 8] = reader.array("magic")?;
    if magic != kind.magic {
        return Err(if is_zero(bytes) { Damage::Zero { what } } else { Damage::NotThis { what } });
    }
    let version = reader.u32("version")?;
    let length = reader.u32("length")? as usize;
    let sequence = reader.u64("sequence")?;
    let end = HEAD.saturating_add(length);
    let Some(signed) = bytes.get(..end) else { return Err(damage_or_newer(what, version)) };
    let Some(tail) = bytes.get(end..end.saturating_add(TAIL)) else { return Err(damage_or_newer(what, version)) };
    let (mac, crc) = tail.split_at(MAC);
    let stored = u32::from_le_bytes([crc[0], crc[1], crc[2], crc[3]]);
    if crc32fast::hash(&bytes[..end + MAC]) != stored {
        return Err(damage_or_newer(what, version));
    }
    if version != VERSION {
        return Err(Damage::Newer { what, found: version });
    }
    reader.require(sequence <= COUNTER_MAX, "sequence")?;
    Ok(Unverified { sequence, body: &signed[HEAD..], kind, signed, mac })
}

/// Whether all bytes are zero: of half the tag zone on a volume that has never rotated, so 64 bytes at a time.
fn is_zero(bytes: &[u8]) -> bool {
    let (lines, rest) = bytes.as_chunks::<64>();
    let zero = |bytes: &[u8]| bytes.iter().fold(0u8, |any, byte| any | byte) == 0;
    lines.iter().all(|line| zero(line)) && zero(rest)
}

/// A newer version may have another envelope, so its CRC cannot be judged: it is named first.
/// A version beyond any plausible one is rot.
fn damage_or_newer(what: &'static str, version: u32) -> Damage {
    if version > VERSION && version < 0x1_0000 { Damage::Newer { what, found: version } } else { Damage::Crc { what } }
}
