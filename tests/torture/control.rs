//! Positive control: a daemon without rule R0 must be caught. A harness that finds nothing in it would find nothing at all.
//!
//! R0 says that an extent is taken only when its last client write is behind a flush. Without it a fingerprint may be of
//! data that a power cut takes back, and recovery then decrypts what is really there with the wrong key. A killed process
//! loses no page cache, so only the disk whose power can be cut shows it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::campaign;
use crate::setting::{Ground, Setting};
use crate::tally::Tally;

/// Seeds tried before the daemon counts as not caught; each is good for so many power cuts.
const SEEDS: u64 = 30;
const BLOWS: u64 = 10;

/// The daemon without R0, which one suite alone does not bring along: linked with the library that is there already, or
/// what `KEYMOULT_WITHOUT_R0_BIN` names.
fn without_r0() -> PathBuf {
    if let Some(given) = std::env::var_os("KEYMOULT_WITHOUT_R0_BIN") {
        return given.into();
    }
    let target = Path::new(env!("CARGO_BIN_EXE_keymoult")).ancestors().nth(2).unwrap();
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    build.args(["build", "--locked", "--quiet", "--example", "keymoult-without-r0"]);
    if cfg!(feature = "etcd") {
        build.args(["--features", "etcd"]);
    }
    build.arg("--manifest-path").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    // No limit of its own: a build beside everything else takes as long as it takes.
    let output = build.arg("--target-dir").arg(target).output().unwrap();
    assert!(output.status.success(), "{build:?}: {}", String::from_utf8_lossy(&output.stderr));
    target.join("debug/examples/keymoult-without-r0")
}

#[test]
fn a_daemon_without_r0_is_caught() {
    let binary = without_r0();
    let mut tally = Tally::default();
    for seed in 1..=SEEDS {
        let setting = Setting { mode: "in-place", flushes: 0, ..Setting::draw(seed, Ground::Disk) };
        let Err(wrong) = campaign::run(setting, BLOWS, Some(binary.clone()), &mut tally) else { continue };
        assert!(wrong.contains("hold what they must not after Power"), "seed {seed}: caught, but for what? {wrong}");
        println!("caught with seed {seed} after {} power cuts: {wrong}\n{}", tally.power_cuts, tally.text());
        return;
    }
    panic!("not caught:\n{}", tally.text());
}
