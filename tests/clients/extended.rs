//! Extended headers, which libnbd before 1.18 does not speak: QEMU's client against the daemon, and one transcript of bytes
//! against both the daemon and QEMU's server, so that our reading of the specification is held against another's.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::Variant;
use crate::support::{Daemon, MIB, Store, VolumeOptions, map, run, succeed, tool, total};

/// More than 32 bits can say.
const SIZE: u64 = 5 << 30;
const BLOCK: usize = 4096;

const EXTENDED_HEADERS: u32 = 11;
const SET_META_CONTEXT: u32 = 10;
const STRUCTURED_REPLY: u32 = 8;
const GO: u32 = 7;
const ACK: u32 = 1;
const META_CONTEXT: u32 = 4;
const EXT_HEADER_REQD: u32 = 1 << 31 | 10;

const READ: u16 = 0;
const WRITE: u16 = 1;
const TRIM: u16 = 4;
const WRITE_ZEROES: u16 = 6;
const BLOCK_STATUS: u16 = 7;
const PAYLOAD_LEN: u16 = 1 << 5;
const REQ_ONE: u16 = 1 << 3;
const FAST_ZERO: u16 = 1 << 4;

const EINVAL: u32 = 22;
const ENOSPC: u32 = 28;

/// A chunk: its type and payload.
type Chunk = (u16, Vec<u8>);

/// A client of extended headers.
struct Extended {
    stream: UnixStream,
    /// Ids of the contexts in the order in which they were asked for.
    ids: Vec<u32>,
    cookie: u64,
}

impl Extended {
    /// Goes to the export `vol`, having refused to go back to structured replies.
    fn connect(socket: &Path, contexts: &[&str]) -> Extended {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut client = Extended { stream, ids: Vec::new(), cookie: 0 };
        assert_eq!(&client.take(18)[..16], b"NBDMAGICIHAVEOPT");
        client.stream.write_all(&3u32.to_be_bytes()).unwrap();
        assert_eq!(client.option(EXTENDED_HEADERS, &[])[0].0, ACK);
        assert_eq!(client.option(STRUCTURED_REPLY, &[])[0].0, EXT_HEADER_REQD);
        let mut query = text("vol");
        query.extend((contexts.len() as u32).to_be_bytes());
        contexts.iter().for_each(|context| query.extend(text(context)));
        let answers = client.option(SET_META_CONTEXT, &query);
        for context in contexts {
            let named = |(kind, data): &&(u32, Vec<u8>)| *kind == META_CONTEXT && data[4..] == *context.as_bytes();
            let answer = answers.iter().find(named).unwrap_or_else(|| panic!("{context} was not selected"));
            client.ids.push(u32::from_be_bytes(answer.1[..4].try_into().unwrap()));
        }
        let answers = client.option(GO, &[text("vol"), vec![0, 0]].concat());
        let export = &answers.iter().find(|answer| answer.1.starts_with(&[0, 0])).unwrap().1;
        assert_eq!(export[2..10], SIZE.to_be_bytes());
        assert_ne!(export[10] & 0x10, 0, "block status takes a payload: {export:?}");
        client
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// The replies to an option, the last of which is an acknowledgement or an error.
    fn option(&mut self, option: u32, data: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let head = [&b"IHAVEOPT"[..], &option.to_be_bytes(), &(data.len() as u32).to_be_bytes(), data].concat();
        self.stream.write_all(&head).unwrap();
        let mut answers = Vec::new();
        loop {
            let head = self.take(20);
            let (kind, len) = (field(&head, 12), field(&head, 16) as usize);
            let data = self.take(len);
            answers.push((kind, data));
            if kind == ACK || kind >> 31 == 1 {
                return answers;
            }
        }
    }

    /// The chunks of the reply to a request; checks that each repeats cookie and offset.
    fn ask(&mut self, command: u16, flags: u16, offset: u64, length: u64, payload: &[u8]) -> Vec<Chunk> {
        self.cookie += 0x0101_0101;
        let mut request = 0x21e4_1c71u32.to_be_bytes().to_vec();
        request.extend(flags.to_be_bytes());
        request.extend(command.to_be_bytes());
        request.extend(self.cookie.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend(length.to_be_bytes());
        request.extend(payload);
        self.stream.write_all(&request).unwrap();
        let mut chunks = Vec::new();
        loop {
            let head = self.take(32);
            assert_eq!(field(&head, 0), 0x6e8a_278c);
            assert_eq!((long(&head, 8), long(&head, 16)), (self.cookie, offset));
            let payload = self.take(long(&head, 24) as usize);
            chunks.push((field(&head, 4) as u16, payload));
            if head[5] & 1 == 1 {
                return chunks;
            }
        }
    }

    /// The error of a request, 0 for none; a reply without data.
    fn errno(&mut self, command: u16, flags: u16, offset: u64, length: u64, payload: &[u8]) -> u32 {
        match self.ask(command, flags, offset, length, payload).as_slice() {
            [(0, payload)] if payload.is_empty() => 0,
            [(kind, payload)] if kind >> 15 == 1 => field(payload, 0),
            other => panic!("no status: {other:?}"),
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        assert_eq!(self.errno(WRITE, PAYLOAD_LEN, offset, data.len() as u64, data), 0);
    }

    fn read(&mut self, offset: u64, len: u64) -> Vec<u8> {
        let mut data = vec![0xee; len as usize];
        for (kind, payload) in self.ask(READ, 0, offset, len, &[]) {
            match kind {
                0 => {}
                1 => data[(long(&payload, 0) - offset) as usize..][..payload.len() - 8].copy_from_slice(&payload[8..]),
                2 => data[(long(&payload, 0) - offset) as usize..][..field(&payload, 8) as usize].fill(0),
                other => panic!("chunk {other:#x}: {payload:?}"),
            }
        }
        data
    }

    /// Block status: for each chunk the context, and (length, flags).
    fn status(&mut self, flags: u16, offset: u64, length: u64, payload: &[u8]) -> Vec<(u32, Vec<(u64, u64)>)> {
        let chunks = self.ask(BLOCK_STATUS, flags, offset, length, payload);
        chunks.iter().map(|(kind, payload)| (*kind, payload)).map(descriptors).collect()
    }
}

fn descriptors((kind, payload): (u16, &Vec<u8>)) -> (u32, Vec<(u64, u64)>) {
    assert_eq!(kind, 6, "extended headers have extended block status");
    let extents: Vec<(u64, u64)> = payload[8..].chunks_exact(16).map(|one| (long(one, 0), long(one, 8))).collect();
    assert_eq!(field(payload, 4) as usize, extents.len());
    (field(payload, 0), extents)
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat()
}

fn field(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// What every server of extended headers answers; the export is [`SIZE`] bytes of holes.
fn transcript(socket: &Path, contexts: [&str; 2]) {
    let mut client = Extended::connect(socket, &contexts);
    let (allocation, other) = (client.ids[0], client.ids[1]);
    let query = |length: u64, ids: &[u32]| {
        let ids: Vec<u8> = ids.iter().flat_map(|id| id.to_be_bytes()).collect();
        [&length.to_be_bytes()[..], &ids].concat()
    };
    // One hole, and one descriptor for all of it.
    let seen = client.status(0, 0, SIZE, &[]);
    assert_eq!(seen.len(), 2);
    assert!(seen.contains(&(allocation, vec![(SIZE, 3)])), "{seen:?}");
    assert!(seen.iter().any(|(context, _)| *context == other), "{seen:?}");
    // Data, then the state around them, in one context of the two.
    let data: Vec<u8> = (0..BLOCK).map(|at| (at % 251) as u8 | 1).collect();
    client.write(1 << 32, &data[..100]);
    // Without its flag, as QEMU's client does it.
    assert_eq!(client.errno(WRITE, 0, 1 << 32, BLOCK as u64, &data), 0);
    assert_eq!(client.read((1 << 32) - 100, 300), [&[0; 100], &data[..200]].concat());
    let filter = query(SIZE, &[allocation]);
    let seen = client.status(PAYLOAD_LEN, 0, filter.len() as u64, &filter);
    let block = BLOCK as u64;
    assert_eq!(seen, [(allocation, vec![(1 << 32, 3), (block, 0), (SIZE - (1 << 32) - block, 3)])]);
    let filter = query(BLOCK as u64, &[other]);
    let seen = client.status(PAYLOAD_LEN | REQ_ONE, 1 << 32, filter.len() as u64, &filter);
    assert_eq!((seen[0].0, seen[0].1.len(), seen[0].1[0].0), (other, 1, block));
    let both = query(BLOCK as u64, &[other, allocation]);
    assert_eq!(client.status(PAYLOAD_LEN, 0, both.len() as u64, &both).len(), 2);
    // Payloads that are wrong or unwanted are consumed.
    for wrong in [query(block, &[allocation, allocation]), query(block, &[0x7777_7777]), vec![0; 11], vec![0; 9000]] {
        assert_eq!(client.errno(BLOCK_STATUS, PAYLOAD_LEN, 0, wrong.len() as u64, &wrong), EINVAL);
    }
    assert_eq!(client.errno(TRIM, PAYLOAD_LEN, 0, 5000, &[0x25; 5000]), EINVAL);
    assert_eq!(client.errno(READ, PAYLOAD_LEN, 0, 5000, &[0x25; 5000]), EINVAL);
    assert_eq!(client.errno(99, 0, 0, 0, &[]), EINVAL);
    // The whole export in one request, and one byte too many.
    assert!([ENOSPC, EINVAL].contains(&client.errno(WRITE_ZEROES, 0, 1, SIZE, &[])), "QEMU does not tell them apart");
    assert_eq!(client.errno(TRIM, 0, 1, SIZE, &[]), EINVAL);
    assert_eq!(client.errno(WRITE_ZEROES, FAST_ZERO, 0, SIZE, &[]), 0);
    assert_eq!(client.read(1 << 32, block), [0; BLOCK]);
    client.write(SIZE - block, &data);
    assert_eq!(client.errno(TRIM, 0, 0, SIZE, &[]), 0);
}

fn large_volume(store: &Store) -> crate::support::Volume {
    store.create("vol", &VolumeOptions { size: SIZE, extent_size: 4 << 20, ..VolumeOptions::default() })
}

pub fn transcript_of_the_daemon(variant: Variant) {
    let store = Store::new();
    let volume = large_volume(&store);
    let mut daemon = Daemon::start(&store, &[volume], &variant.serve());
    let contexts = ["base:allocation", "x-keymoult:generation"];
    transcript(&daemon.socket(), contexts);
    let beyond = Extended::connect(&daemon.socket(), &contexts).errno(WRITE_ZEROES, 0, 1, SIZE, &[]);
    assert_eq!(beyond, ENOSPC, "as the specification asks");
    let entries = map(&daemon.uri(), "base:allocation");
    assert_eq!(total(&entries, 3), SIZE, "the trim took the last data: {entries:?}");
    daemon.terminate();
}

/// QEMU's server, ended when dropped.
struct QemuServer(Child);

impl Drop for QemuServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The control: the transcript is the specification's, not ours.
#[test]
fn transcript_of_qemu() {
    let store = Store::new();
    let (image, socket) = (store.path("image"), store.path("qemu.sock"));
    std::fs::File::create(&image).unwrap().set_len(SIZE).unwrap();
    let mut command = tool("qemu-nbd");
    command.args(["-t", "-e", "4", "-A", "-f", "raw", "--discard=unmap", "-x", "vol", "-k"]).arg(&socket).arg(&image);
    let _server = QemuServer(command.stdin(Stdio::null()).spawn().unwrap());
    let up = (0..3000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        UnixStream::connect(&socket).is_ok()
    });
    assert!(up, "qemu-nbd does not listen");
    transcript(&socket, ["base:allocation", "qemu:allocation-depth"]);
}

/// QEMU's client asks for extended headers by itself, and then says in one request what took two.
pub fn qemu_uses_them(variant: Variant) {
    let store = Store::new();
    let volume = large_volume(&store);
    let mut daemon = Daemon::start(&store, &[volume], &variant.serve());
    let io = |lines: &[&str]| {
        let mut command = tool("qemu-io");
        command.args(["-f", "raw", "-t", "none", "--trace", "enable=nbd_send_request"]);
        for line in lines {
            command.args(["-c", line]);
        }
        let output = run(command.arg(daemon.uri()));
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success() && !said.contains("verification failed"), "{said}");
        said
    };
    let said = io(&["write -P 7 4G 1M", "read -P 7 4G 1M", "write -z -u -n 0 5G", "read -P 0 4G 1M", "flush"]);
    let whole = format!("len = {SIZE}");
    let requests = said.lines().filter(|line| line.contains(&whole)).count();
    assert_eq!(requests, 1, "one request for the whole export: {said}");
    let told = succeed(tool("qemu-img").args(["map", "--output=json", "-f", "raw", &daemon.uri()]));
    let entries: serde_json::Value = serde_json::from_str(&told).unwrap();
    let entries = entries.as_array().unwrap();
    assert_eq!(entries.len(), 1, "{told}");
    assert_eq!((&entries[0]["length"], &entries[0]["zero"]), (&SIZE.into(), &true.into()), "{told}");
    io(&["write -P 9 100M 32M", "discard 100M 1G", "read -P 0 100M 64M"]);
    assert_eq!(total(&map(&daemon.uri(), "base:allocation"), 0), 0, "{} MiB", SIZE / MIB);
    daemon.terminate();
}
