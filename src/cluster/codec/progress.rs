//! Bytes of a replica's progress.

use super::{end, read_bool, read_count, read_generation, read_stamp, write_count, write_stamp};
use crate::cluster::progress::Progress;
use crate::format::Damage;
use crate::format::codec::{Reader, Writer};
use crate::format::generations::Phase;
use crate::limits::GENERATIONS_MAX;
use crate::units::Generation;

impl Progress {
    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        self.write(&mut out);
        out.bytes
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// They are no progress.
    pub fn decode(bytes: &[u8]) -> Result<Progress, Damage> {
        let mut r = Reader::new("progress", bytes);
        let progress = Progress::read(&mut r)?;
        end(&r)?;
        Ok(progress)
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.u64(self.sequence).u64(self.at);
        write_stamp(out, self.converged);
        super::message::write_text_option(out, self.hindrance.as_deref());
        out.u32(self.target.0).u8(self.phase as u8).u8(u8::from(self.held));
        write_count(out, self.census.len());
        for (generation, extents) in &self.census {
            out.u32(generation.0).u64(*extents);
        }
        out.u64(self.verified).u64(self.rate);
        match self.eta_s {
            None => out.u8(0),
            Some(eta) => out.u8(1).u64(eta),
        };
        out.u64(self.last_verified);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Progress, Damage> {
        let (sequence, at) = (r.u64("sequence")?, r.u64("time")?);
        let converged = read_stamp(r, "converged record")?;
        let hindrance = super::message::read_text_option(r, "hindrance")?;
        let target = Generation(r.u32("target")?);
        let phase = Phase::from_u8(r.u8("phase")?).ok_or_else(|| r.bad("phase"))?;
        let held = read_bool(r, "hold")?;
        let count = read_count(r, "census", GENERATIONS_MAX)?;
        let mut census = Vec::with_capacity(count);
        for _ in 0..count {
            census.push((read_generation(r, "census")?, r.u64("census")?));
        }
        r.require(census.is_sorted_by(|a: &(Generation, u64), b| a.0 < b.0), "census")?;
        let (verified, rate) = (r.u64("verified extents")?, r.u64("rate")?);
        let eta_s = read_bool(r, "time to go")?.then(|| r.u64("time to go")).transpose()?;
        let last_verified = r.u64("last verification")?;
        Ok(Progress {
            sequence,
            at,
            converged,
            hindrance,
            target,
            phase,
            held,
            census,
            verified,
            rate,
            eta_s,
            last_verified,
        })
    }
}
