//! The portable engine: pure Rust, for CPUs AWS-LC has no assembly for, and to check what the other engine wrote.
//!
//! AES comes from the `aes` crate (AES-NI, VAES or ARMv8 where the CPU has them, constant-time bit slicing elsewhere).
//! AES-256 goes many blocks at a time through [`xex`], about four times the speed of the `xts-mode` crate,
//! which tests hold it against; AES-128 uses `xts-mode` itself, because AWS-LC's side of that suite runs on `xex` and the two
//! engines are to share nothing.
//!
//! Invariants: key schedules live in locked memory (a copy passes over the stack while a key is expanded); calls take
//! `&self` and allocate nothing.

use aes::cipher::array::Array;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes256};
use xts_mode::Xts128;

use crate::crypto::error::CryptoError;
use crate::crypto::locked::Locked;
use crate::crypto::secret::Secret;
use crate::crypto::suite::Suite;
use crate::crypto::xex::{self, Block, Ciphers, Direction, Tweaks};

/// The keyed ciphers of one XTS key.
pub(super) enum Portable {
    /// AES-256 under Key_1 and Key_2.
    Aes256(Locked<(Aes256, Aes256)>),
    /// AES-128, with the mode from `xts-mode`.
    Aes128(Locked<Xts128<Aes128>>),
}

impl Portable {
    /// Expands `key`, whose length fits `suite` (one that encrypts).
    pub(super) fn new(suite: Suite, key: &Secret) -> Result<Portable, CryptoError> {
        let (key_1, key_2) = key.expose().split_at(key.len() / 2);
        let length = |_| CryptoError::KeyLength { suite, expected: suite.key_len(), found: key.len() };
        if suite == Suite::Aes128Xts {
            let data = Aes128::new_from_slice(key_1).map_err(length)?;
            let tweak = Aes128::new_from_slice(key_2).map_err(length)?;
            return Ok(Portable::Aes128(Locked::new(Xts128::new(data, tweak))));
        }
        let data = Aes256::new_from_slice(key_1).map_err(length)?;
        let tweak = Aes256::new_from_slice(key_2).map_err(length)?;
        Ok(Portable::Aes256(Locked::new((data, tweak))))
    }

    /// Encrypts or decrypts whole data units of `unit` bytes in place.
    pub(super) fn crypt(&self, direction: Direction, mut tweaks: Tweaks, unit: usize, data: &mut [u8]) {
        match self {
            Portable::Aes256(keys) => {
                xex::crypt(&mut Aes256Ciphers { keys, direction }, tweaks, unit, data);
            }
            Portable::Aes128(mode) => {
                for unit in data.chunks_exact_mut(unit) {
                    match direction {
                        Direction::Encrypt => mode.encrypt_sector(unit, Array(tweaks.next())),
                        Direction::Decrypt => mode.decrypt_sector(unit, Array(tweaks.next())),
                    }
                }
            }
        }
    }
}

struct Aes256Ciphers<'a> {
    keys: &'a (Aes256, Aes256),
    direction: Direction,
}

impl Ciphers for Aes256Ciphers<'_> {
    fn data(&mut self, blocks: &mut [u8]) {
        let (blocks, _) = Array::slice_as_chunks_mut(blocks);
        match self.direction {
            Direction::Encrypt => self.keys.0.encrypt_blocks(blocks),
            Direction::Decrypt => self.keys.0.decrypt_blocks(blocks),
        }
    }

    fn tweak(&mut self, blocks: &mut [Block]) {
        self.keys.1.encrypt_blocks(Array::cast_slice_from_core_mut(blocks));
    }
}
