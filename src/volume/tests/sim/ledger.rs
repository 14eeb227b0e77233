//! What a client may find in every sector after a crash: the bytes it was told are durable, or any it has written since;
//! how many sectors; and which KEKs open it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::super::kek::{NamedKek, OpenKek};
use super::rng::Rng;
use crate::engine::Disk;
use crate::format::generations::{GenerationTable, KeyState};
use crate::keys::Kek;
use crate::units::Generation;
use crate::volume::life::{Windows, search};

pub const SECTOR: usize = 512;

type Bytes = Arc<[u8; SECTOR]>;

/// What happened at the volume's front door.
#[derive(Clone, Debug)]
pub enum Note {
    /// Change `id` was asked for: these bytes, or zeros.
    Begun { id: u64, offset: u64, len: u64, bytes: Option<Arc<[u8]>>, fua: bool },
    /// It was answered with success.
    Done { id: u64 },
    /// It was answered with an error: every sector of it may hold it or not.
    Failed { id: u64 },
    /// Flush `id` was asked for.
    FlushBegun { id: u64 },
    /// It was answered with success.
    FlushDone { id: u64 },
    /// The rotation is being given another target.
    TargetBegun,
    /// It has it, durably.
    TargetDone { target: Generation },
    /// The volume is being grown to this size.
    GrowBegun { size: u64 },
    /// It has exactly this size: it has grown, or not at all.
    GrowDone { size: u64 },
    /// The generation is in one of these states, marked compromised or not.
    Key { generation: Generation, allowed: Vec<(KeyState, bool)> },
    /// A rotation changes the states of several.
    KeysChange,
    /// The generation has one of these key ids, or is not there.
    Shared { generation: Generation, allowed: Vec<Option<[u8; 16]>> },
    /// These wrapped copies of the generation are being erased.
    Erasing { generation: Generation, blobs: Vec<Vec<u8>> },
    /// Each of these KEKs alone opens it; `gone` does not any more.
    Keks { each: Vec<String>, gone: Option<String> },
}

/// How the machine went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The cache is lost.
    Power,
    /// The process is killed; the cache stays.
    Kill,
}

/// What a change makes of a sector.
#[derive(Clone)]
struct Version {
    change: u64,
    /// The bytes of the sector it replaces; the rest is what was there before.
    replaces: Range<usize>,
    failed: bool,
    /// What the sector then holds. More than one thing if an earlier change failed: nobody knows what that one did.
    contents: Vec<Bytes>,
}

impl Version {
    /// What it makes of a sector that holds one of `before`.
    fn over(&mut self, before: &[Bytes]) {
        let own = Arc::clone(&self.contents[0]);
        let mut contents: Vec<Bytes> = Vec::new();
        for before in before {
            let mut content = **before;
            content[self.replaces.clone()].copy_from_slice(&own[self.replaces.clone()]);
            contents.push(Arc::new(content));
        }
        if self.failed {
            contents.extend(before.iter().cloned());
        }
        contents.dedup();
        self.contents = contents;
    }

    fn holds(&self, found: &[u8]) -> bool {
        self.contents.iter().any(|content| content[..found.len()] == *found)
    }
}

#[derive(Clone)]
struct Sector {
    /// Ascending; those before the durable one only as long as a change among them has no answer yet.
    versions: Vec<Version>,
    /// The newest version that is certainly durable.
    durable: usize,
    /// The newest answered version.
    answered: usize,
}

impl Sector {
    fn place(&self, change: u64) -> Option<usize> {
        self.versions.iter().position(|version| version.change == change)
    }
}

/// The ledger of one volume.
#[derive(Clone)]
pub struct Ledger {
    sectors: Vec<Sector>,
    /// Changes under way and answered: first sector, count, FUA.
    changes: BTreeMap<u64, (usize, usize, bool)>,
    /// For every flush under way the newest answered change of each sector, as it was when the flush was asked for.
    flushes: BTreeMap<u64, Vec<(usize, u64)>>,
    unflushed: BTreeMap<usize, u64>,
    /// The rotation's target, if it is certain.
    target: Option<Generation>,
    /// Sizes the volume may have.
    sizes: Vec<u64>,
    /// States that generations may be in, as far as they are known.
    keys: BTreeMap<Generation, Vec<(KeyState, bool)>>,
    /// Key ids of generations that others know of, too.
    shared: BTreeMap<Generation, Vec<Option<[u8; 16]>>>,
    /// Wrapped copies of which nothing may be left once their generation is destroyed, or given up.
    erased: BTreeMap<Generation, Vec<Vec<u8>>>,
    /// KEKs each of which must open the volume alone; none where one keeper opens everything.
    keks: Vec<String>,
    /// The KEK that opened it last and must not any more.
    gone: Option<String>,
}

impl Ledger {
    /// Of a volume of `size` bytes that never grows beyond `most`.
    pub fn new(size: u64, most: u64) -> Ledger {
        let zeros = Version { change: 0, replaces: 0..SECTOR, failed: false, contents: vec![Arc::new([0; SECTOR])] };
        let zeros = Sector { versions: vec![zeros], durable: 0, answered: 0 };
        let sectors = vec![zeros; most as usize / SECTOR];
        let (changes, flushes, unflushed) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (keys, shared, erased) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Ledger {
            sectors,
            changes,
            flushes,
            unflushed,
            target: Some(Generation::FIRST),
            sizes: vec![size],
            keys,
            shared,
            erased,
            keks: Vec::new(),
            gone: None,
        }
    }

    pub fn take(&mut self, note: &Note) {
        match note {
            Note::Begun { id, offset, len, bytes, fua } => self.begin(*id, *offset, *len, bytes.as_deref(), *fua),
            Note::Done { id } => self.done(*id),
            Note::Failed { id } => self.failed(*id),
            Note::FlushBegun { id } => {
                self.flushes.insert(*id, self.unflushed.iter().map(|(sector, change)| (*sector, *change)).collect());
            }
            Note::FlushDone { id } => {
                for (sector, change) in self.flushes.remove(id).unwrap_or_default() {
                    self.settle(sector, change);
                }
            }
            Note::Key { generation, allowed } => {
                self.keys.insert(*generation, allowed.clone());
            }
            Note::Shared { generation, allowed } => {
                self.shared.insert(*generation, allowed.clone());
            }
            Note::KeysChange => self.keys.clear(),
            Note::Erasing { generation, blobs } => {
                self.erased.insert(*generation, blobs.clone());
            }
            Note::TargetBegun => {
                self.target = None;
                self.keys.clear();
            }
            Note::TargetDone { target } => self.target = Some(*target),
            Note::GrowBegun { size } => self.sizes.push(*size),
            Note::GrowDone { size } => self.sizes = vec![*size],
            Note::Keks { each, gone } => (self.keks, self.gone) = (each.clone(), gone.clone()),
        }
    }

    fn begin(&mut self, id: u64, offset: u64, len: u64, bytes: Option<&[u8]>, fua: bool) {
        if len == 0 {
            return;
        }
        let (first, end) = (offset as usize / SECTOR, (offset + len).div_ceil(SECTOR as u64) as usize);
        for index in first..end {
            let sector = &mut self.sectors[index];
            let start = (index * SECTOR) as u64;
            let (from, to) = (offset.max(start), (offset + len).min(start + SECTOR as u64));
            let replaces = (from - start) as usize..(to - start) as usize;
            let mut own = [0; SECTOR];
            if let Some(bytes) = bytes {
                own[replaces.clone()].copy_from_slice(&bytes[(from - offset) as usize..(to - offset) as usize]);
            }
            let mut version = Version { change: id, replaces, failed: false, contents: vec![Arc::new(own)] };
            let before = &sector.versions[sector.versions.len() - 1].contents;
            version.over(before);
            sector.versions.push(version);
        }
        self.changes.insert(id, (first, end - first, fua));
    }

    fn done(&mut self, id: u64) {
        let Some((first, count, fua)) = self.changes.remove(&id) else { return };
        for index in first..first + count {
            let sector = &mut self.sectors[index];
            let Some(place) = sector.place(id) else { continue };
            sector.answered = sector.answered.max(place);
            let answered = sector.versions[sector.answered].change;
            if fua {
                self.settle(index, id);
            }
            let sector = &self.sectors[index];
            if sector.answered > sector.durable {
                self.unflushed.insert(index, answered);
            }
            self.forget(index);
        }
    }

    fn failed(&mut self, id: u64) {
        let Some((first, count, _)) = self.changes.remove(&id) else { return };
        for index in first..first + count {
            let versions = &mut self.sectors[index].versions;
            let Some(place) = versions.iter().position(|version| version.change == id) else { continue };
            versions[place].failed = true;
            for later in place..versions.len() {
                let (earlier, later) = versions.split_at_mut(later);
                later[0].over(&earlier[earlier.len() - 1].contents);
            }
            self.forget(index);
        }
    }

    fn settle(&mut self, index: usize, change: u64) {
        let sector = &mut self.sectors[index];
        let Some(place) = sector.place(change) else { return };
        sector.durable = sector.durable.max(place);
        if sector.answered <= sector.durable {
            self.unflushed.remove(&index);
        }
        self.forget(index);
    }

    /// Drops versions before the durable one that nothing depends on any more.
    fn forget(&mut self, index: usize) {
        let sector = &mut self.sectors[index];
        let unanswered = sector.versions.iter().position(|version| self.changes.contains_key(&version.change));
        // The one before an unanswered change is what remains if it fails.
        let needed = unanswered.map_or(sector.durable, |place| place.saturating_sub(1).min(sector.durable));
        sector.versions.drain(..needed);
        sector.durable -= needed;
        sector.answered = sector.answered.saturating_sub(needed);
    }

    fn allowed(&self, index: usize, end: End) -> &[Version] {
        let sector = &self.sectors[index];
        match end {
            End::Power => &sector.versions[sector.durable..],
            End::Kill => &sector.versions[sector.answered.max(sector.durable)..],
        }
    }

    /// Holds a volume's content against the ledger; what is wrong, if anything.
    pub fn judge(&self, offset: u64, found: &[u8], end: End) -> Result<(), String> {
        let first = offset as usize / SECTOR;
        let mut wrong = Vec::new();
        for (index, bytes) in (first..).zip(found.chunks(SECTOR)) {
            let allowed = self.allowed(index, end);
            if !allowed.iter().rev().any(|version| version.holds(bytes)) {
                let versions = &self.sectors[index].versions;
                let known = versions.iter().map(|version| version.change).collect::<Vec<_>>();
                wrong.push(format!(
                    "sector {index} (extent {}) begins {:02x?}, allowed are {} versions (changes {known:?}), the newest begins {:02x?}",
                    index * SECTOR / (64 << 10),
                    &bytes[..8.min(bytes.len())],
                    allowed.len(),
                    versions.last().map(|version| version.contents[0][..8].to_vec()),
                ));
            }
        }
        match wrong.len() {
            0 => Ok(()),
            count => Err(format!("{count} sectors hold what they must not after {end:?}; {}", wrong[0])),
        }
    }

    /// KEKs that must open the volume: one of those that each do, chosen anew every time.
    pub fn keks(&self, rng: &mut Rng) -> Vec<Kek> {
        match self.keks.is_empty() {
            true => OpenKek::list(),
            false => vec![NamedKek::kek(&self.keks[rng.below(self.keks.len() as u64) as usize], false)],
        }
    }

    /// Whether two KEKs open the volume just now.
    pub fn has_two_keks(&self) -> bool {
        self.keks.len() > 1
    }

    /// The KEK that must not open the volume any more.
    pub fn gone(&self) -> Option<Kek> {
        self.gone.as_deref().map(|name| NamedKek::kek(name, false))
    }

    /// Whether the volume may have this size.
    pub fn judge_size(&self, found: u64) -> Result<(), String> {
        match self.sizes.contains(&found) {
            true => Ok(()),
            false => Err(format!("the size is {found}, allowed are {:?}", self.sizes)),
        }
    }

    /// Whether every generation is in a state it may be in, and nothing is left of those that are destroyed.
    pub fn judge_keys(&self, table: &GenerationTable, header: &dyn Disk, len: u64) -> Result<(), String> {
        for entry in &table.entries {
            let found = (entry.state, entry.compromised);
            if let Some(allowed) = self.keys.get(&entry.generation).filter(|allowed| !allowed.contains(&found)) {
                return Err(format!("generation {} is {found:?}, allowed are {allowed:?}", entry.generation));
            }
            if entry.state == KeyState::Destroyed {
                self.nothing_left(entry.generation, header, len)?;
            }
        }
        for (generation, allowed) in &self.shared {
            let found = table.entry(*generation).map(|entry| entry.key_id);
            if !allowed.contains(&found) {
                return Err(format!("generation {generation} has key {found:x?}, allowed are {allowed:x?}"));
            }
            if found.is_none() {
                self.nothing_left(*generation, header, len)?;
            }
        }
        Ok(())
    }

    fn nothing_left(&self, generation: Generation, header: &dyn Disk, len: u64) -> Result<(), String> {
        let Some(blobs) = self.erased.get(&generation) else { return Ok(()) };
        let windows = Windows::of(blobs.iter().map(Vec::as_slice), std::iter::empty());
        let residue = search(header, len, &windows).map_err(|error| error.to_string())?;
        match residue.found.first() {
            Some(place) => Err(format!("generation {generation} is gone, but its key stands at {place}")),
            None => Ok(()),
        }
    }

    /// Whether the rotation may have this target.
    pub fn judge_target(&self, found: Generation) -> Result<(), String> {
        match self.target {
            Some(target) if target != found => Err(format!("the target is generation {found}, durable was {target}")),
            _ => Ok(()),
        }
    }
}
