//! Golden transcripts of the command line. `TRYCMD=overwrite cargo test --test cli` writes them anew; read the diff.

use keymoult::control::api::PeerStatus;

use super::fake::{Daemon, Fake};
use super::replicas;

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
    with(file, Daemon::new());
}

/// The same against a daemon whose volume has replicas.
fn with_peers(file: &str, peers: PeerStatus) {
    let fake = Fake { peers: Some(peers), ..Fake::default() };
    with(file, Daemon::of(fake, nix::unistd::geteuid().as_raw()));
}

fn with(file: &str, daemon: Daemon) {
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
fn peer() {
    with_peers("tests/cli/cmd/daemon/peer.trycmd", replicas::draining());
}

#[test]
fn peer_that_misses_one() {
    with_peers("tests/cli/cmd/daemon/peer-missing.trycmd", replicas::one_missing());
}

#[test]
fn peer_without_its_lead() {
    with_peers("tests/cli/cmd/daemon/peer-follower.trycmd", replicas::follower());
}

#[test]
fn peer_that_hears_nobody() {
    with_peers("tests/cli/cmd/daemon/peer-cut.trycmd", replicas::cut_off());
}

#[test]
fn peer_with_every_trouble() {
    with_peers("tests/cli/cmd/daemon/peer-everything.trycmd", replicas::everything());
}

#[test]
fn no_peers() {
    with_daemon("tests/cli/cmd/daemon/peer-none.trycmd");
}

/// An invite names a file, so it is root's.
#[test]
fn peer_invite() {
    if nix::unistd::geteuid().is_root() {
        with_peers("tests/cli/cmd/daemon/peer-invite.trycmd", replicas::draining());
    }
}

#[test]
fn audit() {
    with_daemon("tests/cli/cmd/daemon/audit.trycmd");
}
