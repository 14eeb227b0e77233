//! Passphrases from descriptors that a shell passes to the real program.

use super::scene::{PASSPHRASE, planted_volume};
use super::support::{Store, keymoult, run};
use std::process::{Command, Output};

/// `volume check` of the planted volume, run by a shell that adds `redirection`.
fn check(store: &Store, kek: &str, redirection: &str) -> Output {
    let binary = keymoult().get_program().to_owned();
    let mut shell = Command::new("bash");
    shell.arg("-c").arg(format!("exec \"$0\" volume check \"$1\" --kek {kek} {redirection}"));
    run(shell.arg(binary).arg(store.path("vol.km")))
}

#[test]
fn a_passed_descriptor_opens_the_volume() {
    let store = Store::new();
    planted_volume(&store);
    let pass = store.path("pass").display().to_string();
    for (kek, redirection) in [
        ("passphrase:fd=3", format!("3<'{pass}'")),
        ("passphrase:fd=9", format!("9< <(cat '{pass}')")),
        ("passphrase:fd=0", format!("<'{pass}'")),
        // The same one twice: it is read once and kept.
        ("passphrase:fd=3 --kek passphrase:fd=3", format!("3< <(printf '%s\\n' {PASSPHRASE})")),
    ] {
        let output = check(&store, kek, &redirection);
        assert!(output.status.success(), "{kek} {redirection}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn what_was_not_passed_is_refused() {
    let store = Store::new();
    planted_volume(&store);
    for (kek, redirection, said) in [
        ("passphrase:fd=77", "", "descriptor /proc/self/fd/77: there is no such file"),
        ("passphrase:fd=2", "", "it is where this program writes to"),
        ("passphrase:fd=3", "3</dev/null", "it is empty"),
        ("passphrase:fd=3", "3< <(printf 'one\\ntwo\\n')", "it has more than one line"),
        ("passphrase:fd=3", "3< <(head -c 5000 /dev/zero | tr '\\0' x)", "longer than 1024 bytes"),
        ("passphrase:fd=3", "3< <(echo another)", "none of the keys given opens it"),
    ] {
        let output = check(&store, kek, redirection);
        let told = [output.stderr, output.stdout].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        assert!(!output.status.success() && told.contains(said), "{kek} {redirection}: {told}");
    }
}

/// The passphrase is in no argument and no variable of the daemon that got it by a descriptor, and the descriptor is closed.
#[test]
fn nothing_is_left_of_a_descriptor() {
    let store = Store::new();
    let volume = planted_volume(&store);
    let pass = store.path("pass").display().to_string();
    let binary = keymoult().get_program().to_owned();
    let mut shell = Command::new("bash");
    let socket = store.path("nbd").display().to_string();
    shell.arg("-c").arg(format!(
        "exec \"$0\" serve \"$1\" --kek passphrase:fd=9 --nbd unix:{socket} --control unix:{} --state-dir {} 9<'{pass}'",
        store.path("ctl").display(),
        store.path("state").display()
    ));
    let mut child = shell.arg(binary).arg(&volume.path).stdout(std::process::Stdio::null()).spawn().unwrap();
    let ready = (0..6000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        std::os::unix::net::UnixStream::connect(store.path("ctl")).is_ok()
    });
    let left = std::fs::read_link(format!("/proc/{}/fd/9", child.id())).ok();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(ready, "the daemon did not start");
    assert_ne!(left, Some(store.path("pass")), "the descriptor is still open");
}
