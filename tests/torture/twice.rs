//! Two daemons on one backing: the second is refused by name, whatever path it comes by, and the first goes on unharmed.

use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use crate::hammer::{Ended, Hammer, Identity};
use crate::ledger::{End, Ledger};
use crate::support::{Daemon, MIB, ServeOptions, Store, Volume, VolumeOptions, keymoult, run};

const SIZE: u64 = 8 * MIB;

/// `serve` of the same volume with sockets of its own.
fn second(store: &Store, volume: &Volume) -> Output {
    let mut command: Command = keymoult();
    command.arg("serve").arg(format!("other={}", volume.path.display())).args(["--kek", &store.kek()]);
    if let Some(header) = &volume.header {
        command.arg("--header").arg(header);
    }
    command.arg("--nbd").arg(format!("unix:{}", store.path("nbd2").display()));
    command.arg("--control").arg(format!("unix:{}", store.path("ctl2").display()));
    run(command.arg("--state-dir").arg(store.path("state2")))
}

#[track_caller]
fn refused(output: &Output, path: &std::path::Path) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(said.contains(&format!("because: {} is in use", path.display())), "{said}");
    assert!(said.contains("hint: stop the daemon that serves it"), "{said}");
}

#[test]
fn the_second_daemon_is_refused_and_the_first_unharmed() {
    let store = Store::new();
    let volume = store.create("vol", &VolumeOptions { size: SIZE, detached: true, ..VolumeOptions::default() });
    let mut daemon = Daemon::start(&store, std::slice::from_ref(&volume), &ServeOptions::default());
    let (mut ledger, stop) = (Mutex::new(Ledger::fresh(SIZE)), AtomicBool::new(false));
    daemon.rotate("start", &["--rate", "4MiB", "--fixed"]);
    let linked = Volume { path: store.path("link.km"), ..volume.clone() };
    std::fs::hard_link(&volume.path, &linked.path).unwrap();
    // A copy of the data is free, but its header is not.
    let copied = Volume { path: store.path("copy.km"), ..volume.clone() };
    std::fs::copy(&volume.path, &copied.path).unwrap();
    thread::scope(|scope| {
        let hammer = Hammer::new(&ledger, &stop, daemon.connect(), Identity { number: 0, seed: 7, flushes: 10 });
        let client = scope.spawn(|| hammer.work());
        refused(&second(&store, &volume), &volume.path);
        refused(&second(&store, &linked), &linked.path);
        refused(&second(&store, &copied), volume.header.as_deref().unwrap());
        stop.store(true, Relaxed);
        let (ended, traffic) = client.join().unwrap();
        assert_eq!(ended, Ended::Stopped);
        assert!(traffic.requests > 0);
    });
    daemon.rotate("pace", &["--rate", "unlimited"]);
    daemon.rotate("wait", &["--timeout", "120"]);
    let found = daemon.connect().read(0, SIZE as usize).unwrap();
    ledger.get_mut().unwrap().settle(0, &found, End::Kill).unwrap();
    daemon.terminate();
    let check = store.check(&volume);
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}
