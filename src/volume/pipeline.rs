//! Rewriting extents in batches: one epoch of the pipeline per call of [`Pipeline::step`].
//!
//! In epoch *e* (REENCRYPTION.md, "The pipeline"):
//! 1. **hold** batch e+1: new client writes to it wait, reads go on (rule R0: only what is behind a flush);
//! 2. read batch e+1, fingerprint, decrypt, encrypt into images;
//! 3. write batch e in place, its intents being durable; tags change and holds end extent by extent as writes complete
//!    (journal mode: holds end when the commit is durable). Batch e−1, which is durable, is read back meanwhile;
//! 4. write one record: commits of batch e−1, intents of batch e+1;
//! 5. **flush**: the data of e, the commits of e−1 and the intents of e+1 are durable.
//!
//! Steps 2 and 3 are an [`Epoch`]'s tasks, done extent by extent by one or more lanes; all else is one thread's.
//! Every half ring a checkpoint rides along: pages before one flush, the superblock before the next.
//! Invariants: [`IntentLog`](super::log::IntentLog) refuses any step out of order; a failure after an intent is written
//! poisons the volume, and every write parked behind a hold is answered.

mod counters;
mod durable;
mod epoch;
mod lane;
mod lanes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use self::epoch::{Epoch, Share};
use self::lane::Lane;
use self::lanes::Lanes;
use super::Volume;
use super::checkpoint::Checkpoint;
use super::error::VolumeError;
use super::gates::Held;
use super::image::Image;
use super::rewrite::Digest;
use super::rules;
use crate::engine::{Engine, Pool};
use crate::format::intents::Intent;
use crate::units::{Extent, Generation};

pub use self::counters::Counters;
#[cfg(test)]
pub use self::lane::READ_BACK;

/// An extent skipped this often because a client keeps writing to it is held, flushed and taken.
pub const SKIPS_MAX: u8 = 8;

/// How long the pipeline waits for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long writes in flight may keep a forced hold waiting before it is tried again later.
    pub drain: Duration,
    /// A client that flushed this recently will flush again soon: wait for its flush instead of adding one.
    pub client_flushed: Duration,
    /// How long to wait for it.
    pub client_flush: Duration,
}

impl Patience {
    /// What serves a device.
    pub const USUAL: Patience = Patience {
        drain: Duration::from_millis(500),
        client_flushed: Duration::from_millis(20),
        client_flush: Duration::from_millis(10),
    };
    /// For one thread that plays all parts: nobody else would come.
    pub const NONE: Patience =
        Patience { drain: Duration::ZERO, client_flushed: Duration::ZERO, client_flush: Duration::ZERO };
}

/// One extent of a batch.
#[derive(Clone)]
pub(super) struct Member {
    pub image: Arc<Image>,
    pub digest: Option<Digest>,
}

/// The pipeline of one volume.
pub struct Pipeline {
    volume: Arc<Volume>,
    pool: Pool,
    lanes: Lanes,
    beside_clients: bool,
    /// Intents durable, data not issued: written next, the extents are held until then.
    current: Vec<Member>,
    /// Data written, not yet behind a flush.
    written: Vec<Member>,
    /// Data durable, to be read back.
    durable: Vec<Member>,
    /// Journal mode: data written, hold kept until the commit is durable.
    awaiting_commit: Vec<Extent>,
    checkpoint: Option<Checkpoint>,
    skips: HashMap<Extent, u8>,
    patience: Patience,
    counters: Counters,
}

impl Pipeline {
    /// A pipeline with an engine of its own.
    pub fn new(volume: Arc<Volume>, engine: Box<dyn Engine>) -> Pipeline {
        let pool = Pool::new(usize::MAX);
        let lanes = Lanes::new(Lane::new(&volume, engine, pool.clone()));
        Pipeline {
            volume,
            pool,
            lanes,
            beside_clients: false,
            current: Vec::new(),
            written: Vec::new(),
            durable: Vec::new(),
            awaiting_commit: Vec::new(),
            checkpoint: None,
            skips: HashMap::new(),
            patience: Patience::USUAL,
            counters: Counters::default(),
        }
    }

    /// Adds a thread that shares the work, with an engine of its own.
    pub fn add_helper(&mut self, engine: Box<dyn Engine>) -> Result<(), VolumeError> {
        let lane = Lane::new(&self.volume, engine, self.pool.clone());
        self.lanes.add(lane).map_err(VolumeError::io("start a thread"))
    }

    /// Whether clients are active: helpers then rest, which leaves the other processors to them, and holds end sooner.
    pub fn set_beside_clients(&mut self, beside_clients: bool) {
        self.beside_clients = beside_clients;
    }

    /// Changes how long it waits for others.
    pub fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether extents are held.
    pub fn holds_any(&self) -> bool {
        !self.current.is_empty() || !self.awaiting_commit.is_empty()
    }

    /// Whether nothing is under way: no hold, no live intent of this pipeline, no half checkpoint.
    pub fn is_idle(&self) -> bool {
        self.current.is_empty()
            && self.written.is_empty()
            && self.durable.is_empty()
            && self.awaiting_commit.is_empty()
            && self.checkpoint.is_none()
            && self.volume.meta().log.ready_commits().is_empty()
            && self.volume.meta().log.is_settled()
    }

    /// One epoch: takes the next batch from `candidates` towards `target`, moves the earlier ones on.
    /// `sample` says which extents are read back, in a million.
    pub fn step(&mut self, candidates: &[Extent], target: Generation, sample: u32) -> Result<(), VolumeError> {
        self.refuse_if_poisoned()?;
        if !candidates.is_empty() {
            self.volume.may_rewrite()?;
        }
        let held = self.hold(candidates, target)?;
        let mut share = self.work((target, sample), &held);
        if let Some(error) = share.failure {
            return Err(self.fail(&held, error));
        }
        for (extent, _) in &share.unreadable {
            self.volume.gates.release(*extent);
        }
        share.fresh.sort_unstable_by_key(|(member, _)| member.image.extent);
        let (members, intents) = share.fresh.into_iter().unzip();
        self.durable = match self.commit(members, intents) {
            Ok(written) => written.into_iter().filter(|member| member.digest.is_some()).collect(),
            Err(error) => return Err(self.fail(&held, error)),
        };
        let unreadable = share.unreadable.into_iter().next().map(|(_, error)| error);
        share.not_read_back.or(unreadable).map_or(Ok(()), Err)
    }

    /// Ends the holds on extents whose intents are durable by writing them now, before a pause; the next step's flush
    /// covers the data. In journal mode a hold ends with the commit, so that takes steps of their own.
    pub fn end_holds(&mut self, target: Generation) -> Result<(), VolumeError> {
        self.refuse_if_poisoned()?;
        let share = self.work((target, 0), &[]);
        if let Some(error) = share.failure {
            return Err(self.fail(&[], error));
        }
        let unread = self.step_while(target, |pipeline| !pipeline.awaiting_commit.is_empty())?;
        share.not_read_back.or(unread).map_or(Ok(()), Err)
    }

    /// Steps without new candidates until nothing is under way; ends with every commit checkpointed.
    pub fn drain(&mut self, target: Generation) -> Result<(), VolumeError> {
        let unread = self.step_while(target, |pipeline| !pipeline.is_idle())?;
        if self.volume.meta().log.in_use() > 0 {
            self.refuse_if_poisoned()?;
            let done = self.volume.meta().checkpoint(&self.volume.tags);
            done.map_err(|error| self.fail(&[], error))?;
        }
        unread.map_or(Ok(()), Err)
    }

    /// Steps without new candidates for as long as there is `more` to do. What cannot be read back is told at the end:
    /// it must not leave an extent held that nobody comes back for.
    fn step_while(
        &mut self,
        target: Generation,
        more: impl Fn(&Pipeline) -> bool,
    ) -> Result<Option<VolumeError>, VolumeError> {
        let mut unread = None;
        while more(self) {
            match self.step(&[], target, 0) {
                Err(error @ VolumeError::NotReadBack { .. }) => unread = unread.or(Some(error)),
                stepped => stepped?,
            }
        }
        Ok(unread)
    }

    /// A flush that failed, whoever asked for it, may have lost what this pipeline wrote: nothing may build on it.
    fn refuse_if_poisoned(&self) -> Result<(), VolumeError> {
        self.volume.poisoned().map_or(Ok(()), |reason| Err(VolumeError::Poisoned(reason.to_string())))
    }

    /// Step 1.
    fn hold(&mut self, candidates: &[Extent], target: Generation) -> Result<Vec<Extent>, VolumeError> {
        let mut held = Vec::new();
        let mut forced = false;
        for extent in candidates {
            let busy = self.volume.meta().log.is_busy(*extent);
            let needless = self.volume.tags.current(*extent) == target;
            if busy || needless || self.volume.keyring.get(self.volume.tags.current(*extent)).is_none() {
                continue;
            }
            match self.volume.gates.try_hold(*extent, || rules::r0_holds(&self.volume.flushes, *extent)) {
                Held::Yes => held.push(*extent),
                Held::Busy if self.is_overdue(*extent) => {
                    if self.volume.gates.hold_and_drain(*extent, self.patience.drain) {
                        self.counters.forced += 1;
                        forced = true;
                        held.push(*extent);
                    }
                }
                Held::Busy => self.counters.skipped += 1,
            }
        }
        for extent in &held {
            self.skips.remove(extent);
        }
        if forced && let Err(error) = self.flush_data() {
            self.let_go(&held);
            return Err(error);
        }
        Ok(held)
    }

    fn is_overdue(&mut self, extent: Extent) -> bool {
        let skips = self.skips.entry(extent).or_insert(0);
        *skips = skips.saturating_add(1);
        *skips > SKIPS_MAX
    }

    fn let_go(&self, held: &[Extent]) {
        for extent in held {
            self.volume.gates.release(*extent);
        }
    }

    /// Steps 2 and 3: the batch that is `held` is read and the current one written; what is durable is read back.
    fn work(&mut self, towards: (Generation, u32), held: &[Extent]) -> Share {
        let (current, durable) = (std::mem::take(&mut self.current), std::mem::take(&mut self.durable));
        let cached = durable.first().map(|member| member.image.extent).and_then(|extent| {
            let source = self.volume.data.drop_cache().err()?;
            let source = Box::new(VolumeError::Io { what: "drop the cache before reading back", source });
            Some(VolumeError::NotReadBack { extent, source })
        });
        let epoch = Arc::new(Epoch::new(&self.volume, towards, self.beside_clients, &current, held, durable));
        let mut share = self.lanes.run(&epoch, self.beside_clients);
        share.not_read_back = cached.or(share.not_read_back);
        self.counters = self.counters + share.counters;
        self.awaiting_commit.append(&mut share.awaiting_commit);
        match share.failure {
            None => self.written.extend(current),
            Some(_) => self.current = current,
        }
        share
    }

    /// Steps 4 and 5, and what the flush has settled. Gives the batch whose data is durable now.
    fn commit(&mut self, members: Vec<Member>, intents: Vec<Intent>) -> Result<Vec<Member>, VolumeError> {
        self.current = members;
        if rules::commits_before_flush() {
            let written: Vec<Extent> = self.written.iter().map(|member| member.image.extent).collect();
            self.volume.meta().log.flushed(0, &written);
        }
        let sequence = self.write_record(intents)?;
        let beginning = self.begin_checkpoint_if_due()?;
        if !self.written.is_empty() || rules::flushes_intents() {
            self.flush_all()?;
        }
        let written = std::mem::take(&mut self.written);
        self.counters.batches += u64::from(!written.is_empty());
        let extents: Vec<Extent> = written.iter().map(|member| member.image.extent).collect();
        self.settle(sequence, &extents);
        if let Some(named) = self.checkpoint.take() {
            self.volume.meta().end_checkpoint(&named);
        }
        if let Some(begun) = beginning {
            self.volume.meta().name_checkpoint(&begun)?;
            self.checkpoint = Some(begun);
        }
        Ok(written)
    }

    /// Something failed after intents were written or data issued: nobody may write until recovery has looked.
    fn fail(&mut self, held: &[Extent], error: VolumeError) -> VolumeError {
        self.volume.poison(&format!("re-encryption failed: {error}"));
        self.let_go(held);
        error
    }
}

impl Drop for Pipeline {
    /// A panic in the middle must not leave writes waiting behind holds that nobody will end.
    fn drop(&mut self) {
        if std::thread::panicking() && self.holds_any() {
            self.volume.poison("re-encryption broke off in the middle of a batch");
        }
    }
}

/// Whether an extent is chosen for reading back: the same ones however often the rotation restarts.
pub(super) fn wanted(extent: Extent, target: Generation, sample: u32) -> bool {
    let seed = (u64::from(extent.0) << 32 | u64::from(target.0)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (((seed >> 32) * 1_000_000) >> 32) < u64::from(sample)
}
