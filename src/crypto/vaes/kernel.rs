//! XTS over data units, for registers of any width.
//!
//! Masks of a data unit are made side by side: block *j* of the first step has `E_2(tweak) · x^j`, and every step
//! multiplies all of them by x to the number of blocks in flight. The tweaks of several data units are encrypted
//! together, so that units of 512 bytes keep the AES units as busy as those of 4096. (IEEE 1619 §5; the CAVP vectors and
//! both other engines hold it.)
//!
//! Invariant: everything here is inlined into the one function per width that may use its instructions, in `register`.

use crate::crypto::vaes::expand::Schedule;
use crate::crypto::vaes::register::{LANES, Register};
use crate::crypto::xex::{Block, Tweaks};

/// Most data units whose tweaks are encrypted together.
const TOGETHER_MAX: usize = 16;

/// Bytes of a step of the widest registers.
const STEP_MAX: usize = LANES * 64;

/// Whole data units of `unit` bytes, from one place to another or in place.
pub(super) struct Units {
    pub from: *const u8,
    pub to: *mut u8,
    pub len: usize,
    pub unit: usize,
}

/// All data units, [`Register::TOGETHER`] at a time.
///
/// # Safety
/// The CPU has the instructions of `R`; `from` is readable and `to` writable for `len` bytes and they are equal or
/// disjoint; `unit` is a positive multiple of 16 that divides `len`.
#[inline(always)]
pub(super) unsafe fn run<R: Register, const N: usize, const ENCRYPT: bool>(
    data: &Schedule<N>,
    tweak: &Schedule<N>,
    mut tweaks: Tweaks,
    units: &Units,
) {
    let Units { from, to, len, unit } = *units;
    // SAFETY: the CPU has the instructions.
    let keys: [R; N] = unsafe { load(data) };
    let mut at = 0;
    while at < len {
        let mut starts = [Block::default(); TOGETHER_MAX];
        let count = ((len - at) / unit).min(R::TOGETHER);
        for start in &mut starts[..count] {
            *start = tweaks.next();
        }
        // SAFETY: the CPU has the instructions.
        encrypt_tweaks::<R, N>(&unsafe { load(tweak) }, &mut starts);
        for start in &starts[..count] {
            // SAFETY: `at + unit <= len`, by `count`; the rest is the caller's promise.
            unsafe { one_unit::<R, N, ENCRYPT>(&keys, start, from.add(at), to.add(at), unit) };
            at += unit;
        }
    }
}

/// A schedule in registers.
///
/// # Safety
/// The CPU has the instructions of `R`.
#[inline(always)]
unsafe fn load<R: Register, const N: usize>(schedule: &Schedule<N>) -> [R; N] {
    // SAFETY: the CPU has the instructions.
    let mut keys = [unsafe { R::repeat(&schedule[0]) }; N];
    for (key, block) in keys.iter_mut().zip(schedule) {
        // SAFETY: as above.
        *key = unsafe { R::repeat(block) };
    }
    keys
}

/// Encrypts the first [`Register::TOGETHER`] of `starts`.
#[inline(always)]
fn encrypt_tweaks<R: Register, const N: usize>(keys: &[R; N], starts: &mut [Block; TOGETHER_MAX]) {
    let used = const { R::TOGETHER / R::BLOCKS };
    const { assert!(R::TOGETHER <= TOGETHER_MAX && R::TOGETHER / R::BLOCKS <= LANES) };
    let at: *mut u8 = starts.as_mut_ptr().cast();
    let mut blocks = [keys[0]; LANES];
    for (lane, block) in blocks[..used].iter_mut().enumerate() {
        // SAFETY: the used registers together are no longer than `starts`.
        *block = unsafe { R::load(at.add(lane * size_of::<R>())) }.xor(keys[0]);
    }
    inner_rounds::<R, N, true>(keys, &mut blocks, used);
    for (lane, block) in blocks[..used].iter().enumerate() {
        // SAFETY: as for the load.
        unsafe { block.last_round::<true>(keys[N - 1]).store(at.add(lane * size_of::<R>())) };
    }
}

/// All rounds but the last, over the first `used` registers.
#[inline(always)]
fn inner_rounds<R: Register, const N: usize, const ENCRYPT: bool>(keys: &[R; N], blocks: &mut [R; LANES], used: usize) {
    for key in &keys[1..N - 1] {
        for block in &mut blocks[..used] {
            *block = block.round::<ENCRYPT>(*key);
        }
        R::abreast(blocks);
    }
}

/// One data unit under the encrypted tweak `start`.
///
/// # Safety
/// As [`run`], for `unit` bytes.
#[inline(always)]
unsafe fn one_unit<R: Register, const N: usize, const ENCRYPT: bool>(
    keys: &[R; N],
    start: &Block,
    from: *const u8,
    to: *mut u8,
    unit: usize,
) {
    // SAFETY: the CPU has the instructions.
    let mut masks = unsafe { R::first_masks(start) };
    let bytes = LANES * size_of::<R>();
    let mut at = 0;
    while at + bytes <= unit {
        // SAFETY: `at + bytes <= unit`.
        unsafe { step::<R, N, ENCRYPT>(keys, &masks, from.add(at), to.add(at)) };
        at += bytes;
        if at == unit {
            return;
        }
        R::advance(&mut masks);
    }
    // Less than a step is left: it goes through a step's worth of memory of its own.
    let mut rest = [0u8; STEP_MAX];
    let left = unit - at;
    // SAFETY: `left` bytes are readable at `from + at` and writable at `to + at`, and fewer than `rest` holds.
    unsafe {
        from.add(at).copy_to_nonoverlapping(rest.as_mut_ptr(), left);
        step::<R, N, ENCRYPT>(keys, &masks, rest.as_ptr(), rest.as_mut_ptr());
        rest.as_ptr().copy_to_nonoverlapping(to.add(at), left);
    }
}

/// [`LANES`] registers of data under their masks.
///
/// # Safety
/// `from` is readable and `to` writable for [`LANES`] registers; they are equal or disjoint.
#[inline(always)]
unsafe fn step<R: Register, const N: usize, const ENCRYPT: bool>(
    keys: &[R; N],
    masks: &[R; LANES],
    from: *const u8,
    to: *mut u8,
) {
    let mut blocks = *masks;
    for (lane, block) in blocks.iter_mut().enumerate() {
        // SAFETY: the lane lies within the step.
        *block = unsafe { R::load(from.add(lane * size_of::<R>())) }.xor_both(*block, keys[0]);
    }
    inner_rounds::<R, N, ENCRYPT>(keys, &mut blocks, LANES);
    for (lane, block) in blocks.iter().enumerate() {
        let last = keys[N - 1].xor(masks[lane]);
        // SAFETY: as for the load.
        unsafe { block.last_round::<ENCRYPT>(last).store(to.add(lane * size_of::<R>())) };
    }
}
