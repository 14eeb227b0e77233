//! Sockets handed over by the service manager (`LISTEN_PID`, `LISTEN_FDS`, `LISTEN_FDNAMES`; sd_listen_fds(3)).
//!
//! Invariants: a socket is taken once; each must listen, be a stream and be of a family that is served, or nothing starts;
//! what is handed over to another process is not ours; the files of such unix sockets stay when the server ends.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{self, SockType, SockaddrStorage, sockopt};

use super::{Listener, bound, tcp, vsock};
use crate::engine::{Inherited, inherited};
use crate::nbd::access::Kind;
use crate::nbd::address::Listen;
use crate::nbd::error::NbdError;

/// The sockets that were handed over and are not taken yet.
#[derive(Clone, Debug, Default)]
pub struct Passed(Arc<Mutex<Vec<Inherited>>>);

impl Passed {
    /// What the environment of this process says was handed over to it; clears that from the environment. For the start
    /// of a process, before it has a second thread.
    pub fn of_this_process() -> Result<Passed, NbdError> {
        inherited().map(|all| Passed(Arc::new(Mutex::new(all)))).map_err(|source| NbdError::PassedBadly { source })
    }

    /// Takes the sockets of that name, or all that are left.
    pub fn take(&self, name: Option<&str>) -> Result<Vec<Listener>, NbdError> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<String> = all.iter().map(|it| it.name.clone()).collect();
        let wanted = |it: &mut Inherited| name.is_none_or(|name| it.name == name);
        let taken: Vec<Inherited> = all.extract_if(.., wanted).collect();
        if taken.is_empty() {
            return Err(NbdError::NotPassed { wanted: name.map(Into::into), names: names.join(", ") });
        }
        taken.into_iter().map(listener).collect()
    }
}

fn listener(passed: Inherited) -> Result<Listener, NbdError> {
    let number = passed.socket.as_raw_fd();
    let failed = |what: String| NbdError::PassedUnfit { number, name: passed.name.clone(), what };
    let unreadable = |error: io::Error| failed(format!("it is no socket: {error}"));
    let kind = socket::getsockopt(&passed.socket, sockopt::SockType).map_err(|errno| unreadable(errno.into()))?;
    if kind != SockType::Stream {
        return Err(failed("it is not a stream socket; use ListenStream=".into()));
    }
    if !socket::getsockopt(&passed.socket, sockopt::AcceptConn).map_err(|errno| unreadable(errno.into()))? {
        return Err(failed("it does not listen; use Accept=no".into()));
    }
    let name = bound(&passed.socket).map_err(unreadable)?;
    let (kind, address) = address_of(&name).ok_or_else(|| failed("its address family is not served".into()))?;
    unblock(&passed.socket).map_err(|error| failed(error.to_string()))?;
    Ok(Listener::new(passed.socket, kind, address, None))
}

fn address_of(name: &SockaddrStorage) -> Option<(Kind, Listen)> {
    if let Some(unix) = name.as_unix_addr() {
        let path = unix.path().map(Into::into);
        let hidden = || unix.as_abstract().map(|it| format!("@{}", String::from_utf8_lossy(it)).into());
        return Some((Kind::Unix, Listen::Unix(path.or_else(hidden)?)));
    }
    let tcp = tcp::listen_of(name).map(|address| (Kind::Tcp, address));
    tcp.or_else(|| Some((Kind::Vsock, vsock::listen_of(name)?)))
}

fn unblock(socket: &OwnedFd) -> nix::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL)?);
    fcntl(socket, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::Entrance;
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    fn passed(sockets: Vec<(&str, OwnedFd)>) -> Passed {
        let all = sockets.into_iter().map(|(name, socket)| Inherited { name: name.into(), socket });
        Passed(Arc::new(Mutex::new(all.collect())))
    }

    fn open(text: &str, passed: &Passed) -> Result<Vec<Listener>, NbdError> {
        Listener::open(&Entrance::from(text.parse::<Listen>().unwrap()), false, passed)
    }

    #[test]
    fn sockets_are_taken_by_name_and_once() {
        let tcp = || TcpListener::bind("127.0.0.1:0").unwrap().into();
        let passed = passed(vec![("a", tcp()), ("b", tcp()), ("a", tcp())]);
        assert_eq!(open("systemd:a", &passed).unwrap().len(), 2);
        let error = open("systemd:a", &passed).unwrap_err();
        assert!(matches!(&error, NbdError::NotPassed { names, .. } if names == "b"), "{error:?}");
        assert_eq!(open("systemd", &passed).unwrap().len(), 1);
        assert!(matches!(open("systemd", &passed), Err(NbdError::NotPassed { .. })));
    }

    #[test]
    fn what_is_no_listening_stream_is_refused_by_number_and_name() {
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = TcpStream::connect(listening.local_addr().unwrap()).unwrap();
        let sockets: [(OwnedFd, &str); 3] = [
            (UdpSocket::bind("127.0.0.1:0").unwrap().into(), "not a stream"),
            (connected.into(), "does not listen"),
            (std::fs::File::open("/dev/null").unwrap().into(), "no socket"),
        ];
        for (socket, words) in sockets {
            let number = socket.as_raw_fd();
            let error = open("systemd", &passed(vec![("odd", socket)])).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("odd") && error.contains(&number.to_string()), "{error}");
        }
    }

    #[test]
    fn an_exposed_port_is_refused_however_it_came() {
        let open_port = TcpListener::bind("0.0.0.0:0").unwrap();
        let error = open("systemd", &passed(vec![("x", open_port.into())])).unwrap_err();
        assert!(matches!(error, NbdError::Exposed(_)), "{error:?}");
    }

    #[test]
    fn a_passed_unix_socket_keeps_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let made = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let listener = open("systemd", &passed(vec![("x", made.into())])).unwrap().remove(0);
        assert_eq!(*listener.address(), Listen::Unix(path.clone()));
        drop(listener);
        assert!(path.exists());
    }
}
