//! Little-endian reading and writing of fields, bounds-checked.
//!
//! Invariant: a [`Reader`] never reads past its slice and never panics; running short yields
//! [`Damage::Field`] with the structure's and the field's name.

use super::Damage;

/// Reads fields one after another from a slice.
pub struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `bytes`; `what` names the structure in errors.
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Reader<'a> {
        Reader { what, rest: bytes }
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], Damage> {
        match self.rest.split_at_checked(len) {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(head)
            }
            None => Err(self.bad(field)),
        }
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Damage> {
        let bytes = self.bytes(field, N)?;
        bytes.try_into().map_err(|_| self.bad(field))
    }

    /// One byte.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, Damage> {
        Ok(self.array::<1>(field)?[0])
    }

    /// A 16-bit number.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, Damage> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    /// A 32-bit number.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, Damage> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    /// A 64-bit number.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, Damage> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// A byte string with a 16-bit length before it, at most `max` bytes.
    pub fn short_bytes(&mut self, field: &'static str, max: usize) -> Result<&'a [u8], Damage> {
        let len = usize::from(self.u16(field)?);
        if len > max {
            return Err(self.bad(field));
        }
        self.bytes(field, len)
    }

    /// A UTF-8 string with a 16-bit length before it, at most `max` bytes.
    pub fn string(&mut self, field: &'static str, max: usize) -> Result<String, Damage> {
        let bytes = self.short_bytes(field, max)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.bad(field))
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The error that says `field` is out of bounds.
    pub fn bad(&self, field: &'static str) -> Damage {
        Damage::Field { what: self.what, field }
    }

    /// Fails unless `good`.
    pub fn require(&self, good: bool, field: &'static str) -> Result<(), Damage> {
        if good { Ok(()) } else { Err(self.bad(field)) }
    }
}

/// Appends fields to a vector.
#[derive(Default)]
pub struct Writer {
    /// What was written so far.
    pub bytes: Vec<u8>,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// Appends raw bytes.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.raw(&[value])
    }

    /// Appends a 16-bit number.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Appends a 32-bit number.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Appends a 64-bit number.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Appends a byte string behind its 16-bit length; longer ones are cut at the maximum, which no caller reaches.
    pub fn short_bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.u16(len).raw(&bytes[..usize::from(len)])
    }

    /// Appends a text of at most `max` bytes behind its 16-bit length; a longer one is cut between characters.
    pub fn short_text(&mut self, text: &str, max: usize) -> &mut Self {
        let mut end = text.len().min(max);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.short_bytes(&text.as_bytes()[..end])
    }

    /// Appends zeros until the whole is `len` bytes long.
    pub fn pad_to(&mut self, len: usize) -> &mut Self {
        debug_assert!(self.bytes.len() <= len);
        self.bytes.resize(len, 0);
        self
    }
}
