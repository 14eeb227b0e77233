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
    two_extents: 1, 1, { writes: 3 };
    two_granules_of_one_extent: 1, 1, { extents: 1, granules: 2, writes: 3, flushes: 2 };
    two_extents_of_two_granules: 1, 1, { granules: 2, writes: 2, flushes: 0 };
    three_extents_in_a_ring_of_three: 1, 1, { extents: 3, slots: 3, writes: 1 };
    three_extents_in_a_ring_of_four: 1, 1, { extents: 3, slots: 4, writes: 1, batch: 2, flushes: 0 };
    batches_of_two: 1, 1, { batch: 2, pages: 2, writes: 2 };
    two_tag_pages: 1, 1, { pages: 2, slots: 3, writes: 1 };
    there_and_back: 1, 1, { targets: &[1, 2, 1], writes: 1 };
    there_and_back_again: 1, 1, { extents: 1, targets: &[1, 2, 1, 2], writes: 2 };
    three_generations: 1, 1, { targets: &[1, 2, 3], writes: 1, slots: 3 };
    journal: 1, 1, { mode: WriteMode::Journal, cells: 2, writes: 2 };
    journal_there_and_back: 1, 1, { mode: WriteMode::Journal, extents: 1, targets: &[1, 2, 1], writes: 3 };
    detached_header: 1, 1, { detached: true, writes: 1 };
    fua_and_trim: 1, 1, { extents: 1, granules: 2, fuas: 1, trims: 1, writes: 3 };
    fua_and_trim_in_two_extents: 1, 1, { fuas: 1, trims: 1 };
    slow_writes: 1, 1, { slow_writes: true, fuas: 1 };
    superblocks_of_others: 1, 1, { superblocks: 2, writes: 1 };
    forced_paused_voided: 1, 1, { forced: 1, pauses: 1, voids: 1, writes: 1 };
    a_second_session: 1, 1, { sessions: 1, writes: 1, slots: 3 };
    three_sessions: 1, 1, { sessions: 2, extents: 1, writes: 2, targets: &[1, 2, 1] };
}
