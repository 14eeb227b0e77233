//! One TLS connection as bytes: ciphertext in, plaintext out, and the other way round. No I/O, no buffers of its own size.
//!
//! Ciphertext stays in the caller's buffer and is decrypted there. Invariants: bytes come out in the order of their
//! records; nothing more is decrypted while TLS itself has something to send ([`Stream::says`]), so that a client that
//! never reads cannot make it pile up; after a failure nothing is decrypted or encrypted any more, and what was decrypted
//! before it may still be taken; a handshake takes no more than [`HANDSHAKE_MAX`] bytes.
//!
//! The library remembers places in the ciphertext it has seen part of, so whoever calls always passes *all* bytes that
//! were received and are not done with: never fewer than the time before.

use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{Error, ServerConfig};

use super::Names;

/// Bytes of plaintext in one record.
pub const RECORD: usize = 16 << 10;
/// What a record can be longer than its plaintext, bytes, with a change of keys in front of it.
pub const OVERHEAD: usize = 64;
/// Most bytes a client may send before the handshake is over.
const HANDSHAKE_MAX: usize = 128 << 10;

/// Why nothing more comes.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// The client said that it sends no more.
    Closed,
    /// The client broke TLS, or its certificate is no good.
    Failed(Error),
    /// The handshake is longer than any that is meant well.
    TooLong,
}

/// Where plaintext goes: two ranges, filled in order.
pub struct Room<'a> {
    /// Filled first.
    pub first: &'a mut [u8],
    /// Filled next.
    pub rest: &'a mut [u8],
    /// Bytes filled over both.
    pub filled: usize,
}

impl Room<'_> {
    fn is_full(&self) -> bool {
        self.filled == self.first.len() + self.rest.len()
    }

    /// Takes what fits; returns how much.
    fn put(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        let (split, begin) = (self.first.len(), self.filled);
        let free = self.first.get_mut(begin..).into_iter().chain(self.rest.get_mut(begin.saturating_sub(split)..));
        for part in free {
            let now = part.len().min(bytes.len() - taken);
            part[..now].copy_from_slice(&bytes[taken..taken + now]);
            taken += now;
        }
        self.filled += taken;
        taken
    }
}

/// What there is to do next.
enum Next {
    /// Look again.
    Again,
    /// Look again for more of what TLS has to say.
    Saying,
    /// Nothing before more ciphertext arrives.
    Starved,
}

/// One TLS connection.
pub struct Stream {
    connection: UnbufferedServerConnection,
    /// Decrypted and not taken.
    plain: Vec<u8>,
    taken: usize,
    says: Vec<u8>,
    end: Option<End>,
    /// Ciphertext done with during the handshake, bytes.
    handshake: usize,
    parted: bool,
}

impl Stream {
    /// A connection whose handshake is about to begin.
    pub fn new(config: Arc<ServerConfig>) -> Result<Stream, Error> {
        Ok(Stream {
            connection: UnbufferedServerConnection::new(config)?,
            plain: Vec::new(),
            taken: 0,
            says: Vec::new(),
            end: None,
            handshake: 0,
            parted: false,
        })
    }

    /// Whether the handshake goes on.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Why nothing more comes, if that is so.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Whether TLS is broken: nothing can be sent but the alert that says so.
    pub fn has_failed(&self) -> bool {
        matches!(self.end, Some(End::Failed(_) | End::TooLong))
    }

    /// Version and cipher suite, for people.
    pub fn parameters(&self) -> String {
        let version = self.connection.protocol_version();
        let suite = self.connection.negotiated_cipher_suite();
        format!("{:?} {:?}", version, suite.map(|suite| suite.suite()))
    }

    /// What the client's certificate calls it.
    pub fn names(&self) -> Names {
        let certificate = self.connection.peer_certificates().and_then(<[_]>::first);
        certificate.map(Names::of).unwrap_or_default()
    }

    /// What TLS itself has to send: handshake messages and alerts. The caller takes it and sends it before anything that
    /// is encrypted later.
    pub fn says(&mut self) -> &mut Vec<u8> {
        &mut self.says
    }

    /// Ends a connection that sends what can never become a whole message.
    pub fn give_up(&mut self) {
        self.end = Some(End::TooLong);
    }

    /// Whether something decrypted was not taken.
    pub fn has_plaintext(&self) -> bool {
        self.taken < self.plain.len()
    }

    /// Fills `room` from `cipher`, all that was received and is not done with. Returns how many bytes of it are done with,
    /// and whether nothing more can be had before more is received.
    pub fn open(&mut self, cipher: &mut [u8], room: &mut Room<'_>) -> (usize, bool) {
        let mut used = 0;
        let mut saying = false;
        loop {
            self.taken += room.put(&self.plain[self.taken..]);
            let busy = self.is_handshaking() || self.connection.wants_write();
            let full = self.has_plaintext() || room.is_full() && !busy;
            if full || self.end.is_some() || !(saying || self.says.is_empty()) {
                return (used, false);
            }
            let (done, next) = self.step(&mut cipher[used..], Some(room));
            used += done;
            saying = matches!(next, Next::Saying) && self.connection.wants_write();
            if matches!(next, Next::Starved) {
                return (used, self.says.is_empty());
            }
        }
    }

    /// Decrypts all of `cipher` there is, so that what is encrypted next comes after everything TLS has to say to it.
    pub fn settle(&mut self, cipher: &mut [u8]) -> usize {
        let mut used = 0;
        while self.end.is_none() {
            let (done, next) = self.step(&mut cipher[used..], None);
            used += done;
            if matches!(next, Next::Starved) {
                break;
            }
        }
        used
    }

    /// Encrypts `plain`, at most a [`RECORD`], into `out`, which has room for [`OVERHEAD`] bytes more; returns how many
    /// bytes that are. The caller settled `cipher` and took what TLS had to say before.
    pub fn seal(&mut self, cipher: &mut [u8], plain: &[u8], out: &mut [u8]) -> Option<usize> {
        if self.has_failed() {
            return None;
        }
        let UnbufferedStatus { discard, state, .. } = self.connection.process_tls_records(cipher);
        debug_assert_eq!(discard, 0, "settled before");
        let sealed = match state {
            Ok(ConnectionState::WriteTraffic(mut writer)) => writer.encrypt(plain, out).ok(),
            _ => None,
        };
        if sealed.is_none() {
            self.end = Some(End::Failed(Error::EncryptError));
        }
        sealed
    }

    /// Says, once, that nothing more will be sent; false if that was said, or cannot be. The caller settled `cipher`.
    pub fn part(&mut self, cipher: &mut [u8]) -> bool {
        if self.parted || self.has_failed() || self.is_handshaking() {
            return false;
        }
        self.parted = true;
        let mut alert = [0; OVERHEAD];
        let parting = match self.connection.process_tls_records(cipher).state {
            Ok(ConnectionState::WriteTraffic(mut writer)) => writer.queue_close_notify(&mut alert).ok(),
            _ => None,
        };
        self.says.extend_from_slice(&alert[..parting.unwrap_or(0)]);
        parting.is_some()
    }

    /// Goes on by one state of the library: returns how many bytes of `cipher` are done with.
    fn step(&mut self, cipher: &mut [u8], room: Option<&mut Room<'_>>) -> (usize, Next) {
        let handshaking = self.connection.is_handshaking();
        let UnbufferedStatus { mut discard, state, .. } = self.connection.process_tls_records(cipher);
        let mut next = Next::Again;
        let failed = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                if self.taken == self.plain.len() {
                    self.plain.clear();
                    self.taken = 0;
                }
                let mut room = room;
                let mut failed = None;
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => {
                            discard += record.discard;
                            let put = match &mut room {
                                Some(room) if self.plain.is_empty() => room.put(record.payload),
                                _ => 0,
                            };
                            self.plain.extend_from_slice(&record.payload[put..]);
                        }
                        Err(error) => failed = Some(error),
                    }
                }
                failed
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                next = Next::Saying;
                encode(&mut self.says, |out| data.encode(out))
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                None
            }
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                self.end = Some(End::Closed);
                None
            }
            Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => {
                next = Next::Starved;
                None
            }
            // No early data are offered, and no other state is known.
            Ok(_) => Some(Error::General("unexpected state".into())),
            Err(error) => Some(error),
        };
        if let Some(error) = failed {
            self.fail(error, &mut cipher[discard..]);
        } else if handshaking {
            self.handshake += discard;
            let pending = cipher.len() - discard;
            if self.handshake + pending > HANDSHAKE_MAX && self.connection.is_handshaking() {
                self.end = Some(End::TooLong);
            }
        }
        (discard, next)
    }

    /// Notes the failure, and takes the alert that the library has for the client.
    fn fail(&mut self, error: Error, cipher: &mut [u8]) {
        self.end = Some(End::Failed(error));
        // Only while there is something: looking at the ciphertext again would fail again.
        while self.connection.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(mut data)) = self.connection.process_tls_records(cipher).state
            && encode(&mut self.says, |out| data.encode(out)).is_none()
        {}
    }
}

/// Appends what `write` writes to `says`.
fn encode(says: &mut Vec<u8>, mut write: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) -> Option<Error> {
    let start = says.len();
    // The first try asks how long it is.
    let len = match write(&mut []) {
        Err(EncodeError::InsufficientSize(size)) => size.required_size,
        Ok(_) | Err(EncodeError::AlreadyEncoded) => return None,
    };
    says.resize(start + len, 0);
    write(&mut says[start..]).err().map(|error| Error::General(error.to_string()))
}
