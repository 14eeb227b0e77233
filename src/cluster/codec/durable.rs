//! Bytes of the file in which a node keeps what must outlast a crash.
//!
//! Invariant: the CRC needs no key and tells a torn or rotten file from one that somebody changed; who signed the records in it
//! is asked by whoever opens it.

use std::collections::BTreeSet;

use super::message::{read_text_option, write_text_option};
use super::{TEXT_MAX, read_bool, read_count, read_generation, read_head, write_count};
use crate::cluster::durable::Durable;
use crate::cluster::record::{RECORD_MAX, Signed};
use crate::format::codec::{Reader, Writer};
use crate::format::{COUNTER_MAX, Damage};
use crate::limits::GENERATIONS_MAX;
use crate::units::Generation;

const WHAT: &str = "peers' file";
const MAGIC: &[u8; 8] = b"KMPEERST";
const CRC: usize = 4;

/// Longest file, bytes.
pub const DURABLE_MAX: usize = 2 * RECORD_MAX + 4 * GENERATIONS_MAX + TEXT_MAX + 1024;

impl Durable {
    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(MAGIC).u16(super::VERSION).u64(self.promised);
        self.accepted.write(&mut out);
        self.committed.write(&mut out);
        write_count(&mut out, self.closed.len());
        for generation in &self.closed {
            out.u32(generation.0);
        }
        out.u32(self.highest.0).u8(u8::from(self.held));
        write_text_option(&mut out, self.out.as_deref());
        let crc = crc32fast::hash(&out.bytes);
        out.u32(crc);
        out.bytes
    }

    /// Reads the file's bytes. Signatures are not checked.
    ///
    /// # Errors
    /// The file is torn or rotten, or no such file, or of a newer format.
    pub fn decode(bytes: &[u8]) -> Result<Durable, Damage> {
        Reader::new(WHAT, bytes).require(bytes.len() <= DURABLE_MAX, "length")?;
        let (body, crc) = bytes.split_at_checked(bytes.len().saturating_sub(CRC)).unwrap_or((bytes, &[]));
        let mut r = Reader::new(WHAT, body);
        read_head(&mut r, WHAT, MAGIC)?;
        if crc != crc32fast::hash(body).to_le_bytes() {
            return Err(Damage::Crc { what: WHAT });
        }
        let promised = r.u64("promised epoch")?;
        r.require(promised <= COUNTER_MAX, "promised epoch")?;
        let (accepted, committed) = (Signed::read(&mut r)?, Signed::read(&mut r)?);
        let count = read_count(&mut r, "closed generations", GENERATIONS_MAX)?;
        let closed: Vec<Generation> =
            (0..count).map(|_| read_generation(&mut r, "closed generation")).collect::<Result<_, _>>()?;
        r.require(closed.is_sorted_by(|a, b| a < b), "closed generations")?;
        let durable = Durable {
            promised,
            accepted,
            committed,
            closed: BTreeSet::from_iter(closed),
            highest: Generation(r.u32("highest generation")?),
            held: read_bool(&mut r, "hold")?,
            out: read_text_option(&mut r, "why it is out")?,
        };
        super::end(&r)?;
        let orderly = durable.committed_stamp() <= durable.accepted_stamp()
            && durable.accepted_stamp().epoch <= durable.promised
            && durable.accepted.record.volume == durable.committed.record.volume;
        r.require(orderly, "order of the records")?;
        Ok(durable)
    }
}
