//! A change that the volume has not come to yet is told of, and one that it has is not told of twice.

use super::*;
use crate::cli::peers::sample;
use crate::units::Generation;

/// What is told while the volume is in `state`, on its way to `to`, and the record at this step of the change to generation 2.
fn why(state: RotationState, to: u32, step: Step, is_committed: bool) -> (RotationState, Option<String>) {
    let mut durable = sample::durable();
    let change = Change { id: 1, step, target: Generation(2), ..durable.committed.record.change.clone() };
    durable.accepted.record.change = change.clone();
    if is_committed {
        durable.committed.record.change = change;
    }
    let view = View { durable, leads: true, waiting: Vec::new(), members: Vec::new(), refusals: Vec::new() };
    let told = told(Rotation { state, to: Some(to), hold_finalize: true, ..Rotation::default() }, &view);
    (told.state, told.why)
}

#[test]
fn what_is_on_record_is_told_until_the_volume_tells_of_it() {
    use RotationState::{Finalized, Idle, Running, Verified};
    for (state, to, step, is_committed, expected) in [
        (Idle, 1, Step::Prepared, false, Some("change 1 to generation 2 is being prepared")),
        (Finalized, 1, Step::Prepared, true, Some("change 1 to generation 2 is prepared, and waits for proofs of it")),
        (Idle, 1, Step::Active, false, Some("change 1 to generation 2 becomes active")),
        (Running, 2, Step::Active, true, None),
        (Verified, 2, Step::Active, true, Some("waits for the other replicas")),
        (Running, 3, Step::RolledBack, false, Some("change 1 goes back to generation 2")),
        (Finalized, 2, Step::Finalized, true, None),
        (Idle, 1, Step::Idle, true, None),
    ] {
        let shown = if expected.is_some() && state == Finalized { Idle } else { state };
        let expected = (shown, expected.map(str::to_owned));
        assert_eq!(why(state, to, step, is_committed), expected, "{state:?} {step:?}");
    }
}
