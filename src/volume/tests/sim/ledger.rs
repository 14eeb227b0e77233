//! What a client may find in every sector after a crash: the bytes it was told are durable, or any it has written since.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::units::Generation;

pub const SECTOR: usize = 512;

type Bytes = Arc<[u8; SECTOR]>;

/// What happened at the volume's front door.
#[derive(Clone, Debug)]
pub enum Note {
    /// Change `id` was asked for: these bytes, or zeros.
    Begun { id: u64, offset: u64, len: u64, bytes: Option<Arc<[u8]>>, fua: bool },
    /// It was answered with success.
    Done { id: u64 },
    /// Flush `id` was asked for.
    FlushBegun { id: u64 },
    /// It was answered with success.
    FlushDone { id: u64 },
    /// The rotation is being given another target.
    TargetBegun,
    /// It has it, durably.
    TargetDone { target: Generation },
}

/// How the machine went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The cache is lost.
    Power,
    /// The process is killed; the cache stays.
    Kill,
}

#[derive(Clone)]
struct Sector {
    /// Every version since the durable one, which is the first; with the change that wrote it.
    versions: Vec<(u64, Bytes)>,
    /// The newest answered version.
    answered: usize,
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
}

impl Ledger {
    pub fn new(size: u64) -> Ledger {
        let zeros = Sector { versions: vec![(0, Arc::new([0; SECTOR]))], answered: 0 };
        let sectors = vec![zeros; size as usize / SECTOR];
        let (changes, flushes, unflushed) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Ledger { sectors, changes, flushes, unflushed, target: Some(Generation::FIRST) }
    }

    pub fn take(&mut self, note: &Note) {
        match note {
            Note::Begun { id, offset, len, bytes, fua } => self.begin(*id, *offset, *len, bytes.as_deref(), *fua),
            Note::Done { id } => self.done(*id),
            Note::FlushBegun { id } => {
                self.flushes.insert(*id, self.unflushed.iter().map(|(sector, change)| (*sector, *change)).collect());
            }
            Note::FlushDone { id } => {
                for (sector, change) in self.flushes.remove(id).unwrap_or_default() {
                    self.settle(sector, change);
                }
            }
            Note::TargetBegun => self.target = None,
            Note::TargetDone { target } => self.target = Some(*target),
        }
    }

    fn begin(&mut self, id: u64, offset: u64, len: u64, bytes: Option<&[u8]>, fua: bool) {
        if len == 0 {
            return;
        }
        let (first, end) = (offset as usize / SECTOR, (offset + len).div_ceil(SECTOR as u64) as usize);
        for index in first..end {
            let sector = &mut self.sectors[index];
            let mut content = sector.versions.last().map_or([0; SECTOR], |(_, bytes)| **bytes);
            let start = (index * SECTOR) as u64;
            let from = offset.max(start);
            let to = (offset + len).min(start + SECTOR as u64);
            let into = &mut content[(from - start) as usize..(to - start) as usize];
            match bytes {
                Some(bytes) => into.copy_from_slice(&bytes[(from - offset) as usize..(to - offset) as usize]),
                None => into.fill(0),
            }
            sector.versions.push((id, Arc::new(content)));
        }
        self.changes.insert(id, (first, end - first, fua));
    }

    fn done(&mut self, id: u64) {
        let Some((first, count, fua)) = self.changes.remove(&id) else { return };
        for index in first..first + count {
            let sector = &mut self.sectors[index];
            let Some(place) = sector.versions.iter().position(|version| version.0 == id) else { continue };
            sector.answered = sector.answered.max(place);
            let answered = sector.versions[sector.answered].0;
            if fua {
                self.settle(index, id);
            }
            if self.sectors[index].answered > 0 {
                self.unflushed.insert(index, answered);
            }
        }
    }

    fn settle(&mut self, index: usize, change: u64) {
        let sector = &mut self.sectors[index];
        let Some(place) = sector.versions.iter().position(|version| version.0 == change) else { return };
        sector.versions.drain(..place);
        sector.answered = sector.answered.saturating_sub(place);
        if sector.answered == 0 {
            self.unflushed.remove(&index);
        }
    }

    fn allowed(&self, index: usize, end: End) -> &[(u64, Bytes)] {
        let sector = &self.sectors[index];
        match end {
            End::Power => &sector.versions,
            End::Kill => &sector.versions[sector.answered..],
        }
    }

    /// Holds a volume's content against the ledger; what is wrong, if anything.
    pub fn judge(&self, offset: u64, found: &[u8], end: End) -> Result<(), String> {
        let first = offset as usize / SECTOR;
        let mut wrong = Vec::new();
        for (index, bytes) in (first..).zip(found.chunks(SECTOR)) {
            let allowed = self.allowed(index, end);
            if !allowed.iter().rev().any(|(_, version)| version[..bytes.len()] == *bytes) {
                let newest = &self.sectors[index].versions;
                let known = newest.iter().map(|version| version.0).collect::<Vec<_>>();
                wrong.push(format!(
                    "sector {index} (extent {}) begins {:02x?}, allowed are {} versions (changes {known:?}), the newest begins {:02x?}",
                    index * SECTOR / (64 << 10),
                    &bytes[..8.min(bytes.len())],
                    allowed.len(),
                    newest.last().map(|version| version.1[..8].to_vec()),
                ));
            }
        }
        match wrong.len() {
            0 => Ok(()),
            count => Err(format!("{count} sectors hold what they must not after {end:?}; {}", wrong[0])),
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
