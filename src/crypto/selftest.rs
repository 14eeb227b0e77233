//! Known-answer tests of every primitive, run at each start: a failed one refuses to start.
//!
//! They take a few milliseconds. XTS is tried with every engine this CPU can run, in both directions, one buffer and two.

use aes_kw::{KeyInit, KwpAes192, KwpAes256};
use argon2::{Algorithm, Argon2, Params, Version};
use xxhash_rust::xxh3::xxh3_64_with_secret;

use crate::crypto::kdf;
use crate::crypto::mac::MacKey;
use crate::crypto::secret::Secret;
use crate::crypto::suite::{EngineKind, Suite};
use crate::crypto::vectors::{self, KwpVector, XtsVector, hex};
use crate::crypto::xex::{Direction, Io, Tweaks};
use crate::crypto::xts::Cipher;

/// A primitive gave another answer than the published one; nothing it computes can be trusted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("self-test failed: {primitive} gave a wrong answer for {vector}")]
pub struct SelfTestError {
    /// Which primitive, and which engine where there are two.
    pub primitive: String,
    /// Which known answer.
    pub vector: String,
}

/// Runs every known-answer test; the first that fails ends it.
pub fn run() -> Result<(), SelfTestError> {
    let vectors = vectors::xts().map_err(|line| failed("XTS-AES", &format!("line {line} of the built-in vectors")))?;
    for vector in &vectors {
        for engine in EngineKind::available() {
            xts(engine, vector)?;
        }
    }
    hmac()?;
    hkdf()?;
    kwp()?;
    argon2id()?;
    xxh3()
}

fn failed(primitive: &str, vector: &str) -> SelfTestError {
    SelfTestError { primitive: primitive.to_owned(), vector: vector.to_owned() }
}

fn expect(right: bool, primitive: &str, vector: &str) -> Result<(), SelfTestError> {
    if right { Ok(()) } else { Err(failed(primitive, vector)) }
}

/// One XTS vector with one engine.
pub(super) fn xts(engine: EngineKind, vector: &XtsVector) -> Result<(), SelfTestError> {
    let suite = if vector.key.len() == 32 { Suite::Aes128Xts } else { Suite::Aes256Xts };
    let primitive = format!("{suite} ({engine})");
    let key = Secret::filled(vector.key.len(), |bytes| bytes.copy_from_slice(&vector.key));
    let cipher = Cipher::new(engine, suite, &key).map_err(|_| failed(&primitive, vector.name))?;
    let tweaks = Tweaks { first: vector.tweak, step: 1 };
    let unit = vector.plain.len();
    let ways =
        [(Direction::Encrypt, &vector.plain, &vector.cipher), (Direction::Decrypt, &vector.cipher, &vector.plain)];
    for (way, from, expected) in ways {
        let mut place = from.clone();
        cipher.crypt(way, tweaks, unit, Io::InPlace(&mut place));
        expect(place == *expected, &primitive, vector.name)?;
        let mut to = vec![0; unit];
        cipher.crypt(way, tweaks, unit, Io::To(from, &mut to));
        expect(to == *expected, &primitive, vector.name)?;
    }
    Ok(())
}

fn hmac() -> Result<(), SelfTestError> {
    for vector in vectors::HMAC_SHA256 {
        let key = MacKey::new(&secret(vector.key));
        let tag = key.tag(&[&bytes(vector.message)]);
        expect(tag[..] == bytes(vector.tag), "HMAC-SHA256", vector.name)?;
    }
    Ok(())
}

fn hkdf() -> Result<(), SelfTestError> {
    for vector in vectors::HKDF_SHA256 {
        let expected = bytes(vector.out);
        let (salt, info) = (bytes(vector.salt), bytes(vector.info));
        let out = kdf::derive(&secret(vector.key), &salt, &info, expected.len());
        expect(out.expose() == expected, "HKDF-SHA256", vector.name)?;
    }
    Ok(())
}

fn kwp() -> Result<(), SelfTestError> {
    for vector in vectors::KWP {
        expect(kwp_both_ways(vector).unwrap_or(false), "AES-KWP", vector.name)?;
    }
    let (kek, forged) = vectors::KWP_FORGED;
    let opened =
        KwpAes256::new_from_slice(&bytes(kek)).map(|kwp| kwp.unwrap_key(&bytes(forged), &mut [0; 512]).is_ok());
    expect(opened == Ok(false), "AES-KWP", "a forged wrap (NIST KWP_AD_256)")
}

/// Whether wrapping gives the known answer and unwrapping the key; none if the lengths do not fit.
fn kwp_both_ways(vector: &KwpVector) -> Option<bool> {
    let (kek, key, wrapped) = (bytes(vector.kek), bytes(vector.key), bytes(vector.wrapped));
    let (mut to, mut back) = ([0; 64], [0; 64]);
    let (to, back) = if kek.len() == 24 {
        let kwp = KwpAes192::new_from_slice(&kek).ok()?;
        (kwp.wrap_key(&key, &mut to).ok()?, kwp.unwrap_key(&wrapped, &mut back).ok()?)
    } else {
        let kwp = KwpAes256::new_from_slice(&kek).ok()?;
        (kwp.wrap_key(&key, &mut to).ok()?, kwp.unwrap_key(&wrapped, &mut back).ok()?)
    };
    Some(to == wrapped && back == key)
}

fn argon2id() -> Result<(), SelfTestError> {
    let name = "RFC 9106 section 5.3";
    let answer = || -> Result<[u8; 32], argon2::Error> {
        let params = argon2::ParamsBuilder::new()
            .m_cost(32)
            .t_cost(3)
            .p_cost(4)
            .output_len(32)
            .data(argon2::AssociatedData::new(&[4; 12])?)
            .build()?;
        let argon2 = Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params)?;
        let mut tag = [0; 32];
        argon2.hash_password_into(&[1; 32], &[2; 16], &mut tag)?;
        Ok(tag)
    };
    let tag = answer().map_err(|_| failed("Argon2id", name))?;
    expect(tag[..] == bytes(vectors::ARGON2ID_TAG), "Argon2id", name)?;
    expect(Params::new(32, 3, 4, Some(32)).is_ok(), "Argon2id", "parameters")
}

fn xxh3() -> Result<(), SelfTestError> {
    let data = vectors::xxh3_sanity_buffer(2048);
    let secret = &data[7..7 + 147];
    for (len, hash) in vectors::XXH3_WITH_SECRET {
        let name = format!("xxHash sanity vector of {len} bytes");
        expect(xxh3_64_with_secret(&data[..*len], secret) == *hash, "XXH3-64", &name)?;
    }
    Ok(())
}

/// Built-in hexadecimal; what does not read as such is empty and fails its test.
fn bytes(digits: &str) -> Vec<u8> {
    hex(digits).unwrap_or_default()
}

fn secret(digits: &str) -> Secret {
    let bytes = bytes(digits);
    Secret::filled(bytes.len(), |to| to.copy_from_slice(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_right() {
        assert_eq!(run(), Ok(()));
    }

    #[test]
    fn a_wrong_answer_is_caught_with_either_engine() {
        for engine in EngineKind::available() {
            for mut vector in vectors::xts().unwrap() {
                let last = vector.cipher.len() - 1;
                vector.cipher[last] ^= 1;
                let error = xts(engine, &vector).unwrap_err();
                assert_eq!(error.vector, vector.name);
                assert!(error.primitive.contains(&engine.to_string()));
            }
        }
    }
}
