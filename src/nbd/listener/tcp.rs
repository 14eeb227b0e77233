//! TCP: every address a host name stands for.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;

use nix::sys::socket::{self, SockaddrStorage, sockopt};

use super::{Listener, bound, listening};
use crate::nbd::access::Kind;
use crate::nbd::address::Listen;
use crate::nbd::error::NbdError;

/// Listens on every address of `host`; `named` is how the address was written.
pub fn open(named: &Listen, host: &str, port: u16) -> Result<Vec<Listener>, NbdError> {
    let failed = |source| NbdError::Listen { address: named.to_string(), source };
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(failed)?.collect();
    addresses.into_iter().map(|address| open_one(address, failed)).collect()
}

fn open_one(address: SocketAddr, failed: impl Fn(io::Error) -> NbdError) -> Result<Listener, NbdError> {
    // A server that starts again must not wait for the connections of the one before.
    let reuse = |socket: &OwnedFd| socket::setsockopt(socket, sockopt::ReuseAddr, &true);
    let socket = listening(&SockaddrStorage::from(address), reuse).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => NbdError::PortInUse(Listen::from(address).to_string()),
        _ => failed(error),
    })?;
    let real = bound(&socket).map_err(&failed)?;
    Ok(Listener::new(socket, Kind::Tcp, listen_of(&real).unwrap_or_else(|| address.into()), None))
}

/// The listen address of a bound TCP socket.
pub fn listen_of(name: &SockaddrStorage) -> Option<Listen> {
    let four = name.as_sockaddr_in().map(|it| SocketAddr::from(std::net::SocketAddrV4::from(*it)));
    let six = || name.as_sockaddr_in6().map(|it| SocketAddr::from(std::net::SocketAddrV6::from(*it)));
    four.or_else(six).map(Listen::from)
}

#[cfg(test)]
mod tests {
    use super::super::{Entrance, Passed};
    use super::*;
    use crate::nbd::access::Peer;

    fn open(text: &str, insecure: bool) -> Result<Vec<Listener>, NbdError> {
        Listener::open(&Entrance::from(text.parse::<Listen>().unwrap()), insecure, &Passed::default())
    }

    #[test]
    fn a_port_in_use_and_an_exposed_port_are_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = Listen::from(taken.local_addr().unwrap()).to_string();
        assert!(matches!(open(&listen, false), Err(NbdError::PortInUse(name)) if name == listen));
        assert!(matches!(open("tcp:0.0.0.0:0", false), Err(NbdError::Exposed(_))));
        assert!(open("tcp:0.0.0.0:0", true).is_ok());
    }

    #[test]
    fn whoever_comes_in_is_known_by_address_mapped_or_not() {
        for (listen, host, expected) in [
            ("tcp:127.0.0.1:0", "127.0.0.1", "127.0.0.1"),
            ("tcp:[::1]:0", "::1", "::1"),
            ("tcp:[::]:0", "127.0.0.1", "127.0.0.1"),
        ] {
            let listener = open(listen, true).unwrap().remove(0);
            let Listen::Tcp { port, .. } = listener.address() else { panic!("{listener:?}") };
            assert_ne!(*port, 0, "the real port");
            let _client = std::net::TcpStream::connect((host, *port)).unwrap();
            let (_, peer) = std::iter::repeat_with(|| listener.accept()).find_map(Result::ok).unwrap();
            assert_eq!(peer, Peer::Address(expected.parse().unwrap()), "{listen}");
        }
    }
}
