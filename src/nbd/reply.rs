//! Replies of the transmission phase: simple replies and structured reply chunks, as bytes.
//!
//! Headers only: payloads of reads are sent from where they are. Every function appends to `out`; a text is cut
//! to [`TEXT_MAX`] bytes, so the longest header is known.

use super::wire::*;

/// Longest error text sent, bytes; the specification allows 4096.
pub const TEXT_MAX: usize = 256;
/// Longest header this module writes, block status descriptors aside, bytes.
pub const HEADER_MAX: usize = CHUNK_HEADER_LEN + 6 + TEXT_MAX + 8;

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

/// A simple reply; on a read without error the data follow.
pub fn simple(out: &mut Vec<u8>, cookie: u64, error: Option<Errno>) {
    out.extend_from_slice(&NBD_SIMPLE_REPLY_MAGIC.to_be_bytes());
    out.extend_from_slice(&error.map_or(0, Errno::code).to_be_bytes());
    out.extend_from_slice(&cookie.to_be_bytes());
}

fn chunk(out: &mut Vec<u8>, place: Place, kind: u16, cookie: u64, len: usize) {
    debug_assert!(u32::try_from(len).is_ok(), "chunks are bounded by the maximum payload");
    out.extend_from_slice(&NBD_STRUCTURED_REPLY_MAGIC.to_be_bytes());
    out.extend_from_slice(&place.flags().to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&cookie.to_be_bytes());
    out.extend_from_slice(&(len as u32).to_be_bytes());
}

/// A chunk that says only that the reply is complete.
pub fn none(out: &mut Vec<u8>, cookie: u64) {
    chunk(out, Place::Last, NBD_REPLY_TYPE_NONE, cookie, 0);
}

/// The header of a chunk of `len` bytes of data at `offset` of the export; the data follow.
pub fn offset_data(out: &mut Vec<u8>, place: Place, cookie: u64, offset: u64, len: usize) {
    chunk(out, place, NBD_REPLY_TYPE_OFFSET_DATA, cookie, 8 + len);
    out.extend_from_slice(&offset.to_be_bytes());
}

/// An error that concerns the whole request.
pub fn error(out: &mut Vec<u8>, place: Place, cookie: u64, errno: Errno, text: &str) {
    let text = cut(text);
    chunk(out, place, NBD_REPLY_TYPE_ERROR, cookie, 6 + text.len());
    error_body(out, errno, text);
}

/// An error at one byte of the export.
pub fn error_offset(out: &mut Vec<u8>, place: Place, cookie: u64, errno: Errno, text: &str, offset: u64) {
    let text = cut(text);
    chunk(out, place, NBD_REPLY_TYPE_ERROR_OFFSET, cookie, 14 + text.len());
    error_body(out, errno, text);
    out.extend_from_slice(&offset.to_be_bytes());
}

fn error_body(out: &mut Vec<u8>, errno: Errno, text: &str) {
    out.extend_from_slice(&errno.code().to_be_bytes());
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Bytes that [`block_status`] writes for `count` descriptors.
pub const fn block_status_len(count: usize) -> usize {
    CHUNK_HEADER_LEN + 4 + 8 * count
}

/// Consecutive (length, flags) descriptors of one metadata context.
pub fn block_status(out: &mut Vec<u8>, place: Place, cookie: u64, context: u32, extents: &[(u32, u32)]) {
    debug_assert!(!extents.is_empty(), "the specification asks for at least one descriptor");
    chunk(out, place, NBD_REPLY_TYPE_BLOCK_STATUS, cookie, 4 + 8 * extents.len());
    out.extend_from_slice(&context.to_be_bytes());
    for (len, flags) in extents {
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&flags.to_be_bytes());
    }
}

/// The longest prefix of `text` of at most [`TEXT_MAX`] bytes that ends between characters.
pub fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_MAX)]
}
