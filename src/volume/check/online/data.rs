//! Online, `full`: every extent from the device, decrypted by both engines, inside the gate of its extent.
//!
//! Invariant: a gate is held for one piece of at most a megabyte, so a rotation that wants the extent waits for no more
//! than that; clients' reads and writes wait for nothing. A write that lands meanwhile is no fault: both engines decrypt
//! the same bytes.

use std::sync::Arc;

use super::pace::Pacer;
use crate::units::{Extent, Generation};
use crate::volume::check::data::{Reader, STEP, is_revoked, summary};
use crate::volume::check::report::{CheckReport, Severity};
use crate::volume::gates::ReadGate;
use crate::volume::keyring::GenerationKey;
use crate::volume::{Volume, VolumeError};

/// Reads everything.
pub(super) fn read_all(volume: &Volume, report: &mut CheckReport, pacer: &mut Pacer<'_>) -> Result<(), VolumeError> {
    let superblock = volume.meta().superblock.clone();
    let mut reader = Reader::new(&*volume.data, &superblock, &volume.keyring, None);
    for extent in (0..volume.shape().extents()).map(Extent) {
        reader.report.extents += 1;
        let (first, end) = volume.shape().extent_range(extent.0);
        let mut at = first;
        while at < end {
            let to = (at + STEP).min(end);
            if !piece(volume, report, &mut reader, extent, at, to) {
                reader.report.extents_unread += 1;
                pacer.spend(end - at)?;
                break;
            }
            pacer.spend(to - at)?;
            at = to;
        }
    }
    let data = reader.report;
    summary(report, data);
    Ok(())
}

/// Reads one piece; false if the rest of the extent is not worth trying.
fn piece(
    volume: &Volume,
    report: &mut CheckReport,
    reader: &mut Reader<'_>,
    extent: Extent,
    from: u64,
    to: u64,
) -> bool {
    match volume.gates.begin_read(&volume.tags, extent) {
        ReadGate::Image(_) => {
            // Being rewritten at this moment, from memory: what stands on the device is on its way out.
            reader.report.bytes_moving += to - from;
            true
        }
        ReadGate::Barred => {
            let what = "a live intent names a key that is not loaded, so it was not read";
            report.add(Severity::Error, "data-key", format!("extent {extent}"), what, None);
            false
        }
        ReadGate::Device(generation) => {
            let key = volume.keyring.get(generation);
            let whole = match key.is_none() && is_revoked(&volume.meta().table, generation) {
                true => {
                    reader.note_revoked(report, generation);
                    false
                }
                false => read(report, reader, extent, generation, key, from..to),
            };
            volume.gates.end_read(extent);
            whole
        }
    }
}

fn read(
    report: &mut CheckReport,
    reader: &mut Reader<'_>,
    extent: Extent,
    generation: Generation,
    key: Option<Arc<GenerationKey>>,
    range: std::ops::Range<u64>,
) -> bool {
    let Some(key) = key else {
        let what = "its key is not at hand, so it was not read";
        report.add(Severity::Error, "data-key", format!("extent {extent}, generation {generation}"), what, None);
        return false;
    };
    reader.range(report, extent.0, generation.0, range, &[key], None)
}
