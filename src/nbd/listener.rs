//! Listening sockets: where they are, and how they come to be.
//!
//! Invariants: a unix socket is 0600 before anybody can connect to it; a socket file is replaced only if nobody listens
//! on it, and removed at the end only if it is still ours; plain TCP beyond loopback needs to be asked for.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr};

use super::error::NbdError;
use crate::engine::Sock;

/// Connections the kernel queues before they are accepted.
const BACKLOG: i32 = 512;

/// A listen address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A unix socket at this path.
    Unix(PathBuf),
    /// HOST:PORT.
    Tcp(String),
}

impl FromStr for Listen {
    type Err = NbdError;

    fn from_str(text: &str) -> Result<Listen, NbdError> {
        match text.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Ok(Listen::Unix(path.into())),
            Some(("tcp", address)) if address.contains(':') => Ok(Listen::Tcp(address.into())),
            _ => Err(NbdError::Address(text.into())),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
            Listen::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

/// A socket that listens.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket, its file and the file's identity.
    Unix {
        /// The socket.
        socket: UnixListener,
        /// Its file.
        path: PathBuf,
        /// Device and inode of the file.
        identity: (u64, u64),
    },
}

impl Listener {
    /// Listens on every address that `listen` stands for; `insecure` allows TCP beyond loopback.
    pub fn open(listen: &Listen, insecure: bool) -> Result<Vec<Listener>, NbdError> {
        match listen {
            Listen::Unix(path) => Ok(vec![open_unix(path)?]),
            Listen::Tcp(address) => open_tcp(address, insecure),
        }
    }

    /// Where it listens: the port is the real one if 0 was asked for.
    pub fn address(&self) -> Listen {
        match self {
            Listener::Unix { path, .. } => Listen::Unix(path.clone()),
            Listener::Tcp(socket) => Listen::Tcp(socket.local_addr().map_or_else(|_| "?".into(), |it| it.to_string())),
        }
    }

    /// The next connection, if one waits.
    pub fn accept(&self) -> io::Result<Sock> {
        match self {
            Listener::Tcp(socket) => Sock::try_from(socket.accept()?.0),
            Listener::Unix { socket, .. } => Sock::try_from(socket.accept()?.0),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(socket) => socket.as_fd(),
            Listener::Unix { socket, .. } => socket.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix { path, identity, .. } = self
            && file_identity(path).is_ok_and(|now| now == *identity)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn open_tcp(address: &str, insecure: bool) -> Result<Vec<Listener>, NbdError> {
    let failed = |source| NbdError::Listen { address: format!("tcp:{address}"), source };
    let addresses: Vec<SocketAddr> = address.to_socket_addrs().map_err(failed)?.collect();
    if !insecure && addresses.iter().any(|it| !it.ip().is_loopback()) {
        return Err(NbdError::Exposed(format!("tcp:{address}")));
    }
    let open = |at: &SocketAddr| {
        let socket = TcpListener::bind(at).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => NbdError::PortInUse(format!("tcp:{at}")),
            _ => failed(error),
        })?;
        socket.set_nonblocking(true).map_err(failed)?;
        Ok(Listener::Tcp(socket))
    };
    addresses.iter().map(open).collect()
}

fn open_unix(path: &Path) -> Result<Listener, NbdError> {
    let failed = |source| NbdError::Listen { address: format!("unix:{}", path.display()), source };
    let address = UnixAddr::new(path).map_err(|errno| failed(errno.into()))?;
    clear_stale(path, &address)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(|it| failed(it.into()))?;
    socket::bind(socket.as_raw_fd(), &address).map_err(|errno| failed(errno.into()))?;
    // Nobody can connect before listen(2), so the mode is in force from the first connection on.
    let ready = std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))
        .and_then(|()| file_identity(path))
        .and_then(|identity| Ok((identity, Backlog::new(BACKLOG)?)))
        .and_then(|(identity, backlog)| Ok(socket::listen(&socket, backlog).map(|()| identity)?));
    match ready {
        Ok(identity) => Ok(Listener::Unix { socket: socket.into(), path: path.into(), identity }),
        Err(source) => {
            let _ = std::fs::remove_file(path);
            Err(failed(source))
        }
    }
}

/// Removes a socket file that nobody listens on.
fn clear_stale(path: &Path, address: &UnixAddr) -> Result<(), NbdError> {
    let failed = |source| NbdError::Listen { address: format!("unix:{}", path.display()), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(NbdError::NotASocket(path.into()));
        }
        Ok(_) => {}
    }
    // Not blocking: a server whose queue is full is a server too.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let probe = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(|it| failed(it.into()))?;
    match socket::connect(probe.as_raw_fd(), address) {
        Ok(()) | Err(Errno::EAGAIN) => Err(NbdError::SocketInUse(path.into())),
        Err(Errno::ECONNREFUSED) => std::fs::remove_file(path).map_err(failed),
        Err(errno) => Err(failed(errno.into())),
    }
}

fn file_identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Result<Listener, NbdError> {
        Listener::open(&Listen::Unix(path.into()), false).map(|mut all| all.remove(0))
    }

    #[test]
    fn addresses_are_parsed_and_shown() {
        for text in ["unix:/run/x.sock", "tcp:127.0.0.1:10809", "tcp:[::1]:0"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        for text in ["", "unix:", "tcp:host", "vsock:1:2", "/run/x"] {
            assert!(matches!(text.parse::<Listen>(), Err(NbdError::Address(_))), "{text}");
        }
    }

    #[test]
    fn a_unix_socket_is_private_and_goes_with_its_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(open(&path), Err(NbdError::SocketInUse(_))));
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the file behind");
        let listener = open(&path).unwrap();
        // Replaced behind our back: not ours to remove.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "data").unwrap();
        drop(listener);
        assert!(matches!(open(&path), Err(NbdError::NotASocket(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"data");
    }

    #[test]
    fn a_port_in_use_and_an_exposed_port_are_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = Listen::Tcp(taken.local_addr().unwrap().to_string());
        assert!(matches!(Listener::open(&listen, false), Err(NbdError::PortInUse(_))));
        let open = Listen::Tcp("0.0.0.0:0".into());
        assert!(matches!(Listener::open(&open, false), Err(NbdError::Exposed(_))));
        assert!(Listener::open(&open, true).is_ok());
    }

    #[test]
    fn a_missing_directory_is_an_error_that_names_the_path() {
        let error = open(Path::new("/nonexistent/dir/s")).unwrap_err();
        assert_eq!(error.to_string(), "cannot listen on unix:/nonexistent/dir/s");
        let long = PathBuf::from(format!("/tmp/{}", "x".repeat(200)));
        assert!(matches!(open(&long), Err(NbdError::Listen { .. })));
    }
}
