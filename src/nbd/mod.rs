//! The NBD server: handshake, transmission, sessions, workers, listeners.
//!
//! Files are named after the protocol's phases and words. The core does no I/O and reads no clock: [`handshake`],
//! [`options`] and [`meta`] turn received bytes into answers, [`request`] and [`reply`] do the same for
//! transmission. Volumes stay behind [`export::Export`]; this layer knows neither keys nor formats.

pub mod export;
pub mod handshake;
pub mod meta;
pub mod options;
pub mod reply;
pub mod request;
pub mod wire;

pub use export::{Export, ExportError, Exports};

#[cfg(test)]
mod tests;
