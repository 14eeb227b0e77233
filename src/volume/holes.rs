//! Decryption, encryption and re-encryption that respect holes.
//!
//! A 512-byte slice of ciphertext that is all zero *is* a hole and reads as zeros in every generation, whatever the data
//! unit; it is tested before decryption. Re-encryption keeps holes as they are, so rotation preserves thinness.
//! Invariant: for every slice, `decrypt` gives zeros if the ciphertext slice is zero and the XTS plaintext otherwise.

use crate::crypto::Xts;
use crate::units::HOLE_SLICE;

/// Bytes worked on at a time, so that fingerprint, decryption and encryption find them in the first-level cache.
const PASS: usize = 16 << 10;

/// Whether a slice is all zero. Random ciphertext is told apart by its first word.
pub fn is_zero(slice: &[u8]) -> bool {
    let (words, rest) = slice.as_chunks::<8>();
    words.iter().all(|word| u64::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

fn has_hole(data: &[u8]) -> bool {
    data.chunks(HOLE_SLICE).any(is_zero)
}

/// Decrypts whole data units in place; `offset` is their place in the volume, in bytes. Says whether there was a hole.
pub fn decrypt(xts: &Xts, offset: u64, data: &mut [u8]) -> bool {
    let mut at = offset;
    let mut holes = false;
    for pass in data.chunks_mut(PASS) {
        if has_hole(pass) {
            holes = true;
            decrypt_around_holes(xts, at, pass);
        } else {
            xts.decrypt(at, pass);
        }
        at += pass.len() as u64;
    }
    holes
}

fn decrypt_around_holes(xts: &Xts, offset: u64, data: &mut [u8]) {
    let unit = xts.data_unit() as usize;
    let mut at = offset;
    for unit in data.chunks_mut(unit) {
        let holes = hole_map(unit);
        if holes != all_holes(unit.len()) {
            xts.decrypt(at, unit);
            zero_slices(unit, holes);
        }
        at += unit.len() as u64;
    }
}

/// Decrypts under `old` and encrypts under `new`, in place; zero slices stay zero. `plaintext` sees each pass in between.
pub fn reencrypt(old: &Xts, new: &Xts, offset: u64, data: &mut [u8], mut plaintext: impl FnMut(&[u8])) {
    let mut at = offset;
    for pass in data.chunks_mut(PASS) {
        if has_hole(pass) {
            reencrypt_around_holes(old, new, at, pass, &mut plaintext);
        } else {
            old.decrypt(at, pass);
            plaintext(pass);
            new.encrypt(at, pass);
        }
        at += pass.len() as u64;
    }
}

/// Works in blocks of the larger data unit of the two, so that both see whole units; `plaintext` sees the whole pass at
/// once, as it does where there are no holes.
fn reencrypt_around_holes(old: &Xts, new: &Xts, offset: u64, data: &mut [u8], plaintext: &mut impl FnMut(&[u8])) {
    let block = old.data_unit().max(new.data_unit()) as usize;
    let mut maps = [0u8; PASS / HOLE_SLICE];
    let offsets = (offset..).step_by(block);
    for ((unit, at), map) in data.chunks_mut(block).zip(offsets.clone()).zip(&mut maps) {
        *map = hole_map(unit);
        if *map != all_holes(unit.len()) {
            old.decrypt(at, unit);
            zero_slices(unit, *map);
        }
    }
    plaintext(data);
    for ((unit, at), map) in data.chunks_mut(block).zip(offsets).zip(maps) {
        if map != all_holes(unit.len()) {
            new.encrypt(at, unit);
            zero_slices(unit, map);
        }
    }
}

/// One bit per slice of a unit of at most 4096 bytes.
fn hole_map(unit: &[u8]) -> u8 {
    unit.chunks(HOLE_SLICE).enumerate().fold(0, |map, (index, slice)| map | u8::from(is_zero(slice)) << index)
}

fn all_holes(len: usize) -> u8 {
    let slices = len.div_ceil(HOLE_SLICE);
    if slices >= 8 { u8::MAX } else { (1u8 << slices) - 1 }
}

fn zero_slices(unit: &mut [u8], holes: u8) {
    for (index, slice) in unit.chunks_mut(HOLE_SLICE).enumerate() {
        if holes >> index & 1 == 1 {
            slice.fill(0);
        }
    }
}

#[cfg(test)]
#[path = "tests/holes.rs"]
mod tests;
