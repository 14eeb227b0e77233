//! Frames: what stands on the wire between two nodes.
//!
//! A frame is the length of its payload (32 bits, big endian), one byte that says what it is, and the payload. A kind with
//! the top bit set may be skipped by whoever does not know it; any other unknown kind ends the link.
//!
//! Invariants: a length is judged before anything is kept for it; before the hello a frame is at most [`GREETING_MAX`] bytes
//! long, after it [`FRAME_MAX`]; what is kept grows with what arrived, not with what was announced.

/// Longest payload, bytes.
pub const FRAME_MAX: usize = 1 << 20;
/// Longest payload before the other end is known, bytes.
pub const GREETING_MAX: usize = 4 << 10;
/// Length of what stands in front of a payload, bytes.
pub const HEADER_LEN: usize = 5;
/// Set in kinds that may be skipped.
const SKIPPABLE: u8 = 0x80;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first of either end: who it is and what it can do.
    Hello,
    /// Why there will be no link; the last of a connection.
    Refused,
    /// Asks for a [`Kind::Pong`] with the same payload.
    Ping,
    /// Answers a ping.
    Pong,
    /// What the link is there for.
    Data,
    /// Something a later version may say, which nobody has to understand.
    Skippable,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Kind::Hello => 1,
            Kind::Refused => 2,
            Kind::Ping => 3,
            Kind::Pong => 4,
            Kind::Data => 5,
            Kind::Skippable => SKIPPABLE,
        }
    }

    const fn of(byte: u8) -> Option<Kind> {
        match byte {
            1 => Some(Kind::Hello),
            2 => Some(Kind::Refused),
            3 => Some(Kind::Ping),
            4 => Some(Kind::Pong),
            5 => Some(Kind::Data),
            _ if byte & SKIPPABLE != 0 => Some(Kind::Skippable),
            _ => None,
        }
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// Why bytes are no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than allowed.
    #[error("a frame of {found} bytes; at most {most} are allowed here")]
    TooLong {
        /// What was announced, bytes.
        found: usize,
        /// What is allowed, bytes.
        most: usize,
    },
    /// A kind that nobody here knows, and that must not be skipped.
    #[error("a frame of the unknown kind {0}; the other end may be newer")]
    UnknownKind(u8),
}

/// The bytes of a frame. The payload must not be longer than [`FRAME_MAX`].
pub fn encode(kind: Kind, payload: &[u8]) -> Vec<u8> {
    debug_assert!(payload.len() <= FRAME_MAX);
    let length = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind.byte()], payload].concat()
}

/// Bytes in, frames out.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where in the buffer the next frame begins.
    first: usize,
    most: usize,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder::new()
    }
}

impl Decoder {
    /// One for a connection that begins: frames are short until [`Decoder::greeted`].
    pub const fn new() -> Decoder {
        Decoder { buffer: Vec::new(), first: 0, most: GREETING_MAX }
    }

    /// The other end is known: frames may have their full length.
    pub const fn greeted(&mut self) {
        self.most = FRAME_MAX;
    }

    /// Takes what arrived.
    pub fn put(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.first);
        self.first = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one.
    ///
    /// # Errors
    /// The bytes are no frame, or a forbidden one; nothing that follows can be understood.
    pub fn frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((header, rest)) = self.buffer[self.first..].split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let [a, b, c, d, kind] = *header;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > self.most {
            return Err(FrameError::TooLong { found: length, most: self.most });
        }
        let kind = Kind::of(kind).ok_or(FrameError::UnknownKind(kind))?;
        let Some(payload) = rest.get(..length) else {
            return Ok(None);
        };
        let payload = payload.to_vec();
        self.first += HEADER_LEN + length;
        if self.first == self.buffer.len() {
            // A long frame must not keep its room for good.
            self.buffer = Vec::new();
            self.first = 0;
        }
        Ok(Some(Frame { kind, payload }))
    }

    /// Bytes that wait for the rest of their frame.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_however_they_are_cut() {
        let sent =
            [(Kind::Hello, vec![]), (Kind::Data, vec![7; 300]), (Kind::Ping, vec![1]), (Kind::Skippable, vec![2])];
        let bytes: Vec<u8> = sent.iter().flat_map(|(kind, payload)| encode(*kind, payload)).collect();
        for piece in [1, 2, 3, 7, 100, bytes.len()] {
            let mut decoder = Decoder::new();
            let mut found = Vec::new();
            for part in bytes.chunks(piece) {
                decoder.put(part);
                while let Some(frame) = decoder.frame().unwrap() {
                    found.push((frame.kind, frame.payload));
                }
            }
            assert_eq!((found.as_slice(), decoder.pending()), (&sent[..], 0), "in pieces of {piece}");
        }
    }

    #[test]
    fn a_length_is_judged_before_anything_follows() {
        let header = |length: usize, kind: u8| [&(length as u32).to_be_bytes()[..], &[kind]].concat();
        let mut decoder = Decoder::new();
        decoder.put(&header(GREETING_MAX + 1, 5));
        assert_eq!(decoder.frame(), Err(FrameError::TooLong { found: GREETING_MAX + 1, most: GREETING_MAX }));
        decoder.greeted();
        assert_eq!(decoder.frame(), Ok(None), "allowed once the other end is known");
        let mut decoder = Decoder::new();
        decoder.greeted();
        decoder.put(&header(u32::MAX as usize, 5));
        assert!(matches!(decoder.frame(), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn an_unknown_kind_ends_the_link_unless_it_may_be_skipped() {
        for byte in 0..=255 {
            let mut decoder = Decoder::new();
            decoder.put(&[0, 0, 0, 0, byte]);
            match (decoder.frame(), byte) {
                (Ok(Some(frame)), 1..=5) => assert_eq!(frame.kind.byte(), byte),
                (Ok(Some(frame)), 0x80..) => assert_eq!(frame.kind, Kind::Skippable),
                (Err(FrameError::UnknownKind(found)), 0 | 6..=0x7f) => assert_eq!(found, byte),
                (other, _) => panic!("{byte}: {other:?}"),
            }
        }
    }
}
