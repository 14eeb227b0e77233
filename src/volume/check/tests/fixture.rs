//! A small volume on disks in memory, with ways to hurt it.

use std::sync::Arc;

use crate::crypto::{EngineKind, Suite};
use crate::engine::mem::MemDisk;
use crate::engine::{CacheMode, Disk, EngineOptions, IoKind};
use crate::format::generations::{GenerationTable, Order, Pace, VerifyMode};
use crate::keys::{FileKek, Kek};
use crate::units::{BLOCK, Extent, Generation};
use crate::volume::Volume;
use crate::volume::check::{CheckReport, Depth, Finding, Severity, check_disks};
use crate::volume::create::{CreateOptions, ModeChoice, create};
use crate::volume::life::By;
use crate::volume::lifecycle::RotationSpec;
use crate::volume::open::open_disks;
use crate::volume::pipeline::Pipeline;

/// Extents of the fixture.
pub const EXTENTS: u32 = 16;
const EXTENT: u64 = 64 << 10;

pub type Keks = Vec<Kek>;

pub struct Fixture {
    pub folder: tempfile::TempDir,
    pub keks: Keks,
    pub data: Arc<MemDisk>,
    pub header: Option<Arc<MemDisk>>,
}

impl Fixture {
    /// A new volume of [`EXTENTS`] extents, attached, with one KEK, every other extent filled with ciphertext.
    pub fn new() -> Fixture {
        Fixture::with(false, 1, ModeChoice::InPlace)
    }

    pub fn with(detached: bool, keks: usize, mode: ModeChoice) -> Fixture {
        Fixture::reserving(detached, keks, mode, 16 << 20) // sixteen extents to a record
    }

    /// With metadata for growth to `max_size` bytes.
    pub fn reserving(detached: bool, keks: usize, mode: ModeChoice, max_size: u64) -> Fixture {
        // Byte counters are persisted in the background: never while a test compares bytes or plants a fault.
        crate::volume::background::kept::start();
        // Memory, where there is some: granule 4096 and no waiting for a disk.
        let shm = std::path::Path::new("/dev/shm");
        let folder = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap();
        let keks: Keks = (0..keks)
            .map(|index| Kek::unwitnessed(FileKek::create(&folder.path().join(format!("kek{index}"))).unwrap()))
            .collect();
        let (path, header) = (folder.path().join("v.km"), folder.path().join("v.header"));
        let options = CreateOptions {
            path: &path,
            header: detached.then_some(header.as_path()),
            size: Some(u64::from(EXTENTS) * EXTENT),
            max_size: Some(max_size),
            extent_size: EXTENT,
            data_unit: 4096,
            suite: Suite::Aes256Xts,
            replica_of: None,
            mode,
            assume_zeroed: false,
            keks: &keks,
            cache: CacheMode::Page,
            now: 1_000_000,
        };
        create(&options, &mut |_, _| {}).unwrap();
        let data = Arc::new(load(&std::fs::read(&path).unwrap()));
        let header = detached.then(|| Arc::new(load(&std::fs::read(&header).unwrap())));
        let fixture = Fixture { folder, keks, data, header };
        fixture.fill();
        fixture
    }

    /// Writes ciphertext under the current generation into every other extent.
    fn fill(&self) {
        let volume = self.open(false);
        let key = volume.keyring.get(Generation(1)).unwrap();
        for extent in (0..EXTENTS).step_by(2) {
            let (first, end) = volume.shape().extent_range(extent);
            let mut text: Vec<u8> = (first..end).map(|at| (at / 7) as u8 | 1).collect();
            key.cipher.encrypt(first, &mut text);
            self.data.write_at(volume.data_offset + first, &text).unwrap();
        }
    }

    pub fn data_disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.data) as Arc<dyn Disk>
    }

    pub fn header_disk(&self) -> Option<Arc<dyn Disk>> {
        self.header.as_ref().map(|header| Arc::clone(header) as Arc<dyn Disk>)
    }

    /// The disk with the metadata.
    pub fn meta_disk(&self) -> &MemDisk {
        self.header.as_ref().unwrap_or(&self.data)
    }

    pub fn open(&self, read_only: bool) -> Arc<Volume> {
        let volume = open_disks(self.data_disk(), self.header_disk(), &self.keks, read_only, EngineKind::AwsLc);
        Arc::new(volume.unwrap())
    }

    pub fn opens(&self) -> Result<(), String> {
        let volume = open_disks(self.data_disk(), self.header_disk(), &self.keks, true, EngineKind::AwsLc);
        volume.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Runs `steps` epochs of a rotation to a new generation, two extents each, and stops as a crash would.
    pub fn rotate(&self, steps: u32) -> Generation {
        let volume = self.open(false);
        let target = volume.start_rotation(&self.keks, &spec()).unwrap();
        let mut pipeline = pipeline(&volume);
        for step in 0..steps {
            pipeline.step(&[Extent(step * 2), Extent(step * 2 + 1)], target, 0).unwrap();
        }
        target
    }

    /// Rotates everything and finalizes.
    pub fn rotate_all(&self) -> Generation {
        let volume = self.open(false);
        let target = volume.start_rotation(&self.keks, &spec()).unwrap();
        let mut pipeline = pipeline(&volume);
        let extents: Vec<Extent> = (0..EXTENTS).map(Extent).collect();
        pipeline.step(&extents, target, 1_000_000).unwrap();
        pipeline.drain(target).unwrap();
        volume.update_rotation(|rotation| rotation.phase = crate::format::generations::Phase::Drained).unwrap();
        assert_eq!(volume.finalize(&By::daemon("test", 4)).unwrap(), [Generation(1)]);
        target
    }

    /// Commits a changed table, properly sealed.
    pub fn change_table(&self, change: impl FnOnce(&mut GenerationTable)) {
        let volume = self.open(true);
        let mut meta = volume.meta();
        let mut table = meta.table.clone();
        change(&mut table);
        meta.commit_table(table).unwrap();
    }

    pub fn check_with(&self, depth: Depth<'_>) -> CheckReport {
        explained(check_disks(self.data_disk(), self.header_disk(), depth, &mut |_, _| {}).unwrap())
    }

    pub fn check(&self) -> CheckReport {
        self.check_with(Depth { keks: Some(&self.keks), full: false, repair: false })
    }

    pub fn check_full(&self) -> CheckReport {
        self.check_with(Depth { keks: Some(&self.keks), full: true, repair: false })
    }

    pub fn check_without_keys(&self) -> CheckReport {
        self.check_with(Depth { keks: None, full: false, repair: false })
    }

    pub fn repair(&self, full: bool) -> CheckReport {
        self.check_with(Depth { keks: Some(&self.keks), full, repair: true })
    }

    /// Everything on the header's disk.
    pub fn bytes(&self) -> Vec<u8> {
        all(self.meta_disk())
    }
}

pub fn spec() -> RotationSpec {
    RotationSpec {
        suite: Suite::Aes256Xts,
        order: Order::Sequential,
        pace: Pace { rate: 0, adaptive: false, factor_percent: 150 },
        verify: VerifyMode::Full,
        hold_finalize: true,
        paused: false,
        by: By::daemon("test", 1_000_100),
    }
}

pub fn pipeline(volume: &Arc<Volume>) -> Pipeline {
    let engine = crate::engine::open(Some(IoKind::Posix), &EngineOptions::default()).unwrap();
    Pipeline::new(Arc::clone(volume), engine)
}

fn load(bytes: &[u8]) -> MemDisk {
    let disk = MemDisk::new(bytes.len());
    for (block, at) in bytes.chunks(BLOCK as usize).zip((0..).step_by(BLOCK as usize)) {
        if block.iter().any(|byte| *byte != 0) {
            disk.write_at(at, block).unwrap();
        }
    }
    disk
}

pub fn all(disk: &MemDisk) -> Vec<u8> {
    let mut bytes = vec![0; disk.len().unwrap() as usize];
    disk.read_at(0, &mut bytes).unwrap();
    bytes
}

pub fn read(disk: &dyn Disk, place: u64, len: u64) -> Vec<u8> {
    let mut bytes = vec![0; len as usize];
    disk.read_at(place, &mut bytes).unwrap();
    bytes
}

/// Changes one byte.
pub fn flip(disk: &dyn Disk, place: u64) {
    let mut byte = read(disk, place, 1);
    byte[0] ^= 0x10;
    disk.write_at(place, &byte).unwrap();
}

/// Changes one byte of the envelope at `start` and gives it a right CRC: what an attacker does.
pub fn tamper(disk: &dyn Disk, start: u64, offset: u64) {
    flip(disk, start + offset);
    let head = read(disk, start, 24);
    let length = u64::from(u32::from_le_bytes(head[12..16].try_into().unwrap()));
    let crc = crc32fast::hash(&read(disk, start, 24 + length + 32));
    disk.write_at(start + 24 + length + 32, &crc.to_le_bytes()).unwrap();
}

/// Every finding that is not "ok" says what it means and what to do, and is in the catalogue.
#[track_caller]
pub fn explained(report: CheckReport) -> CheckReport {
    for finding in bad(&report) {
        assert!(crate::volume::check::catalogue::entry(&finding.name).is_some(), "not in the catalogue: {finding:?}");
        assert!(finding.means.is_some() && finding.hint.is_some(), "not explained: {finding:?}");
        assert_eq!(finding.backing.is_some(), finding.offset.is_some());
    }
    report
}

/// The one finding of that name, which stands at `offset` of the header.
#[track_caller]
pub fn at(report: &CheckReport, name: &str, severity: Severity, offset: u64) {
    let finding = only(report, name, severity);
    assert_eq!((finding.backing.as_deref(), finding.offset), (Some("header"), Some(offset)), "{finding:?}");
}

/// The one finding of that name; fails with the whole report if there is none.
#[track_caller]
pub fn only<'a>(report: &'a CheckReport, name: &'a str, severity: Severity) -> &'a Finding {
    let found: Vec<&Finding> = report.named(name).collect();
    assert_eq!(found.len(), 1, "findings {name:?} in {:#?}", bad(report));
    assert_eq!(found[0].severity, severity, "{:?}", found[0]);
    found[0]
}

/// Findings that are not "ok".
pub fn bad(report: &CheckReport) -> Vec<&Finding> {
    report.findings.iter().filter(|finding| finding.severity != Severity::Ok).collect()
}

/// Nothing but "ok".
#[track_caller]
pub fn clean(report: &CheckReport) {
    assert!(report.passed && bad(report).is_empty(), "{:#?}", bad(report));
}

/// The check fails, and this error is why: no other error stands beside it.
#[track_caller]
pub fn fails_by(report: &CheckReport, name: &str) -> String {
    let finding = only(report, name, Severity::Error);
    let errors: Vec<_> = report.findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(!report.passed);
    format!("{}: {}", finding.place, finding.what)
}

/// The check passes, with this finding and nothing else to say.
#[track_caller]
pub fn passes_with(report: &CheckReport, name: &str, severity: Severity) -> String {
    let finding = only(report, name, severity);
    assert_eq!(bad(report).len(), 1, "{:#?}", bad(report));
    assert!(report.passed);
    format!("{}: {}", finding.place, finding.what)
}
