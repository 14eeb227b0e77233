//! What takes many connections, or time: floods of handshakes, places that are all taken, readers that stall, peers that want
//! everything.

use std::os::fd::AsFd;
use std::time::Duration;

use keymoult::nbd::wire::*;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::ground::{Ground, SCRATCH};
use crate::peer::{FORMS, Form, Peer, fixed, option_claiming, request};

/// Far longer than any limit that is set here; only there so that a hang fails.
const PATIENCE_MS: u16 = 60_000;

/// Waits until the daemon has ended a connection, without taking anything from it.
fn await_end(peer: &Peer) {
    let end = PollFlags::from_bits_retain(nix::libc::POLLRDHUP);
    let mut fds = [PollFd::new(peer.stream.as_fd(), end)];
    assert_eq!(poll(&mut fds, PollTimeout::from(PATIENCE_MS)).unwrap(), 1, "the daemon does not end the connection");
}

#[test]
fn unfinished_handshakes_lock_nobody_out() {
    Ground::with(&["[limits]", "connections = 16", "handshake-time = \"10min\""], |ground| {
        let mut served: Vec<_> = (0..4).map(|_| ground.client()).collect();
        let mut silent: Vec<Peer> = Vec::new();
        for count in 0..120 {
            let mut peer = ground.peer();
            match count % 3 {
                0 => {}
                1 => peer.send(&fixed()[..3]),
                _ => peer.send(&[fixed(), option_claiming(NBD_OPT_GO, 60_000)].concat()),
            }
            silent.push(peer);
            if count % 10 == 0 {
                assert_eq!(ground.client().read(0, 512).unwrap(), ground.known(0, 512), "a newcomer after {count}");
            }
        }
        for client in &mut served {
            assert_eq!(client.read(0, 512).unwrap(), ground.known(0, 512), "whoever is served is not displaced");
        }
        silent[..100].iter().for_each(await_end);
    });
}

#[test]
fn a_handshake_that_takes_too_long_ends() {
    Ground::with(&["[limits]", "handshake-time = \"500ms\""], |ground| {
        let silent = ground.peer();
        let mut slow = ground.peer();
        slow.send(&[fixed(), option_claiming(NBD_OPT_LIST, 1000)].concat());
        await_end(&silent);
        await_end(&slow);
    });
}

#[test]
fn when_all_places_are_served_a_newcomer_waits_for_one() {
    Ground::with(&["[limits]", "connections = 8", "connections-per-peer = 4"], |ground| {
        // The witness has one.
        let mut served: Vec<_> = (0..3).map(|_| ground.client()).collect();
        for _ in 0..20 {
            let mut turned_away =
                Peer { stream: std::os::unix::net::UnixStream::connect(ground.socket()).unwrap(), form: Form::Simple };
            turned_away.is_closed();
        }
        served.pop();
        let socket = ground.socket();
        let again = (0..3000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(5));
            crate::support::Client::connect(&socket, "vol").ok()
        });
        assert!(again.is_some(), "the place that came free");
    });
}

#[test]
fn a_reader_that_stalls_is_cut_off_and_a_slow_one_is_not() {
    Ground::with(&["[limits]", "stall-time = \"1s\""], |ground| {
        for form in FORMS {
            let mut stalled = Peer::open(ground, form);
            (0..8).for_each(|cookie| stalled.send(&request(form, NBD_CMD_READ, 0, cookie, 0, 1 << 20)));
            let mut slow = Peer::open(ground, form);
            slow.send(&request(form, NBD_CMD_READ, 0, 1, 0, 8 << 20));
            let mut taken = 0;
            // Longer than the limit in all, never as long at a time.
            while taken < 8 << 20 {
                std::thread::sleep(Duration::from_millis(25));
                taken += slow.take(128 << 10).expect("a slow reader is served").len();
            }
            slow.half_close();
            slow.rest();
            await_end(&stalled);
        }
    });
}

#[test]
fn a_writer_that_stalls_is_cut_off() {
    Ground::with(&["[limits]", "stall-time = \"500ms\""], |ground| {
        for form in FORMS {
            let mut stalled = Peer::open(ground, form);
            stalled.send(&request(form, NBD_CMD_WRITE, 0, 1, SCRATCH, 1 << 20));
            stalled.send(&[1; 5000]);
            await_end(&stalled);
        }
    });
}

#[test]
fn idle_connections_are_closed_where_that_is_asked_for() {
    Ground::with(&["[limits]", "idle-time = \"1s\""], |ground| {
        let (idle, mut busy) = (Peer::open(ground, Form::Simple), ground.client());
        let mut ended = false;
        while !ended {
            busy.read(0, 512).unwrap();
            ground.check();
            let end = PollFlags::from_bits_retain(nix::libc::POLLRDHUP);
            ended = poll(&mut [PollFd::new(idle.stream.as_fd(), end)], PollTimeout::from(100u16)).unwrap() == 1;
        }
    });
}

/// Readers that never read hold all the memory there is to hold; small requests and large ones of others are served.
#[test]
fn stalled_readers_starve_nobody() {
    let limits = ["workers = 1", "[limits]", "bytes-in-all = \"64MiB\"", "bytes = \"16MiB\"", "stall-time = \"10min\""];
    Ground::with(&limits, |ground| {
        let mut stalled: Vec<Peer> = (0..60).map(|_| Peer::open(ground, Form::Structured)).collect();
        for peer in &mut stalled {
            (0..16).for_each(|cookie| peer.send(&request(peer.form, NBD_CMD_READ, 0, cookie, 0, 1 << 20)));
        }
        let mut good = Peer::open(ground, Form::Structured);
        for round in 0..20 {
            ground.check();
            good.send(&request(good.form, NBD_CMD_READ, 0, round, 0, 1 << 20));
            let reply = good.reply(0).unwrap();
            assert!(reply.errno == 0 && reply.data == ground.known(0, 1 << 20));
            good.send(&request(good.form, NBD_CMD_WRITE, 0, round, SCRATCH, 1 << 20));
            good.send(&vec![round as u8; 1 << 20]);
            assert_eq!(good.reply(0).map(|reply| reply.errno), Some(0));
        }
    });
}

/// The same for the answers of block status, which are small in what they ask and not in what they get.
#[test]
fn block_status_answers_nobody_reads_starve_nobody() {
    Ground::with(&["workers = 1", "[limits]", "bytes-in-all = \"64MiB\"", "stall-time = \"10min\""], |ground| {
        let mut client = ground.client();
        // Holes and data by turns, so that answers are long.
        (0..8).for_each(|part| client.write(SCRATCH + (part << 20), &[5; 1 << 20]).unwrap());
        (0..1024).for_each(|hole| client.trim(SCRATCH + hole * 8192 % (8 << 20), 4096).unwrap());
        let mut deaf: Vec<Peer> = (0..30).map(|_| Peer::open(ground, Form::Structured)).collect();
        for peer in &mut deaf {
            peer.stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
            peer.send(&request(Form::Structured, NBD_CMD_BLOCK_STATUS, 0, 1, 0, 16 << 20).repeat(2000));
        }
        (0..50).for_each(|_| ground.check());
    });
}

/// One peer keeps as many requests running as it may, on the worker that serves another one, which is answered all the same.
#[test]
fn one_peer_with_everything_in_flight_starves_nobody() {
    const HOG: u64 = 1024;
    Ground::with(&["workers = 1"], |ground| {
        let mut hog = Peer::open(ground, Form::Simple);
        let mut sender = Peer { stream: hog.stream.try_clone().unwrap(), form: Form::Simple };
        let answered = std::sync::atomic::AtomicU64::new(0);
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let burst = request(Form::Simple, NBD_CMD_READ, 0, 1, 0, 4096).repeat(HOG as usize);
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    sender.send(&burst);
                }
                sender.half_close();
            });
            scope.spawn(|| {
                while hog.reply(4096).is_some() {
                    answered.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            });
            let count = || answered.load(std::sync::atomic::Ordering::Relaxed);
            let mut good = ground.client();
            good.set_patience(Duration::from_secs(60));
            while count() < HOG {
                std::thread::yield_now();
            }
            let before = count();
            (0..200).for_each(|_| assert_eq!(good.read(0, 4096).unwrap(), ground.known(0, 4096)));
            let beside = count() - before;
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            println!("{beside} answers to one peer while another one got 200");
            assert!(beside > 0, "nobody was in the way: the test proves nothing");
        });
    });
}
