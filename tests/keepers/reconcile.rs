//! Our audit log held against the keeper's own: what is in one is in the other, under the same request id.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::bao::Bao;
use crate::support::{Daemon, MIB, ServeOptions, Store, VolumeOptions};

/// A use of the KEK in our log: intent and outcome.
#[derive(Debug)]
struct Ours {
    verb: String,
    began: String,
    ended: String,
    outcome: String,
    request: Option<String>,
}

/// A use of the KEK in the keeper's log: request and response.
#[derive(Debug)]
struct Theirs {
    operation: String,
    began: String,
    error: Option<String>,
}

/// Pairs intents and outcomes of our log, in order; each intent has exactly one outcome, and comes before it.
fn ours(store: &Store) -> Vec<Ours> {
    let text = std::fs::read_to_string(store.path("state/audit.jsonl")).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let is_use = |record: &&Value| matches!(record["verb"].as_str(), Some("key-wrap" | "key-unwrap"));
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut intents: BTreeMap<u64, &Value> = BTreeMap::new();
    let mut uses = Vec::new();
    for record in records.iter().filter(is_use) {
        let sequence = record["sequence"].as_u64().unwrap();
        assert_eq!(record["kek"].as_str().map(|kek| kek.starts_with("vault://")), Some(true), "{record}");
        if record["kind"] == "intent" {
            intents.insert(sequence, record);
            continue;
        }
        let intent = intents.remove(&record["intent"].as_u64().unwrap()).unwrap();
        assert_eq!((&intent["verb"], &intent["object"]), (&record["verb"], &record["object"]));
        uses.push(Ours {
            verb: text(&record["verb"]).unwrap(),
            began: text(&intent["time"]).unwrap(),
            ended: text(&record["time"]).unwrap(),
            outcome: text(&record["outcome"]).unwrap(),
            request: text(&record["keeper_request"]),
        });
    }
    assert!(intents.is_empty(), "intents without an outcome: {intents:?}");
    uses
}

/// The uses of the KEK in the keeper's log from its record `from` on, by request id.
fn theirs(bao: &Bao, from: usize) -> BTreeMap<String, Theirs> {
    let records = bao.audit().split_off(from);
    let uses = |record: &&Value| {
        let path = record["request"]["path"].as_str().unwrap_or_default();
        ["transit/encrypt/kek", "transit/decrypt/kek"].contains(&path)
    };
    let mut found: BTreeMap<String, Theirs> = BTreeMap::new();
    for record in records.iter().filter(uses) {
        let (request, time) = (&record["request"], record["time"].as_str().unwrap().to_owned());
        let operation = request["path"].as_str().unwrap().split('/').nth(1).unwrap().to_owned();
        let error = record["error"].as_str().map(str::to_owned);
        let one = found.entry(request["id"].as_str().unwrap().to_owned());
        let one = one.or_insert(Theirs { operation, began: time, error: None });
        one.error = error.or(one.error.take());
    }
    found
}

/// RFC 3339 to milliseconds, in a form that compares: our log has no more, theirs nanoseconds.
fn moment(text: &str) -> String {
    precisely(text)[.."2026-01-01T00:00:00.000".len()].to_owned()
}

/// The same to nanoseconds.
fn precisely(text: &str) -> String {
    let text = text.trim_end_matches('Z');
    let (seconds, rest) = text.split_once('.').unwrap_or((text, ""));
    format!("{seconds}.{rest:0<9}")
}

#[test]
fn every_use_of_the_kek_is_in_both_logs_once() {
    let bao = Bao::start();
    let mut store = Store::new();
    store.use_kek(bao.kek());
    let volume = store.create("vol", &VolumeOptions { size: 4 * MIB, ..VolumeOptions::default() });
    // What tools did is in no log of ours.
    let from = bao.audit().len();
    let mut daemon = Daemon::start(&store, &[volume], &ServeOptions::default());
    daemon.rotate("start", &["--wait"]);
    bao.set("transit/keys/kek/rotate", json!({}));
    daemon.rotate("start", &["--wait"]);
    // A token that ran out, a deleted key, a missing permission: refused there, failed here.
    bao.set("sys/leases/revoke-prefix/auth/cert/login", json!({}));
    daemon.rotate("start", &["--wait"]);
    bao.ask("DELETE", "transit/keys/kek/soft-delete", json!({}));
    assert_eq!(daemon.ask(&["rotate", "start", "vol"]).status.code(), Some(4));
    bao.set("transit/keys/kek/soft-delete-restore", json!({}));
    bao.set("sys/policies/acl/keymoult", json!({ "policy": "path \"x\" { capabilities = [\"read\"] }" }));
    assert_eq!(daemon.ask(&["rotate", "start", "vol"]).status.code(), Some(4));
    daemon.terminate();

    let (ours, mut theirs) = (ours(&store), theirs(&bao, from));
    let mut failed = Vec::new();
    for used in &ours {
        let Some(request) = &used.request else {
            assert!(used.outcome.starts_with("failed: vault://"), "{used:?}");
            failed.push(used);
            continue;
        };
        let Some(record) = theirs.remove(request) else { panic!("the keeper knows nothing of {used:?}") };
        let verb = if record.operation == "encrypt" { "key-wrap" } else { "key-unwrap" };
        assert_eq!((used.verb.as_str(), used.outcome.as_str(), &record.error), (verb, "done", &None));
        assert!(
            moment(&used.began) <= moment(&record.began),
            "the intent comes after the request: {used:?} {record:?}"
        );
        assert!(moment(&record.began) <= moment(&used.ended), "the outcome comes before the request: {used:?}");
    }
    // What is left is what was refused, of which the keeper does not tell us the request id: one for one, in order.
    let mut refused: Vec<Theirs> = theirs.into_values().collect();
    refused.sort_by_key(|record| precisely(&record.began));
    assert_eq!(refused.len(), failed.len(), "{refused:?}\n{failed:?}");
    for (record, used) in refused.iter().zip(&failed) {
        assert!(record.error.is_some(), "the keeper served what our log does not have: {record:?}");
        let verb = if record.operation == "encrypt" { "key-wrap" } else { "key-unwrap" };
        assert_eq!(used.verb, verb);
        assert!(moment(&used.began) <= moment(&record.began) && moment(&record.began) <= moment(&used.ended));
    }
    assert!(ours.len() >= 2 + 3 * 2 && failed.len() >= 3, "{ours:?}");
}
