//! What a simulated disk holds: durable bytes, and the versions of every granule that only the cache holds.
//!
//! The fault model: at a crash every granule resolves on its own to its durable bytes, to any version written since, or
//! to the newest one; where its zone is frail, also to a shorn one, to garbage or to a read error. A flush makes what was written before it *began* durable, when it ends. A flush that failed leaves
//! the versions of that time in doubt for ever: no later flush vouches for them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::ledger::SECTOR;
use super::pages::Pages;
use super::rng::Rng;
use super::zones::{Frailties, Frailty};

/// Written bytes: a slice of a write's data from this byte on, or zeros.
#[derive(Clone)]
struct Version {
    number: u64,
    bytes: Option<(Arc<[u8]>, usize)>,
    lost: bool,
}

/// One disk.
#[derive(Clone)]
pub struct DiskState {
    pub granule: usize,
    /// The granule it claims to have.
    pub claimed: u32,
    pub visible: Pages,
    durable: Pages,
    pending: BTreeMap<u64, Vec<Version>>,
    frailties: Frailties,
    /// Granules that cannot be read until they are written again.
    unreadable: BTreeSet<u64>,
}

impl DiskState {
    pub fn new(len: u64, granule: usize, claimed: u32) -> DiskState {
        let pages = Pages::new(len);
        DiskState {
            granule,
            claimed,
            visible: pages.clone(),
            durable: pages,
            pending: BTreeMap::new(),
            frailties: Frailties::default(),
            unreadable: BTreeSet::new(),
        }
    }

    /// Makes it longer, durably: a crash before leaves the disk of before.
    pub fn grow(&mut self, len: u64) {
        self.visible.grow(len);
        self.durable.grow(len);
        self.frailties.grow(len);
    }

    /// The same disk with zones where worse may happen than atomic granules allow.
    pub fn frail(self, frailties: Frailties) -> DiskState {
        DiskState { frailties, ..self }
    }

    /// Whether all of the range can be read.
    pub fn is_readable(&self, offset: u64, len: u64) -> bool {
        let size = self.granule as u64;
        self.unreadable.range(offset / size..(offset + len).div_ceil(size)).next().is_none()
    }

    /// Durable bytes.
    pub fn durable_bytes(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.durable.read(offset, &mut bytes);
        bytes
    }

    /// The first write to the range, of those `wanted`, that is in the cache only.
    pub fn first_pending(&self, range: Range<u64>, wanted: impl Fn(u64) -> bool) -> Option<u64> {
        let size = self.granule as u64;
        let granules = self.pending.range(range.start / size..range.end.div_ceil(size));
        granules.flat_map(|(_, versions)| versions).map(|version| version.number).find(|number| wanted(*number))
    }

    /// Replaces bytes behind everybody's back, durably.
    pub fn tamper(&mut self, offset: u64, bytes: &[u8]) {
        self.durable.write(offset, bytes);
        self.visible.write(offset, bytes);
    }

    /// Write `number` is under way: it is visible, and may survive or not.
    pub fn put(&mut self, number: u64, offset: u64, bytes: &Arc<[u8]>) {
        self.visible.write(offset, bytes);
        self.enter(number, offset, bytes.len() as u64, |from| Some((Arc::clone(bytes), from)));
    }

    /// The same with zeros.
    pub fn zero(&mut self, number: u64, offset: u64, len: u64, punch: bool) {
        self.visible.zero(offset, len, punch);
        self.enter(number, offset, len, |_| None);
    }

    fn enter(&mut self, number: u64, offset: u64, len: u64, part: impl Fn(usize) -> Option<(Arc<[u8]>, usize)>) {
        let size = self.granule as u64;
        assert!(offset.is_multiple_of(size) && len.is_multiple_of(size), "write of {len} at {offset} is not granular");
        for granule in offset / size..(offset + len) / size {
            let bytes = part((granule * size - offset) as usize);
            self.unreadable.remove(&granule);
            self.pending.entry(granule).or_default().push(Version { number, bytes, lost: false });
        }
    }

    /// What was written to the range before `before`, a write's number, is durable.
    pub fn settle(&mut self, before: u64, range: std::ops::Range<u64>) {
        let size = self.granule as u64;
        let granules: Vec<u64> =
            self.pending.range(range.start / size..range.end.div_ceil(size)).map(|(granule, _)| *granule).collect();
        for granule in granules {
            let Some(versions) = self.pending.get_mut(&granule) else { continue };
            let newest = versions.iter().rposition(|version| version.number < before && !version.lost);
            if let Some(newest) = newest {
                let settled: Vec<Version> = versions.drain(..=newest).collect();
                if versions.is_empty() {
                    self.pending.remove(&granule);
                }
                self.make_durable(granule, &settled[newest]);
            }
        }
    }

    fn make_durable(&mut self, granule: u64, version: &Version) {
        let place = granule * self.granule as u64;
        match &version.bytes {
            Some((bytes, from)) => self.durable.write(place, &bytes[*from..*from + self.granule]),
            None => self.durable.zero(place, self.granule as u64, true),
        }
    }

    pub fn settle_all(&mut self, before: u64) {
        self.settle(before, 0..self.durable.len());
    }

    /// A flush has failed: nothing written so far will be vouched for.
    pub fn lose(&mut self) {
        self.pending.values_mut().flatten().for_each(|version| version.lost = true);
    }

    /// The power failed while a granule was being written.
    fn break_granule(&mut self, granule: u64, newest: &Version, frailty: Frailty, rng: &mut Rng) {
        let place = granule * self.granule as u64;
        let mut bytes = self.durable_bytes(place, self.granule);
        match rng.below(if frailty == Frailty::Fragile { 3 } else { 1 }) {
            0 => {
                let step = if frailty == Frailty::Fragile { 1 } else { SECTOR };
                let cut = rng.below((self.granule / step) as u64) as usize * step;
                match &newest.bytes {
                    Some((new, from)) => bytes[..cut].copy_from_slice(&new[*from..*from + cut]),
                    None => bytes[..cut].fill(0),
                }
            }
            1 => bytes.chunks_mut(8).for_each(|word| word.copy_from_slice(&rng.next().to_le_bytes())),
            _ => {
                self.unreadable.insert(granule);
            }
        }
        self.durable.write(place, &bytes);
    }

    /// The disk after a power cut.
    pub fn crash(&self, rng: &mut Rng) -> DiskState {
        let mut after = self.clone();
        let policy = Policy::choose(rng, self);
        for (granule, versions) in &self.pending {
            // 0: the durable bytes; n: the n-th version since.
            if let Some(version) = policy.survivor(rng, *granule, versions).checked_sub(1) {
                after.make_durable(*granule, &versions[version]);
            }
            let frailty = self.frailties.at(granule * self.granule as u64);
            if frailty != Frailty::Atomic && rng.once_in(6) {
                after.break_granule(*granule, &versions[versions.len() - 1], frailty, rng);
            }
        }
        after.pending.clear();
        after.visible = after.durable.clone();
        after
    }
}

/// How granules resolve at a crash: plain coin tosses almost never give the sharp cases, where one write or one granule
/// differs from all others.
enum Policy {
    Nothing,
    All,
    Coin,
    Rarely,
    OnlyWrite(u64),
    AllButWrite(u64),
    WholeWrites(u64),
    OnlyGranule(u64),
    AllButGranule(u64),
    Oldest,
}

impl Policy {
    fn choose(rng: &mut Rng, state: &DiskState) -> Policy {
        let numbers: Vec<u64> = state.pending.values().flatten().map(|version| version.number).collect();
        let granules: Vec<u64> = state.pending.keys().copied().collect();
        if numbers.is_empty() {
            return Policy::All;
        }
        match rng.below(11) {
            0 => Policy::Nothing,
            1 => Policy::All,
            2 => Policy::Coin,
            3 => Policy::Rarely,
            4 | 5 => Policy::OnlyWrite(rng.pick(&numbers)),
            6 => Policy::AllButWrite(rng.pick(&numbers)),
            7 => Policy::WholeWrites(rng.next()),
            8 => Policy::OnlyGranule(rng.pick(&granules)),
            9 => Policy::AllButGranule(rng.pick(&granules)),
            _ => Policy::Oldest,
        }
    }

    fn survivor(&self, rng: &mut Rng, granule: u64, versions: &[Version]) -> usize {
        let all = versions.len();
        let latest = |wanted: &dyn Fn(u64) -> bool| {
            versions.iter().rposition(|version| wanted(version.number)).map_or(0, |index| index + 1)
        };
        match self {
            Policy::Nothing => 0,
            Policy::All => all,
            Policy::Coin => rng.below(all as u64 + 1) as usize,
            Policy::Rarely if rng.once_in(8) => rng.below(all as u64 + 1) as usize,
            Policy::Rarely => all,
            Policy::OnlyWrite(number) => latest(&|found| found == *number),
            Policy::AllButWrite(number) => latest(&|found| found != *number),
            Policy::WholeWrites(seed) => latest(&|found| Rng::new(seed ^ found).once_in(2)),
            Policy::OnlyGranule(only) => usize::from(granule == *only) * all,
            Policy::AllButGranule(but) => usize::from(granule != *but) * all,
            Policy::Oldest => 1,
        }
    }
}
