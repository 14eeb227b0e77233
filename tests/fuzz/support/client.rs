//! A client of one volume without a network: requests to an executor on the posix engine, one at a time.

use std::sync::Arc;
use std::time::Duration;

use keymoult::engine::{Engine, EngineOptions, IoKind, Pool};
use keymoult::volume::Volume;
use keymoult::volume::executor::{Executor, IoFailure, Reply, Request, RequestKind};

/// Bytes of one request.
const STEP: u64 = 64 << 10;
/// Rounds after which a request that is not answered has been forgotten; a few suffice.
const ROUNDS_MAX: usize = 10_000;

/// An engine that needs no kernel support.
pub fn engine() -> Box<dyn Engine> {
    keymoult::engine::open(Some(IoKind::Posix), &EngineOptions::default()).unwrap()
}

/// One client.
pub struct Client {
    executor: Executor,
    engine: Box<dyn Engine>,
    pool: Pool,
    volume: Arc<Volume>,
}

impl Client {
    /// A client of `volume`.
    pub fn new(volume: &Arc<Volume>) -> Client {
        let (engine, pool) = (engine(), Pool::new(64 << 20));
        let executor = Executor::new(pool.clone(), engine.waker());
        Client { executor, engine, pool, volume: Arc::clone(volume) }
    }

    fn run(&mut self, kind: RequestKind) -> Result<Reply, IoFailure> {
        let request = Request { volume: Arc::clone(&self.volume), session: 1, cookie: 7, kind };
        self.executor.start(&mut *self.engine, request);
        let mut done = Vec::new();
        for _ in 0..ROUNDS_MAX {
            if let Some(finished) = self.executor.finished() {
                return finished.outcome;
            }
            self.engine.wait(Some(Duration::from_millis(1)), &mut done).unwrap();
            for done in done.drain(..) {
                self.executor.complete(&mut *self.engine, done);
            }
            self.executor.poll(&mut *self.engine);
        }
        panic!("a request is never answered");
    }

    /// The whole volume, piece by piece; a piece is an error where it cannot be had.
    pub fn read_all(&mut self) -> Vec<Result<Vec<u8>, IoFailure>> {
        let size = self.volume.size();
        let pieces = (0..size).step_by(STEP as usize);
        pieces.map(|offset| self.read(offset, STEP.min(size - offset) as u32)).collect()
    }

    /// `len` bytes at `offset`.
    pub fn read(&mut self, offset: u64, len: u32) -> Result<Vec<u8>, IoFailure> {
        match self.run(RequestKind::Read { offset, len })? {
            Reply::Data(parts) => {
                let mut bytes = Vec::new();
                parts.iter().for_each(|(buf, range)| bytes.extend_from_slice(&buf[range.clone()]));
                Ok(bytes)
            }
            Reply::Done => panic!("a read without data"),
        }
    }

    /// Writes, durably.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), IoFailure> {
        let mut buf = self.pool.take(bytes.len()).unwrap();
        buf[..bytes.len()].copy_from_slice(bytes);
        let payload = vec![(buf, 0..bytes.len())];
        self.run(RequestKind::Write { offset, payload, fua: true }).map(drop)
    }
}
