//! A client of one volume without a network: requests to an executor on the posix engine, one at a time.

use std::sync::Arc;
use std::time::Duration;

use keymoult::engine::{Engine, EngineOptions, IoKind, Pool};
use keymoult::volume::Volume;
use keymoult::volume::executor::{Executor, IoFailure, Reply, Request, RequestKind};

/// Bytes of one request.
const STEP: usize = 64 << 10;

pub struct Client {
    executor: Executor,
    engine: Box<dyn Engine>,
    pool: Pool,
    volume: Arc<Volume>,
}

impl Client {
    pub fn new(volume: &Arc<Volume>) -> Client {
        let engine = keymoult::engine::open(Some(IoKind::Posix), &EngineOptions::default()).unwrap();
        let pool = Pool::new(64 << 20);
        let executor = Executor::new(pool.clone(), engine.waker());
        Client { executor, engine, pool, volume: Arc::clone(volume) }
    }

    fn run(&mut self, kind: RequestKind) -> Result<Reply, IoFailure> {
        let request = Request { volume: Arc::clone(&self.volume), session: 1, cookie: 7, kind };
        self.executor.start(&mut *self.engine, request);
        let mut done = Vec::new();
        loop {
            if let Some(finished) = self.executor.finished() {
                assert_eq!((finished.session, finished.cookie), (1, 7));
                return finished.outcome;
            }
            self.engine.wait(Some(Duration::from_millis(100)), &mut done).unwrap();
            for done in done.drain(..) {
                self.executor.complete(&mut *self.engine, done);
            }
            self.executor.poll(&mut *self.engine);
        }
    }

    /// The whole volume.
    pub fn read_all(&mut self) -> Vec<u8> {
        let size = self.volume.size();
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < size {
            let offset = bytes.len() as u64;
            let len = (STEP as u64).min(size - offset) as u32;
            let Ok(Reply::Data(parts)) = self.run(RequestKind::Read { offset, len }) else {
                panic!("read at {offset}");
            };
            for (buf, range) in parts {
                bytes.extend_from_slice(&buf[range]);
            }
        }
        bytes
    }

    /// Writes and flushes.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut buf = self.pool.take(bytes.len()).unwrap();
        buf[..bytes.len()].copy_from_slice(bytes);
        let payload = vec![(buf, 0..bytes.len())];
        self.run(RequestKind::Write { offset, payload, fua: false }).unwrap();
        self.run(RequestKind::Flush).unwrap();
    }
}
