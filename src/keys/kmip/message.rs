//! The KMIP 1.4 messages used here: one request with one item, and its answer (specification sections 4 and 7; tags and
//! enumerations in section 9.1.3).
//!
//! Invariants: a request is built in locked memory, since it may hold a DEK; an answer is read where it lies; it is an answer
//! only if it holds exactly one item and, where it says what it answers, that is what was asked.

use super::ttlv::{Item, Reader, Writer};
use crate::crypto::Secret;

/// Longest request, bytes: a key, a context with a KEK id of any length, and heads.
const REQUEST_MAX: usize = 2048;

mod tag {
    pub const ATTRIBUTE: u32 = 0x42_0008;
    pub const ATTRIBUTE_NAME: u32 = 0x42_000a;
    pub const ATTRIBUTE_VALUE: u32 = 0x42_000b;
    pub const BATCH_COUNT: u32 = 0x42_000d;
    pub const BATCH_ITEM: u32 = 0x42_000f;
    pub const BLOCK_CIPHER_MODE: u32 = 0x42_0011;
    pub const CRYPTOGRAPHIC_ALGORITHM: u32 = 0x42_0028;
    pub const CRYPTOGRAPHIC_PARAMETERS: u32 = 0x42_002b;
    pub const IV_COUNTER_NONCE: u32 = 0x42_003d;
    pub const OPERATION: u32 = 0x42_005c;
    pub const PROTOCOL_VERSION: u32 = 0x42_0069;
    pub const PROTOCOL_VERSION_MAJOR: u32 = 0x42_006a;
    pub const PROTOCOL_VERSION_MINOR: u32 = 0x42_006b;
    pub const QUERY_FUNCTION: u32 = 0x42_0074;
    pub const REQUEST_HEADER: u32 = 0x42_0077;
    pub const REQUEST_MESSAGE: u32 = 0x42_0078;
    pub const REQUEST_PAYLOAD: u32 = 0x42_0079;
    pub const RESPONSE_HEADER: u32 = 0x42_007a;
    pub const RESPONSE_MESSAGE: u32 = 0x42_007b;
    pub const RESPONSE_PAYLOAD: u32 = 0x42_007c;
    pub const RESULT_MESSAGE: u32 = 0x42_007d;
    pub const RESULT_REASON: u32 = 0x42_007e;
    pub const RESULT_STATUS: u32 = 0x42_007f;
    pub const UNIQUE_IDENTIFIER: u32 = 0x42_0094;
    pub const DATA: u32 = 0x42_00c2;
    pub const TAG_LENGTH: u32 = 0x42_00ce;
    pub const ADDITIONAL_DATA: u32 = 0x42_00fe;
    pub const AUTHENTICATION_TAG: u32 = 0x42_00ff;
    pub const SERVER_CORRELATION_VALUE: u32 = 0x42_0106;
}

/// Bytes of the authentication tag.
pub(super) const TAG_LEN: usize = 16;
const AES: u32 = 3;
const GCM: u32 = 9;
const QUERY_OPERATIONS: u32 = 1;

/// Operations (9.1.3.2.27).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Operation {
    /// What the server says of a key.
    GetAttributes = 0x0b,
    /// What the server can do.
    Query = 0x18,
    /// Encrypts.
    Encrypt = 0x1f,
    /// Decrypts.
    Decrypt = 0x20,
}

/// States of a key (9.1.3.2.17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the specification's own words")]
pub enum State {
    PreActive,
    Active,
    Deactivated,
    Compromised,
    Destroyed,
    DestroyedCompromised,
}

/// What AES-GCM makes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed<'a> {
    /// The nonce.
    pub nonce: &'a [u8],
    /// The authentication tag.
    pub tag: &'a [u8],
    /// The ciphertext.
    pub data: &'a [u8],
}

/// A request of `operation` with what `fill` writes as its payload; none if it would be too long.
fn request(operation: Operation, fill: impl FnOnce(&mut Writer<'_>)) -> Option<Secret> {
    Secret::read_up_to(REQUEST_MAX, |buffer| {
        let mut writer = Writer::new(buffer);
        writer.structure(tag::REQUEST_MESSAGE, |message| {
            message.structure(tag::REQUEST_HEADER, |header| {
                header.structure(tag::PROTOCOL_VERSION, |version| {
                    version.integer(tag::PROTOCOL_VERSION_MAJOR, 1).integer(tag::PROTOCOL_VERSION_MINOR, 4);
                });
                header.integer(tag::BATCH_COUNT, 1);
            });
            message.structure(tag::BATCH_ITEM, |item| {
                item.enumeration(tag::OPERATION, operation as u32);
                item.structure(tag::REQUEST_PAYLOAD, fill);
            });
        });
        writer.finish().ok_or(())
    })
    .ok()
}

fn parameters(payload: &mut Writer<'_>, key: &str) {
    payload.text(tag::UNIQUE_IDENTIFIER, key);
    payload.structure(tag::CRYPTOGRAPHIC_PARAMETERS, |parameters| {
        parameters.enumeration(tag::BLOCK_CIPHER_MODE, GCM);
        parameters.enumeration(tag::CRYPTOGRAPHIC_ALGORITHM, AES);
        parameters.integer(tag::TAG_LENGTH, TAG_LEN as u32);
    });
}

/// Asks to encrypt `plain` with `key`, authenticated with `context` (4.29).
pub(super) fn encrypt(key: &str, plain: &[u8], nonce: &[u8], context: &[u8]) -> Option<Secret> {
    request(Operation::Encrypt, |payload| {
        parameters(payload, key);
        payload.bytes(tag::DATA, plain).bytes(tag::IV_COUNTER_NONCE, nonce).bytes(tag::ADDITIONAL_DATA, context);
    })
}

/// Asks to decrypt what [`encrypt`] made (4.30).
pub(super) fn decrypt(key: &str, sealed: &Sealed<'_>, context: &[u8]) -> Option<Secret> {
    request(Operation::Decrypt, |payload| {
        parameters(payload, key);
        payload.bytes(tag::DATA, sealed.data).bytes(tag::IV_COUNTER_NONCE, sealed.nonce);
        payload.bytes(tag::ADDITIONAL_DATA, context).bytes(tag::AUTHENTICATION_TAG, sealed.tag);
    })
}

/// Asks for the state of `key` (4.12).
pub(super) fn get_state(key: &str) -> Option<Secret> {
    request(Operation::GetAttributes, |payload| {
        payload.text(tag::UNIQUE_IDENTIFIER, key).text(tag::ATTRIBUTE_NAME, "State");
    })
}

/// Asks what the server can do (4.25).
pub(super) fn query() -> Option<Secret> {
    request(Operation::Query, |payload| {
        payload.enumeration(tag::QUERY_FUNCTION, QUERY_OPERATIONS);
    })
}

/// An answer.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// 0 for success (9.1.3.2.28).
    pub status: u32,
    /// Why it failed, if it says so (9.1.3.2.29).
    pub reason: Option<u32>,
    /// Its words about that.
    pub message: Option<&'a str>,
    /// The server's own name for the exchange, if it gives one (6.20).
    pub correlation: Option<&'a str>,
    payload: Reader<'a>,
}

/// Reads the answer to a request of `operation`.
///
/// # Errors
/// What makes it no answer to that.
pub fn response(bytes: &[u8], operation: Operation) -> Result<Response<'_>, &'static str> {
    let mut whole = Reader::new(bytes);
    let message = whole.item()?.filter(|item| item.tag == tag::RESPONSE_MESSAGE).ok_or("it is no KMIP answer")?;
    if whole.item()?.is_some() {
        return Err("something stands behind it");
    }
    let mut items = message.structure()?;
    let header = items.item()?.filter(|item| item.tag == tag::RESPONSE_HEADER).ok_or("it has no header")?;
    let correlation = header.structure()?.find(tag::SERVER_CORRELATION_VALUE)?.map(Item::text).transpose()?;
    let item = items.find(tag::BATCH_ITEM)?.ok_or("it answers nothing")?.structure()?;
    if items.find(tag::BATCH_ITEM)?.is_some() {
        return Err("it answers more than was asked");
    }
    let one = |tag| item.clone_find(tag);
    if let Some(answered) = one(tag::OPERATION)?
        && answered.enumeration()? != operation as u32
    {
        return Err("it answers something else");
    }
    let status = one(tag::RESULT_STATUS)?.ok_or("it has no result")?.enumeration()?;
    let reason = one(tag::RESULT_REASON)?.map(Item::enumeration).transpose()?;
    let message = one(tag::RESULT_MESSAGE)?.map(Item::text).transpose()?;
    let payload = one(tag::RESPONSE_PAYLOAD)?.map(Item::structure).transpose()?;
    let payload = match (status, payload) {
        (0, None) => return Err("it has no payload"),
        (_, payload) => payload.unwrap_or(Reader::new(&[])),
    };
    Ok(Response { status, reason, message, correlation, payload })
}

impl<'a> Reader<'a> {
    /// The first item with `tag`, without moving on.
    fn clone_find(&self, tag: u32) -> Result<Option<Item<'a>>, &'static str> {
        let mut copy = *self;
        copy.find(tag)
    }
}

impl<'a> Response<'a> {
    fn required(&self, tag: u32, what: &'static str) -> Result<Item<'a>, &'static str> {
        self.payload.clone_find(tag)?.ok_or(what)
    }

    /// What Encrypt made; `nonce` is the one that was sent, which the server may have replaced.
    pub fn sealed(&self, nonce: &'a [u8]) -> Result<Sealed<'a>, &'static str> {
        let data = self.required(tag::DATA, "it has no ciphertext")?.bytes()?;
        let tag = self.required(tag::AUTHENTICATION_TAG, "it has no authentication tag")?.bytes()?;
        let nonce = self.payload.clone_find(tag::IV_COUNTER_NONCE)?.map(Item::bytes).transpose()?.unwrap_or(nonce);
        match (nonce.len(), tag.len()) {
            (12..=16, TAG_LEN) => Ok(Sealed { nonce, tag, data }),
            _ => Err("its nonce or tag has another length"),
        }
    }

    /// What Decrypt made.
    pub fn plain(&self) -> Result<&'a [u8], &'static str> {
        self.required(tag::DATA, "it has no plaintext")?.bytes()
    }

    /// The state that Get Attributes found.
    pub fn state(&self) -> Result<State, &'static str> {
        const NONE: &str = "it has no state";
        let mut attribute = self.required(tag::ATTRIBUTE, NONE)?.structure()?;
        let name = attribute.find(tag::ATTRIBUTE_NAME)?.ok_or(NONE)?.text()?;
        let value = attribute.find(tag::ATTRIBUTE_VALUE)?.ok_or(NONE)?.enumeration()?;
        match (name, value) {
            ("State", 1) => Ok(State::PreActive),
            ("State", 2) => Ok(State::Active),
            ("State", 3) => Ok(State::Deactivated),
            ("State", 4) => Ok(State::Compromised),
            ("State", 5) => Ok(State::Destroyed),
            ("State", 6) => Ok(State::DestroyedCompromised),
            _ => Err(NONE),
        }
    }

    /// Whether Query found that the server can do `operation`.
    pub fn offers(&self, operation: Operation) -> Result<bool, &'static str> {
        let mut items = self.payload;
        while let Some(item) = items.find(tag::OPERATION)? {
            if item.enumeration()? == operation as u32 {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
