//! The NBD server: handshake, transmission, sessions, workers, listeners.
//!
//! Files are named after the protocol's phases and words. The core does no I/O and reads no clock: [`handshake`],
//! [`options`] and [`meta`] turn received bytes into answers, [`request`] and [`reply`] do the same for
//! transmission. TLS lies between sockets and all of this ([`tls`]). Volumes stay behind [`export::Export`]; this layer
//! knows neither keys nor formats.

mod accept;
pub mod access;
pub mod address;
pub mod audience;
pub mod backend;
pub mod bounds;
mod budget;
mod drain;
pub mod error;
pub mod export;
pub mod form;
pub mod handshake;
pub mod listener;
pub mod meta;
pub mod options;
pub mod reply;
pub mod request;
mod roll;
pub mod server;
mod session;
pub mod stats;
mod table;
pub mod tls;
mod volume;
mod watch;
pub mod wire;
mod worker;

pub use access::Access;
pub use address::Listen;
pub use audience::{Audience, TlsMode};
pub use backend::Backend;
pub use bounds::Bounds;
pub use error::NbdError;
pub use export::{Export, ExportError, Exports};
pub use listener::{Entrance, FileRights, Passed};
pub use server::{Config, Server, start};

/// The parts a worker is made of, for harnesses that drive connections without sockets and threads. Not for serving.
#[doc(hidden)]
pub mod parts {
    pub use super::bounds::Bounds;
    pub use super::budget::Budget;
    pub use super::session::Io;
    pub use super::table::Table;
}

#[cfg(test)]
mod tests;
