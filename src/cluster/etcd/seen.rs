//! What etcd has shown this node, kept in a file of the node's own, so that an etcd which lost some of it is noticed.
//!
//! Invariants: what is kept only grows, but for an operator's word; it is durable before an answer that rests on it is given; a file
//! that cannot be read stops the start and is not taken for an empty one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use etcd_client::ResponseHeader;
use serde::{Deserialize, Serialize};

use super::values;
use crate::cluster::coordinator::{Backwards, CoordinatorError, misplaced};
use crate::cluster::stamp::Stamp;
use crate::cluster::whole;
use crate::units::VolumeId;

/// Longest file.
const FILE_MAX: u64 = 4 << 20;
const VERSION: u32 = 1;

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Which etcd it is.
    pub cluster: Option<u64>,
    /// Its count of writes.
    pub revision: i64,
    /// The highest epoch of each volume.
    pub epochs: BTreeMap<VolumeId, u64>,
    /// The latest record of each volume.
    pub records: BTreeMap<VolumeId, Stamp>,
    /// Volumes that may stand there older than they were, by an operator's word.
    pub mending: BTreeSet<VolumeId>,
}

/// What etcd shows of itself and of a volume, without a look at what it had shown.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Which etcd it is.
    pub cluster: u64,
    /// Its count of writes.
    pub revision: i64,
    /// The volume's epoch; 0: none there.
    pub epoch: u64,
    /// The volume's record.
    pub record: Option<Stamp>,
}

impl Seen {
    /// Takes what is shown as it is, by an operator's word, if it is less than before; how it is. `asked` was the revision when the
    /// question was asked.
    pub fn accept(&mut self, volume: VolumeId, asked: i64, found: &Found) -> Option<Backwards> {
        let lost = self.lost(volume, asked, found)?;
        (self.cluster, self.revision) = (Some(found.cluster), found.revision);
        self.mending.insert(volume);
        Some(lost)
    }

    /// How what is shown of a volume is less than before.
    fn lost(&self, volume: VolumeId, asked: i64, found: &Found) -> Option<Backwards> {
        if let Some(all) = self.replaced_or_rewound(asked, found.cluster, found.revision) {
            return Some(all);
        }
        let before = self.epochs.get(&volume).copied().unwrap_or(0);
        if found.epoch < before {
            return Some(Backwards::Epoch { seen: before, found: found.epoch });
        }
        match misplaced(self.records.get(&volume).copied(), found.record) {
            Some(CoordinatorError::Backwards(record)) => Some(record),
            _ => None,
        }
    }

    fn replaced_or_rewound(&self, asked: i64, cluster: u64, revision: i64) -> Option<Backwards> {
        match self.cluster {
            Some(was) if was != cluster => Some(Backwards::Replaced { was, is: cluster }),
            _ => (revision < asked).then_some(Backwards::Revision { seen: asked, found: revision }),
        }
    }

    /// Takes in what an answer says of etcd; `asked` was the revision when the question was asked.
    pub fn notice_header(&mut self, asked: i64, header: Option<&ResponseHeader>) -> Result<(), CoordinatorError> {
        let header = header.ok_or_else(|| CoordinatorError::Other("an answer without a header".into()))?;
        self.notice(asked, header.cluster_id(), header.revision())
    }

    fn notice(&mut self, asked: i64, cluster: u64, revision: i64) -> Result<(), CoordinatorError> {
        if let Some(backwards) = self.replaced_or_rewound(asked, cluster, revision) {
            return Err(CoordinatorError::Backwards(backwards));
        }
        self.cluster = Some(cluster);
        self.revision = self.revision.max(revision);
        Ok(())
    }

    /// Takes in a volume's epoch; 0: none there.
    pub fn notice_epoch(&mut self, volume: VolumeId, found: u64) -> Result<(), CoordinatorError> {
        let before = self.epochs.get(&volume).copied().unwrap_or(0);
        if found < before && !self.mending.contains(&volume) {
            return Err(CoordinatorError::Backwards(Backwards::Epoch { seen: before, found }));
        }
        if found > before {
            self.epochs.insert(volume, found);
        }
        Ok(())
    }

    /// Takes in a volume's record.
    pub fn notice_record(&mut self, volume: VolumeId, found: Option<Stamp>) -> Result<(), CoordinatorError> {
        let wrong = misplaced(self.records.get(&volume).copied(), found);
        match wrong {
            Some(wrong @ CoordinatorError::Backwards(_)) if !self.mending.contains(&volume) => return Err(wrong),
            Some(CoordinatorError::Backwards(_)) => {}
            _ => {
                self.records.extend(found.map(|found| (volume, found)));
                self.mending.remove(&volume);
            }
        }
        Ok(())
    }

    /// Takes in a record that this node has published.
    pub fn published(&mut self, volume: VolumeId, stamp: Stamp) {
        self.records.insert(volume, stamp);
        self.mending.remove(&volume);
    }

    /// What decides what is kept: revisions alone grow with every answer and are not worth a write.
    fn matters(&self) -> impl PartialEq + '_ {
        (self.cluster, &self.epochs, &self.records, &self.mending)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    cluster: Option<u64>,
    revision: i64,
    volumes: BTreeMap<String, KeptVolume>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptVolume {
    epoch: u64,
    record: Option<(u64, u64)>,
    mending: bool,
}

/// The file. Whoever writes it holds up nobody who takes in answers.
pub struct Memory {
    path: PathBuf,
    kept: Mutex<Seen>,
}

impl Memory {
    /// Reads the file; none: nothing was seen yet.
    pub fn open(path: &Path) -> Result<(Memory, Seen), CoordinatorError> {
        let failed = |why: String| {
            let path = path.display();
            CoordinatorError::Other(format!(
                "what it has shown this node cannot be read from {path}: {why}; put the file back from a backup, or move it \
                 away if etcd is known to be the same as ever"
            ))
        };
        let seen = match read(path) {
            Ok(bytes) => parse(&bytes).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Seen::default(),
            Err(error) => return Err(failed(error.to_string())),
        };
        Ok((Memory { path: path.to_owned(), kept: Mutex::new(seen.clone()) }, seen))
    }

    /// Makes durable what was seen by `now`, if it is not.
    pub fn keep(&self, now: impl FnOnce() -> Seen) -> Result<(), CoordinatorError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now();
        if now.matters() == kept.matters() {
            return Ok(());
        }
        let fresh = self.path.with_extension("new");
        let kept_now = whole::write(&fresh, &bytes_of(&now)).and_then(|()| whole::put(&fresh, &self.path));
        kept_now.map_err(|error| {
            let path = self.path.display();
            CoordinatorError::Other(format!(
                "what it has shown this node cannot be kept in {path}: {error}; make room there"
            ))
        })?;
        *kept = now;
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn bytes_of(seen: &Seen) -> Vec<u8> {
    let mut volumes: BTreeMap<String, KeptVolume> = BTreeMap::new();
    for (volume, epoch) in &seen.epochs {
        volumes.entry(volume.to_string()).or_default().epoch = *epoch;
    }
    for (volume, stamp) in &seen.records {
        volumes.entry(volume.to_string()).or_default().record = Some((stamp.epoch, stamp.revision));
    }
    for volume in &seen.mending {
        volumes.entry(volume.to_string()).or_default().mending = true;
    }
    let kept = Kept { version: VERSION, cluster: seen.cluster, revision: seen.revision, volumes };
    serde_json::to_vec_pretty(&kept).unwrap_or_default()
}

fn parse(bytes: &[u8]) -> Result<Seen, String> {
    if bytes.len() as u64 > FILE_MAX {
        return Err(format!("longer than {FILE_MAX} bytes"));
    }
    let kept: Kept = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if kept.version != VERSION {
        return Err(format!("version {}; this build reads {VERSION}", kept.version));
    }
    let mut seen = Seen { cluster: kept.cluster, revision: kept.revision, ..Seen::default() };
    for (name, of) in kept.volumes {
        let volume = values::volume(&name).ok_or_else(|| format!("{name:?} is no volume id"))?;
        if of.epoch > 0 {
            seen.epochs.insert(volume, of.epoch);
        }
        seen.records.extend(of.record.map(|(epoch, revision)| (volume, Stamp::new(epoch, revision))));
        if of.mending {
            seen.mending.insert(volume);
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: VolumeId = VolumeId([1; 16]);

    fn backwards(result: Result<(), CoordinatorError>) -> bool {
        matches!(result, Err(CoordinatorError::Backwards(_)))
    }

    #[test]
    fn less_than_before_is_noticed() {
        let mut seen = Seen::default();
        seen.notice(0, 5, 244).unwrap();
        assert!(backwards(seen.notice(244, 5, 214)), "another snapshot");
        assert!(backwards(seen.notice(244, 6, 300)), "another etcd");
        seen.notice(240, 5, 241).unwrap();
        assert_eq!(seen.revision, 244, "answers may overtake each other");
        seen.notice_epoch(A, 3).unwrap();
        assert!(backwards(seen.notice_epoch(A, 2)));
        assert!(backwards(seen.notice_epoch(A, 0)));
        seen.notice_record(A, Some(Stamp::new(3, 8))).unwrap();
        assert!(backwards(seen.notice_record(A, Some(Stamp::new(3, 7)))));
        assert!(backwards(seen.notice_record(A, None)));
    }

    #[test]
    fn an_operators_word_lasts_until_it_is_mended() {
        let mut seen = Seen::default();
        seen.notice_epoch(A, 9).unwrap();
        seen.notice_record(A, Some(Stamp::new(9, 8))).unwrap();
        let all = Found { cluster: 5, revision: 9, epoch: 9, record: Some(Stamp::new(9, 8)) };
        assert_eq!(seen.accept(A, 0, &all), None, "there is nothing to accept");
        assert!(backwards(seen.notice_epoch(A, 2)));
        let less = Found { epoch: 2, record: None, ..all };
        assert_eq!(seen.accept(A, 0, &less), Some(Backwards::Epoch { seen: 9, found: 2 }));
        seen.notice_epoch(A, 2).unwrap();
        assert_eq!(seen.epochs[&A], 9, "the next epoch starts above it");
        seen.notice_record(A, Some(Stamp::new(2, 2))).unwrap();
        assert!(seen.mending.contains(&A));
        seen.published(A, Stamp::new(10, 9));
        assert!(backwards(seen.notice_record(A, Some(Stamp::new(2, 2)))));
    }

    #[test]
    fn what_is_lost_of_another_volume_takes_its_own_word() {
        let other = VolumeId([2; 16]);
        let mut seen = Seen::default();
        seen.notice(0, 5, 244).unwrap();
        for volume in [A, other] {
            seen.published(volume, Stamp::new(3, 8));
        }
        let wiped = Found { cluster: 6, revision: 1, epoch: 0, record: None };
        assert_eq!(seen.accept(A, 244, &wiped), Some(Backwards::Replaced { was: 5, is: 6 }));
        seen.notice(seen.revision, 6, 2).unwrap();
        seen.notice_record(A, None).unwrap();
        assert!(backwards(seen.notice_record(other, None)));
    }

    #[test]
    fn it_is_kept_and_a_torn_file_is_no_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen");
        let (memory, mut seen) = Memory::open(&path).unwrap();
        seen.notice(0, 5, 7).unwrap();
        seen.notice_epoch(A, 3).unwrap();
        seen.published(A, Stamp::new(3, 1));
        seen.mending.insert(VolumeId([2; 16]));
        memory.keep(|| seen.clone()).unwrap();
        assert_eq!(Memory::open(&path).unwrap().1, seen);
        let good = std::fs::read(&path).unwrap();
        for torn in [&good[..0], &good[..good.len() / 2]] {
            std::fs::write(&path, torn).unwrap();
            assert!(Memory::open(&path).is_err());
        }
    }
}
