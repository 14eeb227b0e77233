//! A KEK in a KMIP 1.4 server: it encrypts our DEKs with AES-GCM, and authenticates the wrap context with them.
//!
//! | file | what it holds |
//! |---|---|
//! | `uri` | `kmip://HOST:PORT/KEY-ID?…` |
//! | `ttlv` | the encoding |
//! | `message` | requests and answers |
//!
//! A wrap's blob:
//! ```text
//! 0       1  layout, 1
//! 1       1  length of the nonce, n: 12 to 16
//! 2       n  nonce
//! 2+n    16  authentication tag
//! 18+n    m  ciphertext
//! ```
//! Invariants: one request on one connection; an answer is at most [`ANSWER_MAX`] bytes, in locked memory. Servers word a
//! refusal as they like (some call a wrong tag a general failure), so what a refusal means is decided by the state of the
//! key, asked afterwards: not active is disabled; active, and a wrap that does not open, is tampering.

mod message;
mod ttlv;
mod uri;

use std::sync::Arc;

use rustls::ClientConfig;

pub use self::message::{Operation, Response, Sealed, State, response};
pub use self::ttlv::{Item, Kind, Reader, Writer};
pub use self::uri::KmipUri;
use crate::crypto::Secret;
use crate::format::wrapped::Wrapped;
use crate::keys::error::{KeyError, KeyErrorClass as Class};
use crate::keys::net::{self, Connection, Deadline, NetError};
use crate::keys::provider::{
    Answer, Binding, Capabilities, KekDescription, KekProvider, ProviderKind, WrapPurpose, same_keeper,
};
use crate::keys::seal::{KEK_VERSION, check_if_data_key};
use crate::limits::WRAP_BLOB_MAX;

/// Longest answer, bytes.
const ANSWER_MAX: usize = 64 << 10;
const LAYOUT: u8 = 1;
const NONCE_LEN: usize = 12;
/// Most of the server's words in a message, characters.
const WORDS_MAX: usize = 200;

/// A key of a KMIP server.
pub struct KmipKek {
    uri: KmipUri,
    tls: Arc<ClientConfig>,
    description: KekDescription,
}

/// Why the server did not do it.
struct Refusal {
    reason: u32,
    words: String,
}

impl KmipKek {
    /// A KEK that will be asked for at `uri`; nobody is asked yet.
    ///
    /// # Errors
    /// A file that the URI names cannot be used.
    pub fn open(uri: &KmipUri) -> Result<KmipKek, KeyError> {
        let description =
            KekDescription { kind: ProviderKind::Kmip, label: uri.label(), kek_id: Some(uri.key.clone()) };
        Ok(KmipKek { uri: uri.clone(), tls: net::client(&uri.tls)?, description })
    }

    fn error(&self, class: Class, reason: impl Into<String>) -> KeyError {
        KeyError::Remote { kek: self.description.label.clone(), class, reason: reason.into(), source: None }
    }

    /// Sends `request`, and gives what `read` makes of a success; a refusal is the inner error.
    fn ask<T>(
        &self,
        operation: Operation,
        request: Option<Secret>,
        read: impl FnOnce(&Response<'_>) -> Result<T, &'static str>,
    ) -> Result<Result<T, Refusal>, KeyError> {
        let request = request.ok_or_else(|| self.error(Class::Usage, "the request would be too long"))?;
        let bytes = self.exchange(&request).map_err(|error| error.for_kek(&self.description.label))?;
        let understood = response(bytes.expose(), operation).and_then(|answer| match answer.status {
            0 => read(&answer).map(Ok),
            1 => Ok(Err(Refusal {
                reason: answer.reason.unwrap_or(GENERAL_FAILURE),
                words: printable(answer.message.unwrap_or_default()),
            })),
            _ => Err("it is neither a success nor a failure"),
        });
        understood.map_err(|why| NetError::Nonsense(why).for_kek(&self.description.label))
    }

    fn exchange(&self, request: &Secret) -> Result<Secret, NetError> {
        let deadline = Deadline::after(self.uri.timeout);
        let mut connection = Connection::open(&self.uri.address, Some(&self.tls), deadline)?;
        connection.send(request.expose())?;
        Secret::read_up_to(ANSWER_MAX, |buffer| {
            let mut filled = 0;
            loop {
                if let Some(length) = announced(&buffer[..filled]) {
                    match length {
                        length if length > buffer.len() => return Err(NetError::Nonsense("it is longer than 64 KiB")),
                        length if filled > length => return Err(NetError::Nonsense("something stands behind it")),
                        length if filled == length => return Ok(filled),
                        _ => {}
                    }
                }
                match connection.receive(&mut buffer[filled..])? {
                    0 => return Err(NetError::Cut(std::io::ErrorKind::UnexpectedEof.into())),
                    received => filled += received,
                }
            }
        })
    }

    /// The state of the key; a refusal is of the class it says.
    fn state(&self) -> Result<State, KeyError> {
        let asked = self.ask(Operation::GetAttributes, message::get_state(&self.uri.key), |answer| answer.state())?;
        asked.map_err(|refusal| {
            let (class, what) = meaning(refusal.reason);
            self.error(class, refusal.with(what))
        })
    }

    /// Fails unless the key is active.
    fn check_active(&self) -> Result<(), KeyError> {
        let what = match self.state()? {
            State::Active => return Ok(()),
            State::PreActive => "the key is not yet active there",
            State::Deactivated => "the key is deactivated there",
            State::Compromised => "the key is marked compromised there",
            State::Destroyed | State::DestroyedCompromised => "the key is destroyed there",
        };
        Err(self.error(Class::Disabled, what))
    }

    /// What a refusal to encrypt or decrypt means, by the state of the key.
    fn explain(&self, operation: Operation, refusal: &Refusal) -> KeyError {
        if let Err(error) = self.check_active() {
            return error;
        }
        let (class, what) = match meaning(refusal.reason) {
            (Class::Usage, _) if operation == Operation::Decrypt => (Class::Tampered, "the wrap does not open"),
            other => other,
        };
        self.error(class, refusal.with(what))
    }

    fn context(&self, purpose: &WrapPurpose) -> Result<Vec<u8>, KeyError> {
        Ok(purpose.context(&self.uri.key).to_bytes()?)
    }
}

impl Refusal {
    fn with(&self, what: &str) -> String {
        match self.words.is_empty() {
            true => what.to_owned(),
            false => format!("{what} (it says: {})", self.words),
        }
    }
}

/// The length of the message that `bytes` begin, once they say so.
fn announced(bytes: &[u8]) -> Option<usize> {
    let head = bytes.first_chunk::<{ ttlv::HEAD }>()?;
    let [.., l0, l1, l2, l3] = *head;
    Some(ttlv::HEAD.saturating_add(u32::from_be_bytes([l0, l1, l2, l3]) as usize))
}

const GENERAL_FAILURE: u32 = 0x100;

/// What a result reason means (9.1.3.2.29). `Usage` stands for whatever the key itself may be the cause of.
fn meaning(reason: u32) -> (Class, &'static str) {
    match reason {
        0x01 | 0x36 | 0x37 => (Class::Disabled, "it has no such key: destroyed, or the id is wrong"),
        0x0d => (Class::Disabled, "the key is archived there"),
        0x43 => (Class::Disabled, "the key is in a state there that does not allow it"),
        0x1a => (Class::Disabled, "the key's usage limit is spent there"),
        0x03 | 0x0c | 0x14 | 0x15 | 0x39 => (Class::Denied, "it denies us the use of the key"),
        0x3a => (Class::Throttled, "it asks to come back later"),
        0x2a | 0x44 => (Class::Unreachable, "it has trouble of its own"),
        _ => (Class::Usage, "it does not take the request: AES-GCM with additional data needs KMIP 1.4"),
    }
}

fn printable(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() { c } else { ' ' };
    let spaced: String = text.chars().take(WORDS_MAX).map(plain).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn blob(sealed: &Sealed<'_>) -> Result<Vec<u8>, &'static str> {
    // The nonce has at most 16 bytes.
    let mut blob = vec![LAYOUT, sealed.nonce.len() as u8];
    [sealed.nonce, sealed.tag, sealed.data].iter().for_each(|part| blob.extend_from_slice(part));
    match blob.len() <= WRAP_BLOB_MAX && !sealed.data.is_empty() {
        true => Ok(blob),
        false => Err("its ciphertext is longer than a wrap can be"),
    }
}

fn split(blob: &[u8]) -> Option<Sealed<'_>> {
    let (&[LAYOUT, length @ 12..=16], rest) = blob.split_first_chunk::<2>()? else { return None };
    let (nonce, rest) = rest.split_at_checked(length.into())?;
    let (tag, data) = rest.split_at_checked(message::TAG_LEN)?;
    (!data.is_empty()).then_some(Sealed { nonce, tag, data })
}

impl KekProvider for KmipKek {
    fn describe(&self) -> &KekDescription {
        &self.description
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { binding: Binding::AssociatedData, held_here: false }
    }

    fn probe(&self) -> Result<(), KeyError> {
        let offers =
            |answer: &Response<'_>| Ok(answer.offers(Operation::Encrypt)? && answer.offers(Operation::Decrypt)?);
        match self.ask(Operation::Query, message::query(), offers)? {
            Ok(true) => self.check_active(),
            Ok(false) => Err(self.error(Class::Usage, "it neither encrypts nor decrypts: another kind of KMIP server")),
            Err(refusal) => {
                let (class, what) = meaning(refusal.reason);
                Err(self.error(class, refusal.with(what)))
            }
        }
    }

    fn wrap(&self, purpose: &WrapPurpose, key: &Secret) -> Result<Answer<Wrapped>, KeyError> {
        check_if_data_key(purpose, key)?;
        let (context, nonce) = (self.context(purpose)?, Secret::random(NONCE_LEN)?);
        let request = message::encrypt(&self.uri.key, key.expose(), nonce.expose(), &context);
        let made = self.ask(Operation::Encrypt, request, |answer| {
            Ok((blob(&answer.sealed(nonce.expose())?)?, answer.correlation.map(printable)))
        })?;
        let (blob, request_id) = made.map_err(|refusal| self.explain(Operation::Encrypt, &refusal))?;
        let (provider, kek_id) = (ProviderKind::Kmip.id(), self.uri.key.clone());
        Ok(Answer { value: Wrapped { provider, kek_id, kek_version: KEK_VERSION, blob }, request_id })
    }

    fn unwrap(&self, purpose: &WrapPurpose, wrapped: &Wrapped) -> Result<Answer<Secret>, KeyError> {
        same_keeper(&self.description, wrapped)?;
        ProviderKind::Kmip.check(wrapped, purpose, &self.description.label)?;
        let malformed = KeyError::BadWrap { generation: purpose.generation.0, reason: "its parts do not fit" };
        let sealed = split(&wrapped.blob).ok_or(malformed)?;
        let request = message::decrypt(&self.uri.key, &sealed, &self.context(purpose)?);
        let made = self.ask(Operation::Decrypt, request, |answer| {
            let plain = answer.plain()?;
            let key = Secret::filled(plain.len(), |bytes| bytes.copy_from_slice(plain));
            Ok((key, answer.correlation.map(printable)))
        })?;
        let (value, request_id) = made.map_err(|refusal| self.explain(Operation::Decrypt, &refusal))?;
        check_if_data_key(purpose, &value)?;
        Ok(Answer { value, request_id })
    }

    fn could_open(&self, wrapped: &Wrapped) -> bool {
        same_keeper(&self.description, wrapped).is_ok()
    }
}

#[cfg(test)]
#[path = "tests/meanings.rs"]
mod tests;
