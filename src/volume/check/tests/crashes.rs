//! A repair that a crash cuts off at any of its writes and flushes, with the write lost, torn or whole, has lost nothing:
//! the volume opens to what it was, and the next repair ends the work.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::fixture::{Fixture, bad, clean, flip};
use super::repair::{misplace, with_twins};
use crate::engine::Disk;
use crate::format::generations::GenerationTable;
use crate::format::layout::{GENERATIONS_COPY, SUPERBLOCK_A, SUPERBLOCK_B};
use crate::format::superblock::Superblock;
use crate::units::BLOCK;
use crate::volume::check::{Depth, check_disks};
use crate::volume::info::tag_page_places;
use crate::volume::tests::hooked::{Hooked, Hooks};

/// The power fails at the `left`-th write or flush; of that write, `cut` bytes arrive.
struct Dying {
    left: AtomicUsize,
    cut: usize,
}

impl Dying {
    /// Whether the power is there for one more operation; the second value is whether it fails in this one.
    fn step(&self) -> (bool, bool) {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        (left > 1, left == 1)
    }
}

fn gone() -> io::Error {
    io::Error::other("the power failed")
}

impl Hooks for Dying {
    fn write(&self, disk: &dyn Disk, offset: u64, data: &[u8]) -> io::Result<()> {
        match self.step() {
            (true, _) => disk.write_at(offset, data),
            (false, true) => {
                disk.write_at(offset, &data[..self.cut.min(data.len())])?;
                Err(gone())
            }
            (false, false) => Err(gone()),
        }
    }
    fn flush(&self, disk: &dyn Disk) -> io::Result<()> {
        if self.step().0 { disk.flush() } else { Err(gone()) }
    }
    fn zero(&self) -> io::Result<()> {
        Err(gone())
    }
}

fn state(fixture: &Fixture) -> (Superblock, GenerationTable) {
    let volume = fixture.open(true);
    let meta = volume.meta();
    (meta.superblock.clone(), meta.table.clone())
}

/// Repairs `hurt` with the power failing at every operation in turn; how many operations a repair has.
fn at_every_operation(hurt: impl Fn() -> Fixture, full: bool, unpoisons: bool) -> usize {
    let mut operations = 0;
    for left in 1.. {
        let mut ended = false;
        for cut in [0, 512, 2048, usize::MAX] {
            let fixture = hurt();
            let before = state(&fixture);
            let hooks = Dying { left: left.into(), cut };
            let disk: Arc<dyn Disk> = Arc::new(Hooked { disk: fixture.data_disk(), hooks });
            let depth = Depth { keks: Some(&fixture.keks), full, repair: true };
            ended = check_disks(disk, None, depth, &mut |_, _| {}).is_ok();
            let mut after = state(&fixture);
            if unpoisons && after.0.poisoned.is_empty() {
                after.0.poisoned.clone_from(&before.0.poisoned);
            }
            assert!(after == before, "operation {left}, {cut} bytes of it");
            assert!(fixture.check().passed, "{:#?}", bad(&fixture.check()));
            fixture.repair(full);
            clean(&fixture.check());
            assert!(fixture.repair(full).repaired.is_empty(), "idempotent");
        }
        operations = left - 1;
        if ended {
            break;
        }
    }
    operations
}

#[test]
fn while_bad_twins_are_rewritten() {
    let hurt = || {
        let fixture = with_twins();
        let superblock = fixture.open(true).meta().superblock.clone();
        let page = tag_page_places(&superblock, 0)[0];
        for place in [SUPERBLOCK_A, superblock.zones.generations.offset, page] {
            flip(fixture.meta_disk(), place + 40);
        }
        fixture
    };
    // The flush before looking, one write and one flush for each of three, the flush before looking again.
    assert_eq!(at_every_operation(hurt, false, false), 8);
}

#[test]
fn while_misplaced_copies_are_put_back() {
    let hurt = || {
        let fixture = with_twins();
        let table = fixture.open(true).meta().superblock.zones.generations.offset;
        misplace(&fixture, SUPERBLOCK_A, SUPERBLOCK_B, BLOCK);
        misplace(&fixture, table, table + GENERATIONS_COPY, GENERATIONS_COPY);
        fixture
    };
    assert_eq!(at_every_operation(hurt, false, false), 10);
}

#[test]
fn while_the_poison_is_cleared() {
    let hurt = || {
        let fixture = with_twins();
        fixture.open(true).meta().commit_superblock(|superblock| superblock.poisoned = "EIO".into()).unwrap();
        fixture
    };
    assert_eq!(at_every_operation(hurt, true, true), 3);
}
