//! Reads what a server sent into messages, so that two connections can be compared whose replies overtook each other.

use keymoult::nbd::wire::{
    EXTENDED_CHUNK_HEADER_LEN, NBD_EXTENDED_REPLY_MAGIC, NBD_REP_MAGIC, NBD_SIMPLE_REPLY_MAGIC,
    NBD_STRUCTURED_REPLY_MAGIC, Reader, SIMPLE_REPLY_LEN,
};

/// Bytes of the greeting.
pub const GREETING: usize = 18;

/// The messages of `sent`, the greeting left out, and whether the last one is whole. `read_len` says how many bytes follow a simple reply without error, by its
/// cookie; where nobody can say, the rest is one message.
pub fn split(sent: &[u8], read_len: impl Fn(u64) -> Option<usize>) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let mut rest = &sent[GREETING.min(sent.len())..];
    while !rest.is_empty() {
        let len = message(rest, &read_len).unwrap_or(rest.len()).min(rest.len());
        messages.push(rest[..len].to_vec());
        rest = &rest[len..];
    }
    messages
}

fn message(bytes: &[u8], read_len: impl Fn(u64) -> Option<usize>) -> Option<usize> {
    let mut reader = Reader::new(bytes);
    let magic = reader.u32()?;
    if magic == NBD_SIMPLE_REPLY_MAGIC {
        let (error, cookie) = (reader.u32()?, reader.u64()?);
        let data = if error == 0 { read_len(cookie)? } else { 0 };
        return Some(SIMPLE_REPLY_LEN + data);
    }
    if magic == NBD_STRUCTURED_REPLY_MAGIC {
        let (_flags, _kind, _cookie) = (reader.u16()?, reader.u16()?, reader.u64()?);
        return Some(20 + reader.u32()? as usize);
    }
    if magic == NBD_EXTENDED_REPLY_MAGIC {
        let (_flags, _kind) = (reader.u16()?, reader.u16()?);
        let (_cookie, _offset) = (reader.u64()?, reader.u64()?);
        return usize::try_from(reader.u64()?).ok()?.checked_add(EXTENDED_CHUNK_HEADER_LEN);
    }
    if u64::from(magic) == NBD_REP_MAGIC >> 32 {
        let (_rest, _option, _kind) = (reader.u32()?, reader.u32()?, reader.u32()?);
        return Some(20 + reader.u32()? as usize);
    }
    None
}
