//! What can go wrong when the server starts. Connections that go wrong later are logged and ended, never errors here.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::engine::EngineError;

/// Why the server did not start. Nothing is left behind: no thread, no socket file.
#[derive(Debug, thiserror::Error)]
pub enum NbdError {
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
    /// Access rules that do not fit the socket.
    #[error("the rules of {address} do not fit: {what}")]
    Rules {
        /// The address as configured.
        address: String,
        /// What does not fit.
        what: String,
    },
    /// The service manager passed no socket that was asked for.
    #[error("the service manager passed no socket{}", NotPassed(wanted, names))]
    NotPassed {
        /// The name that was asked for.
        wanted: Option<String>,
        /// The names of those that were passed and are left.
        names: String,
    },
    /// A passed descriptor cannot be served on.
    #[error("descriptor {number} (`{name}`), which the service manager passed, cannot be served on: {what}")]
    PassedUnfit {
        /// Its number.
        number: i32,
        /// Its name.
        name: String,
        /// Why.
        what: String,
    },
    /// What the environment says of passed sockets makes no sense.
    #[error("what the environment says of passed sockets makes no sense")]
    PassedBadly {
        /// What.
        source: io::Error,
    },
    /// TLS is to be offered, and there is no certificate.
    #[error("{0} is to offer TLS, and there is no certificate for it")]
    NoTls(String),
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

/// Which socket was not passed, and which were.
struct NotPassed<'a>(&'a Option<String>, &'a str);

impl fmt::Display for NotPassed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(wanted) = self.0 {
            write!(f, " called `{wanted}`")?;
        }
        if self.1.is_empty() { f.write_str("; none is left") } else { write!(f, "; there are: {}", self.1) }
    }
}
