//! A state of the model: the device, and what client and server keep in memory.
//!
//! Invariant: a state is a value, and equal states behave alike.

use super::books::{Books, Tags};
use super::clock::Clock;
use super::content::{Cell, Content, Library, Superblock};
use super::device::{Device, Layout};
use super::setting::Setting;
use crate::crypto::Secret;
use crate::crypto::fingerprint::{Fingerprinter, SECRET_LEN};
use crate::format::intents::Commit;
use crate::format::layout::copy_of;
use crate::units::{Extent, Generation};
use crate::volume::checkpoint::{Checkpoint, Copies, PageState};
use crate::volume::log::IntentLog;

/// What does not change during an exploration, and the library of contents.
pub struct World {
    pub setting: Setting,
    pub layout: Layout,
    pub library: Library,
    pub prints: Fingerprinter,
}

impl World {
    pub fn new(setting: Setting) -> World {
        let prints = Fingerprinter::new(Secret::filled(SECRET_LEN, |bytes| bytes.fill(7)));
        World { setting, layout: setting.layout(), library: Library::default(), prints }
    }

    /// The cell at `index` of `device`, as a read sees it.
    pub fn cell(&self, device: &Device, index: usize) -> Cell {
        self.library.cell(device.visible(index))
    }

    /// The bytes of a granule as a read sees them.
    pub fn granule(&self, device: &Device, granule: usize) -> Vec<u8> {
        self.setting.cells_of(granule).flat_map(|index| self.cell(device, index).bytes()).collect()
    }
}

/// What a client has written, and what it was promised.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    /// Per granule: the oldest version that may still appear.
    pub floor: Vec<u8>,
    /// Per granule: the newest version issued.
    pub newest: Vec<u8>,
    /// Per granule, while a flush is under way: the oldest version that may appear when it is done.
    pub rising: Vec<u8>,
    /// The granule of a write under way.
    pub flying: Option<(u8, bool)>,
    pub writes: u8,
    pub fuas: u8,
    pub trims: u8,
    pub flushes: u8,
}

/// An extent of a batch: its new cells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    pub extent: Extent,
    pub generation: Generation,
    pub cells: Vec<Cell>,
}

/// Where the pipeline stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum At {
    /// Between two steps.
    Between,
    /// Extents were taken by force: a flush comes before they are read.
    Forced,
    /// The batch before is written, extent by extent; `early` if the next one is released already, before its data is
    /// written; `pausing` if no record follows.
    Writing { early: bool, pausing: bool },
    /// A checkpoint with flushes of its own: pages written, then superblock written; at the end, or to make room.
    Checkpoint { begun: Checkpoint, named: bool, closing: bool },
    /// The record is to be written.
    Recording { made_room: bool },
    /// Detached: the header's flush is to be done.
    Header { sequence: u64 },
    /// The data's flush is asked for.
    Flushing { sequence: u64 },
}

/// The pipeline, field by field as in the product's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pipe {
    pub at: At,
    /// Held and to be read for the next record.
    pub taken: Vec<Extent>,
    pub next: Vec<Member>,
    pub current: Vec<Member>,
    pub written: Vec<Extent>,
    /// Held until a commit is durable.
    pub awaiting: Vec<Extent>,
    pub begun: Option<Checkpoint>,
    pub named: Option<Checkpoint>,
}

/// One state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub books: Books,
    pub client: Client,
    pub clock: Clock,
    /// Extents whose writes wait, one bit each.
    pub held: u8,
    pub pipe: Pipe,
    /// Which target it is.
    pub turn: usize,
    /// Somebody else has written a superblock and holds the metadata until it is flushed.
    pub committing: bool,
    pub superblocks: u8,
    pub forced: u8,
    pub voids: u8,
    pub pauses: u8,
    pub sessions: u8,
}

impl State {
    /// A volume just made: every extent under the first generation.
    pub fn first(world: &mut World) -> State {
        let setting = world.setting;
        let layout = world.layout;
        let tags = vec![setting.target(0); setting.extents];
        let superblock = Superblock { sequence: 2, checkpoint: 0, tail: 0, pages: vec![0; setting.pages] };
        let mut ids = vec![Library::BLANK; layout.places()];
        for cell in &mut ids[..layout.cells] {
            *cell = world.library.cell_number(Cell { generation: Some(setting.target(0)), version: 0 });
        }
        for sequence in [1, 2] {
            let copy = Superblock { sequence, ..superblock.clone() };
            ids[layout.superblock(copy_of(sequence))] = world.library.number(Content::Superblock(copy));
        }
        for page in 0..setting.pages {
            let tags = setting.extents_of(page).map(|_| setting.target(0)).collect();
            let content = Content::Page { sequence: 0, tags };
            ids[layout.page(page, 0)] = world.library.number(content);
        }
        let pages = vec![PageState { sequence: 0, copy: 0, dirty: false }; setting.pages];
        let granules = setting.granules_in_all();
        let client = Client {
            floor: vec![0; granules],
            newest: vec![0; granules],
            rising: vec![0; granules],
            flying: None,
            writes: setting.writes,
            fuas: setting.fuas,
            trims: setting.trims,
            flushes: setting.flushes,
        };
        State {
            books: Books {
                device: Device::holding(ids.into_iter()),
                log: IntentLog::empty(setting.slots as u32, 0),
                copies: Copies::new(2, pages, 0),
                superblock,
                tags: Tags::new(tags),
            },
            client,
            clock: Clock::new(setting.extents as u8),
            held: 0,
            pipe: Pipe::idle(),
            turn: 1.min(setting.targets.len() - 1),
            committing: false,
            superblocks: setting.superblocks,
            forced: setting.forced,
            voids: setting.voids,
            pauses: setting.pauses,
            sessions: setting.sessions,
        }
    }

    /// The process has ended and another has opened the volume.
    pub fn forget_the_process(&mut self, world: &World) {
        self.client.rising.fill(0);
        self.client.flying = None;
        self.clock = Clock::new(world.setting.extents as u8);
        self.held = 0;
        self.pipe = Pipe::idle();
        self.committing = false;
        self.sessions -= 1;
    }

    pub fn is_held(&self, extent: Extent) -> bool {
        self.held & 1 << extent.0 != 0
    }

    pub fn hold(&mut self, extent: Extent) {
        self.held |= 1 << extent.0;
    }

    pub fn release(&mut self, extent: Extent) {
        self.held &= !(1 << extent.0);
    }

    /// Whether a write to the cell is under way, so that a flush that starts now need not cover it.
    pub fn flying(&self, world: &World) -> impl Fn(usize) -> bool + use<> {
        let cells = self.client.flying.map(|(granule, _)| world.setting.cells_of(granule as usize));
        move |cell| cells.as_ref().is_some_and(|cells| cells.contains(&cell))
    }

    /// What a read would find wrong now: an extent whose cells are not under its current tag. The extents the pipeline is
    /// writing are read from its image.
    pub fn misread(&self, world: &World) -> Option<String> {
        let setting = &world.setting;
        let wrong = |index: &usize| {
            let extent = setting.extent_of(index / setting.cells);
            let under = world.cell(&self.books.device, *index).generation;
            under.is_some_and(|under| under != self.books.tags.current[extent])
        };
        let index = (0..world.layout.cells).find(wrong)?;
        let tag = self.books.tags.current[setting.extent_of(index / setting.cells)];
        Some(format!("a read of cell {index} uses key {tag}, but it holds {}", world.cell(&self.books.device, index)))
    }
}

impl Pipe {
    pub fn idle() -> Pipe {
        Pipe {
            at: At::Between,
            taken: Vec::new(),
            next: Vec::new(),
            current: Vec::new(),
            written: Vec::new(),
            awaiting: Vec::new(),
            begun: None,
            named: None,
        }
    }

    /// As the product's `Pipeline::is_idle`.
    pub fn is_idle(&self, log: &IntentLog) -> bool {
        let commits: Vec<Commit> = log.ready_commits();
        let empty = self.current.is_empty() && self.written.is_empty() && self.awaiting.is_empty();
        empty && self.named.is_none() && commits.is_empty() && log.is_settled()
    }
}
