//! The full rules: every setting is explored, nothing is found, and what has to be reachable is reached.

use super::search::explore;
use super::setting::Setting;
use crate::cluster::tests::invariants::Goal;

fn from_environment(name: &str) -> Option<usize> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// Explores a setting; at least so many states are expected, and these goals.
fn holds(mut setting: Setting, least: usize, goals: &[Goal]) {
    let more = from_environment("KEYMOULT_MODEL_DEPTH").unwrap_or(0) as u8;
    (setting.crashes, setting.cuts) = (setting.crashes + more, setting.cuts + more);
    setting.elections += more;
    setting.states = from_environment("KEYMOULT_MODEL_STATES").unwrap_or(setting.states << (2 * more.min(4)));
    let explored = explore(&setting, None, goals);
    let end = if explored.cut_off { "CUT OFF at the bound of memory" } else { "explored to the end" };
    println!(
        "{}: {} states, {} transitions, depth {}: {end}",
        setting.name, explored.states, explored.transitions, explored.depth
    );
    if let Some((what, way)) = &explored.violation {
        panic!("{}: {what}\n  {}", setting.name, way.join("\n  "));
    }
    let missing: Vec<&Goal> = goals.iter().filter(|goal| !explored.goals.contains(goal)).collect();
    assert!(missing.is_empty(), "{}: never reached: {missing:?}", setting.name);
    assert!(explored.states >= least, "{}: only {} states", setting.name, explored.states);
}

#[test]
fn a_rotation_and_the_way_back() {
    let setting = Setting { name: "rotation and rollback", rollbacks: 1, states: 60_000, ..Setting::BASE };
    holds(setting, 400, &[Goal::Finalized, Goal::RolledBack]);
}

#[test]
fn a_key_to_its_end() {
    let setting =
        Setting { name: "the end of a key", snapshots: 1, resyncs: 1, ends: true, states: 60_000, ..Setting::BASE };
    holds(setting, 1000, &[Goal::Destroyed]);
}

#[test]
fn a_crash_before_it_is_active() {
    let setting = Setting { name: "crash", crashes: 1, states: 40_000, ..Setting::BASE };
    holds(setting, 1000, &[]);
}

#[test]
fn a_crash_after_it_is_active() {
    let setting =
        Setting { name: "crash after", crashes: 1, rollbacks: 1, active: true, states: 40_000, ..Setting::BASE };
    holds(setting, 1000, &[Goal::Finalized, Goal::RolledBack]);
}

#[test]
fn another_lead_before_it_is_active() {
    let setting = Setting { name: "another lead", cuts: 1, elections: 1, states: 40_000, ..Setting::BASE };
    holds(setting, 1000, &[Goal::FailedOver]);
}

#[test]
fn another_lead_after_it_is_active() {
    let setting = Setting {
        name: "another lead after",
        cuts: 1,
        elections: 1,
        rollbacks: 1,
        active: true,
        states: 40_000,
        ..Setting::BASE
    };
    holds(setting, 1000, &[Goal::FailedOver]);
}
