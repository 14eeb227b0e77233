//! TLS: files in, a configuration and a stream out. No socket and no thread here.
//!
//! [`Files`] reads certificates and keys, [`Keeper`] holds what new connections use and lets it be exchanged, `verify`
//! judges client certificates, [`Names`] says what a client is called, and `stream` turns ciphertext into bytes and back.
//!
//! Invariants: TLS 1.2 and 1.3 alone; no session is resumed and no early data taken, so every connection shows its
//! certificate to the configuration of the day; a private key is read from a file that only its owner can read, and what
//! was read of it is wiped.

mod der;
mod files;
mod keeper;
mod names;
pub mod stream;
mod verify;

pub use files::{Files, TlsError};
pub use keeper::Keeper;
pub use names::Names;
