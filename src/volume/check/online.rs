//! The check of a volume that is being served: what stands on the device against what the daemon knows.
//!
//! Nothing is stopped and nothing written. Everything on the header, and the stamp, is only ever written under the
//! metadata lock, so the rule is: **read without the lock, judge under it, and read again under it what looks wrong**.
//! What is still wrong then is wrong: nobody can be writing. So a commit, a record or a checkpoint under way, half done
//! or done between two looks, is never taken for a fault, and clients, who need no metadata lock, wait for nothing; the
//! rotation waits for one small read, and only where something looked wrong.
//!
//! The daemon knows more than an open would: the sequence of the copy that counts, the records it wrote, every committed
//! tag. So what an open must take for a torn write (a lost newest superblock, a lost last record) is named here
//! (`superblock-differs`, `table-differs`, `tag-page-differs`, `ring-differs`).
//!
//! With `full` the data is read too, a megabyte at a time, each inside the gate of its extent like a client's read, and
//! decrypted by both engines. Memory is bounded by one such piece and the fingerprint-free records of one ring; the pace
//! by [`OnlineOptions::bytes_per_s`]. Each KEK is asked once for each wrap it could open, never per I/O.

mod data;
mod metadata;
mod pace;
mod pages;
mod ring;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::references::{Counts, references};
use super::report::{CheckReport, Severity};
use super::survey::note_poison;
use crate::format::Seal;
use crate::keys::Kek;
use crate::sync::MutexGuard;
use crate::volume::meta::Meta;
use crate::volume::{Volume, VolumeError};
use pace::Pacer;
use ring::Slots;

/// How far an online check goes, and how fast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnlineOptions {
    /// Read every extent and decrypt it with both engines.
    pub full: bool,
    /// Bytes read per second at most; none: as fast as it goes.
    pub bytes_per_s: Option<u64>,
}

/// One online check.
struct Online<'a> {
    volume: &'a Volume,
    keks: &'a [Kek],
    seal: Arc<Seal>,
}

/// What changes whenever metadata do.
type Moment = (u64, u64, u64);

impl Volume {
    /// Checks this volume while it is being served. `progress` is told bytes looked at and bytes in all, and says whether
    /// to go on.
    ///
    /// # Errors
    /// The cache cannot be dropped, or `progress` said stop. Whatever is wrong with the volume is a finding.
    pub fn check_online(
        &self,
        keks: &[Kek],
        options: OnlineOptions,
        progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<CheckReport, VolumeError> {
        let look = self.shape.look();
        let Some(_look) = look else {
            return Err(VolumeError::Refused("the volume is growing: check it when that is done".into()));
        };
        for disk in [&self.header, &self.data].into_iter().take(1 + usize::from(self.detached)) {
            disk.drop_cache().map_err(VolumeError::io("drop the cache before checking"))?;
        }
        let seal = Arc::clone(&self.meta().seal);
        let online = Online { volume: self, keks, seal };
        let mut pacer = Pacer::new(options.bytes_per_s, self.work(options.full), progress);
        let mut report = online.run(&mut pacer)?;
        if options.full {
            data::read_all(self, &mut report, &mut pacer)?;
        }
        Ok(report.finish())
    }

    /// Bytes a check looks at.
    fn work(&self, full: bool) -> u64 {
        let zones = self.meta().superblock.zones;
        zones.tags.length + zones.ring.length + if full { self.shape().size } else { 0 }
    }
}

impl Online<'_> {
    fn meta(&self) -> MutexGuard<'_, Meta> {
        self.volume.meta()
    }

    fn moment(meta: &Meta) -> Moment {
        (meta.superblock_sequence(), meta.table_sequence(), meta.log.next())
    }

    fn run(&self, pacer: &mut Pacer<'_>) -> Result<CheckReport, VolumeError> {
        let mut report = CheckReport::default();
        (report.online, report.with_keys) = (true, true);
        report.volume = Some(self.volume.id.to_string());
        let began = Self::moment(&self.meta());
        self.backings(&mut report);
        self.superblocks(&mut report);
        self.tables(&mut report);
        self.poison(&mut report);
        self.keys(&mut report);
        self.stamp(&mut report);
        let mut slots = Slots::new(self);
        let page_tags = self.pages(&mut report, &mut slots, pacer)?;
        let (ring_records, live_intents) = self.ring(&mut report, &mut slots, pacer)?;
        let counts = Counts { page_tags, ring_records, live_intents, ..Counts::default() };
        self.references(&mut report, counts, began);
        Ok(report)
    }

    /// Reads without the metadata lock, judges under it, and what looks wrong once more, read under it.
    fn settled<T, R>(
        &self,
        report: &mut CheckReport,
        mut read: impl FnMut() -> T,
        mut judge: impl FnMut(&mut CheckReport, &Meta, &T) -> R,
    ) -> R {
        let first = read();
        let meta = self.meta();
        let mut part = CheckReport::default();
        let mut outcome = judge(&mut part, &meta, &first);
        if part.is_suspicious() {
            drop(first);
            part = CheckReport::default();
            outcome = judge(&mut part, &meta, &read());
        }
        drop(meta);
        report.absorb(part);
        outcome
    }

    fn poison(&self, report: &mut CheckReport) {
        if let Some(reason) = self.volume.poisoned() {
            note_poison(report, reason);
        }
    }

    /// Table, census and tags against each other, at one moment.
    fn references(&self, report: &mut CheckReport, mut counts: Counts, began: Moment) {
        let meta = self.meta();
        counts.census = self.volume.census();
        counts.of_one_moment = began == Self::moment(&meta);
        super::structures::table_coherence(report, &meta.table);
        references(report, &meta.table, &counts);
        drop(meta);
        if let Err([census, counted]) = self.volume.tags.recount() {
            let what = format!("the census says {}, but the tags are {}", said(&census), said(&counted));
            report.add(Severity::Error, "tag-census", "the daemon's memory", what, None);
        }
    }
}

fn said(census: &BTreeMap<crate::units::Generation, u64>) -> String {
    let parts: Vec<String> = census.iter().map(|(tag, count)| format!("{count} of generation {tag}")).collect();
    parts.join(", ")
}
