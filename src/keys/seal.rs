//! Wrapping under a KEK that this process holds: AES-256-KWP, and telling a wrong KEK from a changed wrap.
//!
//! A KEK has an id derived from itself, which its wraps carry: another id is another KEK, the same id and a wrap that
//! does not open is tampering. The id says nothing about the key that the wrap does not say anyway.

use crate::crypto::wrap::{self, KEK_LEN};
use crate::crypto::{CryptoError, Secret, Suite, check_key, kdf};
use crate::keys::error::KeyError;
use crate::keys::provider::WrapPurpose;

/// KEKs held here have no versions: a new KEK is another KEK.
pub(super) const KEK_VERSION: u32 = 1;

/// A KEK in memory, with its id.
pub(super) struct HeldKek {
    kek: Secret,
    pub id: String,
}

impl HeldKek {
    /// Takes a KEK of 32 bytes; its id is `prefix` and 16 hexadecimal digits.
    pub(super) fn new(kek: Secret, prefix: &str) -> HeldKek {
        debug_assert_eq!(kek.len(), KEK_LEN);
        let check = kdf::derive(&kek, b"", b"keymoult kek id 1", 8);
        let mut id = prefix.to_owned();
        check.expose().iter().for_each(|byte| id.push_str(&format!("{byte:02x}")));
        HeldKek { kek, id }
    }

    /// Wraps `key` for `purpose`.
    pub(super) fn seal(&self, purpose: &WrapPurpose, key: &Secret) -> Result<Vec<u8>, KeyError> {
        check_if_data_key(purpose, key)?;
        Ok(wrap::kwp_wrap(&self.kek, &purpose.context(&self.id), key)?)
    }

    /// Opens a wrap that claims to be made by this very KEK, named `label` in messages.
    pub(super) fn open(&self, purpose: &WrapPurpose, blob: &[u8], label: &str) -> Result<Secret, KeyError> {
        let tampered = || KeyError::Tampered { kek: label.to_owned(), generation: purpose.generation.0 };
        let opened = wrap::kwp_unwrap(&self.kek, &purpose.context(&self.id), blob);
        let key = opened.map_err(|error| match error {
            CryptoError::Unwrap | CryptoError::WrapLength(_) => tampered(),
            other => other.into(),
        })?;
        check_if_data_key(purpose, &key)?;
        Ok(key)
    }
}

/// Refuses a data key that its suite cannot use; other keys (suite 0) are free.
pub(super) fn check_if_data_key(purpose: &WrapPurpose, key: &Secret) -> Result<(), KeyError> {
    match Suite::from_id(purpose.suite) {
        Some(suite) => Ok(check_key(suite, key)?),
        None => Ok(()),
    }
}
