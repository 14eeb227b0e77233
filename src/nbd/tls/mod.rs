//! TLS of NBD: a configuration and a stream. No socket and no thread here.
//!
//! [`Files`] says which files a server uses and makes a configuration of them, [`Keeper`] holds what new connections use and
//! lets it be exchanged, and `stream` turns ciphertext into bytes and back. What others use, too, is in [`crate::tls`].
//!
//! Invariants: TLS 1.2 and 1.3 alone; no session is resumed and no early data taken, so every connection shows its
//! certificate to the configuration of the day.

mod files;
mod keeper;
pub mod stream;

pub use crate::tls::{Names, TlsError};
pub use files::Files;
pub use keeper::Keeper;
