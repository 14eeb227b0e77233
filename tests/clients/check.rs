//! `keymoult volume check --online`: a served volume is checked beside a rotation and a writing client, and faults planted
//! in the backing under the running daemon are named.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Output;

use crate::support::{Daemon, MIB, Store, keymoult, pattern, run};
use crate::{Variant, with_daemon};
use serde_json::Value;

/// Where the superblock copies stand (FORMAT.md).
const SUPERBLOCKS: [u64; 2] = [0, 32 << 10];

fn online(daemon: &Daemon<'_>, args: &[&str]) -> (Option<i32>, Value) {
    let output = daemon.ask(&[&["volume", "check", "vol", "--online", "--json", "--rate", "unlimited"], args].concat());
    (output.status.code(), json(&output))
}

#[track_caller]
fn json(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Names of findings that are not "ok".
fn named(report: &Value) -> Vec<&str> {
    let bad = report["findings"].as_array().unwrap().iter().filter(|finding| finding["severity"] != "ok");
    bad.map(|finding| finding["name"].as_str().unwrap()).collect()
}

/// Changes a byte of the file, and changes it back when dropped.
struct Flip<'a>(&'a File, u64, u8);

impl<'a> Flip<'a> {
    fn at(file: &'a File, offset: u64) -> Flip<'a> {
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
        Flip(file, offset, byte[0])
    }
}

impl Drop for Flip<'_> {
    fn drop(&mut self) {
        self.0.write_all_at(&[self.2], self.1).unwrap();
    }
}

pub fn while_served(variant: Variant) {
    with_daemon(variant, 32, |store, daemon| {
        let mut client = daemon.connect();
        client.write(0, &pattern(1, 8 << 20)).unwrap();
        daemon.rotate("start", &["--rate", "32MiB"]);
        for round in 0..6 {
            client.write(round * MIB + 512, &pattern(round, 40_000)).unwrap();
            let (code, report) = online(daemon, if round % 2 == 0 { &["--full"] } else { &[] });
            assert_eq!((code, named(&report)), (Some(0), vec![]), "round {round}");
            assert_eq!((&report["online"], &report["passed"]), (&Value::Bool(true), &Value::Bool(true)));
            if round % 2 == 0 {
                assert_eq!((&report["data"]["extents"], &report["data"]["extents_unread"]), (&512.into(), &0.into()));
            }
        }
        daemon.rotate("wait", &[]);
        let (code, report) = online(daemon, &["--full"]);
        assert_eq!((code, named(&report)), (Some(0), vec![]));
        assert_eq!(report["references"][0]["proven_empty"], true, "{report:#}");
        planted(store, daemon);
        assert_eq!(online(daemon, &[]).0, Some(0), "all is as it was");
    });
}

fn planted(store: &Store, daemon: &Daemon<'_>) {
    let path = store.path("vol.km");
    // Offline it cannot be looked at now, and the message says how it can.
    let output = run(keymoult().args(["volume", "check"]).arg(&path).args(["--kek", &store.kek()]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(6) && said.contains("volume check NAME --online"), "{said}");
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let sequence = |copy: usize| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, SUPERBLOCKS[copy] + 16).unwrap();
        u64::from_le_bytes(bytes)
    };
    let newest = usize::from(sequence(1) > sequence(0));
    {
        let _flip = Flip::at(&file, SUPERBLOCKS[1 - newest] + 40);
        let (code, report) = online(daemon, &[]);
        assert_eq!((code, named(&report)), (Some(0), vec!["superblock-crc"]));
        assert_eq!(report["passed"], true);
    }
    let _flip = Flip::at(&file, SUPERBLOCKS[newest] + 40);
    let (code, report) = online(daemon, &[]);
    assert_eq!((code, named(&report)), (Some(5), vec!["superblock-crc", "superblock-differs"]));
    let output = daemon.ask(&["volume", "check", "vol", "--online"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("vol, while it is served: NOT sound"), "{text}");
    assert!(text.contains("means: the device does not hold what the daemon wrote last"), "{text}");
}
