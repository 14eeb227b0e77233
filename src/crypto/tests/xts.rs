//! What an `Xts` refuses, and how it behaves when shared.

use crate::crypto::{CryptoError, EngineKind, Secret, Suite, TweakRule, Xts, check_key, new_key};

fn refusal(suite: Suite, key: &Secret, unit: u32, rule: TweakRule) -> Vec<String> {
    let refuse = |engine| Xts::new(engine, suite, key, unit, rule).err().unwrap().to_string();
    EngineKind::available().map(refuse).collect()
}

#[test]
fn equal_halves_are_refused_whatever_they_are() {
    for suite in [Suite::Aes256Xts, Suite::Aes128Xts] {
        for key in [
            Secret::zeroed(suite.key_len()),
            Secret::filled(suite.key_len(), |bytes| {
                let half = bytes.len() / 2;
                getrandom::fill(&mut bytes[..half]).unwrap();
                bytes.copy_within(..half, half);
            }),
        ] {
            assert!(matches!(check_key(suite, &key), Err(CryptoError::EqualHalves)));
            for message in refusal(suite, &key, 4096, TweakRule::own(4096)) {
                assert_eq!(message, "Key_1 equals Key_2: not an XTS key");
            }
        }
    }
}

#[test]
fn a_single_different_bit_is_enough() {
    let key = Secret::filled(64, |bytes| bytes[63] = 1);
    assert!(check_key(Suite::Aes256Xts, &key).is_ok());
}

#[test]
fn wrong_lengths_are_refused() {
    for len in [0, 31, 32, 63, 65, 128] {
        let key = Secret::filled(len, |bytes| {
            bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = i as u8);
        });
        for message in refusal(Suite::Aes256Xts, &key, 4096, TweakRule::own(4096)) {
            assert_eq!(message, format!("a key for aes-256-xts is 64 bytes long, not {len}"));
        }
    }
}

#[test]
fn odd_units_are_refused() {
    let key = new_key(Suite::Aes256Xts).unwrap();
    for unit in [0, 1, 16, 256, 1024, 2048, 8192, 1 << 25] {
        let rule = TweakRule { unit: 512, base: 0 };
        for message in refusal(Suite::Aes256Xts, &key, unit, rule) {
            assert_eq!(message, format!("data units of {unit} bytes are not served (512 or 4096)"));
        }
    }
    for message in refusal(Suite::Aes256Xts, &key, 512, TweakRule::own(4096)) {
        assert_eq!(message, "tweaks counted in units of 4096 bytes do not fit data units of 512 bytes");
    }
}

#[test]
fn plaintext_is_the_identity_on_both_engines() {
    for engine in EngineKind::available() {
        let xts = Xts::new(engine, Suite::None, &Secret::zeroed(0), 512, TweakRule::own(512)).unwrap();
        let data: Vec<u8> = (0..1024).map(|i| i as u8).collect();
        let (mut place, mut to) = (data.clone(), vec![0; 1024]);
        xts.encrypt(512, &mut place);
        xts.decrypt_to(512, &data, &mut to);
        assert_eq!((&place, &to), (&data, &data));
    }
}

#[test]
fn unaligned_calls_stop_before_a_byte_changes() {
    let key = new_key(Suite::Aes256Xts).unwrap();
    for engine in EngineKind::available() {
        let xts = Xts::new(engine, Suite::Aes256Xts, &key, 4096, TweakRule::own(4096)).unwrap();
        for (offset, len) in [(512, 4096), (0, 512), (0, 4097), (4095, 0)] {
            let mut data = vec![7; len];
            let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                xts.encrypt(offset, &mut data);
            }));
            assert!(stopped.is_err(), "{offset} {len}");
            assert!(data.iter().all(|byte| *byte == 7));
        }
        xts.encrypt(4096, &mut []);
    }
}

/// More threads than AWS-LC contexts, all on one key, each checking its own data units against the other engine.
#[test]
fn one_key_serves_many_threads_at_once() {
    for suite in [Suite::Aes256Xts, Suite::Aes128Xts] {
        let key = new_key(suite).unwrap();
        let shared = Xts::new(EngineKind::AwsLc, suite, &key, 512, TweakRule::own(512)).unwrap();
        let oracle = Xts::new(EngineKind::Portable, suite, &key, 512, TweakRule::own(512)).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..40u64 {
                let (shared, oracle) = (&shared, &oracle);
                scope.spawn(move || {
                    for round in 0..50 {
                        let offset = (thread * 50 + round) * 8192;
                        let data = vec![thread as u8; 8192];
                        let (mut ours, mut theirs) = (data.clone(), vec![0; 8192]);
                        shared.encrypt(offset, &mut ours);
                        oracle.encrypt_to(offset, &data, &mut theirs);
                        assert_eq!(ours, theirs);
                        shared.decrypt(offset, &mut ours);
                        assert_eq!(ours, data);
                    }
                });
            }
        });
    }
}
