//! Bytes of messages between members: the volume, a number for what is said, its fields.

use super::{
    PIN_MAX, PINS_MAX, TEXT_MAX, end, read_bool, read_count, read_generation, read_hash, read_long, read_name,
    read_stamp, read_wraps, write_count, write_long, write_name, write_stamp, write_wraps,
};
use crate::cluster::message::{Body, Message, Refusal};
use crate::cluster::progress::Progress;
use crate::cluster::record::{Promise, RECORD_MAX, Signed};
use crate::format::codec::{Reader, Writer};
use crate::format::{COUNTER_MAX, Damage};
use crate::units::VolumeId;

const WHAT: &str = "peers' message";

/// Longest sealed DEK that is handed over, bytes.
pub const HANDOVER_MAX: usize = 4096;
/// Longest question or answer of the integrity check, bytes.
pub const CHECK_MAX: usize = 256 << 10;
/// Longest message, bytes.
pub const MESSAGE_MAX: usize = RECORD_MAX + HANDOVER_MAX + 4096;

const _: () = assert!(CHECK_MAX < MESSAGE_MAX && PINS_MAX * (PIN_MAX + 2) + TEXT_MAX < MESSAGE_MAX);

pub(super) fn write_text_option(out: &mut Writer, text: Option<&str>) {
    match text {
        None => out.u8(0),
        Some(text) => out.u8(1).short_text(text, TEXT_MAX),
    };
}

pub(super) fn read_text_option(r: &mut Reader<'_>, field: &'static str) -> Result<Option<String>, Damage> {
    match read_bool(r, field)? {
        true => r.string(field, TEXT_MAX).map(Some),
        false => Ok(None),
    }
}

impl Message {
    /// The message's bytes: one frame. Texts longer than their bounds are cut.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u16(super::VERSION).raw(&self.volume.0);
        write_body(&mut out, &self.body);
        out.bytes
    }

    /// Reads a frame. Signatures are not checked.
    ///
    /// # Errors
    /// The bytes are no message, or of a newer format.
    pub fn decode(bytes: &[u8]) -> Result<Message, Damage> {
        let mut r = Reader::new(WHAT, bytes);
        r.require(bytes.len() <= MESSAGE_MAX, "length")?;
        match r.u16("version")? {
            super::VERSION => {}
            0 => return Err(r.bad("version")),
            newer => return Err(Damage::Newer { what: WHAT, found: u32::from(newer) }),
        }
        let volume = VolumeId(r.array("volume")?);
        let body = read_body(&mut r)?;
        end(&r)?;
        Ok(Message { volume, body })
    }
}

fn write_body(out: &mut Writer, body: &Body) {
    match body {
        Body::Put { record, handover } => {
            out.u8(1);
            record.write(out);
            match handover {
                None => out.u8(0),
                Some(sealed) => out.u8(1).short_bytes(sealed),
            };
        }
        Body::Ack { stamp, hash, wraps } => {
            write_stamp(out.u8(2), *stamp);
            write_wraps(out.raw(hash), wraps);
        }
        Body::Refused { stamp, why } => {
            write_stamp(out.u8(3), *stamp);
            write_refusal(out, why);
        }
        Body::Beat { committed, hash, turn } => {
            write_stamp(out.u8(4), *committed);
            out.raw(hash).u8(u8::from(turn.is_some()));
            turn.iter().for_each(|name| write_name(out, name));
        }
        Body::Behind { have } => write_stamp(out.u8(5), *have),
        Body::Prove { stamp, generation, key_id, cold } => {
            write_stamp(out.u8(6), *stamp);
            out.u32(generation.0).raw(key_id).u8(u8::from(*cold));
        }
        Body::Proven { stamp, generation, key_id, check, cold } => {
            write_stamp(out.u8(7), *stamp);
            out.u32(generation.0).raw(key_id).raw(check).u8(u8::from(*cold));
        }
        Body::Report { stamp, generation } => {
            write_stamp(out.u8(8), *stamp);
            out.u32(generation.0);
        }
        Body::Reported { stamp, generation, references, pins } => {
            write_stamp(out.u8(9), *stamp);
            write_text_option(out.u32(generation.0), references.as_deref());
            write_count(out, pins.len());
            pins.iter().for_each(|pin| {
                out.short_text(pin, PIN_MAX);
            });
        }
        Body::Elect { epoch } => {
            out.u8(10).u64(*epoch);
        }
        Body::Promised { promise, record } => {
            promise.write(out.u8(11));
            record.write(out);
        }
        Body::Progress(progress) => progress.write(out.u8(12)),
        Body::Check(bytes) => write_long(out.u8(13), bytes),
    }
}

fn read_body(r: &mut Reader<'_>) -> Result<Body, Damage> {
    Ok(match r.u8("kind")? {
        1 => Body::Put {
            record: Signed::read(r)?,
            handover: match read_bool(r, "handover")? {
                true => Some(r.short_bytes("handover", HANDOVER_MAX)?.to_vec()),
                false => None,
            },
        },
        2 => Body::Ack { stamp: read_stamp(r, "stamp")?, hash: read_hash(r, "hash")?, wraps: read_wraps(r)? },
        3 => Body::Refused { stamp: read_stamp(r, "stamp")?, why: read_refusal(r)? },
        4 => Body::Beat {
            committed: read_stamp(r, "stamp")?,
            hash: read_hash(r, "hash")?,
            turn: match read_bool(r, "turn")? {
                true => Some(read_name(r, "turn")?),
                false => None,
            },
        },
        5 => Body::Behind { have: read_stamp(r, "stamp")? },
        6 => Body::Prove {
            stamp: read_stamp(r, "stamp")?,
            generation: read_generation(r, "generation")?,
            key_id: r.array("key id")?,
            cold: read_bool(r, "cold proof")?,
        },
        7 => Body::Proven {
            stamp: read_stamp(r, "stamp")?,
            generation: read_generation(r, "generation")?,
            key_id: r.array("key id")?,
            check: r.array("check value")?,
            cold: read_bool(r, "cold proof")?,
        },
        8 => Body::Report { stamp: read_stamp(r, "stamp")?, generation: read_generation(r, "generation")? },
        9 => Body::Reported {
            stamp: read_stamp(r, "stamp")?,
            generation: read_generation(r, "generation")?,
            references: read_text_option(r, "references")?,
            pins: {
                let count = read_count(r, "pins", PINS_MAX)?;
                (0..count).map(|_| r.string("pin", PIN_MAX)).collect::<Result<_, _>>()?
            },
        },
        10 => Body::Elect { epoch: read_epoch(r)? },
        11 => Body::Promised { promise: Promise::read(r)?, record: Signed::read(r)? },
        12 => Body::Progress(Progress::read(r)?),
        13 => Body::Check(read_long(r, "check", CHECK_MAX)?.to_vec()),
        _ => return Err(r.bad("kind")),
    })
}

fn read_epoch(r: &mut Reader<'_>) -> Result<u64, Damage> {
    let epoch = r.u64("epoch")?;
    r.require(epoch <= COUNTER_MAX, "epoch")?;
    Ok(epoch)
}

fn write_refusal(out: &mut Writer, why: &Refusal) {
    match why {
        Refusal::Epoch { promised } => {
            out.u8(1).u64(*promised);
        }
        Refusal::Older { have } => write_stamp(out.u8(2), *have),
        Refusal::Fork { have } => write_stamp(out.u8(3), *have),
        Refusal::NotEntitled(text) => {
            out.u8(4).short_text(text, TEXT_MAX);
        }
        Refusal::Rule(text) => {
            out.u8(5).short_text(text, TEXT_MAX);
        }
        Refusal::Upgrade(text) => {
            out.u8(6).short_text(text, TEXT_MAX);
        }
        Refusal::Failed(text) => {
            out.u8(7).short_text(text, TEXT_MAX);
        }
        Refusal::Out(text) => {
            out.u8(8).short_text(text, TEXT_MAX);
        }
    }
}

fn read_refusal(r: &mut Reader<'_>) -> Result<Refusal, Damage> {
    let kind = r.u8("refusal")?;
    let text = |r: &mut Reader<'_>| r.string("refusal", TEXT_MAX);
    Ok(match kind {
        1 => Refusal::Epoch { promised: read_epoch(r)? },
        2 => Refusal::Older { have: read_stamp(r, "refusal")? },
        3 => Refusal::Fork { have: read_stamp(r, "refusal")? },
        4 => Refusal::NotEntitled(text(r)?),
        5 => Refusal::Rule(text(r)?),
        6 => Refusal::Upgrade(text(r)?),
        7 => Refusal::Failed(text(r)?),
        8 => Refusal::Out(text(r)?),
        _ => return Err(r.bad("refusal")),
    })
}
