//! A lane does tasks of an epoch on an engine of its own: I/O of some extents is under way while the bytes of others pass
//! through the ciphers.
//!
//! Invariants: what a lane has begun it ends before [`Lane::run`] returns, unless its engine breaks. Memory answers on the
//! calling thread, so there one part at a time is moved, and is still in the cache when its turn at the ciphers comes; of
//! a device some parts are asked for at once.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::Member;
use super::epoch::{Epoch, Share, Task};
use crate::engine::{Buf, CLASS_MAX, Data, Done, Engine, InlinePolicy, Op, Pool};
use crate::units::Extent;
use crate::volume::Volume;
use crate::volume::error::VolumeError;
use crate::volume::executor::Slab;
use crate::volume::holes;
use crate::volume::keyring::GenerationKey;
use crate::volume::rewrite::{Digest, Rewrite};
use crate::volume::rules;

/// Set in the tokens of reads that only verify.
pub const READ_BACK: u64 = 1 << 63;

/// Bytes of one operation on memory: they and what is made of them fit the second-level cache.
const MEMORY_PART: u64 = 256 << 10;
/// Bytes of one operation on a device: one pool buffer.
const DEVICE_PART: u64 = CLASS_MAX as u64;
/// Operations a device has at a time.
const DEVICE_DEPTH: usize = 16;

/// A task under way: `left` of its parts are not done.
enum Running {
    Write { member: Member, left: usize },
    Read { extent: Extent, rewrite: Rewrite, left: usize, failure: Option<VolumeError> },
    ReadBack { member: Member, key: Arc<GenerationKey>, found: Digest, left: usize, failure: Option<VolumeError> },
}

/// See the module's head.
pub struct Lane {
    engine: Box<dyn Engine>,
    pool: Pool,
    running: Slab<Running>,
    /// Operations of running tasks that the engine has not been given yet.
    waiting: VecDeque<(u64, Op)>,
    /// Operations the engine has.
    flying: usize,
    /// The most it is given at a time.
    depth: usize,
    /// Bytes of one operation.
    part: u64,
    /// Known data of the volume: see [`Rewrite::runs`].
    dense: Range<u64>,
    done: Vec<Done>,
}

impl Lane {
    /// A lane for `volume`.
    pub fn new(volume: &Volume, engine: Box<dyn Engine>, pool: Pool) -> Lane {
        let memory = volume.caps.inline == InlinePolicy::Always && volume.data.fd().is_some();
        let (part, depth) = if memory { (MEMORY_PART, 1) } else { (DEVICE_PART, DEVICE_DEPTH) };
        Lane {
            engine,
            pool,
            running: Slab::default(),
            waiting: VecDeque::new(),
            flying: 0,
            depth,
            part,
            dense: 0..0,
            done: Vec::new(),
        }
    }

    /// Does tasks of `epoch` until none is left.
    pub fn run(&mut self, epoch: &Epoch) -> Share {
        let mut share = Share::default();
        loop {
            self.submit(epoch, &mut share);
            if self.flying == 0 {
                return share;
            }
            let mut done = std::mem::take(&mut self.done);
            if let Err(source) = self.engine.wait(None, &mut done) {
                self.fail(epoch, &mut share, VolumeError::Io { what: "wait for the ring", source });
                return share;
            }
            self.flying -= done.len();
            done.drain(..).for_each(|done| self.take(epoch, &mut share, done));
            self.done = done;
        }
    }

    fn submit(&mut self, epoch: &Epoch, share: &mut Share) {
        while self.flying < self.depth {
            if let Some((token, op)) = self.waiting.pop_front() {
                self.engine.submit(token, op);
                self.flying += 1;
                continue;
            }
            match epoch.next() {
                Some(Task::Write(member)) => self.begin_write(epoch, share, member),
                Some(Task::Read(extent)) => {
                    if let Err(error) = self.begin_read(epoch, share, extent) {
                        share.unreadable.push((extent, error));
                    }
                }
                Some(Task::ReadBack(member)) => {
                    if let Err(error) = self.begin_read_back(epoch, share, &member) {
                        read_back(epoch, share, &member, Err(error));
                    }
                }
                None => return,
            }
        }
    }

    fn fail(&mut self, epoch: &Epoch, share: &mut Share, error: VolumeError) {
        epoch.stop();
        self.waiting.clear();
        share.failure.get_or_insert(error);
    }

    fn begin_write(&mut self, epoch: &Epoch, share: &mut Share, member: Member) {
        let (volume, image) = (&epoch.volume, Arc::clone(&member.image));
        if !volume.meta().log.may_write(image.extent) {
            let error = VolumeError::Refused(format!("the intent of extent {} is not durable", image.extent));
            return self.fail(epoch, share, error);
        }
        volume.gates.start_rewrite(image.extent, Arc::clone(&image));
        if rules::releases_before_data() || image.parts.is_empty() {
            rewritten(volume, share, &member);
        }
        if image.parts.is_empty() {
            return;
        }
        let token = u64::from(self.running.insert(Running::Write { member, left: image.parts.len() }));
        for part in &image.parts {
            let (disk, offset) = (Arc::clone(&volume.data), volume.data_offset + part.offset);
            let data = Data::Shared(Arc::clone(&part.buf));
            self.waiting.push_back((token, Op::Write { disk, offset, data, range: 0..part.len, dsync: false }));
        }
    }

    fn begin_read(&mut self, epoch: &Epoch, share: &mut Share, extent: Extent) -> Result<(), VolumeError> {
        let rewrite = Rewrite::new(&epoch.volume, extent, epoch.target, epoch.reads_back(extent))?;
        let runs = rewrite.runs(&mut self.dense, self.part)?;
        let buffers = self.buffers(runs.iter().map(|run| (run.end - run.start) as usize))?;
        if runs.is_empty() {
            share.fresh.push(rewrite.finish());
            return Ok(());
        }
        let running = Running::Read { extent, rewrite, left: runs.len(), failure: None };
        let token = u64::from(self.running.insert(running));
        let starts = runs.iter().map(|run| run.start);
        self.waiting.extend(reads(&epoch.volume, token, starts.zip(buffers)));
        Ok(())
    }

    fn begin_read_back(&mut self, epoch: &Epoch, share: &mut Share, member: &Member) -> Result<(), VolumeError> {
        let parts = &member.image.parts;
        let key = epoch.volume.keyring.loaded(member.image.generation)?;
        let buffers = self.buffers(parts.iter().map(|part| part.len))?;
        let found = Digest::default();
        if parts.is_empty() {
            read_back(epoch, share, member, Ok(found));
            return Ok(());
        }
        let running = Running::ReadBack { member: member.clone(), key, found, left: parts.len(), failure: None };
        let token = READ_BACK | u64::from(self.running.insert(running));
        let starts = parts.iter().map(|part| part.offset);
        self.waiting.extend(reads(&epoch.volume, token, starts.zip(buffers)));
        Ok(())
    }

    /// Buffers with the lengths that are asked for.
    fn buffers(&self, lens: impl Iterator<Item = usize>) -> Result<Vec<(Buf, usize)>, VolumeError> {
        let buffers: Option<Vec<_>> = lens.map(|len| Some((self.pool.take(len)?, len))).collect();
        buffers.ok_or_else(|| VolumeError::Refused("no memory for a batch".into()))
    }

    /// An operation is done.
    fn take(&mut self, epoch: &Epoch, share: &mut Share, done: Done) {
        let slot = done.token as u32;
        let over = match (self.running.get_mut(slot), done.op) {
            (Running::Write { member, left }, _) => {
                if let Err(source) = done.result {
                    let error = VolumeError::Io { what: "write a re-encrypted extent", source };
                    return self.fail(epoch, share, error);
                }
                *left -= 1;
                if *left == 0 && !rules::releases_before_data() {
                    rewritten(&epoch.volume, share, member);
                }
                *left == 0
            }
            (Running::Read { rewrite, left, failure, .. }, Op::Read { offset, buf, range, .. }) => {
                *left -= 1;
                match done.result {
                    Ok(_) => rewrite.pass(offset - epoch.volume.data_offset, buf, range.len()),
                    Err(source) => *failure = Some(VolumeError::Io { what: "read an extent to re-encrypt", source }),
                }
                *left == 0
            }
            (Running::ReadBack { key, found, left, failure, .. }, Op::Read { offset, mut buf, range, .. }) => {
                *left -= 1;
                let (bytes, place) = (&mut buf[range], offset - epoch.volume.data_offset);
                match done.result {
                    Ok(_) => {
                        holes::decrypt(&key.other, place, bytes);
                        found.add(&epoch.volume.prints, place, bytes);
                    }
                    Err(source) => *failure = Some(VolumeError::Io { what: "read an extent back", source }),
                }
                *left == 0
            }
            _ => false,
        };
        if over {
            self.end(epoch, share, slot);
        }
    }

    /// A task is done.
    fn end(&mut self, epoch: &Epoch, share: &mut Share, slot: u32) {
        match self.running.remove(slot) {
            Running::Write { .. } => {}
            Running::Read { extent, failure: Some(error), .. } => share.unreadable.push((extent, error)),
            Running::Read { rewrite, .. } => share.fresh.push(rewrite.finish()),
            Running::ReadBack { member, found, failure, .. } => {
                read_back(epoch, share, &member, failure.map_or(Ok(found), Err));
            }
        }
    }
}

/// Reads of the volume's bytes from each place on, into the buffer beside it.
fn reads(
    volume: &Volume,
    token: u64,
    places: impl Iterator<Item = (u64, (Buf, usize))>,
) -> impl Iterator<Item = (u64, Op)> {
    places.map(move |(place, (buf, len))| {
        let (disk, offset) = (Arc::clone(&volume.data), volume.data_offset + place);
        (token, Op::Read { disk, offset, buf, range: 0..len })
    })
}

/// An extent's data is on the device: its tag changes; in place, its hold ends (rule R1 from here).
fn rewritten(volume: &Volume, share: &mut Share, member: &Member) {
    let (gates, image) = (&volume.gates, &member.image);
    gates.finish_rewrite(&volume.tags, image.extent, image.generation);
    let (first, end) = volume.shape().extent_range(image.extent.0);
    share.counters.extents += 1;
    share.counters.bytes += image.bytes();
    share.counters.holes += (end - first) - image.bytes();
    if member.digest.is_some() {
        gates.watch(image.extent);
    }
    if rules::releases_with_data(volume.mode()) {
        gates.release(image.extent);
    } else {
        share.awaiting_commit.push(image.extent);
    }
}

/// An extent was read back with this digest. A device that gives a wrong answer poisons the volume; one that gives none
/// has lost what no recovery brings back, so clients may go on.
fn read_back(epoch: &Epoch, share: &mut Share, member: &Member, found: Result<Digest, VolumeError>) {
    let (gates, extent) = (&epoch.volume.gates, member.image.extent);
    let touched = gates.was_touched(extent);
    gates.unwatch(extent);
    match found {
        _ if touched => share.counters.verify_skipped += 1,
        Ok(found) if Some(found) == member.digest => share.counters.verified += 1,
        Ok(_) => {
            epoch.stop();
            share.failure.get_or_insert(VolumeError::ReadBack { extent });
        }
        Err(source) => {
            share.not_read_back.get_or_insert(VolumeError::NotReadBack { extent, source: Box::new(source) });
        }
    }
}
