//! Cryptography: XTS over data units by three engines, one in two widths, and the small primitives around keys.
//!
//! | file | what it holds |
//! |---|---|
//! | `suite` | names and ids of suites and engines, the tweak rule |
//! | `secret`, `locked`, `scrub` | secrets in locked, undumpable, wiped memory, and off the stack |
//! | `xts` | the one narrow interface to all engines |
//! | `vaes` | our own vector code, where the CPU has VAES: with AVX-512 as `vaes512`, with AVX2 as `vaes256` |
//! | `awslc`, `contexts` | AWS-LC's EVP: fast on any CPU |
//! | `portable`, `xex` | pure Rust |
//! | [`mac`], [`kdf`], [`wrap`], [`fingerprint`] | HMAC, HKDF and Argon2id, key wrap, extent fingerprints |
//! | [`selftest`], [`speed`] | known answers at every start; what this CPU reaches |
//!
//! Invariants: this layer does no I/O except asking the kernel for memory and random bytes. For each suite the
//! engines share neither the block cipher nor the code that steps the tweak, so that any can check any other:
//! AES-256 is AWS-LC's XTS against our `xex` over the `aes` crate; AES-128 (which AWS-LC's EVP lacks as XTS) is `xex`
//! over AWS-LC's ECB against `xts-mode` over the `aes` crate.

mod awslc;
mod contexts;
mod error;
pub mod fingerprint;
pub mod kdf;
mod locked;
pub mod mac;
mod portable;
mod scrub;
mod secret;
pub mod selftest;
pub mod speed;
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

pub use error::CryptoError;
pub use locked::unlocked_bytes;
pub use secret::Secret;
pub use suite::{EngineKind, Suite, TweakRule};
pub use xts::{Xts, check_key, new_key};
