//! Which step leads from which key state to which: the table, pure.
//!
//! Invariants: what the table does not name is refused, with the generation, its state and the way on in the message;
//! nothing leaves *destroyed*; only *revoked* is reached from a state in which extents may carry the generation.

use super::By;
use crate::format::generations::{Entry, KeyState, REASON_MAX};
use crate::format::lives::ACTOR_MAX;
use crate::units::Generation;
use crate::volume::error::VolumeError;

/// What may be done to a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It becomes what new writes are encrypted under: a rotation starts, or goes back.
    Activate,
    /// Another one does: it drains.
    Drain,
    /// Nothing refers to it any more, as a finalized rotation has proven.
    Empty,
    /// Its key leaves memory.
    Retire,
    /// Its key comes back.
    Restore,
    /// Its destruction gets a date.
    Schedule,
    /// The date is withdrawn.
    Cancel,
    /// Its key is erased; once more if a crash cut that off.
    Destroy,
    /// Its key is known to be in the wrong hands: a mark, whatever the state.
    Compromise,
    /// Its key is withdrawn, whatever it encrypts.
    Revoke,
    /// A withdrawn key comes back.
    Reinstate,
}

impl Step {
    /// Every step.
    pub const ALL: [Step; 11] = [
        Step::Activate,
        Step::Drain,
        Step::Empty,
        Step::Retire,
        Step::Restore,
        Step::Schedule,
        Step::Cancel,
        Step::Destroy,
        Step::Compromise,
        Step::Revoke,
        Step::Reinstate,
    ];

    /// What it cannot be, in a refusal.
    fn done(self) -> &'static str {
        match self {
            Step::Activate => "activated",
            Step::Drain => "drained",
            Step::Empty => "proven empty",
            Step::Retire => "retired",
            Step::Restore => "restored",
            Step::Schedule => "scheduled for destruction",
            Step::Cancel => "kept from destruction",
            Step::Destroy => "destroyed",
            Step::Compromise => "marked compromised",
            Step::Revoke => "revoked",
            Step::Reinstate => "reinstated",
        }
    }

    /// The state it leads to from `state`; none: it is not allowed there.
    pub fn from(self, state: KeyState) -> Option<KeyState> {
        use KeyState::{Active, Destroyed, Disabled, Draining, Empty, Prepared, Revoked, Scheduled};
        match (self, state) {
            (Step::Activate, Prepared | Draining) => Some(Active),
            (Step::Drain, Active) => Some(Draining),
            (Step::Empty, Prepared | Draining) => Some(Empty),
            (Step::Retire, Empty) | (Step::Cancel, Scheduled) => Some(Disabled),
            (Step::Restore, Disabled) => Some(Empty),
            (Step::Schedule, Disabled) => Some(Scheduled),
            (Step::Destroy, Scheduled | Destroyed) => Some(Destroyed),
            (Step::Compromise, Prepared | Active | Draining | Empty | Disabled | Scheduled | Revoked) => Some(state),
            (Step::Revoke, Prepared | Draining | Empty | Disabled | Scheduled) => Some(Revoked),
            (Step::Reinstate, Revoked) => Some(Draining),
            _ => None,
        }
    }
}

/// How a generation in `state` goes on.
fn way_on(state: KeyState) -> &'static str {
    match state {
        KeyState::Prepared => "no rotation has made it active",
        KeyState::Active => "it encrypts what is written now: start a rotation away from it first",
        KeyState::Draining => "it becomes empty when a rotation away from it is finalized",
        KeyState::Empty => "retire it first",
        KeyState::Disabled => "restore it, or schedule its destruction, first",
        KeyState::Scheduled => "cancel its destruction first",
        KeyState::Destroyed => "its key is gone for good",
        KeyState::Revoked => "reinstate it first",
    }
}

/// The state `step` leads to.
///
/// # Errors
/// The step is not allowed, and why.
pub fn after(generation: Generation, state: KeyState, step: Step) -> Result<KeyState, VolumeError> {
    if generation == Generation::METADATA {
        let why = "generation 0 is the volume's metadata key: it has no life of its own";
        return Err(VolumeError::Refused(why.into()));
    }
    step.from(state).ok_or_else(|| {
        let (done, way) = (step.done(), way_on(state));
        let state = state.name();
        VolumeError::Refused(format!("generation {generation} is {state}: it cannot be {done}; {way}"))
    })
}

/// Takes `entry` a step further, and enters who did it, when and why.
///
/// # Errors
/// The step is not allowed; nothing has changed.
pub fn enter(entry: &mut Entry, step: Step, by: &By) -> Result<(), VolumeError> {
    entry.state = after(entry.generation, entry.state, step)?;
    entry.life.changed = by.now;
    entry.life.actor = cut(&by.actor, ACTOR_MAX);
    entry.life.reason = cut(&by.reason, REASON_MAX);
    Ok(())
}

/// What the table on the device holds of a text: memory says the same.
fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use KeyState::{Active, Destroyed, Disabled, Draining, Empty, Prepared, Revoked, Scheduled};

    const STATES: [KeyState; 8] = [Prepared, Active, Draining, Empty, Disabled, Scheduled, Destroyed, Revoked];

    /// The whole table, a row a step, a column a state in the order of [`STATES`].
    const TABLE: [(Step, [Option<KeyState>; 8]); 11] = [
        (Step::Activate, [Some(Active), None, Some(Active), None, None, None, None, None]),
        (Step::Drain, [None, Some(Draining), None, None, None, None, None, None]),
        (Step::Empty, [Some(Empty), None, Some(Empty), None, None, None, None, None]),
        (Step::Retire, [None, None, None, Some(Disabled), None, None, None, None]),
        (Step::Restore, [None, None, None, None, Some(Empty), None, None, None]),
        (Step::Schedule, [None, None, None, None, Some(Scheduled), None, None, None]),
        (Step::Cancel, [None, None, None, None, None, Some(Disabled), None, None]),
        (Step::Destroy, [None, None, None, None, None, Some(Destroyed), Some(Destroyed), None]),
        (
            Step::Compromise,
            [
                Some(Prepared),
                Some(Active),
                Some(Draining),
                Some(Empty),
                Some(Disabled),
                Some(Scheduled),
                None,
                Some(Revoked),
            ],
        ),
        (Step::Revoke, [Some(Revoked), None, Some(Revoked), Some(Revoked), Some(Revoked), Some(Revoked), None, None]),
        (Step::Reinstate, [None, None, None, None, None, None, None, Some(Draining)]),
    ];

    #[test]
    fn every_step_from_every_state() {
        assert_eq!(TABLE.map(|(step, _)| step), Step::ALL);
        for (step, row) in TABLE {
            for (state, expected) in STATES.into_iter().zip(row) {
                match (after(Generation(3), state, step), expected) {
                    (Ok(found), Some(expected)) => assert_eq!(found, expected, "{step:?} from {state:?}"),
                    (Err(VolumeError::Refused(why)), None) => {
                        assert!(why.starts_with(&format!("generation 3 is {}: it cannot be ", state.name())), "{why}");
                    }
                    (found, _) => panic!("{step:?} from {state:?}: {found:?}"),
                }
            }
            assert!(after(Generation::METADATA, Active, step).is_err());
        }
    }

    #[test]
    fn a_refusal_names_the_way_on() {
        let why = after(Generation(3), Draining, Step::Retire).unwrap_err().to_string();
        let expected = "generation 3 is draining: it cannot be retired; it becomes empty when a rotation away from it is finalized";
        assert_eq!(why, expected);
    }

    /// Nothing but *revoked* is reached from where extents may carry the generation and makes its key unusable.
    #[test]
    fn no_way_loses_a_key_that_is_needed() {
        let needed = [Active, Draining];
        for step in Step::ALL {
            for state in needed {
                let to = step.from(state);
                assert!(to.is_none_or(|to| to.is_loaded() || to == Revoked), "{step:?} from {state:?} to {to:?}");
            }
        }
    }
}
