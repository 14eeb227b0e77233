//! Waiting: wakes, timeouts, and work that must not starve other work. No wall time is asserted.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use super::support::*;
use crate::engine::*;

#[test]
fn a_wake_ends_a_wait_from_another_thread_and_is_not_lost() {
    for (name, mut engine) in engines() {
        let waker = engine.waker();
        let mut done = Vec::new();
        waker.wake();
        waker.wake();
        engine.wait(None, &mut done).unwrap();
        for _ in 0..100 {
            let waker = waker.clone();
            let other = std::thread::spawn(move || waker.wake());
            engine.wait(None, &mut done).unwrap();
            other.join().unwrap();
        }
        assert!(done.is_empty(), "{name}");
        assert!(engine.stats().wakes >= 101, "{name}");
    }
}

#[test]
fn wakes_race_with_messages_and_none_is_missed() {
    for (name, mut engine) in engines() {
        let (sender, messages) = std::sync::mpsc::channel();
        let waker = engine.waker();
        let other = std::thread::spawn(move || {
            for number in 0..5000 {
                sender.send(number).unwrap();
                waker.wake();
            }
        });
        let mut next = 0;
        while next < 5000 {
            // A lost wake would hang here for ever.
            engine.wait(None, &mut Vec::new()).unwrap();
            for number in messages.try_iter() {
                assert_eq!(number, next, "{name}");
                next += 1;
            }
        }
        other.join().unwrap();
    }
}

#[test]
fn a_timeout_ends_a_wait() {
    for (name, mut engine) in engines() {
        let mut done = Vec::new();
        for timeout in [Duration::ZERO, Duration::from_millis(3)] {
            engine.wait(Some(timeout), &mut done).unwrap();
        }
        assert!(done.is_empty(), "{name}");
    }
}

#[test]
fn inline_work_does_not_starve_sockets() {
    for (name, mut engine) in engines() {
        let pool = Pool::new(8 << 20);
        let memory: Arc<dyn Disk> = Arc::new(mem::MemDisk::new(1 << 20));
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let socket = Arc::new(Sock::try_from(ours).unwrap());
        engine.submit(1, Op::Recv { socket, first: None, rest: (pool.take(64).unwrap(), 0..64) });
        std::io::Write::write_all(&mut theirs, b"hello").unwrap();
        let mut done = Vec::new();
        for round in 0.. {
            assert!(round < 10_000, "{name}: the receive never completed");
            engine.submit(2, read(&memory, &pool, 0, 4096));
            engine.wait(None, &mut done).unwrap();
            if done.iter().any(|done| done.token == 1) {
                break;
            }
            done.clear();
        }
        while engine.pending() > 0 {
            engine.wait(None, &mut done).unwrap();
        }
    }
}

#[test]
fn an_engine_may_move_to_its_thread_before_it_is_used() {
    for (_, mut engine) in engines() {
        std::thread::spawn(move || {
            let pool = Pool::new(2 << 20);
            let disk: Arc<dyn Disk> = Arc::new(mem::MemDisk::new(1 << 20));
            run(&mut *engine, read(&disk, &pool, 0, 4096)).result.unwrap();
        })
        .join()
        .unwrap();
    }
}
