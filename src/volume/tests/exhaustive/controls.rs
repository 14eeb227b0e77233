//! Positive controls of the model: every rule of the scheme dropped in turn, and each is caught by name, with the way to it.

use super::search::explore;
use super::setting::{Lie, Setting};
use crate::format::layout::WriteMode;
use crate::volume::rules::Rule;

/// Explores without a rule, or with a lie, and wants a violation that says `wrong`.
fn must_be_caught(name: &str, rule: Option<Rule>, setting: Setting, wrong: &str) {
    let explored = explore(setting, rule);
    let Some(violation) = &explored.violation else {
        panic!("{name}: dropped, and the model shows nothing: {explored}");
    };
    println!("{name}: caught after {} states\n{violation}", explored.states);
    assert!(violation.contains(wrong), "{name}: caught, but not as {wrong:?}:\n{violation}");
}

/// Test, rule or lie, what is found, setting.
macro_rules! controls {
    (rules { $($name:ident: $rule:ident, $wrong:literal, { $($field:ident: $value:expr),* $(,)? };)* }
     lies { $($lie:ident: $which:expr, $lied:literal, { $($lie_field:ident: $lie_value:expr),* $(,)? };)* }) => {
        $(#[test]
        fn $name() {
            let setting = Setting { name: stringify!($name), $($field: $value,)* ..Setting::BASE };
            must_be_caught(stringify!($name), Some(Rule::$rule), setting, $wrong);
        })*
        $(#[test]
        fn $lie() {
            let setting = Setting { name: stringify!($lie), lie: $which, $($lie_field: $lie_value,)* ..Setting::BASE };
            must_be_caught(stringify!($lie), None, setting, $lied);
        })*
    };
}

controls! {
    rules {
        without_r0: R0, "WRONG KEY", {};
        with_early_slot_reuse: SlotReuse, "gap", { slots: 3, extents: 3, writes: 0 };
        with_a_tail_past_live_intents: TailBeforeLive, "WRONG KEY", { slots: 3 };
        with_holds_released_before_data: ReleaseAfterData, "WRONG KEY", {};
        without_a_flush_between_intent_and_data: IntentBeforeData, "WRONG KEY", {};
        without_a_flush_between_data_and_commit: DataBeforeCommit, "WRONG KEY", {};
        without_a_flush_before_recovery: FlushBeforeRecovery, "", {};
        without_a_flush_of_recovered_data: FlushRecovered, "WRONG KEY", { detached: true };
        without_the_fence_for_stale_intents: StaleIntentFence, "WRONG KEY", { extents: 1, targets: &[1, 2, 1] };
        with_current_tags_in_checkpoints: CommittedTagsOnly, "contradicts", { slots: 3, extents: 3, writes: 0 };
        with_recovery_rolling_back: RollForward, "WRONG KEY", {};
        with_journal_holds_released_early: JournalHold, "LOST", { mode: WriteMode::Journal };
        with_two_intents_of_an_extent: OneIntent, "contradicts", { extents: 1, targets: &[1, 2, 1], pauses: 1 };
        with_two_superblocks_in_the_cache: OneSuperblock, "both superblocks are torn", { superblocks: 1, writes: 0, slots: 3 };
        with_pages_written_beside_a_cached_superblock: PagesBehindSuperblock, "no copy of tag page 0 counts",
            { slots: 3, extents: 3, writes: 0 };
    }
    lies {
        with_fua_counted_as_a_flush: Some(Lie::FuaCleans), "WRONG KEY", { extents: 1, granules: 2, fuas: 1 };
        with_fingerprints_of_the_new_text: Some(Lie::FingerprintsOfNew), "WRONG KEY", {};
        with_a_hold_dropped_without_a_void: Some(Lie::DropsHold), "WRONG KEY", {};
        with_a_voided_hold_dropped_at_once: Some(Lie::DropsVoidedHold), "WRONG KEY", { voids: 1 };
        with_a_forced_hold_not_flushed: Some(Lie::ForcedWithoutFlush), "WRONG KEY", { forced: 1 };
        with_the_header_left_unflushed: Some(Lie::LeavesTheHeader), "WRONG KEY", { detached: true };
        with_an_earlier_flush_that_serves: Some(Lie::EarlierFlushServes), "WRONG KEY", {};
        with_a_checkpoint_named_before_its_flush: Some(Lie::NamesBeforeFlush), "open refuses",
            { slots: 3, extents: 3, writes: 0 };
        with_slots_freed_before_the_superblock_is_flushed: Some(Lie::FreesBeforeFlush), "gap",
            { slots: 3, extents: 3, writes: 0 };
        with_a_granule_the_device_tears: None, "WRONG KEY", { cells: 2 };
    }
}
