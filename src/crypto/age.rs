//! The age file format, version 1 (age-encryption.org/v1), as much of it as sealing a small secret to X25519 recipients takes.
//!
//! What is written here opens with any age tool, and the recipients are those that age-keygen makes; it is written out here because the
//! `age` crate would bring a hundred others. Invariants: a file has one chunk (at most 64 KiB), one recipient, and a fresh file
//! key; secrets are in [`Secret`]s, but for AWS-LC's heap during a call, which it wipes; a reader refuses whatever does
//! not authenticate, and passes over recipients that are not X25519.

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::error::Unspecified;

use crate::crypto::error::CryptoError;
use crate::crypto::mac::MacKey;
use crate::crypto::secret::Secret;
use crate::crypto::{aead, bech32, kdf};

const INTRO: &str = "age-encryption.org/v1\n";
const STANZA: &str = "-> X25519 ";
const END: &str = "---";
const FILE_KEY_LEN: usize = 16;
const NONCE_LEN: usize = 16;
const POINT_LEN: usize = 32;
/// Nonce of the first chunk that is the last one, too.
const ONLY_CHUNK: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// The longest chunk, bytes.
const CHUNK: usize = 64 << 10;

/// Who a file is sealed to: a public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient([u8; POINT_LEN]);

impl Recipient {
    /// Reads `age1…`. None if it is no X25519 recipient.
    pub fn parse(text: &str) -> Option<Recipient> {
        let bytes = bech32::decode("age", text.as_bytes(), POINT_LEN)?;
        bytes.expose().try_into().ok().map(Recipient)
    }
}

impl std::fmt::Display for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&bech32::encode("age", &self.0))
    }
}

/// Who can open what is sealed to its recipient: a private key.
pub struct Identity(Secret);

impl Identity {
    /// Reads `AGE-SECRET-KEY-1…`. None if it is none.
    pub fn parse(text: &[u8]) -> Option<Identity> {
        bech32::decode("age-secret-key-", text, POINT_LEN).map(Identity)
    }

    /// A fresh one.
    ///
    /// # Errors
    /// The system's random source fails.
    pub fn new() -> Result<Identity, CryptoError> {
        Secret::random(POINT_LEN).map(Identity)
    }

    /// What others seal to it with.
    ///
    /// # Errors
    /// AWS-LC refuses the key.
    pub fn recipient(&self) -> Result<Recipient, CryptoError> {
        let public = self.private()?.compute_public_key().map_err(refused)?;
        public.as_ref().try_into().map(Recipient).map_err(|_| CryptoError::Unwrap)
    }

    /// The text of its file, for tests.
    #[cfg(test)]
    pub fn text(&self) -> String {
        bech32::encode("age-secret-key-", self.0.expose()).to_uppercase()
    }

    fn private(&self) -> Result<PrivateKey, CryptoError> {
        PrivateKey::from_private_key(&X25519, self.0.expose()).map_err(|_| CryptoError::Unwrap)
    }
}

fn refused(_: Unspecified) -> CryptoError {
    CryptoError::Unwrap
}

/// The key that wraps the file key between two points.
fn wrap_key(own: &Identity, other: &[u8; POINT_LEN], share: &[u8], recipient: &[u8]) -> Result<Secret, CryptoError> {
    let peer = UnparsedPublicKey::new(&X25519, other);
    let private = own.private()?;
    // All-zero results (a point of small order) are refused by AWS-LC.
    let shared = agree(&private, peer, CryptoError::Unwrap, |shared| {
        Ok(Secret::filled(shared.len(), |bytes| bytes.copy_from_slice(shared)))
    })?;
    Ok(kdf::derive(&shared, &[share, recipient].concat(), b"age-encryption.org/v1/X25519", aead::KEY_LEN))
}

fn header_mac(file_key: &Secret, header: &str) -> Vec<u8> {
    MacKey::new(&kdf::derive(file_key, b"", b"header", 32)).tag(&[header.as_bytes()]).to_vec()
}

fn payload_key(file_key: &Secret, nonce: &[u8]) -> Secret {
    kdf::derive(file_key, nonce, b"payload", aead::KEY_LEN)
}

/// An age file with `plain` in it, for `recipient` alone.
///
/// # Errors
/// The system's random source fails, or AWS-LC refuses the recipient.
///
/// # Panics
/// If `plain` is longer than a chunk.
pub fn seal(recipient: &Recipient, plain: &Secret) -> Result<Vec<u8>, CryptoError> {
    assert!(plain.len() <= CHUNK, "one chunk is all that is written");
    let (file_key, ephemeral) = (Secret::random(FILE_KEY_LEN)?, Identity::new()?);
    let share = ephemeral.recipient()?.0;
    let key = wrap_key(&ephemeral, &recipient.0, &share, &recipient.0)?;
    let body = aead::seal(&key, [0; 12], b"", &file_key)?;
    let header = format!("{INTRO}{STANZA}{}\n{}\n{END}", base64(&share), base64(&body));
    let mut file = format!("{header} {}\n", base64(&header_mac(&file_key, &header))).into_bytes();
    let nonce = Secret::random(NONCE_LEN)?;
    file.extend_from_slice(nonce.expose());
    file.extend(aead::seal(&payload_key(&file_key, nonce.expose()), ONLY_CHUNK, b"", plain)?);
    Ok(file)
}

/// Opens an age file of one chunk.
///
/// # Errors
/// [`CryptoError::Unwrap`]: it is not for `identity`, or was changed.
pub fn open(identity: &Identity, file: &[u8]) -> Result<Secret, CryptoError> {
    let (header, stanzas, mac, payload) = parse(file).ok_or(CryptoError::Unwrap)?;
    let own = identity.recipient()?.0;
    let unwrapped = stanzas.iter().find_map(|(share, body)| {
        let key = wrap_key(identity, share, share, &own).ok()?;
        aead::open(&key, [0; 12], b"", body).ok().filter(|key| key.len() == FILE_KEY_LEN)
    });
    let file_key = unwrapped.ok_or(CryptoError::Unwrap)?;
    let proven = MacKey::new(&kdf::derive(&file_key, b"", b"header", 32)).verify(&[header.as_bytes()], &mac);
    let (nonce, chunk) = payload.split_at_checked(NONCE_LEN).filter(|_| proven).ok_or(CryptoError::Unwrap)?;
    aead::open(&payload_key(&file_key, nonce), ONLY_CHUNK, b"", chunk)
}

type Parsed<'a> = (&'a str, Vec<([u8; POINT_LEN], Vec<u8>)>, Vec<u8>, &'a [u8]);

/// Header up to its end mark, the X25519 stanzas, the MAC, what follows.
fn parse(file: &[u8]) -> Option<Parsed<'_>> {
    let end = file.windows(5).position(|window| window == b"\n--- ")? + 1;
    let line = file[end..].iter().position(|byte| *byte == b'\n')?;
    let header = std::str::from_utf8(&file[..end + END.len()]).ok()?;
    let mac = unbase64(std::str::from_utf8(&file[end + END.len() + 1..end + line]).ok()?)?;
    let mut stanzas = Vec::new();
    let mut lines = header.strip_prefix(INTRO)?.lines().peekable();
    while let Some(line) = lines.next() {
        let mut body = String::new();
        while let Some(more) = lines.next_if(|line| !line.starts_with("->") && *line != END) {
            body.push_str(more);
        }
        if let Some(share) = line.strip_prefix(STANZA) {
            stanzas.push((unbase64(share)?.try_into().ok()?, unbase64(&body)?));
        }
    }
    Some((header, stanzas, mac, &file[end + line + 1..]))
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 without padding (RFC 4648), for ciphertext and public keys: not constant time.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, at| bits << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
        let digits = (0..=group.len()).map(|at| char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize]));
        text.extend(digits);
    }
    text
}

/// Reads it back; None unless it is exactly what [`base64`] writes.
fn unbase64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for group in text.as_bytes().chunks(4) {
        let mut bits = 0u32;
        for at in 0..4 {
            let digit = match group.get(at) {
                Some(letter) => DIGITS.iter().position(|known| known == letter)? as u32,
                None => 0,
            };
            bits = bits << 6 | digit;
        }
        bytes.extend(bits.to_be_bytes()[1..].iter().take(group.len().checked_sub(1)?));
    }
    (base64(&bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Secret {
        Secret::filled(9, |bytes| bytes.copy_from_slice(b"plaintext"))
    }

    #[test]
    fn there_and_back_and_for_nobody_else() {
        let (one, other) = (Identity::new().unwrap(), Identity::new().unwrap());
        let file = seal(&one.recipient().unwrap(), &plain()).unwrap();
        assert!(open(&one, &file).unwrap().ct_eq(&plain()));
        assert!(open(&other, &file).is_err());
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 2;
            assert!(open(&one, &changed).is_err(), "byte {at}");
            assert!(open(&one, &file[..at]).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn recipients_and_identities_are_read_as_age_writes_them() {
        // A pair of the age specification's test vectors (CCTV): the identity with which its files open.
        let identity = b"AGE-SECRET-KEY-1EGTZVFFV20835NWYV6270LXYVK2VKNX2MMDKWYKLMGR48UAWX40Q2P2LM0";
        let identity = Identity::parse(identity).unwrap();
        let recipient = identity.recipient().unwrap();
        let text = recipient.to_string();
        assert!(text.starts_with("age1") && Recipient::parse(&text) == Some(recipient));
        assert!(Recipient::parse("age1qqqq").is_none() && Identity::parse(text.as_bytes()).is_none());
    }

    #[test]
    fn base64_takes_only_what_it_would_write() {
        for len in 0..70 {
            let bytes: Vec<u8> = (0..len).map(|byte: u8| byte.wrapping_mul(5)).collect();
            assert_eq!(unbase64(&base64(&bytes)), Some(bytes));
        }
        assert_eq!(base64(b"foob"), "Zm9vYg");
        for bad in ["Zm9vYg==", "Zm9vYh", "Z", "Zm 9"] {
            assert_eq!(unbase64(bad), None, "{bad}");
        }
    }
}
