//! Cryptographic agility: policy says where suites stand, and a change of algorithm is an ordinary rotation under clients
//! that verify, with both suites live at once.

use std::sync::atomic::{AtomicBool, Ordering};

use super::support::{
    Daemon, MIB, Oracle, ServeOptions, Store, Volume, VolumeOptions, keymoult, map, run, same, succeed, tool, total,
};
use super::{alarms, json, refused, said};

fn policy(store: &Store, suites: &str) -> Vec<String> {
    let path = store.path("policy.toml");
    std::fs::write(&path, format!("[policy]\nsuites = {suites}\n")).unwrap();
    vec!["--config".into(), path.display().to_string()]
}

fn serve(more: Vec<String>) -> ServeOptions {
    ServeOptions { more, ..ServeOptions::default() }
}

fn aes_128(store: &Store) -> Volume {
    store.create("vol", &VolumeOptions { size: 24 * MIB, cipher: "aes-128-xts", ..VolumeOptions::default() })
}

#[test]
fn from_aes_128_to_aes_256_under_a_client_that_verifies() {
    let store = Store::new();
    let volume = aes_128(&store);
    let more = policy(&store, "{ aes-128-xts = { status = \"deprecated\", since = \"2026-01-01\" } }");
    let mut daemon = Daemon::start(&store, std::slice::from_ref(&volume), &serve(more));
    let deprecated = alarms(&daemon, "vol");
    assert_eq!(deprecated.len(), 1, "{deprecated:?}");
    assert!(deprecated[0].1.contains("aes-128-xts is deprecated by policy.suites.aes-128-xts since 2026-01-01"));
    let stays = json(&daemon, &["rotate", "plan", "vol"]);
    assert!(stays["risks"].to_string().contains("is deprecated by policy.suites.aes-128-xts"), "{stays}");
    let moves = json(&daemon, &["rotate", "plan", "vol", "--cipher", "aes-256-xts"]);
    assert!(!moves["risks"].to_string().contains("deprecated"), "{moves}");
    let list = said(&daemon.ask(&["key", "list", "vol"]));
    assert!(list.contains("aes-128-xts, deprecated"), "{list}");
    let mut oracle = Oracle::fresh(volume.size);
    let (mut client, mut random) = (daemon.connect(), 11);
    oracle.hammer(&mut client, &mut random, 16, 1500);
    daemon.rotate("start", &["--cipher", "aes-256-xts", "--rate", "6MiB", "--fixed"]);
    let (over, both) = (AtomicBool::new(false), AtomicBool::new(false));
    let rounds = std::thread::scope(|scope| {
        let verify = scope.spawn(|| {
            let mut rounds = 0;
            while !over.load(Ordering::Relaxed) {
                oracle.hammer(&mut client, &mut random, 16, 120);
                oracle.check(&mut client);
                rounds += 1;
            }
            rounds
        });
        while json(&daemon, &["rotate", "status", "vol"])["state"] != "finalized" {
            let entries = map(&daemon.uri(), "x-keymoult:generation");
            both.fetch_or(total(&entries, 1) > 0 && total(&entries, 2) > 0, Ordering::Relaxed);
        }
        over.store(true, Ordering::Relaxed);
        verify.join().unwrap()
    });
    println!("the client wrote and verified the whole volume {rounds} times while its algorithm changed");
    assert!(rounds > 1 && both.load(Ordering::Relaxed), "both suites were live at once");
    assert_eq!(alarms(&daemon, "vol"), [], "nothing is under the old suite any more");
    let (one, two) = (store.path("one"), store.path("two"));
    succeed(tool("nbdcopy").arg(daemon.uri()).arg(&one));
    oracle.check(&mut client);
    drop(client);
    daemon.terminate();
    daemon.restart();
    succeed(tool("nbdcopy").arg(daemon.uri()).arg(&two));
    same(&std::fs::read(&one).unwrap(), &std::fs::read(&two).unwrap(), "after a restart");
    daemon.terminate();
    let check = store.check(&volume);
    assert!(check.status.success(), "{}", said(&check));
}

#[test]
fn a_forbidden_suite_is_refused_by_the_name_of_the_rule_and_data_under_it_stay_readable() {
    let store = Store::new();
    let volume = aes_128(&store);
    let more = policy(&store, "{ aes-128-xts = { status = \"forbidden\" } }");
    let made = store.path("more.km");
    let mut command = keymoult();
    command.args(["volume", "create"]).arg(&made).args(["--size", "8MiB", "--kek", &store.kek()]);
    let output = run(command.args(["--cipher", "aes-128-xts"]).args(&more));
    assert_eq!(output.status.code(), Some(8), "{}", said(&output));
    assert!(said(&output).contains("aes-128-xts is forbidden by policy.suites.aes-128-xts") && !made.exists());
    let mut daemon = Daemon::start(&store, std::slice::from_ref(&volume), &serve(more));
    assert_eq!(alarms(&daemon, "vol")[0].0, "suite-forbidden");
    daemon.connect().write(0, &[7; 4096]).unwrap();
    let refusal = refused(&daemon, 8, &["rotate", "start", "vol"]);
    assert!(refusal.contains("forbidden by policy.suites.aes-128-xts") && refusal.contains("policy.toml"), "{refusal}");
    let plan = json(&daemon, &["rotate", "plan", "vol"]);
    assert!(plan["risks"].to_string().contains("`rotate start` refuses it"), "{plan}");
    daemon.rotate("start", &["--cipher", "aes-256-xts"]);
    daemon.rotate("wait", &["--timeout", "120"]);
    daemon.terminate();
    for (suites, why) in [
        ("{ aes-129-xts = { status = \"forbidden\" } }", "unknown cipher suite"),
        ("{ aes-128-xts = { status = \"bad\" } }", "none of allowed, deprecated, forbidden"),
        ("{ aes-128-xts = { status = \"forbidden\", since = \"soon\" } }", "a day such as 2026-01-31"),
    ] {
        policy(&store, suites);
        let words = daemon.try_restart().unwrap_err();
        assert!(words.contains(why), "{words}");
    }
}
