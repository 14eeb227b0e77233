//! Holes: zero slices read as zeros in every generation and stay zero through re-encryption.

use proptest::prelude::*;

use super::*;
use crate::crypto::{EngineKind, Suite, TweakRule, new_key};

fn cipher(unit: u32) -> Xts {
    let key = new_key(Suite::Aes256Xts).unwrap();
    Xts::new(EngineKind::AwsLc, Suite::Aes256Xts, &key, unit, TweakRule::own(unit)).unwrap()
}

/// Plaintext of 32 KiB and the ciphertext with the slices of `holes` zeroed in both.
fn with_holes(xts: &Xts, holes: u64) -> (Vec<u8>, Vec<u8>) {
    let mut plain: Vec<u8> = (0..32 << 10).map(|byte: u32| (byte * 7 + 1) as u8).collect();
    let mut cipher = plain.clone();
    xts.encrypt(8192, &mut cipher);
    for slice in (0..64).filter(|slice| holes >> slice & 1 == 1) {
        let range = slice * HOLE_SLICE..(slice + 1) * HOLE_SLICE;
        plain[range.clone()].fill(0);
        cipher[range].fill(0);
    }
    (plain, cipher)
}

proptest! {
    #[test]
    fn decrypt_gives_zeros_for_holes_and_plaintext_elsewhere(holes: u64, sparse in any::<bool>(), big in any::<bool>()) {
        let holes = if sparse { holes & holes.rotate_left(7) & holes.rotate_left(31) } else { holes };
        let xts = cipher(if big { 4096 } else { 512 });
        let (plain, mut data) = with_holes(&xts, holes);
        decrypt(&xts, 8192, &mut data);
        prop_assert!(data == plain);
    }

    #[test]
    fn reencryption_keeps_holes_and_content(holes: u64, old_big in any::<bool>(), new_big in any::<bool>()) {
        let (old, new) = (cipher(if old_big { 4096 } else { 512 }), cipher(if new_big { 4096 } else { 512 }));
        let (plain, mut data) = with_holes(&old, holes);
        let before: Vec<bool> = data.chunks(HOLE_SLICE).map(is_zero).collect();
        let mut seen = Vec::new();
        reencrypt(&old, &new, 8192, &mut data, |bytes| seen.extend_from_slice(bytes));
        let after: Vec<bool> = data.chunks(HOLE_SLICE).map(is_zero).collect();
        prop_assert_eq!(before, after);
        prop_assert!(seen == plain);
        decrypt(&new, 8192, &mut data);
        prop_assert!(data == plain);
    }
}

#[test]
fn zero_is_told_from_nearly_zero() {
    assert!(is_zero(&[0; 512]));
    for at in [0, 7, 8, 511] {
        let mut slice = [0; 512];
        slice[at] = 1;
        assert!(!is_zero(&slice), "{at}");
    }
}
