//! The API over a real unix socket: routes, schemas, errors, recording.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use keymoult::control::api::*;
use keymoult::control::audit::{AuditLog, Kind};
use keymoult::control::witness::AuditWitness;
use keymoult::control::{Authorizer, ClientError, Door, Server};
use keymoult::keys::{KekDescription, KeyAct, KeyUse, ProviderKind, Witness, WrapPurpose};
use keymoult::units::{Generation, VolumeId};
use serde_json::{Value, json};

use super::fake::{Daemon, Fake};
use super::replicas;
use super::schema::Schemas;

/// One request as `curl --unix-socket` would send it: status and body.
pub fn http(socket: &Path, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
    let mut stream = UnixStream::connect(socket).unwrap();
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    // A server that refuses a long body may close before all of it is sent.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

/// A body that says everything its schema can.
fn body_of(schema: &str) -> Value {
    let pace = json!({"bytes_per_s": 1 << 20, "adaptive": true, "factor": 2.5});
    match schema {
        "RotateStart" => {
            json!({"suite": "aes-128-xts", "order": {"kind": "ranges", "ranges": [{"first": 0, "end": 4096}]},
            "pace": pace, "verify": "sample:0.5", "reason": "why", "hold_finalize": true,
            "together": {"one_at_a_time": true, "cold_proof": true, "deadline_s": 600, "on_deadline": "undo"}})
        }
        "PaceRequest" => json!({"pace": pace, "reason": "why"}),
        "VerifyRequest" => json!({"verify": "full", "reason": "why"}),
        "CheckRequest" => json!({"full": true, "bytes_per_s": 1 << 20, "reason": "why"}),
        "ResizeRequest" => json!({"size_bytes": 5 << 20, "reason": "why"}),
        "RewrapRequest" => json!({"to": "file:/new", "new_kek": true, "from": "ab12", "keep_old": false,
            "generation": 1, "reason": "why"}),
        "WrapAddRequest" => json!({"to": "file:/new", "new_kek": true, "generation": 1, "reason": "why"}),
        "WrapRemoveRequest" => json!({"from": "ab12", "generation": 1, "reason": "why"}),
        "HolderRequest" => json!({"label": "nightly", "first_generation": 1, "last_generation": 2, "reason": "why"}),
        "HolderNamed" => json!({"holder": "0011", "reason": "why"}),
        "BackupRequest" => json!({"path": "/srv/b", "label": "b", "reason": "why"}),
        "EscrowRequest" => {
            json!({"path": "/srv/b", "recipients": ["age1x"], "threshold": 1, "label": "b", "reason": "why"})
        }
        "ReasonRequest" => json!({"reason": "why"}),
        "PauseRequest" => json!({"here": true, "reason": "why"}),
        "ExpelRequest" => json!({"node": "b", "reason": "why"}),
        "AdmitRequest" => {
            json!({"public": "keymoult-node:d:00:11", "role": "witness", "address": "d:7000", "reason": "why"})
        }
        "InviteRequest" => json!({"nodes": ["d"], "into": "/srv/d.invite", "reason": "why"}),
        "PeerCheckRequest" => json!({"data": true, "bytes_per_s": 1 << 20, "reason": "why"}),
        "FreezeRequest" => json!({"reason": "why"}),
        "HistoryRequest" => json!({"reason": "why"}),
        "TokenRequest" => json!({"volume": "00000000-0000-4000-8000-000000000000", "node": "b", "reason": "why"}),
        "KeyRequest" => json!({"generation": 1, "reason": "why"}),
        "ScheduleRequest" => json!({"generation": 1, "after_s": 60, "break_glass": true, "reason": "why"}),
        "DestroyRequest" => {
            json!({"generation": 1, "despite_holders": true, "break_glass": true, "reason": "why"})
        }
        "BreakGlassRequest" => json!({"generation": 1, "undo": true, "break_glass": true, "reason": "why"}),
        "ProofRequest" => json!({"proof": "signed"}),
        other => panic!("no body for {other}"),
    }
}

fn schema_name(content: &Value) -> Option<String> {
    let reference = content["content"]["application/json"]["schema"]["$ref"].as_str()?;
    reference.rsplit('/').next().map(str::to_owned)
}

#[test]
fn every_route_takes_and_gives_what_the_description_says() {
    let mut schemas = Schemas::new();
    let fake = Fake { peers: Some(replicas::everything()), ..Fake::default() };
    let daemon = Daemon::of(fake, nix::unistd::geteuid().as_raw());
    let paths = schemas.document["paths"].as_object().unwrap().clone();
    let call = |schemas: &mut Schemas, path: &str| {
        for (method, operation) in paths[path].as_object().unwrap() {
            let body = schema_name(&operation["requestBody"]).map(|name| {
                let body = body_of(&name);
                schemas.check(&name, &body);
                body.to_string()
            });
            let uri = path.replace("{volume}", "disk0");
            let (status, answer) =
                http(&daemon.socket, &method.to_uppercase(), &uri, body.unwrap_or_default().as_bytes());
            match schema_name(&operation["responses"]["200"]) {
                Some(name) if status == 200 => schemas.check(&name, &answer),
                None => assert_eq!((status, &answer), (200, &schemas.document)),
                Some(_) => {
                    assert_eq!(status, 409, "{path}: {answer}");
                    schemas.check("Error", &answer);
                }
            }
        }
    };
    call(&mut schemas, "/v1/volumes/{volume}/rotation/start");
    for path in paths.keys() {
        call(&mut schemas, path);
    }
    call(&mut schemas, "/v1/volumes/{volume}/rotation/rollback");
    for _ in 0..3 {
        call(&mut schemas, "/v1/volumes/{volume}/rotation");
    }
    call(&mut schemas, "/v1/audit");
    // After the post the first look finds a full check failed, the next one an outcome.
    call(&mut schemas, "/v1/volumes/{volume}/check");
    call(&mut schemas, "/v1/volumes/{volume}/check");
    // The same of replicas: it runs, and then there is an outcome.
    for _ in 0..2 {
        let (_, found) = http(&daemon.socket, "GET", "/v1/volumes/disk0/peers/check", b"");
        schemas.check("PeerCheckStatus", &found);
    }
    refusing(&mut schemas);
    witnessed(&mut schemas);
    let unseen: Vec<String> = schemas.names().iter().flat_map(|name| schemas.unseen(name)).collect();
    assert_eq!(unseen, [] as [&str; 0], "described, but in no answer");
}

/// The one property only a daemon with a damaged log shows.
fn refusing(schemas: &mut Schemas) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let door = Door::new(Authorizer::solo(0), AuditLog::refusing(dir.path(), "line 3 was edited"));
    let _server = Server::start(&socket, door.into(), std::sync::Arc::new(Fake::default())).unwrap();
    if nix::unistd::geteuid().is_root() {
        let (_, status) = http(&socket, "GET", "/v1/status", b"");
        schemas.check("DaemonStatus", &status);
        let (code, error) = http(&socket, "POST", "/v1/volumes/disk0/rotation/pause", b"");
        assert_eq!((code, error["error"].as_str()), (503, Some("audit-refused")));
    } else {
        schemas.seen.insert("ControlStatus.audit_refusing".into());
    }
}

/// Records of a KEK in use.
fn witnessed(schemas: &mut Schemas) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let log = AuditLog::open(dir.path()).unwrap();
    let door = std::sync::Arc::new(Door::new(Authorizer::solo(nix::unistd::geteuid().as_raw()), log));
    let kek = KekDescription { kind: ProviderKind::Vault, label: "vault://kms:8200/transit/k".into(), kek_id: None };
    let purpose = WrapPurpose { volume: VolumeId([7; 16]), generation: Generation(1), key_id: [9; 16], suite: 1 };
    let usage = KeyUse { act: KeyAct::Unwrap, purpose: &purpose, kek: &kek };
    let witness = AuditWitness::new(std::sync::Arc::clone(&door));
    let number = witness.before(&usage).unwrap();
    witness.after(number, &usage, Ok(Some("11f7c2")));
    let _server = Server::start(&socket, door, std::sync::Arc::new(Fake::default())).unwrap();
    let (status, page) = http(&socket, "GET", "/v1/audit", b"");
    assert_eq!(status, 200);
    schemas.check("AuditPage", &page);
}

#[test]
fn errors_are_json_with_what_where_hint_and_code() {
    let mut schemas = Schemas::new();
    let daemon = Daemon::new();
    let long = vec![b' '; BODY_MAX + 1];
    let cases: &[(&str, &str, &[u8], u16, &str)] = &[
        ("GET", "/v1/nothing", b"", 404, "not-found"),
        ("GET", "/", b"", 404, "not-found"),
        ("DELETE", "/v1/status", b"", 404, "not-found"),
        ("GET", "/v1/volumes/disk0/rotation/start", b"", 404, "not-found"),
        ("GET", "/v1/volumes/disk9", b"", 404, "not-found"),
        ("GET", "/v1/volumes/%2e%2e%2f/keys", b"", 404, "not-found"),
        ("GET", "/v1/audit?since=1", b"", 400, "bad-input"),
        ("POST", "/v1/volumes/disk0/rotation/start", b"{", 400, "bad-input"),
        ("POST", "/v1/volumes/disk0/rotation/start", b"[]", 400, "bad-input"),
        ("POST", "/v1/volumes/disk0/rotation/start", b"{\"speed\":1}", 400, "bad-input"),
        ("POST", "/v1/volumes/disk0/rotation/start", b"{\"verify\":\"sample:2\"}", 400, "bad-input"),
        ("POST", "/v1/volumes/disk0/rotation/start", b"{\"pace\":{\"adaptive\":true,\"factor\":0}}", 400, "bad-input"),
        ("POST", "/v1/volumes/disk0/rotation/pace", b"", 400, "bad-input"),
        ("POST", "/v1/volumes/disk0/rotation/pause", &long, 400, "bad-input"),
        ("POST", "/v1/volumes/disk0/rotation/finalize", b"", 409, "state"),
        ("POST", "/v1/volumes/panic/rotation/pause", b"", 500, "internal"),
    ];
    for (method, path, body, status, error) in cases {
        let (got, answer) = http(&daemon.socket, method, path, body);
        assert_eq!((got, answer["error"].as_str()), (*status, Some(*error)), "{method} {path}: {answer}");
        schemas.check("Error", &answer);
    }
    // And the daemon is still there after all that.
    assert_eq!(http(&daemon.socket, "GET", "/healthz", b"").0, 200);
}

#[test]
fn readiness_is_not_health() {
    let daemon = Daemon::of(Fake { not_ready: true, ..Fake::default() }, nix::unistd::geteuid().as_raw());
    assert_eq!(http(&daemon.socket, "GET", "/healthz", b"").0, 200);
    assert_eq!(http(&daemon.socket, "GET", "/readyz", b"").0, 503);
}

#[test]
fn what_is_done_over_the_socket_is_recorded_with_its_actor() {
    let daemon = Daemon::new();
    let client = daemon.client();
    let request = RotateStart { reason: Some("drill".into()), ..RotateStart::default() };
    assert!(client.start("disk0", &request).unwrap().changed);
    client.status().unwrap();
    let page = client.audit(AuditQuery::default()).unwrap();
    let kinds: Vec<Kind> = page.records.iter().map(|record| record.kind).collect();
    assert_eq!(kinds, [Kind::Intent, Kind::Outcome]);
    let actor = page.records[0].actor;
    assert_eq!((actor.uid, actor.pid), (nix::unistd::geteuid().as_raw(), i32::try_from(std::process::id()).ok()));
    assert!(actor.process_start.is_some());
    assert_eq!(page.records[0].reason.as_deref(), Some("drill"));
    assert_eq!(page.head.sequence, 2);
    let after = client.audit(AuditQuery { after: Some(1), limit: Some(10) }).unwrap();
    assert_eq!(after.records.iter().map(|record| record.sequence).collect::<Vec<_>>(), [2]);
    let last = client.audit(AuditQuery { after: None, limit: Some(1) }).unwrap();
    assert_eq!(last.records[0].sequence, 2);
}

#[test]
fn the_clients_errors_are_the_daemons() {
    let daemon = Daemon::new();
    let client = daemon.client();
    match client.volume("no/such volume") {
        Err(ClientError::Daemon(error)) => {
            assert_eq!(error, ApiError::no_such_volume("no/such volume"))
        }
        other => panic!("{other:?}"),
    }
    *daemon.fake.fault.lock().unwrap() = Some(ApiError::new(ErrorKind::Io, "a device failed").at("/dev/x"));
    match client.pause("disk0", &PauseRequest::default()) {
        Err(ClientError::Daemon(error)) => {
            assert_eq!((error.error, error.code), (ErrorKind::Io, 7))
        }
        other => panic!("{other:?}"),
    }
}
