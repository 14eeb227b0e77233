//! Who gets to the socket, and what happens to the socket itself.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use keymoult::control::audit::Kind;
use keymoult::control::{ClientError, Door, Server, ServerError};
use serde_json::Value;

use super::api::http;
use super::fake::{Daemon, Fake};

#[test]
fn the_socket_is_for_its_owner_and_goes_away() {
    let mut daemon = Daemon::new();
    assert_eq!(std::fs::metadata(&daemon.socket).unwrap().permissions().mode() & 0o777, 0o600);
    let second = Server::start(&daemon.socket, door(&daemon.dir.path().join("second")), daemon.fake.clone());
    assert!(matches!(second, Err(ServerError::InUse { .. })), "{second:?}");
    daemon.stop();
    assert!(!daemon.socket.exists());
    assert!(matches!(daemon.client().status(), Err(ClientError::Unreachable { .. })));
}

fn door(state_dir: &Path) -> std::sync::Arc<Door> {
    Door::open(state_dir).unwrap()
}

#[test]
fn a_socket_left_behind_is_replaced_and_a_file_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let server = Server::start(&socket, door(&dir.path().join("a")), std::sync::Arc::new(Fake::default())).unwrap();
    assert_eq!(http(&socket, "GET", "/healthz", b"").0, 200);
    server.stop();
    std::fs::write(&socket, "precious").unwrap();
    let refused = Server::start(&socket, door(&dir.path().join("b")), std::sync::Arc::new(Fake::default()));
    assert!(matches!(refused, Err(ServerError::NotASocket { .. })), "{refused:?}");
    assert_eq!(std::fs::read(&socket).unwrap(), b"precious");
    let nowhere =
        Server::start(Path::new("/nonexistent/s"), door(&dir.path().join("c")), std::sync::Arc::new(Fake::default()));
    assert!(matches!(nowhere, Err(ServerError::Bind { .. })), "{nowhere:?}");
}

/// A stranger who gets past the mode of the socket is still denied by the door, and that is recorded.
#[test]
fn a_stranger_is_denied_and_recorded() {
    use std::os::unix::process::CommandExt;
    let own = nix::unistd::geteuid();
    // Root may do everything, so as root the stranger is another user; else the daemon pretends to be one.
    let (operator, stranger) = if own.is_root() { (0, 65534) } else { (own.as_raw() + 1, own.as_raw()) };
    let daemon = Daemon::of(Fake::default(), operator);
    for path in [daemon.dir.path(), &daemon.socket] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    }
    // A copy the stranger can reach, wherever the tree is.
    let binary = daemon.dir.path().join("keymoult");
    std::fs::copy(env!("CARGO_BIN_EXE_keymoult"), &binary).unwrap();
    let mut command = std::process::Command::new(&binary);
    command
        .current_dir("/")
        .args(["rotate", "pause", "disk0", "--json", "--control"])
        .arg(format!("unix:{}", daemon.socket.display()));
    if own.is_root() {
        command.uid(stranger).gid(stranger);
    }
    let output = command.output().unwrap();
    let message: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((output.status.code(), message["error"].as_str()), (Some(8), Some("denied")), "{message}");
    let mut denied = Vec::new();
    keymoult::control::audit::read(&daemon.dir.path().join("audit.jsonl"), None, |record| denied.push(record.clone()))
        .unwrap();
    assert_eq!((denied.len(), denied[0].kind, denied[0].actor.uid), (1, Kind::Denied, stranger));
}
