//! The rules of the scheme, one function each, so that a test can drop one and show that the crash suite notices.
//!
//! In a release build a rule is what its function says without [`dropped`], which is constantly false there. A debug build has
//! [`drop_r0`] besides, for a daemon that `tests/torture` must catch.
//! REENCRYPTION.md says why each is needed.

use super::flush::FlushGroup;
use super::replay::Side;
use crate::format::intents::Commit;
use crate::format::layout::WriteMode;
use crate::units::{Extent, Generation};

/// A rule that a test may drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// An extent is taken only behind a flush.
    R0,
    /// A ring slot is reused only when its record is dead.
    SlotReuse,
    /// A checkpoint's tail stays before the oldest live intent.
    TailBeforeLive,
    /// A hold ends only when the data is written.
    ReleaseAfterData,
    /// Data is issued only for durable intents.
    IntentBeforeData,
    /// A commit is written only for durable data.
    DataBeforeCommit,
    /// Recovery flushes before it reads.
    FlushBeforeRecovery,
    /// Recovered data is durable before the tags say so.
    FlushRecovered,
    /// A commit settles its intent for ever.
    StaleIntentFence,
    /// A checkpoint carries committed tags only.
    CommittedTagsOnly,
    /// Recovery rolls forward.
    RollForward,
    /// In journal mode a hold ends with the durable commit.
    JournalHold,
    /// An extent has one intent at a time.
    OneIntent,
    /// One superblock copy at most is in the cache.
    OneSuperblock,
    /// Tag pages are written only while the newest superblock is durable.
    PagesBehindSuperblock,
    /// Overlapping writes run one after another.
    ArrivalOrder,
    /// A rewrite waits for the reads that began on the device.
    ReadersFirst,
    /// A worker that ends leaves nobody waiting.
    LeaveInOrder,
    /// Where the old stamp stood is zeroed before a grown volume is used.
    OldStampZeroed,
    /// A growth leaves no record that was written for a shorter last extent.
    RingEmptied,
    /// A canary is erased only when the table says that its key is destroyed.
    CanaryLast,
    /// A volume whose extents carry a revoked generation opens.
    RevokedTags,
    /// A wrap is proven before others go.
    WrapsProven,
    /// A wrap is added before others go.
    AddBeforeRemove,
    /// A key is proven by its canary before it is prepared.
    CanaryFirst,
    /// A prepared key is durable before anybody is told.
    PreparedDurable,
}

#[cfg(test)]
thread_local! {
    static DROPPED: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}

/// Drops a rule for everything this thread does.
#[cfg(test)]
pub fn drop_rule(rule: Option<Rule>) {
    DROPPED.set(rule);
}

#[cfg(test)]
fn dropped(rule: Rule) -> bool {
    DROPPED.get() == Some(rule)
}

#[cfg(all(not(test), debug_assertions))]
static WITHOUT_R0: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Drops R0 for everything this process does from now on: it loses data. A release build does not have it.
#[cfg(all(not(test), debug_assertions))]
pub fn drop_r0() {
    WITHOUT_R0.store(true, std::sync::atomic::Ordering::Relaxed);
}

#[cfg(all(not(test), debug_assertions))]
fn dropped(rule: Rule) -> bool {
    matches!(rule, Rule::R0) && WITHOUT_R0.load(std::sync::atomic::Ordering::Relaxed)
}

#[cfg(all(not(test), not(debug_assertions)))]
const fn dropped(_: Rule) -> bool {
    false
}

/// R0: an extent may be taken only if its last client write is behind a flush that started after it completed.
pub fn r0_holds(flushes: &FlushGroup, extent: Extent) -> bool {
    dropped(Rule::R0) || flushes.is_clean(extent)
}

/// A slot is free for record `next` if the record in it is not behind `tail`.
pub fn slot_is_free(next: u64, tail: u64, slots: u32) -> bool {
    dropped(Rule::SlotReuse) || next - tail <= u64::from(slots)
}

/// A checkpoint starts when half the ring is in use.
pub fn checkpoint_is_due(in_use: u64, slots: u32) -> bool {
    !dropped(Rule::SlotReuse) && in_use * 2 >= u64::from(slots)
}

/// The newest record that a checkpoint makes dead: everything durable, but nothing from the oldest live intent on.
pub fn tail_before_live(durable: u64, oldest_live: Option<u64>) -> u64 {
    match oldest_live {
        Some(oldest) if !dropped(Rule::TailBeforeLive) => (oldest - 1).min(durable),
        _ => durable,
    }
}

/// Whether the hold of an extent ends already when its data is issued: never.
pub fn releases_before_data() -> bool {
    dropped(Rule::ReleaseAfterData)
}

/// Whether a step must flush although it wrote no data: its intents must be durable before their data is issued.
pub fn flushes_intents() -> bool {
    !dropped(Rule::IntentBeforeData)
}

/// Whether data counts as durable before the flush: never.
pub fn commits_before_flush() -> bool {
    dropped(Rule::DataBeforeCommit)
}

/// Whether recovery flushes what the last owner left in the cache, unless it may not write.
pub fn flushes_before_recovery(read_only: bool) -> bool {
    !read_only && !dropped(Rule::FlushBeforeRecovery)
}

/// Whether recovered data is flushed before the checkpoint that says so.
pub fn flushes_recovered() -> bool {
    !dropped(Rule::FlushRecovered)
}

/// The fence: a commit settles the intent it names and any older one; a newer intent stays.
pub fn commit_settles(commit: &Commit, intent: u64) -> bool {
    !dropped(Rule::StaleIntentFence) && intent <= commit.intent
}

/// Whether a live intent that does not fit the extent's tag is a contradiction, which is refused.
pub fn misfit_is_contradiction() -> bool {
    !dropped(Rule::StaleIntentFence)
}

/// What a checkpoint says of an extent whose two tags differ.
pub fn checkpointed(committed: Generation, current: Generation) -> Generation {
    if dropped(Rule::CommittedTagsOnly) { current } else { committed }
}

/// The granules that recovery converts: those still under the old key.
pub fn converts() -> Side {
    if dropped(Rule::RollForward) { Side::New } else { Side::Old }
}

/// Whether the hold ends when the data is written; otherwise it ends with the durable commit.
pub fn releases_with_data(mode: WriteMode) -> bool {
    mode == WriteMode::InPlace || dropped(Rule::JournalHold)
}

/// Whether an extent with an intent in flight may get another one beside it: never.
pub fn allows_second_intent() -> bool {
    dropped(Rule::OneIntent)
}

/// Whether a write waits for one in flight that it overlaps.
pub fn waits_for_overlapping() -> bool {
    !dropped(Rule::ArrivalOrder)
}

/// Whether the device is overwritten only when the reads that began on it are done.
pub fn waits_for_readers() -> bool {
    !dropped(Rule::ReadersFirst)
}

/// Whether a growth zeroes the place of the old stamp, which lies in the data from then on.
pub fn zeroes_old_stamp() -> bool {
    !dropped(Rule::OldStampZeroed)
}

/// Whether a growth forgets the ring's records: if the last extent was `short`, one of them may give its length of before.
pub fn empties_ring(short: bool) -> bool {
    short && !dropped(Rule::RingEmptied)
}

/// Whether new wraps are read back from the device and opened before old ones are removed.
pub fn proves_wraps() -> bool {
    !dropped(Rule::WrapsProven)
}

/// Whether new wraps are durable before old ones are removed.
pub fn adds_before_removing() -> bool {
    !dropped(Rule::AddBeforeRemove)
}

/// Whether the canary of a new key is on the device, and proven, before the table names the key: opening a volume asks for it.
pub fn proves_before_preparing() -> bool {
    !dropped(Rule::CanaryFirst)
}

/// Whether a prepared key is durable before it is told to others, who may then begin to use it.
pub fn prepares_durably() -> bool {
    !dropped(Rule::PreparedDurable)
}

/// Whether a worker that ends gives up its places at gates and its flushes.
pub fn leaves_in_order() -> bool {
    !dropped(Rule::LeaveInOrder)
}

/// Whether the superblock in the cache must be flushed before its other copy is written.
pub fn flushes_superblock_first(cached: bool) -> bool {
    cached && !dropped(Rule::OneSuperblock)
}

/// Whether the superblock in the cache must be flushed before tag pages are written: the pages it no longer names are the
/// ones that count if a crash takes it.
pub fn flushes_superblock_before_pages(cached: bool) -> bool {
    cached && !dropped(Rule::PagesBehindSuperblock)
}

/// Whether a canary outlives its key: without it a destruction that did not come to pass could not be withdrawn.
pub fn erases_canary_last() -> bool {
    !dropped(Rule::CanaryLast)
}

/// Whether an extent may carry a generation whose key was withdrawn.
pub fn accepts_revoked_tags() -> bool {
    !dropped(Rule::RevokedTags)
}
