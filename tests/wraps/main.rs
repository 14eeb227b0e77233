//! Who opens a volume, and under which algorithm its data are: KEKs change and suites change on a real daemon, under clients
//! that verify what they read.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "../support/mod.rs"]
mod support;

mod agility;
mod fallback;
mod rewrap;

use serde_json::Value;
use std::process::Output;
use support::Daemon;

/// What a command said on either stream.
fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Asks the daemon for JSON; it must succeed.
#[track_caller]
fn json(daemon: &Daemon<'_>, args: &[&str]) -> Value {
    let mut args = args.to_vec();
    args.push("--json");
    let output = daemon.ask(&args);
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Asks the daemon for what it must refuse with `code`; what it said.
#[track_caller]
fn refused(daemon: &Daemon<'_>, code: i32, args: &[&str]) -> String {
    let output = daemon.ask(args);
    assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    said(&output)
}

/// The KEK ids of each generation's wraps, and of the one that opened it.
fn wraps(daemon: &Daemon<'_>, volume: &str) -> Vec<(Vec<String>, Option<String>)> {
    let list = json(daemon, &["key", "list", volume]);
    let id = |wrap: &Value| wrap["kek_id"].as_str().unwrap().to_owned();
    let of = |key: &Value| {
        let wraps = key["wraps"].as_array().unwrap();
        (wraps.iter().map(id).collect(), wraps.iter().find(|wrap| wrap["opened"] == true).map(id))
    };
    list["keys"].as_array().unwrap().iter().map(of).collect()
}

/// Kinds of the alarms of a volume.
fn alarms(daemon: &Daemon<'_>, volume: &str) -> Vec<(String, String)> {
    let status = json(daemon, &["status", volume]);
    let text = |alarm: &Value, part: &str| alarm[part].as_str().unwrap().to_owned();
    status["alarms"].as_array().unwrap().iter().map(|alarm| (text(alarm, "kind"), text(alarm, "what"))).collect()
}
