//! What every sector of a volume may hold, as the clients of a daemon that is killed or loses power can know it.
//!
//! Invariants:
//! - The first answered version of a sector is durable; each later one was answered and is not yet behind a flush.
//! - Changes in flight to one sector all come from one connection, so their order is the order they were sent in.
//! - No change begins on a sector that is being read, so a read of a sector at rest has one right answer.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// What a disk replaces whole or not at all.
pub const SECTOR: usize = 512;

type Bytes = Arc<[u8; SECTOR]>;

/// How the daemon went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process was killed; what it had written stays.
    Kill,
    /// The power failed: what was not flushed may be there, or any earlier version of it.
    Power,
}

struct Version {
    bytes: Bytes,
    /// When it was answered, on the ledger's own clock.
    answered: u64,
}

struct Sector {
    answered: Vec<Version>,
    in_flight: Vec<(u64, Bytes)>,
    /// The connection of those in flight.
    connection: u32,
    readers: u32,
}

struct Change {
    sectors: Range<usize>,
    fua: bool,
}

/// A read under way: its first sector, and for each sector whether it was at rest when the read was sent.
pub struct Reading {
    first: usize,
    at_rest: Vec<bool>,
}

/// The ledger of one volume.
pub struct Ledger {
    sectors: Vec<Sector>,
    changes: BTreeMap<u64, Change>,
    unflushed: BTreeSet<usize>,
    clock: u64,
    next: u64,
}

impl Ledger {
    /// The ledger of a fresh volume: zeros, durably.
    pub fn fresh(size: u64) -> Ledger {
        let zeros: Bytes = Arc::new([0; SECTOR]);
        let sector = |_| Sector {
            answered: vec![Version { bytes: Arc::clone(&zeros), answered: 0 }],
            in_flight: Vec::new(),
            connection: 0,
            readers: 0,
        };
        let sectors = (0..size as usize / SECTOR).map(sector).collect();
        Ledger { sectors, changes: BTreeMap::new(), unflushed: BTreeSet::new(), clock: 0, next: 1 }
    }

    /// Bytes of the volume.
    pub fn size(&self) -> u64 {
        (self.sectors.len() * SECTOR) as u64
    }

    /// Enters a change that `connection` is about to send: `data`, or zeros. None if another one is in the way.
    pub fn begin(&mut self, connection: u32, bytes: Range<u64>, data: Option<&[u8]>, fua: bool) -> Option<u64> {
        let sectors = sectors_of(&bytes);
        let free =
            |sector: &Sector| sector.readers == 0 && (sector.in_flight.is_empty() || sector.connection == connection);
        if !self.sectors[sectors.clone()].iter().all(free) {
            return None;
        }
        let id = self.next;
        self.next += 1;
        for index in sectors.clone() {
            let sector = &mut self.sectors[index];
            let start = (index * SECTOR) as u64;
            let (from, to) = (bytes.start.max(start), bytes.end.min(start + SECTOR as u64));
            let mut content = **sector.newest();
            let place = &mut content[(from - start) as usize..(to - start) as usize];
            match data {
                Some(data) => place.copy_from_slice(&data[(from - bytes.start) as usize..(to - bytes.start) as usize]),
                None => place.fill(0),
            }
            sector.in_flight.push((id, Arc::new(content)));
            sector.connection = connection;
        }
        self.changes.insert(id, Change { sectors, fua });
        Some(id)
    }

    /// A change was answered with success; those sent before it to the same sectors have been carried out, too.
    pub fn done(&mut self, id: u64) {
        let Some(change) = self.changes.remove(&id) else { return };
        self.clock += 1;
        for index in change.sectors {
            let sector = &mut self.sectors[index];
            let Some(place) = sector.in_flight.iter().position(|(other, _)| *other == id) else { continue };
            for (_, bytes) in sector.in_flight.drain(..=place) {
                sector.answered.push(Version { bytes, answered: self.clock });
            }
            if change.fua {
                sector.answered.drain(..sector.answered.len() - 1);
                self.unflushed.remove(&index);
            } else {
                self.unflushed.insert(index);
            }
        }
    }

    /// A flush is about to be sent: it covers what was answered until now. Gives what [`Ledger::flushed`] wants.
    pub fn begin_flush(&self) -> u64 {
        self.clock
    }

    /// That flush was answered with success.
    pub fn flushed(&mut self, covers: u64) {
        let sectors = &mut self.sectors;
        self.unflushed.retain(|index| {
            let answered = &mut sectors[*index].answered;
            let newest = answered.iter().rposition(|version| version.answered <= covers).unwrap_or(0);
            answered.drain(..newest);
            answered.len() > 1
        });
    }

    /// Enters a read that is about to be sent.
    pub fn begin_read(&mut self, bytes: Range<u64>) -> Reading {
        let sectors = sectors_of(&bytes);
        let first = sectors.start;
        let enter = |sector: &mut Sector| {
            sector.readers += 1;
            sector.in_flight.is_empty()
        };
        Reading { first, at_rest: self.sectors[sectors].iter_mut().map(enter).collect() }
    }

    /// The read of `bytes` was answered with `found`. Gives how many bytes could be judged.
    pub fn end_read(&mut self, reading: &Reading, bytes: &Range<u64>, found: &[u8]) -> Result<u64, String> {
        let mut judged = 0;
        for (index, at_rest) in (reading.first..).zip(&reading.at_rest) {
            self.sectors[index].readers -= 1;
            let start = (index * SECTOR) as u64;
            let (from, to) = (bytes.start.max(start), bytes.end.min(start + SECTOR as u64));
            let found = &found[(from - bytes.start) as usize..(to - bytes.start) as usize];
            let wanted = &self.sectors[index].newest()[(from - start) as usize..(to - start) as usize];
            if *at_rest && found != wanted {
                return Err(format!("a read of sector {index} gave {}, but it holds {}", hex(found), hex(wanted)));
            }
            judged += if *at_rest { to - from } else { 0 };
        }
        Ok(judged)
    }

    /// The daemon is gone: no read is under way any more, and what was in flight will never be answered.
    pub fn all_ended(&mut self) {
        self.sectors.iter_mut().for_each(|sector| sector.readers = 0);
        self.changes.clear();
    }

    /// Holds what a volume has at `offset` after `end` against the ledger. From here on the sectors hold that: flush, and it
    /// is durable.
    pub fn settle(&mut self, offset: u64, found: &[u8], end: End) -> Result<(), String> {
        self.clock += 1;
        let mut wrong = Vec::new();
        for (index, found) in (offset as usize / SECTOR..).zip(found.chunks_exact(SECTOR)) {
            let sector = &mut self.sectors[index];
            let Some(bytes) = sector.allowed(end).find(|bytes| bytes[..] == *found).map(Arc::clone) else {
                wrong.push(index);
                continue;
            };
            sector.in_flight.clear();
            if Arc::ptr_eq(&bytes, &sector.answered[0].bytes) && sector.answered.len() == 1 {
                continue;
            }
            sector.answered.push(Version { bytes, answered: self.clock });
            self.unflushed.insert(index);
        }
        let Some(index) = wrong.first().copied() else { return Ok(()) };
        let found = &found[index * SECTOR - offset as usize..][..SECTOR];
        let sector = &self.sectors[index];
        Err(format!(
            "{} sectors hold what they must not after {end:?}, the first is sector {index}: it holds {}, the newest answered is {}, \
             {} answered versions are not behind a flush, {} changes were in flight",
            wrong.len(),
            hex(found),
            hex(&sector.answered[sector.answered.len() - 1].bytes[..]),
            sector.answered.len() - 1,
            sector.in_flight.len()
        ))
    }
}

impl Sector {
    fn newest(&self) -> &Bytes {
        self.in_flight.last().map_or_else(|| &self.answered[self.answered.len() - 1].bytes, |(_, bytes)| bytes)
    }

    fn allowed(&self, end: End) -> impl Iterator<Item = &Bytes> {
        let first = match end {
            End::Kill => self.answered.len() - 1,
            End::Power => 0,
        };
        let answered = self.answered[first..].iter().map(|version| &version.bytes);
        answered.chain(self.in_flight.iter().map(|(_, bytes)| bytes))
    }
}

fn sectors_of(bytes: &Range<u64>) -> Range<usize> {
    bytes.start as usize / SECTOR..(bytes.end as usize).div_ceil(SECTOR)
}

fn hex(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(16)].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: [u8; SECTOR] = [0; SECTOR];
    const ONE: [u8; SECTOR] = [1; SECTOR];
    const TWO: [u8; SECTOR] = [2; SECTOR];

    fn write(ledger: &mut Ledger, content: &[u8], fua: bool) -> u64 {
        ledger.begin(0, 0..SECTOR as u64, Some(content), fua).unwrap()
    }

    #[test]
    fn an_answered_write_survives_a_kill_and_may_be_lost_with_the_power() {
        for (end, found, good) in
            [(End::Kill, &OLD, false), (End::Kill, &ONE, true), (End::Power, &OLD, true), (End::Power, &TWO, false)]
        {
            let mut ledger = Ledger::fresh(4096);
            let id = write(&mut ledger, &ONE, false);
            ledger.done(id);
            assert_eq!(ledger.settle(0, found, end).is_ok(), good, "{end:?} {}", found[0]);
        }
    }

    #[test]
    fn a_flush_covers_what_was_answered_before_it_was_sent() {
        let mut ledger = Ledger::fresh(4096);
        let id = write(&mut ledger, &ONE, false);
        ledger.done(id);
        let covers = ledger.begin_flush();
        let id = write(&mut ledger, &TWO, false);
        ledger.done(id);
        ledger.flushed(covers);
        assert!(ledger.settle(0, &OLD, End::Power).is_err(), "what was flushed must not go");
        assert!(ledger.settle(0, &ONE, End::Power).is_ok(), "what came after the flush may go");
    }

    #[test]
    fn fua_is_durable_and_a_change_in_flight_is_neither_here_nor_there() {
        let mut ledger = Ledger::fresh(4096);
        let id = write(&mut ledger, &ONE, true);
        ledger.done(id);
        write(&mut ledger, &TWO, false);
        assert!(ledger.settle(0, &OLD, End::Power).is_err());
        assert!(ledger.settle(0, &TWO, End::Power).is_ok());
        assert!(ledger.settle(0, &TWO, End::Kill).is_ok(), "settled: nothing else from here on");
        assert!(ledger.settle(0, &ONE, End::Kill).is_err());
    }

    #[test]
    fn a_read_at_rest_has_one_right_answer() {
        let mut ledger = Ledger::fresh(4096);
        let reading = ledger.begin_read(10..20);
        assert!(ledger.begin(1, 0..1, Some(&[1]), false).is_none(), "no change begins under a read");
        assert_eq!(ledger.end_read(&reading, &(10..20), &[0; 10]), Ok(10));
        let id = ledger.begin(1, 12..14, Some(&[7, 8]), false).unwrap();
        assert!(ledger.begin(2, 0..1, Some(&[1]), false).is_none(), "nor beside another connection's");
        let reading = ledger.begin_read(10..20);
        assert_eq!(ledger.end_read(&reading, &(10..20), &[9; 10]), Ok(0), "not at rest: not judged");
        ledger.done(id);
        let reading = ledger.begin_read(10..20);
        assert!(ledger.end_read(&reading, &(10..20), &[0; 10]).is_err());
    }
}
