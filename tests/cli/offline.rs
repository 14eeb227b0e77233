//! `audit verify` and `audit show` on a log that was tampered with, by the real binary, with no daemon.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use keymoult::control::api::{PauseRequest, RotateStart};

use super::fake::Daemon;

/// A log of three actions.
fn log() -> (Daemon, PathBuf) {
    let mut daemon = Daemon::new();
    let client = daemon.client();
    client.start("disk0", &RotateStart::default()).unwrap();
    client.pause("disk0", &PauseRequest { here: false, reason: Some("to \u{1b}[2J look".into()) }).unwrap();
    client.resume("disk0", &PauseRequest::default()).unwrap();
    daemon.stop();
    let path = daemon.dir.path().join("audit.jsonl");
    (daemon, path)
}

fn keymoult(arguments: &[&str], path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_keymoult")).args(arguments).arg("--log").arg(path).output().unwrap()
}

fn verify(path: &Path) -> (Option<i32>, String, String) {
    let output = keymoult(&["audit", "verify"], path);
    (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Rewrites the lines of the log, and checks that `verify` then ends with 5 and says `words`.
fn found(change: impl FnOnce(&mut Vec<String>), words: &str) {
    let (_daemon, path) = log();
    let mut lines: Vec<String> = std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    change(&mut lines);
    std::fs::write(&path, lines.iter().map(|line| line.clone() + "\n").collect::<String>()).unwrap();
    let (code, stdout, stderr) = verify(&path);
    assert_eq!((code, stdout.as_str()), (Some(5), ""), "{stderr}");
    assert!(stderr.starts_with("error: the audit log is damaged: ") && stderr.contains(words), "{stderr}");
    assert!(stderr.contains("hint: "), "{stderr}");
}

#[test]
fn a_whole_log_is_said_to_be() {
    let (_daemon, path) = log();
    let (code, stdout, stderr) = verify(&path);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.contains("6 records, whole and in order\n  head 6:"), "{stdout}");
}

#[test]
fn edit_delete_reorder_and_truncate_are_each_found_and_named() {
    found(|lines| lines[2] = lines[2].replace("look", "hide"), "line 3 was edited");
    found(|lines| drop(lines.remove(1)), "line 2 is record 3 where record 2 belongs");
    found(|lines| lines.swap(3, 4), "line 4 is record 5 where record 4 belongs");
    found(|lines| lines.truncate(4), "the log ends before line 5, but record 6 was written once: it was truncated");
    found(|lines| lines.push("{}".into()), "line 7 is not a record");
}

#[test]
fn showing_a_damaged_log_says_so_and_a_reason_cannot_steer_the_terminal() {
    let (_daemon, path) = log();
    let shown = keymoult(&["audit", "show"], &path);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert_eq!((shown.status.code(), text.lines().count()), (Some(0), 7));
    assert!(text.contains("to \u{fffd}[2J look") && !text.contains('\u{1b}'), "{text:?}");
    std::fs::write(&path, "nonsense\n").unwrap();
    assert_eq!(keymoult(&["audit", "show"], &path).status.code(), Some(5));
}
