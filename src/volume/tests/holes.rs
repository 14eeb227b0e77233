//! Holes stay holes, and everything else is what XTS makes of it.

use super::*;
use crate::crypto::{EngineKind, Suite, TweakRule, new_key};

const LEN: usize = 3 * PASS + 8192;
const AT: u64 = 1 << 20;

fn cipher(suite: Suite, unit: u32, engine: EngineKind) -> Xts {
    Xts::new(engine, suite, &new_key(suite).unwrap(), unit, TweakRule { unit, base: 0 }).unwrap()
}

fn text() -> Vec<u8> {
    (0..LEN as u32).flat_map(|n| [(n % 251) as u8 + 1]).collect()
}

/// Ciphertext of `text` with holes: single slices, whole units, and one at the seam of two passes.
fn punched(xts: &Xts, text: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let mut data = text.to_vec();
    xts.encrypt(AT, &mut data);
    let mut holes = vec![0, 3, 8, 9, 10, 11, 12, 13, 14, 15, 17, PASS / 512 - 1, PASS / 512, LEN / 512 - 1];
    holes.extend(40..48);
    for hole in &holes {
        data[hole * 512..(hole + 1) * 512].fill(0);
    }
    (data, holes)
}

fn with_zeros(text: &[u8], holes: &[usize]) -> Vec<u8> {
    let mut text = text.to_vec();
    holes.iter().for_each(|hole| text[hole * 512..(hole + 1) * 512].fill(0));
    text
}

#[test]
fn zero_is_told_from_anything_else() {
    assert!(is_zero(&[0; 512]) && is_zero(&[]) && is_zero(&[0; 3]));
    for index in [0, 7, 8, 255, 504, 511] {
        let mut slice = [0u8; 512];
        slice[index] = 0x80;
        assert!(!is_zero(&slice), "byte {index}");
    }
}

#[test]
fn holes_read_as_zeros_and_the_rest_as_plaintext() {
    for (suite, unit) in
        [(Suite::Aes256Xts, 512), (Suite::Aes256Xts, 4096), (Suite::Aes128Xts, 4096), (Suite::None, 4096)]
    {
        for engine in [EngineKind::AwsLc, EngineKind::Portable] {
            let (xts, text) = (cipher(suite, unit, engine), text());
            let (mut data, holes) = punched(&xts, &text);
            decrypt(&xts, AT, &mut data);
            assert_eq!(data, with_zeros(&text, &holes), "{suite} in units of {unit} on {engine}");
        }
    }
}

#[test]
fn reencryption_keeps_holes_and_shows_the_plaintext_in_whole_passes() {
    for (old_unit, new_unit) in [(512, 512), (512, 4096), (4096, 512), (4096, 4096)] {
        let old = cipher(Suite::Aes256Xts, old_unit, EngineKind::AwsLc);
        let new = cipher(Suite::Aes256Xts, new_unit, EngineKind::AwsLc);
        let (mut data, holes) = punched(&old, &text());
        let plain = with_zeros(&text(), &holes);
        let mut seen = Vec::new();
        reencrypt(&old, &new, AT, &mut data, |pass| {
            assert!(pass.len() == PASS || pass.len() == LEN % PASS);
            seen.extend_from_slice(pass);
        });
        assert_eq!(seen, plain, "units of {old_unit} to {new_unit}");
        for (index, slice) in data.chunks(512).enumerate() {
            assert_eq!(is_zero(slice), holes.contains(&index), "slice {index}");
        }
        decrypt(&new, AT, &mut data);
        assert_eq!(data, plain, "units of {old_unit} to {new_unit}");
    }
}

#[test]
fn plaintext_zeros_are_encrypted_like_anything_else() {
    let (old, new) =
        (cipher(Suite::Aes256Xts, 4096, EngineKind::AwsLc), cipher(Suite::Aes256Xts, 4096, EngineKind::AwsLc));
    let mut data = vec![0u8; 8192];
    old.encrypt(AT, &mut data);
    reencrypt(&old, &new, AT, &mut data, |plain| assert!(is_zero(plain)));
    assert!(data.chunks(512).all(|slice| !is_zero(slice)));
    decrypt(&new, AT, &mut data);
    assert!(is_zero(&data));
}
