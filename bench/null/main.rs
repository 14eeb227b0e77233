//! keymoult's NBD server with nothing behind it: reads give whatever a buffer holds, writes go nowhere. What a client can
//! move through our own handshake, parser, sockets and replies at most; the cap of the benchmark's targets.
//!
//! `keymoult-null SOCKET SIZE` serves one export, with the empty name and `null`, until it is killed.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use keymoult::engine::{CLASS_MAX, Done, Engine, Pool};
use keymoult::nbd::backend::{Backend, Finished, Reply, Request, Work};
use keymoult::nbd::meta::Context;
use keymoult::nbd::{Config, Export, Exports, Listen, start};

/// Bytes of buffers, as the daemon has.
const POOL_LIMIT: usize = 512 << 20;

struct Nothing;

struct NullBackend {
    pool: Pool,
    finished: VecDeque<Finished>,
    /// Reads that found no buffer.
    starved: VecDeque<Request<Nothing>>,
}

impl NullBackend {
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

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [socket, size] = args.as_slice() else { return Err("usage: keymoult-null SOCKET SIZE (bytes)".into()) };
    let exports = Arc::new(Exports::new());
    exports.add(Export::new("null", size.parse()?, 4096, Arc::new(Nothing))?)?;
    let config = Config { listen: vec![Listen::Unix(socket.into())], insecure: true, ..Config::default() };
    let pool = Pool::new(POOL_LIMIT);
    let backend =
        |pool: &Pool, _| NullBackend { pool: pool.clone(), finished: VecDeque::new(), starved: VecDeque::new() };
    let _server = start(&config, &exports, &pool, backend)?;
    loop {
        std::thread::park();
    }
}
