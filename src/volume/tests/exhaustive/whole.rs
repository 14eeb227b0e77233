//! The full rules: every setting is explored to the end and nothing is found. Floors on what was explored catch an
//! explorer that explores nothing; `controls` show that it finds what is there.
//!
//! `KEYMOULT_MODEL_DEPTH=n` adds n client writes and flushes to every setting (`tools/model`), `KEYMOULT_MODEL_STATES`
//! bounds the states of each.

use super::search::explore;
use super::setting::Setting;
use crate::format::layout::WriteMode;

fn from_environment(name: &str) -> Option<usize> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// Explores `setting`, deeper if the environment says so, and wants at least so many states and images.
fn holds(setting: Setting, states: usize, images: u64) {
    let mut setting = setting.deeper(from_environment("KEYMOULT_MODEL_DEPTH").unwrap_or(0) as u8);
    setting.states = from_environment("KEYMOULT_MODEL_STATES").unwrap_or(setting.states);
    let explored = explore(setting, None);
    println!("{explored}");
    let bounded = from_environment("KEYMOULT_MODEL_STATES").is_some();
    assert!(explored.violation.is_none(), "{}: the way to the violation is above", setting.name);
    assert!(!explored.cut_off || bounded, "{}: the bound of memory was met, which nobody asked for", setting.name);
    let all = explored.states >= states && explored.images >= images;
    assert!(all || explored.cut_off, "{}: at least {states} states and {images} images were expected", setting.name);
}

/// Name, floors of states and images, setting.
macro_rules! settings {
    ($($name:ident: $states:literal, $images:literal, { $($field:ident: $value:expr),* $(,)? };)*) => {
        $(#[test]
        fn $name() {
            holds(Setting { name: stringify!($name), $($field: $value,)* ..Setting::BASE }, $states, $images);
        })*
    };
}

settings! {
    two_extents: 320_000, 1_300_000, { writes: 4, flushes: 2 };
    two_granules_of_one_extent: 43_000, 130_000, { extents: 1, granules: 2, writes: 4, flushes: 3 };
    two_extents_of_two_granules: 290_000, 1_500_000, { granules: 2, writes: 3, flushes: 1 };
    three_extents_in_a_ring_of_three: 79_000, 210_000, { extents: 3, slots: 3, writes: 1 };
    three_extents_in_a_ring_of_four: 570_000, 2_100_000, { extents: 3, slots: 4, writes: 2, batch: 2, flushes: 1 };
    batches_of_two: 120_000, 470_000, { batch: 2, pages: 2, writes: 3, flushes: 2 };
    two_tag_pages: 38_000, 110_000, { pages: 2, slots: 3, writes: 2, flushes: 2 };
    there_and_back: 130_000, 390_000, { targets: &[1, 2, 1], writes: 1 };
    there_and_back_again: 74_000, 180_000, { extents: 1, targets: &[1, 2, 1, 2], writes: 3, flushes: 2 };
    three_generations: 130_000, 350_000, { targets: &[1, 2, 3], writes: 1, slots: 3 };
    journal: 80_000, 680_000, { mode: WriteMode::Journal, cells: 2, writes: 3, flushes: 2 };
    journal_there_and_back: 12_000, 32_000, { mode: WriteMode::Journal, extents: 1, targets: &[1, 2, 1], writes: 4, flushes: 2 };
    detached_header: 33_000, 100_000, { detached: true, writes: 2, flushes: 2 };
    fua_and_trim: 240_000, 770_000, { extents: 1, granules: 2, fuas: 1, trims: 1, writes: 4, flushes: 2 };
    fua_and_trim_in_two_extents: 90_000, 290_000, { fuas: 1, trims: 1 };
    slow_writes: 62_000, 190_000, { slow_writes: true, fuas: 1 };
    superblocks_of_others: 47_000, 160_000, { superblocks: 2, writes: 1 };
    forced_paused_voided: 100_000, 260_000, { forced: 1, pauses: 1, voids: 1, writes: 1 };
    a_second_session: 130_000, 350_000, { sessions: 1, writes: 2, slots: 3, flushes: 2 };
    three_sessions: 130_000, 300_000, { sessions: 2, extents: 1, writes: 3, targets: &[1, 2, 1], flushes: 2 };
}
