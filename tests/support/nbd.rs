//! A small, blocking NBD client (fixed newstyle, GO, simple replies) for tests that need a client of their own.
//!
//! It sees a died connection as [`ClientError::Gone`], so a crash test can tell what was acknowledged.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;

/// Kinds of requests and their flags, for [`Client::send`].
pub mod command {
    pub const READ: u16 = 0;
    pub const WRITE: u16 = 1;
    pub const DISCONNECT: u16 = 2;
    pub const FLUSH: u16 = 3;
    pub const TRIM: u16 = 4;
    pub const WRITE_ZEROES: u16 = 6;
    /// Flag: durable before the answer.
    pub const FUA: u16 = 1;
    /// Flag: write zeros, keep the range allocated.
    pub const NO_HOLE: u16 = 2;
}
use command::{DISCONNECT, FLUSH, FUA, READ, TRIM, WRITE, WRITE_ZEROES};

/// Why a request has no good answer.
#[derive(Debug)]
pub enum ClientError {
    /// The connection ended: nothing is known about requests without an answer.
    Gone(io::Error),
    /// The server answered with this NBD error number.
    Refused(u32),
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> ClientError {
        ClientError::Gone(error)
    }
}

/// One connection in the transmission phase.
pub struct Client {
    stream: UnixStream,
    cookie: u64,
    /// Size of the export, bytes.
    pub size: u64,
    /// Transmission flags of the export.
    pub flags: u16,
}

impl Client {
    /// Connects and goes to the export `name`.
    pub fn connect(socket: &Path, name: &str) -> Result<Client, ClientError> {
        let mut client = Client { stream: UnixStream::connect(socket)?, cookie: 0, size: 0, flags: 0 };
        let mut greeting = [0; 18];
        client.stream.read_exact(&mut greeting)?;
        assert_eq!(&greeting[..16], b"NBDMAGICIHAVEOPT");
        client.stream.write_all(&3u32.to_be_bytes())?;
        client.go(name)?;
        Ok(client)
    }

    fn go(&mut self, name: &str) -> Result<(), ClientError> {
        let mut option = Vec::new();
        option.extend(OPTION_MAGIC.to_be_bytes());
        option.extend(OPTION_GO.to_be_bytes());
        option.extend((name.len() as u32 + 6).to_be_bytes());
        option.extend((name.len() as u32).to_be_bytes());
        option.extend(name.as_bytes());
        option.extend(0u16.to_be_bytes());
        self.stream.write_all(&option)?;
        loop {
            let mut head = [0; 20];
            self.stream.read_exact(&mut head)?;
            assert_eq!(head[..8], OPTION_REPLY_MAGIC.to_be_bytes());
            let kind = u32::from_be_bytes(head[12..16].try_into().unwrap());
            let mut data = vec![0; u32::from_be_bytes(head[16..].try_into().unwrap()) as usize];
            self.stream.read_exact(&mut data)?;
            match kind {
                REPLY_ACK => return Ok(()),
                REPLY_INFO if data[..2] == [0, 0] => {
                    self.size = u64::from_be_bytes(data[2..10].try_into().unwrap());
                    self.flags = u16::from_be_bytes(data[10..12].try_into().unwrap());
                }
                REPLY_INFO => {}
                refusal => return Err(ClientError::Refused(refusal)),
            }
        }
    }

    /// Sends one request without waiting for its reply; returns its cookie.
    pub fn send(&mut self, kind: u16, flags: u16, offset: u64, len: u32, payload: &[u8]) -> Result<u64, ClientError> {
        self.cookie += 1;
        let mut request = Vec::with_capacity(28 + payload.len());
        request.extend(REQUEST_MAGIC.to_be_bytes());
        request.extend(flags.to_be_bytes());
        request.extend(kind.to_be_bytes());
        request.extend(self.cookie.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend(len.to_be_bytes());
        request.extend(payload);
        self.stream.write_all(&request)?;
        Ok(self.cookie)
    }

    /// Receives the next reply: its cookie, and its error number (0 = none). A read's data must be taken after it.
    pub fn receive(&mut self) -> Result<(u64, u32), ClientError> {
        let mut reply = [0; 16];
        self.stream.read_exact(&mut reply)?;
        assert_eq!(reply[..4], REPLY_MAGIC.to_be_bytes());
        let error = u32::from_be_bytes(reply[4..8].try_into().unwrap());
        Ok((u64::from_be_bytes(reply[8..].try_into().unwrap()), error))
    }

    /// Takes the data of a read whose reply [`Client::receive`] has given.
    pub fn receive_data(&mut self, len: usize) -> Result<Vec<u8>, ClientError> {
        let mut data = vec![0; len];
        self.stream.read_exact(&mut data)?;
        Ok(data)
    }

    /// From here [`Client::receive`] gives up after so long, with [`ClientError::Gone`].
    pub fn set_patience(&self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).unwrap();
    }

    fn call(&mut self, kind: u16, flags: u16, offset: u64, len: u32, payload: &[u8]) -> Result<(), ClientError> {
        let cookie = self.send(kind, flags, offset, len, payload)?;
        let (answered, error) = self.receive()?;
        assert_eq!(answered, cookie);
        if error == 0 { Ok(()) } else { Err(ClientError::Refused(error)) }
    }

    /// Reads `len` bytes.
    pub fn read(&mut self, offset: u64, len: usize) -> Result<Vec<u8>, ClientError> {
        self.call(READ, 0, offset, len.try_into().unwrap(), &[])?;
        self.receive_data(len)
    }

    /// Writes; acknowledged, not durable.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), ClientError> {
        self.call(WRITE, 0, offset, data.len().try_into().unwrap(), data)
    }

    /// Writes with FUA: durable when it returns.
    pub fn write_fua(&mut self, offset: u64, data: &[u8]) -> Result<(), ClientError> {
        self.call(WRITE, FUA, offset, data.len().try_into().unwrap(), data)
    }

    /// Sends a write without waiting; answer through [`Client::receive`].
    pub fn start_write(&mut self, offset: u64, data: &[u8]) -> Result<u64, ClientError> {
        self.send(WRITE, 0, offset, data.len().try_into().unwrap(), data)
    }

    /// Makes every acknowledged write durable.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        self.call(FLUSH, 0, 0, 0, &[])
    }

    /// Trims a range.
    pub fn trim(&mut self, offset: u64, len: u32) -> Result<(), ClientError> {
        self.call(TRIM, 0, offset, len, &[])
    }

    /// Writes zeroes to a range.
    pub fn zero(&mut self, offset: u64, len: u32) -> Result<(), ClientError> {
        self.call(WRITE_ZEROES, 0, offset, len, &[])
    }

    /// Says goodbye properly.
    pub fn disconnect(mut self) -> Result<(), ClientError> {
        self.send(DISCONNECT, 0, 0, 0, &[]).map(|_| ())
    }
}
