//! What can go wrong when the server starts. Connections that go wrong later are logged and ended, never errors here.

use std::io;
use std::path::PathBuf;

use crate::engine::EngineError;

/// Why the server did not start. Nothing is left behind: no thread, no socket file.
#[derive(Debug, thiserror::Error)]
pub enum NbdError {
    /// A listen address that cannot be understood.
    #[error("{0:?} is no listen address: unix:/PATH or tcp:HOST:PORT")]
    Address(String),
    /// No listen address at all.
    #[error("no address to listen on")]
    NoAddress,
    /// Somebody serves on this unix socket.
    #[error("{0} is in use: another server answers on it")]
    SocketInUse(PathBuf),
    /// The path exists and is not a socket.
    #[error("{0} exists and is not a socket")]
    NotASocket(PathBuf),
    /// The TCP port is taken.
    #[error("{0} is in use by another program")]
    PortInUse(String),
    /// TCP without encryption beyond this machine.
    #[error("{0} can be reached from other machines and has no TLS")]
    Exposed(String),
    /// Listening failed otherwise.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address as configured.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// A worker's engine could not be opened.
    #[error("cannot open the I/O engine of worker {worker}")]
    Engine {
        /// The worker's number.
        worker: usize,
        /// Why.
        source: EngineError,
    },
    /// A thread could not be made.
    #[error("cannot start the thread {name}")]
    Thread {
        /// Its name.
        name: String,
        /// Why.
        source: io::Error,
    },
}
