//! keymoult's NBD server with nothing behind it: reads give whatever a buffer holds, writes go nowhere. What a client can
//! move through our own handshake, parser, sockets and replies at most; the cap of the benchmark's targets.
//!
//! `keymoult-null SOCKET SIZE` serves one export, with the empty name and `null`, until it is killed.

mod backend;

use std::sync::Arc;

use backend::{Nothing, NullBackend};
use keymoult::engine::Pool;
use keymoult::nbd::{Config, Export, Exports, Listen, start};

/// Bytes of buffers, as the daemon has.
const POOL_LIMIT: usize = 512 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [socket, size] = args.as_slice() else { return Err("usage: keymoult-null SOCKET SIZE (bytes)".into()) };
    let exports = Arc::new(Exports::new());
    exports.add(Export::new("null", size.parse()?, 4096, Arc::new(Nothing))?)?;
    let config = Config { listen: vec![Listen::Unix(socket.into()).into()], insecure: true, ..Config::default() };
    let pool = Pool::new(POOL_LIMIT);
    let _server = start(&config, &exports, &pool, |pool, _| NullBackend::new(pool))?;
    loop {
        std::thread::park();
    }
}
