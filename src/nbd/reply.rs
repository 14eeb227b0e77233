//! Replies of the transmission phase as bytes: what a reply says, and the header each form gives it.
//!
//! | what it says | simple | structured | extended |
//! |---|---|---|---|
//! | [`Say::Done`] | simple reply | simple reply | NONE |
//! | [`Say::Nothing`] | simple reply | NONE | NONE |
//! | [`Say::Data`] | simple reply | OFFSET_DATA | OFFSET_DATA |
//! | [`Say::Error`] | simple reply | ERROR, ERROR_OFFSET | ERROR, ERROR_OFFSET |
//! | [`Say::Status`] | – | BLOCK_STATUS | BLOCK_STATUS_EXT |
//!
//! Invariants: everything appends to `out`; payloads of reads are sent from where they are, here only their header is
//! written; a text is cut to [`TEXT_MAX`] bytes, so the longest header is known; an error ends its reply.

use super::form::Form;
use super::wire::*;

/// Longest error text sent, bytes; the specification allows 4096.
pub const TEXT_MAX: usize = 256;
/// Longest header this module writes, block status descriptors aside, bytes.
pub const HEADER_MAX: usize = EXTENDED_CHUNK_HEADER_LEN + 6 + TEXT_MAX + 8;

/// The request a reply belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct To {
    /// Its cookie.
    pub cookie: u64,
    /// Its offset, which extended replies repeat.
    pub offset: u64,
}

/// Where the last chunk of a reply is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// More chunks of this reply follow.
    More,
    /// This chunk ends the reply.
    Last,
}

impl Place {
    const fn flags(self) -> u16 {
        match self {
            Place::More => 0,
            Place::Last => NBD_REPLY_FLAG_DONE,
        }
    }
}

/// What a reply, or a chunk of one, says.
#[derive(Clone, Copy, Debug)]
pub enum Say<'a> {
    /// Success of a request that brings no data.
    Done,
    /// Success of a read of no bytes.
    Nothing,
    /// The `len` bytes of data at `offset` of the export; they follow what is written here.
    Data {
        /// Whether more follows.
        place: Place,
        /// First byte.
        offset: u64,
        /// Bytes.
        len: usize,
    },
    /// The request failed, at one byte of the export if that is known.
    Error {
        /// Its error value.
        errno: Errno,
        /// A text for people.
        text: &'a str,
        /// First byte that is affected.
        at: Option<u64>,
    },
    /// Consecutive (length, flags) descriptors of one metadata context, at least one.
    Status {
        /// Whether more follows.
        place: Place,
        /// Id of the context.
        context: u32,
        /// The descriptors; lengths fit in 32 bits unless the form is extended.
        extents: &'a [(u64, u32)],
    },
}

impl Say<'_> {
    /// Appends the message for the request `to` in the given form.
    pub fn write(&self, form: Form, to: To, out: &mut Vec<u8>) {
        match (*self, form) {
            (Say::Done, Form::Simple | Form::Structured) | (Say::Nothing | Say::Data { .. }, Form::Simple) => {
                simple(out, to, None);
            }
            (Say::Error { errno, .. }, Form::Simple) => simple(out, to, Some(errno)),
            (Say::Status { .. }, Form::Simple) => {
                debug_assert!(false, "block status needs chunks");
                simple(out, to, Some(Errno::Inval));
            }
            (Say::Done | Say::Nothing, _) => chunk(out, form, to, (Place::Last, NBD_REPLY_TYPE_NONE), 0),
            (Say::Data { place, offset, len }, _) => {
                chunk(out, form, to, (place, NBD_REPLY_TYPE_OFFSET_DATA), 8 + len);
                out.extend_from_slice(&offset.to_be_bytes());
            }
            (Say::Error { errno, text, at }, _) => error(out, form, to, errno, cut(text), at),
            (Say::Status { place, context, extents }, Form::Structured) => {
                chunk(out, form, to, (place, NBD_REPLY_TYPE_BLOCK_STATUS), 4 + 8 * extents.len());
                out.extend_from_slice(&context.to_be_bytes());
                for (len, flags) in extents {
                    debug_assert!(u32::try_from(*len).is_ok(), "descriptors of this form are cut to 32 bits");
                    out.extend_from_slice(&(*len as u32).to_be_bytes());
                    out.extend_from_slice(&flags.to_be_bytes());
                }
            }
            (Say::Status { place, context, extents }, Form::Extended) => {
                chunk(out, form, to, (place, NBD_REPLY_TYPE_BLOCK_STATUS_EXT), 8 + 16 * extents.len());
                out.extend_from_slice(&context.to_be_bytes());
                out.extend_from_slice(&(extents.len() as u32).to_be_bytes());
                for (len, flags) in extents {
                    out.extend_from_slice(&len.to_be_bytes());
                    out.extend_from_slice(&u64::from(*flags).to_be_bytes());
                }
            }
        }
    }
}

fn simple(out: &mut Vec<u8>, to: To, error: Option<Errno>) {
    out.extend_from_slice(&NBD_SIMPLE_REPLY_MAGIC.to_be_bytes());
    out.extend_from_slice(&error.map_or(0, Errno::code).to_be_bytes());
    out.extend_from_slice(&to.cookie.to_be_bytes());
}

fn chunk(out: &mut Vec<u8>, form: Form, to: To, (place, kind): (Place, u16), len: usize) {
    debug_assert!(u32::try_from(len).is_ok(), "chunks are bounded by the maximum payload");
    let extended = form == Form::Extended;
    let magic = if extended { NBD_EXTENDED_REPLY_MAGIC } else { NBD_STRUCTURED_REPLY_MAGIC };
    out.extend_from_slice(&magic.to_be_bytes());
    out.extend_from_slice(&place.flags().to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&to.cookie.to_be_bytes());
    if extended {
        out.extend_from_slice(&to.offset.to_be_bytes());
        out.extend_from_slice(&(len as u64).to_be_bytes());
    } else {
        out.extend_from_slice(&(len as u32).to_be_bytes());
    }
}

fn error(out: &mut Vec<u8>, form: Form, to: To, errno: Errno, text: &str, at: Option<u64>) {
    let (kind, behind) = match at {
        None => (NBD_REPLY_TYPE_ERROR, 0),
        Some(_) => (NBD_REPLY_TYPE_ERROR_OFFSET, 8),
    };
    chunk(out, form, to, (Place::Last, kind), 6 + text.len() + behind);
    out.extend_from_slice(&errno.code().to_be_bytes());
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
    if let Some(at) = at {
        out.extend_from_slice(&at.to_be_bytes());
    }
}

/// Bytes that [`Say::Status`] takes for `count` descriptors.
pub const fn status_len(form: Form, count: usize) -> usize {
    match form {
        Form::Simple | Form::Structured => CHUNK_HEADER_LEN + 4 + 8 * count,
        Form::Extended => EXTENDED_CHUNK_HEADER_LEN + 8 + 16 * count,
    }
}

/// The longest prefix of `text` of at most [`TEXT_MAX`] bytes that ends between characters.
pub fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_MAX)]
}
