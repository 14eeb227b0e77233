//! The canary of a key: both engines must agree about it before the key encrypts anything else.
//!
//! Each engine encrypts the same plaintext, the ciphertexts must be equal, and each must decrypt what the other wrote.

use crate::crypto::error::CryptoError;
use crate::crypto::secret::Secret;
use crate::crypto::suite::{EngineKind, Suite, TweakRule};
use crate::crypto::xts::Xts;

/// Encrypts `plain` as it would lie at byte `offset` of the volume, with both engines, and compares.
///
/// Returns the ciphertext, which can be stored and checked again with [`check`].
///
/// # Errors
/// Whatever makes the key unusable, or [`CryptoError::EnginesDisagree`].
///
/// # Panics
/// If `offset` or the length is not a multiple of the data unit.
pub fn prove(
    suite: Suite,
    key: &Secret,
    data_unit: u32,
    tweak: TweakRule,
    offset: u64,
    plain: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let engine = |kind| Xts::new(kind, suite, key, data_unit, tweak);
    let engines = [engine(EngineKind::AwsLc)?, engine(EngineKind::Portable)?];
    let [first, second] = engines.each_ref().map(|xts| {
        let mut cipher = plain.to_vec();
        xts.encrypt(offset, &mut cipher);
        cipher
    });
    same(suite, &first, &second)?;
    for xts in &engines {
        let mut back = first.clone();
        xts.decrypt(offset, &mut back);
        same(suite, &back, plain)?;
    }
    Ok(first)
}

/// Whether `cipher`, as [`prove`] returned it, still decrypts to `plain` with `xts`.
///
/// # Panics
/// If `offset` or the length is not a multiple of the data unit.
pub fn check(xts: &Xts, offset: u64, cipher: &[u8], plain: &[u8]) -> bool {
    let mut back = cipher.to_vec();
    xts.decrypt(offset, &mut back);
    back == plain
}

fn same(suite: Suite, one: &[u8], other: &[u8]) -> Result<(), CryptoError> {
    match one.iter().zip(other).position(|(a, b)| a != b) {
        Some(offset) => Err(CryptoError::EnginesDisagree { suite, offset }),
        None if one.len() == other.len() => Ok(()),
        None => Err(CryptoError::EnginesDisagree { suite, offset: one.len().min(other.len()) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::xts::new_key;

    #[test]
    fn a_good_key_proves_and_checks_and_another_does_not() {
        let plain = vec![0x5a; 8192];
        for suite in [Suite::Aes256Xts, Suite::Aes128Xts, Suite::None] {
            let (key, rule) = (new_key(suite).unwrap(), TweakRule::own(4096));
            let cipher = prove(suite, &key, 4096, rule, 4096, &plain).unwrap();
            assert_eq!(cipher != plain, suite != Suite::None);
            let xts = Xts::new(EngineKind::Portable, suite, &key, 4096, rule).unwrap();
            assert!(check(&xts, 4096, &cipher, &plain));
            assert_eq!(check(&xts, 8192, &cipher, &plain), suite == Suite::None);
        }
    }

    #[test]
    fn a_difference_is_placed() {
        let error = same(Suite::Aes256Xts, &[1, 2, 3], &[1, 2, 4]).unwrap_err();
        assert_eq!(error.to_string(), "the crypto engines disagree at byte 2 of the canary under aes-256-xts");
        assert!(same(Suite::Aes256Xts, &[1, 2], &[1, 2, 4]).is_err());
    }
}
