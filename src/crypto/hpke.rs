//! HPKE, base mode (RFC 9180), with X25519, HKDF-SHA256 and ChaCha20-Poly1305, as rustls has it: sealing a secret to a node.
//!
//! What is sealed is the encapsulated key (32 bytes) and the ciphertext behind it. Invariants: each message has an
//! encapsulation of its own; what opens is in a [`Secret`]; copies on the library's heap are wiped when the call is over;
//! whoever sealed is not known by it, so what it is about has to be signed besides.

use aws_lc_rs::agreement::{PrivateKey, X25519};
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey};
use zeroize::Zeroizing;

use crate::crypto::error::CryptoError;
use crate::crypto::secret::Secret;

/// Length of keys, public and secret, bytes.
pub const KEY_LEN: usize = 32;
/// What sealing adds, bytes: the encapsulated key and the authentication tag.
pub const OVERHEAD: usize = 32 + 16;
/// Length of an encapsulated key, bytes.
const ENCAPSULATED: usize = 32;

/// What opens what is sealed to its public key: an X25519 key.
pub struct SealKey {
    secret: Secret,
    public: [u8; KEY_LEN],
}

impl SealKey {
    /// The key of 32 secret bytes.
    ///
    /// # Errors
    /// They are more or fewer.
    pub fn from_secret(secret: Secret) -> Result<SealKey, CryptoError> {
        let refused = || CryptoError::NodeKey("sealing");
        let key = PrivateKey::from_private_key(&X25519, secret.expose()).map_err(|_| refused())?;
        let public = key.compute_public_key().map_err(|_| refused())?;
        let public = public.as_ref().try_into().map_err(|_| refused())?;
        Ok(SealKey { secret, public })
    }

    /// A fresh one.
    ///
    /// # Errors
    /// The system's random source fails.
    pub fn new() -> Result<SealKey, CryptoError> {
        SealKey::from_secret(Secret::random(KEY_LEN)?)
    }

    /// What others seal to it with.
    pub const fn public(&self) -> [u8; KEY_LEN] {
        self.public
    }

    /// The secret bytes. Whoever calls this answers for where they go.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Opens what [`seal`] made for this key with the same `info` and `aad`.
    ///
    /// # Errors
    /// [`CryptoError::Sealed`]: something of it is another.
    pub fn open(&self, info: &[u8], aad: &[u8], sealed: &[u8]) -> Result<Secret, CryptoError> {
        let (encapsulated, text) = sealed.split_at_checked(ENCAPSULATED).ok_or(CryptoError::Sealed)?;
        let key = HpkePrivateKey::from(self.secret.expose().to_vec());
        let opened = SUITE.open(&EncapsulatedSecret(encapsulated.to_vec()), info, aad, text, &key);
        let opened = Zeroizing::new(opened.map_err(|_| CryptoError::Sealed)?);
        Ok(Secret::filled(opened.len(), |bytes| bytes.copy_from_slice(&opened)))
    }
}

/// Seals `plain` to the key `to`; `info` and `aad` have to be the same when it is opened.
///
/// # Errors
/// [`CryptoError::NodeKey`]: `to` is no key one can seal to.
pub fn seal(to: &[u8; KEY_LEN], info: &[u8], aad: &[u8], plain: &Secret) -> Result<Vec<u8>, CryptoError> {
    let sealed = SUITE.seal(info, aad, plain.expose(), &HpkePublicKey(to.to_vec()));
    let (encapsulated, text) = sealed.map_err(|_| CryptoError::NodeKey("sealing"))?;
    Ok([encapsulated.0, text].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(bytes: &[u8]) -> Secret {
        Secret::filled(bytes.len(), |all| all.copy_from_slice(bytes))
    }

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn the_message_of_rfc_9180_appendix_a_2_opens() {
        let key = unhex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb");
        let key = SealKey::from_secret(secret(&key)).unwrap();
        let public = unhex("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a");
        assert_eq!(key.public().as_slice(), public);
        let info = unhex("4f6465206f6e2061204772656369616e2055726e");
        let sealed = unhex(
            "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a\
             1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28",
        );
        let opened = key.open(&info, b"Count-0", &sealed).unwrap();
        assert_eq!(opened.expose(), b"Beauty is truth, truth beauty");
    }

    #[test]
    fn only_the_key_the_context_and_the_very_bytes_open() {
        let (key, other) = (SealKey::new().unwrap(), SealKey::new().unwrap());
        let plain = secret(b"a data key");
        let sealed = seal(&key.public(), b"info", b"aad", &plain).unwrap();
        assert_eq!(sealed.len(), plain.len() + OVERHEAD);
        assert!(key.open(b"info", b"aad", &sealed).unwrap().ct_eq(&plain));
        assert_ne!(sealed, seal(&key.public(), b"info", b"aad", &plain).unwrap(), "each has a key of its own");
        for refused in
            [other.open(b"info", b"aad", &sealed), key.open(b"inf", b"aad", &sealed), key.open(b"info", b"", &sealed)]
        {
            assert!(matches!(refused, Err(CryptoError::Sealed)));
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open(b"info", b"aad", &changed).is_err(), "byte {at}");
            assert!(key.open(b"info", b"aad", &sealed[..at]).is_err(), "{at} bytes");
        }
    }

    /// With a point of small order both ends would agree on zeros, whoever they are.
    #[test]
    fn nothing_is_sealed_to_a_key_of_small_order() {
        assert!(matches!(seal(&[0; KEY_LEN], b"", b"", &secret(b"x")), Err(CryptoError::NodeKey(_))));
        assert!(SealKey::from_secret(Secret::zeroed(31)).is_err());
    }
}
