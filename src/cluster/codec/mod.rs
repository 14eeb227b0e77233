#![doc = include_str!("../FORMAT.md")]
//!
//! # In the code
//! Decoders take any bytes: they are bounded before anything is allocated, refuse with [`Damage`] that names the field, and
//! accept nothing that encoding would write in another way.

mod durable;
mod message;
mod progress;
mod record;

#[cfg(test)]
mod tests;

use super::name::{NAME_MAX, NodeName};
use super::record::Hash;
use super::stamp::Stamp;
use crate::format::codec::{Reader, Writer};
use crate::format::wrapped::Wrapped;
use crate::format::{COUNTER_MAX, Damage};
use crate::units::Generation;

pub use durable::DURABLE_MAX;
pub use message::{CHECK_MAX, HANDOVER_MAX, MESSAGE_MAX};
pub use record::{EXPELLED_MAX, NODE_WRAPS_MAX};

/// The version of records, messages and files that this build writes and reads.
pub const VERSION: u16 = 1;
/// Longest free text in a message or file (why something failed), bytes.
pub const TEXT_MAX: usize = 1024;
/// Pins a report names.
pub const PINS_MAX: usize = 64;
/// Longest name of a pin, bytes.
pub const PIN_MAX: usize = 256;

/// What is signed begins with what it is, so that no signature of one thing passes for another.
pub const LABEL_KEYRING: &[u8] = b"keymoult peers keyring 1\0";
/// See [`LABEL_KEYRING`].
pub const LABEL_PROMISE: &[u8] = b"keymoult peers promise 1\0";

/// A text as it will stand in a record: cut between characters at `max` bytes.
pub fn cut(text: &str, max: usize) -> String {
    text[..text.floor_char_boundary(max)].to_owned()
}

fn write_stamp(out: &mut Writer, stamp: Stamp) {
    out.u64(stamp.epoch).u64(stamp.revision);
}

fn read_stamp(r: &mut Reader<'_>, field: &'static str) -> Result<Stamp, Damage> {
    let stamp = Stamp::new(r.u64(field)?, r.u64(field)?);
    r.require(stamp.epoch <= COUNTER_MAX && stamp.revision <= COUNTER_MAX, field)?;
    Ok(stamp)
}

fn write_name(out: &mut Writer, name: &NodeName) {
    out.short_text(name.as_str(), NAME_MAX);
}

fn read_name(r: &mut Reader<'_>, field: &'static str) -> Result<NodeName, Damage> {
    r.string(field, NAME_MAX)?.parse().map_err(|_| r.bad(field))
}

/// A generation that encrypts data.
fn read_generation(r: &mut Reader<'_>, field: &'static str) -> Result<Generation, Damage> {
    let generation = Generation(r.u32(field)?);
    r.require(generation != Generation::METADATA && generation.0 < u32::MAX, field)?;
    Ok(generation)
}

fn read_bool(r: &mut Reader<'_>, field: &'static str) -> Result<bool, Damage> {
    match r.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(r.bad(field)),
    }
}

fn read_hash(r: &mut Reader<'_>, field: &'static str) -> Result<Hash, Damage> {
    r.array(field)
}

/// A count of at most `max`, in 16 bits.
fn read_count(r: &mut Reader<'_>, field: &'static str, max: usize) -> Result<usize, Damage> {
    let count = usize::from(r.u16(field)?);
    r.require(count <= max, field)?;
    Ok(count)
}

/// A count of at most `max`, in 16 bits. A longer list is refused when it is read back: no caller makes one.
fn write_count(out: &mut Writer, count: usize) {
    out.u16(u16::try_from(count).unwrap_or(u16::MAX));
}

/// A byte string with a 32-bit length before it, at most `max` bytes.
fn read_long<'a>(r: &mut Reader<'a>, field: &'static str, max: usize) -> Result<&'a [u8], Damage> {
    let len = r.u32(field)? as usize;
    r.require(len <= max, field)?;
    r.bytes(field, len)
}

fn write_long(out: &mut Writer, bytes: &[u8]) {
    out.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX)).raw(bytes);
}

fn write_wraps(out: &mut Writer, wraps: &[Wrapped]) {
    write_count(out, wraps.len());
    for wrap in wraps {
        wrap.encode(out);
    }
}

fn read_wraps(r: &mut Reader<'_>) -> Result<Vec<Wrapped>, Damage> {
    let count = read_count(r, "wrap count", crate::limits::WRAPS_MAX)?;
    (0..count).map(|_| Wrapped::decode(r)).collect()
}

/// Nothing follows.
fn end(r: &Reader<'_>) -> Result<(), Damage> {
    r.require(r.rest().is_empty(), "length")
}

/// A magic and the version.
fn read_head(r: &mut Reader<'_>, what: &'static str, magic: &[u8; 8]) -> Result<(), Damage> {
    if r.bytes("magic", magic.len()).ok() != Some(magic) {
        return Err(Damage::NotThis { what });
    }
    match r.u16("version")? {
        VERSION => Ok(()),
        0 => Err(r.bad("version")),
        newer => Err(Damage::Newer { what, found: u32::from(newer) }),
    }
}
