//! Bech32 (BIP 173), the text form of age's recipients and identities.
//!
//! Invariants: decoding checks the prefix, the checksum and the padding, and puts the bytes into a [`Secret`]; letters are all upper or
//! all lower case.

use crate::crypto::secret::Secret;

const LETTERS: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const CHECKSUM: usize = 6;

fn step(checksum: u32, value: u8) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let top = checksum >> 25;
    let shifted = (checksum & 0x01ff_ffff) << 5 ^ u32::from(value);
    (0..5).filter(|bit| top >> bit & 1 == 1).fold(shifted, |sum, bit| sum ^ GENERATOR[bit])
}

fn of_prefix(prefix: &str) -> u32 {
    let high = prefix.bytes().fold(1, |sum, byte| step(sum, byte >> 5));
    prefix.bytes().fold(step(high, 0), |sum, byte| step(sum, byte & 31))
}

/// The bytes of `text`, which must begin with `prefix` (in lower case) and `1`. None if it is not Bech32 of `len` bytes.
pub fn decode(prefix: &str, text: &[u8], len: usize) -> Option<Secret> {
    let (upper, lower) = (text.iter().any(u8::is_ascii_uppercase), text.iter().any(u8::is_ascii_lowercase));
    let front = text.get(..prefix.len() + 1)?;
    let named = front[..prefix.len()].eq_ignore_ascii_case(prefix.as_bytes()) && front[prefix.len()] == b'1';
    let data = &text[prefix.len() + 1..];
    if upper && lower || !named || data.len() != (len * 8).div_ceil(5) + CHECKSUM {
        return None;
    }
    let value = |letter: &u8| LETTERS.iter().position(|known| *known == letter.to_ascii_lowercase()).map(|at| at as u8);
    let mut checksum = of_prefix(prefix);
    for letter in data {
        checksum = step(checksum, value(letter)?);
    }
    if checksum != 1 {
        return None;
    }
    Secret::try_filled(len, |bytes| {
        let (mut bits, mut held, mut at) = (0u32, 0, 0);
        for letter in &data[..data.len() - CHECKSUM] {
            bits = bits << 5 | u32::from(value(letter).ok_or(())?);
            held += 5;
            if held >= 8 && at < bytes.len() {
                held -= 8;
                bytes[at] = (bits >> held) as u8;
                at += 1;
                bits &= (1 << held) - 1;
            }
        }
        if bits == 0 && held < 5 { Ok(()) } else { Err(()) }
    })
    .ok()
}

/// `bytes` behind `prefix`, in lower case.
pub fn encode(prefix: &str, bytes: &[u8]) -> String {
    let (mut values, mut bits, mut held) = (Vec::new(), 0u32, 0);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            values.push((bits >> held & 31) as u8);
        }
        bits &= (1 << held) - 1;
    }
    if held > 0 {
        values.push((bits << (5 - held) & 31) as u8);
    }
    let sum = values.iter().chain(&[0; CHECKSUM]).fold(of_prefix(prefix), |sum, value| step(sum, *value)) ^ 1;
    values.extend((0..CHECKSUM).map(|at| (sum >> (5 * (CHECKSUM - 1 - at)) & 31) as u8));
    let letters = values.iter().map(|value| char::from(LETTERS[usize::from(*value)]));
    format!("{prefix}1{}", letters.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_and_every_wrong_letter_shows() {
        let bytes: Vec<u8> = (0..32).map(|byte: u8| byte.wrapping_mul(9) + 3).collect();
        let text = encode("age", &bytes);
        assert_eq!(decode("age", text.as_bytes(), 32).unwrap().expose(), bytes);
        assert_eq!(decode("age", text.to_uppercase().as_bytes(), 32).unwrap().expose(), bytes);
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'q' { b'p' } else { b'q' };
            assert!(decode("age", &changed, 32).is_none(), "letter {at}");
            assert!(decode("age", &text.as_bytes()[..at], 32).is_none());
        }
        assert!(decode("ago", text.as_bytes(), 32).is_none() && decode("age", text.as_bytes(), 31).is_none());
        let mixed = text.replacen('a', "A", 1);
        assert!(decode("age", mixed.as_bytes(), 32).is_none());
    }

    #[test]
    fn an_example_of_bip_173() {
        let text = "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw";
        let bytes = decode("abcdef", text.as_bytes(), 20).unwrap();
        assert_eq!(encode("abcdef", bytes.expose()), text);
    }
}
