//! The server as a whole: deadlines, caps, and the way it stops.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::form::Form;
use super::super::wire::*;
use super::super::{Bounds, Config, Listen, NbdError};
use super::client::{Client, pattern};
use super::memory::{MemoryBackend, Setup};
use super::script::{FIXED, Script};

#[test]
fn a_silent_client_is_disconnected_after_the_handshake_time() {
    let config =
        Config { bounds: Bounds { handshake_time: Duration::from_secs(1), ..Bounds::default() }, ..Default::default() };
    let rig = Setup { config, ..Setup::default() }.start();
    let mut patient = Client::open(&rig, Form::Simple, &[]);
    let mut silent = Client::silent(&rig);
    silent.receive(18);
    silent.send(&Script::new(FIXED).header(NBD_OPT_LIST, 1000).0);
    assert!(silent.is_closed());
    assert_eq!(patient.read(0, 1), Ok(vec![0]), "transmission has no such deadline");
    assert_eq!(rig.server.stats().handshakes_failed, 1);
}

#[test]
fn connections_over_the_cap_are_turned_away() {
    let rig = Setup {
        config: Config { bounds: Bounds { connections: 3, ..Bounds::default() }, ..Default::default() },
        ..Setup::default()
    }
    .start();
    let mut kept: Vec<Client> = (0..3).map(|_| Client::open(&rig, Form::Simple, &[])).collect();
    assert!(Client::silent(&rig).is_closed());
    assert_eq!(rig.server.turned_away(), 1);
    kept.pop();
    // The place is free once the worker saw the end.
    let again = (0..3000).find_map(|_| {
        let mut client = Client::silent(&rig);
        let welcome = !client.is_closed();
        std::thread::sleep(Duration::from_millis(1));
        welcome.then_some(client)
    });
    assert!(again.is_some());
}

#[test]
fn stopping_finishes_what_runs_and_refuses_the_rest() {
    let rig = Setup { config: Config { workers: 1, ..Default::default() }, ..Setup::default() }.start();
    let mut client = Client::open(&rig, Form::Simple, &[]);
    let mut haggling = Client::silent(&rig);
    haggling.receive(18);
    rig.volume.hold.store(true, Ordering::Release);
    client.request(NBD_CMD_WRITE, 0, 1, 0, 4096);
    client.send(&[5; 4096]);
    // Answered behind the write, so the write was taken up.
    client.request(NBD_CMD_READ, 0, 2, 8192, 1);
    assert_eq!(client.status(), (0, 2));
    client.receive(1);
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| rig.server.stop());
        // Refused from the moment the worker knows.
        let refused = (0..3000).any(|_| {
            client.request(NBD_CMD_READ, 0, 3, 0, 1);
            let (error, _) = client.status();
            if error == 0 {
                client.receive(1);
            }
            error == Errno::Shutdown.code()
        });
        assert!(refused);
        haggling.send(&Script::new(FIXED).option(NBD_OPT_LIST, &[]).0);
        let answer = haggling.receive(20);
        assert_eq!(answer[12..16], NBD_REP_ERR_SHUTDOWN.to_be_bytes());
        rig.volume.hold.store(false, Ordering::Release);
        client.request(NBD_CMD_FLUSH, 0, 4, 0, 0);
        let mut answers = [client.status(), client.status()];
        answers.sort_unstable();
        assert_eq!(answers, [(0, 1), (Errno::Shutdown.code(), 4)]);
        assert!(client.is_closed());
        assert!(stopping.join().unwrap(), "every thread ended");
    });
    assert_eq!(rig.volume.contents(0..4096), [5; 4096]);
    assert!(!rig.path().exists(), "the socket file is gone");
    assert_eq!(rig.pool.usage().taken, 0);
}

#[test]
fn a_hostile_client_cannot_hold_up_the_stop() {
    let config =
        Config { bounds: Bounds { drain_time: Duration::from_millis(400), ..Bounds::default() }, ..Default::default() };
    let rig = Setup { config, ..Setup::default() }.start();
    rig.volume.hold.store(true, Ordering::Release);
    let mut stuck = Client::open(&rig, Form::Simple, &[]);
    stuck.request(NBD_CMD_WRITE, 0, 1, 0, 4096);
    stuck.send(&[5; 4096]);
    let mut deaf = Client::open(&rig, Form::Simple, &[]);
    (0..64).for_each(|cookie| deaf.request(NBD_CMD_READ, 0, cookie, 0, 1 << 20));
    let mut half = Client::open(&rig, Form::Simple, &[]);
    half.request(NBD_CMD_WRITE, 0, 1, 0, 1 << 20);
    half.send(&pattern(5000, 1));
    let silent = Client::silent(&rig);
    assert!(rig.server.stop());
    for mut client in [stuck, silent] {
        while client.stream.set_nonblocking(false).is_ok() && !client.is_closed() {}
    }
}

#[test]
fn a_server_that_cannot_listen_leaves_nothing() {
    let rig = Setup::default().start();
    let dir = tempfile::tempdir().unwrap();
    let first = dir.path().join("first");
    let listen = vec![Listen::Unix(first.clone()).into(), Listen::Unix(rig.path()).into()];
    let config = Config { listen, ..Default::default() };
    let exports = std::sync::Arc::new(super::super::Exports::new());
    let result = super::super::start(&config, &exports, &rig.pool, MemoryBackend::new);
    assert!(matches!(result, Err(NbdError::SocketInUse(path)) if path == rig.path()));
    assert!(!first.exists());
    let none = super::super::start(&Config::default(), &exports, &rig.pool, MemoryBackend::new);
    assert!(matches!(none, Err(NbdError::NoAddress)));
}
