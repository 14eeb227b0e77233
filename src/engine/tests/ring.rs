//! What only the ring has: registered files and buffers, inline I/O, an owning thread.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use super::support::*;
use crate::engine::*;
use crate::limits::INLINE_MAX;

const LEN: u64 = 8 << 20;

#[test]
fn a_ring_told_so_moves_large_pieces_of_memory_inline() {
    let pool = Pool::new(8 << 20);
    let kept = disks(LEN).into_iter().find(|kept| kept.name == "tmpfs").unwrap();
    for (inline, expected) in [(INLINE_MAX, 0), (CLASS_MAX, 1)] {
        let options = EngineOptions { inline_writes: inline, ..EngineOptions::default() };
        let mut engine = open(Some(IoKind::Ring), &options).unwrap();
        run(&mut *engine, write(&kept.disk, &pool, 0, &[1; CLASS_MAX], false)).result.unwrap();
        assert_eq!(engine.stats().inlined, expected, "at most {inline} bytes inline");
    }
}

#[test]
fn small_operations_on_memory_run_inline_and_direct_ones_on_the_ring() {
    let mut engine = ring();
    let pool = Pool::new(8 << 20);
    for kept in disks(LEN) {
        let before = engine.stats().inlined;
        run(&mut *engine, write(&kept.disk, &pool, 0, &[1; 4096], false)).result.unwrap();
        let inlined = engine.stats().inlined - before;
        match kept.disk.caps().inline {
            InlinePolicy::Always => assert_eq!(inlined, 1, "{}", kept.name),
            InlinePolicy::Never => assert_eq!(inlined, 0, "{}", kept.name),
            InlinePolicy::NoWait => {} // the file system decides
        }
    }
}

#[test]
fn a_dropped_backing_is_not_in_use_though_the_ring_remembers_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let (mut engine, pool) = (ring(), Pool::new(2 << 20));
    let disk: Arc<dyn Disk> = Arc::new(Backing::create(&path, LEN, &OpenOptions::default()).unwrap());
    assert!(engine.report().features.contains(&"registered files"));
    drop(run(&mut *engine, read(&disk, &pool, 0, 4096)));
    assert!(Backing::open(&path, &OpenOptions::default()).is_err());
    drop(disk);
    // The next backing may get the old one's descriptor number and address: it must be itself all the same.
    std::fs::write(&path, vec![7; LEN as usize]).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(Backing::open(&path, &OpenOptions::default()).unwrap());
    assert_eq!(bytes(&run(&mut *engine, read(&disk, &pool, 0, 4096))), [7; 4096]);
}

#[test]
fn forgetting_disks_and_sockets_changes_nothing_but_speed() {
    let (mut engine, pool) = (ring(), Pool::new(2 << 20));
    for kept in disks(LEN) {
        run(&mut *engine, write(&kept.disk, &pool, 0, &[3; 4096], false)).result.unwrap();
        engine.forget_disk(&kept.disk);
        assert_eq!(bytes(&run(&mut *engine, read(&kept.disk, &pool, 0, 4096))), [3; 4096]);
    }
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let socket = Arc::new(Sock::try_from(ours).unwrap());
    for round in 0..3 {
        std::io::Write::write_all(&mut theirs, &[round; 8]).unwrap();
        let rest = (pool.take(8).unwrap(), 0..8);
        let done = run(&mut *engine, Op::Recv { socket: Arc::clone(&socket), first: None, rest });
        assert_eq!(bytes(&done), [round; 8]);
        engine.forget_socket(&socket);
    }
}

#[test]
fn more_sockets_than_the_file_table_has_places() {
    let (mut engine, pool) = (ring(), Pool::new(16 << 20));
    let mut kept = Vec::new();
    for round in 0..1200usize {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let socket = Arc::new(Sock::try_from(ours).unwrap());
        std::io::Write::write_all(&mut theirs, &round.to_le_bytes()).unwrap();
        let rest = (pool.take(8).unwrap(), 0..8);
        let done = run(&mut *engine, Op::Recv { socket: Arc::clone(&socket), first: None, rest });
        assert_eq!(bytes(&done), round.to_le_bytes());
        if round % 4 == 0 && kept.len() < 300 {
            kept.push((socket, theirs));
        }
    }
    for (socket, theirs) in &mut kept {
        std::io::Write::write_all(theirs, b"still").unwrap();
        let rest = (pool.take(8).unwrap(), 0..8);
        let done = run(&mut *engine, Op::Recv { socket: Arc::clone(socket), first: None, rest });
        assert_eq!(bytes(&done), b"still");
    }
}

/// A chunk that was unmapped and mapped again must not be taken for the one that was registered.
#[test]
fn trimmed_and_regrown_buffers_are_registered_anew() {
    let (mut engine, pool) = (ring(), Pool::new(16 << 20));
    let kept = disks(LEN).remove(1);
    for round in 0..8u64 {
        let ballast: Vec<Buf> = (0..8).map(|_| pool.take(1 << 20).unwrap()).collect();
        let expected = pattern(round, 1 << 20);
        run(&mut *engine, write(&kept.disk, &pool, 0, &expected, false)).result.unwrap();
        let done = run(&mut *engine, read(&kept.disk, &pool, 0, 1 << 20));
        assert!(bytes(&done) == expected, "round {round}");
        drop((ballast, done));
        assert!(pool.trim() > 0);
    }
}

/// A ring cannot be drained on a foreign thread: its buffers are leaked, never handed to others.
#[test]
fn a_ring_dropped_on_a_foreign_thread_keeps_its_buffers_from_reuse() {
    let (mut engine, pool) = (ring(), Pool::new(2 << 20));
    if !engine.report().features.contains(&"deferred task work") {
        return; // only SINGLE_ISSUER rings have an owner
    }
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let socket = Arc::new(Sock::try_from(ours).unwrap());
    engine.submit(0, Op::Recv { socket, first: None, rest: (pool.take(4096).unwrap(), 0..4096) });
    engine.wait(Some(Duration::ZERO), &mut Vec::new()).unwrap();
    std::thread::spawn(move || drop(engine)).join().unwrap();
    assert_eq!(pool.usage().taken, 4096);
    std::io::Write::write_all(&mut theirs, b"late").unwrap();
    assert!(pool.take(4096).unwrap().iter().all(|&byte| byte == 0));
}

#[test]
fn a_batch_of_memory_requests_costs_no_enter_of_its_own() {
    let (mut engine, pool) = (ring(), Pool::new(2 << 20));
    let kept = disks(LEN).remove(0);
    let before = engine.stats().enters;
    run(&mut *engine, write(&kept.disk, &pool, 0, &[1; 4096], true)).result.unwrap();
    let first = engine.stats().enters - before; // may start the waker's read
    for _ in 0..100 {
        run(&mut *engine, read(&kept.disk, &pool, 0, 4096)).result.unwrap();
    }
    assert!(engine.stats().enters - before <= first + 1);
}
