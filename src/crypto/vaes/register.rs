//! Vector registers of AES blocks, of the two widths that CPUs have.
//!
//! Invariant: a value of [`Zmm`] or [`Ymm`] exists only where the CPU has its instructions: what makes one from
//! something else is unsafe and asks for that. So the arithmetic on values is safe.

use core::arch::asm;
use core::arch::x86_64::{
    __m256i, __m512i, _mm_loadu_si128, _mm256_add_epi64, _mm256_aesdec_epi128, _mm256_aesdeclast_epi128,
    _mm256_aesenc_epi128, _mm256_aesenclast_epi128, _mm256_broadcastsi128_si256, _mm256_bslli_epi128,
    _mm256_bsrli_epi128, _mm256_clmulepi64_epi128, _mm256_loadu_si256, _mm256_set_epi64x, _mm256_set1_epi64x,
    _mm256_sllv_epi64, _mm256_srlv_epi64, _mm256_storeu_si256, _mm256_sub_epi64, _mm256_xor_si256, _mm512_add_epi64,
    _mm512_aesdec_epi128, _mm512_aesdeclast_epi128, _mm512_aesenc_epi128, _mm512_aesenclast_epi128,
    _mm512_broadcast_i32x4, _mm512_bslli_epi128, _mm512_bsrli_epi128, _mm512_clmulepi64_epi128, _mm512_loadu_si512,
    _mm512_set_epi64, _mm512_set1_epi64, _mm512_sllv_epi64, _mm512_srlv_epi64, _mm512_storeu_si512, _mm512_sub_epi64,
    _mm512_ternarylogic_epi64, _mm512_xor_si512,
};

use crate::crypto::xex::Block;

/// Registers in flight.
pub(super) const LANES: usize = 8;

/// A register of AES blocks.
pub(super) trait Register: Copy {
    /// Blocks it holds.
    const BLOCKS: usize;
    /// Data units whose tweaks are encrypted together: as few as keep the AES units busy.
    const TOGETHER: usize;

    /// # Safety
    /// The CPU has the instructions; a register's worth of bytes is readable.
    unsafe fn load(from: *const u8) -> Self;

    /// `block` in every place.
    ///
    /// # Safety
    /// The CPU has the instructions.
    unsafe fn repeat(block: &Block) -> Self;

    /// # Safety
    /// A register's worth of bytes is writable.
    unsafe fn store(self, to: *mut u8);

    fn xor(self, other: Self) -> Self;

    fn xor_both(self, one: Self, other: Self) -> Self;

    fn round<const ENCRYPT: bool>(self, key: Self) -> Self;

    fn last_round<const ENCRYPT: bool>(self, key: Self) -> Self;

    /// Holds the compiler to one round of all registers before the next round of any.
    fn abreast(registers: &mut [Self; LANES]);

    /// The masks of the first step: block *j* has `start · x^j`.
    ///
    /// # Safety
    /// The CPU has the instructions.
    unsafe fn first_masks(start: &Block) -> [Self; LANES];

    /// The masks of the next step.
    fn advance(masks: &mut [Self; LANES]);
}

/// What the methods of a register may do: the CPU has the instructions.
macro_rules! instructions {
    ($($body:tt)*) => {{
        // SAFETY: the value at hand, or the caller's promise where there is none, says that the CPU has the
        // instructions; the caller of a load or a store vouches for the memory.
        unsafe { $($body)* }
    }};
}

/// Four blocks: VAES, VPCLMULQDQ and AVX-512.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Zmm(__m512i);

impl Register for Zmm {
    const BLOCKS: usize = 4;
    const TOGETHER: usize = 8;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Zmm {
        instructions!(Zmm(_mm512_loadu_si512(from.cast())))
    }

    #[inline(always)]
    unsafe fn repeat(block: &Block) -> Zmm {
        instructions!(Zmm(_mm512_broadcast_i32x4(_mm_loadu_si128(block.as_ptr().cast()))))
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        instructions!(_mm512_storeu_si512(to.cast(), self.0));
    }

    #[inline(always)]
    fn xor(self, other: Zmm) -> Zmm {
        instructions!(Zmm(_mm512_xor_si512(self.0, other.0)))
    }

    #[inline(always)]
    fn xor_both(self, one: Zmm, other: Zmm) -> Zmm {
        const XOR_OF_THREE: i32 = 0x96;
        instructions!(Zmm(_mm512_ternarylogic_epi64::<XOR_OF_THREE>(self.0, one.0, other.0)))
    }

    #[inline(always)]
    fn round<const ENCRYPT: bool>(self, key: Zmm) -> Zmm {
        instructions!(Zmm(if ENCRYPT {
            _mm512_aesenc_epi128(self.0, key.0)
        } else {
            _mm512_aesdec_epi128(self.0, key.0)
        }))
    }

    #[inline(always)]
    fn last_round<const ENCRYPT: bool>(self, key: Zmm) -> Zmm {
        instructions!(Zmm(if ENCRYPT {
            _mm512_aesenclast_epi128(self.0, key.0)
        } else {
            _mm512_aesdeclast_epi128(self.0, key.0)
        }))
    }

    /// There are registers enough for all keys: nothing tempts the compiler.
    #[inline(always)]
    fn abreast(_: &mut [Zmm; LANES]) {}

    #[inline(always)]
    unsafe fn first_masks(start: &Block) -> [Zmm; LANES] {
        // SAFETY: the caller's promise.
        let start = unsafe { Zmm::repeat(start) };
        let mut masks = [start; LANES];
        for (lane, mask) in masks.iter_mut().enumerate() {
            *mask = instructions!({
                // Each 128-bit lane times x^n, its own n at most 56, given in both of its halves.
                let first = _mm512_set1_epi64(4 * lane as i64);
                let n = _mm512_add_epi64(_mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0), first);
                let over = _mm512_srlv_epi64(start.0, _mm512_sub_epi64(_mm512_set1_epi64(64), n));
                // What leaves the low half enters the high one; what leaves the high half comes back times the polynomial.
                let carried = _mm512_bslli_epi128::<8>(over);
                let reduced = _mm512_clmulepi64_epi128::<0x01>(over, _mm512_set1_epi64(0x87));
                Zmm(_mm512_xor_si512(_mm512_xor_si512(_mm512_sllv_epi64(start.0, n), carried), reduced))
            });
        }
        masks
    }

    #[inline(always)]
    fn advance(masks: &mut [Zmm; LANES]) {
        for mask in masks {
            *mask = instructions!({
                // times x^32
                let reduced =
                    _mm512_clmulepi64_epi128::<0x00>(_mm512_bsrli_epi128::<12>(mask.0), _mm512_set1_epi64(0x87));
                Zmm(_mm512_xor_si512(_mm512_bslli_epi128::<4>(mask.0), reduced))
            });
        }
    }
}

/// Two blocks: VAES, VPCLMULQDQ and AVX2.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Ymm(__m256i);

impl Register for Ymm {
    const BLOCKS: usize = 2;
    const TOGETHER: usize = 16;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Ymm {
        instructions!(Ymm(_mm256_loadu_si256(from.cast())))
    }

    #[inline(always)]
    unsafe fn repeat(block: &Block) -> Ymm {
        instructions!(Ymm(_mm256_broadcastsi128_si256(_mm_loadu_si128(block.as_ptr().cast()))))
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        instructions!(_mm256_storeu_si256(to.cast(), self.0));
    }

    #[inline(always)]
    fn xor(self, other: Ymm) -> Ymm {
        instructions!(Ymm(_mm256_xor_si256(self.0, other.0)))
    }

    #[inline(always)]
    fn xor_both(self, one: Ymm, other: Ymm) -> Ymm {
        instructions!(Ymm(_mm256_xor_si256(self.0, _mm256_xor_si256(one.0, other.0))))
    }

    #[inline(always)]
    fn round<const ENCRYPT: bool>(self, key: Ymm) -> Ymm {
        instructions!(Ymm(if ENCRYPT {
            _mm256_aesenc_epi128(self.0, key.0)
        } else {
            _mm256_aesdec_epi128(self.0, key.0)
        }))
    }

    #[inline(always)]
    fn last_round<const ENCRYPT: bool>(self, key: Ymm) -> Ymm {
        instructions!(Ymm(if ENCRYPT {
            _mm256_aesenclast_epi128(self.0, key.0)
        } else {
            _mm256_aesdeclast_epi128(self.0, key.0)
        }))
    }

    #[inline(always)]
    fn abreast(registers: &mut [Ymm; LANES]) {
        instructions!(abreast(registers));
    }

    #[inline(always)]
    unsafe fn first_masks(start: &Block) -> [Ymm; LANES] {
        // SAFETY: the caller's promise.
        let start = unsafe { Ymm::repeat(start) };
        let mut masks = [start; LANES];
        for (lane, mask) in masks.iter_mut().enumerate() {
            *mask = instructions!({
                // Each 128-bit lane times x^n, its own n at most 56, given in both of its halves.
                let first = _mm256_set1_epi64x(2 * lane as i64);
                let n = _mm256_add_epi64(_mm256_set_epi64x(1, 1, 0, 0), first);
                let over = _mm256_srlv_epi64(start.0, _mm256_sub_epi64(_mm256_set1_epi64x(64), n));
                // What leaves the low half enters the high one; what leaves the high half comes back times the polynomial.
                let carried = _mm256_bslli_epi128::<8>(over);
                let reduced = _mm256_clmulepi64_epi128::<0x01>(over, _mm256_set1_epi64x(0x87));
                Ymm(_mm256_xor_si256(_mm256_xor_si256(_mm256_sllv_epi64(start.0, n), carried), reduced))
            });
        }
        masks
    }

    #[inline(always)]
    fn advance(masks: &mut [Ymm; LANES]) {
        for mask in masks {
            *mask = instructions!({
                // times x^16
                let reduced =
                    _mm256_clmulepi64_epi128::<0x00>(_mm256_bsrli_epi128::<14>(mask.0), _mm256_set1_epi64x(0x87));
                Ymm(_mm256_xor_si256(_mm256_bslli_epi128::<2>(mask.0), reduced))
            });
        }
    }
}

/// No instruction, but one that the compiler believes to change all registers at once. Without it, sixteen registers
/// being few, it takes each register alone through all rounds, and every round waits for the one before.
#[target_feature(enable = "avx2")]
#[inline]
fn abreast(registers: &mut [Ymm; LANES]) {
    let [a, b, c, d, e, f, g, h] = registers;
    // SAFETY: no instruction does no harm.
    unsafe {
        asm!("/* {} {} {} {} {} {} {} {} */", inout(ymm_reg) a.0, inout(ymm_reg) b.0, inout(ymm_reg) c.0, inout(ymm_reg) d.0,
            inout(ymm_reg) e.0, inout(ymm_reg) f.0, inout(ymm_reg) g.0, inout(ymm_reg) h.0,
            options(pure, nomem, nostack, preserves_flags));
    }
}
