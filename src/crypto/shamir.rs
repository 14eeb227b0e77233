//! Shamir's secret sharing over GF(256), byte by byte: any `threshold` shares give the secret back, fewer say nothing about it.
//!
//! The field is that of AES (x^8 + x^4 + x^3 + x + 1). Share `x` (from 1) is the value at `x` of a random polynomial of degree
//! threshold − 1 whose constant term is the secret; the secret is the value at 0, by Lagrange. With a threshold of 1
//! each share is the secret. Invariants: coefficients and shares live in [`Secret`]s; arithmetic is free of branches and tables that
//! depend on secret bytes (the share numbers are public).

use crate::crypto::error::CryptoError;
use crate::crypto::secret::Secret;

/// Shares at most: their numbers are the non-zero elements of the field.
pub const SHARES_MAX: usize = 255;

/// Product in GF(256): eight steps whatever the operands.
const fn multiply(a: u8, b: u8) -> u8 {
    let (mut a, mut product, mut bit) = (a, 0u8, 0);
    while bit < 8 {
        product ^= a & 0u8.wrapping_sub(b >> bit & 1);
        a = a << 1 ^ 0x1b & 0u8.wrapping_sub(a >> 7);
        bit += 1;
    }
    product
}

/// Inverse in GF(256), a^254; 0 of 0.
const fn inverse(a: u8) -> u8 {
    let (mut power, mut result, mut step) = (a, 1u8, 0);
    while step < 7 {
        power = multiply(power, power);
        result = multiply(result, power);
        step += 1;
    }
    result
}

/// Splits `secret` into `shares` of which any `threshold` give it back; share `index` has number `index + 1`.
///
/// # Errors
/// The system's random source fails.
///
/// # Panics
/// Unless 1 ≤ threshold ≤ shares ≤ [`SHARES_MAX`].
pub fn split(secret: &Secret, threshold: usize, shares: usize) -> Result<Vec<Secret>, CryptoError> {
    assert!(1 <= threshold && threshold <= shares && shares <= SHARES_MAX, "{threshold} of {shares} shares");
    let len = secret.len();
    let coefficients = Secret::random(len * (threshold - 1))?;
    let share = |x: u8| {
        Secret::filled(len, |share| {
            for coefficient in coefficients.expose().chunks(len.max(1)).rev().chain([secret.expose()]) {
                share.iter_mut().zip(coefficient).for_each(|(value, term)| *value = multiply(*value, x) ^ term);
            }
        })
    };
    Ok((1..=shares).map(|number| share(number as u8)).collect())
}

/// The secret that shares with these numbers give; whether it is the right one, its use will tell. None if the numbers are not
/// distinct and from 1 on, or the lengths differ.
pub fn combine(shares: &[(u8, &Secret)]) -> Option<Secret> {
    let len = shares.first()?.1.len();
    let distinct = (1..shares.len()).all(|at| shares[..at].iter().all(|earlier| earlier.0 != shares[at].0));
    if !distinct || shares.iter().any(|(number, share)| *number == 0 || share.len() != len) {
        return None;
    }
    Some(Secret::filled(len, |secret| {
        for (x, share) in shares {
            let others = shares.iter().map(|(other, _)| *other).filter(|other| other != x);
            let weight = others.fold(1, |weight, other| multiply(weight, multiply(other, inverse(other ^ *x))));
            secret.iter_mut().zip(share.expose()).for_each(|(sum, value)| *sum ^= multiply(*value, weight));
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(bytes: &[u8]) -> Secret {
        Secret::filled(bytes.len(), |secret| secret.copy_from_slice(bytes))
    }

    /// All 65536 products against long multiplication and division by the polynomial.
    #[test]
    fn the_field_is_that_of_aes() {
        for a in 0..=255u8 {
            for b in 0..=255u8 {
                let mut long = (0..8).filter(|bit| b >> bit & 1 == 1).fold(0u16, |sum, bit| sum ^ u16::from(a) << bit);
                (8..16).rev().for_each(|bit| {
                    if long >> bit & 1 == 1 {
                        long ^= 0x11b << (bit - 8);
                    }
                });
                assert_eq!(u16::from(multiply(a, b)), long);
            }
            assert_eq!(multiply(a, inverse(a)), u8::from(a != 0));
        }
        assert_eq!((multiply(0x57, 0x83), multiply(0x57, 0x13)), (0xc1, 0xfe), "FIPS 197, section 4.2");
    }

    /// Every choice of shares, of every threshold, for up to six.
    #[test]
    fn enough_shares_give_the_secret_back_and_fewer_do_not() {
        let whole = secret(&(0..32).map(|byte| byte * 7 + 1).collect::<Vec<u8>>());
        for shares in 1..=6usize {
            for threshold in 1..=shares {
                let split = split(&whole, threshold, shares).unwrap();
                for chosen in 1..1u32 << shares {
                    let some: Vec<(u8, &Secret)> = (0..shares)
                        .filter(|index| chosen >> index & 1 == 1)
                        .map(|index| (index as u8 + 1, &split[index]))
                        .collect();
                    let enough = some.len() >= threshold;
                    assert_eq!(combine(&some).unwrap().ct_eq(&whole), enough, "{threshold} of {shares}, {chosen:b}");
                }
            }
        }
    }

    /// One share of two, exhaustively for one byte: every secret is possible with any share, once.
    #[test]
    fn too_few_shares_say_nothing() {
        for share in [0u8, 1, 0x80, 0xff] {
            let mut possible: Vec<u8> = (0..=255u8)
                .map(|other| combine(&[(1, &secret(&[share])), (2, &secret(&[other]))]).unwrap().expose()[0])
                .collect();
            possible.sort_unstable();
            assert_eq!(possible, (0..=255).collect::<Vec<u8>>());
        }
    }

    #[test]
    fn numbers_must_be_distinct_and_lengths_equal() {
        let (a, b) = (secret(&[1, 2]), secret(&[1]));
        assert!(combine(&[]).is_none() && combine(&[(0, &a)]).is_none());
        assert!(combine(&[(1, &a), (1, &a)]).is_none() && combine(&[(1, &a), (2, &b)]).is_none());
    }
}
