//! kill -9 under a client that remembers every answer, with a rotation running: nothing acknowledged may be missing.

use crate::Variant;
use crate::support::{Daemon, MIB, Oracle, Store, VolumeOptions, map, total};

const ROUNDS: u64 = 4;

pub fn kill_9_loses_nothing_acknowledged(variant: Variant) {
    let store = Store::new();
    let volume = store.create("vol", &VolumeOptions { size: 16 * MIB, ..VolumeOptions::default() });
    let mut daemon = Daemon::start(&store, std::slice::from_ref(&volume), &variant.serve());
    let mut oracle = Oracle::fresh(16 * MIB);
    let mut random = 20;
    oracle.hammer(&mut daemon.connect(), &mut random, 16, 8000);
    daemon.rotate("start", &["--rate", "8MiB", "--fixed"]);
    let mut answers = 0;
    for round in 0..ROUNDS {
        let mut client = daemon.connect();
        answers += std::thread::scope(|scope| {
            let hammer = scope.spawn(|| oracle.hammer(&mut client, &mut random, 16, usize::MAX));
            std::thread::sleep(std::time::Duration::from_millis(50 + 83 * round));
            daemon.kill_9();
            hammer.join().unwrap()
        });
        oracle.connection_ended();
        daemon.restart();
        oracle.check(&mut daemon.connect());
    }
    assert!(answers > 0, "the client never got an answer before the kill");
    daemon.rotate("pace", &["--rate", "unlimited"]);
    daemon.rotate("wait", &["--timeout", "120"]);
    let entries = map(&daemon.uri(), "x-keymoult:generation");
    assert_eq!(total(&entries, 1), 0, "generation 1 still encrypts something: {entries:?}");
    oracle.check(&mut daemon.connect());
    daemon.terminate();
    let check = store.check(&volume);
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}
