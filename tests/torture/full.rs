//! A backing on a small file system that is full: clients hear ENOSPC, nothing is lost, the rotation's outcome is clear, and
//! freed space lets everything go on.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::ledger::{End, Ledger, SECTOR};
use crate::support::{Client, ClientError, Daemon, MIB, ServeOptions, Store, Volume, keymoult, pattern, succeed, tool};

const SIZE: u64 = 16 * MIB;
const STEP: u64 = 64 << 10;
const ENOSPC: u32 = 28;

/// A file system of its own, let go of when dropped.
struct SmallFs {
    place: PathBuf,
}

impl SmallFs {
    fn tmpfs(store: &Store, size: &str) -> SmallFs {
        SmallFs::mount(store, &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
    }

    fn ext4(store: &Store) -> SmallFs {
        let image = store.path("image");
        std::fs::File::create(&image).unwrap().set_len(24 * MIB).unwrap();
        succeed(tool("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image));
        SmallFs::mount(store, &["-o", "loop", &image.display().to_string()])
    }

    fn mount(store: &Store, what: &[&str]) -> SmallFs {
        let place = store.path("small");
        std::fs::create_dir(&place).unwrap();
        succeed(tool("mount").args(what).arg(&place));
        SmallFs { place }
    }

    /// Leaves no room, and gives what to remove to have some again.
    fn fill(&self) -> PathBuf {
        let path = self.place.join("filler");
        let mut filler = std::fs::File::create(&path).unwrap();
        for block in [1 << 20, 4096] {
            while filler.write_all(&vec![1; block]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallFs {
    fn drop(&mut self) {
        succeed(tool("umount").arg("--lazy").arg(&self.place));
    }
}

fn create(store: &Store, folder: &Path, mode: &str) -> Volume {
    let volume = Volume { name: "vol".into(), path: folder.join("vol.km"), header: None, size: SIZE };
    let mut command = keymoult();
    command.args(["volume", "create"]).arg(&volume.path).args(["--size", "16MiB", "--extent-size", "64KiB"]);
    succeed(command.args(["--mode", mode, "--new-kek", "--kek", &store.kek()]));
    volume
}

/// Writes new content everywhere; gives how many writes found no room.
fn write_all(client: &mut Client, ledger: &mut Ledger, seed: u64) -> u64 {
    let mut refused = 0;
    for offset in (0..SIZE).step_by(STEP as usize) {
        let data = pattern(seed + offset, STEP as usize);
        let change = ledger.begin(0, offset..offset + STEP, Some(&data), false).unwrap();
        match client.write(offset, &data) {
            Ok(()) => ledger.done(change),
            Err(ClientError::Refused(ENOSPC)) => refused += 1,
            Err(other) => panic!("write at {offset}: {other:?}"),
        }
    }
    refused
}

/// Everything must read as the ledger says, which from here on holds what was read.
#[track_caller]
fn judge(client: &mut Client, ledger: &mut Ledger) {
    assert_eq!(SIZE as usize % SECTOR, 0);
    ledger.settle(0, &client.read(0, SIZE as usize).unwrap(), End::Kill).unwrap();
}

fn full_and_freed(store: &Store, small: &SmallFs, mode: &str) {
    let volume = create(store, &small.place, mode);
    let mut daemon = Daemon::start(store, std::slice::from_ref(&volume), &ServeOptions::default());
    let mut client = daemon.connect();
    let mut ledger = Ledger::fresh(SIZE);
    client.write(0, &pattern(1, MIB as usize)).unwrap();
    let change = ledger.begin(0, 0..MIB, Some(&pattern(1, MIB as usize)), false).unwrap();
    ledger.done(change);
    client.flush().unwrap();

    let filler = small.fill();
    let refused = write_all(&mut client, &mut ledger, 100);
    assert!(refused > 0, "there was room");
    judge(&mut client, &mut ledger);
    client.flush().unwrap();

    // What is there moves to another key without new room, or says why not.
    daemon.rotate("start", &["--rate", "unlimited", "--verify", "full"]);
    let waited = daemon.ask(&["rotate", "wait", "vol", "--timeout", "60"]);
    let rotation = daemon.rotation();
    println!("{mode}: {refused} writes refused; then {}", rotation["state"]);
    match rotation["state"].as_str().unwrap() {
        "finalized" => assert!(waited.status.success()),
        "failed" => assert!(rotation["why"].as_str().is_some_and(|why| why.contains("No space left")), "{rotation}"),
        other => panic!("neither done nor failed, but {other}"),
    }
    judge(&mut client, &mut ledger);

    std::fs::remove_file(filler).unwrap();
    drop(client);
    if rotation["state"] == "failed" {
        daemon.rotate("resume", &[]);
        daemon.rotate("wait", &["--timeout", "60"]);
    }
    let mut client = daemon.connect();
    assert_eq!(write_all(&mut client, &mut ledger, 200), 0, "there is room again");
    client.flush().unwrap();
    daemon.rotate("start", &["--rate", "unlimited", "--verify", "full"]);
    daemon.rotate("wait", &["--timeout", "60"]);
    assert_eq!(daemon.rotation()["state"], "finalized");
    judge(&mut client, &mut ledger);
    drop(client);
    daemon.kill_9();
    daemon.restart();
    judge(&mut daemon.connect(), &mut ledger);
    daemon.terminate();
    let check = store.check(&volume);
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn a_full_tmpfs_loses_nothing() {
    let store = Store::new();
    full_and_freed(&store, &SmallFs::tmpfs(&store, "20m"), "in-place");
}

#[test]
fn a_full_tmpfs_loses_nothing_by_journal() {
    let store = Store::new();
    full_and_freed(&store, &SmallFs::tmpfs(&store, "40m"), "journal"); // its ring holds data
}

#[test]
fn a_full_ext4_loses_nothing() {
    let store = Store::new();
    full_and_freed(&store, &SmallFs::ext4(&store), "in-place");
}
