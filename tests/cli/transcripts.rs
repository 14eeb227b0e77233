//! Golden transcripts of the command line. `TRYCMD=overwrite cargo test --test cli` writes them anew; read the diff.

use super::fake::Daemon;

fn cases() -> trycmd::TestCases {
    let cases = trycmd::TestCases::new();
    cases.env("COLUMNS", "100").env("KEYMOULT_CONTROL", "unix:/nonexistent/control.sock");
    cases.env("KEYMOULT_STATE_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/state"));
    cases
}

#[test]
fn without_a_daemon() {
    cases().case("tests/cli/cmd/alone/*.trycmd").run();
}

/// Runs one transcript against a daemon of its own.
fn with_daemon(file: &str) {
    let daemon = Daemon::new();
    let cases = cases();
    cases.env("KEYMOULT_CONTROL", format!("unix:{}", daemon.socket.display()));
    cases.env("STATE", daemon.dir.path().display().to_string());
    cases.insert_var("[STATE]", daemon.dir.path().display().to_string()).unwrap();
    cases.case(file).run();
}

#[test]
fn status() {
    with_daemon("tests/cli/cmd/daemon/status.trycmd");
}

#[test]
fn key() {
    with_daemon("tests/cli/cmd/daemon/key.trycmd");
}

#[test]
fn rotate() {
    with_daemon("tests/cli/cmd/daemon/rotate.trycmd");
}

#[test]
fn rollback() {
    with_daemon("tests/cli/cmd/daemon/rollback.trycmd");
}

#[test]
fn check() {
    with_daemon("tests/cli/cmd/daemon/check.trycmd");
}

#[test]
fn resize() {
    with_daemon("tests/cli/cmd/daemon/resize.trycmd");
}

/// These name KEKs, so they are root's.
#[test]
fn rewrap() {
    if nix::unistd::geteuid().is_root() {
        with_daemon("tests/cli/cmd/daemon/rewrap.trycmd");
    }
}

#[test]
fn audit() {
    with_daemon("tests/cli/cmd/daemon/audit.trycmd");
}
