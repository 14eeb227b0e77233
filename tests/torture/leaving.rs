//! SIGTERM with requests in flight and a rotation under way: everything taken is answered, the daemon leaves with
//! success, nothing is left to recover, and the next one goes on with the rotation.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::thread;

use crate::hammer::{Ended, Hammer, Identity};
use crate::ledger::{End, Ledger};
use crate::support::{Daemon, MIB, ServeOptions, Store, VolumeOptions};
use crate::tally::Tally;

const SIZE: u64 = 16 * MIB;
const ROUNDS: u64 = 4;

fn leaves_in_order(io: &'static str) {
    let store = Store::new();
    let volume = store.create("vol", &VolumeOptions { size: SIZE, ..VolumeOptions::default() });
    let serve = ServeOptions { io: Some(io), ..ServeOptions::default() };
    let mut daemon = Daemon::start(&store, std::slice::from_ref(&volume), &serve);
    let mut ledger = Mutex::new(Ledger::fresh(SIZE));
    daemon.rotate("start", &["--rate", "1MiB", "--fixed"]);
    for round in 0..ROUNDS {
        let stop = AtomicBool::new(false);
        let clients: Vec<_> = (0..3)
            .map(|number| Identity { number, seed: 100 * round + u64::from(number), flushes: 10 })
            .map(|identity| Hammer::new(&ledger, &stop, daemon.connect(), identity))
            .collect();
        thread::scope(|scope| {
            let clients: Vec<_> = clients.into_iter().map(|client| scope.spawn(|| client.work())).collect();
            thread::sleep(std::time::Duration::from_millis(100 + 50 * round));
            daemon.terminate(); // asserts that it leaves by itself and with success
            for client in clients {
                let (ended, traffic) = client.join().unwrap();
                assert_eq!(ended, Ended::Gone);
                assert!(traffic.requests > 0);
            }
        });
        let check = store.check(&volume);
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
        daemon.restart();
        let ledger = ledger.get_mut().unwrap();
        ledger.all_ended();
        let mut client = daemon.connect();
        ledger.settle(0, &client.read(0, SIZE as usize).unwrap(), End::Kill).unwrap();
        assert_eq!(daemon.rotation()["state"], "running", "the rotation goes on");
    }
    let mut tally = Tally::default();
    tally.read_log(&daemon.log());
    assert_eq!((tally.recoveries, tally.extents_rolled_forward), (0, 0), "an orderly end leaves nothing to recover");
    daemon.rotate("pace", &["--rate", "unlimited"]);
    daemon.rotate("wait", &["--timeout", "120"]);
    daemon.terminate();
}

#[test]
fn sigterm_drains_and_exits_with_success_on_the_ring() {
    leaves_in_order("ring");
}

#[test]
fn sigterm_drains_and_exits_with_success_without_the_ring() {
    leaves_in_order("posix");
}
