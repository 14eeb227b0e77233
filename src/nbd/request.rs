//! Requests of the transmission phase: from 28 bytes to something the backend can run, or to the error the
//! specification asks for.
//!
//! Invariants: a [`Command`] that is admitted lies wholly inside the export, carries only flags that apply to it
//! and needs at most one payload of at most 32 MiB; a refused write says how many payload bytes follow, so that
//! the stream stays in step. Lengths are 64 bits wide here already: extended headers only change [`Header::parse`].

use super::wire::*;
use crate::limits::NBD_PAYLOAD_MAX;

/// A write that claims more payload than this, bytes, is an attack and ends the connection.
pub const PAYLOAD_SKIP_MAX: u64 = 2 * NBD_PAYLOAD_MAX as u64;

/// The fields of a request message as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Command flags, unchecked.
    pub flags: u16,
    /// Request type, unchecked.
    pub command: u16,
    /// The client's cookie, returned in every reply.
    pub cookie: u64,
    /// First byte of the range.
    pub offset: u64,
    /// Length of the range, bytes.
    pub length: u64,
}

impl Header {
    /// Takes a compact header apart; `None` when the magic is wrong, after which the stream cannot be trusted.
    pub fn parse(bytes: &[u8; REQUEST_LEN]) -> Option<Header> {
        let mut reader = Reader::new(bytes);
        if reader.u32()? != NBD_REQUEST_MAGIC {
            return None;
        }
        Some(Header {
            flags: reader.u16()?,
            command: reader.u16()?,
            cookie: reader.u64()?,
            offset: reader.u64()?,
            length: u64::from(reader.u32()?),
        })
    }

    /// Bytes of payload that follow this header.
    pub fn payload(&self) -> u64 {
        if self.command == NBD_CMD_WRITE { self.length } else { 0 }
    }
}

/// An admitted request. Offsets and lengths are bytes; the flags are those of the specification.
#[allow(missing_docs, reason = "the fields are the request's own, described above")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Return `len` bytes; in one chunk when `dont_fragment`.
    Read { offset: u64, len: u32, dont_fragment: bool },
    /// Store the `len` bytes of payload that follow.
    Write { offset: u64, len: u32, fua: bool },
    /// Make everything answered so far durable.
    Flush,
    /// The range is no longer needed.
    Trim { offset: u64, len: u64, fua: bool },
    /// The range will be read soon.
    Cache { offset: u64, len: u64 },
    /// Make the range read as zeros.
    Zeroes { offset: u64, len: u64, fua: bool, no_hole: bool },
    /// Tell the state of the range, in one extent only when `one`.
    Status { offset: u64, len: u64, one: bool },
    /// Answer what came before, then close.
    Disconnect,
}

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Run it.
    Run(Command),
    /// It asks for nothing (a length of 0): report success.
    Nothing,
    /// Refuse it; first drop its payload.
    Refuse(Refusal),
    /// Close the connection: the payload it claims is an attack.
    Hangup,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Error for the reply.
    pub errno: Errno,
    /// Payload bytes to drop before the next header.
    pub skip: u64,
    /// A text for people, without anything the client sent.
    pub why: &'static str,
}

/// What was negotiated, as far as requests depend on it.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Size of the export now, bytes.
    pub size: u64,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Whether structured replies were negotiated.
    pub structured: bool,
    /// Whether at least one metadata context was selected.
    pub contexts: bool,
    /// Whether a range can be made zero without writing zeros to it.
    pub fast_zero: bool,
}

/// Judges a request by the terms of its connection.
pub fn judge(header: &Header, terms: &Terms) -> Verdict {
    if header.command == NBD_CMD_DISC {
        return Verdict::Run(Command::Disconnect);
    }
    if header.payload() > PAYLOAD_SKIP_MAX {
        return Verdict::Hangup;
    }
    match check(header, terms) {
        Err((errno, why)) => Verdict::Refuse(Refusal { errno, skip: header.payload(), why }),
        Ok(()) => command(header),
    }
}

type Check = Result<(), (Errno, &'static str)>;

fn check(header: &Header, terms: &Terms) -> Check {
    check_flags(header, terms)?;
    let writes = matches!(header.command, NBD_CMD_WRITE | NBD_CMD_TRIM | NBD_CMD_WRITE_ZEROES);
    if writes && terms.read_only {
        return Err((Errno::Perm, "the export is read-only"));
    }
    if header.command == NBD_CMD_FLUSH {
        let clean = header.offset == 0 && header.length == 0;
        return if clean { Ok(()) } else { Err((Errno::Inval, "a flush has neither offset nor length")) };
    }
    if header.command == NBD_CMD_BLOCK_STATUS && !(terms.structured && terms.contexts) {
        return Err((Errno::Inval, "no metadata context was selected"));
    }
    if header.command == NBD_CMD_BLOCK_STATUS && header.length == 0 {
        return Err((Errno::Inval, "the length is 0"));
    }
    check_payload(header, terms)?;
    check_range(header, terms)?;
    check_fast(header, terms)
}

/// A fast write of zeros is one that makes a hole: where holes are ruled out it would be no faster than a write.
fn check_fast(header: &Header, terms: &Terms) -> Check {
    let fast = header.command == NBD_CMD_WRITE_ZEROES && header.flags & NBD_CMD_FLAG_FAST_ZERO != 0;
    let hole = terms.fast_zero && header.flags & NBD_CMD_FLAG_NO_HOLE == 0;
    if fast && !hole {
        return Err((Errno::NotSup, "not faster than writing zeros"));
    }
    Ok(())
}

fn check_flags(header: &Header, terms: &Terms) -> Check {
    let applicable = match header.command {
        NBD_CMD_READ if terms.structured => NBD_CMD_FLAG_DF,
        NBD_CMD_READ | NBD_CMD_WRITE | NBD_CMD_FLUSH | NBD_CMD_TRIM | NBD_CMD_CACHE => 0,
        NBD_CMD_WRITE_ZEROES => NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO,
        NBD_CMD_BLOCK_STATUS => NBD_CMD_FLAG_REQ_ONE,
        _ => return Err((Errno::Inval, "unknown request type")),
    };
    if header.flags & !(applicable | NBD_CMD_FLAG_FUA) != 0 {
        return Err((Errno::Inval, "a flag does not apply to this request"));
    }
    Ok(())
}

fn check_payload(header: &Header, terms: &Terms) -> Check {
    if header.length <= u64::from(NBD_PAYLOAD_MAX) {
        return Ok(());
    }
    match header.command {
        NBD_CMD_READ if terms.structured => Err((Errno::Overflow, "longer than the maximum payload")),
        NBD_CMD_READ | NBD_CMD_WRITE => Err((Errno::Inval, "longer than the maximum payload")),
        _ => Ok(()),
    }
}

fn check_range(header: &Header, terms: &Terms) -> Check {
    let end = header.offset.checked_add(header.length);
    if end.is_some_and(|end| end <= terms.size) {
        return Ok(());
    }
    match header.command {
        NBD_CMD_WRITE | NBD_CMD_WRITE_ZEROES => Err((Errno::NoSpc, "beyond the end of the export")),
        _ => Err((Errno::Inval, "beyond the end of the export")),
    }
}

/// Builds the command of a header that passed every check.
fn command(header: &Header) -> Verdict {
    let Header { offset, length: len, .. } = *header;
    let has = |flag| header.flags & flag != 0;
    let fua = has(NBD_CMD_FLAG_FUA);
    if len == 0 && header.command != NBD_CMD_FLUSH {
        return Verdict::Nothing;
    }
    // Reads and writes were checked against the maximum payload, which fits in 32 bits.
    let short = u32::try_from(len).unwrap_or(NBD_PAYLOAD_MAX);
    Verdict::Run(match header.command {
        NBD_CMD_READ => Command::Read { offset, len: short, dont_fragment: has(NBD_CMD_FLAG_DF) },
        NBD_CMD_WRITE => Command::Write { offset, len: short, fua },
        NBD_CMD_TRIM => Command::Trim { offset, len, fua },
        NBD_CMD_CACHE => Command::Cache { offset, len },
        NBD_CMD_WRITE_ZEROES => Command::Zeroes { offset, len, fua, no_hole: has(NBD_CMD_FLAG_NO_HOLE) },
        NBD_CMD_BLOCK_STATUS => Command::Status { offset, len, one: has(NBD_CMD_FLAG_REQ_ONE) },
        _ => Command::Flush,
    })
}
