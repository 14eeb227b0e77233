//! A keeper that hangs, dies and comes back, under clients and a rotation: neither of them notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::bao::Bao;
use crate::support::{Client, Daemon, MIB, ServeOptions, Store, VolumeOptions, next, pattern, same};

/// A client that writes blocks and reads them again until told to stop; it panics if one is not what it wrote.
struct Busy {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

const BLOCK: usize = 64 << 10;

impl Busy {
    fn start(mut client: Client, size: u64) -> Busy {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, count) = (Arc::clone(&stop), Arc::clone(&done));
        let thread = thread::spawn(move || {
            let mut random = 7;
            while !told.load(Ordering::Relaxed) {
                let offset = next(&mut random) % (size / BLOCK as u64) * BLOCK as u64;
                let bytes = pattern(next(&mut random), BLOCK);
                client.write(offset, &bytes).unwrap();
                same(&client.read(offset, BLOCK).unwrap(), &bytes, "a block written a moment ago");
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Busy { stop, done, thread }
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits until so many more blocks went through; the test's own limit is that of the suite.
    fn goes_on(&self, blocks: u64) {
        let from = self.done();
        while self.done() < from + blocks {
            assert!(!self.thread.is_finished(), "the client has stopped");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

/// `rotate start` in a thread of its own: exit code and message.
fn start(daemon: &Daemon<'_>) -> (i32, String) {
    let output = daemon.ask(&["rotate", "start", "vol"]);
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn extents_done(daemon: &Daemon<'_>) -> u64 {
    daemon.rotation()["extents_done"].as_u64().unwrap()
}

fn generations(daemon: &Daemon<'_>) -> usize {
    let keys: Value = serde_json::from_slice(&daemon.ask(&["key", "list", "vol", "--json"]).stdout).unwrap();
    keys.as_array().or_else(|| keys["keys"].as_array()).unwrap().len()
}

#[test]
fn the_data_path_never_waits_for_a_keeper() {
    let mut bao = Bao::start();
    let mut store = Store::new();
    store.use_kek(bao.kek() + "&timeout=5");
    let size = 32 * MIB;
    let volume = store.create("vol", &VolumeOptions { size, ..VolumeOptions::default() });
    let mut daemon = Daemon::start(&store, &[volume], &ServeOptions::default());
    let busy = Busy::start(daemon.connect(), size);
    daemon.rotate("start", &["--fixed", "--rate", "1MiB/s"]);
    let before = generations(&daemon);

    // It hangs: connections are taken and nothing is answered.
    bao.signal(Signal::SIGSTOP);
    thread::scope(|scope| {
        let refused = scope.spawn(|| start(&daemon));
        let (blocks, extents) = (busy.done(), extents_done(&daemon));
        busy.goes_on(50);
        while extents_done(&daemon) == extents {
            thread::sleep(Duration::from_millis(20));
        }
        daemon.rotate("pause", &[]);
        daemon.rotate("resume", &[]);
        assert!(!refused.is_finished(), "the start did not hang; {} blocks since", busy.done() - blocks);
        let (code, message) = refused.join().unwrap();
        assert_eq!(code, 9, "{message}");
        assert!(message.contains("has not answered in time"), "{message}");
    });
    busy.goes_on(50);

    // It is gone.
    bao.signal(Signal::SIGCONT);
    bao.kill();
    let (code, message) = start(&daemon);
    assert_eq!(code, 9, "{message}");
    assert!(message.contains("cannot be reached"), "{message}");
    assert_eq!(generations(&daemon), before, "a refused start leaves a generation behind");
    busy.goes_on(50);
    daemon.rotate("pace", &["--fixed", "--rate", "unlimited"]);
    daemon.rotate("wait", &[]);
    assert_eq!(daemon.rotation()["state"], "finalized");

    // It comes back.
    bao.spawn();
    bao.unseal();
    daemon.rotate("start", &["--wait"]);
    assert_eq!(generations(&daemon), before + 1);
    busy.stop();
    daemon.terminate();
}
