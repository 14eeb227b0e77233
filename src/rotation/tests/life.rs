//! Keepers that hang: what makes safe does not wait for them, and what they answer late serves nobody who does not want it any more.

use std::cell::Cell;
use std::time::Duration;

use super::*;
use crate::rotation::gated::{FIRST, Gate, SECOND, THIRD, by, controller, drained, kek, three};
use crate::volume::life::SystemClock;
use crate::volume::wraps::{Addition, Removal, WrapChange};

fn state(controller: &Controller, generation: Generation) -> KeyState {
    controller.volume().table().entry(generation).unwrap().state
}

/// A clock that a wait moves, so that nobody waits.
#[derive(Default)]
struct Fast(Cell<Duration>);

impl Clock for Fast {
    fn elapsed(&self) -> Duration {
        self.0.get()
    }

    fn sleep(&self, time: Duration) {
        self.0.set(self.0.get() + time);
    }
}

#[test]
fn a_rollback_and_a_revocation_pass_a_key_that_waits_for_its_keeper() {
    let folder = tempfile::tempdir().unwrap();
    let (gate, asked) = Gate::new();
    let controller = controller(&folder.path().join("volume"), &gate);
    three(&controller);
    gate.shut(true);
    std::thread::scope(|scope| {
        let restored = scope.spawn(|| controller.restore(FIRST, &by()));
        asked.recv().unwrap();
        assert_eq!(controller.roll_back(&by()).unwrap(), SECOND);
        let revoked = controller.revoke(FIRST, &by(), &SystemClock::default()).unwrap();
        assert!(revoked.left_memory.is_some());
        assert!(!restored.is_finished());
        gate.shut(false);
        let error = restored.join().unwrap().unwrap_err().to_string();
        assert!(error.contains("generation 1 is revoked: it cannot be restored"), "{error}");
    });
    assert!(controller.volume().is_closed(FIRST), "the keeper's answer came too late to be wanted");
    drained(&controller);

    gate.shut(true);
    std::thread::scope(|scope| {
        let reinstated = scope.spawn(|| controller.reinstate(FIRST, &by()));
        asked.recv().unwrap();
        controller.revoke(THIRD, &by(), &SystemClock::default()).unwrap();
        gate.shut(false);
        reinstated.join().unwrap().unwrap();
    });
    assert_eq!((state(&controller, FIRST), state(&controller, THIRD)), (KeyState::Empty, KeyState::Revoked));
    assert!(!controller.volume().is_closed(FIRST) && controller.volume().is_closed(THIRD));
    controller.stop();
}

#[test]
fn a_key_that_was_had_is_gone_once_another_step_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (gate, _asked) = Gate::new();
    let controller = controller(&folder.path().join("volume"), &gate);
    three(&controller);
    controller.unlock(FIRST, Step::Restore).unwrap();
    assert!(controller.volume().is_closed(FIRST), "it serves nobody before its step");
    controller.schedule(FIRST, 100, &by()).unwrap();
    controller.cancel(FIRST, &by()).unwrap();
    let error = controller.restore_unlocked(FIRST, &by()).unwrap_err().to_string();
    assert!(error.contains("the key of generation 1 is not at hand"), "{error}");
    assert_eq!(state(&controller, FIRST), KeyState::Disabled);
    controller.restore(FIRST, &by()).unwrap();
    assert_eq!(state(&controller, FIRST), KeyState::Empty);
    assert!(!controller.volume().is_closed(FIRST));
}

/// A change of wraps has every key in memory, so a revocation is done at once but cannot say that the key has gone.
#[test]
fn a_rollback_and_a_revocation_pass_a_change_of_wraps_that_waits_for_a_keeper() {
    let folder = tempfile::tempdir().unwrap();
    let (gate, asked) = Gate::new();
    let controller = controller(&folder.path().join("volume"), &gate);
    three(&controller);
    let (other, _) = Gate::new();
    let new = kek("second", &other);
    let addition = Some(Addition { kek: &new, first: true });
    let change = WrapChange { add: addition, remove: Removal::InUse, generation: None };
    gate.shut(true);
    std::thread::scope(|scope| {
        let changed = scope.spawn(|| controller.change_wraps(&change, &mut |_| {}).map(|changed| changed.is_change()));
        asked.recv().unwrap();
        assert_eq!(controller.roll_back(&by()).unwrap(), SECOND);
        let revoked = controller.revoke(FIRST, &by(), &Fast::default()).unwrap();
        assert_eq!(revoked.left_memory, None, "the change has it in memory");
        let error = controller.abandon(Generation(4), &by()).unwrap_err().to_string();
        assert!(error.contains("wraps of the volume are being changed"), "{error}");
        gate.shut(false);
        assert!(changed.join().unwrap().unwrap());
    });
    assert_eq!(state(&controller, FIRST), KeyState::Revoked);
    controller.reinstate(FIRST, &by()).unwrap();
    drained(&controller);
    controller.stop();
}
