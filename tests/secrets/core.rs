//! No core: a daemon that is killed by a signal which makes one leaves none, though the limit it was started under allows it.

use super::scene::{planted_volume, talkative};
use super::support::{Daemon, ServeOptions, Store};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

/// Whether this machine makes cores at all, of a program that does nothing against it.
fn control(store: &Store) -> bool {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -c unlimited && kill -ABRT $$"]).current_dir(store.path(""));
    let status = shell.stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.signal(), Some(Signal::SIGABRT as i32));
    status.core_dumped()
}

#[test]
fn an_abort_leaves_no_core() {
    let store = Store::new();
    if !control(&store) {
        println!("this machine makes no cores of anything");
    }
    let before = cores(&store);
    let volume = planted_volume(&store);
    let mut daemon = Daemon::stopped(&store, &[volume], &ServeOptions::default());
    daemon.set_binary(Some(talkative(&store, "")));
    daemon.restart();
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let limit = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(limit.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{limit}");
    kill(Pid::from_raw(daemon.pid() as i32), Signal::SIGABRT).unwrap();
    let status = daemon.wait_for_end();
    assert_eq!(status.signal(), Some(Signal::SIGABRT as i32), "{status}");
    assert!(!status.core_dumped(), "{status}");
    assert_eq!(cores(&store), before);
}

/// The flag, not only the limit: the files of a process that may not be dumped belong to root, whoever runs it.
#[test]
fn the_process_may_not_be_dumped() {
    if !nix::unistd::geteuid().is_root() {
        println!("only root can run it as somebody else");
        return;
    }
    let store = Store::new();
    let owner = |more: &str| {
        let script = talkative(&store, more);
        fs::set_permissions(store.path(""), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut child = Command::new(script);
        child.args(["speed"]).stdout(Stdio::null()).stderr(Stdio::null());
        std::os::unix::process::CommandExt::uid(&mut child, 65534);
        child.spawn().unwrap()
    };
    let binary = super::support::keymoult().get_program().to_owned();
    let copy = store.path("copy");
    fs::copy(binary, &copy).unwrap();
    fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut child = owner(&format!("exec '{}' \"$@\"\n", copy.display()));
    let path = format!("/proc/{}/environ", child.id());
    // Until it is past its first lines, it is the shell, or has just begun.
    let started = std::time::Instant::now();
    let mut uid = 65534;
    while uid != 0 && started.elapsed().as_secs() < 30 && child.try_wait().unwrap().is_none() {
        uid = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&path).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(uid, 0, "the process can be dumped and traced by its own user");
}

fn cores(store: &Store) -> usize {
    let names = fs::read_dir(store.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with("core")).count()
}
