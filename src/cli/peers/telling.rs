//! How the rotation of one replica is told, now that it is part of a change of all: what the volume says of itself, and what is on
//! record that it has not come to yet.
//!
//! Invariants: figures are this replica's own; who finalizes is as the record says; where the volume has nothing to tell of the change
//! that is on record, `why` tells of the change, and a rotation that is over is no rotation of this change.

use super::Seat;
use crate::cli::operations::{Served, rotation_of};
use crate::cluster::node::View;
use crate::cluster::record::{Change, Step};
use crate::control::api::{Rotation, RotationState};

/// The rotation of a replicated volume.
pub fn rotation(seat: &Seat, served: &Served) -> Rotation {
    let rotation = rotation_of(served);
    match seat.view() {
        Some(view) => told(rotation, &view),
        None => rotation,
    }
}

fn told(mut rotation: Rotation, view: &View) -> Rotation {
    let (accepted, committed) = (&view.durable.accepted.record.change, &view.durable.committed.record.change);
    let is_its_own = rotation.to == Some(committed.target.0);
    if is_its_own && matches!(committed.step, Step::Active | Step::RolledBack) {
        rotation.hold_finalize = committed.hold_finalize;
        if rotation.state == RotationState::Verified && !committed.hold_finalize {
            rotation.why = Some("waits for the other replicas".into());
        }
    }
    if let Some(what) = to_come(&rotation, accepted, committed) {
        rotation.why = Some(what);
        if matches!(rotation.state, RotationState::Finalized | RotationState::RolledBack) {
            rotation.state = RotationState::Idle;
        }
    }
    rotation
}

/// What is on record, or on its way there, and nothing of it on the volume yet.
fn to_come(rotation: &Rotation, accepted: &Change, committed: &Change) -> Option<String> {
    let is_here = rotation.to == Some(accepted.target.0) && rotation.state != RotationState::Idle;
    let (id, target) = (accepted.id, accepted.target);
    match accepted.step {
        Step::Prepared if committed.id < id => Some(format!("change {id} to generation {target} is being prepared")),
        Step::Prepared => Some(format!("change {id} to generation {target} is prepared, and waits for proofs of it")),
        Step::Active if !is_here => Some(format!("change {id} to generation {target} becomes active")),
        Step::RolledBack if !is_here => Some(format!("change {id} goes back to generation {target}")),
        _ => None,
    }
}

#[cfg(test)]
#[path = "tests/telling.rs"]
mod tests;
