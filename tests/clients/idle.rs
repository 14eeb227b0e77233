//! A daemon whom nobody asks for anything does nothing: no thread of it wakes up, whether a client is connected or not.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use crate::support::{Daemon, Store};
use crate::{Variant, with_daemon};

/// Looks until the daemon has come to rest.
const LOOKS: usize = 100;
const BETWEEN: Duration = Duration::from_millis(100);
/// How long it must then sleep.
const WATCH: Duration = Duration::from_secs(3);

pub fn wakes_nobody(variant: Variant) {
    with_daemon(variant, 4, |_: &Store, daemon: &Daemon<'_>| {
        assert_eq!(wake_ups(daemon.pid()), 0, "nobody is connected");
        let mut client = daemon.connect();
        assert_eq!(wake_ups(daemon.pid()), 0, "one idle client");
        client.read(0, 4096).unwrap();
        assert_eq!(wake_ups(daemon.pid()), 0, "one client that has read");
    });
}

/// Wake-ups of all threads while a daemon that has come to rest is watched.
fn wake_ups(pid: u32) -> u64 {
    let mut before = switches(pid);
    for _ in 0..LOOKS {
        sleep(BETWEEN);
        let now = switches(pid);
        if now == before {
            break;
        }
        before = now;
    }
    sleep(WATCH);
    switches(pid) - before
}

/// How often the threads of a process have gone to sleep since they began: as often as they were woken up.
fn switches(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |thread: fs::DirEntry| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap();
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.unwrap().trim().parse::<u64>().unwrap()
    };
    threads.map(|thread| of(thread.unwrap())).sum()
}
