//! What a volume of the model is like, what may happen to it, and which lie a control tells about it.

use super::device::Layout;
use crate::format::layout::WriteMode;
use crate::units::Generation;

/// A rule of the scheme that is no function of the product, broken by the model itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// A FUA write counts as a flush of its extent.
    FuaCleans,
    /// Intents carry fingerprints of the new ciphertext.
    FingerprintsOfNew,
    /// A hold is dropped after its intent is durable, with neither data nor a void.
    DropsHold,
    /// A hold is dropped when its void is written, not when it is durable.
    DropsVoidedHold,
    /// A forced hold is not followed by a flush.
    ForcedWithoutFlush,
    /// Detached: the pipeline flushes the data and leaves the header's flush out.
    LeavesTheHeader,
    /// A flush under way when the pipeline asks for one serves it.
    EarlierFlushServes,
    /// A checkpoint's superblock is written before its pages are flushed.
    NamesBeforeFlush,
    /// A checkpoint's slots are free before its superblock is flushed.
    FreesBeforeFlush,
}

/// The bounds of one exploration.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub name: &'static str,
    pub extents: usize,
    /// Granules of an extent.
    pub granules: usize,
    /// What the device replaces at once, in a granule: more than one is a device that tears granules.
    pub cells: usize,
    pub mode: WriteMode,
    pub detached: bool,
    pub slots: usize,
    /// Tag pages, at most one per extent.
    pub pages: usize,
    /// The generation everything is under at first, then the targets in turn.
    pub targets: &'static [u32],
    /// Extents of a batch at most.
    pub batch: usize,
    /// Client writes in all, how many of them may be FUA, and how many trims.
    pub writes: u8,
    pub fuas: u8,
    pub trims: u8,
    /// Flushes clients ask for while the pipeline does not.
    pub flushes: u8,
    /// A client write may be under way while other things happen.
    pub slow_writes: bool,
    /// Superblocks that somebody else commits (epochs, poison).
    pub superblocks: u8,
    /// Holds taken by force.
    pub forced: u8,
    /// Holds given up by a void.
    pub voids: u8,
    /// Times the pipeline ends its holds between two steps.
    pub pauses: u8,
    /// Crashes after which the volume goes on.
    pub sessions: u8,
    pub lie: Option<Lie>,
    /// States explored at most: the bound of memory.
    pub states: usize,
}

impl Setting {
    /// Two extents of one granule, one rotation, a client that writes twice and flushes once.
    pub const BASE: Setting = Setting {
        name: "base",
        extents: 2,
        granules: 1,
        cells: 1,
        mode: WriteMode::InPlace,
        detached: false,
        slots: 4,
        pages: 1,
        targets: &[1, 2],
        batch: 1,
        writes: 2,
        fuas: 0,
        trims: 0,
        flushes: 1,
        slow_writes: false,
        superblocks: 0,
        forced: 0,
        voids: 0,
        pauses: 0,
        sessions: 0,
        lie: None,
        states: 4_000_000,
    };

    pub fn layout(&self) -> Layout {
        Layout {
            cells: self.extents * self.granules * self.cells,
            pages: self.pages,
            slots: self.slots,
            detached: self.detached,
        }
    }

    pub fn target(&self, turn: usize) -> Generation {
        Generation(self.targets[turn])
    }

    /// Granules of the volume.
    pub fn granules_in_all(&self) -> usize {
        self.extents * self.granules
    }

    pub fn extent_of(&self, granule: usize) -> usize {
        granule / self.granules
    }

    /// The cells of a granule.
    pub fn cells_of(&self, granule: usize) -> std::ops::Range<usize> {
        granule * self.cells..(granule + 1) * self.cells
    }

    /// The granules of an extent.
    pub fn granules_of(&self, extent: usize) -> std::ops::Range<usize> {
        extent * self.granules..(extent + 1) * self.granules
    }

    /// The tag page of an extent.
    pub fn page_of(&self, extent: usize) -> usize {
        extent * self.pages / self.extents
    }

    /// The extents of a tag page.
    pub fn extents_of(&self, page: usize) -> std::ops::Range<u32> {
        let mut inside = (0..self.extents).filter(|extent| self.page_of(*extent) == page);
        let first = inside.next().expect("a page has an extent");
        first as u32..(first + 1 + inside.count()) as u32
    }

    /// The same with `more` client writes and flushes, and room for the states that takes.
    pub fn deeper(self, more: u8) -> Setting {
        let room = self.states << (2 * more.min(5));
        Setting { writes: self.writes + more, flushes: self.flushes + more, states: room, ..self }
    }
}
