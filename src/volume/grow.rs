//! Growing a volume while clients go on.
//!
//! Durable steps: (1) the data backing is as long as it must be, and what the volume gets there reads as zeros; (2) the
//! epoch stamp stands behind the new end as well, both copies, flushed; (3) **the commit point**: one superblock with the
//! new size and zones, the checkpoint that tags the new extents and the place that is still to be zeroed, then its twin;
//! (4) that place, where the old stamp stood, is zeroed and flushed; (5) the superblock without it, both copies. Only then
//! does anybody see the new size. A crash before (3) leaves the volume as it was, one before (5) is finished by the next
//! open for writing, which has zeroed the place again before any client could write to it.
//!
//! Invariants: nothing that the durable superblock names is touched before the next one is durable. No intent is live, and
//! no record in the ring that was written for another length of the last extent. Whatever fails before the commit begins,
//! a flush excepted, changes nothing; whatever fails later poisons the volume, which is still read at its old size.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::create::zero;
use super::error::VolumeError;
use super::meta::Meta;
use super::{Volume, rules};
use crate::format::growth::{Growth, grow};
use crate::format::layout::{Place, Shape, TAGS_PER_PAGE};
use crate::format::stamp;
use crate::units::{BLOCK, Extent, align_up};

/// Bytes zeroed between two questions whether to go on.
const STEP: u64 = 64 << 20;

impl Volume {
    /// Makes the volume `size` bytes large; gives its size before. `progress` is told bytes zeroed and bytes to zero, and
    /// says whether to go on. No pipeline may be at work: whoever drives one sees to that.
    ///
    /// # Errors
    /// It is refused, with the reason, or a device failed; [`Volume::poisoned`] says whether anything was changed.
    pub fn grow(self: &Arc<Self>, size: u64, progress: &mut dyn FnMut(u64, u64) -> bool) -> Result<u64, VolumeError> {
        self.writable()?;
        let _claim = self.shape.claim().map_err(|why| refused(why.into()))?;
        let shape = self.shape();
        if size == shape.size {
            return Ok(size);
        }
        allowed(&shape, size)?;
        let growth = {
            let meta = self.meta();
            settled(&meta)?;
            grow(&meta.superblock.zones, self.detached, size)
        };
        let growth =
            growth.ok_or_else(|| refused("something of it stands behind its data, where it would grow".into()))?;
        self.make_room(&growth, progress)?;
        let mut meta = self.meta();
        settled(&meta)?;
        self.move_stamp(&meta, &growth)?;
        let committed = self
            .flushes
            .run(&*self.data)
            .map_err(VolumeError::io("flush the grown backing"))
            .and_then(|()| self.commit_growth(&mut meta, &growth, size));
        drop(meta);
        if let Err(error) = committed {
            self.poison(&format!("growing to {size} bytes failed: {error}"));
            return Err(error);
        }
        Ok(shape.size)
    }

    /// Step 1.
    fn make_room(&self, growth: &Growth, progress: &mut dyn FnMut(u64, u64) -> bool) -> Result<(), VolumeError> {
        let found = self.data.len().map_err(VolumeError::io("ask the data backing's size"))?;
        if found < growth.data_len {
            self.data.set_len(growth.data_len).map_err(|source| no_room(source, found, growth.data_len))?;
        }
        // What a longer backing holds there is somebody's; what it gains reads as zeros.
        let Range { start, end } = growth.fresh.offset..growth.fresh.end().min(align_up(found, BLOCK));
        let mut at = start;
        while at < end {
            let step = STEP.min(end - at);
            zero(&*self.data, at, step, &mut |_, _| {})?;
            at += step;
            if !progress(at - start, end - start) {
                return Err(refused("it was cut short".into()));
            }
        }
        Ok(())
    }

    /// Step 2, without its flush.
    fn move_stamp(&self, meta: &Meta, growth: &Growth) -> Result<(), VolumeError> {
        let zone = growth.zones.stamp;
        let block = stamp::seal(&meta.seal, meta.superblock.epoch);
        for copy in 0..zone.length / BLOCK {
            let place = zone.offset + copy * BLOCK;
            self.data.write_at(place, &block).map_err(VolumeError::io("write the epoch stamp"))?;
        }
        Ok(())
    }

    /// Steps 3 to 5.
    fn commit_growth(&self, meta: &mut Meta, growth: &Growth, size: u64) -> Result<(), VolumeError> {
        let (before, after) = (self.shape(), Shape { size, ..self.shape() });
        let short = !before.size.is_multiple_of(before.extent_size);
        if rules::empties_ring(short) && meta.superblock.tail > 0 {
            // The last extent becomes longer than the records say that name it. Until both superblock copies know that all
            // records are dead, the older one may need them.
            meta.mend_superblock()?;
            meta.empty_ring()?;
        }
        self.tags.grow(after.extents(), meta.table.rotation.target);
        self.flushes.grow(after.extents());
        for page in before.extents() / TAGS_PER_PAGE..after.extents().div_ceil(TAGS_PER_PAGE) {
            meta.touch(Extent(page * TAGS_PER_PAGE));
        }
        meta.commit_growth(&self.tags, |superblock| {
            superblock.shape.size = size;
            superblock.zones = growth.zones;
            superblock.unfinished = growth.stale;
        })?;
        self.data_len.store(growth.data_len, Ordering::Relaxed);
        self.end_growth(meta)
    }

    /// Finishes what a crash left of a growth. Nobody is served yet.
    pub(super) fn finish_growth(&self) -> Result<(), VolumeError> {
        self.end_growth(&mut self.meta())
    }

    /// Steps 4 and 5.
    fn end_growth(&self, meta: &mut Meta) -> Result<(), VolumeError> {
        if let Some(Place { offset, length }) = meta.superblock.unfinished {
            if rules::zeroes_old_stamp() {
                zero(&*self.data, offset, length, &mut |_, _| {})?;
                self.flushes.run(&*self.data).map_err(VolumeError::io("flush where the old stamp stood"))?;
            }
            meta.commit_superblock(|superblock| superblock.unfinished = None)?;
        }
        self.shape.show(meta.superblock.shape.size);
        Ok(())
    }
}

fn refused(why: String) -> VolumeError {
    VolumeError::Refused(format!("the volume cannot grow: {why}"))
}

/// Whether a volume of this shape may have `size` bytes one day.
fn allowed(shape: &Shape, size: u64) -> Result<(), VolumeError> {
    let (now, most) = (shape.size, shape.max_size);
    if size < now {
        let why = format!("it has {now} bytes, and shrinking to {size} would throw away what stands at its end");
        return Err(VolumeError::Refused(format!("the volume cannot shrink: {why}")));
    }
    if !size.is_multiple_of(BLOCK) {
        return Err(refused(format!("{size} bytes are no multiple of {BLOCK}")));
    }
    if size > most {
        return Err(refused(format!(
            "its metadata have room for {most} bytes, as --max-size said when it was created, and {size} are asked for"
        )));
    }
    Ok(())
}

/// Whether no record of the ring matters: a live intent names an extent as long as it was when it was written.
fn settled(meta: &Meta) -> Result<(), VolumeError> {
    match meta.log.in_use() == 0 && meta.log.live_intents() == 0 {
        true => Ok(()),
        false => Err(refused("a rotation has records that are not settled: pause it, or let it end, first".into())),
    }
}

fn no_room(source: std::io::Error, found: u64, needed: u64) -> VolumeError {
    match source.kind() {
        std::io::ErrorKind::Unsupported => refused(format!(
            "the device under it has {found} bytes, and {needed} are needed, metadata included: enlarge the device first"
        )),
        _ => VolumeError::Io { what: "lengthen the data backing", source },
    }
}
