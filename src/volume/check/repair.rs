//! What `--repair` writes: a bad twin from the copy that counts, and the end of a poisoning.
//!
//! Invariants: called only when the survey found no error, so every counting copy is authentic; the copy that counts is
//! never written to; each write is flushed before the next structure is touched. A superblock or table twin gets the
//! same content under the next sequence, as any commit; a tag page twin gets the very bytes, whose sequence the digest
//! already names.

use std::sync::Arc;

use super::Depth;
use super::report::Severity;
use super::survey::{Found, Survey};
use crate::format::layout::{GENERATIONS_COPY, SUPERBLOCK_A, SUPERBLOCK_B, copy_of};
use crate::units::BLOCK;
use crate::volume::error::VolumeError;
use crate::volume::info::tag_page_places;

/// Rewrites bad twins; says what was done.
pub(super) fn twins(survey: &Survey<'_>, found: &Found) -> Result<Vec<String>, VolumeError> {
    let mut done = Vec::new();
    let (Some((superblock, twins)), Some((table, table_twins)), Some(keys)) =
        (&found.superblock, &found.table, &found.keys)
    else {
        return Ok(done);
    };
    let seal = &keys.derived.seal;
    if twins.twin_is_bad {
        put_superblock(survey, found, |_| {})?;
        done.push("the bad superblock copy, from the one that counts".to_owned());
    }
    if table_twins.twin_is_bad {
        let sequence = table_twins.sequence + 1;
        let bytes = table.seal(seal, sequence).ok_or(VolumeError::TableFull)?;
        let place = superblock.zones.generations.offset + copy_of(sequence) as u64 * GENERATIONS_COPY;
        write(survey, place, &bytes)?;
        done.push("the bad generation table copy, from the one that counts".to_owned());
    }
    for (index, counting) in found.tags.iter().flat_map(|tags| &tags.bad_twins) {
        let places = tag_page_places(superblock, *index);
        let mut page = vec![0u8; BLOCK as usize];
        survey.header.read_at(places[*counting], &mut page).map_err(VolumeError::io("read a tag page"))?;
        write(survey, places[1 - counting], &page)?;
        done.push(format!("copy {} of tag page {index}, from its twin", ["A", "B"][1 - counting]));
    }
    Ok(done)
}

/// Ends a poisoning, if everything passed.
pub(super) fn poison(survey: &Survey<'_>, found: &mut Found, depth: Depth<'_>) -> Result<(), VolumeError> {
    let poisoned = found.report.poisoned.is_some();
    if !poisoned || !depth.repair || !depth.full || found.keys.is_none() || found.report.errors() > 0 {
        return Ok(());
    }
    put_superblock(survey, found, |superblock| superblock.poisoned = String::new())?;
    found.report.poison_cleared = true;
    let what = "the check has passed in full: writes are allowed again";
    found.report.add(Severity::Note, "poison-cleared", "the superblock", what, None);
    Ok(())
}

fn put_superblock(
    survey: &Survey<'_>,
    found: &Found,
    change: impl FnOnce(&mut crate::format::superblock::Superblock),
) -> Result<(), VolumeError> {
    let (Some((superblock, twins)), Some(keys)) = (&found.superblock, &found.keys) else { return Ok(()) };
    let mut superblock = superblock.clone();
    change(&mut superblock);
    let sequence = twins.sequence + 1;
    let bytes = superblock.seal(&keys.derived.seal, sequence);
    write(survey, [SUPERBLOCK_A, SUPERBLOCK_B][copy_of(sequence)], &bytes)
}

fn write(survey: &Survey<'_>, place: u64, bytes: &[u8]) -> Result<(), VolumeError> {
    let header = Arc::clone(&survey.header);
    header.write_at(place, bytes).map_err(VolumeError::io("rewrite a bad copy"))?;
    header.flush().map_err(VolumeError::io("flush a rewritten copy"))
}
