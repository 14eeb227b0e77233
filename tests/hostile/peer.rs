//! A peer that says exactly what it is told to, byte by byte if need be, and reads what comes back in every form.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use keymoult::nbd::wire::*;

use crate::ground::Ground;

/// Longer than anything takes; only there so that a hang fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// The form of requests and replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Simple,
    Structured,
    Extended,
}

/// Every form.
pub const FORMS: [Form; 3] = [Form::Simple, Form::Structured, Form::Extended];

impl Form {
    pub fn name(self) -> &'static str {
        match self {
            Form::Simple => "simple",
            Form::Structured => "structured",
            Form::Extended => "extended",
        }
    }
}

/// A whole reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub cookie: u64,
    /// 0 for success.
    pub errno: u32,
    pub data: Vec<u8>,
}

/// One connection.
pub struct Peer {
    pub stream: UnixStream,
    pub form: Form,
}

impl Peer {
    /// Connects and takes the greeting.
    pub fn connect(socket: &Path) -> Peer {
        let mut peer = Peer { stream: UnixStream::connect(socket).unwrap(), form: Form::Simple };
        peer.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let greeting = peer.take(18).expect("a greeting");
        assert_eq!(&greeting[..16], b"NBDMAGICIHAVEOPT");
        peer
    }

    /// Goes to transmission on `vol`; with contexts where the form has them.
    pub fn open(ground: &Ground<'_>, form: Form) -> Peer {
        let mut peer = ground.peer();
        peer.form = form;
        peer.send(&handshake(form, "vol"));
        loop {
            let (option, kind, _) = peer.option_reply().unwrap();
            assert_eq!(kind & NBD_REP_FLAG_ERROR, 0, "{form:?} {option}");
            if (option, kind) == (NBD_OPT_GO, NBD_REP_ACK) {
                return peer;
            }
        }
    }

    /// Sends; a connection that is closed meanwhile is no matter here.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub fn half_close(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Exactly so many bytes, or `None` at the end of the connection.
    pub fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        match self.stream.read_exact(&mut bytes) {
            Ok(()) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("nothing came for {PATIENCE:?}"),
            Err(_) => None,
        }
    }

    /// Whatever comes until the connection ends.
    pub fn rest(&mut self) -> Vec<u8> {
        let (mut all, mut piece) = (Vec::new(), [0; 65536]);
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return all,
                Ok(len) => all.extend_from_slice(&piece[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("not closed for {PATIENCE:?}"),
                Err(_) => return all,
            }
        }
    }

    /// The connection must end, with nothing more said.
    #[track_caller]
    pub fn is_closed(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "something was said before the end: {rest:02x?}");
    }

    /// The next reply to an option: option, type, data.
    pub fn option_reply(&mut self) -> Option<(u32, u32, Vec<u8>)> {
        let head = self.take(20)?;
        let mut reader = Reader::new(&head);
        assert_eq!(reader.u64(), Some(NBD_REP_MAGIC));
        let (option, kind, len) = (reader.u32()?, reader.u32()?, reader.u32()?);
        assert!(len <= 64 << 10, "an answer of {len} bytes");
        Some((option, kind, self.take(len as usize)?))
    }

    /// The replies to one option up to the one that ends it; its type.
    pub fn option_end(&mut self, option: u32) -> u32 {
        loop {
            let (answered, kind, _) = self.option_reply().expect("an answer to the option");
            assert_eq!(answered, option);
            if kind == NBD_REP_ACK || kind & NBD_REP_FLAG_ERROR != 0 {
                return kind;
            }
        }
    }

    /// The next whole reply; `len` bytes of data follow a simple reply that is no error.
    pub fn reply(&mut self, len: usize) -> Option<Reply> {
        let mut data = Vec::new();
        loop {
            let magic = u32::from_be_bytes(self.take(4)?.try_into().unwrap());
            if self.form == Form::Simple || magic == NBD_SIMPLE_REPLY_MAGIC {
                assert_eq!(magic, NBD_SIMPLE_REPLY_MAGIC);
                let head = self.take(12)?;
                let mut reader = Reader::new(&head);
                let (errno, cookie) = (reader.u32()?, reader.u64()?);
                let data = if errno == 0 { self.take(len)? } else { Vec::new() };
                return Some(Reply { cookie, errno, data });
            }
            let extended = self.form == Form::Extended;
            assert_eq!(magic, if extended { NBD_EXTENDED_REPLY_MAGIC } else { NBD_STRUCTURED_REPLY_MAGIC });
            let head = self.take(if extended { 28 } else { 16 })?;
            let mut reader = Reader::new(&head);
            let (flags, kind, cookie) = (reader.u16()?, reader.u16()?, reader.u64()?);
            let len = if extended { reader.u64().and_then(|_| reader.u64())? } else { u64::from(reader.u32()?) };
            assert!(len <= 33 << 20, "a chunk of {len} bytes");
            let payload = self.take(len as usize)?;
            let mut errno = 0;
            match kind {
                NBD_REPLY_TYPE_OFFSET_DATA => data.extend_from_slice(&payload[8..]),
                NBD_REPLY_TYPE_NONE => {}
                _ if kind & 1 << 15 != 0 => errno = Reader::new(&payload).u32()?,
                _ => data.extend_from_slice(&payload),
            }
            if flags & NBD_REPLY_FLAG_DONE != 0 {
                return Some(Reply { cookie, errno, data });
            }
        }
    }

    /// The connection must be in step: a read of known content is answered with it.
    #[track_caller]
    pub fn is_in_step(&mut self, ground: &Ground<'_>) {
        self.send(&request(self.form, NBD_CMD_READ, 0, 0x57e9, 8192, 4096));
        let reply = self.reply(4096).expect("an answer: the connection is to go on");
        assert_eq!((reply.cookie, reply.errno), (0x57e9, 0));
        assert!(reply.data == ground.known(8192, 4096));
    }

    /// The handshake must be in step: ABORT is acknowledged, and that is the end.
    #[track_caller]
    pub fn still_haggles(&mut self) {
        self.send(&option(NBD_OPT_ABORT, &[]));
        assert_eq!(self.option_reply(), Some((NBD_OPT_ABORT, NBD_REP_ACK, Vec::new())));
        self.is_closed();
    }
}

/// Client flags.
pub fn flags(flags: u32) -> Vec<u8> {
    flags.to_be_bytes().to_vec()
}

/// The usual ones.
pub fn fixed() -> Vec<u8> {
    flags(NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES)
}

/// An option with its data.
pub fn option(option: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = option_claiming(option, data.len() as u32);
    bytes.extend_from_slice(data);
    bytes
}

/// The header of an option that claims so many bytes of data.
pub fn option_claiming(option: u32, len: u32) -> Vec<u8> {
    let mut bytes = IHAVEOPT.to_be_bytes().to_vec();
    bytes.extend(option.to_be_bytes());
    bytes.extend(len.to_be_bytes());
    bytes
}

/// A string as options carry it.
pub fn string(text: &[u8]) -> Vec<u8> {
    let mut bytes = (text.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(text);
    bytes
}

/// Data of INFO and GO.
pub fn info(name: &[u8], wanted: &[u16]) -> Vec<u8> {
    let mut data = string(name);
    data.extend((wanted.len() as u16).to_be_bytes());
    wanted.iter().for_each(|kind| data.extend(kind.to_be_bytes()));
    data
}

/// Data of the options about metadata contexts.
pub fn queries(name: &[u8], queries: &[&[u8]]) -> Vec<u8> {
    let mut data = string(name);
    data.extend((queries.len() as u32).to_be_bytes());
    queries.iter().for_each(|query| data.extend(string(query)));
    data
}

/// Everything a client sends to come to transmission, with `base:allocation` where the form has contexts.
pub fn handshake(form: Form, name: &str) -> Vec<u8> {
    let mut bytes = fixed();
    match form {
        Form::Simple => {}
        Form::Structured => bytes.extend(option(NBD_OPT_STRUCTURED_REPLY, &[])),
        Form::Extended => bytes.extend(option(NBD_OPT_EXTENDED_HEADERS, &[])),
    }
    if form != Form::Simple {
        bytes.extend(option(NBD_OPT_SET_META_CONTEXT, &queries(name.as_bytes(), &[b"base:allocation"])));
    }
    bytes.extend(option(NBD_OPT_GO, &info(name.as_bytes(), &[])));
    bytes
}

/// The header of a request.
pub fn request(form: Form, command: u16, flags: u16, cookie: u64, offset: u64, length: u64) -> Vec<u8> {
    let extended = form == Form::Extended;
    let magic = if extended { NBD_EXTENDED_REQUEST_MAGIC } else { NBD_REQUEST_MAGIC };
    let mut bytes = magic.to_be_bytes().to_vec();
    bytes.extend(flags.to_be_bytes());
    bytes.extend(command.to_be_bytes());
    bytes.extend(cookie.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    if extended {
        bytes.extend(length.to_be_bytes())
    } else {
        bytes.extend((length as u32).to_be_bytes())
    }
    bytes
}
