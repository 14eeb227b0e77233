//! XEX over any block cipher that takes many blocks at once: the tweak arithmetic of IEEE 1619 in bulk.
//!
//! XTS over whole blocks is XEX: block `j` of a data unit is `E(P ^ T_j) ^ T_j` with `T_j = E_2(tweak) · x^j` in
//! GF(2^128). Here the masks `T_j` of a run of data units are computed first, eight chains side by side, then one call
//! of the cipher does all blocks of the run.
//!
//! Invariants: data units are whole blocks (there is no ciphertext stealing here); a run is at most [`RUN`] bytes, so
//! the masks live on the stack.

/// A cipher block.
pub(super) type Block = [u8; 16];

/// Bytes handled by one call of the block cipher.
const RUN: usize = 4096;
const RUN_BLOCKS: usize = RUN / 16;

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Encrypt,
    Decrypt,
}

/// How wide the registers of the vector code are.
#[derive(Clone, Copy)]
pub(super) enum Width {
    /// Four blocks to a register.
    Bits512,
    /// Two blocks to a register.
    Bits256,
}

/// Data to work on: in place, or from one buffer to another of the same length.
pub(super) enum Io<'a> {
    /// Read and written where it is.
    InPlace(&'a mut [u8]),
    /// Read from the first, written to the second.
    To(&'a [u8], &'a mut [u8]),
}

impl Io<'_> {
    /// Where to read, where to write, and how many bytes: one slice, or two of the same length that do not overlap.
    pub(super) fn places(&mut self) -> (*const u8, *mut u8, usize) {
        match self {
            Io::InPlace(place) => {
                let at = place.as_mut_ptr();
                (at.cast_const(), at, place.len())
            }
            Io::To(from, to) => {
                assert_eq!(from.len(), to.len());
                (from.as_ptr(), to.as_mut_ptr(), to.len())
            }
        }
    }
}

/// Where the data units of one call start counting, and by how much the tweak grows per unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tweaks {
    pub first: u128,
    pub step: u128,
}

impl Tweaks {
    /// The tweak of the current data unit; moves on to the next.
    #[inline]
    pub(super) fn next(&mut self) -> Block {
        let tweak = self.first;
        self.first = self.first.wrapping_add(self.step);
        tweak.to_le_bytes()
    }
}

/// The two ciphers of an XTS key: `data` in the direction of the call under Key_1, `tweak` always encrypting under Key_2.
pub(super) trait Ciphers {
    fn data(&mut self, blocks: &mut [u8]);
    fn tweak(&mut self, blocks: &mut [Block]);
}

/// Runs XEX in place over `data`, whole data units of `unit` bytes (a multiple of 16 that divides or equals [`RUN`], or
/// any multiple of 16 below it).
pub(super) fn crypt(ciphers: &mut impl Ciphers, mut tweaks: Tweaks, unit: usize, data: &mut [u8]) {
    debug_assert!(unit.is_multiple_of(16) && unit <= RUN && data.len().is_multiple_of(unit));
    let run = RUN - RUN % unit;
    let mut masks = [0u128; RUN_BLOCKS];
    let mut starts = [[0u8; 16]; RUN_BLOCKS];
    for piece in data.chunks_mut(run) {
        let starts = &mut starts[..piece.len() / unit];
        starts.fill_with(|| tweaks.next());
        ciphers.tweak(starts);
        let masks = &mut masks[..piece.len() / 16];
        for (masks, start) in masks.chunks_mut(unit / 16).zip(&*starts) {
            fill_masks(masks, u128::from_le_bytes(*start));
        }
        xor(piece, masks);
        ciphers.data(piece);
        xor(piece, masks);
    }
}

/// `value · x` in GF(2^128) modulo x^128 + x^7 + x^2 + x + 1, little endian.
#[inline]
fn times_x(value: u128) -> u128 {
    (value << 1) ^ ((value >> 127) * 0x87)
}

/// `value · x^8`: the eight bits that leave at the top come back multiplied by x^7 + x^2 + x + 1.
#[inline]
fn times_x8(value: u128) -> u128 {
    let top = (value >> 120) as u64;
    (value << 8) ^ u128::from(top ^ (top << 1) ^ (top << 2) ^ (top << 7))
}

/// Fills `masks` with `start · x^j`, in eight chains that do not wait for one another.
#[inline]
fn fill_masks(masks: &mut [u128], start: u128) {
    let mut chains = [start; 8];
    for j in 1..8 {
        chains[j] = times_x(chains[j - 1]);
    }
    let (eights, rest) = masks.as_chunks_mut::<8>();
    for eight in eights {
        *eight = chains;
        chains.iter_mut().for_each(|value| *value = times_x8(*value));
    }
    rest.copy_from_slice(&chains[..rest.len()]);
}

#[inline]
fn xor(data: &mut [u8], masks: &[u128]) {
    let (blocks, _) = data.as_chunks_mut::<16>();
    for (block, mask) in blocks.iter_mut().zip(masks) {
        *block = (u128::from_le_bytes(*block) ^ mask).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shift-and-reduce of IEEE 1619 §5.2, byte by byte.
    fn times_x_by_the_book(value: Block) -> Block {
        let mut out = [0; 16];
        let mut carry = 0;
        for (to, from) in out.iter_mut().zip(value) {
            *to = (from << 1) | carry;
            carry = from >> 7;
        }
        if carry == 1 {
            out[0] ^= 0x87;
        }
        out
    }

    #[test]
    fn masks_are_successive_doublings_by_the_book() {
        for start in [1, 0x87 << 120, u128::MAX, 0x0123_4567_89ab_cdef << 64 | 0xfedc] {
            for len in [1, 2, 7, 8, 9, 32, 256] {
                let mut masks = vec![0; len];
                fill_masks(&mut masks, start);
                let mut expected = start.to_le_bytes();
                for mask in masks {
                    assert_eq!(mask.to_le_bytes(), expected);
                    expected = times_x_by_the_book(expected);
                }
            }
        }
    }
}
