//! TTLV, the encoding of KMIP messages (KMIP Specification 1.4, section 9.1): tag, type, length, value.
//!
//! ```text
//! 0  3  tag, big endian
//! 3  1  type
//! 4  4  length of the value in bytes, big endian, padding left out
//! 8  n  value, padded with zeros to a multiple of 8 (a structure's items are padded already)
//! ```
//! Invariants: the writer fills a buffer of the caller's and never moves what is in it, since it may be a key; the reader
//! borrows, allocates nothing, and gives each item exactly the bytes that its length says; no item reaches beyond the one
//! around it.

/// Length of what stands before a value.
pub const HEAD: usize = 8;
/// Values begin and end at multiples of this.
const ALIGN: usize = 8;

/// Types of items that are used here (9.1.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Items, one behind the other.
    Structure = 1,
    /// 32 bits, signed.
    Integer = 2,
    /// 32 bits.
    Enumeration = 5,
    /// UTF-8.
    Text = 7,
    /// Bytes.
    Bytes = 8,
}

/// What makes bytes no TTLV.
pub const CUT: &str = "an item of it is cut short";
/// What an item is if not what is expected there.
pub const STRANGE: &str = "an item of it has another type";

/// Writes items into a buffer.
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    at: usize,
    /// Something did not fit.
    is_full: bool,
}

impl<'a> Writer<'a> {
    /// Writes into `buffer`.
    pub fn new(buffer: &'a mut [u8]) -> Writer<'a> {
        Writer { buffer, at: 0, is_full: false }
    }

    /// The length of what was written; none if it did not fit.
    pub fn finish(self) -> Option<usize> {
        (!self.is_full).then_some(self.at)
    }

    /// A structure of what `fill` writes.
    pub fn structure(&mut self, tag: u32, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let head = self.at;
        self.head(tag, Kind::Structure, 0);
        let begin = self.at;
        fill(self);
        let length = (self.at - begin) as u32;
        if let Some(place) = self.buffer.get_mut(head + 4..head + HEAD) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        self
    }

    /// An integer.
    pub fn integer(&mut self, tag: u32, value: u32) -> &mut Self {
        self.value(tag, Kind::Integer, &value.to_be_bytes())
    }

    /// An enumeration.
    pub fn enumeration(&mut self, tag: u32, value: u32) -> &mut Self {
        self.value(tag, Kind::Enumeration, &value.to_be_bytes())
    }

    /// A text.
    pub fn text(&mut self, tag: u32, value: &str) -> &mut Self {
        self.value(tag, Kind::Text, value.as_bytes())
    }

    /// Bytes.
    pub fn bytes(&mut self, tag: u32, value: &[u8]) -> &mut Self {
        self.value(tag, Kind::Bytes, value)
    }

    fn value(&mut self, tag: u32, kind: Kind, value: &[u8]) -> &mut Self {
        self.head(tag, kind, value.len());
        self.put(value);
        let padding = value.len().next_multiple_of(ALIGN) - value.len();
        self.put(&[0; ALIGN][..padding]);
        self
    }

    fn head(&mut self, tag: u32, kind: Kind, length: usize) {
        let [_, a, b, c] = tag.to_be_bytes();
        self.put(&[a, b, c, kind as u8]);
        self.put(&(length as u32).to_be_bytes());
    }

    fn put(&mut self, bytes: &[u8]) {
        match self.buffer.get_mut(self.at..self.at + bytes.len()) {
            Some(place) if !self.is_full => {
                place.copy_from_slice(bytes);
                self.at += bytes.len();
            }
            _ => self.is_full = true,
        }
    }
}

/// An item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// Its tag.
    pub tag: u32,
    /// Its type, as it stands there.
    pub kind: u8,
    /// Its value, without padding.
    pub value: &'a [u8],
}

/// The items of a structure, or of a message.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    /// The next item; none at the end.
    pub fn item(&mut self) -> Result<Option<Item<'a>>, &'static str> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (head, rest) = self.0.split_first_chunk::<HEAD>().ok_or(CUT)?;
        let [a, b, c, kind, l0, l1, l2, l3] = *head;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let padded = length.checked_next_multiple_of(ALIGN).ok_or(CUT)?;
        let value = rest.get(..length).ok_or(CUT)?;
        self.0 = rest.get(padded..).ok_or(CUT)?;
        Ok(Some(Item { tag: u32::from_be_bytes([0, a, b, c]), kind, value }))
    }

    /// The first item with `tag` from here on; what stands before it is passed over, as are unknown ones (section 9.1:
    /// later versions add some).
    pub fn find(&mut self, tag: u32) -> Result<Option<Item<'a>>, &'static str> {
        while let Some(item) = self.item()? {
            if item.tag == tag {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }
}

impl<'a> Item<'a> {
    /// The items in it.
    pub fn structure(self) -> Result<Reader<'a>, &'static str> {
        self.of(Kind::Structure).map(Reader)
    }

    /// Its number.
    pub fn enumeration(self) -> Result<u32, &'static str> {
        self.number(Kind::Enumeration)
    }

    /// Its number, which is not negative.
    pub fn integer(self) -> Result<u32, &'static str> {
        self.number(Kind::Integer).and_then(|value| if value >> 31 == 0 { Ok(value) } else { Err(STRANGE) })
    }

    /// Its text.
    pub fn text(self) -> Result<&'a str, &'static str> {
        std::str::from_utf8(self.of(Kind::Text)?).map_err(|_| STRANGE)
    }

    /// Its bytes.
    pub fn bytes(self) -> Result<&'a [u8], &'static str> {
        self.of(Kind::Bytes)
    }

    fn number(self, kind: Kind) -> Result<u32, &'static str> {
        let value = self.of(kind)?.try_into().map_err(|_| STRANGE)?;
        Ok(u32::from_be_bytes(value))
    }

    fn of(self, kind: Kind) -> Result<&'a [u8], &'static str> {
        if self.kind == kind as u8 { Ok(self.value) } else { Err(STRANGE) }
    }
}
