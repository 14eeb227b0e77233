//! Simulated disks that share one history: every operation is recorded, may be failed, and may be interrupted by a hook
//! while it is under way.
//!
//! The history can be played again from any starting point, so one run of a workload gives every crash it could have had.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard};

use super::order::{Order, Write};
use super::rng::Rng;
use super::state::DiskState;
use crate::engine::{Disk, DiskCaps, InlinePolicy};

/// Something that happened, on the disks or, as the owner notes it, outside.
#[derive(Clone)]
pub enum Event<N> {
    Put {
        disk: usize,
        offset: u64,
        bytes: Arc<[u8]>,
    },
    Zero {
        disk: usize,
        offset: u64,
        len: u64,
        punch: bool,
    },
    /// The disk has become so long.
    Grow {
        disk: usize,
        len: u64,
    },
    /// A write-through has ended.
    Through {
        disk: usize,
        range: Range<u64>,
        before: u64,
    },
    /// A flush that began at event `before` has ended.
    Flushed {
        disk: usize,
        before: u64,
    },
    FlushFailed {
        disk: usize,
    },
    Note(N),
}

impl<N> Event<N> {
    /// Whether the disks change by it.
    pub fn is_device(&self) -> bool {
        !matches!(self, Event::Note(_))
    }

    /// Plays it on `disks`; `number` is its place in the history.
    pub fn play(&self, number: u64, disks: &mut [DiskState]) {
        match self {
            Event::Put { disk, offset, bytes } => disks[*disk].put(number, *offset, bytes),
            Event::Zero { disk, offset, len, punch } => disks[*disk].zero(number, *offset, *len, *punch),
            Event::Grow { disk, len } => disks[*disk].grow(*len),
            Event::Through { disk, range, before } => disks[*disk].settle(*before, range.clone()),
            Event::Flushed { disk, before } => disks[*disk].settle_all(*before),
            Event::FlushFailed { disk } => disks[*disk].lose(),
            Event::Note(_) => {}
        }
    }
}

/// What kind of operation is counted, failed or watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
    Flush,
}

/// One operation fails, once.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Counted from 0 over all operations.
    pub operation: u64,
    pub errno: i32,
}

/// Several disks and their history.
pub struct World<N> {
    inner: Mutex<Inner<N>>,
}

struct Inner<N> {
    base: u64,
    disks: Vec<DiskState>,
    history: Vec<Event<N>>,
    /// Writes under way: nobody may touch their bytes.
    underway: Vec<(usize, Range<u64>)>,
    wrongs: Vec<String>,
    operations: u64,
    fault: Option<Fault>,
    failed: Option<Kind>,
    rng: Rng,
    order: Option<Order>,
}

/// Called in the middle of operations.
type Hook = Box<dyn FnMut(Kind)>;

thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// From here `hook` is called in the middle of every operation of this thread, but not within itself.
pub fn set_hook(hook: Option<Hook>) {
    HOOK.set(hook);
}

fn interrupt(kind: Kind) {
    let hook = HOOK.take();
    if let Some(mut hook) = hook {
        hook(kind);
        HOOK.set(Some(hook));
    }
}

impl<N> World<N> {
    /// Disks whose history counts from `base`: beyond every write that `disks` still have in the cache.
    pub fn new(disks: Vec<DiskState>, base: u64) -> Arc<World<N>> {
        let inner = Inner {
            base,
            disks,
            history: Vec::new(),
            underway: Vec::new(),
            wrongs: Vec::new(),
            operations: 0,
            fault: None,
            failed: None,
            rng: Rng::new(0),
            order: None,
        };
        Arc::new(World { inner: Mutex::new(inner) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner<N>> {
        self.inner.lock().unwrap()
    }

    pub fn note(&self, note: N) {
        self.lock().history.push(Event::Note(note));
    }

    /// Takes the history so far.
    pub fn take_history(&self) -> Vec<Event<N>> {
        std::mem::take(&mut self.lock().history)
    }

    /// The disks as they are now.
    pub fn states(&self) -> Vec<DiskState> {
        self.lock().disks.clone()
    }

    /// Everything durable, nothing recorded: where a history starts.
    pub fn start_over(&self) -> Vec<DiskState> {
        let mut inner = self.lock();
        inner.history.clear();
        inner.operations = 0;
        inner.disks.iter_mut().for_each(|disk| disk.settle_all(u64::MAX));
        inner.disks.clone()
    }

    /// Breaches of the disk's own contract.
    pub fn wrongs(&self) -> Vec<String> {
        self.lock().wrongs.clone()
    }

    /// The number of the next event.
    pub fn next_number(&self) -> u64 {
        self.lock().next()
    }

    /// From here the order of writes is watched.
    pub fn watch_order(&self, order: Order) {
        self.lock().order = Some(order);
    }

    pub fn set_fault(&self, fault: Option<Fault>) {
        self.lock().fault = fault;
    }

    /// What kind of operation the fault struck, if it did.
    pub fn failed(&self) -> Option<Kind> {
        self.lock().failed
    }
}

impl<N> Inner<N> {
    /// Counts an operation; the error it must give, if it is its turn.
    fn count(&mut self, kind: Kind) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        match self.fault {
            Some(fault) if fault.operation == number => {
                self.failed = Some(kind);
                Err(io::Error::from_raw_os_error(fault.errno))
            }
            _ => Ok(()),
        }
    }

    /// The number of the next event.
    fn next(&self) -> u64 {
        self.base + self.history.len() as u64
    }

    fn happen(&mut self, event: Event<N>) {
        let number = self.next();
        event.play(number, &mut self.disks);
        self.history.push(event);
    }

    /// Asks the watch over the order of writes, if there is one.
    fn in_order(&mut self, disk: usize, offset: u64, bytes: Option<&[u8]>) {
        let number = self.next();
        let Some(order) = &mut self.order else { return };
        if let Err(wrong) = order.judge(&self.disks, &Write { disk, offset, bytes, number }) {
            self.wrongs.push(format!("{}{wrong}", Order::TOO_EARLY));
        }
    }

    fn watch(&mut self, disk: usize, range: &Range<u64>, what: &str) {
        for (other, busy) in &self.underway {
            if *other == disk && busy.start < range.end && range.start < busy.end {
                self.wrongs.push(format!("{what} of {range:?} while a write to {busy:?} is under way"));
            }
        }
    }
}

/// One disk of a world.
pub struct SimDisk<N> {
    pub world: Arc<World<N>>,
    pub index: usize,
}

impl<N: Clone + Send + 'static> SimDisk<N> {
    fn change(&self, range: Range<u64>, event: impl Fn(Range<u64>) -> Event<N>, through: bool) -> io::Result<()> {
        {
            let mut inner = self.world.lock();
            if range.end > inner.disks[self.index].visible.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            if let Err(error) = inner.count(Kind::Write) {
                // Nobody knows what a failed write has done: some granules may hold it.
                let size = inner.disks[self.index].granule as u64;
                for granule in range.start / size..range.end / size {
                    if inner.rng.once_in(2) {
                        inner.happen(event(granule * size..(granule + 1) * size));
                    }
                }
                return Err(error);
            }
            inner.watch(self.index, &range, "write");
            match event(range.clone()) {
                Event::Put { bytes, .. } => inner.in_order(self.index, range.start, Some(&bytes)),
                _ => inner.in_order(self.index, range.start, None),
            }
            inner.underway.push((self.index, range.clone()));
            inner.happen(event(range.clone()));
        }
        interrupt(Kind::Write);
        let mut inner = self.world.lock();
        let place = inner.underway.iter().position(|entry| *entry == (self.index, range.clone()));
        if let Some(place) = place {
            inner.underway.swap_remove(place);
        }
        if through {
            let before = inner.next();
            inner.happen(Event::Through { disk: self.index, range, before });
        }
        Ok(())
    }

    fn put(&self, offset: u64, data: &[u8], through: bool) -> io::Result<()> {
        let bytes: Arc<[u8]> = data.into();
        let event = |range: Range<u64>| {
            let whole = range.end - range.start == bytes.len() as u64;
            let part = (range.start - offset) as usize..(range.end - offset) as usize;
            let bytes = if whole { Arc::clone(&bytes) } else { bytes[part].into() };
            Event::Put { disk: self.index, offset: range.start, bytes }
        };
        self.change(offset..offset + data.len() as u64, event, through)
    }

    fn zero(&self, offset: u64, len: u64, punch: bool) -> io::Result<()> {
        let disk = self.index;
        let event = |range: Range<u64>| Event::Zero { disk, offset: range.start, len: range.end - range.start, punch };
        self.change(offset..offset + len, event, false)
    }
}

impl<N: Clone + Send + 'static> Disk for SimDisk<N> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.world.lock().disks[self.index].visible.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        {
            let mut inner = self.world.lock();
            inner.count(Kind::Write)?;
            inner.happen(Event::Grow { disk: self.index, len });
        }
        interrupt(Kind::Write);
        Ok(())
    }

    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let mut inner = self.world.lock();
        inner.count(Kind::Read)?;
        let range = offset..offset + data.len() as u64;
        if range.end > inner.disks[self.index].visible.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !inner.disks[self.index].is_readable(offset, range.end - range.start) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        inner.watch(self.index, &range, "read");
        inner.disks[self.index].visible.read(offset, data);
        drop(inner);
        interrupt(Kind::Read);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.put(offset, data, false)
    }

    fn write_through_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.put(offset, data, true)
    }

    fn flush(&self) -> io::Result<()> {
        let before = {
            let mut inner = self.world.lock();
            if let Err(error) = inner.count(Kind::Flush) {
                inner.happen(Event::FlushFailed { disk: self.index });
                return Err(error);
            }
            inner.next()
        };
        interrupt(Kind::Flush);
        self.world.lock().happen(Event::Flushed { disk: self.index, before });
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.zero(offset, len, true)
    }

    fn zero_range(&self, offset: u64, len: u64) -> io::Result<()> {
        self.zero(offset, len, false)
    }

    fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<u64>> {
        Ok(self.world.lock().disks[self.index].visible.find(offset, end, true))
    }

    fn next_hole(&self, offset: u64, end: u64) -> io::Result<u64> {
        Ok(self.world.lock().disks[self.index].visible.find(offset, end, false).unwrap_or(end))
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(())
    }

    fn fd(&self) -> Option<RawFd> {
        None
    }

    fn caps(&self) -> DiskCaps {
        let granule = self.world.lock().disks[self.index].claimed;
        DiskCaps {
            align: 1,
            inline: InlinePolicy::Always,
            granule,
            granule_source: "simulated",
            punches: true,
            rotational: false,
            describe: "simulated disk".into(),
        }
    }
}
