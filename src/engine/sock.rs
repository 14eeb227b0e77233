//! Stream sockets as the engines use them: blocking descriptors, so that the ring waits for readiness itself.
//!
//! Invariant: the last owner dropping a socket ends the connection, even while a ring's file table still refers to it.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{self, sockopt};

use super::sys;

/// A connected stream socket (TCP or unix).
#[derive(Debug)]
pub struct Sock {
    fd: OwnedFd,
    /// Which entry of which ring's file table refers to this socket: a hint the ring checks, 0 = none.
    seat: AtomicU64,
    /// Whether a file table has ever referred to it.
    seated: AtomicBool,
}

/// A TCP connection that is silent for so long is probed, so often, and given up after so many probes without an answer:
/// a peer whose machine is gone is noticed within two minutes.
const KEEPALIVE_IDLE: u32 = 60;
const KEEPALIVE_INTERVAL: u32 = 15;
const KEEPALIVE_PROBES: u32 = 4;

impl Sock {
    /// The next connection of a listening socket that does not block.
    pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Sock> {
        Sock::new(sys::accept(listener)?)
    }

    /// The supplementary groups of the process at the other end of a unix socket.
    pub fn peer_groups(&self) -> io::Result<Vec<u32>> {
        sys::peer_groups(self.fd.as_fd())
    }

    /// Takes a connected stream socket over and makes it blocking.
    pub fn new(fd: OwnedFd) -> io::Result<Sock> {
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        if flags.contains(OFlag::O_NONBLOCK) {
            fcntl(&fd, FcntlArg::F_SETFL(flags.difference(OFlag::O_NONBLOCK)))?;
        }
        Ok(Sock { fd, seat: AtomicU64::new(0), seated: AtomicBool::new(false) })
    }

    /// Makes the socket fit for request and reply traffic: no delay and keepalive on TCP; on unix sockets room for `send_buffer` bytes
    /// of replies, if the system allows it (TCP sizes its own). All of it is best effort.
    pub fn tune(&self, send_buffer: usize) {
        if socket::setsockopt(&self.fd, sockopt::TcpNoDelay, &true).is_ok() {
            let _ = self.keep_alive();
            return;
        }
        if socket::setsockopt(&self.fd, sockopt::SndBufForce, &send_buffer).is_err() {
            let _ = socket::setsockopt(&self.fd, sockopt::SndBuf, &send_buffer);
        }
    }

    fn keep_alive(&self) -> nix::Result<()> {
        socket::setsockopt(&self.fd, sockopt::TcpKeepIdle, &KEEPALIVE_IDLE)?;
        socket::setsockopt(&self.fd, sockopt::TcpKeepInterval, &KEEPALIVE_INTERVAL)?;
        socket::setsockopt(&self.fd, sockopt::TcpKeepCount, &KEEPALIVE_PROBES)?;
        socket::setsockopt(&self.fd, sockopt::KeepAlive, &true)
    }

    /// A number that changes whenever the peer takes some of what was sent: for TCP the bytes it acknowledged, else what it has
    /// not taken. 0 where the system does not say.
    pub fn progress(&self) -> u64 {
        sys::bytes_acknowledged(self.fd.as_fd()).or_else(|_| sys::bytes_not_taken(self.fd.as_fd())).unwrap_or(0)
    }

    /// Whether the peer will send nothing more, though there may be something of it left to receive.
    pub fn is_hung_up(&self) -> bool {
        let end = PollFlags::from_bits_retain(nix::libc::POLLRDHUP);
        let mut fds = [PollFd::new(self.fd.as_fd(), end)];
        // With nothing else asked for, whatever it says is an end.
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|count| count > 0)
    }

    /// Ends both directions now: pending and later receives see the end, sends fail. Errors (already ended) are ignored.
    pub fn shutdown(&self) {
        let _ = socket::shutdown(self.fd.as_raw_fd(), socket::Shutdown::Both);
    }

    /// Ends one or both directions.
    pub fn shutdown_half(&self, how: Shutdown) -> io::Result<()> {
        let how = match how {
            Shutdown::Read => socket::Shutdown::Read,
            Shutdown::Write => socket::Shutdown::Write,
            Shutdown::Both => socket::Shutdown::Both,
        };
        Ok(socket::shutdown(self.fd.as_raw_fd(), how)?)
    }

    /// The descriptor's number.
    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// The ring's hint.
    pub(super) fn seat(&self) -> u64 {
        self.seat.load(Ordering::Relaxed)
    }

    /// Sets the ring's hint.
    pub(super) fn set_seat(&self, seat: u64) {
        self.seated.store(true, Ordering::Relaxed);
        self.seat.store(seat, Ordering::Relaxed);
    }
}

impl AsFd for Sock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl TryFrom<UnixStream> for Sock {
    type Error = io::Error;

    fn try_from(stream: UnixStream) -> io::Result<Sock> {
        Sock::new(stream.into())
    }
}

impl TryFrom<TcpStream> for Sock {
    type Error = io::Error;

    fn try_from(stream: TcpStream) -> io::Result<Sock> {
        Sock::new(stream.into())
    }
}

impl Drop for Sock {
    fn drop(&mut self) {
        // Closing alone would not end a connection that a ring's file table still holds.
        if *self.seated.get_mut() {
            self.shutdown();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn progress_is_seen_when_the_peer_takes_bytes() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let sock = Sock::try_from(ours.try_clone().unwrap()).unwrap();
        ours.write_all(&[1; 1000]).unwrap();
        let stalled = sock.progress();
        assert_eq!(sock.progress(), stalled);
        theirs.read_exact(&mut [0; 1000]).unwrap();
        assert_ne!(sock.progress(), stalled, "unix");

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _theirs = listener.accept().unwrap();
        let sock = Sock::try_from(ours.try_clone().unwrap()).unwrap();
        let before = sys::bytes_acknowledged(sock.as_fd()).unwrap();
        ours.write_all(&[1; 1000]).unwrap();
        while sys::bytes_acknowledged(sock.as_fd()).unwrap() < before + 1000 {
            std::thread::yield_now();
        }
        assert_eq!(sock.progress(), before + 1000, "tcp: what was acknowledged, and no more");
    }

    #[test]
    fn an_end_is_seen_before_what_was_sent_is_received() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let sock = Sock::try_from(ours).unwrap();
        theirs.write_all(&[1; 10]).unwrap();
        assert!(!sock.is_hung_up());
        theirs.shutdown(Shutdown::Write).unwrap();
        assert!(sock.is_hung_up());
    }

    #[test]
    fn tcp_is_kept_alive_and_not_delayed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let sock = Sock::accept(listener.as_fd()).unwrap();
        sock.tune(1 << 20);
        assert!(socket::getsockopt(&sock, sockopt::TcpNoDelay).unwrap());
        assert!(socket::getsockopt(&sock, sockopt::KeepAlive).unwrap());
        assert_eq!(socket::getsockopt(&sock, sockopt::TcpKeepIdle).unwrap(), KEEPALIVE_IDLE);
    }
}
