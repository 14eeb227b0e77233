//! A connection that dies with writes parked behind held extents: they must not land later, over newer data.
//!
//! The moment is made, not waited for: the disk's flushes are stalled, so the rotation keeps its batch held for as long as
//! the test likes. One client writes to the extents around the rotation's frontier and dies; another one writes to every
//! second of them. Where it did, its data must be there. Elsewhere a write that had begun may land and one that was parked
//! must not: at least one must show that it was parked. Nothing changes any more from there on.

use std::collections::BTreeSet;
use std::ops::Range;
use std::thread;
use std::time::Duration;

use crate::setting::{Ground, Setting};
use crate::support::{Client, Daemon, MIB, map};

const EXTENT: u64 = 64 << 10;
const EXTENTS: u64 = 8 * MIB / EXTENT;
/// Far longer than the daemon needs to notice that a connection is gone.
const QUIET: Duration = Duration::from_millis(300);
/// Far longer than a rotation needs to come to its next flush.
const STALL_LIMIT: Duration = Duration::from_secs(60);

const OLD: u8 = 1;
const OF_THE_DEAD: u8 = 2;
const NEWER: u8 = 3;

/// Writes `content` to the first block of each extent, without waiting; gives the cookies.
fn send_all(client: &mut Client, extents: impl Iterator<Item = u64>, content: u8) -> BTreeSet<u64> {
    extents.map(|extent| client.start_write(extent * EXTENT, &[content; 4096]).unwrap()).collect()
}

fn await_all(client: &mut Client, mut cookies: BTreeSet<u64>) {
    while !cookies.is_empty() {
        let (cookie, error) = client.receive().unwrap();
        assert_eq!(error, 0);
        assert!(cookies.remove(&cookie));
    }
}

/// The first byte of every extent, of which the whole first block must consist.
fn contents(daemon: &Daemon<'_>) -> Vec<u8> {
    let mut client = daemon.connect();
    let content = |extent| {
        let block = client.read(extent * EXTENT, 4096).unwrap();
        assert!(block.iter().all(|byte| *byte == block[0]), "extent {extent} is a mixture");
        block[0]
    };
    (0..EXTENTS).map(content).collect()
}

/// The extents around the first one that still has the old key.
fn around_the_frontier(daemon: &Daemon<'_>) -> Range<u64> {
    let entries = map(&daemon.uri(), "x-keymoult:generation");
    let frontier = entries.iter().find(|entry| entry.kind == 1).unwrap().offset / EXTENT;
    frontier.saturating_sub(8)..(frontier + 24).min(EXTENTS)
}

fn parked_writes_die_with_their_connection(mode: &'static str) {
    let setting = Setting { mode, io: "ring", ..Setting::draw(1, Ground::Disk) };
    let store = setting.store();
    let (volume, disk) = setting.create(&store);
    let disk = disk.unwrap();
    let mut daemon = Daemon::start(&store, std::slice::from_ref(&volume), &setting.serve());
    let mut survivor = daemon.connect();
    let cookies = send_all(&mut survivor, 0..EXTENTS, OLD);
    await_all(&mut survivor, cookies);
    survivor.flush().unwrap();

    daemon.rotate("start", &["--rate", "4MiB", "--fixed", "--verify", "off"]);
    let stall = disk.platter().stall();
    assert!(disk.platter().await_stalled(STALL_LIMIT), "the rotation comes to no flush");
    let window = around_the_frontier(&daemon);
    let mut dying = daemon.connect();
    send_all(&mut dying, window.clone(), OF_THE_DEAD);
    thread::sleep(QUIET);
    drop(dying);
    thread::sleep(QUIET);
    let cookies = send_all(&mut survivor, window.clone().step_by(2), NEWER);
    drop(stall);
    await_all(&mut survivor, cookies);

    let found = contents(&daemon);
    let mut dropped = 0;
    for (extent, content) in (0..).zip(&found) {
        match (window.contains(&extent), (extent - window.start.min(extent)).is_multiple_of(2)) {
            (false, _) => assert_eq!(*content, OLD, "extent {extent}"),
            (true, true) => {
                assert_eq!(*content, NEWER, "extent {extent}: a dead connection's write lies over newer data")
            }
            (true, false) => {
                assert!([OLD, OF_THE_DEAD].contains(content), "extent {extent}: {content}");
                dropped += u32::from(*content == OLD);
            }
        }
    }
    assert!(dropped > 0, "no write was parked: the test has missed its moment");
    daemon.rotate("pace", &["--rate", "unlimited"]);
    daemon.rotate("wait", &["--timeout", "120"]);
    assert_eq!(contents(&daemon), found, "something landed later");
    daemon.kill_9();
    daemon.restart();
    assert_eq!(contents(&daemon), found, "something landed later");
    daemon.terminate();
}

#[test]
fn parked_writes_of_a_dead_connection_do_not_land_later_in_place() {
    parked_writes_die_with_their_connection("in-place");
}

#[test]
fn parked_writes_of_a_dead_connection_do_not_land_later_by_journal() {
    parked_writes_die_with_their_connection("journal");
}
