//! Bodies of control requests and of answers. The first byte chooses the type. Promises: a request is taken only as a
//! JSON object, without unknown fields and with a bounded reason; what is taken, written as JSON, is taken as the same;
//! no answer of a daemon makes its client panic.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use keymoult::control::api::{
    ActionResult, AdmitRequest, ApiError, AuditPage, DaemonStatus, ExpelRequest, KeyList, PaceRequest, PauseRequest,
    PeerCheckStatus, PeerList, PeerStatus, REASON_MAX, ReasonRequest, RotateStart, Rotation, RotationPlan,
    VerifyRequest, VolumeList,
};
use keymoult::control::door::{Knock, Reasoned};
use keymoult::control::{Actor, Door, Object, Verb};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::support::files::folder;
use crate::support::input::Input;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choice = input.index(18);
    let body = input.rest();
    match choice {
        0 => request::<RotateStart>(body),
        1 => request::<PaceRequest>(body),
        2 => request::<VerifyRequest>(body),
        3 => request::<ReasonRequest>(body),
        4 => answer::<DaemonStatus>(body),
        5 => answer::<VolumeList>(body),
        6 => answer::<KeyList>(body),
        7 => answer::<AuditPage>(body),
        8 => answer::<ActionResult>(body),
        9 => answer::<RotationPlan>(body),
        10 => answer::<ApiError>(body),
        11 => request::<PauseRequest>(body),
        12 => request::<ExpelRequest>(body),
        13 => request::<AdmitRequest>(body),
        14 => answer::<PeerStatus>(body),
        15 => answer::<PeerList>(body),
        16 => answer::<PeerCheckStatus>(body),
        _ => answer::<Rotation>(body),
    }
}

/// A request passes the door; its verb is one that leaves no record.
fn request<B: DeserializeOwned + Serialize + Reasoned + Clone + PartialEq + Debug>(body: &[u8]) {
    let knock = Knock { actor: Actor::daemon(), verb: Verb::RotatePlan, object: Object::Daemon };
    let mut taken: Option<B> = None;
    let passed = door().pass(&knock, body, |request: B| {
        taken = Some(request);
        Ok(())
    });
    assert_eq!(passed.is_ok(), taken.is_some());
    let Some(taken) = taken else { return };
    assert!(body.is_empty() || body.trim_ascii_start().first() == Some(&b'{'));
    assert!(taken.reason().is_none_or(|reason| reason.len() <= REASON_MAX));
    let text = serde_json::to_vec(&taken).unwrap();
    assert_eq!(serde_json::from_slice::<B>(&text).ok(), Some(taken));
}

fn answer<A: DeserializeOwned + Serialize>(body: &[u8]) {
    if let Ok(answer) = serde_json::from_slice::<A>(body) {
        assert!(serde_json::to_vec(&answer).is_ok());
    }
}

fn door() -> &'static Door {
    static DOOR: OnceLock<Arc<Door>> = OnceLock::new();
    DOOR.get_or_init(|| Door::open(&folder().join("state")).unwrap())
}
