//! A session of the server and its client in one process, one request in flight.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use keymoult::engine::{IoKind, Pool};
use keymoult::nbd::wire::{IHAVEOPT, NBD_CMD_WRITE, NBD_FLAG_C_FIXED_NEWSTYLE, NBD_FLAG_C_NO_ZEROES};
use keymoult::nbd::wire::{NBD_OPT_EXPORT_NAME, NBD_REQUEST_MAGIC, REQUEST_LEN};
use keymoult::nbd::{Config, Export, Exports, Listen, start};

use crate::Failure;
use crate::backend::{Nothing, NullBackend};

const SIZE: u64 = 1 << 30;
const POOL_LIMIT: usize = 64 << 20;
/// Bytes of a simple reply's header.
const REPLY_LEN: usize = 16;
/// Bytes of the greeting, and of the answer to NBD_OPT_EXPORT_NAME without its zeros.
const GREETING_LEN: usize = 18;
const EXPORT_LEN: usize = 10;

/// A request as it goes over the wire.
pub fn header(command: u16, cookie: u64, offset: u64, len: u32) -> [u8; REQUEST_LEN] {
    let mut bytes = [0; REQUEST_LEN];
    bytes[..4].copy_from_slice(&NBD_REQUEST_MAGIC.to_be_bytes());
    bytes[6..8].copy_from_slice(&command.to_be_bytes());
    bytes[8..16].copy_from_slice(&cookie.to_be_bytes());
    bytes[16..24].copy_from_slice(&offset.to_be_bytes());
    bytes[24..].copy_from_slice(&len.to_be_bytes());
    bytes
}

/// `count` requests of `len` bytes.
pub fn run(command: u16, len: u32, count: u64) -> Result<(), Failure> {
    let folder = std::env::temp_dir().join(format!("keymoult-pieces-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let done = serve(&folder.join("nbd"), command, len, count);
    std::fs::remove_dir_all(&folder)?;
    done
}

fn serve(socket: &std::path::Path, command: u16, len: u32, count: u64) -> Result<(), Failure> {
    let exports = Arc::new(Exports::new());
    exports.add(Export::new("null", SIZE, 4096, Arc::new(Nothing))?)?;
    let listen = vec![Listen::Unix(socket.into()).into()];
    let config = Config { listen, workers: 1, io: Some(IoKind::Posix), ..Config::default() };
    let server = start(&config, &exports, &Pool::new(POOL_LIMIT), |pool, _| NullBackend::new(pool))?;
    let mut client = UnixStream::connect(socket)?;
    negotiate(&mut client)?;
    ask(&mut client, command, len, count)?;
    drop(client);
    server.stop();
    Ok(())
}

fn negotiate(client: &mut UnixStream) -> std::io::Result<()> {
    client.read_exact(&mut [0; GREETING_LEN])?;
    let mut hello = (NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES).to_be_bytes().to_vec();
    hello.extend_from_slice(&IHAVEOPT.to_be_bytes());
    hello.extend_from_slice(&NBD_OPT_EXPORT_NAME.to_be_bytes());
    hello.extend_from_slice(&4u32.to_be_bytes());
    hello.extend_from_slice(b"null");
    client.write_all(&hello)?;
    client.read_exact(&mut [0; EXPORT_LEN])
}

fn ask(client: &mut UnixStream, command: u16, len: u32, count: u64) -> Result<(), Failure> {
    let writes = command == NBD_CMD_WRITE;
    let mut message = vec![0; REQUEST_LEN + if writes { len as usize } else { 0 }];
    let mut answer = vec![0; REPLY_LEN + if writes { 0 } else { len as usize }];
    for cookie in 0..count {
        let offset = cookie * u64::from(len) % SIZE;
        message[..REQUEST_LEN].copy_from_slice(&header(command, cookie, offset, len));
        client.write_all(&message)?;
        client.read_exact(&mut answer)?;
        if answer[4..8] != [0; 4] {
            return Err("a request failed".into());
        }
    }
    Ok(())
}
