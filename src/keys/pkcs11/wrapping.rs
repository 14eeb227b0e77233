//! Wrapping in the token, two ways, and telling a wrap that does not open from a token that does not work.
//!
//! A wrap's blob begins with how it was made:
//! ```text
//! 0   1  1: AES-GCM             2: AES key wrap (RFC 3394)
//! 1  12  IV                     1  n  wrap of the key and the first 16 bytes of SHA-256(context)
//! 13  n  ciphertext and tag
//! ```
//! AES-GCM authenticates the canonical context as associated data. Key wrap knows none, so a digest of it goes in with the
//! key and is compared afterwards; the key is a session object meanwhile, which the token forgets with the session at the latest.
//!
//! Invariants: what the `cryptoki` crate returns on the heap is wiped as soon as it is copied into a [`Secret`]; the IV is the
//! one the token used, since some tokens put their own in place of ours.

use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::session::Session;
use super::uri::WrapMechanism;
use crate::crypto::{CryptoError, Secret};

const GCM: u8 = 1;
const KEY_WRAP: u8 = 2;
const IV_LEN: usize = 12;
const TAG_LEN: usize = 16;
const DIGEST_LEN: usize = 16;
/// Key wrap works on runs of eight bytes, and adds one.
const SEMIBLOCK: usize = 8;

/// Why wrapping or opening failed.
pub(super) enum Failure {
    /// The token said so.
    Token(Error),
    /// The wrap opens, and was made for something else.
    OtherContext,
    /// The blob cannot be a wrap.
    Malformed(&'static str),
    /// On this side.
    Local(CryptoError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Token(error)
    }
}

impl From<CryptoError> for Failure {
    fn from(error: CryptoError) -> Failure {
        Failure::Local(error)
    }
}

/// Wraps `key`, bound to `context`.
pub(super) fn wrap(session: &Session, how: WrapMechanism, context: &[u8], key: &Secret) -> Result<Vec<u8>, Failure> {
    match how {
        WrapMechanism::Gcm => gcm_wrap(session, context, key),
        WrapMechanism::KeyWrap => key_wrap(session, context, key),
    }
}

/// Opens what [`wrap`] made, either way.
pub(super) fn unwrap(session: &Session, context: &[u8], blob: &[u8]) -> Result<Secret, Failure> {
    match blob.split_first() {
        Some((&GCM, rest)) if rest.len() > IV_LEN + TAG_LEN => gcm_unwrap(session, context, rest),
        Some((&KEY_WRAP, rest)) if rest.len() > DIGEST_LEN + SEMIBLOCK && rest.len().is_multiple_of(SEMIBLOCK) => {
            key_unwrap(session, context, rest)
        }
        Some((&(GCM | KEY_WRAP), _)) => Err(Failure::Malformed("it is cut short")),
        Some(_) => Err(Failure::Malformed("it was wrapped in a way this build does not know")),
        None => Err(Failure::Malformed("it is empty")),
    }
}

/// Proves that the KEK works, by a random key there and back.
pub(super) fn try_out(session: &Session, how: WrapMechanism) -> Result<(), Failure> {
    const CONTEXT: &[u8] = b"keymoult try-out 1";
    let key = Secret::random(32)?;
    let back = unwrap(session, CONTEXT, &wrap(session, how, CONTEXT, &key)?)?;
    if back.ct_eq(&key) { Ok(()) } else { Err(Failure::OtherContext) }
}

fn gcm_wrap(session: &Session, context: &[u8], key: &Secret) -> Result<Vec<u8>, Failure> {
    let mut iv = [0; IV_LEN];
    iv.copy_from_slice(Secret::random(IV_LEN)?.expose());
    let mechanism = Mechanism::AesGcm(gcm(&mut iv, context)?);
    let sealed = session.raw.encrypt(&mechanism, session.key, key.expose())?;
    drop(mechanism);
    Ok([&[GCM][..], &iv, &sealed].concat())
}

fn gcm_unwrap(session: &Session, context: &[u8], rest: &[u8]) -> Result<Secret, Failure> {
    let (iv, sealed) = rest.split_at(IV_LEN);
    let mut iv = iv.to_vec();
    let mechanism = Mechanism::AesGcm(gcm(&mut iv, context)?);
    Ok(take(session.raw.decrypt(&mechanism, session.key, sealed)?))
}

fn gcm<'a>(iv: &'a mut [u8], context: &'a [u8]) -> Result<GcmParams<'a>, Error> {
    GcmParams::new(iv, context, (8 * TAG_LEN as u64).into())
}

/// What every passing key object is: no object of the token, but of the session.
fn passing() -> [Attribute; 5] {
    [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Extractable(true),
    ]
}

fn key_wrap(session: &Session, context: &[u8], key: &Secret) -> Result<Vec<u8>, Failure> {
    if !key.len().is_multiple_of(SEMIBLOCK) || key.is_empty() {
        return Err(CryptoError::WrapLength(key.len()).into());
    }
    let mut template = passing().to_vec();
    template.push(Attribute::Sensitive(true));
    template.push(Attribute::Value([key.expose(), &digest(context)].concat()));
    let object = session.raw.create_object(&template);
    template.into_iter().for_each(wipe);
    let object = Passing { session, object: object? };
    let sealed = session.raw.wrap_key(&Mechanism::AesKeyWrap, session.key, object.object)?;
    Ok([&[KEY_WRAP][..], &sealed].concat())
}

fn key_unwrap(session: &Session, context: &[u8], sealed: &[u8]) -> Result<Secret, Failure> {
    let mut template = passing().to_vec();
    template.push(Attribute::Sensitive(false));
    let object = session.raw.unwrap_key(&Mechanism::AesKeyWrap, session.key, sealed, &template)?;
    let object = Passing { session, object };
    let mut value = None;
    for attribute in session.raw.get_attributes(object.object, &[AttributeType::Value])? {
        if let Attribute::Value(bytes) = attribute {
            value = Some(take(bytes));
        }
    }
    let Some(value) = value else { return Err(Failure::Malformed("the token does not give it back")) };
    let Some((key, bound)) = value.expose().split_last_chunk::<DIGEST_LEN>() else {
        return Err(Failure::OtherContext);
    };
    if !bool::from(bound.ct_eq(&digest(context))) || key.is_empty() {
        return Err(Failure::OtherContext);
    }
    Ok(Secret::filled(key.len(), |bytes| bytes.copy_from_slice(key)))
}

/// A key object that goes when this is dropped.
struct Passing<'a> {
    session: &'a Session,
    object: ObjectHandle,
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        // If the token will not, it goes with the session.
        let _ = self.session.raw.destroy_object(self.object);
    }
}

fn digest(context: &[u8]) -> [u8; DIGEST_LEN] {
    let mut short = [0; DIGEST_LEN];
    short.copy_from_slice(&Sha256::digest(context)[..DIGEST_LEN]);
    short
}

/// Moves secret bytes off the heap.
fn take(mut bytes: Vec<u8>) -> Secret {
    let secret = Secret::filled(bytes.len(), |room| room.copy_from_slice(&bytes));
    bytes.zeroize();
    secret
}

fn wipe(attribute: Attribute) {
    if let Attribute::Value(mut bytes) = attribute {
        bytes.zeroize();
    }
}
