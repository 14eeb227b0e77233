//! Header backups, escrow and drills by the real program: a daemon, age's own tools, and hosts that have lost everything.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test, a panic is the report")]

#[path = "../support/mod.rs"]
mod support;

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use keymoult::format::bundle::Bundle;
use serde_json::Value;
use support::{Daemon, MIB, ServeOptions, Store, Volume, VolumeOptions, keymoult, pattern, run, same, succeed, tool};

/// A command whose record goes into `store`.
fn recorded(store: &Store) -> Command {
    let mut command = keymoult();
    command.env("KEYMOULT_STATE_DIR", store.path("tools"));
    command
}

#[track_caller]
fn json(command: &mut Command) -> Value {
    serde_json::from_str(&succeed(command.arg("--json"))).unwrap()
}

#[track_caller]
fn refused(output: &Output, code: i32, words: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(code) && stderr.contains(words), "{:?}: {stderr}", output.status);
}

/// An identity of age-keygen's, and its recipient.
fn person(store: &Store, name: &str) -> (PathBuf, String) {
    let path = store.path(name);
    succeed(tool("age-keygen").arg("-o").arg(&path));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let recipient = succeed(tool("age-keygen").arg("-y").arg(&path)).trim().to_owned();
    (path, recipient)
}

fn small() -> VolumeOptions {
    VolumeOptions { size: 8 * MIB, ..VolumeOptions::default() }
}

/// Writes a pattern through a daemon, so that it is really encrypted, and rotates once.
fn filled(store: &Store, volume: &Volume) -> Vec<u8> {
    let daemon = Daemon::start(store, std::slice::from_ref(volume), &ServeOptions::default());
    let content = pattern(7, volume.size as usize);
    let mut client = daemon.connect();
    client.write(0, &content).unwrap();
    client.flush().unwrap();
    daemon.rotate("start", &[]);
    daemon.rotate("wait", &["--timeout", "120"]);
    content
}

#[track_caller]
fn content_of(store: &Store, volume: &Volume) -> Vec<u8> {
    let daemon = Daemon::start(store, std::slice::from_ref(volume), &ServeOptions::default());
    let mut client = daemon.connect();
    client.read(0, volume.size as usize).unwrap()
}

/// Overwrites everything in front of the data.
fn destroy_header(volume: &Volume) {
    let path = volume.header.as_ref().unwrap_or(&volume.path);
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let end = if volume.header.is_some() { file.metadata().unwrap().len() } else { 3 * MIB };
    file.write_all_at(&vec![0xa7; end as usize], 0).unwrap();
}

fn verbs(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.map(|record| format!("{} {}", record["kind"].as_str().unwrap(), record["verb"].as_str().unwrap())).collect()
}

#[test]
fn a_backup_made_while_clients_go_on_restores_and_a_stale_one_is_refused() {
    for detached in [false, true] {
        let store = Store::new();
        let volume = store.create("vol", &VolumeOptions { detached, ..small() });
        let mut content = filled(&store, &volume);
        let mut daemon = Daemon::start(&store, std::slice::from_ref(&volume), &ServeOptions::default());
        let backup = store.path("vol.kmb");
        let to = backup.display().to_string();
        let made = daemon.ask(&["volume", "header-backup", "vol", "--to", &to, "--reason", "nightly", "--json"]);
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        assert_eq!((&made["settled"], made["path"].as_str()), (&Value::Bool(true), Some(to.as_str())));
        assert_eq!(std::fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
        refused(&daemon.ask(&["volume", "header-backup", "vol", "--to", &to]), 3, "never overwritten");
        let id = made["holder"]["id"].as_str().unwrap().to_owned();
        let list = String::from_utf8(daemon.ask(&["key", "holder", "list", "vol"]).stdout).unwrap();
        assert!(list.contains(&id[..12]) && list.contains("header-backup"), "{list}");
        daemon.connect().write(4096, &pattern(9, 1 << 20)).unwrap();
        content[4096..][..1 << 20].copy_from_slice(&pattern(9, 1 << 20));
        // Rehearsed while it is served, and again by hand.
        let drill = json(
            recorded(&store)
                .args(["drill", "restore", "vol", "--kek", &store.kek(), "--control", &daemon.control()])
                .arg("--bundle")
                .arg(&backup),
        );
        assert_eq!((&drill["recorded"], &drill["extents_confirmed"]), (&Value::Bool(true), &128.into()), "{drill}");
        let list = String::from_utf8(daemon.ask(&["key", "holder", "list", "vol"]).stdout).unwrap();
        assert!(!list.contains("never"), "{list}");
        let audit = String::from_utf8(daemon.ask(&["audit", "show"]).stdout).unwrap();
        assert!(audit.contains("header-backup") && audit.contains("drill-restore"), "{audit}");
        refused(&restore(&store, &volume, &backup), 6, "daemon");
        daemon.terminate();
        destroy_header(&volume);
        assert!(!store.check(&volume).status.success());
        let restored = restore(&store, &volume, &backup);
        assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
        store.passes(&volume);
        same(&content_of(&store, &volume), &content, "after the restore");
        let header = volume.header.as_ref().unwrap_or(&volume.path);
        assert!(PathBuf::from(format!("{}.before", header.display())).exists());
        filled(&store, &volume);
        refused(&restore(&store, &volume, &backup), 8, "a rotation has started or ended since");
        store.passes(&volume);
        let log = store.path("tools").join("tools.jsonl");
        succeed(keymoult().args(["audit", "verify", "--log"]).arg(&log));
        let verbs = verbs(&log);
        let at = |wanted: &str| {
            verbs.iter().position(|verb| verb == wanted).unwrap_or_else(|| panic!("{wanted}: {verbs:?}"))
        };
        assert!(
            at("intent header-restore") < at("outcome header-restore")
                && at("intent drill-restore") < at("intent key-unwrap")
        );
    }
}

fn restore(store: &Store, volume: &Volume, backup: &Path) -> Output {
    let mut command = recorded(store);
    command.args(["volume", "header-restore"]).arg(&volume.path).arg("--from").arg(backup);
    command.args(["--kek", &store.kek(), "--reason", "lost"]);
    if let Some(header) = &volume.header {
        command.arg("--header").arg(header);
    }
    run(&mut command)
}

/// Every KEK gone, the header gone, a host with nothing but the data, the bundle and two of three identities.
#[test]
fn from_escrow_an_empty_host_reads_the_data_back() {
    for detached in [false, true] {
        let store = Store::new();
        let volume = store.create("vol", &VolumeOptions { detached, ..small() });
        let content = filled(&store, &volume);
        let people: Vec<_> = ["one", "two", "three"].map(|name| person(&store, name)).to_vec();
        let bundle = store.path("vol.escrow");
        let daemon = Daemon::start(&store, std::slice::from_ref(&volume), &ServeOptions::default());
        let mut export = vec!["key", "export-escrow", "vol", "--threshold", "2"];
        let to = bundle.display().to_string();
        export.extend(["--to", &to]);
        people.iter().for_each(|(_, recipient)| export.extend(["--recipient", recipient]));
        let output = daemon.ask(&export);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let passphrase = ["key", "export-escrow", "vol", "--to", "/dev/shm/x", "--recipient", "hunter2 hunter2"];
        let output = daemon.ask(&passphrase);
        refused(&output, 3, "passphrases are refused");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("hunter2"));
        let audit = String::from_utf8(daemon.ask(&["audit", "show"]).stdout).unwrap();
        assert!(audit.find("escrow-export").unwrap() < audit.rfind("key-unwrap").unwrap(), "{audit}");
        drop(daemon);
        ages_own_tools_open_a_share(&store, &bundle, &people[0].0);
        drill(&store, &volume, &bundle, &people[1].0, &people[2].0);

        // The other host.
        let host = Store::new();
        let there =
            Volume { path: host.path("vol.km"), header: detached.then(|| host.path("vol.header")), ..volume.clone() };
        std::fs::copy(&volume.path, &there.path).unwrap();
        let carried: Vec<PathBuf> = ["vol.escrow", "one", "three"].map(|name| host.path(name)).to_vec();
        for (name, path) in ["vol.escrow", "one", "three"].iter().zip(&carried) {
            std::fs::copy(store.path(name), path).unwrap();
        }
        if !detached {
            destroy_header(&there);
        }
        drop(store);
        refused(&import(&host, &there, &carried[..2], true), 4, "it takes 2");
        let output = import(&host, &there, &carried, true);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        same(&content_of(&host, &there), &content, "on the other host");
        host.passes(&there);
        // Once more finds a header that opens, and changes the wraps alone.
        let again = import(&host, &there, &carried, false);
        assert!(again.status.success() && !String::from_utf8_lossy(&again.stdout).contains("restored"));
        same(&content_of(&host, &there), &content, "after a second import");
        let log = host.path("tools").join("tools.jsonl");
        let verbs = verbs(&log);
        let first = |wanted: &str| verbs.iter().position(|verb| verb == wanted).unwrap();
        assert!(first("intent escrow-import") < first("intent key-unwrap"));
        assert!(first("intent key-unwrap") < first("intent key-wrap"));
        let all = std::fs::read_to_string(&log).unwrap();
        assert!(all.contains("escrow bundle ") && !all.contains("AGE-SECRET-KEY"));
    }
}

fn import(host: &Store, volume: &Volume, carried: &[PathBuf], new: bool) -> Output {
    let mut command = recorded(host);
    command.args(["key", "import-escrow"]).arg(&carried[0]).arg(&volume.path);
    carried[1..].iter().for_each(|identity| {
        command.arg("--identity").arg(identity);
    });
    command.args(["--kek", &host.kek()]);
    if new {
        command.arg("--new-kek");
    }
    if let Some(header) = &volume.header {
        command.arg("--header").arg(header);
    }
    run(&mut command)
}

/// What is sealed here is an age file: age opens it, and finds a share in it.
fn ages_own_tools_open_a_share(store: &Store, bundle: &Path, identity: &Path) {
    let bundle = Bundle::decode(&std::fs::read(bundle).unwrap()).unwrap();
    let share = store.path("share.age");
    std::fs::write(&share, &bundle.shares[0].sealed).unwrap();
    let opened = run(tool("age").arg("-d").arg("-i").arg(identity).arg(&share));
    assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
    assert!(opened.stdout.starts_with(b"keymoult share 1") && opened.stdout.len() == 82);
    let other = run(tool("age").arg("-d").arg("-i").arg(store.path("two")).arg(&share));
    assert!(!other.status.success(), "it is for one recipient alone");
}

fn drill(store: &Store, volume: &Volume, bundle: &Path, one: &Path, other: &Path) {
    let before = std::fs::read(&volume.path).unwrap();
    let drill = |identities: &[&Path]| {
        let mut command = recorded(store);
        command.args(["drill", "restore"]).arg(&volume.path).arg("--bundle").arg(bundle);
        identities.iter().for_each(|identity| {
            command.arg("--identity").arg(identity);
        });
        command.arg("--scratch").arg(store.path("."));
        if let Some(header) = &volume.header {
            command.arg("--header").arg(header);
        }
        command
    };
    refused(&run(&mut drill(&[one])), 4, "open 1 of the bundle's shares, and it takes 2");
    let report = json(&mut drill(&[one, other]));
    assert_eq!((&report["kind"], &report["recorded"]), (&"escrow".into(), &Value::Bool(true)), "{report}");
    assert_eq!((&report["extents_confirmed"], &report["canaries"]), (&128.into(), &2.into()), "{report}");
    let after = std::fs::read(&volume.path).unwrap();
    let data = before.len() - 8 * MIB as usize - 8192;
    same(&after[data..], &before[data..], "a drill writes no data");
    let left = std::fs::read_dir(store.path("."))
        .unwrap()
        .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with(".keymoult-drill"));
    assert!(!left, "the scratch copy is gone");
}

#[test]
fn policy_says_when_a_drill_is_overdue_and_holders_are_released() {
    let store = Store::new();
    let volume = store.create("vol", &small());
    let config = store.path("keymoult.toml");
    let text = format!(
        "kek = [\"{}\"]\nnbd = [\"unix:{}\"]\ncontrol = \"unix:{}\"\nstate-dir = \"{}\"\n[policy]\ndrill-max-age = \"1s\"\n[[volume]]\npath = \"{}\"\n",
        store.kek(),
        store.path("nbd").display(),
        store.path("ctl").display(),
        store.path("state").display(),
        volume.path.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut child = keymoult().arg("serve").arg("--config").arg(&config).spawn().unwrap();
    let ask = |args: &[&str]| {
        run(keymoult().args(args).args(["--control", &format!("unix:{}", store.path("ctl").display())]))
    };
    let ready = (0..600).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        ask(&["status"]).status.success()
    });
    assert!(ready);
    let backup = store.path("b").display().to_string();
    assert!(ask(&["volume", "header-backup", "vol", "--to", &backup]).status.success());
    let added =
        ask(&["key", "holder", "add", "vol", "--label", "lvm-snap", "--reason", "before the upgrade", "--json"]);
    let added: Value = serde_json::from_slice(&added.stdout).unwrap();
    let overdue = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        String::from_utf8_lossy(&ask(&["status", "vol"]).stdout).contains("OVERDUE")
    });
    assert!(overdue);
    let list = String::from_utf8(ask(&["key", "holder", "list", "vol"]).stdout).unwrap();
    assert_eq!(list.matches("drill OVERDUE").count(), 1, "a snapshot is not drilled: {list}");
    let id = added["holder"]["id"].as_str().unwrap();
    assert!(ask(&["key", "holder", "release", "vol", "--holder", &id[..8], "--reason", "deleted"]).status.success());
    refused(&ask(&["key", "holder", "release", "vol", "--holder", "ffff"]), 8, "knows no holder");
    let list = String::from_utf8(ask(&["key", "holder", "list", "vol"]).stdout).unwrap();
    assert!(list.contains("released 20"), "{list}");
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());
    // Nobody serves it: the same list, by a key.
    let list =
        succeed(recorded(&store).args(["key", "holder", "list"]).arg(&volume.path).args(["--kek", &store.kek()]));
    assert!(list.contains("lvm-snap") && list.contains("released 20"), "{list}");
}

/// Export, import and restore are refused where they cannot be recorded; a plain command says so and goes on.
#[test]
fn what_cannot_be_recorded_is_refused_or_said_once() {
    let store = Store::new();
    let blocked = store.path("blocked");
    std::fs::write(&blocked, "a file where the directory would be").unwrap();
    let run_with = |args: &[&str]| run(keymoult().env("KEYMOULT_STATE_DIR", &blocked).args(args));
    let path = store.path("vol.km").display().to_string();
    let kek = store.kek();
    let made = run_with(&["volume", "create", &path, "--size", "8MiB", "--kek", &kek, "--new-kek"]);
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success() && said.matches("note: this is not recorded").count() == 1, "{said}");
    let to = store.path("b").display().to_string();
    let backup = ["volume", "header-backup", &path, "--kek", &kek, "--to", &to];
    refused(&run_with(&backup), 7, "it would not be recorded, so it is not done");
    assert!(!Path::new(&to).exists());
    let state = store.path("state").display().to_string();
    let recorded = run_with(&[&backup[..], &["--state-dir", &state]].concat());
    assert!(recorded.status.success(), "{}", String::from_utf8_lossy(&recorded.stderr));
    refused(
        &run_with(&["volume", "check", &path, "--kek", &kek, "--state-dir", &blocked.display().to_string()]),
        7,
        "tools.jsonl",
    );
}
