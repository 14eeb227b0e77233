//! What happens to live intents at open: each is classified granule by granule and rolled forward.
//!
//! Durable steps (read-write): (1) the caller has flushed and dropped the cache; (2) granules still under the old key
//! are rewritten under the new one (journal mode: the ciphertext of the record is copied in place); (3) flush; (4) the
//! checkpoint that carries the new tags and moves the tail behind every record. Crashing anywhere in it and starting
//! over gives the same bytes: what step 2 wrote classifies as new. Read-only: the same images are built in memory and
//! served from there; nothing is written.
//!
//! An intent that names a key that is not loaded stays live; its extent is barred (EIO) and the rest is served. It pins the
//! ring's tail: what is rolled forward beside it is committed by a record between the steps 3 and 4.

use std::sync::Arc;

use super::Volume;
use super::error::VolumeError;
use super::gates::Held;
use super::holes::is_zero;
use super::image::{Image as NewImage, Part};
use super::keyring::{GenerationKey, Keyring};
use super::log::IntentLog;
use super::replay::{LiveIntent, Replay, Side, classify, expected};
use super::rules;
use crate::engine::{Buf, Pool};
use crate::format::intents::Image;
use crate::format::stamp;
use crate::format::superblock::Superblock;
use crate::units::{Extent, Generation, HOLE_SLICE};

/// Bytes of an image part: one pool buffer.
const PART: u64 = 1 << 20;

/// What recovery found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Records after the tail.
    pub records: u64,
    /// Extents whose commit stood in the ring only.
    pub committed: u64,
    /// Extents rolled forward (read-only: served from memory).
    pub rolled_forward: u64,
    /// Bytes rewritten for it.
    pub bytes_rewritten: u64,
    /// Extents barred because a key is not loaded.
    pub barred: u64,
}

/// The ring's bookkeeping after replay: empty, unless intents must stay live for want of a key.
pub fn log_for(superblock: &Superblock, replay: &Replay, keyring: &Keyring) -> IntentLog {
    let stuck = replay.live.iter().filter(|live| keys_of(keyring, live).is_none());
    let stuck: Vec<_> =
        stuck.map(|live| (live.intent.extent, live.sequence, live.intent.old, live.intent.new)).collect();
    IntentLog::with_stuck(superblock.ring_slots, superblock.tail, replay.last, &stuck)
}

fn keys_of(keyring: &Keyring, live: &LiveIntent) -> Option<(Arc<GenerationKey>, Arc<GenerationKey>)> {
    Some((keyring.get(live.intent.old)?, keyring.get(live.intent.new)?))
}

/// What a crash between two writes that belong together left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    /// The epoch stamp is one epoch behind the superblock.
    pub stamp: bool,
    /// The generation table's other copy does not say the same as the one that counts.
    pub table: bool,
    /// The superblock's other copy cannot be read, is none, or is of an earlier step of a growth.
    pub superblock: bool,
}

/// Applies `replay` to an open volume.
pub fn recover(volume: &Volume, replay: Replay, behind: Behind) -> Result<Recovered, VolumeError> {
    let mut done = Recovered {
        records: replay.last - volume.meta().superblock.tail,
        committed: replay.tags.len() as u64,
        ..Recovered::default()
    };
    for (extent, generation) in &replay.tags {
        settle_tag(volume, Extent(*extent), *generation);
    }
    let pool = Pool::new(usize::MAX);
    for live in &replay.live {
        let extent = live.intent.extent;
        let Some((old, new)) = keys_of(&volume.keyring, live) else {
            volume.gates.bar(extent);
            done.barred += 1;
            continue;
        };
        let image = rolled_forward(volume, live, &old, &new, &pool)?;
        done.rolled_forward += 1;
        if volume.read_only {
            serve_from_memory(volume, image.whole)?;
            continue;
        }
        for part in image.changed {
            let bytes = &part.buf[..part.len];
            let place = volume.data_offset + part.offset;
            volume.data.write_at(place, bytes).map_err(VolumeError::io("roll an extent forward"))?;
            done.bytes_rewritten += part.len as u64;
        }
    }
    if !volume.read_only {
        make_durable(volume, &replay, behind)?;
    }
    Ok(done)
}

fn settle_tag(volume: &Volume, extent: Extent, generation: Generation) {
    if volume.tags.current(extent) != generation {
        volume.tags.set_current(extent, generation);
    }
    volume.tags.commit(extent);
    volume.meta().touch(extent);
}

/// Steps 3 and 4; before them what a crash between two copies left undone.
fn make_durable(
    volume: &Volume,
    replay: &Replay,
    Behind { stamp, table, superblock }: Behind,
) -> Result<(), VolumeError> {
    if superblock {
        // Before any page is written: a copy that can be read again later would name pages that are gone.
        volume.meta().mend_superblock()?;
    }
    let flush = || volume.data.flush().map_err(VolumeError::io("flush recovered data"));
    if stamp {
        let meta = volume.meta();
        let block = stamp::seal(&meta.seal, meta.superblock.epoch);
        let place = stamp::place(&meta.superblock.zones.stamp, meta.superblock.epoch);
        volume.data.write_at(place, &block).map_err(VolumeError::io("write the epoch stamp"))?;
        flush()?;
    }
    if table && volume.poisoned().is_none() {
        volume.meta().mend_table()?;
    }
    if replay.last == volume.meta().superblock.tail {
        return Ok(());
    }
    if rules::flushes_recovered() {
        flush()?;
    }
    let rolled: Vec<&LiveIntent> = replay.live.iter().filter(|live| keys_of(&volume.keyring, live).is_some()).collect();
    if rolled.len() < replay.live.len() {
        commit_rolled(volume, &rolled)?;
    }
    for live in rolled {
        settle_tag(volume, live.intent.extent, outcome(live));
    }
    volume.meta().checkpoint(&volume.tags)
}

/// Intents that stay live pin the tail, and the next open replays what was rolled forward beside them: so that it finds it
/// settled, a record commits it before the tags say so.
fn commit_rolled(volume: &Volume, rolled: &[&LiveIntent]) -> Result<(), VolumeError> {
    let mut meta = volume.meta();
    for LiveIntent { sequence, intent } in rolled.iter().copied() {
        meta.log.rolled_forward(intent.extent, *sequence, intent.old, intent.new);
    }
    let commits = meta.log.ready_commits();
    if commits.is_empty() {
        return Ok(());
    }
    let record = meta.log.append(commits, Vec::new())?;
    meta.write_record(&record)?;
    meta.flush()?;
    meta.log.flushed(record.sequence, &[]);
    Ok(())
}

/// The generation a live intent is brought to.
pub(super) fn outcome(live: &LiveIntent) -> Generation {
    if rules::converts() == Side::Old { live.intent.new } else { live.intent.old }
}

/// An extent under its new generation: all of it, and the parts that differ from the device.
struct RolledForward {
    whole: NewImage,
    changed: Vec<Part>,
}

fn rolled_forward(
    volume: &Volume,
    live: &LiveIntent,
    old: &GenerationKey,
    new: &GenerationKey,
    pool: &Pool,
) -> Result<RolledForward, VolumeError> {
    let extent = live.intent.extent;
    let (first, end) = volume.shape().extent_range(extent.0);
    let mut image =
        RolledForward { whole: NewImage { extent, generation: outcome(live), parts: Vec::new() }, changed: Vec::new() };
    let mut at = first;
    while at < end {
        let len = PART.min(end - at) as usize;
        let mut buf = take(pool, len)?;
        let changed = match &live.intent.image {
            Image::Ciphertext(ciphertext) => {
                // Not read: what stands there may be torn, even unreadable.
                let from = (at - first) as usize;
                buf[..len].copy_from_slice(&ciphertext[from..from + len]);
                true
            }
            Image::Fingerprints(_) => {
                let place = volume.data_offset + at;
                volume.data.read_at(place, &mut buf[..len]).map_err(VolumeError::io("read an extent to recover"))?;
                convert(volume, live, old, new, at, &mut buf[..len])
            }
        };
        let part = Part { offset: at, len, buf: Arc::new(buf) };
        if changed {
            image.changed.push(part.clone());
        }
        image.whole.parts.push(part);
        at += len as u64;
    }
    Ok(image)
}

fn take(pool: &Pool, len: usize) -> Result<Buf, VolumeError> {
    pool.take(len).ok_or_else(|| VolumeError::Refused("no memory to recover an extent".into()))
}

/// Brings the granules of `data` that are under the old key under the new one; whether any was.
fn convert(
    volume: &Volume,
    live: &LiveIntent,
    old: &GenerationKey,
    new: &GenerationKey,
    offset: u64,
    data: &mut [u8],
) -> bool {
    let shape = volume.shape();
    let granule = shape.granule as usize;
    let unit = shape.granule.max(old.cipher.data_unit()).max(new.cipher.data_unit()) as usize;
    let extent_first = shape.extent_range(live.intent.extent.0).0;
    let mut changed = false;
    let mut at = offset;
    for block in data.chunks_mut(unit) {
        let index = ((at - extent_first) / granule as u64) as usize;
        let sides: Vec<Side> = block
            .chunks(granule)
            .enumerate()
            .map(|(step, bytes)| match expected(&live.intent, index + step) {
                Some(print) => classify(&volume.prints, print, bytes),
                None => Side::New,
            })
            .collect();
        if sides.contains(&rules::converts()) {
            convert_block(old, new, at, block, granule, &sides);
            changed = true;
        }
        at += block.len() as u64;
    }
    changed
}

/// One block of whole data units, some of whose granules are old: each granule is decrypted under its own key.
fn convert_block(
    old: &GenerationKey,
    new: &GenerationKey,
    offset: u64,
    block: &mut [u8],
    granule: usize,
    sides: &[Side],
) {
    let holes: Vec<bool> = block.chunks(HOLE_SLICE).map(is_zero).collect();
    let mut under_old = block.to_vec();
    old.cipher.decrypt(offset, &mut under_old);
    let mut plain = block.to_vec();
    new.cipher.decrypt(offset, &mut plain);
    for (index, side) in sides.iter().enumerate() {
        if *side == Side::Old {
            let range = index * granule..(index + 1) * granule;
            plain[range.clone()].copy_from_slice(&under_old[range]);
        }
    }
    let target = if rules::converts() == Side::Old { new } else { old };
    target.cipher.encrypt(offset, &mut plain);
    for (index, hole) in holes.iter().enumerate() {
        if *hole {
            plain[index * HOLE_SLICE..(index + 1) * HOLE_SLICE].fill(0);
        }
    }
    block.copy_from_slice(&plain);
}

/// Read-only: the extent stays held and is read from its image for as long as the volume is open.
fn serve_from_memory(volume: &Volume, image: NewImage) -> Result<(), VolumeError> {
    let extent = image.extent;
    if volume.gates.try_hold(extent, || true) == Held::Busy {
        return Err(VolumeError::Refused(format!("extent {extent} is busy while the volume is being opened")));
    }
    volume.gates.start_rewrite(extent, Arc::new(image));
    Ok(())
}
