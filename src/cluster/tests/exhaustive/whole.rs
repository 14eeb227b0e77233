//! The full rules: every setting is explored, nothing is found, and what has to be reachable is reached.

use super::search::{Explored, explore};
use super::setting::Setting;
use crate::cluster::tests::invariants::Goal;

fn from_environment(name: &str) -> Option<usize> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// What `KEYMOULT_MODEL_DEPTH` adds to the bounds.
fn more() -> u8 {
    from_environment("KEYMOULT_MODEL_DEPTH").unwrap_or(0) as u8
}

/// Explores a setting to its end.
fn holds_to_the_end(setting: Setting, least: usize, goals: &[Goal]) {
    let explored = holds(setting, least, goals);
    assert!(!explored.cut_off || more() > 0, "{}: more than {} states", setting.name, setting.states);
}

/// Explores a setting; at least so many states are expected, and these goals.
fn holds(mut setting: Setting, least: usize, goals: &[Goal]) -> Explored {
    let more = more();
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
    explored
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

/// Two replicas and a witness, and another lead while the change stands at one step: small enough to see everything.
const FEW: Setting = Setting { witness: true, still: true, elections: 1, states: 60_000, ..Setting::BASE };
/// The same, where the lead alone is in trouble and the other replica alone is promoted.
const CAST: Setting = Setting { cast: true, ..FEW };

#[test]
fn another_lead_whoever_is_cut_off_to_the_end() {
    let setting = Setting { name: "few, cut", cuts: 1, active: true, rotations: 0, ..FEW };
    holds_to_the_end(setting, 500, &[Goal::FailedOver]);
}

#[test]
fn another_lead_after_a_crash_to_the_end() {
    let setting = Setting { name: "few, crash", crashes: 1, active: true, rotations: 0, ..CAST };
    holds_to_the_end(setting, 1000, &[Goal::FailedOver]);
}

#[test]
fn another_lead_before_and_at_activation_to_the_end() {
    let setting = Setting { name: "few, activation", cuts: 1, ..CAST };
    holds_to_the_end(setting, 10_000, &[Goal::FailedOver]);
}

#[test]
fn another_lead_and_a_rollback_to_the_end() {
    let setting = Setting { name: "few, rollback", cuts: 1, rollbacks: 1, active: true, rotations: 0, ..CAST };
    holds_to_the_end(setting, 500, &[Goal::FailedOver]);
}

#[test]
fn another_lead_while_replicas_drain_to_the_end() {
    let setting = Setting { name: "few, drain", cuts: 1, active: true, rotations: 0, still: false, ..CAST };
    holds_to_the_end(setting, 500, &[Goal::FailedOver, Goal::Finalized]);
}
