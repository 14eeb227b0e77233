//! ChaCha20-Poly1305 (RFC 8439), by AWS-LC: what the age format seals with.
//!
//! Invariants: a key is used for one message with one nonce, as callers derive a fresh one each time; plaintext stays in [`Secret`]s.
//! AWS-LC's own copy of the key is on its heap, unlocked for the moment of the call, and wiped when it returns.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::crypto::error::CryptoError;
use crate::crypto::secret::Secret;

/// Length of a key, bytes.
pub(super) const KEY_LEN: usize = 32;
/// What sealing adds, bytes.
pub(super) const TAG_LEN: usize = 16;

fn keyed(key: &Secret) -> Result<LessSafeKey, CryptoError> {
    UnboundKey::new(&CHACHA20_POLY1305, key.expose())
        .map(LessSafeKey::new)
        .map_err(|_| CryptoError::KekLength(key.len()))
}

/// Seals `plain` under `key`, which must never seal anything else with `nonce`; `also` is authenticated with it.
pub fn seal(key: &Secret, nonce: [u8; NONCE_LEN], also: &[u8], plain: &Secret) -> Result<Vec<u8>, CryptoError> {
    let key = keyed(key)?;
    let sealed = Secret::try_filled(plain.len() + TAG_LEN, |bytes| {
        let (text, tag) = bytes.split_at_mut(plain.len());
        text.copy_from_slice(plain.expose());
        let made = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(also), text);
        tag.copy_from_slice(made.map_err(|_| CryptoError::Unwrap)?.as_ref());
        Ok::<_, CryptoError>(())
    })?;
    Ok(sealed.expose().to_vec())
}

/// Opens what [`seal`] made with the same key, nonce and `also`.
///
/// # Errors
/// [`CryptoError::Unwrap`]: something of it is another.
pub fn open(key: &Secret, nonce: [u8; NONCE_LEN], also: &[u8], sealed: &[u8]) -> Result<Secret, CryptoError> {
    let key = keyed(key)?;
    Secret::read_up_to(sealed.len(), |bytes| {
        bytes.copy_from_slice(sealed);
        let opened = key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(also), bytes);
        Ok(opened.map_err(|_| CryptoError::Unwrap)?.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_and_any_change_shows() {
        let (key, plain) =
            (Secret::random(KEY_LEN).unwrap(), Secret::filled(5, |bytes| bytes.copy_from_slice(b"plain")));
        let sealed = seal(&key, [1; 12], b"also", &plain).unwrap();
        assert!(open(&key, [1; 12], b"also", &sealed).unwrap().ct_eq(&plain));
        assert!(open(&key, [2; 12], b"also", &sealed).is_err() && open(&key, [1; 12], b"", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&key, [1; 12], b"also", &changed).is_err());
            assert!(open(&key, [1; 12], b"also", &sealed[..at]).is_err());
        }
    }
}
