//! What clients asked and were told, and what a read may therefore find.
//!
//! Every write fills its sectors with a number of its own. Write *a* comes before write *b* if *a* had arrived (entered
//! its gates or parked there) before *b* was asked: overlapping writes run in arrival order, whatever connection sent
//! them and whether it still lives. A read may find *a* unless some *b* that came after it was answered before the read
//! was asked, or an earlier read has already found such a *b*.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::explore::{check, wrong};

pub const SECTOR: u64 = 512;

struct Write {
    sectors: Range<u64>,
    /// What the sectors hold afterwards; zero for a write of zeros.
    value: u64,
    asked: u64,
    arrived: u64,
    /// When it was answered, and well.
    answered: Option<u64>,
}

impl Write {
    fn before(&self, other: &Write) -> bool {
        self.arrived < other.asked
    }
}

#[derive(Default)]
struct Book {
    clock: u64,
    writes: Vec<Write>,
    /// For every sector what reads have found: when the read was answered, and the write.
    found: Vec<Vec<(u64, usize)>>,
    /// For every block of a write that was answered well the version the device had then.
    versions: BTreeMap<usize, u64>,
}

impl Book {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Whether a read asked at `asked` may find in `sector` what write `index` wrote.
    fn may_find(&self, sector: u64, index: usize, asked: u64) -> bool {
        let candidate = &self.writes[index];
        let over = |other: &Write| other.sectors.contains(&sector) && candidate.before(other);
        let overwritten = self.writes.iter().any(|other| over(other) && other.answered.is_some_and(|at| at < asked));
        let seen = self.found[sector as usize].iter().any(|(at, found)| *at < asked && over(&self.writes[*found]));
        candidate.sectors.contains(&sector) && !overwritten && !seen
    }
}

/// Shared by all clients of a volume.
#[derive(Default)]
pub struct Ledger(Mutex<Book>);

/// What a sector number's write wrote first: every sector of a new volume.
pub const FIRST: u64 = 1;

impl Ledger {
    /// For a volume of `sectors` sectors that all hold [`FIRST`], or zeros where `known` says they were never written.
    pub fn new(sectors: u64, known: impl Fn(u64) -> bool) -> Ledger {
        let mut book = Book { found: (0..sectors).map(|_| Vec::new()).collect(), ..Book::default() };
        for sector in 0..sectors {
            let value = if known(sector) { FIRST } else { 0 };
            book.writes.push(Write { sectors: sector..sector + 1, value, asked: 0, arrived: 0, answered: Some(0) });
        }
        book.clock = 1;
        Ledger(Mutex::new(book))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write is about to be asked for: its number, and the value it is to write.
    pub fn write(&self, sectors: Range<u64>, zeros: bool) -> (usize, u64) {
        let mut book = self.book();
        let (index, asked) = (book.writes.len(), book.tick());
        let value = if zeros { 0 } else { FIRST + 1 + index as u64 };
        book.writes.push(Write { sectors, value, asked, arrived: u64::MAX, answered: None });
        (index, value)
    }

    /// The write stands in its gates or has passed them.
    pub fn arrived(&self, index: usize) {
        let mut book = self.book();
        let now = book.tick();
        book.writes[index].arrived = now;
    }

    /// The write was answered well.
    pub fn answered(&self, index: usize) {
        let mut book = self.book();
        let now = book.tick();
        book.writes[index].answered = Some(now);
    }

    /// Where a write went.
    pub fn sectors(&self, index: usize) -> Range<u64> {
        self.book().writes[index].sectors.clone()
    }

    /// A write to `block` has been answered, and the device's version of it is at least `version`.
    pub fn version(&self, block: usize, version: u64) {
        let mut book = self.book();
        let known = book.versions.entry(block).or_default();
        *known = version.max(*known);
    }

    /// The versions that a flush asked for now must make durable.
    pub fn versions(&self) -> Vec<(usize, u64)> {
        self.book().versions.iter().map(|(block, version)| (*block, *version)).collect()
    }

    /// A read is about to be asked for.
    pub fn read(&self) -> u64 {
        self.book().tick()
    }

    /// What a read that was asked at `asked` has found from `first` on.
    pub fn found(&self, asked: u64, first: u64, bytes: &[u8]) {
        let mut book = self.book();
        let now = book.tick();
        for (sector, bytes) in (first..).zip(bytes.chunks(SECTOR as usize)) {
            let words: Vec<u64> = bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
            let value = words[0];
            if words.iter().any(|word| *word != value) {
                drop(book);
                wrong(format!("garbage in sector {sector}: {:x?}", &words[..4]));
            }
            let by_value = |(index, write): (usize, &Write)| {
                (write.value == value && write.asked < now && write.sectors.contains(&sector)).then_some(index)
            };
            let candidates: Vec<usize> = book.writes.iter().enumerate().filter_map(by_value).collect();
            let good = candidates.iter().any(|index| book.may_find(sector, *index, asked));
            if let (true, [only]) = (good, candidates.as_slice()) {
                book.found[sector as usize].push((now, *only));
            }
            if !good {
                drop(book);
                return check(false, || format!("stale: sector {sector} holds {value:#x}, read at {asked}"));
            }
        }
    }
}
