//! Requests of one session that are running: what is needed to answer them when their parts finish.
//!
//! Invariants: an entry lives until all its parts finished and no more will be started; entries are reused, so a
//! steady state allocates nothing; at most [`FLIGHTS_MAX`] exist. The cookie given to the backend names the worker's
//! slot, the entry and the part, so that an outcome finds its way without a search.

use std::time::Instant;

use crate::limits::PIECE_MAX;
use crate::nbd::backend::Failed;
use crate::nbd::reply::To;
use crate::nbd::stats::Kind;

/// Requests one connection may have running.
pub const FLIGHTS_MAX: usize = 1024;
/// Slots of a worker that a cookie can name.
pub const SLOTS_MAX: usize = 1 << 20;

const _: () = assert!(FLIGHTS_MAX <= 1 << 12, "a cookie has 12 bits for the entry");

/// Names a part of a running request: 20 bits slot, 12 bits entry, 32 bits offset within the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The worker's slot of the session.
    pub slot: u32,
    /// The entry in the session's table.
    pub flight: u16,
    /// Where the part starts within the request, bytes.
    pub at: u32,
}

impl Ticket {
    /// The cookie for the backend.
    pub fn cookie(self) -> u64 {
        u64::from(self.slot) << 44 | u64::from(self.flight) << 32 | u64::from(self.at)
    }

    /// The ticket behind a cookie.
    pub fn of(cookie: u64) -> Ticket {
        Ticket { slot: (cookie >> 44) as u32, flight: (cookie >> 32 & 0xfff) as u16, at: cookie as u32 }
    }
}

/// One running request.
#[derive(Clone, Copy, Debug)]
pub struct Flight {
    /// The client's cookie.
    pub cookie: u64,
    /// What it does.
    pub kind: Kind,
    /// First byte.
    pub offset: u64,
    /// Length, bytes.
    pub len: u64,
    /// Length of the parts of a read but for the last, and largest length of those of a write, bytes.
    pub chunk: u32,
    /// To what that may shrink where memory is short, bytes.
    pub least: u32,
    /// Parts started and not finished.
    pub running: u32,
    /// More parts will be started.
    pub open: bool,
    /// The failure at the lowest byte that is known to be affected.
    pub failure: Option<Failed>,
    /// When it was taken up.
    pub started: Instant,
}

impl Flight {
    /// Where its replies go.
    pub fn to(&self) -> To {
        To { cookie: self.cookie, offset: self.offset }
    }

    /// Records a failure; of several the one at the lowest byte is told, and one without a byte before all others, so that
    /// a client never takes bytes for good that are not.
    pub fn fail(&mut self, failed: Failed) {
        if self.failure.is_none_or(|known| failed.at < known.at) {
            self.failure = Some(failed);
        }
    }
}

/// The table of running requests.
#[derive(Debug, Default)]
pub struct Flights {
    entries: Vec<Option<Flight>>,
    free: Vec<u16>,
}

impl Flights {
    /// Requests running.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether none runs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no more may be started.
    pub fn is_full(&self) -> bool {
        self.len() >= FLIGHTS_MAX
    }

    /// Enters a request; the caller saw that the table is not full.
    pub fn insert(&mut self, flight: Flight) -> u16 {
        if let Some(index) = self.free.pop() {
            self.entries[usize::from(index)] = Some(flight);
            return index;
        }
        debug_assert!(!self.is_full());
        self.entries.push(Some(flight));
        (self.entries.len() - 1) as u16
    }

    /// The entry, if it exists.
    pub fn get(&mut self, index: u16) -> Option<&mut Flight> {
        self.entries.get_mut(usize::from(index))?.as_mut()
    }

    /// Takes the entry out when nothing of it runs or will run.
    pub fn take_landed(&mut self, index: u16) -> Option<Flight> {
        let entry = self.entries.get_mut(usize::from(index))?;
        let flight = entry.take_if(|flight| flight.running == 0 && !flight.open)?;
        self.free.push(index);
        Some(flight)
    }
}

/// Length of the part of a write that starts at `offset` with `left` bytes to go: parts end at multiples of `largest`, a
/// divisor of [`PIECE_MAX`], so that an aligned long write has aligned parts.
pub fn write_part(offset: u64, left: u32, largest: u32) -> u32 {
    let largest = u64::from(largest.clamp(1, PIECE_MAX as u32));
    let boundary = largest - offset % largest;
    // At most PIECE_MAX, which fits.
    u64::from(left).min(boundary) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_survive_the_cookie() {
        let corners = [
            Ticket { slot: 0, flight: 0, at: 0 },
            Ticket { slot: SLOTS_MAX as u32 - 1, flight: 4095, at: u32::MAX },
            Ticket { slot: 5, flight: 1023, at: 1 << 20 },
        ];
        for ticket in corners {
            assert_eq!(Ticket::of(ticket.cookie()), ticket);
        }
    }

    #[test]
    fn parts_of_a_write_cover_it_and_end_on_boundaries() {
        let piece = PIECE_MAX as u64;
        let ranges = [(0, 1), (0, 32 << 20), (piece - 1, 2), (4096, 3 << 20), (123, 456_789)];
        for ((offset, len), largest) in ranges.into_iter().flat_map(|it| [(it, PIECE_MAX as u32), (it, 64 << 10)]) {
            let (mut at, mut left) = (offset, len);
            while left > 0 {
                let part = write_part(at, left, largest);
                assert!(part > 0 && part <= largest);
                assert_eq!(at / piece, (at + u64::from(part) - 1) / piece, "one piece per part");
                (at, left) = (at + u64::from(part), left - part);
            }
            assert_eq!(at, offset + u64::from(len));
        }
    }

    #[test]
    fn entries_are_reused_only_after_landing() {
        let flight = Flight {
            cookie: 1,
            kind: Kind::Read,
            offset: 0,
            len: 1,
            chunk: 1,
            least: 1,
            running: 1,
            open: false,
            failure: None,
            started: Instant::now(),
        };
        let mut flights = Flights::default();
        let index = flights.insert(flight);
        assert!(flights.take_landed(index).is_none());
        flights.get(index).unwrap().running = 0;
        assert!(flights.take_landed(index).is_some());
        assert!(flights.take_landed(index).is_none(), "only once");
        assert_eq!(flights.insert(flight), index);
        assert_eq!(flights.len(), 1);
    }
}
