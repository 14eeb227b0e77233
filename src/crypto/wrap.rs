//! Wrapping data keys: AES-256-KWP (RFC 5649, SP 800-38F), bound to what the key is for.
//!
//! KWP has no associated data, so the binding is in the key: the KWP key is HKDF-SHA256 of the KEK with the canonical
//! [`WrapContext`] as info. A wrap moved to another volume, generation, suite, key id or KEK does not open.
//!
//! Canonical context, byte by byte (integers little endian):
//! ```text
//! 0   16  magic "keymoult wrap 1\0"
//! 16  16  volume id
//! 32   4  generation
//! 36  16  key id
//! 52   2  suite id
//! 54   2  length of the KEK id, bytes
//! 56   n  KEK id, UTF-8
//! ```
//! It leaves out the cluster on purpose: joining one must not void wraps.

use aes_kw::{Error as KwpError, KeyInit, KwpAes256};

use crate::crypto::error::CryptoError;
use crate::crypto::kdf;
use crate::crypto::scrub::scrub_stack;
use crate::crypto::secret::Secret;
use crate::units::{Generation, VolumeId};

/// Length of a key-encryption key, bytes.
pub const KEK_LEN: usize = 32;

const MAGIC: &[u8; 16] = b"keymoult wrap 1\0";
/// KWP adds a semiblock and pads to whole semiblocks.
const SEMIBLOCK: usize = 8;

/// What a wrapped key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrapContext<'a> {
    /// The volume.
    pub volume: VolumeId,
    /// The generation; 0 for the volume metadata key.
    pub generation: Generation,
    /// The key's own random id.
    pub key_id: [u8; 16],
    /// The id of the suite the key serves.
    pub suite: u16,
    /// Which KEK wraps it; at most 65535 bytes.
    pub kek_id: &'a str,
}

impl WrapContext<'_> {
    /// The canonical bytes; providers with associated data authenticate the same ones.
    ///
    /// # Errors
    /// The KEK id is longer than its length field can say.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CryptoError> {
        let too_long = |_| CryptoError::KekIdLength(self.kek_id.len());
        let kek_id_len = u16::try_from(self.kek_id.len()).map_err(too_long)?;
        let mut bytes = Vec::with_capacity(56 + self.kek_id.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.volume.0);
        bytes.extend_from_slice(&self.generation.0.to_le_bytes());
        bytes.extend_from_slice(&self.key_id);
        bytes.extend_from_slice(&self.suite.to_le_bytes());
        bytes.extend_from_slice(&kek_id_len.to_le_bytes());
        bytes.extend_from_slice(self.kek_id.as_bytes());
        Ok(bytes)
    }
}

/// Wraps `dek` under `kek` (32 bytes) for `context`. The same input gives the same output.
///
/// # Errors
/// A KEK of another length, a KEK id too long, or an empty key.
pub fn kwp_wrap(kek: &Secret, context: &WrapContext<'_>, dek: &Secret) -> Result<Vec<u8>, CryptoError> {
    let blob = wrap(kek, context, dek);
    scrub_stack();
    blob
}

#[inline(never)]
fn wrap(kek: &Secret, context: &WrapContext<'_>, dek: &Secret) -> Result<Vec<u8>, CryptoError> {
    let kwp = bound(kek, context)?;
    if dek.is_empty() {
        return Err(CryptoError::WrapLength(0));
    }
    let mut blob = vec![0; wrapped_len(dek.len())];
    match kwp.wrap_key(dek.expose(), &mut blob) {
        Ok(_) => Ok(blob),
        Err(_) => Err(CryptoError::WrapLength(dek.len())),
    }
}

/// Opens what [`kwp_wrap`] made with the same KEK and context.
///
/// # Errors
/// [`CryptoError::WrapLength`] for a blob no key gives; [`CryptoError::Unwrap`] when it does not authenticate: the wrong KEK,
/// another context, or changed bytes, which cannot be told apart from here.
pub fn kwp_unwrap(kek: &Secret, context: &WrapContext<'_>, blob: &[u8]) -> Result<Secret, CryptoError> {
    let dek = unwrap(kek, context, blob);
    scrub_stack();
    dek
}

#[inline(never)]
fn unwrap(kek: &Secret, context: &WrapContext<'_>, blob: &[u8]) -> Result<Secret, CryptoError> {
    let kwp = bound(kek, context)?;
    if blob.len() < 2 * SEMIBLOCK || !blob.len().is_multiple_of(SEMIBLOCK) {
        return Err(CryptoError::WrapLength(blob.len()));
    }
    let most = blob.len() - SEMIBLOCK;
    Secret::read_up_to(most, |bytes| match kwp.unwrap_key(blob, bytes) {
        Ok(key) => Ok(key.len()),
        Err(KwpError::IntegrityCheckFailed) => Err(CryptoError::Unwrap),
        Err(_) => Err(CryptoError::WrapLength(blob.len())),
    })
}

/// Length of a wrapped key of `len` bytes, bytes.
pub const fn wrapped_len(len: usize) -> usize {
    len.next_multiple_of(SEMIBLOCK) + SEMIBLOCK
}

/// The KWP cipher under the key that `kek` and `context` give together.
fn bound(kek: &Secret, context: &WrapContext<'_>) -> Result<KwpAes256, CryptoError> {
    if kek.len() != KEK_LEN {
        return Err(CryptoError::KekLength(kek.len()));
    }
    let key = kdf::derive(kek, b"", &context.to_bytes()?, KEK_LEN);
    match KwpAes256::new_from_slice(key.expose()) {
        Ok(kwp) => Ok(kwp),
        Err(_) => unreachable!("the key was derived with the length the cipher asks for"),
    }
}
