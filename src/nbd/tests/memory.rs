//! A backend that keeps volumes in memory, finishes at once, and can be told to hold writes or fail.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::super::backend::{Backend, Failed, Failure, Finished, Reply, Request, Work};
use super::super::meta::Context;
use super::super::wire::{NBD_STATE_HOLE, NBD_STATE_ZERO};
use crate::engine::{Buf, Done, Engine, Pool, Waker};
use crate::limits::PIECE_MAX;

/// Granularity of holes, bytes.
const BLOCK: usize = 4096;

/// A volume in memory.
#[derive(Debug)]
pub struct Memory {
    data: Mutex<Vec<u8>>,
    /// Writes are parked while set.
    pub hold: AtomicBool,
    /// Requests that touch this range fail.
    pub bad: Mutex<Range<u64>>,
    /// Writes that reached the data.
    pub writes: AtomicU64,
    /// Flushes and requests with FUA.
    pub flushes: AtomicU64,
    /// Offset, length and FUA of every part of a trim or a write of zeros.
    pub spans: Mutex<Vec<(u64, u64, bool)>>,
}

impl Memory {
    pub fn new(len: usize) -> Memory {
        Memory {
            data: Mutex::new(vec![0; len]),
            hold: AtomicBool::new(false),
            bad: Mutex::new(0..0),
            writes: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            spans: Mutex::default(),
        }
    }

    pub fn contents(&self, range: Range<usize>) -> Vec<u8> {
        self.data.lock().unwrap()[range].to_vec()
    }

    /// The first byte of the range that is bad.
    fn fails(&self, offset: u64, len: u64) -> Option<u64> {
        let bad = self.bad.lock().unwrap();
        (offset < bad.end && bad.start < offset + len).then_some(bad.start.max(offset))
    }

    /// Zeroes what there is of the range: an export may be larger than its memory.
    fn zero(&self, offset: u64, len: u64, fua: bool) -> Result<Reply, Failed> {
        if let Some(at) = self.fails(offset, len) {
            return Err(Failed { failure: Failure::Io, at: Some(at) });
        }
        self.spans.lock().unwrap().push((offset, len, fua));
        let mut data = self.data.lock().unwrap();
        let end = (data.len() as u64).min(offset + len);
        data[offset.min(end) as usize..end as usize].fill(0);
        Ok(Reply::Done)
    }
}

/// Runs requests on [`Memory`].
pub struct MemoryBackend {
    pool: Pool,
    finished: VecDeque<Finished>,
    parked: VecDeque<Request<Memory>>,
}

impl MemoryBackend {
    pub fn new(pool: &Pool, _waker: Waker) -> MemoryBackend {
        MemoryBackend { pool: pool.clone(), finished: VecDeque::new(), parked: VecDeque::new() }
    }

    /// Runs a request, or parks it.
    fn run(&mut self, request: Request<Memory>) {
        let volume = &request.volume;
        let is_write = matches!(request.work, Work::Write { .. });
        if is_write && volume.hold.load(Ordering::Acquire) {
            return self.parked.push_back(request);
        }
        let failed = |failure, at| Err(Failed { failure, at: Some(at) });
        let outcome = match &request.work {
            Work::Read { offset, len } => match volume.fails(*offset, u64::from(*len)) {
                Some(at) => failed(Failure::Io, at),
                None => match read(volume, &self.pool, *offset as usize, *len as usize) {
                    Some(parts) => Ok(Reply::Data(parts)),
                    None => return self.parked.push_back(request),
                },
            },
            Work::Write { offset, buf, range, fua } => match volume.fails(*offset, range.len() as u64) {
                Some(at) => failed(Failure::NoSpace, at),
                None => {
                    assert!(range.len() <= PIECE_MAX && *offset as usize % PIECE_MAX + range.len() <= PIECE_MAX);
                    volume.data.lock().unwrap()[*offset as usize..][..range.len()].copy_from_slice(&buf[range.clone()]);
                    volume.writes.fetch_add(1, Ordering::Relaxed);
                    volume.flushes.fetch_add(u64::from(*fua), Ordering::Relaxed);
                    Ok(Reply::Done)
                }
            },
            Work::Flush => {
                volume.flushes.fetch_add(1, Ordering::Relaxed);
                Ok(Reply::Done)
            }
            Work::Trim { offset, len, fua } | Work::Zeroes { offset, len, fua, .. } => volume.zero(*offset, *len, *fua),
            Work::Cache { .. } => Ok(Reply::Done),
        };
        self.finished.push_back(Finished { session: request.session, cookie: request.cookie, outcome });
    }
}

fn read(volume: &Memory, pool: &Pool, offset: usize, len: usize) -> Option<Vec<(Buf, Range<usize>)>> {
    let data = volume.data.lock().unwrap();
    data[offset..offset + len]
        .chunks(PIECE_MAX)
        .map(|piece| {
            let mut buf = pool.take(piece.len())?;
            buf[..piece.len()].copy_from_slice(piece);
            Some((buf, 0..piece.len()))
        })
        .collect()
}

impl Backend for MemoryBackend {
    type Volume = Memory;

    fn start(&mut self, _engine: &mut dyn Engine, request: Request<Memory>) {
        self.run(request);
    }

    fn complete(&mut self, _engine: &mut dyn Engine, done: Done) {
        panic!("no operation of this backend: {done:?}");
    }

    fn poll(&mut self, _engine: &mut dyn Engine) {
        for request in std::mem::take(&mut self.parked) {
            self.run(request);
        }
    }

    fn finished(&mut self) -> Option<Finished> {
        self.finished.pop_front()
    }

    fn drop_session(&mut self, session: u32) {
        self.parked.retain(|request| request.session != session);
    }

    fn block_status(
        volume: &Memory,
        offset: u64,
        len: u64,
        context: Context,
        max: usize,
    ) -> io::Result<Vec<(u64, u32)>> {
        if volume.fails(offset, len).is_some() {
            return Err(io::ErrorKind::Other.into());
        }
        if context == Context::Generation {
            return Ok(vec![(len, 7)]);
        }
        let data = volume.data.lock().unwrap();
        let mut states: Vec<(u64, u32)> = Vec::new();
        let known = (data.len() as u64).min(offset + len);
        if known <= offset {
            return Ok(vec![(len, NBD_STATE_HOLE | NBD_STATE_ZERO)]);
        }
        for block in data[offset as usize..known as usize].chunks(BLOCK) {
            let zero = block.iter().all(|byte| *byte == 0);
            let flags = if zero { NBD_STATE_HOLE | NBD_STATE_ZERO } else { 0 };
            let full = states.len() == max;
            match states.last_mut() {
                Some(last) if last.1 == flags => last.0 += block.len() as u64,
                _ if full => break,
                _ => states.push((block.len() as u64, flags)),
            }
        }
        // What lies behind the memory is a hole.
        if let Some(last) = states.last_mut().filter(|last| last.1 != 0) {
            last.0 += offset + len - known;
        }
        Ok(states)
    }
}

/// A server over one volume named "v" and a way to it.
pub struct Rig {
    pub volume: Arc<Memory>,
    pub export: Arc<super::super::Export<Memory>>,
    pub server: super::super::Server,
    pub pool: Pool,
    pub dir: tempfile::TempDir,
}

/// What a test wants different from the default.
pub struct Setup {
    pub len: usize,
    /// Size of the export where it is larger than the memory behind it.
    pub size: Option<u64>,
    pub pool: usize,
    pub read_only: bool,
    pub config: super::super::Config,
    pub tls: super::super::TlsMode,
}

impl Default for Setup {
    fn default() -> Setup {
        let config = super::super::Config { workers: 2, ..Default::default() };
        Setup { len: 64 << 20, size: None, pool: 256 << 20, read_only: false, config, tls: Default::default() }
    }
}

impl Setup {
    pub fn start(self) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let pool = Pool::new(self.pool);
        let volume = Arc::new(Memory::new(self.len));
        let export =
            super::super::Export::new("v", self.size.unwrap_or(self.len as u64), 4096, Arc::clone(&volume)).unwrap();
        let exports = Arc::new(super::super::Exports::new());
        let export =
            exports.add(export.with_description("test volume").unwrap().with_read_only(self.read_only)).unwrap();
        let mut config = self.config;
        let entrance = super::super::Entrance::from(super::super::Listen::Unix(dir.path().join("s")));
        config.listen.push(super::super::Entrance { tls: self.tls, ..entrance });
        let server = super::super::start(&config, &exports, &pool, MemoryBackend::new).unwrap();
        Rig { volume, export, server, pool, dir }
    }
}

impl Rig {
    pub fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("s")
    }

    pub fn uri(&self) -> String {
        format!("nbd+unix:///?socket={}", self.path().display())
    }
}
