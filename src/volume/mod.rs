//! The one place where keys, bytes and device meet: a volume that is read, written, flushed, re-encrypted, recovered
//! and checked.
//!
//! | file | what it is for |
//! |---|---|
//! | `create`, `open`, `recover` | from a path to a [`Volume`], whatever a crash left behind |
//! | `executor`, `piece` | client requests, cut into pieces, on a worker's engine |
//! | `gates`, `flush`, `inbox` | who may touch an extent, who is behind a flush, who is told |
//! | `log`, `replay` | the intent ring's rules, pure: planner and recovery share them with the crash models |
//! | `pipeline`, `image`, `holes` | rewriting extents in batches |
//! | `meta`, `checkpoint`, `tags`, `keyring` | metadata on the device, tags and keys in memory |
//! | `background`, `rules` | jobs on threads of their own; the rules that tests may drop |
//! | `wraps` | who may open the volume: wraps added, proven, removed, while it is in use |
//! | `prepare`, `canaries` | a new key, from its making to *prepared*; what proves it |
//! | `lifecycle` | activate, roll back, finalize: changes of the generation table |
//! | `replica` | keys shared with other replicas of the volume, and comparing with them |
//! | `life` | what becomes of a key that nothing needs, or nobody may have |
//! | `grow`, `shape` | more size for a volume in use; the size as of now |
//! | `backup`, `restore`, `drill` | header backups, when one may be restored, and rehearsing it |
//! | `escrow`, `holders` | keys in escrow, and who else holds any |
//! | `check`, `info` | what can be said of a volume, with and without a key |
//!
//! Invariants: data are identity mapped; every extent is readable under the generation its tag names, or under the
//! two its live intent names, granule by granule; a failed flush or metadata write poisons the volume for writes.

mod background;
pub mod backup;
mod canaries;
pub mod check;
mod checkpoint;
pub mod create;
pub mod drill;
pub mod error;
mod escrow;
pub mod executor;
pub mod flush;
pub mod gates;
mod grow;
pub mod holders;
pub mod holes;
pub mod image;
pub mod inbox;
pub mod info;
pub mod keyring;
pub mod life;
pub mod lifecycle;
pub mod log;
mod meta;
pub mod open;
mod piece;
pub mod pipeline;
pub mod prepare;
mod read_back;
mod recover;
pub mod replay;
pub mod replica;
pub mod restore;
mod rewrite;
mod rules;
mod shape;
pub mod tags;
pub mod wraps;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use crate::crypto::EngineKind;
use crate::crypto::fingerprint::Fingerprinter;
use crate::crypto::mac::MacKey;
use crate::engine::{Disk, DiskCaps};
use crate::format::layout::{Shape, WriteMode};
use crate::sync::{AtomicBool, Mutex, MutexGuard, OnceLock};
use crate::units::{Extent, Generation, VolumeId};

pub use error::VolumeError;
use flush::FlushGroup;
use gates::Gates;
use keyring::Keyring;
use meta::Meta;
#[cfg(all(not(test), debug_assertions))]
pub use rules::drop_r0;
use shape::LiveShape;
use tags::TagTable;

/// Which status [`Volume::block_status`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusKind {
    /// `base:allocation`: bit 0 hole, bit 1 reads as zeros (NBD spec).
    Allocation,
    /// `x-keymoult:generation`: the number of the generation that encrypts the range.
    Generation,
}

/// Extents whose generation one call tells, so that it ends soon however long the range; the caller asks again.
const STATUS_EXTENTS_MAX: u64 = 1 << 18;

/// Hole and zero, the two flags of `base:allocation`.
pub const STATUS_HOLE_ZERO: u32 = 3;

/// Counters of client traffic.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Bytes read by clients.
    pub read: AtomicU64,
    /// Bytes written by clients.
    pub written: AtomicU64,
    /// Client requests that failed.
    pub failed: AtomicU64,
}

/// An open volume. Shared by all workers and the rotation.
pub struct Volume {
    id: VolumeId,
    shape: LiveShape,
    read_only: bool,
    engine: EngineKind,
    data: Arc<dyn Disk>,
    data_offset: u64,
    /// The least that the data backing is long.
    data_len: AtomicU64,
    header: Arc<dyn Disk>,
    detached: bool,
    caps: DiskCaps,
    io_unit: u64,
    tags: TagTable,
    gates: Gates,
    flushes: Arc<FlushGroup>,
    keyring: Keyring,
    wraps: wraps::Wraps,
    prints: Fingerprinter,
    canary_key: crate::crypto::Secret,
    statement_key: MacKey,
    meta: Mutex<Meta>,
    poison: OnceLock<String>,
    /// The poison is on the device, or on its way there.
    poison_written: AtomicBool,
    recovered: recover::Recovered,
    /// Client traffic since open.
    pub traffic: Traffic,
}

impl Volume {
    /// Identity.
    pub fn id(&self) -> VolumeId {
        self.id
    }

    /// Whether the data backing is as long as it must be. Behind the end of a file that was truncated and has grown again a
    /// hole is lost data, not zeros: whoever has found a hole asks.
    fn is_whole(&self) -> bool {
        self.data.len().is_ok_and(|len| len >= self.data_len.load(Ordering::Relaxed))
    }

    /// Its shape as of now: only the size changes, and only grows.
    pub fn shape(&self) -> Shape {
        self.shape.now()
    }

    /// Bytes clients see.
    pub fn size(&self) -> u64 {
        self.shape().size
    }

    /// Bytes of a data unit: what clients are advised to align to.
    pub fn data_unit(&self) -> u32 {
        self.shape.write_unit()
    }

    /// Bytes of an extent.
    pub fn extent_size(&self) -> u64 {
        self.shape.extent_size()
    }

    /// Whether writes are refused by choice.
    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// The crypto engine that serves I/O.
    pub fn crypto_engine(&self) -> EngineKind {
        self.engine
    }

    /// What the data backing can do.
    pub fn caps(&self) -> &DiskCaps {
        &self.caps
    }

    /// Whether the header is a file of its own.
    pub fn is_detached(&self) -> bool {
        self.detached
    }

    /// How ciphertext is replaced.
    pub fn mode(&self) -> WriteMode {
        self.shape.mode()
    }

    /// Refuses re-encryption where the backing does not vouch for the volume's granule, as after copying the volume from
    /// a disk with 4096-byte sectors to one with 512: a torn granule would be taken for rewritten, and read under the wrong key.
    pub fn may_rewrite(&self) -> Result<(), VolumeError> {
        let granule = self.shape().granule;
        if self.mode() == WriteMode::Journal || self.caps.granule >= granule {
            return Ok(());
        }
        Err(VolumeError::Refused(format!(
            "the volume counts on atomic writes of {} bytes, but here {} vouches for {} only: re-encryption could mix keys",
            granule, self.caps.granule_source, self.caps.granule
        )))
    }

    /// What recovery did when the volume was opened.
    pub fn recovered(&self) -> &recover::Recovered {
        &self.recovered
    }

    /// Why writes are refused, if they are.
    pub fn poisoned(&self) -> Option<&str> {
        self.poison.get().map(String::as_str)
    }

    /// Extents by current generation.
    pub fn census(&self) -> std::collections::BTreeMap<Generation, u64> {
        self.tags.census()
    }

    /// Flushes of the data backing started since open.
    pub fn flushes_started(&self) -> u64 {
        self.flushes.started()
    }

    /// Metadata bytes written since open.
    pub fn metadata_bytes(&self) -> u64 {
        self.meta().bytes_written()
    }

    /// The generation an extent is encrypted under now.
    pub fn tag(&self, extent: Extent) -> Generation {
        self.tags.current(extent)
    }

    /// The extent a volume offset lies in.
    pub fn extent_of(&self, offset: u64) -> Extent {
        Extent((offset / self.extent_size()) as u32)
    }

    pub(crate) fn meta(&self) -> MutexGuard<'_, Meta> {
        self.meta.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops all writes, now and, as far as the device still lets us say so, across restarts. The first reason stays.
    pub fn poison(self: &Arc<Self>, reason: &str) {
        self.stop_writes(reason);
        if self.poison_written.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::error!(volume = %self.id, reason, "volume poisoned: writes are refused until check passes");
        let volume = Arc::clone(self);
        let reason = reason.to_string();
        background::run("km-poison", move || {
            let _ = volume.meta().poison(reason);
        });
    }

    /// Stops all writes as long as the volume is open: enough where nothing is known to be lost, and what is in doubt is
    /// what any end of the process leaves in doubt. The first reason stays.
    pub(crate) fn stop_writes(&self, reason: &str) {
        if self.poison.set(reason.to_string()).is_ok() {
            // Whoever waits behind a hold that will not end is answered, and nobody parks any more.
            self.gates.refuse_writes();
        }
    }

    /// Does the flush that the group has started, tells those it served, and hands the next one, if somebody waits for
    /// one, to a worker.
    pub(crate) fn flush_for_group(self: &Arc<Self>) {
        let mut again = true;
        while again {
            let result = self.data.flush();
            again = self.flush_ended(result) && !self.flushes.hand_over();
        }
    }

    /// The group's flush has ended: poisons the volume if it failed and tells those it served; true if the caller must
    /// start the next one. Once the volume is poisoned no flush counts as done: an earlier one may have lost the data.
    pub(crate) fn flush_ended(self: &Arc<Self>, result: io::Result<()>) -> bool {
        if let Err(error) = &result {
            self.poison(&format!("a flush failed: {error}"));
        }
        let result = self.poisoned().map_or(Ok(()), |reason| Err(reason.to_string()));
        let (result, served, again) = self.flushes.settle(result);
        for ticket in served {
            ticket.call(inbox::Call::Flushed(result.clone()));
        }
        again
    }

    /// Ranges of `offset..offset+len` and their status, at most `most` of them, the first ones.
    pub fn block_status(&self, offset: u64, len: u64, kind: StatusKind, most: usize) -> io::Result<Vec<(u64, u32)>> {
        let end = offset.saturating_add(len).min(self.size());
        match kind {
            StatusKind::Allocation => self.allocation(offset, end, most),
            StatusKind::Generation => Ok(self.generations(offset, end, most)),
        }
    }

    fn allocation(&self, offset: u64, end: u64, most: usize) -> io::Result<Vec<(u64, u32)>> {
        let base = self.data_offset;
        let mut ranges = Vec::new();
        let mut at = offset;
        while at < end && ranges.len() < most {
            let data = self.data.next_data(base + at, base + end)?.map_or(end, |data| (data - base).clamp(at, end));
            if data > at {
                ranges.push((data - at, STATUS_HOLE_ZERO));
                at = data;
                continue;
            }
            let hole = (self.data.next_hole(base + at, base + end)? - base).clamp(at, end);
            let hole = if hole > at { hole } else { end };
            ranges.push((hole - at, 0));
            at = hole;
        }
        if self.data.len()? < base + at {
            // What a backing has lost looks like a hole; reading it is refused, and so is this.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(ranges)
    }

    fn generations(&self, offset: u64, end: u64, most: usize) -> Vec<(u64, u32)> {
        let mut ranges: Vec<(u64, u32)> = Vec::new();
        let mut at = offset;
        let end = end.min(offset.saturating_add(self.extent_size() * STATUS_EXTENTS_MAX));
        while at < end {
            let extent = self.extent_of(at);
            let tag = self.tags.current(extent).0;
            let next = self.shape().extent_range(extent.0).1.min(end);
            match ranges.last_mut() {
                Some(last) if last.1 == tag => last.0 += next - at,
                last => {
                    if last.is_some() && ranges.len() == most {
                        break;
                    }
                    ranges.push((next - at, tag));
                }
            }
            at = next;
        }
        ranges
    }

    pub(crate) fn count_failure(&self) {
        self.traffic.failed.fetch_add(1, Ordering::Relaxed);
    }
}
