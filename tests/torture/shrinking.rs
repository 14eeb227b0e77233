//! A backing that is truncated while it is served: errors, not SIGBUS; nothing wrong passes for good; a refusal by name when
//! it is opened again.

use crate::support::{ClientError, Daemon, MIB, ServeOptions, Store, Volume, VolumeOptions, pattern, same};

const SIZE: u64 = 16 * MIB;
const EIO: u32 = 5;

/// Serves a full volume, cuts its backing in half and looks at what is left of it.
fn truncated_while_served(store: &Store, io: &'static str) {
    let volume = store.create("vol", &VolumeOptions { size: SIZE, ..VolumeOptions::default() });
    let serve = ServeOptions { io: Some(io), ..ServeOptions::default() };
    let mut daemon = Daemon::start(store, std::slice::from_ref(&volume), &serve);
    let content = pattern(5, SIZE as usize);
    let mut client = daemon.connect();
    for (offset, data) in (0..).step_by(MIB as usize).zip(content.chunks(MIB as usize)) {
        client.write(offset, data).unwrap();
    }
    client.flush().unwrap();

    let file = std::fs::File::options().write(true).open(&volume.path).unwrap();
    let whole = file.metadata().unwrap().len();
    file.set_len(whole - SIZE / 2).unwrap();
    let mut refused = 0;
    for offset in (0..SIZE).step_by(64 << 10) {
        match client.read(offset, 64 << 10) {
            Ok(found) => same(&found, &content[offset as usize..][..64 << 10], &format!("read at {offset}")),
            Err(ClientError::Refused(EIO)) => refused += 1,
            Err(other) => panic!("read at {offset}: {other:?}"),
        }
    }
    assert!(refused >= SIZE / 2 / (64 << 10) - 1, "only {refused} reads were refused");
    // A write behind the new end makes the file grow again: what it has jumped over is lost, and must not pass for zeros.
    let last = SIZE - (64 << 10);
    client.write(last, &content[last as usize..]).unwrap();
    same(&client.read(last, 64 << 10).unwrap(), &content[last as usize..], "what was written after it");
    for offset in [SIZE / 2 + (1 << 20), last - 4096] {
        assert!(matches!(client.read(offset, 4096), Err(ClientError::Refused(EIO))), "lost data read at {offset}");
        assert!(matches!(client.write(offset + 100, &[1]), Err(ClientError::Refused(EIO))), "merged at {offset}");
    }
    let found = file.metadata().unwrap().len();
    daemon.rotation(); // it lives and answers
    daemon.kill_9();
    refused_by_name(&mut daemon, &volume, found, whole);
}

#[track_caller]
fn refused_by_name(daemon: &mut Daemon<'_>, volume: &Volume, found: u64, needed: u64) {
    let why = daemon.try_restart().unwrap_err();
    let wanted = format!("the data backing is {found} bytes long, but the volume needs {needed}: it was truncated");
    assert!(why.contains("exit status: 5") && why.contains(&wanted), "{}: {why}", volume.path.display());
}

#[test]
fn a_truncated_backing_on_a_disk_is_noticed_by_the_ring() {
    truncated_while_served(&Store::new(), "ring");
}

#[test]
fn a_truncated_backing_on_a_disk_is_noticed_without_the_ring() {
    truncated_while_served(&Store::new(), "posix");
}

#[test]
fn a_truncated_backing_in_memory_is_noticed() {
    truncated_while_served(&Store::under(std::path::Path::new("/dev/shm")), "ring");
}
