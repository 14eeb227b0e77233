//! What keepers on a network have in common: where they are, TLS to them, deadlines, and how it all fails.
//!
//! | file | what it holds |
//! |---|---|
//! | `address` | `HOST:PORT`, and the settings behind the `?` of a KEK URI |
//! | `tls` | whom we trust and who we are, from files |
//! | `stream` | one connection, plain or TLS, every step of it under one deadline |
//! | `error` | how it fails, and what that means for the key |
//!
//! Invariants: nothing waits longer than the deadline of the whole request; nothing is sent without TLS but to this
//! machine; an error shows no byte of what was sent or received.

mod address;
mod error;
mod stream;
mod tls;

pub(super) use address::{Address, Settings, is_name};
pub(super) use error::NetError;
pub(super) use stream::{Connection, Deadline};
pub(super) use tls::{TlsFiles, client};
