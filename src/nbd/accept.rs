//! The thread that accepts connections and hands each to the worker that has the fewest.
//!
//! Invariants: it waits for all listeners and for the order to stop at once; a connection over the cap is closed at
//! once, before it costs more than its descriptor; running out of descriptors delays accepting, it does not spin.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;

use super::audience::TlsMode;
use super::listener::Listener;
use super::worker::Shared;
use crate::engine::{Sock, Waker};

/// Room for replies that a socket is given, bytes.
const SEND_BUFFER: usize = 1 << 20;
/// Pause after a failure such as running out of descriptors, milliseconds.
const PAUSE_MS: u16 = 50;

/// How a worker gets connections.
#[derive(Debug)]
pub struct Door {
    /// Its channel.
    pub sender: Sender<(Sock, TlsMode)>,
    /// Makes it look.
    pub waker: Waker,
}

/// Accepts connections.
#[derive(Debug)]
pub struct Acceptor {
    /// Where.
    pub listeners: Vec<Listener>,
    /// For whom.
    pub doors: Vec<Door>,
    /// Readable when the server stops.
    pub bell: Arc<EventFd>,
    /// Loads, and the order to stop.
    pub shared: Arc<Shared>,
    /// Most connections at a time.
    pub connections_max: usize,
    /// Connections turned away.
    pub turned_away: Arc<AtomicU64>,
}

impl Acceptor {
    /// Accepts until the server stops; the listeners close on return.
    pub fn run(self) {
        while !self.shared.stopping.load(Ordering::Acquire) {
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(error) => {
                    tracing::error!(%error, "cannot wait for connections");
                    self.pause();
                    continue;
                }
            };
            for listener in ready.into_iter().map(|index| &self.listeners[index]) {
                self.accept_all(listener);
            }
        }
    }

    /// Waits for connections; returns the listeners that have some.
    fn wait(&self) -> io::Result<Vec<usize>> {
        let fds = self.listeners.iter().map(AsFd::as_fd).chain([self.bell.as_fd()]);
        let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => return Ok(Vec::new()),
            other => other?,
        };
        let ready = |index: &usize| fds[*index].any().unwrap_or(true);
        Ok((0..self.listeners.len()).filter(ready).collect())
    }

    fn accept_all(&self, listener: &Listener) {
        loop {
            match listener.accept() {
                Ok((socket, _)) => self.hand_over(socket, listener.tls),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        tracing::warn!(%error, "cannot accept a connection");
                        return self.pause();
                    }
                },
            }
        }
    }

    fn hand_over(&self, socket: Sock, tls: TlsMode) {
        let loads = self.shared.load.iter().map(|load| load.load(Ordering::Relaxed));
        let total: usize = loads.clone().sum();
        let least = loads.enumerate().min_by_key(|(_, load)| *load).map(|(index, _)| index);
        let Some(index) = least.filter(|_| total < self.connections_max) else {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
            return;
        };
        socket.tune(SEND_BUFFER);
        self.shared.load[index].fetch_add(1, Ordering::Relaxed);
        if self.doors[index].sender.send((socket, tls)).is_err() {
            tracing::error!(worker = index, "a worker is gone");
            self.shared.load[index].fetch_sub(1, Ordering::Relaxed);
        }
        self.doors[index].waker.wake();
    }

    /// Waits a moment, or for the order to stop.
    fn pause(&self) {
        let mut fds = [PollFd::new(self.bell.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::from(PAUSE_MS));
    }
}
