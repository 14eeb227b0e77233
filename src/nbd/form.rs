//! The form of messages in transmission: the one choice of the handshake on which every header depends.

use super::wire::{EXTENDED_REQUEST_LEN, REQUEST_LEN};

/// Forms of messages, each able to say more than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// Compact requests and simple replies: what every client speaks.
    #[default]
    Simple,
    /// Compact requests and structured reply chunks (STRUCTURED_REPLY).
    Structured,
    /// Extended requests and extended reply chunks, nothing else (EXTENDED_HEADERS).
    Extended,
}

impl Form {
    /// Whether replies may come in chunks, which is what data of other kinds and errors with a text need.
    pub fn has_chunks(self) -> bool {
        self >= Form::Structured
    }

    /// Length of a request header, bytes.
    pub const fn request_len(self) -> usize {
        match self {
            Form::Simple | Form::Structured => REQUEST_LEN,
            Form::Extended => EXTENDED_REQUEST_LEN,
        }
    }
}
