//! One file over FUSE whose content is a [`Platter`]: the kernel's own protocol, as far as a loop device needs it.
//!
//! The root of the file system is the file itself (`rootmode` says so), mounted over an empty file. Writes are not held
//! back by the kernel (no write-back cache was asked for), so what the platter has not seen, nobody was promised; an
//! fsync of the file arrives as FSYNC. Layouts are those of the kernel's `linux/fuse.h`, version 7.31 and later.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::platter::{Cut, Platter};

const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const FORGET: u32 = 2;
const INTERRUPT: u32 = 36;
const DESTROY: u32 = 38;
const BATCH_FORGET: u32 = 42;
const FALLOCATE: u32 = 43;

const HEADER: usize = 40;
const ARGUMENTS: usize = 40;
const WRITE_MAX: usize = 1 << 20;
const MODE: &str = "100600";

/// A file system that is mounted for as long as this lives.
pub struct Mount {
    place: PathBuf,
}

impl Mount {
    /// Mounts `platter` over the file `place`, which must exist, and serves it from a thread.
    pub fn new(platter: &Arc<Platter>, place: &Path) -> Mount {
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let device =
            device.unwrap_or_else(|error| panic!("/dev/fuse does not open (root and FUSE are needed): {error}"));
        let options = format!("fd={},rootmode={MODE},user_id=0,group_id=0,max_read={WRITE_MAX}", device.as_raw_fd());
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("platter"), place, Some("fuse"), flags, Some(options.as_str())).unwrap();
        let (platter, plug) = (Arc::clone(platter), platter.plug_in());
        thread::spawn(move || serve(device, &platter, plug));
        Mount { place: place.into() }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Detached: whoever still has it open keeps a ghost of it, whose requests fail.
        if let Err(error) = umount2(&self.place, MntFlags::MNT_DETACH) {
            eprintln!("{} could not be unmounted: {error}", self.place.display());
        }
    }
}

/// Answers requests until the file system is gone.
fn serve(mut device: File, platter: &Arc<Platter>, plug: u32) {
    let mut buffer = vec![0; WRITE_MAX + (64 << 10)];
    loop {
        let len = match device.read(&mut buffer) {
            Ok(len) if len >= HEADER => len,
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::ENOENT)) => continue,
            _ => return,
        };
        let request = Request::parse(&buffer[..len]);
        if matches!(request.opcode, FORGET | BATCH_FORGET | INTERRUPT) {
            continue; // these want no answer
        }
        if request.opcode == FSYNC && platter.is_stalled() {
            let (platter, unique, device) = (Arc::clone(platter), request.unique, device.try_clone().unwrap());
            thread::spawn(move || {
                platter.await_turn();
                reply(&device, unique, platter.flush(plug).map(|()| Vec::new()).map_err(dead));
            });
            continue;
        }
        reply(&device, request.unique, answer(platter, plug, &request));
    }
}

fn reply(mut device: &File, unique: u64, answer: Result<Vec<u8>, Errno>) {
    let (error, body) = match answer {
        Ok(body) => (0, body),
        Err(errno) => (-(errno as i32), Vec::new()),
    };
    let mut reply = Vec::with_capacity(16 + body.len());
    reply.extend((16 + body.len() as u32).to_ne_bytes());
    reply.extend(error.to_ne_bytes());
    reply.extend(unique.to_ne_bytes());
    reply.extend(body);
    let _ = device.write_all(&reply); // ENOENT: the asker was interrupted meanwhile
}

/// What a disk without power answers.
fn dead(_: Cut) -> Errno {
    Errno::EIO
}

struct Request<'a> {
    opcode: u32,
    unique: u64,
    body: &'a [u8],
}

impl Request<'_> {
    fn parse(bytes: &[u8]) -> Request<'_> {
        let opcode = u32::from_ne_bytes(bytes[4..8].try_into().unwrap());
        Request { opcode, unique: number(bytes, 8), body: &bytes[HEADER..] }
    }

    /// The 64-bit argument at `at` of the body.
    fn argument(&self, at: usize) -> u64 {
        number(self.body, at)
    }

    fn small(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.body[at..at + 4].try_into().unwrap())
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn answer(platter: &Platter, plug: u32, request: &Request<'_>) -> Result<Vec<u8>, Errno> {
    let place = || (request.argument(8) as usize, request.small(16) as usize);
    match request.opcode {
        INIT => Ok(initial(request)),
        GETATTR => Ok(attributes(platter.size() as u64)),
        OPEN => Ok(vec![0; 16]),
        READ => {
            let (offset, len) = place();
            platter.read(plug, offset, len).map_err(dead)
        }
        WRITE => {
            let (offset, len) = place();
            platter.write(plug, offset, &request.body[ARGUMENTS..ARGUMENTS + len]).map_err(dead)?;
            Ok([(len as u32).to_ne_bytes(), [0; 4]].concat())
        }
        FALLOCATE => {
            // Loop devices ask for holes and zeroed ranges; both are zeros.
            let (offset, len) = (request.argument(8) as usize, request.argument(16) as usize);
            let len = len.min(platter.size().saturating_sub(offset));
            platter.write(plug, offset, &vec![0; len]).map_err(dead)?;
            Ok(Vec::new())
        }
        FSYNC => platter.flush(plug).map(|()| Vec::new()).map_err(dead),
        STATFS => Ok(statistics(platter.size() as u64)),
        FLUSH | RELEASE | DESTROY => Ok(Vec::new()),
        _ => Err(Errno::ENOSYS),
    }
}

/// The answer to INIT: large writes, nothing else.
fn initial(request: &Request<'_>) -> Vec<u8> {
    const ASYNC_READ: u32 = 1;
    const BIG_WRITES: u32 = 1 << 5;
    const MAX_PAGES: u32 = 1 << 22;
    let mut body = Vec::with_capacity(64);
    for word in [7, request.small(4).min(38), 128 << 10, ASYNC_READ | BIG_WRITES | MAX_PAGES] {
        body.extend(word.to_ne_bytes());
    }
    body.extend(64u16.to_ne_bytes()); // background requests, and where the kernel calls that congested
    body.extend(48u16.to_ne_bytes());
    body.extend((WRITE_MAX as u32).to_ne_bytes());
    body.extend(1u32.to_ne_bytes()); // granularity of times, nanoseconds
    body.extend(((WRITE_MAX / 4096) as u16).to_ne_bytes());
    body.resize(64, 0);
    body
}

fn attributes(size: u64) -> Vec<u8> {
    let mut body = Vec::with_capacity(104);
    body.extend(3600u64.to_ne_bytes()); // valid for, seconds: nobody else changes it
    body.extend(0u64.to_ne_bytes());
    for value in [1, size, size.div_ceil(512), 0, 0, 0] {
        body.extend(value.to_ne_bytes());
    }
    let mode = u32::from_str_radix(MODE, 8).unwrap();
    for value in [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0] {
        body.extend(value.to_ne_bytes());
    }
    body
}

fn statistics(size: u64) -> Vec<u8> {
    let blocks = size / 4096;
    let mut body = Vec::with_capacity(80);
    for value in [blocks, blocks, blocks, 1, 0] {
        body.extend(value.to_ne_bytes());
    }
    for value in [4096u32, 255, 4096, 0] {
        body.extend(value.to_ne_bytes());
    }
    body.resize(80, 0);
    body
}
