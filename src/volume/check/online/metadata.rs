//! Online: superblock, generation table, stamp, wraps and canaries against what the daemon holds in memory.

use super::Online;
use crate::format::canary::{self, Canary};
use crate::format::envelope::STAMP;
use crate::format::generations::GenerationTable;
use crate::format::superblock::Superblock;
use crate::units::Generation;
use crate::volume::canaries::same_canary;
use crate::volume::check::keys;
use crate::volume::check::report::{CheckReport, Place, Severity};
use crate::volume::check::structures;
use crate::volume::check::survey::Survey;
use crate::volume::info::{Bytes, Copies};

impl Online<'_> {
    /// Whether both backings are still as long as they must be.
    pub(super) fn backings(&self, report: &mut CheckReport) {
        let superblock = self.meta().superblock.clone();
        let volume = self.volume;
        let (data, header) = (volume.data.clone(), volume.header.clone());
        structures::backings(report, &superblock, &Survey { data, header, detached: volume.detached, keks: None });
    }

    /// Both superblock copies, and that the newest is the daemon's.
    pub(super) fn superblocks(&self, report: &mut CheckReport) {
        let header = Bytes::of(&*self.volume.header);
        self.settled(
            report,
            || Copies::superblocks(&header),
            |report, meta, copies| {
                structures::judge(report, "superblock", copies, Some(&self.seal));
                structures::same_volume(report, copies);
                let same = |copy: usize| {
                    let found = copies.peek()[copy].as_ref().ok().and_then(|copy| Superblock::decode(copy).ok());
                    found.as_ref() == Some(&meta.superblock)
                };
                differs(report, "superblock", copies, meta.superblock_sequence(), same);
            },
        );
    }

    /// Both table copies, and that the newest is the daemon's.
    pub(super) fn tables(&self, report: &mut CheckReport) {
        let header = Bytes::of(&*self.volume.header);
        let superblock = self.meta().superblock.clone();
        self.settled(
            report,
            || Copies::tables(&header, &superblock),
            |report, meta, copies| {
                structures::judge(report, "table", copies, Some(&self.seal));
                let same = |copy: usize| {
                    let found = copies.peek()[copy].as_ref().ok().and_then(|copy| GenerationTable::decode(copy).ok());
                    found.as_ref() == Some(&meta.table)
                };
                differs(report, "table", copies, meta.table_sequence(), same);
            },
        );
    }

    /// The epoch stamp at the end of the data.
    pub(super) fn stamp(&self, report: &mut CheckReport) {
        let superblock = self.meta().superblock.clone();
        self.settled(
            report,
            || structures::read_stamp(&superblock, &*self.volume.data),
            |report, meta, bytes| {
                structures::stamp(report, &meta.superblock, Some(&self.seal), bytes);
            },
        );
    }

    /// Whether the KEKs still open every wrap, and every canary under the keys the wraps hold and those in memory.
    pub(super) fn keys(&self, report: &mut CheckReport) {
        let (superblock, table) = {
            let meta = self.meta();
            (meta.superblock.clone(), meta.table.clone())
        };
        if let Some(mut opened) = keys::metadata(report, &superblock, &table, self.keks) {
            let probe = self.seal.seal(STAMP, 0, 0, b"probe");
            if opened.derived.seal.open(STAMP, 0, &probe).is_err() {
                let what = "its wraps open to another key than the one the daemon uses";
                report.add(Severity::Error, "key-differs", "generation 0 (metadata)", what, None);
            } else {
                // What is not in memory, so that nobody has it, is not unwrapped to be looked at.
                let mut table = table.clone();
                table.entries.retain(|entry| entry.state.is_loaded());
                keys::generations(report, &superblock, &table, self.keks, &mut opened, &*self.volume.header);
            }
        }
        self.loaded(report, &superblock, &table);
    }

    /// The keys in memory against the canaries. A canary is written before its entry, and once.
    fn loaded(&self, report: &mut CheckReport, superblock: &Superblock, table: &GenerationTable) {
        let loaded = table.entries.iter().filter(|entry| entry.state.is_loaded());
        for entry in loaded.filter(|entry| entry.generation != Generation::METADATA) {
            let offset = superblock.zones.canaries.offset + u64::from(entry.canary_slot) * canary::SLOT;
            let place =
                Place::header(format_args!("canary of generation {} in memory's eyes", entry.generation), offset);
            let Some(key) = self.volume.keyring.get(entry.generation) else {
                let what = format!("it is {}, but its key is not loaded", entry.state.name());
                report.add(Severity::Warning, "key-not-loaded", format!("generation {}", entry.generation), what, None);
                continue;
            };
            let block = Bytes::of(&*self.volume.header).read(offset, canary::SLOT);
            let Ok(found) = Canary::open(&self.seal, u32::from(entry.canary_slot), &block) else {
                self.canary_damage(report, entry.canary_slot, place, &block);
                continue;
            };
            match same_canary(&self.volume.canary_key, entry, &key, &found) {
                Ok(()) => report.good(place, "the loaded key decrypts it to what it must be"),
                Err(error) => report.add(Severity::Error, "key-differs", place, error.to_string(), None),
            }
        }
    }

    /// Named here only if no KEK opened the wraps: else it is named already.
    fn canary_damage(&self, report: &mut CheckReport, slot: u16, place: Place, block: &[u8]) {
        let named = report.findings.iter().any(|finding| finding.name.starts_with("canary-"));
        if let (false, Err(damage)) = (named, Canary::open(&self.seal, u32::from(slot), block)) {
            report.damage(Severity::Error, "canary", place, &damage, None);
        }
    }
}

/// The copy that counts must be the one the daemon wrote last.
fn differs(report: &mut CheckReport, what: &'static str, copies: &Copies, wrote: u64, same: impl Fn(usize) -> bool) {
    let counting = copies.newest();
    let sequence = counting.and_then(|copy| copies.peek()[copy].as_ref().ok().map(|found| found.sequence));
    if sequence == Some(wrote) && counting.is_some_and(same) {
        return;
    }
    let text = match sequence {
        Some(found) if found == wrote => format!("sequence {found} counts, but does not say what the daemon wrote"),
        Some(found) => format!("sequence {found} counts on the device, but the daemon has written {wrote}"),
        None => format!("no copy counts on the device, but the daemon has written {wrote}"),
    };
    let copy = crate::format::layout::copy_of(wrote);
    report.add(Severity::Error, format!("{what}-differs"), structures::place(what, copies, copy), text, None);
}
