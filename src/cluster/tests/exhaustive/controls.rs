//! Every rule dropped is caught, and the way to what goes wrong is told.

use super::search::explore;
use super::setting::Setting;
use crate::cluster::rules::Rule;

/// Explores a setting without a rule: one of the invariants breaks.
fn breaks(rule: Rule, setting: Setting, invariants: &[&str]) {
    let explored = explore(&setting, Some(rule), &[]);
    let Some((what, way)) = &explored.violation else {
        panic!("without {rule:?} nothing goes wrong in {} states, depth {}", explored.states, explored.depth);
    };
    println!("without {rule:?}: {what}, in {} steps of {} states\n  {}", way.len(), explored.states, way.join("\n  "));
    assert!(invariants.iter().any(|invariant| what.contains(invariant)), "{what}");
    // With all rules as many states hold nothing wrong.
    let held = explore(&Setting { states: explored.states, ..setting }, None, &[]);
    assert!(held.violation.is_none_or(|(what, _)| panic!("with all rules: {what}")));
}

const SMALL: Setting = Setting { states: 40_000, ..Setting::BASE };

#[test]
fn a_report_without_a_promise() {
    breaks(Rule::PromiseReports, Setting { snapshots: 1, resyncs: 1, active: true, ..SMALL }, &["5:"]);
}

#[test]
fn an_acknowledgement_before_it_is_durable() {
    let setting = Setting { crashes: 1, cuts: 1, elections: 1, rollbacks: 1, active: true, ..SMALL };
    breaks(Rule::PersistFirst, setting, &["two histories", "it is out", "1:", "2:"]);
}

#[test]
fn activation_without_all() {
    breaks(Rule::ActivateByAll, Setting { cuts: 1, ..SMALL }, &["2:"]);
}

#[test]
fn destruction_past_an_unreachable_member() {
    breaks(Rule::ReportsOfAll, Setting { cuts: 1, snapshots: 1, ends: true, active: true, ..SMALL }, &["6:"]);
}

#[test]
fn destruction_past_a_snapshot() {
    breaks(Rule::PinsCount, Setting { snapshots: 1, ends: true, active: true, ..SMALL }, &["6:"]);
}

/// A generation may drain twice, if a rollback came between: what was promised of it the first time ended with the rollback, and a
/// report of then says nothing about now.
#[test]
fn finalized_on_reports_of_an_earlier_record() {
    let setting = Setting { snapshots: 1, resyncs: 1, second: true, ..SMALL };
    breaks(Rule::FreshReports, setting, &["5:"]);
}

#[test]
fn no_fence_by_epoch() {
    breaks(
        Rule::EpochFence,
        Setting { cuts: 1, elections: 1, pauses: 1, ..SMALL },
        &["3:", "two histories", "it is out", "4:"],
    );
}

#[test]
fn a_volume_at_what_is_not_committed() {
    breaks(Rule::CommitFirst, Setting { cuts: 1, elections: 1, ..SMALL }, &["1:", "7:", "2:"]);
}

#[test]
fn sent_before_it_is_durable_at_the_lead() {
    breaks(Rule::OwnSaveFirst, Setting { crashes: 1, rotations: 2, ..SMALL }, &["it is out", "two histories", "3:"]);
}
