//! Listening sockets: how they come to be, and who came in by them.
//!
//! Invariants: a listener accepts without blocking; whoever comes in is looked at once, by what the system says of the
//! socket and not by what a peer says; a rule that cannot match a listener's kind of socket is refused; TCP beyond
//! loopback that does not require TLS needs to be asked for.

mod passed;
mod tcp;
mod unix;
mod vsock;

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{self, SockaddrLike, SockaddrStorage, sockopt};

use super::access::{Access, Kind, Peer};
use super::address::Listen;
use super::audience::TlsMode;
use super::error::NbdError;
use crate::engine::Sock;

pub use passed::Passed;
pub use unix::FileRights;
use unix::SocketFile;

/// Connections the kernel queues before they are accepted.
const BACKLOG: i32 = 512;

/// One way in: where, for whom, and with what rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrance {
    /// Where it listens.
    pub address: Listen,
    /// Who may connect.
    pub access: Access,
    /// Of a unix socket's file.
    pub rights: FileRights,
    /// How TLS is treated.
    pub tls: TlsMode,
}

impl From<Listen> for Entrance {
    fn from(address: Listen) -> Entrance {
        Entrance { address, access: Access::default(), rights: FileRights::default(), tls: TlsMode::Off }
    }
}

impl Entrance {
    /// Says what is wrong with it, as far as that is known before the socket is there.
    pub fn check(&self) -> Result<(), String> {
        let kind = match self.address {
            Listen::Unix(_) => Kind::Unix,
            Listen::Tcp { .. } => Kind::Tcp,
            Listen::Vsock { .. } => Kind::Vsock,
            Listen::Passed(_) => return self.check_rights(),
        };
        self.access.check(kind)?;
        if kind == Kind::Unix { Ok(()) } else { self.check_rights() }
    }

    fn check_rights(&self) -> Result<(), String> {
        match self.rights == FileRights::default() {
            true => Ok(()),
            false => Err("`socket-mode` and `socket-group` are for unix sockets made here".into()),
        }
    }
}

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    kind: Kind,
    address: Listen,
    /// Who may connect.
    pub access: Access,
    /// How TLS is treated.
    pub tls: TlsMode,
    /// Removed with the listener.
    _file: Option<SocketFile>,
}

impl Listener {
    /// Listens on every address that `entrance` stands for; `insecure` allows TCP beyond loopback, `passed` holds the
    /// sockets that were handed over.
    pub fn open(entrance: &Entrance, insecure: bool, passed: &Passed) -> Result<Vec<Listener>, NbdError> {
        let address = &entrance.address;
        let rules = |what| NbdError::Rules { address: address.to_string(), what };
        entrance.check().map_err(rules)?;
        let mut listeners = match address {
            Listen::Unix(path) => vec![unix::open(path, entrance.rights)?],
            Listen::Tcp { host, port } => tcp::open(address, host, *port)?,
            Listen::Vsock { cid, port } => vec![vsock::open(address, *cid, *port)?],
            Listen::Passed(name) => passed.take(name.as_deref())?,
        };
        for listener in &mut listeners {
            entrance.access.check(listener.kind).map_err(rules)?;
            if !insecure && entrance.tls != TlsMode::Required && !listener.address.is_local() {
                return Err(NbdError::Exposed(listener.address.to_string()));
            }
            listener.access = entrance.access.clone();
            listener.tls = entrance.tls;
        }
        Ok(listeners)
    }

    /// A listener around a socket that listens and does not block.
    fn new(socket: OwnedFd, kind: Kind, address: Listen, file: Option<SocketFile>) -> Listener {
        Listener { socket, kind, address, access: Access::default(), tls: TlsMode::Off, _file: file }
    }

    /// Where it listens: the port is the real one if 0 was asked for.
    pub fn address(&self) -> &Listen {
        &self.address
    }

    /// The next connection, if one waits, and whose it is.
    pub fn accept(&self) -> io::Result<(Sock, Peer)> {
        let socket = Sock::accept(self.socket.as_fd())?;
        let peer = match self.kind {
            Kind::Tcp => address_of(&socket),
            Kind::Vsock => machine_of(&socket),
            Kind::Unix => process_of(&socket),
        };
        Ok((socket, peer.unwrap_or(Peer::Unknown)))
    }
}

fn address_of(socket: &Sock) -> Option<Peer> {
    let name = socket::getpeername::<SockaddrStorage>(socket.raw()).ok()?;
    let four = name.as_sockaddr_in().map(|it| IpAddr::from(it.ip()));
    let address = four.or_else(|| name.as_sockaddr_in6().map(|it| IpAddr::from(it.ip())))?;
    Some(Peer::Address(address.to_canonical()))
}

fn machine_of(socket: &Sock) -> Option<Peer> {
    let name = socket::getpeername::<SockaddrStorage>(socket.raw()).ok()?;
    name.as_vsock_addr().map(|it| Peer::Machine(it.cid()))
}

fn process_of(socket: &Sock) -> Option<Peer> {
    let credentials = socket::getsockopt(socket, sockopt::PeerCredentials).ok()?;
    let mut gids = socket.peer_groups().unwrap_or_default();
    gids.push(credentials.gid());
    Some(Peer::Process { uid: credentials.uid(), gids })
}

/// Where a socket is bound.
fn bound(socket: &OwnedFd) -> io::Result<SockaddrStorage> {
    Ok(socket::getsockname::<SockaddrStorage>(socket.as_raw_fd())?)
}

/// A new stream socket that listens on `address` without blocking, after `prepare`.
fn listening(address: &dyn SockaddrLike, prepare: impl FnOnce(&OwnedFd) -> nix::Result<()>) -> io::Result<OwnedFd> {
    use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType};
    let family = address.family().unwrap_or(AddressFamily::Unspec);
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket::socket(family, SockType::Stream, flags, None)?;
    prepare(&socket)?;
    socket::bind(socket.as_raw_fd(), address)?;
    socket::listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(socket)
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
