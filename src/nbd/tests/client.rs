//! A client for tests: says exactly what it is told to.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::super::form::Form;
use super::super::wire::*;
use super::memory::Rig;
use super::script::{FIXED, NO_ZEROES, Script, info_data, query_data};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::sync::Arc;

/// A connection that is in transmission, or whatever a test makes of it.
pub struct Client {
    pub stream: UnixStream,
    /// Between the stream and what is sent and received, once there.
    pub tls: Option<ClientConnection>,
    pub form: Form,
    /// Size of the export as the handshake told it.
    pub size: u64,
    /// Offsets of requests by their cookies: extended replies repeat them.
    asked: HashMap<u64, u64>,
}

/// Every form of messages.
pub const FORMS: [Form; 3] = [Form::Simple, Form::Structured, Form::Extended];

/// A reply or chunk as received.
#[derive(Debug, PartialEq, Eq)]
pub enum Got {
    Simple { error: u32, cookie: u64 },
    Chunk { done: bool, kind: u16, cookie: u64, payload: Vec<u8> },
}

impl Client {
    /// Connects without a word.
    pub fn silent(rig: &Rig) -> Client {
        let stream = UnixStream::connect(rig.path()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Client { stream, tls: None, form: Form::Simple, size: 0, asked: HashMap::new() }
    }

    /// Connects and asks for TLS, whose handshake follows with the next bytes.
    pub fn secure(rig: &Rig, config: &Arc<ClientConfig>) -> Client {
        let mut client = Client::silent(rig);
        client.receive(18);
        client.send(&Script::new(FIXED | NO_ZEROES).option(NBD_OPT_STARTTLS, &[]).0);
        assert_eq!(client.receive(20)[12..16], NBD_REP_ACK.to_be_bytes());
        let name = ServerName::try_from("localhost").unwrap();
        client.tls = Some(ClientConnection::new(Arc::clone(config), name).unwrap());
        client
    }

    /// Connects and enters transmission over TLS.
    pub fn open_tls(rig: &Rig, form: Form, config: &Arc<ClientConfig>) -> Client {
        let mut client = Client::secure(rig, config);
        client.negotiate(Script::default(), form, &[]);
        client
    }

    /// Connects and enters transmission.
    pub fn open(rig: &Rig, form: Form, contexts: &[&str]) -> Client {
        let mut client = Client::silent(rig);
        client.receive(18);
        client.negotiate(Script::new(FIXED | NO_ZEROES), form, contexts);
        client
    }

    fn negotiate(&mut self, mut script: Script, form: Form, contexts: &[&str]) {
        self.form = form;
        match form {
            Form::Simple => {}
            Form::Structured => script = script.option(NBD_OPT_STRUCTURED_REPLY, &[]),
            Form::Extended => script = script.option(NBD_OPT_EXTENDED_HEADERS, &[]),
        }
        if !contexts.is_empty() {
            script = script.option(NBD_OPT_SET_META_CONTEXT, &query_data("v", contexts));
        }
        self.send(&script.option(NBD_OPT_GO, &info_data("v", &[])).0);
        loop {
            let head = self.receive(20);
            let field = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
            let data = self.receive(field(16) as usize);
            assert_eq!(field(12) & NBD_REP_FLAG_ERROR, 0);
            if field(12) == NBD_REP_INFO && data[..2] == NBD_INFO_EXPORT.to_be_bytes() {
                self.size = u64::from_be_bytes(data[2..10].try_into().unwrap());
            }
            if (field(8), field(12)) == (NBD_OPT_GO, NBD_REP_ACK) {
                return;
            }
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => {
                let mut tls = rustls::Stream::new(tls, &mut self.stream);
                tls.write_all(bytes)?;
                tls.flush()
            }
            None => self.stream.write_all(bytes),
        }
    }

    pub fn receive(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.read_exactly(&mut bytes).unwrap();
        bytes
    }

    pub fn read_exactly(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => rustls::Stream::new(tls, &mut self.stream).read_exact(bytes),
            None => self.stream.read_exact(bytes),
        }
    }

    /// Whether the server closed the connection, with nothing more to say. Over TLS, only if it said so.
    pub fn is_closed(&mut self) -> bool {
        if let Some(tls) = &mut self.tls {
            return matches!(rustls::Stream::new(tls, &mut self.stream).read(&mut [0; 1]), Ok(0));
        }
        match self.stream.read(&mut [0; 1]) {
            Ok(len) => len == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    /// Notes a request that is sent as bytes: its cookie and offset.
    pub fn note(&mut self, cookie: u64, offset: u64) {
        self.asked.insert(cookie, offset);
    }

    /// Sends a request header; an extended write says that it has a payload.
    pub fn request(&mut self, command: u16, flags: u16, cookie: u64, offset: u64, length: u64) {
        self.note(cookie, offset);
        if self.form < Form::Extended {
            return self.send(&request(command, flags, cookie, offset, length as u32));
        }
        let payload = if command == NBD_CMD_WRITE { NBD_CMD_FLAG_PAYLOAD_LEN } else { 0 };
        self.send(&extended_request(command, flags | payload, cookie, offset, length));
    }

    /// The next reply; the payload of a simple reply to a read is left to the caller.
    pub fn reply(&mut self) -> Got {
        let magic = self.receive(4);
        if magic == NBD_SIMPLE_REPLY_MAGIC.to_be_bytes() {
            assert!(self.form < Form::Extended, "extended headers leave no room for simple replies");
            let rest = self.receive(12);
            let mut reader = Reader::new(&rest);
            return Got::Simple { error: reader.u32().unwrap(), cookie: reader.u64().unwrap() };
        }
        let extended = self.form == Form::Extended;
        let expected = if extended { NBD_EXTENDED_REPLY_MAGIC } else { NBD_STRUCTURED_REPLY_MAGIC };
        assert_eq!(magic, expected.to_be_bytes());
        let rest = self.receive(if extended { 28 } else { 16 });
        let mut reader = Reader::new(&rest);
        let (flags, kind) = (reader.u16().unwrap(), reader.u16().unwrap());
        let cookie = reader.u64().unwrap();
        let len = if extended {
            let offset = reader.u64().unwrap();
            assert_eq!(offset, self.asked[&cookie], "an extended reply repeats the offset");
            reader.u64().unwrap()
        } else {
            u64::from(reader.u32().unwrap())
        };
        let payload = self.receive(len as usize);
        Got::Chunk { done: flags & NBD_REPLY_FLAG_DONE != 0, kind, cookie, payload }
    }

    /// The error and cookie of the next reply, which has no data.
    pub fn status(&mut self) -> (u32, u64) {
        match self.reply() {
            Got::Simple { error, cookie } => (error, cookie),
            Got::Chunk { done: true, kind: NBD_REPLY_TYPE_NONE, cookie, .. } => (0, cookie),
            Got::Chunk { done: true, cookie, payload, kind } if kind & 1 << 15 != 0 => {
                (u32::from_be_bytes(payload[..4].try_into().unwrap()), cookie)
            }
            other => panic!("no status: {other:?}"),
        }
    }

    /// Reads by one request, whatever the form of the reply.
    pub fn read(&mut self, offset: u64, len: u32) -> Result<Vec<u8>, u32> {
        self.request(NBD_CMD_READ, 0, 99, offset, u64::from(len));
        if !self.form.has_chunks() {
            return match self.status() {
                (0, 99) => Ok(self.receive(len as usize)),
                (error, _) => Err(error),
            };
        }
        let mut data = vec![0; len as usize];
        loop {
            let Got::Chunk { done, kind, payload, .. } = self.reply() else { panic!("simple reply to a read") };
            let field = |at: usize| u64::from_be_bytes(payload[at..at + 8].try_into().unwrap());
            match kind {
                NBD_REPLY_TYPE_OFFSET_DATA => {
                    data[(field(0) - offset) as usize..][..payload.len() - 8].copy_from_slice(&payload[8..]);
                }
                NBD_REPLY_TYPE_NONE => {}
                _ => {
                    assert!(done, "the error ends the reply");
                    return Err((field(0) >> 32) as u32);
                }
            }
            if done {
                return Ok(data);
            }
        }
    }

    pub fn write(&mut self, offset: u64, data: &[u8]) -> u32 {
        self.request(NBD_CMD_WRITE, 0, 98, offset, data.len() as u64);
        self.send(data);
        self.status().0
    }
}

/// The bytes of a compact request.
pub fn request(command: u16, flags: u16, cookie: u64, offset: u64, length: u32) -> Vec<u8> {
    let mut bytes = NBD_REQUEST_MAGIC.to_be_bytes().to_vec();
    bytes.extend_from_slice(&flags.to_be_bytes());
    bytes.extend_from_slice(&command.to_be_bytes());
    bytes.extend_from_slice(&cookie.to_be_bytes());
    bytes.extend_from_slice(&offset.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes
}

/// The bytes of an extended request.
pub fn extended_request(command: u16, flags: u16, cookie: u64, offset: u64, length: u64) -> Vec<u8> {
    let mut bytes = request(command, flags, cookie, offset, 0);
    bytes[..4].copy_from_slice(&NBD_EXTENDED_REQUEST_MAGIC.to_be_bytes());
    bytes.truncate(24);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes
}

/// Bytes that differ everywhere and between seeds.
pub fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = vec![0; len];
    for byte in &mut bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state as u8;
    }
    bytes
}
