//! nbdsh: libnbd driven from Python, one script per question in `scripts/`.

use crate::support::{Daemon, succeed};
use crate::{Variant, with_daemon};
use std::process::Command;

/// Debian's libnbd module belongs to Debian's own Python, which need not be the first on the PATH.
pub const PYTHON: &str = "/usr/bin/python3";
const COMMON: &str = include_str!("scripts/common.py");

fn script(daemon: &Daemon<'_>, text: &str) {
    assert!(std::path::Path::new(PYTHON).exists(), "{PYTHON} is not installed: run tools/setup");
    let file = daemon.socket().with_file_name("script.py");
    std::fs::write(&file, format!("{COMMON}\n{text}")).unwrap();
    let said = succeed(Command::new(PYTHON).arg(&file).arg(daemon.uri()));
    assert!(said.ends_with("done\n"), "the script did not reach its end: {said}");
}

pub fn unaligned(variant: Variant) {
    with_daemon(variant, 8, |_, daemon| script(daemon, include_str!("scripts/unaligned.py")));
}

pub fn fua_and_flush(variant: Variant) {
    with_daemon(variant, 8, |_, daemon| script(daemon, include_str!("scripts/fua.py")));
}

pub fn trim_and_zero(variant: Variant) {
    with_daemon(variant, 8, |_, daemon| script(daemon, include_str!("scripts/trim_zero.py")));
}

pub fn block_status(variant: Variant) {
    with_daemon(variant, 8, |_, daemon| script(daemon, include_str!("scripts/block_status.py")));
}

pub fn multi_conn(variant: Variant) {
    with_daemon(variant, 8, |_, daemon| script(daemon, include_str!("scripts/multi_conn.py")));
}

pub fn errors(variant: Variant) {
    with_daemon(variant, 8, |_, daemon| script(daemon, include_str!("scripts/errors.py")));
}

pub fn negotiate(variant: Variant) {
    with_daemon(variant, 8, |_, daemon| script(daemon, include_str!("scripts/negotiate.py")));
}
