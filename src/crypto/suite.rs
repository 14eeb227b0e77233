//! The names of things: cipher suites, engines, and the rule that numbers data units.
//!
//! Invariants: a suite's id is what the format stores and never changes its meaning; a [`TweakRule`] gives every data
//! unit of a volume a tweak of its own, which is why its unit never exceeds the data unit.

use std::fmt;
use std::str::FromStr;

use crate::crypto::error::CryptoError;
use crate::crypto::{vaes, xex::Width};

/// What encrypts the data of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// XTS-AES-256 (IEEE 1619, SP 800-38E); 64 bytes of key.
    Aes256Xts,
    /// XTS-AES-128 (IEEE 1619, SP 800-38E); 32 bytes of key.
    Aes128Xts,
    /// Plaintext: for adopting disks and for benchmarks.
    None,
}

impl Suite {
    /// The number the format stores.
    pub const fn id(self) -> u16 {
        match self {
            Suite::Aes256Xts => 1,
            Suite::Aes128Xts => 2,
            Suite::None => 0xfffe,
        }
    }

    /// The suite stored as `id`, if this build knows it.
    pub const fn from_id(id: u16) -> Option<Suite> {
        match id {
            1 => Some(Suite::Aes256Xts),
            2 => Some(Suite::Aes128Xts),
            0xfffe => Some(Suite::None),
            _ => None,
        }
    }

    /// Length of Key_1 ‖ Key_2, bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Suite::Aes256Xts => 64,
            Suite::Aes128Xts => 32,
            Suite::None => 0,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Suite::Aes256Xts => "aes-256-xts",
            Suite::Aes128Xts => "aes-128-xts",
            Suite::None => "none",
        })
    }
}

impl FromStr for Suite {
    type Err = CryptoError;

    fn from_str(name: &str) -> Result<Suite, CryptoError> {
        match name {
            "aes-256-xts" => Ok(Suite::Aes256Xts),
            "aes-128-xts" => Ok(Suite::Aes128Xts),
            "none" => Ok(Suite::None),
            _ => Err(CryptoError::UnknownName {
                kind: "cipher suite",
                name: name.to_owned(),
                known: "aes-256-xts, aes-128-xts, none",
            }),
        }
    }
}

/// Which implementation computes a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// Our own vector code, for CPUs with VAES and AVX-512.
    Vaes512,
    /// The same in registers of half the width, for CPUs with VAES and AVX2.
    Vaes256,
    /// AWS-LC, through `aws-lc-sys`: assembly for the CPU at hand.
    AwsLc,
    /// Pure Rust: the `aes` crate.
    Portable,
}

impl EngineKind {
    /// Every engine, the fastest first.
    pub const ALL: [EngineKind; 4] =
        [EngineKind::Vaes512, EngineKind::Vaes256, EngineKind::AwsLc, EngineKind::Portable];

    /// Whether this CPU can run it.
    pub fn is_available(self) -> bool {
        match self {
            EngineKind::Vaes512 => vaes::is_available(Width::Bits512),
            EngineKind::Vaes256 => vaes::is_available(Width::Bits256),
            EngineKind::AwsLc | EngineKind::Portable => true,
        }
    }

    /// The engines this CPU can run, the fastest first.
    pub fn available() -> impl Iterator<Item = EngineKind> {
        EngineKind::ALL.into_iter().filter(|engine| engine.is_available())
    }

    /// What does the work unless something else is asked for.
    pub fn best() -> EngineKind {
        EngineKind::available().next().unwrap_or(EngineKind::AwsLc)
    }

    /// The engine that checks what this one wrote.
    pub const fn other(self) -> EngineKind {
        match self {
            EngineKind::Vaes512 | EngineKind::Vaes256 | EngineKind::Portable => EngineKind::AwsLc,
            EngineKind::AwsLc => EngineKind::Portable,
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EngineKind::Vaes512 => "vaes512",
            EngineKind::Vaes256 => "vaes256",
            EngineKind::AwsLc => "aws-lc",
            EngineKind::Portable => "portable",
        })
    }
}

impl FromStr for EngineKind {
    type Err = CryptoError;

    fn from_str(name: &str) -> Result<EngineKind, CryptoError> {
        match name {
            "vaes512" => Ok(EngineKind::Vaes512),
            "vaes256" => Ok(EngineKind::Vaes256),
            "aws-lc" => Ok(EngineKind::AwsLc),
            "portable" => Ok(EngineKind::Portable),
            _ => Err(CryptoError::UnknownName {
                kind: "crypto engine",
                name: name.to_owned(),
                known: "vaes512, vaes256, aws-lc, portable",
            }),
        }
    }
}

/// How the tweak of a data unit follows from its place: `base + offset / unit`, as a little-endian 128-bit number.
///
/// Ours counts data units from 0; LUKS2 counts 512-byte sectors even where data units are 4096 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TweakRule {
    /// What the tweak counts, bytes: a power of two from 512 up to the data unit.
    pub unit: u32,
    /// The tweak of the data unit at byte 0 of the volume.
    pub base: u64,
}

impl TweakRule {
    /// Our own rule: the number of the data unit in the volume.
    pub const fn own(data_unit: u32) -> TweakRule {
        TweakRule { unit: data_unit, base: 0 }
    }

    /// The rule of LUKS2 (`IV offset` in 512-byte sectors).
    pub const fn luks2(iv_offset: u64) -> TweakRule {
        TweakRule { unit: 512, base: iv_offset }
    }

    /// The tweak of the data unit at byte `offset` of the volume.
    #[inline]
    pub const fn tweak(self, offset: u64) -> u128 {
        self.base as u128 + (offset / self.unit as u64) as u128
    }

    /// By how much the tweak grows from one data unit of `data_unit` bytes to the next.
    #[inline]
    pub const fn step(self, data_unit: u32) -> u128 {
        (data_unit / self.unit) as u128
    }

    /// Refuses a rule under which two data units would share a tweak.
    pub const fn check(self, data_unit: u32) -> Result<(), CryptoError> {
        if self.unit >= 512 && self.unit.is_power_of_two() && self.unit <= data_unit {
            Ok(())
        } else {
            Err(CryptoError::TweakUnit { tweak: self.unit, data: data_unit })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_go_both_ways() {
        for suite in [Suite::Aes256Xts, Suite::Aes128Xts, Suite::None] {
            assert_eq!(suite.to_string().parse::<Suite>().unwrap(), suite);
            assert_eq!(Suite::from_id(suite.id()), Some(suite));
        }
        for engine in EngineKind::ALL {
            assert_eq!(engine.to_string().parse::<EngineKind>().unwrap(), engine);
            assert_ne!(engine.other(), engine);
        }
        assert_eq!(Suite::from_id(0), None);
        assert_eq!(
            "aes-xts-plain64".parse::<Suite>().unwrap_err().to_string(),
            "unknown cipher suite \"aes-xts-plain64\" (known: aes-256-xts, aes-128-xts, none)"
        );
    }

    #[test]
    fn luks2_counts_sectors_whatever_the_data_unit() {
        let rule = TweakRule::luks2(32768);
        assert_eq!(rule.tweak(8192), 32768 + 16);
        assert_eq!(rule.step(4096), 8);
        assert_eq!(TweakRule::own(4096).tweak(8192), 2);
    }

    #[test]
    fn the_tweak_does_not_wrap_at_64_bits() {
        let rule = TweakRule { unit: 512, base: u64::MAX };
        assert_eq!(rule.tweak(512), 1 << 64);
    }

    #[test]
    fn rules_that_would_repeat_a_tweak_are_refused() {
        assert!(TweakRule { unit: 4096, base: 0 }.check(512).is_err());
        for unit in [0, 1, 256, 768, 8192] {
            assert!(TweakRule { unit, base: 0 }.check(4096).is_err(), "{unit}");
        }
        assert!(TweakRule { unit: 512, base: 0 }.check(4096).is_ok());
    }
}
