//! Our own vector code: XTS-AES on CPUs with VAES and VPCLMULQDQ, in registers of 512 bits (AVX-512) or 256 (AVX2).
//!
//! | file | what it holds |
//! |---|---|
//! | `kernel` | the mode, for registers of any width |
//! | `register` | the two widths |
//! | `expand` | key schedules |
//!
//! Invariants: a [`Vaes`] exists only where its width is available; key schedules live in locked memory (what the
//! compiler keeps on the stack while a call runs, round keys and masks among it, lies there as with any engine); data
//! units are whole blocks.

#![allow(unsafe_code, reason = "vector instructions and the loads and stores that feed them")]

mod expand;
mod kernel;
mod register;

use crate::crypto::locked::Locked;
use crate::crypto::secret::Secret;
use crate::crypto::suite::Suite;
use crate::crypto::xex::{Direction, Io, Tweaks, Width};
use expand::{Schedule, expand_128, expand_256, inverse};
use kernel::Units;
use register::{Ymm, Zmm};

/// Whether this CPU, and the system it runs under, has the instructions.
pub(super) fn is_available(width: Width) -> bool {
    is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("vaes")
        && is_x86_feature_detected!("vpclmulqdq")
        && match width {
            Width::Bits512 => is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw"),
            Width::Bits256 => is_x86_feature_detected!("avx2"),
        }
}

/// One XTS key.
pub(super) struct Vaes {
    width: Width,
    keys: Rounds,
}

/// By the number of rounds.
enum Rounds {
    /// 14 rounds.
    Aes256(Locked<Keys<15>>),
    /// 10 rounds.
    Aes128(Locked<Keys<11>>),
}

/// The schedules of one XTS key: Key_1 in both directions, Key_2 encrypting.
struct Keys<const N: usize> {
    encrypt: Schedule<N>,
    decrypt: Schedule<N>,
    tweak: Schedule<N>,
}

impl Vaes {
    /// Expands `key`, whose length fits `suite`; none where the CPU cannot do it.
    pub(super) fn new(width: Width, suite: Suite, key: &Secret) -> Option<Vaes> {
        if !is_available(width) {
            return None;
        }
        let (key_1, key_2) = key.expose().split_at(key.len() / 2);
        // SAFETY: the CPU has AES-NI, as part of either width.
        let keys = unsafe {
            match suite {
                Suite::Aes128Xts => Rounds::Aes128(Locked::new(keys(expand_128(key_1)?, expand_128(key_2)?))),
                Suite::Aes256Xts => Rounds::Aes256(Locked::new(keys(expand_256(key_1)?, expand_256(key_2)?))),
                Suite::None => return None,
            }
        };
        Some(Vaes { width, keys })
    }

    /// Encrypts or decrypts whole data units of `unit` bytes.
    pub(super) fn crypt(&self, way: Direction, tweaks: Tweaks, unit: usize, io: Io<'_>) {
        match &self.keys {
            Rounds::Aes256(keys) => keys.crypt(self.width, way, tweaks, unit, io),
            Rounds::Aes128(keys) => keys.crypt(self.width, way, tweaks, unit, io),
        }
    }
}

#[target_feature(enable = "aes")]
fn keys<const N: usize>(key_1: Schedule<N>, key_2: Schedule<N>) -> Keys<N> {
    Keys { encrypt: key_1, decrypt: inverse(&key_1), tweak: key_2 }
}

impl<const N: usize> Keys<N> {
    fn crypt(&self, width: Width, way: Direction, tweaks: Tweaks, unit: usize, mut io: Io<'_>) {
        let (from, to, len) = io.places();
        assert!(unit >= 16 && unit.is_multiple_of(16) && len.is_multiple_of(unit));
        let units = Units { from, to, len, unit };
        // SAFETY: a `Vaes` exists only where its width is available. The ranges are those of the slices of `io`, which
        // stay borrowed; they are the same slice or, being `&` and `&mut`, disjoint. `unit` is whole blocks and divides
        // `len`.
        unsafe {
            match (width, way) {
                (Width::Bits512, Direction::Encrypt) => run_512::<N, true>(&self.encrypt, &self.tweak, tweaks, &units),
                (Width::Bits512, Direction::Decrypt) => run_512::<N, false>(&self.decrypt, &self.tweak, tweaks, &units),
                (Width::Bits256, Direction::Encrypt) => run_256::<N, true>(&self.encrypt, &self.tweak, tweaks, &units),
                (Width::Bits256, Direction::Decrypt) => run_256::<N, false>(&self.decrypt, &self.tweak, tweaks, &units),
            }
        }
    }
}

/// # Safety
/// As [`kernel::run`].
#[target_feature(enable = "aes,avx512f,avx512bw,vaes,vpclmulqdq")]
unsafe fn run_512<const N: usize, const ENCRYPT: bool>(
    data: &Schedule<N>,
    tweak: &Schedule<N>,
    tweaks: Tweaks,
    units: &Units,
) {
    // SAFETY: the caller's promise; the instructions are those this function may use.
    unsafe { kernel::run::<Zmm, N, ENCRYPT>(data, tweak, tweaks, units) }
}

/// # Safety
/// As [`kernel::run`].
#[target_feature(enable = "aes,avx2,vaes,vpclmulqdq")]
unsafe fn run_256<const N: usize, const ENCRYPT: bool>(
    data: &Schedule<N>,
    tweak: &Schedule<N>,
    tweaks: Tweaks,
    units: &Units,
) {
    // SAFETY: the caller's promise; the instructions are those this function may use.
    unsafe { kernel::run::<Ymm, N, ENCRYPT>(data, tweak, tweaks, units) }
}
