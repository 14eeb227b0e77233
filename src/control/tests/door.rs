//! The door: nothing happens that is not allowed and recorded.

use std::cell::Cell;

use super::*;
use crate::control::api::ReasonRequest;
use crate::control::audit::{self, LOG_NAME, Record};

const OPERATOR: u32 = 998;

struct House {
    dir: tempfile::TempDir,
    door: Door,
}

fn house() -> House {
    let dir = tempfile::tempdir().unwrap();
    let door = Door::new(Authorizer::solo(OPERATOR), AuditLog::open(dir.path()).unwrap());
    House { dir, door }
}

impl House {
    fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        audit::read(&self.dir.path().join(LOG_NAME), None, |record| records.push(record.clone())).unwrap();
        records
    }
}

fn knock(uid: u32, verb: Verb) -> Knock {
    Knock { actor: Actor { uid, ..Actor::default() }, verb, object: Object::Volume("disk".into()) }
}

#[test]
fn an_act_leaves_an_intent_before_and_an_outcome_after() {
    let house = house();
    let body = br#"{"reason":"old key leaked"}"#;
    let answer = house.door.pass(&knock(OPERATOR, Verb::RotateStart), body, |_: ReasonRequest| {
        let before = house.records();
        assert_eq!((before.len(), before[0].kind), (1, Kind::Intent), "recorded before the act");
        Ok(5)
    });
    assert_eq!(answer, Ok(5));
    let [intent, outcome] = house.records().try_into().unwrap();
    assert_eq!((intent.verb.as_str(), intent.object.as_str()), ("rotate-start", "volume/disk"));
    assert_eq!(intent.reason.as_deref(), Some("old key leaked"));
    assert_eq!(intent.parameters, Some(format!("sha256:{}", audit::digest(body))));
    assert_eq!((intent.decision.as_str(), intent.rule.as_str()), ("allowed", "solo-operator/daemon-user"));
    assert_eq!((outcome.kind, outcome.intent, outcome.outcome.as_deref()), (Kind::Outcome, Some(1), Some("done")));
}

#[test]
fn a_failure_and_a_panic_are_outcomes() {
    let house = house();
    let knock = knock(0, Verb::RotatePause);
    let failed = house.door.pass(&knock, b"", |_: NoBody| Err::<(), _>(ApiError::no_such_volume("disk")));
    assert_eq!(failed.unwrap_err().error, ErrorKind::NotFound);
    let panicked = house.door.pass(&knock, b"", |_: NoBody| -> Result<(), ApiError> { panic!("on purpose") });
    assert_eq!(panicked.unwrap_err().error, ErrorKind::Internal);
    let outcomes: Vec<_> = house.records().into_iter().filter_map(|record| record.outcome).collect();
    assert_eq!(outcomes.len(), 2);
    assert!(outcomes[0].starts_with("failed: no such volume"), "{outcomes:?}");
    assert!(outcomes[1].starts_with("failed: the daemon met a fault"), "{outcomes:?}");
}

#[test]
fn every_verb_is_denied_to_a_stranger_and_recorded() {
    let house = house();
    let acted = Cell::new(false);
    for verb in Verb::ALL {
        let answer = house.door.pass(&knock(1000, *verb), b"{", |_: NoBody| {
            acted.set(true);
            Ok(())
        });
        assert_eq!(answer.unwrap_err().error, ErrorKind::Denied, "{verb:?}");
    }
    assert!(!acted.get());
    let records = house.records();
    assert_eq!(records.len(), Verb::ALL.len());
    for (record, verb) in records.iter().zip(Verb::ALL) {
        let expected = (Kind::Denied, verb.name(), "denied", "solo-operator/deny-by-default");
        assert_eq!((record.kind, record.verb.as_str(), record.decision.as_str(), record.rule.as_str()), expected);
    }
}

#[test]
fn a_view_and_a_body_that_cannot_be_read_leave_no_record() {
    let house = house();
    assert_eq!(house.door.pass(&knock(0, Verb::Status), b"", |_: NoBody| Ok(1)), Ok(1));
    for body in [&b"{"[..], b"[]", b"{\"reason\":1}", b"{\"raisin\":\"x\"}", b"{} {}"] {
        let answer = house.door.pass(&knock(0, Verb::RotateStart), body, |_: ReasonRequest| Ok(()));
        assert_eq!(answer.unwrap_err().error, ErrorKind::BadInput);
    }
    let long = format!("{{\"reason\":\"{}\"}}", "x".repeat(REASON_MAX + 1));
    let answer = house.door.pass(&knock(0, Verb::RotateStart), long.as_bytes(), |_: ReasonRequest| Ok(()));
    assert_eq!(answer.unwrap_err().place.as_deref(), Some("reason"));
    assert_eq!(house.records().len(), 0);
}

#[test]
fn what_cannot_be_recorded_does_not_happen_but_may_be_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let door = Door::new(Authorizer::solo(OPERATOR), AuditLog::refusing(dir.path(), "line 3 was edited"));
    let acted = Cell::new(0);
    for verb in Verb::ALL {
        let answer = door.pass(&knock(0, *verb), b"", |_: NoBody| {
            acted.set(acted.get() + 1);
            Ok(())
        });
        match verb.class() {
            VerbClass::View => assert_eq!(answer, Ok(())),
            VerbClass::Act | VerbClass::Safety => {
                let error = answer.unwrap_err();
                assert_eq!(error.error, ErrorKind::AuditRefused);
                assert!(error.what.contains("line 3 was edited"), "{error}");
            }
        }
    }
    let views = Verb::ALL.iter().filter(|verb| verb.class() == VerbClass::View).count();
    assert_eq!(acted.get(), views);
}

#[test]
fn a_note_is_recorded_as_the_daemons_own() {
    let house = house();
    house.door.note(Verb::VolumeOpen, &Object::Volume("disk".into()), "2 keys loaded");
    let [note] = house.records().try_into().unwrap();
    assert_eq!((note.kind, note.rule.as_str(), note.outcome.as_deref()), (Kind::Note, "daemon", Some("2 keys loaded")));
    assert_eq!(note.actor, Actor::daemon());
}
