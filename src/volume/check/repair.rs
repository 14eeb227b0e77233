//! What `--repair` writes: a copy that does not count, from the one that does; and the end of a poisoning.
//!
//! | what | written | why nothing can be lost |
//! |---|---|---|
//! | superblock or table copy that is torn, rotten, wiped or overwritten | the content that counts, under the next sequence, over the bad copy | it holds nothing that could be read. If it was the newer one, it was either cut off by a crash, so never acted upon, or rotted later: then an open counts on the same older copy, and its next commit writes over the same place. Whatever was done on the strength of a lost commit shows as an error elsewhere (stamp ahead, tags or records of unknown generations, ring gap), and with any error nothing is repaired. |
//! | the copy that counts, standing in the other one's place | the very bytes, into their own place first | the sequence that counts then stands twice; only after that is flushed is the wrong place written |
//! | a superblock or table copy from another time (valid, but not the predecessor) | the content that counts, under the next sequence, over it | its sequence is lower than that of an authentic copy: it could only ever bring back the past |
//! | a tag page copy that does not count | the very bytes of the one that does | the superblock's keyed digest names the sequence that counts |
//! | an unfinished growth | zeros where the old stamp stood, then the superblock without the mark, both copies | nobody has seen those bytes of the volume: clients get the new size only when the mark is gone from both copies, and `growth-twin` says when it is gone from one. The next open for writing would do the same |
//! | the poison | the superblock without it, under the next sequence | a full check with keys has passed: every structure is authentic, every extent was read and decrypted by both engines |
//!
//! Never repaired, because nothing proves what stood there: a copy the **device does not give back** (it may be the newer
//! one, and come back on a sounder device), anything **not authentic** (evidence, and perhaps an attack), the **epoch
//! stamp** (it alone proves that header and data are of one time; one epoch behind is completed by the next open), the
//! copy that counts, ring records, canaries, wraps.
//!
//! Invariants: called only when the survey found no error, so every counting copy is authentic; the only place where
//! something counts is never written to; each repair is one write and one flush before the next begins, so a crash
//! leaves it done or not done, and doing it again ends it. A second repair finds nothing to do.

use std::sync::Arc;

use super::Depth;
use super::report::Severity;
use super::structures::Twins;
use super::survey::{Found, Survey};
use crate::format::layout::{GENERATIONS_COPY, SUPERBLOCK_A, SUPERBLOCK_B, copy_of};
use crate::format::superblock::Superblock;
use crate::units::BLOCK;
use crate::volume::create::zero;
use crate::volume::error::VolumeError;
use crate::volume::info::tag_page_places;

/// Mends what does not count; says what was done.
pub(super) fn twins(survey: &Survey<'_>, found: &Found) -> Result<Vec<String>, VolumeError> {
    let mut done = Vec::new();
    let (Some((superblock, twins)), Some((table, table_twins)), Some(keys)) =
        (&found.superblock, &found.table, &found.keys)
    else {
        return Ok(done);
    };
    let seal = &keys.derived.seal;
    let places = [SUPERBLOCK_A, SUPERBLOCK_B];
    pair(survey, "superblock", places, BLOCK, twins, &mut done, |sequence| Ok(superblock.seal(seal, sequence)))?;
    let first = superblock.zones.generations.offset;
    let places = [first, first + GENERATIONS_COPY];
    pair(survey, "generation table", places, GENERATIONS_COPY, table_twins, &mut done, |sequence| {
        let mut bytes = table.seal(seal, sequence).ok_or(VolumeError::TableFull)?;
        // Over all of the copy: what is mended may have had wraps that are destroyed since.
        bytes.resize(GENERATIONS_COPY as usize, 0);
        Ok(bytes)
    })?;
    for (index, counting) in found.tags.iter().flat_map(|tags| &tags.bad_twins) {
        let places = tag_page_places(superblock, *index);
        let page = read(survey, places[*counting], BLOCK)?;
        write(survey, places[1 - counting], &page)?;
        done.push(format!("copy {} of tag page {index}, from its twin", ["A", "B"][1 - counting]));
    }
    Ok(done)
}

/// Finishes a growth that a crash, or a poisoning, has cut off; says so.
pub(super) fn growth(survey: &Survey<'_>, found: &Found) -> Result<Option<String>, VolumeError> {
    let (Some((superblock, twins)), Some(keys)) = (&found.superblock, &found.keys) else { return Ok(None) };
    let Some(place) = superblock.unfinished else { return Ok(None) };
    if twins.unreadable || twins.copy != copy_of(twins.sequence) {
        return Ok(None);
    }
    zero(&*survey.data, place.offset, place.length, &mut |_, _| {})?;
    survey.data.flush().map_err(VolumeError::io("flush where the old stamp stood"))?;
    let finished = Superblock { unfinished: None, ..superblock.clone() };
    for sequence in [twins.sequence + 1, twins.sequence + 2] {
        let block = finished.seal(&keys.derived.seal, sequence);
        write(survey, [SUPERBLOCK_A, SUPERBLOCK_B][copy_of(sequence)], &block)?;
    }
    Ok(Some(format!("the growth to {} bytes, which was cut off, is finished", superblock.shape.size)))
}

/// Superblock or table: the copy that counts into its own place, then the other one.
fn pair(
    survey: &Survey<'_>,
    what: &str,
    places: [u64; 2],
    len: u64,
    twins: &Twins,
    done: &mut Vec<String>,
    seal: impl FnOnce(u64) -> Result<Vec<u8>, VolumeError>,
) -> Result<(), VolumeError> {
    let own = copy_of(twins.sequence);
    if twins.unreadable {
        return Ok(());
    }
    if twins.copy != own {
        let bytes = read(survey, places[twins.copy], len)?;
        write(survey, places[own], &bytes)?;
        done.push(format!("the {what} copy that counts, from the place of copy {} to its own", ["A", "B"][twins.copy]));
    }
    if twins.twin_is_bad || twins.copy != own {
        write(survey, places[1 - own], &seal(twins.sequence + 1)?)?;
        done.push(format!("the bad {what} copy {}, from the one that counts", ["A", "B"][1 - own]));
    }
    Ok(())
}

/// Ends a poisoning, if everything passed. `found` is what stands there after all repairs.
pub(super) fn poison(survey: &Survey<'_>, found: &mut Found, depth: Depth<'_>) -> Result<(), VolumeError> {
    let poisoned = found.report.poisoned.is_some();
    let unread = found.report.data.as_ref().is_none_or(|data| data.extents_unread > 0);
    if !poisoned || !depth.repair || !depth.full || found.report.errors() > 0 || unread {
        return Ok(());
    }
    let (Some((superblock, twins)), Some(keys)) = (&found.superblock, &found.keys) else { return Ok(()) };
    // Where the other copy cannot be read or the counting one stands in its place, writing would risk the only good one.
    if twins.unreadable || twins.copy != copy_of(twins.sequence) {
        return Ok(());
    }
    let sound = Superblock { poisoned: String::new(), ..superblock.clone() };
    let sequence = twins.sequence + 1;
    write(survey, [SUPERBLOCK_A, SUPERBLOCK_B][copy_of(sequence)], &sound.seal(&keys.derived.seal, sequence))?;
    found.report.poison_cleared = true;
    let what = "the check has passed in full: writes are allowed again";
    found.report.add(Severity::Note, "poison-cleared", "the superblock", what, None);
    Ok(())
}

fn read(survey: &Survey<'_>, place: u64, len: u64) -> Result<Vec<u8>, VolumeError> {
    let mut bytes = vec![0u8; len as usize];
    survey.header.read_at(place, &mut bytes).map_err(VolumeError::io("read the copy that counts"))?;
    Ok(bytes)
}

fn write(survey: &Survey<'_>, place: u64, bytes: &[u8]) -> Result<(), VolumeError> {
    let header = Arc::clone(&survey.header);
    header.write_at(place, bytes).map_err(VolumeError::io("rewrite a bad copy"))?;
    header.flush().map_err(VolumeError::io("flush a rewritten copy"))
}
