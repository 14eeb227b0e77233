//! Transmission against a volume in memory: data, errors, order, limits, ends.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::form::Form;
use super::super::stats::Kind;
use super::super::wire::*;
use super::super::{Bounds, Config};
use super::client::{Client, FORMS, Got, pattern, request};
use super::memory::Setup;

/// Waits until `what` holds; panics when it does not come.
pub fn eventually(what: impl Fn() -> bool) {
    for _ in 0..3000 {
        if what() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it did not happen");
}

#[test]
fn data_of_every_size_come_back_in_every_form() {
    let rig = Setup::default().start();
    let sizes = [1, 511, 4096, 16 << 10, (16 << 10) + 1, 128 << 10, (256 << 10) + 3, (1 << 20) + 1, 32 << 20];
    for form in FORMS {
        let mut client = Client::open(&rig, form, &[]);
        for (index, size) in sizes.into_iter().enumerate() {
            for offset in [0, 4096, 12_345] {
                let data = pattern(size, index as u64 + offset);
                assert_eq!(client.write(offset, &data), 0);
                assert_eq!(rig.volume.contents(offset as usize..offset as usize + size), data);
                assert!(client.read(offset, size as u32).unwrap() == data, "{size} at {offset}");
            }
        }
    }
}

/// Requests and payloads in pieces of every kind: the receive scheme may not depend on where the stream is cut.
#[test]
fn the_stream_may_be_cut_anywhere() {
    let rig = Setup::default().start();
    let sizes = [10usize, 5000, 20_000, 300_000, 1, 70_000];
    let mut stream = Vec::new();
    let mut offset = 0;
    let mut expected = Vec::new();
    for (cookie, size) in sizes.into_iter().enumerate() {
        let data = pattern(size, cookie as u64);
        stream.extend(request(NBD_CMD_WRITE, 0, cookie as u64, offset, size as u32));
        stream.extend(&data);
        stream.extend(request(NBD_CMD_FLUSH, 0, 100 + cookie as u64, 0, 0));
        expected.extend(data);
        offset += size as u64;
    }
    for piece in [1 << 20, 65_536, 4096, 1000, 29, 28, 27, 7] {
        let mut client = Client::open(&rig, Form::Simple, &[]);
        client.request(NBD_CMD_WRITE_ZEROES, 0, 5, 0, 1 << 20);
        assert_eq!(client.status(), (0, 5));
        let mut sender = client.stream.try_clone().unwrap();
        let bytes = stream.clone();
        let sending = std::thread::spawn(move || {
            for piece in bytes.chunks(piece) {
                std::io::Write::write_all(&mut sender, piece).unwrap();
                if piece.len() > 1000 {
                    std::thread::yield_now();
                }
            }
        });
        let mut cookies: Vec<u64> = (0..sizes.len() * 2).map(|_| client.status().1).collect();
        cookies.sort_unstable();
        assert_eq!(cookies, [0, 1, 2, 3, 4, 5, 100, 101, 102, 103, 104, 105]);
        sending.join().unwrap();
        assert!(rig.volume.contents(0..expected.len()) == expected, "pieces of {piece}");
    }
}

#[test]
fn errors_leave_the_stream_in_step() {
    for form in FORMS {
        let rig = Setup { len: 1 << 20, ..Setup::default() }.start();
        let mut client = Client::open(&rig, form, &[]);
        let end = 1 << 20;
        let cases = [
            (NBD_CMD_WRITE, 0, end - 1, 4096, Errno::NoSpc),
            (NBD_CMD_WRITE, 0x8000, 0, 100_000, Errno::Inval),
            (NBD_CMD_WRITE, 0, u64::MAX, 4096, Errno::NoSpc),
            (77, 0, 0, 4096, Errno::Inval),
            (NBD_CMD_READ, 0, end, 1, Errno::Inval),
            (NBD_CMD_TRIM, 0, end, 1, Errno::Inval),
            (NBD_CMD_WRITE_ZEROES, 0, end, 1, Errno::NoSpc),
            (NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_FAST_ZERO | NBD_CMD_FLAG_NO_HOLE, 0, 4096, Errno::NotSup),
            (NBD_CMD_BLOCK_STATUS, 0, 0, 4096, Errno::Inval),
            (NBD_CMD_FLUSH, 0, 0, 1, Errno::Inval),
        ];
        for (cookie, (command, flags, offset, len, errno)) in cases.into_iter().enumerate() {
            client.request(command, flags, cookie as u64, offset, len);
            if command == NBD_CMD_WRITE {
                client.send(&vec![0x25; len as usize]);
            }
            assert_eq!(client.status(), (errno.code(), cookie as u64), "case {cookie}");
        }
        assert_eq!(rig.volume.writes.load(Ordering::Relaxed), 0);
        assert_eq!(client.read(0, 4096), Ok(vec![0; 4096]));
        let stats = rig.server.stats();
        assert_eq!((stats.refused, stats.of(Kind::Zeroes).errors, stats.of(Kind::Read).count), (10, 0, 1));
    }
}

#[test]
fn failures_below_become_errors_of_the_request() {
    for form in FORMS {
        let rig = Setup::default().start();
        *rig.volume.bad.lock().unwrap() = (3 << 20)..(3 << 20) + 1;
        let mut client = Client::open(&rig, form, &[]);
        assert_eq!(client.read(0, 8 << 20), Err(Errno::Io.code()));
        assert_eq!(client.write(2 << 20, &pattern(2 << 20, 1)), Errno::NoSpc.code());
        assert_eq!(client.read(4 << 20, 1 << 20), Ok(vec![0; 1 << 20]), "the connection goes on");
    }
}

#[test]
fn a_failed_chunk_is_reported_at_its_offset() {
    let rig = Setup::default().start();
    *rig.volume.bad.lock().unwrap() = (3 << 20)..(3 << 20) + 1;
    let mut client = Client::open(&rig, Form::Structured, &[]);
    client.request(NBD_CMD_READ, 0, 1, 0, 5 << 20);
    let mut data = 0;
    loop {
        match client.reply() {
            Got::Chunk { kind: NBD_REPLY_TYPE_OFFSET_DATA, done: false, payload, .. } => data += payload.len() - 8,
            Got::Chunk { kind: NBD_REPLY_TYPE_ERROR_OFFSET, done: true, payload, .. } => {
                assert_eq!(payload[payload.len() - 8..], (3u64 << 20).to_be_bytes());
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(data, 4 << 20);
    // Unfragmented: no data at all.
    client.request(NBD_CMD_READ, NBD_CMD_FLAG_DF, 2, 0, 5 << 20);
    assert_eq!(client.status(), (Errno::Io.code(), 2));
    client.request(NBD_CMD_READ, NBD_CMD_FLAG_DF, 3, 4 << 20, 5 << 20);
    let Got::Chunk { done: true, kind: NBD_REPLY_TYPE_OFFSET_DATA, payload, .. } = client.reply() else {
        panic!("one chunk");
    };
    assert_eq!(payload.len(), 8 + (5 << 20));
}

#[test]
fn block_status_has_one_chunk_per_context() {
    let rig = Setup { len: 1 << 20, ..Setup::default() }.start();
    let mut client = Client::open(&rig, Form::Structured, &["x-keymoult:generation", "base:allocation"]);
    assert_eq!(client.write(8192, &[1; 4096]), 0);
    client.request(NBD_CMD_BLOCK_STATUS, 0, 3, 0, 1 << 20);
    let Got::Chunk { done: false, kind: NBD_REPLY_TYPE_BLOCK_STATUS, payload, .. } = client.reply() else { panic!() };
    let words: Vec<u32> = payload.chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect();
    assert_eq!(words, [1, 8192, 3, 4096, 0, (1 << 20) - 12_288, 3]);
    let Got::Chunk { done: true, kind: NBD_REPLY_TYPE_BLOCK_STATUS, payload, .. } = client.reply() else { panic!() };
    assert_eq!(payload[..4], [0, 0, 0, 2]);
    assert_eq!(payload[8..], [0, 0, 0, 7]);
    client.request(NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_REQ_ONE, 4, 1, 100);
    let Got::Chunk { payload, .. } = client.reply() else { panic!() };
    assert_eq!(payload[4..], [0, 0, 0, 100, 0, 0, 0, 3], "one extent, not beyond the request");
    client.reply();
    *rig.volume.bad.lock().unwrap() = 0..1;
    client.request(NBD_CMD_BLOCK_STATUS, 0, 5, 0, 100);
    assert_eq!(client.status(), (Errno::Io.code(), 5));
}

#[test]
fn what_was_sent_before_disconnect_is_answered() {
    let rig = Setup::default().start();
    let mut client = Client::open(&rig, Form::Simple, &[]);
    rig.volume.hold.store(true, Ordering::Release);
    let mut bytes = Vec::new();
    for cookie in 0..20 {
        bytes.extend(request(NBD_CMD_WRITE, 0, cookie, cookie * 4096, 4096));
        bytes.extend([7; 4096]);
    }
    bytes.extend(request(NBD_CMD_DISC, 0, 50, 0, 0));
    bytes.extend(request(NBD_CMD_WRITE, 0, 51, 0, 4096));
    bytes.extend([8; 4096]);
    client.send(&bytes);
    rig.volume.hold.store(false, Ordering::Release);
    // Any event makes the worker look at what is parked.
    let mut other = [Client::open(&rig, Form::Simple, &[]), Client::open(&rig, Form::Simple, &[])];
    other.iter_mut().for_each(|client| assert_eq!(client.read(0, 1).unwrap().len(), 1));
    let mut cookies: Vec<u64> = (0..20).map(|_| client.status().1).collect();
    cookies.sort_unstable();
    assert_eq!(cookies, (0..20).collect::<Vec<_>>());
    assert!(client.is_closed());
    assert_eq!(rig.volume.contents(0..20 * 4096), [7; 20 * 4096], "nothing after DISC is carried out");
}

#[test]
fn parked_writes_of_a_dead_connection_never_land() {
    let rig = Setup { config: Config { workers: 1, ..Default::default() }, ..Setup::default() }.start();
    rig.volume.hold.store(true, Ordering::Release);
    let mut dead = Client::open(&rig, Form::Simple, &[]);
    for cookie in 0..10 {
        dead.request(NBD_CMD_WRITE, 0, cookie, 0, 4096);
        dead.send(&[9; 4096]);
    }
    drop(dead);
    eventually(|| rig.server.stats().connections() == 0);
    rig.volume.hold.store(false, Ordering::Release);
    let mut client = Client::open(&rig, Form::Simple, &[]);
    assert_eq!(client.write(0, &[1; 4096]), 0);
    assert_eq!(client.read(0, 4096), Ok(vec![1; 4096]));
    assert_eq!(rig.volume.writes.load(Ordering::Relaxed), 1);
}

/// More is asked than the pool has: everything is answered in the end, nobody is forgotten.
#[test]
fn a_small_pool_slows_down_and_loses_nothing() {
    let config =
        Config { workers: 2, bounds: Bounds { held_in_all: 4 << 20, ..Bounds::default() }, ..Default::default() };
    let rig = Setup { pool: 6 << 20, config, ..Setup::default() }.start();
    std::thread::scope(|scope| {
        for index in 0..6u64 {
            let rig = &rig;
            scope.spawn(move || {
                let mut client = Client::open(rig, FORMS[index as usize % 3], &[]);
                let base = index * (8 << 20);
                for (round, size) in [4096, 1 << 20, 8 << 20, 300_000].into_iter().enumerate() {
                    let data = pattern(size, index * 10 + round as u64);
                    assert_eq!(client.write(base, &data), 0);
                    // Unstructured reads need all their memory at once.
                    let len = if client.form.has_chunks() { size } else { size.min(1 << 20) };
                    assert!(client.read(base, len as u32).unwrap() == data[..len]);
                }
            });
        }
    });
    eventually(|| rig.server.stats().connections() == 0);
    assert_eq!(rig.pool.usage().taken, 0, "every buffer came back");
}

/// A client that asks and never reads holds up nobody else, and its requests stop being taken up.
#[test]
fn a_client_that_does_not_read_is_held_back() {
    let rig = Setup { config: Config { workers: 1, ..Default::default() }, ..Setup::default() }.start();
    let mut greedy = Client::open(&rig, Form::Structured, &[]);
    greedy.stream.set_nonblocking(true).unwrap();
    let mut asked = 0u64;
    while asked < 200_000 {
        let sent = std::io::Write::write(&mut greedy.stream, &request(NBD_CMD_READ, 0, asked, 0, 1 << 20));
        match sent {
            Ok(28) => asked += 1,
            _ => break,
        }
    }
    assert!(asked < 200_000, "requests pile up in the socket");
    let mut client = Client::open(&rig, Form::Structured, &[]);
    assert_eq!(client.write(0, &[1; 4096]), 0);
    assert!(rig.pool.usage().taken < 64 << 20, "{:?}", rig.pool.usage());
    drop(greedy);
    eventually(|| rig.server.stats().connections() == 1);
}

#[test]
fn read_only_exports_refuse_writes() {
    let rig = Setup { read_only: true, ..Setup::default() }.start();
    let mut client = Client::open(&rig, Form::Structured, &[]);
    assert_eq!(client.write(0, &[1; 70_000]), Errno::Perm.code());
    for command in [NBD_CMD_TRIM, NBD_CMD_WRITE_ZEROES] {
        client.request(command, 0, 1, 0, 4096);
        assert_eq!(client.status(), (Errno::Perm.code(), 1));
    }
    assert_eq!(client.read(0, 4096), Ok(vec![0; 4096]));
}

#[test]
fn nothing_asked_is_answered_in_the_right_form() {
    let rig = Setup::default().start();
    for form in FORMS {
        let mut client = Client::open(&rig, form, &[]);
        for command in [NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_TRIM, NBD_CMD_WRITE_ZEROES, NBD_CMD_CACHE] {
            client.request(command, 0, 6, 0, 0);
            let chunk = form == Form::Extended || (form == Form::Structured && command == NBD_CMD_READ);
            let simple = Got::Simple { error: 0, cookie: 6 };
            let none = Got::Chunk { done: true, kind: NBD_REPLY_TYPE_NONE, cookie: 6, payload: Vec::new() };
            assert_eq!(client.reply(), if chunk { none } else { simple });
        }
    }
}

#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    let rig = Setup::default().start();
    let mut client = Client::open(&rig, Form::Simple, &[]);
    client.send(&[0x55; 28]);
    assert!(client.is_closed());
    let mut client = Client::open(&rig, Form::Simple, &[]);
    client.request(NBD_CMD_WRITE, 0, 1, 0, u64::from(u32::MAX));
    assert!(client.is_closed(), "a payload of 4 GiB is no request");
    assert_eq!(Client::open(&rig, Form::Simple, &[]).read(0, 1), Ok(vec![0]));
}

#[test]
fn a_write_beyond_the_maximum_payload_is_refused_and_consumed() {
    let rig = Setup::default().start();
    for form in [Form::Simple, Form::Structured] {
        let mut client = Client::open(&rig, form, &[]);
        assert_eq!(client.write(0, &vec![0x25; (32 << 20) + 1]), Errno::Inval.code());
        assert_eq!(client.read(0, 4096), Ok(vec![0; 4096]), "the stream is in step");
    }
    let mut client = Client::open(&rig, Form::Extended, &[]);
    client.request(NBD_CMD_WRITE, 0, 1, 0, (32 << 20) + 1);
    assert!(client.is_closed(), "the specification asks for it where lengths say what they are");
}

/// A connection cut at every byte of a write: the server goes on, and buffers come back.
#[test]
fn a_connection_may_end_at_any_byte() {
    let rig = Setup::default().start();
    let mut bytes = request(NBD_CMD_WRITE, 0, 1, 0, 64);
    bytes.extend([3; 64]);
    bytes.extend(request(NBD_CMD_READ, 0, 2, 0, 64));
    for len in 0..bytes.len() {
        Client::open(&rig, Form::Simple, &[]).send(&bytes[..len]);
    }
    eventually(|| rig.server.stats().connections() == 0);
    assert_eq!(rig.pool.usage().taken, 0);
}
