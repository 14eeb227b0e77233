//! What the suite runs on: every engine, every kind of disk, and helpers that submit and wait.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::mem::MemDisk;
use crate::engine::*;

/// Long enough never to be reached by a test that passes.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Every engine, with its name for messages: the ring as it comes, one whose queues always overflow and which has
/// nothing registered, and the twin.
pub fn engines() -> Vec<(&'static str, Box<dyn Engine>)> {
    let tiny = EngineOptions { entries: 2, workers: 1, register: false, ..EngineOptions::default() };
    [
        ("ring", IoKind::Ring, EngineOptions::default()),
        ("tiny ring", IoKind::Ring, tiny),
        ("posix", IoKind::Posix, EngineOptions::default()),
    ]
    .into_iter()
    .map(|(name, kind, options)| (name, open(Some(kind), &options).unwrap()))
    .collect()
}

/// The ring with everything it can have.
pub fn ring() -> Box<dyn Engine> {
    open(Some(IoKind::Ring), &EngineOptions::default()).unwrap()
}

/// A disk of a kind, and the directory that holds it while the test runs.
pub struct Kept {
    pub name: &'static str,
    pub disk: Arc<dyn Disk>,
    _dir: Option<tempfile::TempDir>,
}

/// One disk of `len` bytes of every kind: tmpfs, direct I/O, page cache, in memory.
pub fn disks(len: u64) -> Vec<Kept> {
    let mut kinds = vec![
        kept("tmpfs", Path::new("/dev/shm"), CacheMode::Auto, len),
        kept("disk, auto", &std::env::temp_dir(), CacheMode::Auto, len),
        kept("page cache", &std::env::temp_dir(), CacheMode::Page, len),
    ];
    kinds.push(Kept { name: "memory", disk: Arc::new(MemDisk::new(len as usize)), _dir: None });
    kinds
}

fn kept(name: &'static str, parent: &Path, cache: CacheMode, len: u64) -> Kept {
    let dir = tempfile::tempdir_in(parent).unwrap();
    let options = OpenOptions { cache, ..OpenOptions::default() };
    let disk = Arc::new(Backing::create(dir.path().join("disk"), len, &options).unwrap());
    Kept { name, disk, _dir: Some(dir) }
}

/// Runs operations to their end; results in the order of submission.
pub fn run_all(engine: &mut dyn Engine, ops: Vec<Op>) -> Vec<Done> {
    let count = ops.len();
    for (token, op) in ops.into_iter().enumerate() {
        engine.submit(token as u64, op);
    }
    let mut done = collect(engine, count);
    done.sort_by_key(|done| done.token);
    assert!(done.iter().enumerate().all(|(index, done)| done.token == index as u64));
    done
}

/// Runs one operation to its end.
pub fn run(engine: &mut dyn Engine, op: Op) -> Done {
    run_all(engine, vec![op]).remove(0)
}

/// Waits for `count` completions.
pub fn collect(engine: &mut dyn Engine, count: usize) -> Vec<Done> {
    let mut done = Vec::new();
    while done.len() < count {
        let before = done.len();
        engine.wait(Some(PATIENCE), &mut done).unwrap();
        assert!(done.len() > before, "nothing completed in {PATIENCE:?}: {} of {count}", done.len());
    }
    assert_eq!(done.len(), count);
    done
}

/// The kind of error of a completion.
pub fn kind(done: &Done) -> io::ErrorKind {
    done.result.as_ref().unwrap_err().kind()
}

/// Bytes that differ from their neighbours and from other seeds.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(step).take(len).collect()
}

/// A buffer of the pool filled with `bytes` from its start.
pub fn filled(pool: &Pool, bytes: &[u8]) -> Buf {
    let mut buf = pool.take(bytes.len()).unwrap();
    buf[..bytes.len()].copy_from_slice(bytes);
    buf
}

/// A write of `bytes`.
pub fn write(disk: &Arc<dyn Disk>, pool: &Pool, offset: u64, bytes: &[u8], dsync: bool) -> Op {
    let data = Data::Own(filled(pool, bytes));
    Op::Write { disk: Arc::clone(disk), offset, data, range: 0..bytes.len(), dsync }
}

/// A read of `len` bytes.
pub fn read(disk: &Arc<dyn Disk>, pool: &Pool, offset: u64, len: usize) -> Op {
    Op::Read { disk: Arc::clone(disk), offset, buf: pool.take(len).unwrap(), range: 0..len }
}

/// What a completed read or receive brought.
pub fn bytes(done: &Done) -> &[u8] {
    let count = *done.result.as_ref().unwrap();
    match &done.op {
        Op::Read { buf, range, .. } => &buf[range.start..range.start + count],
        Op::Recv { first: None, rest: (buf, range), .. } => &buf[range.start..range.start + count],
        other => panic!("{other:?} brings no bytes"),
    }
}
