//! What clients may cost: every limit of the server in one place.
//!
//! Invariants: each limit has a default, a range and a name, and [`Bounds::check`] refuses what lies outside; what one
//! connection may take is less than what all may take together.

use std::fmt;
use std::time::Duration;

use super::budget::FLOOR;
use super::handshake;
use super::session::FLIGHTS_MAX;
use crate::engine::CLASS_MIN;
use crate::limits::NBD_PAYLOAD_MAX;

/// Limits of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bounds of a handshake.
    pub handshake: handshake::Limits,
    /// How long a handshake may take.
    pub handshake_time: Duration,
    /// Connections at a time, all listeners together.
    pub connections: usize,
    /// Connections of one peer (an address, a user, a machine) at a time; `None` for three quarters of `connections`.
    pub connections_per_peer: Option<usize>,
    /// Requests of one connection that run at a time.
    pub requests: usize,
    /// Payload bytes one connection may hold before no more of its requests are taken up.
    pub held: usize,
    /// Payload bytes all connections may hold together, shared out among the workers.
    pub held_in_all: usize,
    /// How long a connection may ask for nothing; `None` for ever.
    pub idle_time: Option<Duration>,
    /// How long a client may take nothing of a reply that is being sent.
    pub stall_time: Duration,
    /// How long requests may take to finish once the server stops.
    pub drain_time: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            handshake: handshake::Limits::default(),
            handshake_time: Duration::from_secs(10),
            connections: 1024,
            connections_per_peer: None,
            requests: 1024,
            held: 16 << 20,
            held_in_all: 128 << 20,
            idle_time: None,
            stall_time: Duration::from_secs(60),
            drain_time: Duration::from_secs(9),
        }
    }
}

/// A limit that is outside its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfRange {
    /// The limit's name.
    pub name: &'static str,
    /// What it may be.
    pub range: String,
}

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is from {}", self.name, self.range)
    }
}

/// Shortest and longest time of any limit.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

impl Bounds {
    /// Connections of one peer at a time. Unless told otherwise a quarter of all is left to others.
    pub fn per_peer(&self) -> usize {
        self.connections_per_peer.unwrap_or(self.connections - self.connections / 4)
    }

    /// Memory for buffers that these limits may take, bytes: what is held, the floor of every connection and its small
    /// buffers; as much again, which is what large stream buffers may take at most; and room to work on what is held.
    pub fn buffers(&self) -> usize {
        2 * (self.held_in_all + self.connections * (FLOOR + 4 * CLASS_MIN)) + self.held_in_all
    }

    /// Names the first limit that is outside its range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let count = |name, value: usize, low: usize, high: usize| match (low..=high).contains(&value) {
            true => Ok(()),
            false => Err(OutOfRange { name, range: format!("{low} to {high}") }),
        };
        let size = |name, value: usize, low: usize, high: usize| match (low..=high).contains(&value) {
            true => Ok(()),
            false => Err(OutOfRange { name, range: format!("{} KiB to {} KiB", low >> 10, high >> 10) }),
        };
        let time = |name, value: Duration| match (SHORTEST..=LONGEST).contains(&value) {
            true => Ok(()),
            false => Err(OutOfRange { name, range: "100 milliseconds to 7 days".into() }),
        };
        let handshake = &self.handshake;
        time("handshake-time", self.handshake_time)?;
        count("options", handshake.options as usize, 4, 65536)?;
        // A kept option has room for the longest export name and a few queries.
        size("option-bytes-kept", handshake.option_data as usize, 8 << 10, 1 << 20)?;
        size("option-bytes-skipped", handshake.option_skip as usize, handshake.option_data as usize, 1 << 30)?;
        count("connections", self.connections, 1, 1 << 20)?;
        count("connections-per-peer", self.per_peer(), 1, self.connections)?;
        count("requests", self.requests, 1, FLIGHTS_MAX)?;
        size("bytes-in-all", self.held_in_all, 2 * NBD_PAYLOAD_MAX as usize, 1 << 40)?;
        size("bytes", self.held, 1 << 20, self.held_in_all)?;
        self.idle_time.map_or(Ok(()), |value| time("idle-time", value))?;
        time("stall-time", self.stall_time)?;
        time("drain-time", self.drain_time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_a_range() {
        assert_eq!(Bounds::default().check(), Ok(()));
        type Wrong = (&'static str, fn(&mut Bounds));
        let wrong: [Wrong; 14] = [
            ("handshake-time", |it| it.handshake_time = Duration::ZERO),
            ("options", |it| it.handshake.options = 0),
            ("option-bytes-kept", |it| it.handshake.option_data = 4096),
            ("option-bytes-skipped", |it| it.handshake.option_skip = 4096),
            ("connections", |it| it.connections = 0),
            ("connections-per-peer", |it| it.connections_per_peer = Some(0)),
            ("connections-per-peer", |it| it.connections_per_peer = Some(it.connections + 1)),
            ("requests", |it| it.requests = FLIGHTS_MAX + 1),
            ("bytes", |it| it.held = it.held_in_all + 1),
            ("bytes-in-all", |it| it.held_in_all = 1 << 20),
            ("idle-time", |it| it.idle_time = Some(Duration::ZERO)),
            ("stall-time", |it| it.stall_time = LONGEST + SHORTEST),
            ("drain-time", |it| it.drain_time = Duration::ZERO),
            ("requests", |it| it.requests = 0),
        ];
        for (name, make) in wrong {
            let mut bounds = Bounds::default();
            make(&mut bounds);
            let error = bounds.check().unwrap_err();
            assert_eq!(error.name, name);
            assert!(error.to_string().contains(" to "), "{error}");
        }
    }
}
