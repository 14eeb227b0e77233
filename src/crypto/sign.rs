//! Ed25519 signatures (RFC 8032), by AWS-LC: what a node says in its own name.
//!
//! Invariants: what is signed begins with the label of its purpose, so that no signature for one purpose is good for
//! another; the seed stays in a [`Secret`], but for AWS-LC's heap during a call, which it wipes; a public key that is no
//! point verifies nothing.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::crypto::error::CryptoError;
use crate::crypto::secret::Secret;

/// Length of a seed, bytes.
pub const SEED_LEN: usize = 32;
/// Length of a public key, bytes.
pub const PUBLIC_LEN: usize = 32;
/// Length of a signature, bytes.
pub const SIGNATURE_LEN: usize = 64;

/// Stands in front of every label.
const DOMAIN: &[u8] = b"keymoult-signature-v1";

/// What signs: the seed of an Ed25519 key.
pub struct SigningKey {
    seed: Secret,
    public: PublicSigningKey,
}

/// What verifies. Any 32 bytes may be one; only a real one verifies anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicSigningKey(pub [u8; PUBLIC_LEN]);

impl SigningKey {
    /// The key of a seed of 32 bytes.
    ///
    /// # Errors
    /// It has another length.
    pub fn from_seed(seed: Secret) -> Result<SigningKey, CryptoError> {
        let pair = pair(&seed)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| CryptoError::NodeKey("signing"))?;
        Ok(SigningKey { seed, public: PublicSigningKey(public) })
    }

    /// A fresh one.
    ///
    /// # Errors
    /// The system's random source fails.
    pub fn new() -> Result<SigningKey, CryptoError> {
        SigningKey::from_seed(Secret::random(SEED_LEN)?)
    }

    /// What others verify with.
    pub const fn public(&self) -> PublicSigningKey {
        self.public
    }

    /// The seed. Whoever calls this answers for where it goes.
    pub fn seed(&self) -> &Secret {
        &self.seed
    }

    /// Signs `message` for the purpose that `label` names.
    ///
    /// # Errors
    /// AWS-LC refuses the key, which it took before.
    pub fn sign(&self, label: &str, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], CryptoError> {
        let signature = pair(&self.seed)?.sign(&labelled(label, message));
        signature.as_ref().try_into().map_err(|_| CryptoError::NodeKey("signing"))
    }
}

impl PublicSigningKey {
    /// Says whether `signature` is this key's, of `message`, for the purpose that `label` names.
    ///
    /// # Errors
    /// [`CryptoError::Signature`]: it is not.
    pub fn verify(&self, label: &str, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let key = UnparsedPublicKey::new(&ED25519, &self.0);
        key.verify(&labelled(label, message), signature).map_err(|_| CryptoError::Signature)
    }
}

fn pair(seed: &Secret) -> Result<Ed25519KeyPair, CryptoError> {
    Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| CryptoError::NodeKey("signing"))
}

/// What is really signed. The length of the label keeps two labels apart of which one begins with the other.
fn labelled(label: &str, message: &[u8]) -> Vec<u8> {
    [DOMAIN, &(label.len() as u32).to_be_bytes(), label.as_bytes(), message].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn a_seed_of_rfc_8032_has_its_public_key() {
        let seed = unhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let key = SigningKey::from_seed(Secret::filled(32, |bytes| bytes.copy_from_slice(&seed))).unwrap();
        let public = unhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert_eq!(key.public().0.as_slice(), public);
        // Of the empty message, without label: the RFC's own signature.
        let signature = unhex(
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe2465\
             5141438e7a100b",
        );
        assert_eq!(pair(&key.seed).unwrap().sign(b"").as_ref(), signature);
    }

    #[test]
    fn a_signature_is_of_one_key_message_and_purpose() {
        let (key, other) = (SigningKey::new().unwrap(), SigningKey::new().unwrap());
        let signature = key.sign("record", b"message").unwrap();
        assert!(key.public().verify("record", b"message", &signature).is_ok());
        let refused = [
            other.public().verify("record", b"message", &signature),
            key.public().verify("promise", b"message", &signature),
            key.public().verify("record", b"massage", &signature),
            key.public().verify("recordm", b"essage", &signature),
            key.public().verify("record", b"message", &signature[..63]),
            PublicSigningKey([0xff; 32]).verify("record", b"message", &signature),
        ];
        assert!(refused.iter().all(|refused| matches!(refused, Err(CryptoError::Signature))));
        for at in 0..SIGNATURE_LEN {
            let mut changed = signature;
            changed[at] ^= 1;
            assert!(key.public().verify("record", b"message", &changed).is_err(), "byte {at}");
        }
        assert!(SigningKey::from_seed(Secret::zeroed(31)).is_err());
    }
}
