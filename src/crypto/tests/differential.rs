//! Properties: all engines, and the `xts-mode` crate as a third opinion, agree on everything, everywhere.

use aes::cipher::KeyInit;
use aes::{Aes128, Aes256};
use proptest::prelude::*;
use xts_mode::{Xts128, get_tweak_default};

use crate::crypto::xex::{Direction, Io, Tweaks};
use crate::crypto::xts::Cipher;
use crate::crypto::{EngineKind, Secret, Suite, TweakRule, Xts, check_key, new_key};

#[derive(Debug, Clone)]
struct Case {
    suite: Suite,
    key: Vec<u8>,
    data_unit: u32,
    rule: TweakRule,
    first_unit: u64,
    data: Vec<u8>,
    /// Where in memory the buffers of the out-of-place calls begin, off any alignment.
    skew: (usize, usize),
}

fn case() -> impl Strategy<Value = Case> {
    let suite = prop_oneof![Just(Suite::Aes256Xts), Just(Suite::Aes128Xts)];
    let unit = prop_oneof![Just(512u32), Just(4096)];
    let base = prop_oneof![Just(0), any::<u64>(), Just(u64::MAX), (u64::MAX - 64)..=u64::MAX];
    let first = prop_oneof![0u64..100, Just(u32::MAX as u64), 0..(u64::MAX / 8192)];
    (suite, unit, base, first, any::<bool>(), 0usize..=18, any::<u64>(), (0usize..64, 0usize..64)).prop_map(
        |(suite, data_unit, base, first_unit, luks, units, seed, skew)| {
            let mut stream = seed;
            let mut bytes = |len: usize| -> Vec<u8> { (0..len).map(|_| splitmix(&mut stream) as u8).collect() };
            let rule = TweakRule { unit: if luks { 512 } else { data_unit }, base };
            let key = bytes(suite.key_len());
            let data = bytes(units * data_unit as usize);
            Case { suite, key, data_unit, rule, first_unit, data, skew }
        },
    )
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// What `xts-mode` says, one data unit at a time, the tweak counted here.
fn third_opinion(case: &Case) -> Vec<u8> {
    let mut data = case.data.clone();
    let offset = case.first_unit * u64::from(case.data_unit);
    let half = case.key.len() / 2;
    for (index, unit) in data.chunks_mut(case.data_unit as usize).enumerate() {
        let at = offset + index as u64 * u64::from(case.data_unit);
        let tweak = u128::from(case.rule.base) + u128::from(at / u64::from(case.rule.unit));
        let tweak = get_tweak_default(tweak);
        if case.suite == Suite::Aes128Xts {
            let [a, b] = [0, half].map(|i| Aes128::new_from_slice(&case.key[i..][..half]).unwrap());
            Xts128::new(a, b).encrypt_sector(unit, tweak);
        } else {
            let [a, b] = [0, half].map(|i| Aes256::new_from_slice(&case.key[i..][..half]).unwrap());
            Xts128::new(a, b).encrypt_sector(unit, tweak);
        }
    }
    data
}

fn out_of_place(case: &Case, from: &[u8], run: impl Fn(&[u8], &mut [u8])) -> Vec<u8> {
    let mut source = vec![0xa5; case.skew.0];
    source.extend_from_slice(from);
    let mut target = vec![0x5a; case.skew.1 + from.len() + 64];
    let end = case.skew.1 + from.len();
    run(&source[case.skew.0..], &mut target[case.skew.1..end]);
    assert!(target[..case.skew.1].iter().chain(&target[end..]).all(|byte| *byte == 0x5a));
    target[case.skew.1..end].to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn engines_agree(case in case()) {
        let key = Secret::filled(case.key.len(), |bytes| bytes.copy_from_slice(&case.key));
        prop_assume!(check_key(case.suite, &key).is_ok());
        let offset = case.first_unit * u64::from(case.data_unit);
        let expected = third_opinion(&case);
        for engine in EngineKind::available() {
            let xts = Xts::new(engine, case.suite, &key, case.data_unit, case.rule).unwrap();
            let mut place = case.data.clone();
            xts.encrypt(offset, &mut place);
            prop_assert!(place == expected, "{engine} encrypts in place differently");
            xts.decrypt(offset, &mut place);
            prop_assert!(place == case.data, "{engine} does not decrypt in place what it encrypted");
            let to = out_of_place(&case, &case.data, |from, to| xts.encrypt_to(offset, from, to));
            prop_assert!(to == expected, "{engine} encrypts differently from buffer to buffer");
            let back = out_of_place(&case, &to, |from, to| xts.decrypt_to(offset, from, to));
            prop_assert!(back == case.data, "{engine} decrypts differently from buffer to buffer");
        }
    }

    /// One call over many data units is the same as one call for each, in any order.
    #[test]
    fn calls_can_be_split(case in case()) {
        let key = Secret::filled(case.key.len(), |bytes| bytes.copy_from_slice(&case.key));
        prop_assume!(check_key(case.suite, &key).is_ok());
        let offset = case.first_unit * u64::from(case.data_unit);
        for engine in EngineKind::available() {
            let xts = Xts::new(engine, case.suite, &key, case.data_unit, case.rule).unwrap();
            let (mut whole, mut split) = (case.data.clone(), case.data.clone());
            xts.encrypt(offset, &mut whole);
            let units = split.chunks_mut(case.data_unit as usize).enumerate().rev();
            for (index, unit) in units {
                xts.encrypt(offset + index as u64 * u64::from(case.data_unit), unit);
            }
            prop_assert!(whole == split, "{engine}");
        }
    }
}

/// What `cipher` makes of `data`, the same in place and from buffer to buffer.
fn both_ways(cipher: &Cipher, way: Direction, unit: usize, data: &[u8]) -> Vec<u8> {
    let tweaks = Tweaks { first: u128::from(u64::MAX) - 3, step: 1 };
    let mut place = data.to_vec();
    cipher.crypt(way, tweaks, unit, Io::InPlace(&mut place));
    let mut to = vec![0; data.len()];
    cipher.crypt(way, tweaks, unit, Io::To(data, &mut to));
    assert_eq!(place, to);
    place
}

/// Units of every number of blocks around the steps of all kernels, in calls that fill groups of tweaks or do not.
#[test]
fn engines_agree_about_units_of_any_length() {
    let mut stream = 1;
    for suite in [Suite::Aes256Xts, Suite::Aes128Xts] {
        let key = new_key(suite).unwrap();
        let ciphers =
            EngineKind::ALL.map(|engine| Cipher::new(engine, suite, &key).ok().map(|cipher| (engine, cipher)));
        for unit in (16..=1040).step_by(16) {
            for count in [1, 7, 8, 9, 17] {
                let plain: Vec<u8> = (0..unit * count).map(|_| splitmix(&mut stream) as u8).collect();
                let mut expected = None;
                for (engine, cipher) in ciphers.iter().flatten().rev() {
                    let encrypted = both_ways(cipher, Direction::Encrypt, unit, &plain);
                    let expected = expected.get_or_insert_with(|| encrypted.clone());
                    assert!(encrypted == *expected, "{engine} encrypts {count} units of {unit} differently");
                    let back = both_ways(cipher, Direction::Decrypt, unit, &encrypted);
                    assert!(back == plain, "{engine} does not decrypt {count} units of {unit}");
                }
            }
        }
    }
}
