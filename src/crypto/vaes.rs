//! The widest engine: XTS-AES on CPUs with VAES and AVX-512, four blocks to a register and eight registers in flight.
//!
//! Masks of a data unit are made side by side: lane *j* of a register starts with `E_2(tweak) · x^j`, and every step of 512
//! bytes multiplies all of them by x^32. The tweaks of eight data units are encrypted together, so that units of 512
//! bytes keep the AES units as busy as those of 4096. (IEEE 1619 §5; the CAVP vectors and both other engines hold it.)
//!
//! Invariants: a [`Vaes`] exists only where [`available`] is true; key schedules live in locked memory, each round key
//! repeated four times (what the compiler spills while a call runs lies on the stack, as with any engine); data units are
//! whole blocks.

#![allow(unsafe_code, reason = "vector instructions and the loads and stores that feed them")]

use core::arch::x86_64::{
    __m128i, __m512i, _mm_aesimc_si128, _mm_aeskeygenassist_si128, _mm_loadu_si128, _mm_shuffle_epi32, _mm_slli_si128,
    _mm_storeu_si128, _mm_xor_si128, _mm512_add_epi64, _mm512_aesdec_epi128, _mm512_aesdeclast_epi128,
    _mm512_aesenc_epi128, _mm512_aesenclast_epi128, _mm512_broadcast_i32x4, _mm512_bslli_epi128, _mm512_bsrli_epi128,
    _mm512_clmulepi64_epi128, _mm512_loadu_si512, _mm512_set_epi64, _mm512_set1_epi64, _mm512_setzero_si512,
    _mm512_sllv_epi64, _mm512_srlv_epi64, _mm512_storeu_si512, _mm512_sub_epi64, _mm512_ternarylogic_epi64,
    _mm512_xor_si512,
};
use std::sync::LazyLock;

use crate::crypto::locked::Locked;
use crate::crypto::secret::Secret;
use crate::crypto::suite::Suite;
use crate::crypto::xex::{Block, Direction, Io, Tweaks};

/// Registers in flight.
const LANES: usize = 8;
/// Bytes of one step.
const STEP: usize = LANES * 64;
/// Data units whose tweaks are encrypted together.
const TOGETHER: usize = 8;

/// Whether this CPU, and the system it runs under, can do it.
pub(super) fn available() -> bool {
    static AVAILABLE: LazyLock<bool> = LazyLock::new(|| {
        is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("vpclmulqdq")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
    });
    *AVAILABLE
}

/// One XTS key.
pub(super) enum Vaes {
    /// 14 rounds.
    Aes256(Locked<Keys<15>>),
    /// 10 rounds.
    Aes128(Locked<Keys<11>>),
}

/// Round keys, each four times: what a register of four blocks is combined with.
type Wide<const N: usize> = [[Block; 4]; N];

/// The schedules of one XTS key: Key_1 in both directions, Key_2 encrypting.
pub(super) struct Keys<const N: usize> {
    encrypt: Wide<N>,
    decrypt: Wide<N>,
    tweak: Wide<N>,
}

impl Vaes {
    /// Expands `key`, whose length fits `suite`; none where the CPU cannot do it.
    pub(super) fn new(suite: Suite, key: &Secret) -> Option<Vaes> {
        if !available() {
            return None;
        }
        let (key_1, key_2) = key.expose().split_at(key.len() / 2);
        // SAFETY: the CPU has AES-NI: `available` asked.
        unsafe {
            Some(match suite {
                Suite::Aes128Xts => Vaes::Aes128(Locked::new(keys(&expand_128(key_1)?, &expand_128(key_2)?))),
                Suite::Aes256Xts => Vaes::Aes256(Locked::new(keys(&expand_256(key_1)?, &expand_256(key_2)?))),
                Suite::None => return None,
            })
        }
    }

    /// Encrypts or decrypts whole data units of `unit` bytes.
    pub(super) fn crypt(&self, way: Direction, tweaks: Tweaks, unit: usize, io: Io<'_>) {
        match self {
            Vaes::Aes256(keys) => keys.crypt(way, tweaks, unit, io),
            Vaes::Aes128(keys) => keys.crypt(way, tweaks, unit, io),
        }
    }
}

impl<const N: usize> Keys<N> {
    fn crypt(&self, way: Direction, tweaks: Tweaks, unit: usize, mut io: Io<'_>) {
        let (from, to, len) = io.places();
        assert!(unit >= 16 && unit.is_multiple_of(16) && len.is_multiple_of(unit));
        // SAFETY: a `Vaes` exists only where `available` is true. The ranges are those of the slices of `io`, which stay
        // borrowed; they are the same slice or, being `&` and `&mut`, disjoint. `unit` is whole blocks and divides `len`.
        unsafe {
            match way {
                Direction::Encrypt => run::<N, true>(&self.encrypt, &self.tweak, tweaks, unit, from, to, len),
                Direction::Decrypt => run::<N, false>(&self.decrypt, &self.tweak, tweaks, unit, from, to, len),
            }
        }
    }
}

/// All data units, [`TOGETHER`] at a time.
///
/// # Safety
/// The CPU has VAES, VPCLMULQDQ, AVX-512F and BW; `from` is readable and `to` writable for `len` bytes and they are equal
/// or disjoint; `unit` is a positive multiple of 16 that divides `len`.
#[target_feature(enable = "aes,avx512f,avx512bw,vaes,vpclmulqdq")]
unsafe fn run<const N: usize, const ENCRYPT: bool>(
    data: &Wide<N>,
    tweak: &Wide<N>,
    mut tweaks: Tweaks,
    unit: usize,
    from: *const u8,
    to: *mut u8,
    len: usize,
) {
    let keys = load(data);
    let mut at = 0;
    while at < len {
        let mut starts = [Block::default(); TOGETHER];
        let count = ((len - at) / unit).min(TOGETHER);
        starts[..count].fill_with(|| tweaks.next());
        encrypt_tweaks(&load(tweak), &mut starts);
        for start in &starts[..count] {
            // SAFETY: `at + unit <= len`, by `count`; the rest is the caller's promise.
            unsafe { one_unit::<N, ENCRYPT>(&keys, start, from.add(at), to.add(at), unit) };
            at += unit;
        }
    }
}

#[target_feature(enable = "avx512f,vaes")]
fn encrypt_tweaks<const N: usize>(keys: &[__m512i; N], starts: &mut [Block; TOGETHER]) {
    let at: *mut u8 = starts.as_mut_ptr().cast();
    // SAFETY: eight blocks are two registers' worth of bytes.
    let mut pair = unsafe { [_mm512_loadu_si512(at.cast()), _mm512_loadu_si512(at.add(64).cast())] };
    for half in &mut pair {
        *half = _mm512_xor_si512(*half, keys[0]);
        for key in &keys[1..N - 1] {
            *half = _mm512_aesenc_epi128(*half, *key);
        }
        *half = _mm512_aesenclast_epi128(*half, keys[N - 1]);
    }
    // SAFETY: as above.
    unsafe {
        _mm512_storeu_si512(at.cast(), pair[0]);
        _mm512_storeu_si512(at.add(64).cast(), pair[1]);
    }
}

/// One data unit under the encrypted tweak `start`.
///
/// # Safety
/// As [`run`], for `unit` bytes.
#[target_feature(enable = "aes,avx512f,avx512bw,vaes,vpclmulqdq")]
#[inline]
unsafe fn one_unit<const N: usize, const ENCRYPT: bool>(
    keys: &[__m512i; N],
    start: &Block,
    from: *const u8,
    to: *mut u8,
    unit: usize,
) {
    let mut masks = first_masks(start);
    let mut at = 0;
    while at + STEP <= unit {
        // SAFETY: `at + STEP <= unit`.
        unsafe { step::<N, ENCRYPT>(keys, &masks, from.add(at), to.add(at)) };
        for mask in &mut masks {
            *mask = times_x32(*mask);
        }
        at += STEP;
    }
    if at < unit {
        // Less than a step is left: it goes through a step's worth of memory of its own.
        let mut rest = [0u8; STEP];
        let left = unit - at;
        // SAFETY: `left` bytes are readable at `from + at` and writable at `to + at`, and fewer than `rest` holds.
        unsafe {
            from.add(at).copy_to_nonoverlapping(rest.as_mut_ptr(), left);
            step::<N, ENCRYPT>(keys, &masks, rest.as_ptr(), rest.as_mut_ptr());
            rest.as_ptr().copy_to_nonoverlapping(to.add(at), left);
        }
    }
}

/// [`STEP`] bytes under their masks.
///
/// # Safety
/// `from` is readable and `to` writable for [`STEP`] bytes; they are equal or disjoint.
#[target_feature(enable = "avx512f,vaes")]
#[inline]
unsafe fn step<const N: usize, const ENCRYPT: bool>(
    keys: &[__m512i; N],
    masks: &[__m512i; LANES],
    from: *const u8,
    to: *mut u8,
) {
    const XOR_OF_THREE: i32 = 0x96;
    let mut blocks = [_mm512_setzero_si512(); LANES];
    for (lane, block) in blocks.iter_mut().enumerate() {
        // SAFETY: the lane lies within the step.
        let plain = unsafe { _mm512_loadu_si512(from.add(64 * lane).cast()) };
        *block = _mm512_ternarylogic_epi64::<XOR_OF_THREE>(plain, masks[lane], keys[0]);
    }
    for key in &keys[1..N - 1] {
        for block in &mut blocks {
            *block = if ENCRYPT { _mm512_aesenc_epi128(*block, *key) } else { _mm512_aesdec_epi128(*block, *key) };
        }
    }
    for (lane, block) in blocks.iter().enumerate() {
        let last = _mm512_xor_si512(keys[N - 1], masks[lane]);
        let done =
            if ENCRYPT { _mm512_aesenclast_epi128(*block, last) } else { _mm512_aesdeclast_epi128(*block, last) };
        // SAFETY: as for the load.
        unsafe { _mm512_storeu_si512(to.add(64 * lane).cast(), done) };
    }
}

/// x^7 + x^2 + x + 1: what x^128 is in this field.
#[target_feature(enable = "avx512f")]
fn polynomial() -> __m512i {
    _mm512_set1_epi64(0x87)
}

/// The masks of the first step: block *j* has `start · x^j`.
#[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
#[inline]
fn first_masks(start: &Block) -> [__m512i; LANES] {
    // SAFETY: a block is 16 readable bytes.
    let start = _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(start.as_ptr().cast()) });
    let mut masks = [_mm512_setzero_si512(); LANES];
    for (lane, mask) in masks.iter_mut().enumerate() {
        let first = _mm512_set1_epi64(4 * lane as i64);
        *mask = times_x_to(start, _mm512_add_epi64(_mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0), first));
    }
    masks
}

/// Each 128-bit lane times x^n, its own n at most 56, given in both of its halves.
#[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
#[inline]
fn times_x_to(value: __m512i, n: __m512i) -> __m512i {
    let over = _mm512_srlv_epi64(value, _mm512_sub_epi64(_mm512_set1_epi64(64), n));
    // What leaves the low half enters the high one; what leaves the high half comes back times the polynomial.
    let carried = _mm512_bslli_epi128::<8>(over);
    let reduced = _mm512_clmulepi64_epi128::<0x01>(over, polynomial());
    _mm512_xor_si512(_mm512_xor_si512(_mm512_sllv_epi64(value, n), carried), reduced)
}

/// Each lane times x^32.
#[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
#[inline]
fn times_x32(value: __m512i) -> __m512i {
    let reduced = _mm512_clmulepi64_epi128::<0x00>(_mm512_bsrli_epi128::<12>(value), polynomial());
    _mm512_xor_si512(_mm512_bslli_epi128::<4>(value), reduced)
}

#[target_feature(enable = "avx512f")]
fn load<const N: usize>(keys: &Wide<N>) -> [__m512i; N] {
    // SAFETY: four blocks are a register's worth of readable bytes.
    std::array::from_fn(|round| unsafe { _mm512_loadu_si512(keys[round].as_ptr().cast()) })
}

/// Both directions of Key_1 and the encrypting one of Key_2, every round key four times.
#[target_feature(enable = "aes")]
fn keys<const N: usize>(key_1: &[Block; N], key_2: &[Block; N]) -> Keys<N> {
    // FIPS 197 §5.3.5, the equivalent inverse cipher: the round keys backwards, the inner ones through InvMixColumns.
    let inverse = std::array::from_fn(|round| {
        let key = key_1[N - 1 - round];
        if round == 0 || round == N - 1 { [key; 4] } else { [inv_mix_columns(key); 4] }
    });
    Keys { encrypt: key_1.map(|key| [key; 4]), decrypt: inverse, tweak: key_2.map(|key| [key; 4]) }
}

#[target_feature(enable = "aes")]
fn inv_mix_columns(key: Block) -> Block {
    store(_mm_aesimc_si128(load_block(&key)))
}

#[target_feature(enable = "sse2")]
fn load_block(block: &Block) -> __m128i {
    // SAFETY: a block is 16 readable bytes.
    unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
}

#[target_feature(enable = "sse2")]
fn store(value: __m128i) -> Block {
    let mut block = Block::default();
    // SAFETY: a block is 16 writable bytes.
    unsafe { _mm_storeu_si128(block.as_mut_ptr().cast(), value) };
    block
}

/// The next round key: each word is the sum of the words before it and `word`, in all four places.
#[target_feature(enable = "sse2")]
fn chain(mut key: __m128i, word: __m128i) -> __m128i {
    for _ in 0..3 {
        key = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
    }
    _mm_xor_si128(key, word)
}

/// FIPS 197 §5.2 for 128-bit keys.
#[target_feature(enable = "aes")]
fn expand_128(key: &[u8]) -> Option<[Block; 11]> {
    let mut keys = [Block::default(); 11];
    let mut last = load_block(key.try_into().ok()?);
    keys[0] = store(last);
    macro_rules! rounds {
        ($($round:literal: $constant:literal),*) => {$(
            last = chain(last, _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<$constant>(last)));
            keys[$round] = store(last);
        )*};
    }
    rounds!(1: 0x01, 2: 0x02, 3: 0x04, 4: 0x08, 5: 0x10, 6: 0x20, 7: 0x40, 8: 0x80, 9: 0x1b, 10: 0x36);
    Some(keys)
}

/// FIPS 197 §5.2 for 256-bit keys: even round keys take the round constant, odd ones only the S-box.
#[target_feature(enable = "aes")]
fn expand_256(key: &[u8]) -> Option<[Block; 15]> {
    let mut keys = [Block::default(); 15];
    let (first, second) = key.split_at_checked(16)?;
    let (mut even, mut odd) = (load_block(first.try_into().ok()?), load_block(second.try_into().ok()?));
    (keys[0], keys[1]) = (store(even), store(odd));
    macro_rules! rounds {
        ($($round:literal: $constant:literal),*) => {$(
            even = chain(even, _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<$constant>(odd)));
            keys[$round] = store(even);
            odd = chain(odd, _mm_shuffle_epi32::<0xaa>(_mm_aeskeygenassist_si128::<0>(even)));
            keys[$round + 1] = store(odd);
        )*};
    }
    rounds!(2: 0x01, 4: 0x02, 6: 0x04, 8: 0x08, 10: 0x10, 12: 0x20);
    keys[14] = store(chain(even, _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<0x40>(odd))));
    Some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 197 Appendix A.1 and A.3: the last round keys.
    #[test]
    fn key_expansion_by_the_book() {
        if !available() {
            return;
        }
        let hex = |text: &str| crate::crypto::vectors::hex(text).unwrap();
        // SAFETY: the CPU has AES-NI: `available` asked.
        let (short, long) = unsafe {
            (
                expand_128(&hex("2b7e151628aed2a6abf7158809cf4f3c")).unwrap(),
                expand_256(&hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")).unwrap(),
            )
        };
        assert_eq!(short[10][..], hex("d014f9a8c9ee2589e13f0cc8b6630ca6")[..]);
        assert_eq!(long[13][..], hex("cafaaae3e4d59b349adf6acebd10190d")[..]);
        assert_eq!(long[14][..], hex("fe4890d1e6188d0b046df344706c631e")[..]);
    }
}
