//! Everything that can go wrong in the cryptographic layer, as one closed enum.
//!
//! A message says what was refused and which bound it broke; it never contains key bytes.

use crate::crypto::suite::{EngineKind, Suite};

/// An error of the cryptographic layer.
#[derive(Debug, thiserror::Error)]
pub enum CryptoError {
    /// A key has another length than its suite asks for.
    #[error("a key for {suite} is {expected} bytes long, not {found}")]
    KeyLength {
        /// The suite the key was meant for.
        suite: Suite,
        /// What the suite asks for, bytes.
        expected: usize,
        /// What was given, bytes.
        found: usize,
    },
    /// Key_1 equals Key_2, which IEEE 1619 and SP 800-38E forbid.
    #[error("Key_1 equals Key_2: not an XTS key")]
    EqualHalves,
    /// The CPU lacks what the engine is made of.
    #[error("this CPU cannot run the {0} engine")]
    EngineMissing(EngineKind),
    /// A data unit of a size no suite here serves.
    #[error("data units of {0} bytes are not served (512 or 4096)")]
    DataUnit(u32),
    /// A tweak unit that would give two data units one tweak, or split none of them evenly.
    #[error("tweaks counted in units of {tweak} bytes do not fit data units of {data} bytes")]
    TweakUnit {
        /// Tweak unit, bytes.
        tweak: u32,
        /// Data unit, bytes.
        data: u32,
    },
    /// A suite or engine name that is not known.
    #[error("unknown {kind} {name:?} (known: {known})")]
    UnknownName {
        /// `suite` or `crypto engine`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// The names that exist.
        known: &'static str,
    },
    /// Argon2 parameters outside the floor and the cap, found before any work was done with them.
    #[error("Argon2id parameter {name} is {found}, allowed are {least} to {most}")]
    Argon2Bounds {
        /// Parameter as RFC 9106 names it, with its unit.
        name: &'static str,
        /// What was given.
        found: u64,
        /// The floor.
        least: u64,
        /// The cap.
        most: u64,
    },
    /// Argon2 could not run, for want of memory.
    #[error("Argon2id could not run")]
    Argon2(#[source] argon2::Error),
    /// A wrapped key did not open: the wrong KEK, another context, or changed bytes.
    #[error("the wrapped key does not open with this KEK and context")]
    Unwrap,
    /// A wrapped key has a length no key gives, so it was cut or extended.
    #[error("a wrapped key of {0} bytes is not AES-KWP output")]
    WrapLength(usize),
    /// A key-encryption key of another length than 32 bytes.
    #[error("a key-encryption key is 32 bytes long, not {0}")]
    KekLength(usize),
    /// A KEK id longer than the wrap context can carry.
    #[error("a KEK id of {0} bytes is too long")]
    KekIdLength(usize),
    /// A signature is not the named key's, of these bytes, for this purpose.
    #[error("the signature is not that of this key, message and purpose")]
    Signature,
    /// What was sealed to a node's key does not open: another node's, another context, or changed bytes.
    #[error("what was sealed does not open with this node's key and context")]
    Sealed,
    /// Bytes that are no node key of that kind (`signing`, `sealing`).
    #[error("these are not the bytes of a {0} key")]
    NodeKey(&'static str),
    /// The kernel gave no random bytes.
    #[error("the system gave no random bytes")]
    Random(#[source] getrandom::Error),
    /// AWS-LC refused to set up a cipher.
    #[error("AWS-LC could not set up {0}")]
    Engine(&'static str),
}
