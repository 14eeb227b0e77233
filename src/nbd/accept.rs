//! The thread that accepts connections and hands each to the worker that has the fewest.
//!
//! Invariants: it waits for all listeners and for the order to stop at once; whoever no rule admits or for whom there is no
//! place is closed at once, before a byte is sent and before it costs more than its descriptor; running out of
//! descriptors ends a handshake and delays accepting, it does not spin; what peers do cannot fill the log.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;

use super::access::Peer;
use super::listener::Listener;
use super::roll::{Party, Roll};
use super::worker::{Arrival, Shared};
use crate::engine::{Sock, Waker};

/// Room for replies that a socket is given, bytes.
const SEND_BUFFER: usize = 1 << 20;
/// Pause after a failure such as running out of descriptors, milliseconds.
const PAUSE_MS: u16 = 50;

/// How a worker gets connections.
#[derive(Debug)]
pub struct Door {
    /// Its channel.
    pub sender: Sender<Arrival>,
    /// Makes it look.
    pub waker: Waker,
}

/// Connections that were closed at once.
#[derive(Debug, Default)]
pub struct Turned {
    /// There was no place.
    pub full: AtomicU64,
    /// No rule admits them.
    pub by_rule: AtomicU64,
}

/// Time in which at most [`LINES`] lines are logged, and how many those are.
const PERIOD: Duration = Duration::from_secs(10);
const LINES: u32 = 10;

/// Lets a bounded number of lines into the log, and counts those it keeps out.
#[derive(Debug, Default)]
pub struct RateLimit {
    period: Option<Instant>,
    lines: u32,
    kept_out: u64,
}

impl RateLimit {
    /// Whether a line may be logged now, and how many were kept out before it.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.period.is_none_or(|since| now.saturating_duration_since(since) >= PERIOD) {
            (self.period, self.lines) = (Some(now), 0);
        }
        if self.lines == LINES {
            self.kept_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.kept_out))
    }
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
    /// Who is connected.
    pub roll: Arc<Roll>,
    /// Connections turned away.
    pub turned: Arc<Turned>,
    /// Of connections that are turned away.
    pub log: RateLimit,
}

impl Acceptor {
    /// Accepts until the server stops; the listeners close on return.
    pub fn run(mut self) {
        while !self.shared.stopping.load(Ordering::Acquire) {
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(error) => {
                    tracing::error!(%error, "cannot wait for connections");
                    self.pause();
                    continue;
                }
            };
            for index in ready {
                self.accept_all(index);
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

    fn accept_all(&mut self, index: usize) {
        loop {
            match self.listeners[index].accept() {
                Ok((socket, peer)) => self.receive(index, socket, &peer),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        if let Some(kept_out) = self.log.admit(Instant::now()) {
                            tracing::warn!(%error, kept_out, "cannot accept a connection");
                        }
                        // Most likely descriptors are short, and a handshake can do without its own.
                        self.roll.make_room();
                        return self.pause();
                    }
                },
            }
        }
    }

    /// Asks the rules, finds a place, and hands the connection over.
    fn receive(&mut self, index: usize, socket: Sock, peer: &Peer) {
        let listener = &self.listeners[index];
        if !listener.access.admits(peer) {
            self.turned.by_rule.fetch_add(1, Ordering::Relaxed);
            if let Some(kept_out) = self.log.admit(Instant::now()) {
                let address = listener.address();
                tracing::warn!(%peer, %address, kept_out, "a connection that no rule admits was closed");
            }
            return;
        }
        let socket = Arc::new(socket);
        match self.roll.admit(Party::from(peer), &socket) {
            Ok(guest) => self.hand_over(Arrival { socket, guest, tls: listener.tls }),
            Err(why) => {
                self.turned.full.fetch_add(1, Ordering::Relaxed);
                if let Some(kept_out) = self.log.admit(Instant::now()) {
                    tracing::warn!(%peer, ?why, kept_out, "a connection was closed: there is no place for it");
                }
            }
        }
    }

    fn hand_over(&self, arrival: Arrival) {
        let loads = self.shared.load.iter().map(|load| load.load(Ordering::Relaxed));
        let Some((index, _)) = loads.enumerate().min_by_key(|(_, load)| *load) else { return };
        arrival.socket.tune(SEND_BUFFER);
        self.shared.load[index].fetch_add(1, Ordering::Relaxed);
        if self.doors[index].sender.send(arrival).is_err() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_takes_a_few_lines_and_counts_the_rest() {
        let (start, mut log) = (Instant::now(), RateLimit::default());
        let lines = (0..1000).filter(|_| log.admit(start).is_some()).count();
        assert_eq!(lines, LINES as usize);
        assert_eq!(log.admit(start + PERIOD), Some(1000 - u64::from(LINES)));
        assert_eq!(log.admit(start + PERIOD), Some(0));
    }
}
