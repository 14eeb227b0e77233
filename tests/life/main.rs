//! The life of keys with the real daemon: retire, destroy, compromise and revoke through the command line, under clients
//! and across kill -9.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "../support/mod.rs"]
mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use support::{Client, ClientError, Daemon, MIB, ServeOptions, Store, Volume, VolumeOptions, pattern};

const SIZE: u64 = 4 * MIB;
const EXTENT: u64 = 64 << 10;

/// `keymoult key VERB v ARGS… --json`: exit code, and what it says.
fn key(daemon: &Daemon<'_>, verb: &str, args: &[&str]) -> (Option<i32>, Value) {
    let output = daemon.ask(&[&["key", verb, "v", "--json"], args].concat());
    let text = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
    let said = serde_json::from_slice(text).unwrap_or_else(|_| panic!("{}", in_words(&output)));
    (output.status.code(), said)
}

fn in_words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The same, which must succeed.
#[track_caller]
fn good(daemon: &Daemon<'_>, verb: &str, args: &[&str]) -> Value {
    let (code, said) = key(daemon, verb, args);
    assert_eq!(code, Some(0), "key {verb} {args:?}: {said}");
    said
}

/// The same, which must be refused.
#[track_caller]
fn refused(daemon: &Daemon<'_>, verb: &str, args: &[&str]) -> String {
    let (code, said) = key(daemon, verb, args);
    assert_eq!(code, Some(8), "key {verb} {args:?}: {said}");
    said["what"].as_str().unwrap().to_owned()
}

/// Generation `generation` of `key list --json`.
fn listed(daemon: &Daemon<'_>, generation: usize) -> Value {
    good(daemon, "list", &[])["keys"][generation].clone()
}

fn store() -> (Store, Volume) {
    let store = Store::new();
    let volume = store.create("v", &VolumeOptions { size: SIZE, extent_size: EXTENT, ..VolumeOptions::default() });
    (store, volume)
}

fn filled(client: &mut Client) -> Vec<u8> {
    let content = pattern(7, SIZE as usize);
    client.write(0, &content).unwrap();
    client.flush().unwrap();
    content
}

fn is_eio<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> bool {
    matches!(answer, Err(ClientError::Refused(5)))
}

/// Whether `needle` stands anywhere in the file.
fn stands_in(path: &Path, needle: &[u8]) -> bool {
    std::fs::read(path).unwrap().windows(needle.len()).any(|window| window == needle)
}

/// The wraps of generation 1 as they stand in the table: behind the KEK's id and the blob's length.
fn wrap_of(path: &Path, kek_id: &str) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let table = &bytes[65536..65536 + 4096];
    let ids = table.windows(kek_id.len()).enumerate().filter(|(_, window)| *window == kek_id.as_bytes());
    ids.map(|(at, _)| {
        let at = at + kek_id.len();
        let len = usize::from(u16::from_le_bytes([table[at], table[at + 1]]));
        table[at + 2..at + 2 + len].to_vec()
    })
    .collect()
}

#[test]
fn from_a_rotation_to_a_tombstone() {
    let (store, volume) = store();
    let mut daemon = Daemon::start(&store, std::slice::from_ref(&volume), &ServeOptions::default());
    let content = filled(&mut daemon.connect());
    assert!(refused(&daemon, "retire", &["1"]).contains("generation 1 is active: it cannot be retired"));
    daemon.rotate("start", &["--wait", "--reason", "cryptoperiod"]);
    let before = listed(&daemon, 1);
    assert_eq!((before["state"].as_str(), before["extents"].as_u64()), (Some("empty"), Some(0)));
    let kek_id = before["wraps"][0]["kek_id"].as_str().unwrap().to_owned();
    let wraps = wrap_of(&volume.path, &kek_id);
    assert_eq!(wraps.len(), 3, "of generations 0, 1 and 2");
    assert!(before["actor"].as_str().is_some() && before["changed"].as_str().is_some());

    let retired = good(&daemon, "retire", &["1", "--reason", "nobody needs it"]);
    let proof = retired["proof"].as_str().unwrap();
    let mode = std::fs::metadata(proof).unwrap().permissions().mode() & 0o777;
    assert_eq!((retired["state"].as_str(), mode), (Some("disabled"), 0o600));
    let verdict = good(&daemon, "verify-proof", &[proof]);
    assert_eq!((verdict["authentic"].as_bool(), verdict["on_record"].as_bool()), (Some(true), Some(true)));
    let forged = store.path("forged.json");
    std::fs::write(&forged, std::fs::read_to_string(proof).unwrap().replace("nobody", "anybody")).unwrap();
    assert_eq!(key(&daemon, "verify-proof", &[forged.to_str().unwrap()]).0, Some(5));
    let digest = retired["evidence"].as_str().unwrap();
    let audit = std::fs::read_to_string(store.path("state").join("audit.jsonl")).unwrap();
    assert!(audit.contains(&format!("statement sha256:{digest}")));

    daemon.kill_9();
    daemon.restart();
    let disabled = listed(&daemon, 1);
    assert_eq!((disabled["state"].as_str(), disabled["reason"].as_str()), (Some("disabled"), Some("nobody needs it")));
    assert_eq!(good(&daemon, "restore", &["1"])["state"].as_str(), Some("empty"));
    good(&daemon, "retire", &["1"]);
    assert!(good(&daemon, "schedule", &["1"])["notes"][0].as_str().unwrap().contains("it may be destroyed from"));
    assert!(refused(&daemon, "destroy", &["1"]).contains("its date comes in"));
    good(&daemon, "cancel", &["1"]);
    assert_eq!(daemon.ask(&["key", "schedule", "v", "1", "--now"]).status.code(), Some(2), "a flag is missing");
    assert!(refused(&daemon, "schedule", &["1", "--after", "1h"]).contains("needs break-glass"));
    good(&daemon, "schedule", &["1", "--now", "--i-know-this-cannot-be-undone", "--reason", "drill"]);
    let destroyed = good(&daemon, "destroy", &["1", "--reason", "drill"]);
    assert_eq!((destroyed["state"].as_str(), destroyed["complete"].as_bool()), (Some("destroyed"), Some(true)));
    assert!(destroyed["notes"][0].as_str().unwrap().contains("none found"), "{destroyed}");
    assert!(destroyed["notes"][1].as_str().unwrap().contains(&kek_id), "{destroyed}");
    let tomb = listed(&daemon, 1);
    assert_eq!((tomb["wraps"].as_array().unwrap().len(), tomb["evidence"].as_str().is_some()), (0, true));
    for window in wraps[1].windows(16) {
        assert!(!stands_in(&volume.path, window), "something of the wrapped key is left");
    }
    assert!(stands_in(&volume.path, &wraps[2]), "what must be there is found this way");
    assert!(daemon.connect().read(0, SIZE as usize).unwrap() == content);
    daemon.terminate();
    let check = store.check(&volume);
    assert!(check.status.success(), "{}", in_words(&check));
}

#[test]
fn a_revoked_key_is_gone_in_time_and_comes_back_only_on_purpose() {
    let (store, volume) = store();
    let mut daemon = Daemon::start(&store, std::slice::from_ref(&volume), &ServeOptions::default());
    let content = filled(&mut daemon.connect());
    // So slow that it is in the middle of it for as long as this takes.
    daemon.rotate("start", &["--rate", "64KiB", "--fixed", "--hold-finalize"]);
    while daemon.rotation()["extents_done"].as_u64().unwrap() < 2 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(refused(&daemon, "revoke", &["2"]).contains("start a rotation away from it first"));
    let revoked = good(&daemon, "revoke", &["1", "--reason", "stolen"]);
    assert!(revoked["left_memory_ms"].as_u64().unwrap() < 10_000, "{revoked}");
    println!("the key was gone {} ms after it was withdrawn", revoked["left_memory_ms"]);
    let last = SIZE - EXTENT;
    let is_cut_off = |daemon: &Daemon<'_>| {
        let mut client = daemon.connect();
        assert!(client.read(0, 4096).unwrap() == content[..4096]);
        client.write(0, &content[..4096]).unwrap();
        assert!(is_eio(client.read(last, 4096)) && is_eio(client.write(last, &[1; 4096])));
        assert!(is_eio(client.trim(last, 4096)) && is_eio(client.zero(last, 4096)));
    };
    is_cut_off(&daemon);
    daemon.kill_9();
    daemon.restart();
    is_cut_off(&daemon);
    // It goes on after the restart, and finds that nothing else is left.
    while daemon.rotation()["state"].as_str() != Some("paused") {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let rotation = daemon.rotation();
    assert!(rotation["why"].as_str().unwrap().contains("which is revoked: `key reinstate`"), "{rotation}");
    assert_eq!(listed(&daemon, 1)["reason"].as_str(), Some("stolen"));
    assert!(refused(&daemon, "reinstate", &["1"]).contains("needs break-glass"));
    good(&daemon, "reinstate", &["1", "--break-glass", "--reason", "false alarm"]);
    assert!(daemon.connect().read(0, SIZE as usize).unwrap() == content);
    daemon.rotate("pace", &["--rate", "unlimited"]);
    daemon.rotate("resume", &[]);
    daemon.rotate("wait", &["--timeout", "60"]);
    daemon.rotate("finalize", &[]);
    assert_eq!(listed(&daemon, 1)["state"].as_str(), Some("empty"));
    assert!(daemon.connect().read(0, SIZE as usize).unwrap() == content);
    daemon.terminate();
    store.passes(&volume);
}

#[test]
fn a_compromised_key_is_left_at_top_priority_and_there_is_no_way_back() {
    let (store, volume) = store();
    let mut daemon = Daemon::start(&store, std::slice::from_ref(&volume), &ServeOptions::default());
    let content = filled(&mut daemon.connect());
    daemon.rotate("start", &["--rate", "64KiB", "--fixed", "--hold-finalize"]);
    let raised = good(&daemon, "compromise", &["1", "--reason", "a laptop was lost"]);
    assert!(raised["notes"][0].as_str().unwrap().contains("leaves it, at top priority"), "{raised}");
    let back = daemon.ask(&["rotate", "rollback", "v"]);
    assert!(back.status.code() == Some(8) && in_words(&back).contains("compromised"), "{}", in_words(&back));
    daemon.rotate("wait", &["--timeout", "60"]);
    daemon.rotate("finalize", &[]);
    let begun = good(&daemon, "compromise", &["2", "--reason", "that one too"]);
    assert!(begun["notes"][0].as_str().unwrap().contains("a rotation to generation 3 has begun"), "{begun}");
    daemon.rotate("wait", &["--timeout", "60"]);
    assert_eq!(listed(&daemon, 2)["state"].as_str(), Some("empty"));
    assert_eq!(good(&daemon, "compromise", &["2"])["changed"].as_bool(), Some(false));
    good(&daemon, "compromise", &["2", "--undo", "--break-glass", "--reason", "found again"]);
    assert_eq!(listed(&daemon, 2)["compromised"].as_bool(), Some(false));
    assert!(daemon.connect().read(0, SIZE as usize).unwrap() == content);
    daemon.terminate();
}

#[test]
fn the_policy_says_how_long_a_key_may_encrypt() {
    let (store, volume) = store();
    let config = store.path("keymoult.toml");
    let text = "[policy]\ncryptoperiod = \"0s\"\nkey-bytes = \"1KiB\"\ndestroy-delay = \"0s\"\n";
    std::fs::write(&config, text).unwrap();
    let more = vec!["--config".into(), config.display().to_string()];
    let daemon =
        Daemon::start(&store, std::slice::from_ref(&volume), &ServeOptions { more, ..ServeOptions::default() });
    filled(&mut daemon.connect());
    while listed(&daemon, 1)["cryptoperiod_left_s"].as_i64().unwrap() >= 0 {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(listed(&daemon, 1)["bytes_left"].as_i64().unwrap() < 0);
    assert!(listed(&daemon, 0)["cryptoperiod_left_s"].is_null(), "the metadata key encrypts nothing");
    let text = in_words(&daemon.ask(&["key", "list", "v"]));
    assert!(text.contains("generation 1: OVERDUE: its cryptoperiod ended"), "{text}");
    daemon.rotate("start", &["--wait"]);
    good(&daemon, "retire", &["1"]);
    good(&daemon, "schedule", &["1"]);
    good(&daemon, "destroy", &["1"]);
}

/// Another process proves a key of the volume that a daemon serves, from nothing, and leaves its record. Where the KEK is
/// another, or the key is gone, it says so by its exit code.
#[test]
fn a_served_volumes_key_is_proven_from_outside() {
    let (store, volume) = store();
    let state = store.path("proofs");
    std::fs::create_dir(&state).unwrap();
    let prove = |generation: &str, kek: &str| {
        let mut command = support::keymoult();
        command.args(["volume", "prove"]).arg(&volume.path).args(["--generation", generation, "--kek", kek, "--json"]);
        let output = support::run(command.arg("--state-dir").arg(&state));
        let text = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
        let said: Value = serde_json::from_slice(text).unwrap_or_else(|_| panic!("{}", in_words(&output)));
        (output.status.code(), said)
    };
    let mut daemon = Daemon::start(&store, std::slice::from_ref(&volume), &ServeOptions::default());
    let content = filled(&mut daemon.connect());
    daemon.rotate("start", &["--wait"]);
    let (code, proven) = prove("2", &store.kek());
    assert_eq!((code, proven["state"].as_str()), (Some(0), Some("active")), "{proven}");
    let listed = listed(&daemon, 2);
    assert_eq!(proven["kek_id"], listed["wraps"][0]["kek_id"]);
    assert_eq!(proven["check"].as_str().map(str::len), Some(32));
    assert_ne!(prove("1", &store.kek()).1["check"], proven["check"]);
    assert_eq!(prove("3", &store.kek()).0, Some(8), "there is none");
    let other = store.path("other");
    let output = support::run(support::keymoult().args(["volume", "create"]).arg(store.path("w.km")).args([
        "--size",
        "1MiB",
        "--new-kek",
        "--kek",
        &format!("file:{}", other.display()),
    ]));
    assert!(output.status.success(), "{}", in_words(&output));
    assert_eq!(prove("2", &format!("file:{}", other.display())).0, Some(4));
    good(&daemon, "revoke", &["1"]);
    let (code, said) = prove("1", &store.kek());
    assert!(code == Some(8) && said["what"].as_str().unwrap().contains("it is revoked"), "{said}");
    assert!(daemon.connect().read(0, SIZE as usize).unwrap() == content);
    daemon.terminate();
    let logs: String = std::fs::read_dir(&state)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default())
        .collect();
    assert!(logs.contains("volume-prove") && logs.contains("key-unwrap"), "{logs}");
}
