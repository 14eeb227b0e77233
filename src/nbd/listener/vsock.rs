//! vsock: between a host and its virtual machines, without a network.

use nix::libc::VMADDR_CID_ANY;
use nix::sys::socket::{SockaddrStorage, VsockAddr};

use super::{Listener, bound, listening};
use crate::nbd::access::Kind;
use crate::nbd::address::Listen;
use crate::nbd::error::NbdError;

/// Listens on a port of context `cid`, or of every one this machine has.
pub fn open(named: &Listen, cid: Option<u32>, port: u32) -> Result<Listener, NbdError> {
    let failed = |source| NbdError::Listen { address: named.to_string(), source };
    let address = VsockAddr::new(cid.unwrap_or(VMADDR_CID_ANY), port);
    let socket = listening(&address, |_| Ok(())).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => NbdError::PortInUse(named.to_string()),
        _ => failed(error),
    })?;
    let real = bound(&socket).map_err(failed)?;
    Ok(Listener::new(socket, Kind::Vsock, listen_of(&real).unwrap_or_else(|| named.clone()), None))
}

/// The listen address of a bound vsock socket.
pub fn listen_of(name: &SockaddrStorage) -> Option<Listen> {
    let name = name.as_vsock_addr()?;
    Some(Listen::Vsock { cid: (name.cid() != VMADDR_CID_ANY).then(|| name.cid()), port: name.port() })
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, connect, setsockopt, socket, sockopt};
    use nix::sys::time::TimeVal;
    use std::os::fd::AsRawFd;

    use super::super::{Entrance, Passed};
    use super::*;
    use crate::nbd::access::Peer;

    /// A listener on a port the system chooses; `None`, with a word, where there is no vsock.
    fn any_port() -> Option<Listener> {
        let entrance = Entrance::from("vsock:any:4294967295".parse::<Listen>().unwrap());
        match Listener::open(&entrance, false, &Passed::default()) {
            Ok(mut listeners) => listeners.pop(),
            Err(error) => {
                eprintln!("skipped: this kernel has no vsock: {error:?}");
                None
            }
        }
    }

    #[test]
    fn a_port_has_one_listener() {
        let Some(listener) = any_port() else { return };
        let Listen::Vsock { cid: None, port } = *listener.address() else { panic!("{listener:?}") };
        assert_ne!(port, u32::MAX, "the real port");
        let again = Entrance::from(listener.address().clone());
        let error = Listener::open(&again, false, &Passed::default()).unwrap_err();
        assert!(matches!(error, NbdError::PortInUse(name) if name == format!("vsock:any:{port}")));
    }

    #[test]
    fn a_connection_over_loopback_says_which_machine() {
        let Some(listener) = any_port() else { return };
        let Listen::Vsock { port, .. } = *listener.address() else { panic!("{listener:?}") };
        let client = socket(AddressFamily::Vsock, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        setsockopt(&client, sockopt::SendTimeout, &TimeVal::new(2, 0)).unwrap();
        // Context 1 is this machine itself.
        if let Err(error) = connect(client.as_raw_fd(), &VsockAddr::new(1, port)) {
            eprintln!("skipped: this kernel has no vsock loopback: {error}");
            return;
        }
        let (_, peer) = std::iter::repeat_with(|| listener.accept()).find_map(Result::ok).unwrap();
        assert_eq!(peer, Peer::Machine(1));
    }
}
