//! A tag table of several runs, which threads share at open.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::hooked::{Hooked, Hooks};
use super::kek::OpenKek;
use super::rig::{Disks, spec};
use crate::crypto::{EngineKind, Suite};
use crate::engine::mem::MemDisk;
use crate::engine::{Backing, Disk, OpenOptions};
use crate::format::layout::{Place, Shape, TAGS_PER_PAGE, WriteMode, plan};
use crate::units::{BLOCK, Extent, Generation};
use crate::volume::background::kept;
use crate::volume::tags::TagTable;
use crate::volume::{Volume, VolumeError};

/// Three runs of pages, the last one short; the last page is short too.
const PAGES: u32 = 700;
const EXTENTS: u32 = PAGES * TAGS_PER_PAGE - 5;

/// Tells how much of a range was read.
struct Watched {
    range: Range<u64>,
    read: AtomicU64,
}

impl Hooks for Watched {
    fn read(&self, disk: &dyn Disk, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let end = (offset + data.len() as u64).min(self.range.end);
        self.read.fetch_add(end.saturating_sub(offset.max(self.range.start)), Ordering::Relaxed);
        disk.read_at(offset, data)
    }
}

struct Vast {
    _folder: tempfile::TempDir,
    data: Arc<dyn Disk>,
    header: Arc<MemDisk>,
    tags: Place,
}

impl Vast {
    fn new() -> Vast {
        kept::start();
        let size = u64::from(EXTENTS) << 16;
        let mode = WriteMode::InPlace;
        let shape = Shape { size, max_size: size, extent_size: 64 << 10, data_unit: 4096, granule: 512, mode };
        let layout = plan(&shape, true);
        let folder = tempfile::tempdir().unwrap();
        let data = Backing::create(folder.path().join("data"), layout.data_len, &OpenOptions::default()).unwrap();
        let header = Arc::new(MemDisk::new(layout.header_len as usize));
        let vast = Vast { _folder: folder, data: Arc::new(data), header, tags: layout.zones.tags };
        vast.disks(Arc::clone(&vast.header) as Arc<dyn Disk>).create(&shape, Suite::Aes256Xts, &OpenKek::list());
        vast
    }

    fn disks(&self, header: Arc<dyn Disk>) -> Disks {
        Disks { data: Arc::clone(&self.data), header: Some(header) }
    }

    fn open(&self) -> Result<Volume, VolumeError> {
        self.disks(Arc::clone(&self.header) as Arc<dyn Disk>).open(&OpenKek::list(), EngineKind::AwsLc, true)
    }

    /// A rotation begins, and every other page gets new tags: its counting copy is B then.
    fn rotate(&self) {
        let disks = self.disks(Arc::clone(&self.header) as Arc<dyn Disk>);
        let volume = Arc::new(disks.open(&OpenKek::list(), EngineKind::AwsLc, false).unwrap());
        assert_eq!(volume.start_rotation(&OpenKek::list(), &spec(Suite::Aes256Xts)).unwrap(), Generation(2));
        let mut meta = volume.meta();
        (1..PAGES).step_by(2).for_each(|page| meta.touch(Extent(page * TAGS_PER_PAGE)));
        meta.checkpoint(&TagTable::new((0..EXTENTS).map(tag).collect::<Vec<_>>().into_iter())).unwrap();
    }

    fn place(&self, copy: u32, page: u32) -> u64 {
        self.tags.offset + u64::from(copy * PAGES + page) * BLOCK
    }

    fn rot(&self, copies: &[(u32, u32)]) {
        for (copy, page) in copies {
            let (mut byte, place) = ([0], self.place(*copy, *page) + 100);
            self.header.read_at(place, &mut byte).unwrap();
            self.header.write_at(place, &[byte[0] ^ 1]).unwrap();
        }
    }

    /// The place that opening finds damaged.
    fn damaged(&self) -> String {
        match self.open().err() {
            Some(VolumeError::Damaged { place, .. }) => place,
            other => panic!("{other:?}"),
        }
    }
}

/// What [`Vast::rotate`] makes of an extent.
fn tag(extent: u32) -> Generation {
    let touched = extent / TAGS_PER_PAGE % 2 == 1;
    Generation(1 + u32::from(touched && extent.is_multiple_of(3)))
}

#[test]
fn every_tag_comes_from_its_place() {
    let vast = Vast::new();
    let volume = vast.open().unwrap();
    assert_eq!(volume.census(), [(Generation(1), u64::from(EXTENTS))].into());
    drop(volume);
    vast.rotate();
    let volume = vast.open().unwrap();
    assert!((0..EXTENTS).all(|extent| volume.tag(Extent(extent)) == tag(extent)));
    volume.tags.recount().unwrap();
}

#[test]
fn the_first_fault_is_named_whoever_finds_it() {
    let vast = Vast::new();
    vast.rotate();
    // One copy of a page is enough, if it is the one that counts.
    vast.rot(&[(1, 10), (0, 401)]);
    assert!(vast.open().is_ok());
    for page in [690, 520, 300, 256] {
        vast.rot(&[(0, page), (1, page)]);
        for _ in 0..8 {
            assert_eq!(vast.damaged(), format!("tag page {page} (both copies)"));
        }
    }
}

#[test]
fn an_older_copy_does_not_stand_in() {
    let vast = Vast::new();
    vast.rotate();
    vast.header.write_at(vast.place(1, 301), &[0; BLOCK as usize]).unwrap();
    assert!(matches!(vast.open().err(), Some(VolumeError::TagDigest { .. })));
}

#[test]
fn holes_are_judged_without_being_read() {
    let vast = Vast::new();
    let range = vast.place(1, 0)..vast.place(1, PAGES);
    let watched = Arc::new(Hooked {
        disk: Arc::clone(&vast.header) as Arc<dyn Disk>,
        hooks: Watched { range, read: AtomicU64::new(0) },
    });
    let disks = vast.disks(Arc::clone(&watched) as Arc<dyn Disk>);
    disks.open(&OpenKek::list(), EngineKind::AwsLc, true).unwrap();
    assert_eq!(watched.hooks.read.load(Ordering::Relaxed), 0, "no page of copy B was ever written");
    // A whole run of the only copies there are, gone: as zeros would be.
    vast.header.punch(vast.place(0, 256), 256 * BLOCK).unwrap();
    assert_eq!(vast.damaged(), "tag page 256 (both copies)");
}
