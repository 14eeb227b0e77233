//! XTS over the data units of a volume: the one narrow interface to all engines.
//!
//! Invariants: an [`Xts`] exists only with Key_1 ≠ Key_2, a data unit that is served, and a tweak rule that gives each
//! data unit its own tweak. Offsets and lengths are whole data units: a caller that breaks this has a bug, and is
//! stopped by an assertion before a byte is touched. Calls allocate nothing once a thread has used the key.

use subtle::ConstantTimeEq;

use crate::crypto::contexts::AwsLc;
use crate::crypto::error::CryptoError;
use crate::crypto::portable::Portable;
use crate::crypto::scrub::scrub_stack;
use crate::crypto::secret::Secret;
use crate::crypto::suite::{EngineKind, Suite, TweakRule};
use crate::crypto::vaes::Vaes;
use crate::crypto::xex::{Direction, Io, Tweaks, Width};

/// One key of a volume, ready to encrypt and decrypt its data units, from any thread.
pub struct Xts {
    suite: Suite,
    engine: EngineKind,
    data_unit: u32,
    tweak: TweakRule,
    cipher: Cipher,
}

impl Xts {
    /// Expands `key` (Key_1 ‖ Key_2, `suite.key_len()` bytes) for data units of `data_unit` bytes (512 or 4096).
    ///
    /// # Errors
    /// A key of another length, Key_1 equal to Key_2 (compared in constant time), a data unit that is not served, a
    /// tweak rule that would repeat a tweak, an engine this CPU cannot run, or AWS-LC out of memory.
    pub fn new(
        engine: EngineKind,
        suite: Suite,
        key: &Secret,
        data_unit: u32,
        tweak: TweakRule,
    ) -> Result<Xts, CryptoError> {
        if !matches!(data_unit, 512 | 4096) {
            return Err(CryptoError::DataUnit(data_unit));
        }
        tweak.check(data_unit)?;
        let cipher = Cipher::new(engine, suite, key);
        scrub_stack();
        let cipher = cipher?;
        Ok(Xts { suite, engine, data_unit, tweak, cipher })
    }

    /// The suite of the key.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The engine that does the work.
    pub fn engine(&self) -> EngineKind {
        self.engine
    }

    /// Bytes under one tweak.
    pub fn data_unit(&self) -> u32 {
        self.data_unit
    }

    /// How data units are numbered.
    pub fn tweak_rule(&self) -> TweakRule {
        self.tweak
    }

    /// Encrypts `data`, which belongs at byte `offset` of the volume, in place.
    ///
    /// # Panics
    /// If `offset` or the length is not a multiple of the data unit.
    #[inline]
    pub fn encrypt(&self, offset: u64, data: &mut [u8]) {
        self.run(Direction::Encrypt, offset, Io::InPlace(data));
    }

    /// Decrypts `data`, which was read from byte `offset` of the volume, in place.
    ///
    /// # Panics
    /// If `offset` or the length is not a multiple of the data unit.
    #[inline]
    pub fn decrypt(&self, offset: u64, data: &mut [u8]) {
        self.run(Direction::Decrypt, offset, Io::InPlace(data));
    }

    /// Encrypts `from` into `to`; see [`Xts::encrypt`]. Neither buffer needs any alignment in memory.
    ///
    /// # Panics
    /// As [`Xts::encrypt`], and if the lengths differ.
    #[inline]
    pub fn encrypt_to(&self, offset: u64, from: &[u8], to: &mut [u8]) {
        self.run(Direction::Encrypt, offset, Io::To(from, to));
    }

    /// Decrypts `from` into `to`; see [`Xts::decrypt`]. Neither buffer needs any alignment in memory.
    ///
    /// # Panics
    /// As [`Xts::decrypt`], and if the lengths differ.
    #[inline]
    pub fn decrypt_to(&self, offset: u64, from: &[u8], to: &mut [u8]) {
        self.run(Direction::Decrypt, offset, Io::To(from, to));
    }

    #[inline]
    fn run(&self, way: Direction, offset: u64, io: Io<'_>) {
        let len = match &io {
            Io::InPlace(data) => data.len(),
            Io::To(from, to) => {
                assert_eq!(from.len(), to.len(), "both buffers of a crypt have one length");
                to.len()
            }
        };
        let unit = self.data_unit as usize;
        assert!(
            offset.is_multiple_of(u64::from(self.data_unit)) && len.is_multiple_of(unit),
            "{len} bytes at {offset} are not whole data units of {unit}"
        );
        let tweaks = Tweaks { first: self.tweak.tweak(offset), step: self.tweak.step(self.data_unit) };
        self.cipher.crypt(way, tweaks, unit, io);
    }
}

/// A keyed cipher of any engine, under data units of any whole number of blocks.
pub(super) enum Cipher {
    /// Plaintext.
    Identity,
    Vaes(Vaes),
    AwsLc(Box<AwsLc>),
    Portable(Portable),
}

impl Cipher {
    /// Checks and expands a key.
    #[inline(never)]
    pub(super) fn new(engine: EngineKind, suite: Suite, key: &Secret) -> Result<Cipher, CryptoError> {
        check_key(suite, key)?;
        let vaes = |width| Vaes::new(width, suite, key).ok_or(CryptoError::EngineMissing(engine));
        Ok(match (suite, engine) {
            (Suite::None, _) => Cipher::Identity,
            (_, EngineKind::Vaes512) => Cipher::Vaes(vaes(Width::Bits512)?),
            (_, EngineKind::Vaes256) => Cipher::Vaes(vaes(Width::Bits256)?),
            (_, EngineKind::AwsLc) => Cipher::AwsLc(Box::new(AwsLc::new(suite, key)?)),
            (_, EngineKind::Portable) => Cipher::Portable(Portable::new(suite, key)?),
        })
    }

    /// Runs whole data units of `unit` bytes; the lengths were checked.
    #[inline]
    pub(super) fn crypt(&self, way: Direction, tweaks: Tweaks, unit: usize, io: Io<'_>) {
        match (self, io) {
            (Cipher::Vaes(engine), io) => engine.crypt(way, tweaks, unit, io),
            (Cipher::AwsLc(engine), io) => engine.crypt(way, tweaks, unit, io),
            (Cipher::Portable(engine), Io::InPlace(data)) => {
                engine.crypt(way, tweaks, unit, data);
            }
            (Cipher::Portable(engine), Io::To(from, to)) => {
                to.copy_from_slice(from);
                engine.crypt(way, tweaks, unit, to);
            }
            (Cipher::Identity, Io::InPlace(_)) => {}
            (Cipher::Identity, Io::To(from, to)) => to.copy_from_slice(from),
        }
    }
}

/// Refuses a key of the wrong length, and one whose halves are equal (compared in constant time).
///
/// Called wherever a data key is expanded; whoever makes, unwraps or imports one calls it too, before storing it.
pub fn check_key(suite: Suite, key: &Secret) -> Result<(), CryptoError> {
    let (expected, found) = (suite.key_len(), key.len());
    if expected != found {
        return Err(CryptoError::KeyLength { suite, expected, found });
    }
    let (key_1, key_2) = key.expose().split_at(found / 2);
    if suite != Suite::None && bool::from(key_1.ct_eq(key_2)) {
        return Err(CryptoError::EqualHalves);
    }
    Ok(())
}

/// A fresh random key for `suite`, with Key_1 ≠ Key_2.
///
/// # Errors
/// The system gave no random bytes, or (which random bytes do not do) twice the same half.
pub fn new_key(suite: Suite) -> Result<Secret, CryptoError> {
    let key = Secret::random(suite.key_len())?;
    check_key(suite, &key)?;
    Ok(key)
}
