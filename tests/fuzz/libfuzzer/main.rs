//! The targets of `tests/fuzz/targets` under libFuzzer. `KEYMOULT_FUZZ_TARGET` names the one to run; everything else is
//! libFuzzer's own command line. `tools/fuzz` is the way to use it.
//!
//! One program holds all targets: linking it once takes less than linking twenty.

#![no_main]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a target reports")]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

#[path = "../harness.rs"]
mod harness;
#[path = "../support/mod.rs"]
mod support;
#[path = "../targets/mod.rs"]
mod targets;

static TARGET: OnceLock<&harness::Target> = OnceLock::new();

fn chosen() -> &'static harness::Target {
    let name = std::env::var("KEYMOULT_FUZZ_TARGET").unwrap_or_default();
    let found = targets::TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| {
        let names: Vec<&str> = targets::TARGETS.iter().map(|target| target.name).collect();
        eprintln!("KEYMOULT_FUZZ_TARGET is none of: {}", names.join(" "));
        std::process::exit(2)
    })
}

fuzz_target!(|input: &[u8]| {
    TARGET.get_or_init(chosen).check(input);
});
