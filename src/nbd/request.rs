//! Requests of the transmission phase: from a header to something the backend can run, or to the error the
//! specification asks for.
//!
//! Invariants: a [`Command`] that is admitted lies wholly inside the export, carries only flags that apply to it
//! and needs at most one payload of at most 32 MiB; a refused request says how many payload bytes follow, so that
//! the stream stays in step.

use super::form::Form;
use super::meta::{Context, Contexts};
use super::wire::*;
use crate::limits::NBD_PAYLOAD_MAX;

/// A compact write that claims more payload than this, bytes, is an attack and ends the connection. An extended request
/// may not even claim more than the maximum payload.
pub const PAYLOAD_SKIP_MAX: u64 = 2 * NBD_PAYLOAD_MAX as u64;

/// Longest payload of a block status, bytes.
const QUERY_MAX: u64 = 8 + 4 * Context::ALL.len() as u64;

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
    /// Length of the range, bytes; that of the payload where that is not the range.
    pub length: u64,
    /// Bytes of payload that follow.
    pub payload: u64,
}

impl Header {
    /// Takes a compact header apart; `None` when the magic is wrong, after which the stream cannot be trusted.
    pub fn parse(bytes: &[u8; REQUEST_LEN]) -> Option<Header> {
        let (mut reader, mut header) = Header::start(bytes, NBD_REQUEST_MAGIC)?;
        header.length = u64::from(reader.u32()?);
        header.payload = if header.command == NBD_CMD_WRITE { header.length } else { 0 };
        Some(header)
    }

    /// The same for an extended header. A write has its payload whether it says so or not: QEMU's client, up to version 10
    /// at least, leaves the flag out, and QEMU's server does not mind either.
    pub fn parse_extended(bytes: &[u8; EXTENDED_REQUEST_LEN]) -> Option<Header> {
        let (mut reader, mut header) = Header::start(bytes, NBD_EXTENDED_REQUEST_MAGIC)?;
        header.length = reader.u64()?;
        let says_so = header.flags & NBD_CMD_FLAG_PAYLOAD_LEN != 0;
        header.payload = if says_so || header.command == NBD_CMD_WRITE { header.length } else { 0 };
        Some(header)
    }

    /// Everything before the length.
    fn start(bytes: &[u8], magic: u32) -> Option<(Reader<'_>, Header)> {
        let mut reader = Reader::new(bytes);
        if reader.u32()? != magic {
            return None;
        }
        let (flags, command) = (reader.u16()?, reader.u16()?);
        let (cookie, offset) = (reader.u64()?, reader.u64()?);
        Some((reader, Header { flags, command, cookie, offset, length: 0, payload: 0 }))
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
    /// Tell the state of the range in each of the contexts, in one extent only when `one`.
    Status { offset: u64, len: u64, one: bool, contexts: Contexts },
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
    /// A block status whose payload says what it asks: receive that many bytes, then [`judge_query`].
    Query(usize),
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
    /// The form of requests and replies.
    pub form: Form,
    /// The metadata contexts that were selected.
    pub contexts: Contexts,
    /// Whether a range can be made zero without writing zeros to it.
    pub fast_zero: bool,
}

/// Judges a request by the terms of its connection.
pub fn judge(header: &Header, terms: &Terms) -> Verdict {
    if header.command == NBD_CMD_DISC {
        return Verdict::Run(Command::Disconnect);
    }
    if header.payload > payload_max(terms.form) {
        return Verdict::Hangup;
    }
    match check(header, terms) {
        Err((errno, why)) => Verdict::Refuse(Refusal { errno, skip: header.payload, why }),
        // No longer than a query of every context.
        Ok(()) if is_query(header, terms.form) => Verdict::Query(header.payload as usize),
        Ok(()) => command(header, terms.contexts),
    }
}

/// Most bytes of payload that are received or dropped.
fn payload_max(form: Form) -> u64 {
    match form {
        Form::Simple | Form::Structured => PAYLOAD_SKIP_MAX,
        Form::Extended => u64::from(NBD_PAYLOAD_MAX),
    }
}

/// Whether it is a block status in the form with a payload.
fn is_query(header: &Header, form: Form) -> bool {
    let flagged = header.flags & NBD_CMD_FLAG_PAYLOAD_LEN != 0;
    form == Form::Extended && flagged && header.command == NBD_CMD_BLOCK_STATUS
}

/// Judges a block status by its payload, which has been received: a length and ids of contexts.
pub fn judge_query(header: &Header, payload: &[u8], terms: &Terms) -> Verdict {
    let Some((length, contexts)) = parse_query(payload, terms.contexts) else {
        let why = "the payload names no context, an unknown one, or one twice";
        return Verdict::Refuse(Refusal { errno: Errno::Inval, skip: 0, why });
    };
    let flags = header.flags & !NBD_CMD_FLAG_PAYLOAD_LEN;
    judge(&Header { flags, length, payload: 0, ..*header }, &Terms { contexts, ..*terms })
}

fn parse_query(payload: &[u8], selected: Contexts) -> Option<(u64, Contexts)> {
    let mut reader = Reader::new(payload);
    let length = reader.u64()?;
    let mut contexts = Contexts::default();
    while let Some(id) = reader.u32() {
        let context = selected.iter().find(|context| context.id() == id)?;
        if contexts.contains(context) {
            return None;
        }
        contexts.insert(context);
    }
    reader.end()?;
    (!contexts.is_empty()).then_some((length, contexts))
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
    if header.command == NBD_CMD_BLOCK_STATUS && (!terms.form.has_chunks() || terms.contexts.is_empty()) {
        return Err((Errno::Inval, "no metadata context was selected"));
    }
    if is_query(header, terms.form) {
        // A longer one names a context twice, or one that does not exist.
        let fits = header.payload <= QUERY_MAX;
        return if fits { Ok(()) } else { Err((Errno::Inval, "the payload is too long")) };
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
    let payload = if terms.form == Form::Extended { NBD_CMD_FLAG_PAYLOAD_LEN } else { 0 };
    let applicable = match header.command {
        NBD_CMD_READ if terms.form.has_chunks() => NBD_CMD_FLAG_DF,
        NBD_CMD_WRITE => payload,
        NBD_CMD_READ | NBD_CMD_FLUSH | NBD_CMD_TRIM | NBD_CMD_CACHE => 0,
        NBD_CMD_WRITE_ZEROES => NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO,
        NBD_CMD_BLOCK_STATUS => NBD_CMD_FLAG_REQ_ONE | payload,
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
        NBD_CMD_READ if terms.form.has_chunks() => Err((Errno::Overflow, "longer than the maximum payload")),
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
fn command(header: &Header, contexts: Contexts) -> Verdict {
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
        NBD_CMD_BLOCK_STATUS => Command::Status { offset, len, one: has(NBD_CMD_FLAG_REQ_ONE), contexts },
        _ => Command::Flush,
    })
}
