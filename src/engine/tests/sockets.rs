//! Socket operations, on both engines: short sends, two-part receives, peers that close, cancellation.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::support::*;
use crate::engine::*;

fn unix_pair() -> (Arc<Sock>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    (Arc::new(Sock::try_from(ours).unwrap()), theirs)
}

fn receive(socket: &Arc<Sock>, pool: &Pool, len: usize) -> Op {
    Op::Recv { socket: Arc::clone(socket), first: None, rest: (pool.take(len).unwrap(), 0..len) }
}

fn everywhere(test: impl Fn(&str, &mut dyn Engine, &Pool)) {
    for (name, mut engine) in engines() {
        let pool = Pool::new(32 << 20);
        test(name, &mut *engine, &pool);
        assert_eq!(engine.pending(), 0, "{name}");
        assert_eq!(pool.usage().taken, 0, "{name}: buffers came back");
    }
}

#[test]
fn receives_fill_the_first_part_then_the_rest() {
    everywhere(|name, engine, pool| {
        let (socket, mut peer) = unix_pair();
        peer.write_all(&pattern(1, 150)).unwrap();
        let first = Some((pool.take(4096).unwrap(), 1000..1100));
        let rest = (pool.take(4096).unwrap(), 28..4096);
        let done = run(engine, Op::Recv { socket, first, rest });
        assert_eq!(done.result.unwrap(), 150, "{name}");
        let Op::Recv { first: Some((first, _)), rest: (rest, _), .. } = done.op else { panic!() };
        assert_eq!(first[1000..1100], pattern(1, 150)[..100], "{name}");
        assert_eq!(rest[28..78], pattern(1, 150)[100..], "{name}");
    });
}

#[test]
fn a_receive_waits_for_the_peer() {
    everywhere(|name, engine, pool| {
        let (socket, mut peer) = unix_pair();
        engine.submit(0, receive(&socket, pool, 4096));
        let mut done = Vec::new();
        engine.wait(Some(std::time::Duration::ZERO), &mut done).unwrap();
        assert!(done.is_empty(), "{name}");
        let writer = std::thread::spawn(move || {
            peer.write_all(b"late").unwrap();
            peer
        });
        assert_eq!(bytes(&collect(engine, 1)[0]), b"late", "{name}");
        writer.join().unwrap();
    });
}

#[test]
fn a_big_send_of_many_parts_arrives_whole_and_in_order() {
    everywhere(|name, engine, pool| {
        for tcp in [false, true] {
            let (socket, mut peer): (Arc<Sock>, Box<dyn Read + Send>) = if tcp {
                let (socket, peer) = tcp_pair();
                (socket, Box::new(peer))
            } else {
                let (socket, peer) = unix_pair();
                (socket, Box::new(peer))
            };
            socket.tune(64 << 10);
            // More parts than one sendmsg takes, more bytes than any socket buffer holds, and an empty part.
            let lengths: Vec<usize> = (0..1500).map(|i| [16, 0, 4096, 1, 9000][i % 5]).chain([1 << 20; 4]).collect();
            let expected: Vec<u8> = lengths.iter().enumerate().flat_map(|(i, &len)| pattern(i as u64, len)).collect();
            let shared = pool.take(1 << 20).map(Arc::new).unwrap();
            drop(shared);
            let parts = lengths.iter().enumerate().map(|(i, &len)| (part(pool, i, len), 0..len)).collect();
            let total = expected.len();
            let reader = std::thread::spawn(move || {
                let mut got = vec![0; total];
                peer.read_exact(&mut got).unwrap();
                got
            });
            let done = run(engine, Op::Send { socket, parts });
            assert_eq!(done.result.unwrap(), total, "{name}");
            assert!(reader.join().unwrap() == expected, "{name} tcp {tcp}");
        }
    });
}

fn part(pool: &Pool, seed: usize, len: usize) -> Data {
    let buf = filled(pool, &pattern(seed as u64, len));
    if seed.is_multiple_of(2) { Data::Own(buf) } else { Data::Shared(Arc::new(buf)) }
}

fn tcp_pair() -> (Arc<Sock>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    (Arc::new(Sock::try_from(listener.accept().unwrap().0).unwrap()), peer)
}

#[test]
fn an_empty_send_and_an_empty_receive() {
    everywhere(|name, engine, pool| {
        let (socket, _peer) = unix_pair();
        let done = run(engine, Op::Send { socket: Arc::clone(&socket), parts: Vec::new() });
        assert_eq!(done.result.unwrap(), 0, "{name}");
        let rest = (pool.take(1).unwrap(), 5..5);
        let done = run(engine, Op::Recv { socket, first: None, rest });
        assert_eq!(kind(&done), ErrorKind::InvalidInput, "{name}");
    });
}

#[test]
fn a_closed_peer_ends_receives_and_fails_sends() {
    everywhere(|name, engine, pool| {
        let (socket, peer) = unix_pair();
        engine.submit(0, receive(&socket, pool, 4096));
        engine.wait(Some(std::time::Duration::ZERO), &mut Vec::new()).unwrap();
        drop(peer);
        assert_eq!(*collect(engine, 1)[0].result.as_ref().unwrap(), 0, "{name}");
        let parts = vec![(Data::Own(filled(pool, &[1; 100])), 0..100)];
        assert_eq!(kind(&run(engine, Op::Send { socket, parts })), ErrorKind::BrokenPipe, "{name}");
    });
}

#[test]
fn a_peer_that_closes_in_the_middle_of_a_send_fails_it() {
    everywhere(|name, engine, pool| {
        let (socket, mut peer) = unix_pair();
        let parts = (0..8).map(|_| (Data::Own(pool.take(1 << 20).unwrap()), 0..1 << 20)).collect();
        engine.submit(0, Op::Send { socket, parts });
        engine.wait(Some(std::time::Duration::ZERO), &mut Vec::new()).unwrap();
        peer.read_exact(&mut [0; 1000]).unwrap();
        drop(peer);
        let done = collect(engine, 1).remove(0);
        assert!(matches!(kind(&done), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{name}: {done:?}");
        let Op::Send { parts, .. } = done.op else { panic!() };
        assert_eq!(parts.len(), 8, "{name}: all parts come back");
    });
}

#[test]
fn cancelling_a_socket_completes_what_is_pending() {
    everywhere(|name, engine, pool| {
        let (socket, _peer) = unix_pair();
        engine.submit(0, receive(&socket, pool, 4096));
        let parts = (0..8).map(|_| (Data::Own(pool.take(1 << 20).unwrap()), 0..1 << 20)).collect();
        engine.submit(1, Op::Send { socket: Arc::clone(&socket), parts });
        engine.wait(Some(std::time::Duration::ZERO), &mut Vec::new()).unwrap();
        assert_eq!(engine.pending(), 2, "{name}");
        engine.cancel_socket(&socket);
        let mut done = collect(engine, 2);
        done.sort_by_key(|done| done.token);
        assert_eq!(*done[0].result.as_ref().unwrap(), 0, "{name}");
        assert_eq!(kind(&done[1]), ErrorKind::BrokenPipe, "{name}");
    });
}

#[test]
fn dropping_the_last_handle_ends_the_connection() {
    everywhere(|name, engine, pool| {
        let (socket, mut peer) = unix_pair();
        peer.write_all(b"x").unwrap();
        drop(run(engine, receive(&socket, pool, 4096)));
        drop(socket);
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "{name}");
    });
}

#[test]
fn an_engine_dropped_with_work_under_way_gives_the_buffers_back() {
    for (name, mut engine) in engines() {
        let pool = Pool::new(32 << 20);
        let (socket, _peer) = unix_pair();
        engine.submit(0, receive(&socket, &pool, 4096));
        let parts = (0..8).map(|_| (Data::Own(pool.take(1 << 20).unwrap()), 0..1 << 20)).collect();
        engine.submit(1, Op::Send { socket: Arc::clone(&socket), parts });
        let kept = disks(8 << 20);
        for (token, kept) in kept.iter().enumerate() {
            engine.submit(10 + token as u64, write(&kept.disk, &pool, 0, &[1; 1 << 20], true));
        }
        engine.wait(Some(std::time::Duration::ZERO), &mut Vec::new()).unwrap();
        engine.submit(2, receive(&socket, &pool, 4096));
        drop(engine);
        assert_eq!(pool.usage().taken, 0, "{name}");
        assert_eq!(Arc::strong_count(&socket), 1, "{name}");
    }
}

#[test]
fn a_reused_descriptor_number_is_not_the_old_socket() {
    everywhere(|name, engine, pool| {
        for round in 0..50u8 {
            let (socket, mut peer) = unix_pair();
            peer.write_all(&[round; 10]).unwrap();
            let done = run(engine, receive(&socket, pool, 4096));
            assert_eq!(bytes(&done), [round; 10], "{name}");
        }
    });
}
