//! A connection that dies with writes parked behind held extents: they must not land later, over newer data.
//!
//! The moment is made, not waited for: the disk's flushes are stalled, so the rotation keeps its batch held for as long as
//! the test likes. A client writes to every extent, so some of its writes park; it dies; others write to the same places.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::setting::{Ground, Setting};
use crate::support::{Client, ClientError, Daemon, MIB};

const EXTENT: u64 = 64 << 10;
/// Far longer than a write takes that nothing holds back.
const QUIET: Duration = Duration::from_millis(500);
/// Far longer than a rotation needs to come to its next flush.
const STALL_LIMIT: Duration = Duration::from_secs(60);

/// Writes `content` to the first block of each extent given; gives each write's extent by cookie.
fn send_all(client: &mut Client, extents: impl Iterator<Item = u64>, content: u8) -> BTreeMap<u64, u64> {
    let mut sent = BTreeMap::new();
    for extent in extents {
        let cookie = client.start_write(extent * EXTENT, &[content; 4096]).unwrap();
        sent.insert(cookie, extent);
    }
    sent
}

/// Takes answers until none comes for a while; what stays in `sent` is parked.
fn take_answers(client: &mut Client, sent: &mut BTreeMap<u64, u64>) {
    client.set_patience(QUIET);
    while !sent.is_empty() {
        match client.receive() {
            Ok((cookie, error)) => {
                assert_eq!(error, 0);
                sent.remove(&cookie).unwrap();
            }
            Err(ClientError::Gone(_)) => return,
            Err(refused) => panic!("{refused:?}"),
        }
    }
}

fn parked_writes_die_with_their_connection(mode: &'static str) {
    let setting = Setting { mode, ..Setting::draw(1, Ground::Disk) };
    let store = setting.store();
    let (volume, disk) = setting.create(&store);
    let disk = disk.unwrap();
    let mut daemon = Daemon::start(&store, std::slice::from_ref(&volume), &setting.serve());
    let extents = 8 * MIB / EXTENT;
    let mut survivor = daemon.connect();
    let mut sent = send_all(&mut survivor, 0..extents, 1);
    take_answers(&mut survivor, &mut sent);
    assert!(sent.is_empty());
    survivor.flush().unwrap();

    daemon.rotate("start", &["--rate", "4MiB", "--fixed"]);
    let stall = disk.platter().stall();
    assert!(disk.platter().await_stalled(STALL_LIMIT), "the rotation comes to no flush");
    let mut dying = daemon.connect();
    let mut parked = send_all(&mut dying, 0..extents, 2);
    take_answers(&mut dying, &mut parked);
    assert!(!parked.is_empty(), "nothing is held: the test has missed its moment");
    drop(dying);
    // Newer data for half of the held places, sent after the connection died; they park behind its writes.
    let newer: Vec<u64> = parked.values().copied().step_by(2).collect();
    survivor.set_patience(STALL_LIMIT);
    let mut waiting = send_all(&mut survivor, newer.iter().copied(), 3);
    drop(stall);
    while !waiting.is_empty() {
        let (cookie, error) = survivor.receive().unwrap();
        assert_eq!(error, 0);
        waiting.remove(&cookie).unwrap();
    }
    // And for the other half, after the holds ended.
    for extent in parked.values().filter(|extent| !newer.contains(extent)) {
        survivor.write(extent * EXTENT, &[3; 4096]).unwrap();
    }

    let held: Vec<u64> = parked.values().copied().collect();
    let judge = |daemon: &Daemon<'_>| {
        let mut client = daemon.connect();
        for extent in 0..extents {
            let found = client.read(extent * EXTENT, 4096).unwrap();
            let wanted = if held.contains(&extent) { 3 } else { 2 };
            assert!(found.iter().all(|byte| *byte == wanted), "extent {extent}: {} where {wanted} is due", found[0]);
        }
    };
    judge(&daemon);
    daemon.rotate("pace", &["--rate", "unlimited"]);
    daemon.rotate("wait", &["--timeout", "120"]);
    judge(&daemon);
    daemon.kill_9();
    daemon.restart();
    judge(&daemon);
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
