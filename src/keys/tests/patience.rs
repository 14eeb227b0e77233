//! What is tried again, how often, and what never is; by a clock of the test's own.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Backoff, Clock, LONGEST, Patience};
use crate::keys::{KeyError, KeyErrorClass};

/// A clock that moves when somebody sleeps.
#[derive(Default)]
struct Hand {
    now: AtomicU64,
    sleeps: Mutex<Vec<Duration>>,
}

impl Clock for Hand {
    fn now(&self) -> Duration {
        Duration::from_millis(self.now.load(Ordering::Relaxed))
    }

    fn sleep(&self, time: Duration) {
        self.sleeps.lock().unwrap().push(time);
        self.now.fetch_add(time.as_millis() as u64, Ordering::Relaxed);
    }

    fn random(&self) -> u32 {
        u32::MAX
    }
}

fn refusal(class: KeyErrorClass) -> KeyError {
    KeyError::Remote { kek: "vault://k".into(), class, reason: "said so".into(), source: None }
}

/// Runs with answers in turn, the last one for ever; how often it asked, how long it slept, and whether it succeeded.
fn run(patience: &Patience, hand: &Hand, answers: &[Result<(), KeyErrorClass>]) -> (usize, Vec<u64>, bool) {
    let asked = AtomicUsize::new(0);
    hand.sleeps.lock().unwrap().clear();
    let result = patience.run(|| {
        let number = asked.fetch_add(1, Ordering::Relaxed);
        answers[number.min(answers.len() - 1)].map_err(refusal)
    });
    let sleeps = hand.sleeps.lock().unwrap().iter().map(|time| time.as_millis() as u64).collect();
    (asked.into_inner(), sleeps, result.is_ok())
}

fn patience() -> (Patience, Arc<Hand>) {
    let hand = Arc::new(Hand::default());
    (Patience::with(Duration::from_secs(3), Arc::clone(&hand) as Arc<dyn Clock>), hand)
}

#[test]
fn trouble_elsewhere_is_tried_again_until_it_ends() {
    for class in [KeyErrorClass::Unreachable, KeyErrorClass::Sealed, KeyErrorClass::Throttled] {
        let (patience, hand) = patience();
        assert_eq!(run(&patience, &hand, &[Err(class), Err(class), Ok(())]), (3, vec![100, 200], true));
    }
}

#[test]
fn what_waiting_does_not_mend_is_asked_once() {
    use KeyErrorClass as Class;
    for class in [Class::Denied, Class::Disabled, Class::Tampered, Class::WrongKey, Class::Local, Class::Usage] {
        let (patience, hand) = patience();
        assert_eq!(run(&patience, &hand, &[Err(class), Ok(())]), (1, vec![], false), "{class:?}");
    }
}

#[test]
fn time_runs_out_and_a_keeper_given_up_is_asked_once_until_it_answers() {
    let down = &[Err(KeyErrorClass::Unreachable)][..];
    let (patience, hand) = patience();
    assert_eq!(run(&patience, &hand, down), (5, vec![100, 200, 400, 800], false));
    assert_eq!(run(&patience, &hand, down), (1, vec![], false));
    assert!(run(&patience, &hand, &[Ok(())]).2);
    assert_eq!(run(&patience, &hand, down).0, 5);
}

#[test]
fn an_expired_login_is_renewed_once() {
    let expired = || KeyError::LoginExpired { kek: "vault://k".into() };
    let (patience, hand) = patience();
    for (answers, asked, success) in [(1, 2, true), (2, 2, false)] {
        let count = AtomicUsize::new(0);
        let result =
            patience.run(|| if count.fetch_add(1, Ordering::Relaxed) < answers { Err(expired()) } else { Ok(()) });
        assert_eq!((count.into_inner(), result.is_ok()), (asked, success));
    }
    assert!(hand.sleeps.lock().unwrap().is_empty());
}

#[test]
fn pauses_grow_and_chance_has_its_half() {
    for (random, share) in [(0, 0.5), (u32::MAX, 1.0)] {
        let mut backoff = Backoff::new(Duration::from_secs(1000));
        let mut pauses: Vec<Duration> = Vec::new();
        for _ in 0..10 {
            pauses.extend(backoff.pause(Duration::ZERO, random));
        }
        assert_eq!(pauses[0], Duration::from_millis(100).mul_f64(share));
        assert_eq!(pauses[9], LONGEST.mul_f64(share));
        assert!(pauses.is_sorted());
    }
    assert_eq!(Backoff::new(Duration::ZERO).pause(Duration::ZERO, 0), None);
}
