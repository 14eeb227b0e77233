//! Cryptography: XTS over data units by three engines, one in two widths, and the small primitives around keys.
//!
//! | file | what it holds |
//! |---|---|
//! | `suite` | names and ids of suites and engines, the tweak rule |
//! | `standing` | which suites may be used, from when on |
//! | `secret`, `locked`, `scrub` | secrets in locked, undumpable, wiped memory, and off the stack |
//! | [`line`] | secrets as lines of files |
//! | `xts` | the one narrow interface to all engines |
//! | `vaes` | our own vector code, where the CPU has VAES: with AVX-512 as `vaes512`, with AVX2 as `vaes256` |
//! | `awslc`, `contexts` | AWS-LC's EVP: fast on any CPU |
//! | `portable`, `xex` | pure Rust |
//! | [`mac`], [`kdf`], [`wrap`], [`fingerprint`] | HMAC, HKDF and Argon2id, key wrap, extent fingerprints |
//! | [`age`], `bech32`, `aead`, [`shamir`] | sealing a secret to recipients, and sharing it among them |
//! | [`sign`], [`hpke`] | what nodes sign, and what is sealed to one |
//! | [`selftest`], [`speed`] | known answers at every start; what this CPU reaches |
//!
//! Invariants: this layer does no I/O except asking the kernel for memory and random bytes. For each suite the
//! engines share neither the block cipher nor the code that steps the tweak, so that any can check any other:
//! AES-256 is AWS-LC's XTS against our `xex` over the `aes` crate; AES-128 (which AWS-LC's EVP lacks as XTS) is `xex`
//! over AWS-LC's ECB against `xts-mode` over the `aes` crate.

mod aead;
pub mod age;
mod awslc;
mod bech32;
mod contexts;
mod error;
pub mod fingerprint;
pub mod hpke;
pub mod kdf;
pub mod line;
mod locked;
pub mod mac;
mod portable;
mod scrub;
mod secret;
pub mod selftest;
pub mod shamir;
pub mod sign;
pub mod speed;
mod standing;
mod suite;
#[cfg(target_arch = "x86_64")]
mod vaes;
#[cfg(not(target_arch = "x86_64"))]
#[path = "no_vaes.rs"]
mod vaes;
mod vectors;
pub mod wrap;
mod xex;
mod xts;

#[cfg(test)]
mod tests;

pub use aead::{open as aead_open, seal as aead_seal};
pub use error::CryptoError;
pub use locked::unlocked_bytes;
pub use secret::Secret;
pub use standing::{Standing, SuitePolicy, SuiteRule, Verdict};
pub use suite::{EngineKind, Suite, TweakRule};
pub use xts::{Xts, check_key, new_key};
