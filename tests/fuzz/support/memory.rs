//! A backend that keeps a volume in memory and finishes every request at once.

use std::collections::VecDeque;
use std::io;
use std::sync::Mutex;

use keymoult::engine::{Done, Engine, Pool};
use keymoult::limits::PIECE_MAX;
use keymoult::nbd::backend::{Backend, Failed, Failure, Finished, Reply, Request, Work};
use keymoult::nbd::meta::Context;
use keymoult::nbd::wire::{NBD_STATE_HOLE, NBD_STATE_ZERO};

/// Granularity of holes, bytes.
const BLOCK: usize = 4096;

/// A volume.
pub struct Memory(pub Mutex<Vec<u8>>);

/// Runs requests on [`Memory`].
pub struct MemoryBackend {
    pool: Pool,
    finished: VecDeque<Finished>,
    /// Requests that found no buffer.
    parked: VecDeque<Request<Memory>>,
}

impl MemoryBackend {
    /// A backend whose buffers come from `pool`.
    pub fn new(pool: &Pool) -> MemoryBackend {
        MemoryBackend { pool: pool.clone(), finished: VecDeque::new(), parked: VecDeque::new() }
    }

    fn run(&mut self, request: Request<Memory>) {
        let mut data = request.volume.0.lock().unwrap();
        let outcome = match &request.work {
            Work::Read { offset, len } => match self.read(&data[range(*offset, u64::from(*len))]) {
                Some(reply) => Ok(reply),
                None => {
                    drop(data);
                    return self.parked.push_back(request);
                }
            },
            Work::Write { offset, buf, range: from, .. } => {
                assert!(from.len() <= PIECE_MAX && *offset as usize % PIECE_MAX + from.len() <= PIECE_MAX);
                data[range(*offset, from.len() as u64)].copy_from_slice(&buf[from.clone()]);
                Ok(Reply::Done)
            }
            Work::Trim { offset, len, .. } | Work::Zeroes { offset, len, .. } => {
                data[range(*offset, *len)].fill(0);
                Ok(Reply::Done)
            }
            // A failure that depends on the request alone.
            Work::Cache { offset, .. } if offset % 3 == 1 => Err(Failed { failure: Failure::Io, at: None }),
            Work::Cache { .. } | Work::Flush => Ok(Reply::Done),
        };
        drop(data);
        self.finished.push_back(Finished { session: request.session, cookie: request.cookie, outcome });
    }

    fn read(&self, data: &[u8]) -> Option<Reply> {
        let part = |piece: &[u8]| {
            let mut buf = self.pool.take(piece.len())?;
            buf[..piece.len()].copy_from_slice(piece);
            Some((buf, 0..piece.len()))
        };
        data.chunks(PIECE_MAX).map(part).collect::<Option<Vec<_>>>().map(Reply::Data)
    }
}

fn range(offset: u64, len: u64) -> std::ops::Range<usize> {
    assert!(len > 0, "a request for nothing");
    offset as usize..(offset + len) as usize
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
        if context == Context::Generation {
            return Ok(vec![(len, 7)]);
        }
        let data = volume.0.lock().unwrap();
        let zero = |block: &[u8]| *block == [0; BLOCK][..block.len()];
        let state = |block: &[u8]| if zero(block) { NBD_STATE_HOLE | NBD_STATE_ZERO } else { 0 };
        let blocks = data[range(offset, len)].chunks(BLOCK).take(max);
        Ok(blocks.map(|block| (block.len() as u64, state(block))).collect())
    }
}
