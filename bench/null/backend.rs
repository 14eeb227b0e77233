//! A backend with nothing behind it: reads give whatever a buffer holds, writes go nowhere.

use std::collections::VecDeque;
use std::io;

use keymoult::engine::{CLASS_MAX, Done, Engine, Pool};
use keymoult::nbd::backend::{Backend, Finished, Reply, Request, Work};
use keymoult::nbd::meta::Context;

/// What there is behind the server.
pub struct Nothing;

/// Answers everything at once.
pub struct NullBackend {
    pool: Pool,
    finished: VecDeque<Finished>,
    /// Reads that found no buffer.
    starved: VecDeque<Request<Nothing>>,
}

impl NullBackend {
    /// A backend that gives buffers of `pool`.
    pub fn new(pool: &Pool) -> NullBackend {
        NullBackend { pool: pool.clone(), finished: VecDeque::new(), starved: VecDeque::new() }
    }

    fn read(&mut self, request: Request<Nothing>, len: u32) {
        let mut parts = Vec::new();
        let mut left = len as usize;
        while left > 0 {
            let step = left.min(CLASS_MAX);
            let Some(buf) = self.pool.take(step) else { return self.starved.push_back(request) };
            parts.push((buf, 0..step));
            left -= step;
        }
        self.finish(&request, Reply::Data(parts));
    }

    fn finish(&mut self, request: &Request<Nothing>, reply: Reply) {
        self.finished.push_back(Finished { session: request.session, cookie: request.cookie, outcome: Ok(reply) });
    }
}

impl Backend for NullBackend {
    type Volume = Nothing;

    fn start(&mut self, _: &mut dyn Engine, request: Request<Nothing>) {
        match request.work {
            Work::Read { len, .. } => self.read(request, len),
            _ => self.finish(&request, Reply::Done),
        }
    }

    fn complete(&mut self, _: &mut dyn Engine, _: Done) {}

    fn poll(&mut self, engine: &mut dyn Engine) {
        for request in std::mem::take(&mut self.starved) {
            self.start(engine, request);
        }
    }

    fn finished(&mut self) -> Option<Finished> {
        self.finished.pop_front()
    }

    fn drop_session(&mut self, session: u32) {
        self.starved.retain(|request| request.session != session);
        self.finished.retain(|finished| finished.session != session);
    }

    fn block_status(_: &Nothing, _: u64, len: u64, _: Context, _: usize) -> io::Result<Vec<(u64, u32)>> {
        Ok(vec![(len, 0)])
    }
}
