//! Which clients owe something for too long: bytes of a reply they do not take, bytes of a payload they do not send.
//!
//! A worker looks at those that owe once a tick; while nobody does, no clock runs. A client that moved a byte since the last
//! look has a new allowance, so a slow one is never cut off, only one that stalls. Invariants: a stalled client is cut off
//! after `stall_time`, or after [`PRESSURE`] when others wait for the memory it holds.

use std::time::{Duration, Instant};

/// How long a client may stall while others wait for memory.
const PRESSURE: Duration = Duration::from_secs(5);
/// Longest time between two looks.
const TICK_MAX: Duration = Duration::from_secs(1);
/// Parts of the shortest limit that a tick is.
const TICKS: u32 = 8;

/// The clock of a worker's looks.
#[derive(Debug)]
pub struct Watch {
    tick: Duration,
    stall_time: Duration,
    idle_time: Option<Duration>,
    next: Option<Instant>,
}

impl Watch {
    /// A watch by these limits.
    pub fn new(stall_time: Duration, idle_time: Option<Duration>) -> Watch {
        let shortest = idle_time.map_or(stall_time, |idle_time| idle_time.min(stall_time));
        Watch { tick: (shortest / TICKS).min(TICK_MAX), stall_time, idle_time, next: None }
    }

    /// Whether idle connections are looked at too.
    pub fn minds_idle(&self) -> bool {
        self.idle_time.is_some()
    }

    /// Says whether anybody is to be looked at from now on.
    pub fn arm(&mut self, wanted: bool, now: Instant) {
        match (wanted, self.next) {
            (false, _) => self.next = None,
            (true, None) => self.next = Some(now + self.tick),
            (true, Some(_)) => {}
        }
    }

    /// When the next look is due.
    pub fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Whether it is time to look; if so the next look is a tick away.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let due = self.next.is_some_and(|next| next <= now);
        if due {
            self.next = Some(now + self.tick);
        }
        due
    }

    /// How long a client may stall now.
    pub fn stall_time(&self, others_wait: bool) -> Duration {
        if others_wait { self.stall_time.min(PRESSURE) } else { self.stall_time }
    }

    /// Whether a connection that asked for nothing since `last` is to go.
    pub fn is_idle(&self, last: Instant, now: Instant) -> bool {
        self.idle_time.is_some_and(|idle_time| now.saturating_duration_since(last) >= idle_time)
    }
}

/// What one connection owes.
#[derive(Debug)]
pub struct Owing {
    /// How far it had come at the last look: bytes received, and what the system says of bytes sent.
    seen: (u64, u64),
    /// Since when it has not moved.
    since: Instant,
}

impl Owing {
    /// The first look.
    pub fn begin(seen: (u64, u64), now: Instant) -> Owing {
        Owing { seen, since: now }
    }

    /// A later look: how long the connection has not moved.
    pub fn look(&mut self, seen: (u64, u64), now: Instant) -> Duration {
        if self.seen != seen {
            *self = Owing::begin(seen, now);
        }
        now.saturating_duration_since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_moves_has_a_new_allowance() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut owing = Owing::begin((0, 0), start);
        assert_eq!(owing.look((0, 0), at(9)).as_secs(), 9);
        assert_eq!(owing.look((0, 1), at(10)).as_secs(), 0);
        assert_eq!(owing.look((0, 1), at(12)).as_secs(), 2);
        assert_eq!(owing.look((1, 1), at(13)).as_secs(), 0);
    }

    #[test]
    fn the_clock_runs_only_while_somebody_owes() {
        let (start, stall) = (Instant::now(), Duration::from_secs(60));
        let mut watch = Watch::new(stall, None);
        assert_eq!(watch.next(), None);
        watch.arm(true, start);
        assert_eq!(watch.next(), Some(start + TICK_MAX));
        assert!(!watch.is_due(start) && watch.is_due(start + TICK_MAX));
        watch.arm(true, start);
        assert_eq!(watch.next(), Some(start + 2 * TICK_MAX), "an armed clock is not set back");
        watch.arm(false, start);
        assert_eq!(watch.next(), None);
        assert_eq!((watch.stall_time(false), watch.stall_time(true)), (stall, PRESSURE));
        assert!(!watch.is_idle(start, start + stall * 1000), "nobody is idle without a limit");
    }
}
