//! The table of routes, the API description and the list of verbs say the same.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::*;
use crate::control::api::{CheckState, HolderKind, KeyState, RewriteMode, RotationState, Severity};

fn description() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

#[test]
fn every_route_is_described_and_every_description_has_a_route() {
    let described: BTreeSet<(String, String)> = description()["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(|method| (path.clone(), method.clone())))
        .collect();
    let mut routed: BTreeSet<(String, String)> =
        ROUTES.iter().map(|route| (route.path.to_owned(), format!("{:?}", route.method).to_lowercase())).collect();
    assert_eq!(routed.len(), ROUTES.len(), "a route stands twice");
    routed.extend([("/healthz".into(), "get".into()), ("/readyz".into(), "get".into())]);
    assert_eq!(routed, described);
}

#[test]
fn every_verb_has_a_route_or_is_the_daemons_own() {
    let mut reached: BTreeSet<&str> = ROUTES.iter().map(|route| route.verb.name()).collect();
    for verb in Verb::INTERNAL {
        assert!(reached.insert(verb.name()), "{verb:?} has a route");
    }
    assert_eq!(reached, Verb::ALL.iter().map(|verb| verb.name()).collect());
}

#[test]
fn looking_is_get_and_acting_is_post() {
    // These look, at what is in their body.
    let asks = |verb| matches!(verb, Verb::RotatePlan | Verb::KeyVerifyProof);
    for route in ROUTES.iter().filter(|route| !asks(route.verb)) {
        let looks = route.verb.class() == crate::control::authorize::VerbClass::View;
        assert_eq!(looks, route.method == Method::Get, "{}", route.path);
    }
}

/// The words serde knows for `T`, from its own complaint about one it does not know.
fn words<T: DeserializeOwned>() -> BTreeSet<String> {
    let complaint = serde_json::from_str::<T>("\"?\"").err().unwrap().to_string();
    complaint.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

fn described(schema: &str, property: &str) -> BTreeSet<String> {
    let words = description()["components"]["schemas"][schema]["properties"][property]["enum"].clone();
    serde_json::from_value(words).unwrap()
}

#[test]
fn words_are_described_as_they_are() {
    assert_eq!(words::<RotationState>(), described("Rotation", "state"));
    assert_eq!(words::<KeyState>(), described("KeyInfo", "state"));
    assert_eq!(words::<RewriteMode>(), described("VolumeStatus", "mode"));
    assert_eq!(words::<CheckState>(), described("CheckStatus", "state"));
    assert_eq!(words::<HolderKind>(), described("HolderInfo", "kind"));
    assert_eq!(words::<Severity>(), described("Finding", "severity"));
    assert_eq!(words::<audit::Kind>(), described("Record", "kind"));
    let errors = ErrorKind::ALL
        .iter()
        .map(|kind| serde_json::from_value(serde_json::to_value(kind).unwrap()).unwrap())
        .collect();
    assert_eq!(described("Error", "error"), errors);
}

#[test]
fn state_names_are_the_wire_words() {
    for word in words::<RotationState>() {
        let state: RotationState = serde_json::from_value(Value::String(word.clone())).unwrap();
        assert_eq!(state.name(), word);
    }
    for word in words::<KeyState>() {
        let state: KeyState = serde_json::from_value(Value::String(word.clone())).unwrap();
        assert_eq!(state.name(), word);
    }
}

#[test]
fn audit_queries() {
    assert_eq!(parse_audit_query("after=5&limit=7"), Ok(AuditQuery { after: Some(5), limit: Some(7) }));
    assert_eq!(parse_audit_query(""), Ok(AuditQuery::default()));
    for bad in ["after", "after=-1", "limit=x", "since=1"] {
        assert!(parse_audit_query(bad).is_err(), "{bad}");
    }
}
