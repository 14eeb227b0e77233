//! Superblock, generation table and epoch stamp: both copies, their order, and what they say of each other.

use std::io;

use super::report::{CheckReport, Place, Severity};
use super::survey::Survey;
use crate::engine::Disk;
use crate::format::generations::{GenerationTable, KeyState, Phase};
use crate::format::layout::{WriteMode, copy_of};
use crate::format::superblock::Superblock;
use crate::format::{Damage, Seal, envelope, stamp as stamp_block};
use crate::units::{BLOCK, Generation};
use crate::volume::info::{Bytes, Copies};

const TAMPERED: &str = "somebody changed it, or it is another volume's: restore the header from a backup you trust";
/// Nothing else on the backing proves that header and data are of one time, so nothing may put the stamp back.
const NO_STAMP: &str =
    "restore header and data of one time from a backup: nothing else proves that they belong together";
const REPAIR: &str = "volume check --repair rewrites it from its twin";
const UNREADABLE_TWIN: &str =
    "it may be the newer one, so --repair leaves it alone: copy the backing to a sound device first";

/// Which copy counts, and what is wrong with the other one that `repair` may mend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Twins {
    /// Sequence of the copy that counts.
    pub sequence: u64,
    /// Where it stands: 0 for A, 1 for B.
    pub copy: usize,
    /// Whether the other copy is bad by accident, or from another time.
    pub twin_is_bad: bool,
    /// Whether the device does not give the other copy back.
    pub unreadable: bool,
}

/// The fields of the superblock copy that counts.
pub(super) fn superblock(report: &mut CheckReport, copies: &Copies) -> Option<Superblock> {
    let Some(counting) = copies.newest() else {
        judge(report, "superblock", copies, None);
        return None;
    };
    match Superblock::decode(copies.peek()[counting].as_ref().ok()?) {
        Ok(superblock) => Some(superblock),
        Err(damage) => {
            report.damage(Severity::Error, "superblock", place("superblock", copies, counting), &damage, None);
            None
        }
    }
}

/// The fields of the table copy that counts.
pub(super) fn table(report: &mut CheckReport, copies: &Copies) -> Option<GenerationTable> {
    let counting = copies.newest()?;
    match GenerationTable::decode(copies.peek()[counting].as_ref().ok()?) {
        Ok(table) => Some(table),
        Err(damage) => {
            report.damage(Severity::Error, "table", place("table", copies, counting), &damage, None);
            None
        }
    }
}

pub(super) fn place(what: &str, copies: &Copies, copy: usize) -> Place {
    let full = if what == "table" { "generation table" } else { what };
    Place::header(format_args!("{full} copy {}", ["A", "B"][copy]), copies.places[copy])
}

/// Whether both superblock copies are one volume's. The newest counts whoever wrote it, so a stranger's must be named.
pub(super) fn same_volume(report: &mut CheckReport, copies: &Copies) {
    let found = copies.peek();
    let ids = found.each_ref().map(|copy| Some(Superblock::decode(copy.as_ref().ok()?).ok()?.volume));
    if let [Some(a), Some(b)] = ids
        && a != b
    {
        let counting = copies.newest().unwrap_or(0);
        let what = format!("copy A is of volume {a}, copy B of volume {b}");
        report.add(Severity::Error, "superblock-foreign", place("superblock", copies, counting), what, None);
    }
}

/// Judges both copies, by MAC where there is a key. `None` if the counting one cannot be believed.
pub(super) fn judge(
    report: &mut CheckReport,
    what: &'static str,
    copies: &Copies,
    seal: Option<&Seal>,
) -> Option<Twins> {
    let newest = copies.newest();
    let found = copies.peek();
    let sequences = found.each_ref().map(|copy| copy.as_ref().ok().map(|copy| copy.sequence));
    let verified = found.map(|copy| {
        let copy = copy?;
        seal.map_or(Ok(copy.sequence), |seal| seal.verify(&copy, 0).map(|(sequence, _)| sequence))
    });
    let copy = newest.unwrap_or(0);
    let mut twins = Twins { sequence: sequences[copy].unwrap_or(0), copy, twin_is_bad: false, unreadable: false };
    let mut believed = newest.is_some();
    for (copy, verdict) in verified.iter().enumerate() {
        let counts = newest == Some(copy);
        if let Some(error) = &copies.errors[copy] {
            let severity = if newest.is_some() { Severity::Warning } else { Severity::Error };
            let hint = newest.is_some().then_some(UNREADABLE_TWIN);
            report.add(severity, format!("{what}-unreadable"), place(what, copies, copy), error.clone(), hint);
            twins.unreadable = true;
            continue;
        }
        match verdict {
            Ok(sequence) => {
                let by = if seal.is_some() { "CRC and MAC are right" } else { "CRC is right" };
                let role = if counts { ", counts" } else { "" };
                report.good(place(what, copies, copy), format!("sequence {sequence}, {by}{role}"));
                if copy_of(*sequence) != copy {
                    let text = format!("sequence {sequence} belongs into the other copy: somebody moved it");
                    let hint = counts.then_some("volume check --repair puts it in its place");
                    report.add(Severity::Warning, format!("{what}-place"), place(what, copies, copy), text, hint);
                }
            }
            Err(Damage::Zero { .. }) if newest.is_some() && twins.sequence == 1 => {
                report.good(place(what, copies, copy), "not written yet");
            }
            Err(damage @ (Damage::Mac { .. } | Damage::Newer { .. })) => {
                let hint = damage.is_tampering().then_some(TAMPERED);
                report.damage(Severity::Error, what, place(what, copies, copy), damage, hint);
                believed &= !counts;
            }
            Err(damage) => {
                twins.twin_is_bad = newest.is_some();
                let severity = if newest.is_some() { Severity::Warning } else { Severity::Error };
                let hint = newest.is_some().then_some(REPAIR);
                report.damage(severity, what, place(what, copies, copy), damage, hint);
            }
        }
    }
    if let (Ok(a), Ok(b)) = (&verified[0], &verified[1])
        && a.abs_diff(*b) != 1
    {
        let older = place(what, copies, usize::from(a > b));
        if a == b && copies.bytes[0] != copies.bytes[1] {
            let text = format!("both copies have sequence {a}, but say different things: two histories were mixed");
            report.add(Severity::Error, format!("{what}-twin"), older, text, Some(TAMPERED));
            return None;
        }
        if a == b {
            twins.copy = copy_of(*a);
        }
        let text =
            format!("its copies have sequences {a} and {b}, which never stand side by side: one is from another time");
        report.add(Severity::Warning, format!("{what}-twin"), older, text, None);
        twins.twin_is_bad = true;
    }
    believed.then_some(twins)
}

/// What a crash has left of a growth: a place to zero, or an older copy of the superblock that knows less of it.
pub(super) fn growth(report: &mut CheckReport, superblock: &Superblock, copies: &Copies, twins: &mut Option<Twins>) {
    let Some(twins) = twins else { return };
    if let Some(place) = superblock.unfinished {
        let what = format!(
            "the volume has grown from {} to {} bytes, but {} bytes at {} of the data backing are still to be zeroed",
            superblock.served_size(),
            superblock.shape.size,
            place.length,
            place.offset
        );
        report.add(Severity::Note, "growth-unfinished", "the superblock", what, None);
        return;
    }
    let twin = 1 - twins.copy;
    let Some(older) = copies.peek()[twin].as_ref().ok().and_then(|copy| Superblock::decode(copy).ok()) else { return };
    if older.volume == superblock.volume && (older.shape.size, older.unfinished) != (superblock.shape.size, None) {
        let what = format!("it is of an earlier step of the growth to {} bytes", superblock.shape.size);
        report.add(Severity::Note, "growth-twin", place("superblock", copies, twin), what, None);
        twins.twin_is_bad = true;
    }
}

/// Whether the files given are this volume's, and whole.
pub(super) fn backings(report: &mut CheckReport, superblock: &Superblock, survey: &Survey<'_>) -> Option<()> {
    let (detached, zones) = (superblock.detached, &superblock.zones);
    if detached != survey.detached {
        let what = if detached {
            "the header is detached: give the data with it"
        } else {
            "the header is attached: give no header file"
        };
        report.add(Severity::Error, "header-kind", "the superblock", what, None);
        return None;
    }
    let (caps, granule) = (survey.data.caps(), superblock.shape.granule);
    if superblock.shape.mode == WriteMode::InPlace && caps.granule < granule {
        let what = format!(
            "the volume counts on atomic writes of {granule} bytes, but {} vouches for {} only",
            caps.granule_source, caps.granule
        );
        let hint = "do not re-encrypt here: move the volume to a device with larger sectors";
        report.add(Severity::Warning, "granule-unvouched", "the data backing", what, Some(hint));
    }
    let data_end = zones.data.end().max(if zones.stamp.length > 0 { zones.stamp.end() } else { 0 });
    let header_end = zones.ring.end().max(zones.tags.end()).max(zones.canaries.end()).max(zones.generations.end());
    let mut whole = true;
    for (which, disk, needed) in [("data", &survey.data, data_end), ("header", &survey.header, header_end)] {
        match disk.len() {
            Ok(found) if found >= needed => report.good(format!("the {which} backing"), format!("{found} bytes long")),
            Ok(found) => {
                let what = format!("{found} bytes long, but the volume needs {needed}: it was truncated");
                report.add(Severity::Error, "backing-truncated", format!("the {which} backing"), what, None);
                whole = false;
            }
            Err(error) => {
                let what = format!("its size cannot be had: {error}");
                report.add(Severity::Error, "backing-unreadable", format!("the {which} backing"), what, None);
                whole = false;
            }
        }
    }
    whole.then_some(())
}

/// What the table says must make sense by itself.
pub(super) fn table_coherence(report: &mut CheckReport, table: &GenerationTable) {
    let mut bad = |name: &str, what: String| report.add(Severity::Error, name, "the generation table", what, None);
    let rotation = &table.rotation;
    for entry in table.entries.iter().filter(|entry| entry.generation != Generation::METADATA) {
        if entry.state == KeyState::Active && entry.generation != rotation.target {
            bad(
                "table-target",
                format!("generation {} is active, but {} is the target", entry.generation, rotation.target),
            );
        }
        let slot = |other: &&crate::format::generations::Entry| other.canary_slot == entry.canary_slot;
        if table.entries.iter().filter(slot).count() > 1 {
            bad("table-canary", format!("canary slot {} is used twice", entry.canary_slot));
        }
    }
    if rotation.target == Generation::METADATA {
        bad("table-target", "the metadata key is the target".into());
    }
    if let Some(back) = rotation.rollback_to {
        // A revoked one may be reinstated; going back is refused until then.
        let available = |state: KeyState| state.is_loaded() || state == KeyState::Revoked;
        if !table.entry(back).is_some_and(|entry| available(entry.state)) {
            bad(
                "table-rotation",
                format!("the rotation may roll back to generation {back}, whose key is not available"),
            );
        }
        if rotation.phase == Phase::Finalized {
            bad("table-rotation", "a finalized rotation has no way back, but one is on record".into());
        }
    }
}

/// Reads the copies of the epoch stamp, as many as its zone has.
pub(super) fn read_stamp(superblock: &Superblock, data: &dyn Disk) -> Vec<io::Result<Vec<u8>>> {
    let zone = superblock.zones.stamp;
    (0..zone.length / BLOCK).map(|copy| Bytes::of(data).try_read(zone.offset + copy * BLOCK, BLOCK)).collect()
}

/// The epoch stamp at the end of the data. A bad copy is a warning while the other one is good.
pub(super) fn stamp(
    report: &mut CheckReport,
    superblock: &Superblock,
    seal: Option<&Seal>,
    copies: &[io::Result<Vec<u8>>],
) {
    if copies.is_empty() {
        report.add(Severity::Note, "stamp-none", "the data backing", "it has no room for an epoch stamp", None);
        return;
    }
    let open = |block: &Vec<u8>| match seal {
        Some(seal) => stamp_block::open(seal, block),
        None => envelope::peek(envelope::STAMP, block).map(|found| found.sequence),
    };
    let place = |copy: usize| {
        let offset = superblock.zones.stamp.offset + copy as u64 * BLOCK;
        Place::data(format_args!("epoch stamp copy {}", ['A', 'B'][copy % 2]), offset)
    };
    let opened: Vec<_> = copies.iter().map(|block| block.as_ref().map(open)).collect();
    let epochs = opened.iter().enumerate().filter_map(|(copy, found)| match found {
        Ok(Ok(epoch)) => Some((*epoch, copy)),
        _ => None,
    });
    let newest = epochs.max();
    let accident = if newest.is_some() { Severity::Warning } else { Severity::Error };
    for (copy, found) in opened.iter().enumerate() {
        match found {
            Ok(Ok(_)) => {}
            Err(error) => report.add(accident, "stamp-unreadable", place(copy), error.to_string(), None),
            Ok(Err(damage)) if damage.is_tampering() => {
                report.damage(Severity::Error, "stamp", place(copy), damage, Some(TAMPERED));
            }
            Ok(Err(damage @ Damage::Newer { .. })) => {
                report.damage(Severity::Error, "stamp", place(copy), damage, None)
            }
            Ok(Err(damage)) => {
                let hint = newest.is_none().then_some(NO_STAMP);
                report.damage(accident, "stamp", place(copy), damage, hint);
            }
        }
    }
    let Some((epoch, copy)) = newest else { return };
    let place = place(copy);
    match superblock.epoch.checked_sub(epoch) {
        Some(0) => report.good(place, format!("epoch {epoch}, as in the superblock")),
        Some(1) => {
            let what = format!("epoch {epoch}, the superblock has the next one: a crash fell between the two writes");
            report.add(Severity::Note, "epoch-behind", place, what, None);
        }
        behind => {
            let old = if behind.is_some() { "the data are older" } else { "the header is older" };
            let what =
                format!("epoch {epoch}, the superblock has {}: {old}, as after restoring a backup", superblock.epoch);
            report.add(Severity::Error, "epoch-stale", place, what, None);
        }
    }
}
