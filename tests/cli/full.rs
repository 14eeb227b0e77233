//! The audit log on a file system that is really full: a small tmpfs in a mount namespace of its own.

use std::io::Write;
use std::process::Command;

use keymoult::control::ClientError;
use keymoult::control::api::*;

use super::fake::Daemon;

/// Says that this process runs inside the namespace, with `TMPDIR` on the small file system.
const INSIDE: &str = "KEYMOULT_TEST_INSIDE";
const NAMESPACE: [&str; 3] = ["--user", "--map-root-user", "--mount"];
const SCRIPT: &str =
    r#"mount -t tmpfs -o size=1m none "$TMPDIR" && exec "$0" --exact full::acts_are_refused_and_safety_verbs_are_not"#;

#[test]
fn acts_are_refused_and_safety_verbs_are_not() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let possible = Command::new("unshare").args(NAMESPACE).arg("true").status();
    if !possible.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no mount namespaces for this user here");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(NAMESPACE).args(["sh", "-c", SCRIPT]).arg(std::env::current_exe().unwrap());
    let output = command.env(INSIDE, "1").env("TMPDIR", dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

fn inside() {
    let daemon = Daemon::new();
    let client = daemon.client();
    client.start("disk0", &RotateStart::default()).unwrap();
    let path = daemon.dir.path().join("filler");
    let mut filler = std::fs::File::create(&path).unwrap();
    while filler.write_all(&[1; 4096]).is_ok() {}
    // A few more fit into the last page set aside; then no act does.
    let mut recorded = 0;
    loop {
        match client.finalize("disk0", &ReasonRequest::default()) {
            Err(ClientError::Daemon(error)) if error.error == ErrorKind::State && recorded < 20 => recorded += 1,
            Err(ClientError::Daemon(error)) => {
                assert_eq!((error.error, error.code), (ErrorKind::AuditRefused, 8), "{error}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    for _ in 0..50 {
        assert_eq!(client.pause("disk0", &PauseRequest::default()).unwrap().rotation.state, RotationState::Paused);
    }
    let back = client.rollback("disk0", &ReasonRequest::default()).unwrap();
    assert_eq!(back.rotation.state, RotationState::RollingBack);
    assert!(client.status().unwrap().control.audit_refusing.is_none());
    drop(filler);
    std::fs::remove_file(&path).unwrap();
    match client.finalize("disk0", &ReasonRequest::default()) {
        Err(ClientError::Daemon(error)) => {
            assert_eq!(error.error, ErrorKind::State, "recorded again, once there is space")
        }
        other => panic!("{other:?}"),
    }
    let report = keymoult::control::audit::verify(&daemon.dir.path().join("audit.jsonl"), None).unwrap();
    let records = 2 * (1 + recorded + 50 + 1 + 1);
    assert_eq!((report.unfinished.len(), report.torn_bytes, report.head.sequence), (0, 0, records));
}
