//! Positive controls: every rule of the scheme is dropped in turn, and the crash suite must notice. A harness that finds
//! nothing without a rule would find nothing with it either.

use super::sim::crash::{Effort, every_crash};
use super::sim::work::{Setting, record};
use crate::format::layout::WriteMode;
use crate::volume::rules::{Rule, drop_rule};

/// Seeds tried before a rule counts as not noticed.
const SEEDS: u64 = 60;

/// Runs workloads without `rule` until one shows a violation; the one of seed `first` before others.
fn caught(rule: Option<Rule>, effort: Effort, first: u64, adapt: impl Fn(Setting) -> Setting) -> Option<(u64, String)> {
    (first..=SEEDS).chain(1..first).find_map(|seed| {
        drop_rule(rule);
        let recording = record(Setting { watched: false, ..adapt(Setting::new(seed)) });
        let checked = every_crash(&recording, effort);
        drop_rule(None);
        checked.err().map(|wrong| (seed, wrong))
    })
}

fn must_be_caught(rule: Rule, depth: u32, first: u64, adapt: impl Fn(Setting) -> Setting) {
    match caught(Some(rule), Effort { per_operation: 3, depth }, first, adapt) {
        Some((seed, wrong)) => println!("{rule:?} dropped: caught with seed {seed}: {wrong}"),
        None => panic!("{rule:?} dropped, and {SEEDS} workloads show nothing"),
    }
}

fn in_place(setting: Setting) -> Setting {
    setting.mode(WriteMode::InPlace)
}

/// Where targets change all the time.
fn restless(setting: Setting) -> Setting {
    Setting { restless: 3, ..in_place(setting) }
}

/// Where the volume grows all the time.
fn growing(setting: Setting) -> Setting {
    Setting { grows: 4, ..in_place(setting) }
}

/// Where keys live and die all the time.
fn living(setting: Setting) -> Setting {
    Setting { lives: 2, ..in_place(setting) }
}

/// Where keys are shared with other replicas all the time.
fn sharing(setting: Setting) -> Setting {
    Setting { shares: 2, ..in_place(setting) }
}

/// Where KEKs change all the time.
fn rewrapping(setting: Setting) -> Setting {
    Setting { rewraps: 3, ..in_place(setting) }
}

macro_rules! controls {
    ($($name:ident: $rule:ident, $depth:literal, $first:literal, $adapt:expr;)*) => {
        $(#[test]
        fn $name() {
            must_be_caught(Rule::$rule, $depth, $first, $adapt);
        })*
    };
}

// Name, rule, whether recovery must be crashed too, the seed that is known to show it, workload.
controls! {
    without_r0: R0, 0, 1, in_place;
    with_early_slot_reuse: SlotReuse, 0, 4, in_place;
    with_a_tail_past_live_intents: TailBeforeLive, 0, 4, in_place;
    with_holds_released_before_data: ReleaseAfterData, 0, 1, in_place;
    without_a_flush_between_intent_and_data: IntentBeforeData, 0, 1, in_place;
    without_a_flush_between_data_and_commit: DataBeforeCommit, 0, 1, in_place;
    without_a_flush_before_recovery: FlushBeforeRecovery, 1, 1, in_place;
    without_a_flush_of_recovered_data: FlushRecovered, 1, 4, in_place;
    without_the_fence_for_stale_intents: StaleIntentFence, 0, 1, restless;
    with_current_tags_in_checkpoints: CommittedTagsOnly, 0, 4, in_place;
    with_recovery_rolling_back: RollForward, 1, 1, in_place;
    with_journal_holds_released_early: JournalHold, 0, 1, |setting| setting.mode(WriteMode::Journal);
    with_two_intents_of_an_extent: OneIntent, 0, 48, restless;
    with_the_old_stamp_left_in_the_data: OldStampZeroed, 0, 1, growing;
    with_records_of_a_shorter_last_extent: RingEmptied, 0, 1, growing;
    with_a_canary_erased_before_its_key: CanaryLast, 0, 8, living;
    with_a_canary_erased_before_its_key_is_given_up: CanaryLast, 0, 1, sharing;
    with_a_key_prepared_before_it_is_proven: CanaryFirst, 0, 1, sharing;
    with_a_key_told_of_before_it_is_durable: PreparedDurable, 0, 1, sharing;
    with_tags_of_a_revoked_generation_refused: RevokedTags, 0, 1, living;
    with_wraps_removed_before_others_are_proven: WrapsProven, 0, 1, rewrapping;
    with_wraps_removed_before_others_are_added: AddBeforeRemove, 0, 1, |setting| Setting { slips: 0, ..rewrapping(setting) };
}

/// A granule that the device does not replace at once.
#[test]
fn with_a_granule_the_device_tears() {
    let torn = |setting: Setting| {
        let mut setting = in_place(setting);
        setting.shape.granule = 4096;
        setting.device_granule = 512;
        setting
    };
    let (seed, wrong) =
        caught(None, Effort { per_operation: 3, depth: 1 }, 1, torn).expect("a torn granule must be noticed");
    println!("torn granules: caught with seed {seed}: {wrong}");
}
