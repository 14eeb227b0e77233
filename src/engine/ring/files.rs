//! What a ring remembers of the disks and sockets it serves: their places in its file table, and how to treat each disk.
//!
//! Invariants: an entry is found by address and holds a `Weak`, so the address cannot become another object's while the
//! entry exists; a place in the table is emptied before it is given to another file. Registering is an optimisation:
//! whatever fails here falls back to the plain descriptor.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use io_uring::Submitter;

use crate::engine::{Disk, InlinePolicy, Sock};

/// Places in the file table.
const PLACES: u32 = 512;
/// New places between two searches for dead entries.
const SWEEP_EVERY: u32 = 64;

static RINGS: AtomicU32 = AtomicU32::new(1);

/// A file as a submission names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// A descriptor, or a place in the file table.
    pub(super) number: i32,
    /// Whether it is a place.
    pub(super) fixed: bool,
}

/// How to treat a disk.
pub(super) struct DiskEntry {
    disk: Weak<dyn Disk>,
    address: usize,
    place: Option<u32>,
    /// The descriptor; `None` = everything through the trait.
    pub(super) fd: Option<RawFd>,
    /// See [`DiskCaps::align`](crate::engine::DiskCaps).
    pub(super) align: usize,
    pub(super) inline: InlinePolicy,
    /// Whether reading without waiting is known here; learnt from the first refusal.
    pub(super) read_nowait: bool,
    /// The same for writing.
    pub(super) write_nowait: bool,
}

impl DiskEntry {
    fn new(disk: &Arc<dyn Disk>) -> DiskEntry {
        let caps = disk.caps();
        let nowait = caps.inline == InlinePolicy::NoWait;
        DiskEntry {
            disk: Arc::downgrade(disk),
            address: address(disk),
            place: None,
            fd: disk.fd(),
            align: caps.align,
            inline: caps.inline,
            read_nowait: nowait,
            write_nowait: nowait,
        }
    }

    /// How a submission names the disk; its descriptor is there.
    pub(super) fn target(&self) -> Target {
        match self.place {
            Some(place) => Target { number: place as i32, fixed: true },
            None => Target { number: self.fd.unwrap_or(-1), fixed: false },
        }
    }
}

/// The disks and sockets of one ring.
pub(super) struct Files {
    /// Tells this ring's hints on sockets from other rings'.
    ring: u32,
    disks: Vec<DiskEntry>,
    /// The disk found last: nearly always the next one too.
    last: usize,
    /// Sockets by place; `None` = free or a disk's.
    sockets: Vec<Option<Weak<Sock>>>,
    free: Vec<u32>,
    until_sweep: u32,
}

impl Files {
    /// No file table: plain descriptors.
    pub(super) fn unregistered() -> Files {
        let ring = RINGS.fetch_add(1, Ordering::Relaxed);
        Files { ring, disks: Vec::new(), last: 0, sockets: Vec::new(), free: Vec::new(), until_sweep: SWEEP_EVERY }
    }

    /// An empty file table in the ring, if it takes one.
    pub(super) fn registered(submitter: &Submitter<'_>) -> std::io::Result<Files> {
        submitter.register_files_sparse(PLACES)?;
        let sockets = vec![None; PLACES as usize];
        Ok(Files { sockets, free: (0..PLACES).rev().collect(), ..Files::unregistered() })
    }

    /// Whether there is a file table.
    pub(super) fn is_registered(&self) -> bool {
        !self.sockets.is_empty()
    }

    /// The entry of a disk, made when it is seen first.
    pub(super) fn disk(&mut self, submitter: &Submitter<'_>, disk: &Arc<dyn Disk>) -> &mut DiskEntry {
        let address = address(disk);
        if self.disks.get(self.last).is_none_or(|entry| entry.address != address) {
            self.last = match self.disks.iter().position(|entry| entry.address == address) {
                Some(index) => index,
                None => self.add_disk(submitter, disk),
            };
        }
        &mut self.disks[self.last]
    }

    #[cold]
    fn add_disk(&mut self, submitter: &Submitter<'_>, disk: &Arc<dyn Disk>) -> usize {
        self.sweep(submitter);
        let mut entry = DiskEntry::new(disk);
        if let Some(fd) = entry.fd {
            entry.place = self.place(submitter, fd);
        }
        self.disks.push(entry);
        self.disks.len() - 1
    }

    /// How a submission names a socket.
    pub(super) fn socket(&mut self, submitter: &Submitter<'_>, socket: &Arc<Sock>) -> Target {
        match self.hint(socket) {
            Some(place) => Target { number: place as i32, fixed: true },
            None => self.add_socket(submitter, socket),
        }
    }

    #[cold]
    fn add_socket(&mut self, submitter: &Submitter<'_>, socket: &Arc<Sock>) -> Target {
        let plain = Target { number: socket.raw(), fixed: false };
        if !self.is_registered() {
            return plain;
        }
        let Some(place) = self.place(submitter, socket.raw()) else {
            return plain;
        };
        self.sockets[place as usize] = Some(Arc::downgrade(socket));
        socket.set_seat(u64::from(self.ring) << 32 | u64::from(place));
        Target { number: place as i32, fixed: true }
    }

    /// The place of a socket in this ring's table. A hint is this ring's word, and taken back with the place.
    fn hint(&self, socket: &Sock) -> Option<u32> {
        let seat = socket.seat();
        (seat >> 32 == u64::from(self.ring)).then_some(seat as u32)
    }

    /// Registers a descriptor in a free place.
    fn place(&mut self, submitter: &Submitter<'_>, fd: RawFd) -> Option<u32> {
        self.until_sweep = self.until_sweep.saturating_sub(1);
        if self.free.is_empty() || self.until_sweep == 0 {
            self.sweep(submitter);
        }
        let place = self.free.pop()?;
        match submitter.register_files_update(place, &[fd]) {
            Ok(1) => Some(place),
            _ => {
                self.free.push(place);
                None
            }
        }
    }

    /// Empties a place. A place that cannot be emptied is never used again.
    fn vacate(&mut self, submitter: &Submitter<'_>, place: u32) {
        if submitter.register_files_update(place, &[-1]).is_ok() {
            self.free.push(place);
        }
    }

    /// Drops a socket's place.
    pub(super) fn forget_socket(&mut self, submitter: &Submitter<'_>, socket: &Sock) {
        if let Some(place) = self.hint(socket) {
            socket.set_seat(0);
            self.sockets[place as usize] = None;
            self.vacate(submitter, place);
        }
    }

    /// Drops a disk's entry and place.
    pub(super) fn forget_disk(&mut self, submitter: &Submitter<'_>, disk: &Arc<dyn Disk>) {
        let address = address(disk);
        if let Some(index) = self.disks.iter().position(|entry| entry.address == address) {
            self.remove_disk(submitter, index);
        }
    }

    fn remove_disk(&mut self, submitter: &Submitter<'_>, index: usize) {
        if let Some(place) = self.disks.swap_remove(index).place {
            self.vacate(submitter, place);
        }
    }

    /// Drops what is left of disks and sockets that are gone.
    fn sweep(&mut self, submitter: &Submitter<'_>) {
        self.until_sweep = SWEEP_EVERY;
        while let Some(index) = self.disks.iter().position(|entry| entry.disk.strong_count() == 0) {
            self.remove_disk(submitter, index);
        }
        for place in 0..self.sockets.len() {
            if self.sockets[place].as_ref().is_some_and(|socket| socket.strong_count() == 0) {
                self.sockets[place] = None;
                self.vacate(submitter, place as u32);
            }
        }
    }
}

fn address(disk: &Arc<dyn Disk>) -> usize {
    Arc::as_ptr(disk).cast::<()>() as usize
}
