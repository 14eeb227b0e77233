//! Secrets under `RLIMIT_MEMLOCK`, as an unprivileged process has it. The limit belongs to a process and root is not
//! held to it, so the test runs itself again: as nobody, under a limit.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::crypto::{EngineKind, Secret, Suite, TweakRule, Xts, new_key, unlocked_bytes};

const CHILD: &str = "KEYMOULT_TEST_MEMLOCK_CHILD";
const NOBODY: u32 = 65534;

/// In the child: makes many secrets and keys, says how many bytes of them are unlocked, while and after they are held.
#[test]
fn child_holds_many_secrets() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let secrets: Vec<Secret> = (0..20_000).map(|_| Secret::random(64).unwrap()).collect();
    let keys: Vec<Xts> = (0..200)
        .map(|i| {
            let (suite, engine) = (Suite::Aes256Xts, [EngineKind::AwsLc, EngineKind::Portable][i % 2]);
            let key = new_key(suite).unwrap();
            let xts = Xts::new(engine, suite, &key, 4096, TweakRule::own(4096)).unwrap();
            xts.encrypt(0, &mut vec![0; 4096]);
            xts
        })
        .collect();
    let held = unlocked_bytes();
    assert!(secrets.windows(2).all(|pair| !pair[0].ct_eq(&pair[1])));
    drop((secrets, keys));
    println!("unlocked while held: {held}; after: {}", unlocked_bytes());
}

fn unlocked_in_child(limit_kib: u64) -> (usize, usize) {
    // A copy that nobody can run: the build tree may be closed to it.
    let dir = tempfile::Builder::new().prefix("keymoult-memlock").tempdir().unwrap();
    let copy = dir.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).unwrap();
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("ulimit -l {limit_kib} && exec \"$0\" --nocapture --exact \"$1\""))
        .arg(&copy)
        .arg("crypto::tests::memlock::child_holds_many_secrets")
        .env(CHILD, "1")
        .current_dir("/");
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers = text
        .split("unlocked while held: ")
        .nth(1)
        .unwrap_or_else(|| panic!("no answer: {text}{}", String::from_utf8_lossy(&output.stderr)));
    let (held, after) = numbers.split_once("; after: ").unwrap();
    (held.parse().unwrap(), after.lines().next().unwrap().trim().parse().unwrap())
}

#[test]
fn eight_mebibytes_are_plenty() {
    assert_eq!(unlocked_in_child(8192), (0, 0));
}

#[test]
fn what_cannot_be_locked_works_and_is_counted() {
    let (held, after) = unlocked_in_child(0);
    assert!(held >= 20_000 * 64, "{held}");
    assert!(after < held / 2, "{after} of {held} still counted");
}
