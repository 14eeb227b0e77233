//! A wrapped key opens with its own KEK and context, and with nothing else.

use proptest::prelude::*;

use crate::crypto::wrap::{WrapContext, kwp_unwrap, kwp_wrap, wrapped_len};
use crate::crypto::{CryptoError, Secret};
use crate::units::{Generation, VolumeId};

const CONTEXT: WrapContext<'static> =
    WrapContext { volume: VolumeId([7; 16]), generation: Generation(3), key_id: [9; 16], suite: 1, kek_id: "file:abc" };

fn kek() -> Secret {
    Secret::filled(32, |bytes| bytes.fill(0x42))
}

fn dek(len: usize) -> Secret {
    Secret::filled(len, |bytes| {
        bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = i as u8);
    })
}

/// The byte-exact layout the module doc promises.
#[test]
fn the_context_is_canonical() {
    let mut expected = b"keymoult wrap 1\0".to_vec();
    expected.extend([7; 16]);
    expected.extend([3, 0, 0, 0]);
    expected.extend([9; 16]);
    expected.extend([1, 0, 8, 0]);
    expected.extend(b"file:abc");
    assert_eq!(CONTEXT.to_bytes().unwrap(), expected);
}

#[test]
fn every_key_length_goes_there_and_back() {
    for len in [1, 7, 8, 9, 16, 31, 32, 33, 64, 96, 255] {
        let blob = kwp_wrap(&kek(), &CONTEXT, &dek(len)).unwrap();
        assert_eq!(blob.len(), wrapped_len(len));
        assert!(kwp_unwrap(&kek(), &CONTEXT, &blob).unwrap().ct_eq(&dek(len)), "{len}");
    }
    assert!(kwp_wrap(&kek(), &CONTEXT, &dek(0)).is_err());
}

#[test]
fn a_wrap_moved_anywhere_else_does_not_open() {
    let blob = kwp_wrap(&kek(), &CONTEXT, &dek(64)).unwrap();
    let elsewhere = [
        WrapContext { volume: VolumeId([8; 16]), ..CONTEXT },
        WrapContext { generation: Generation(4), ..CONTEXT },
        WrapContext { generation: Generation(3 << 8), ..CONTEXT },
        WrapContext { key_id: [10; 16], ..CONTEXT },
        WrapContext { suite: 2, ..CONTEXT },
        WrapContext { kek_id: "file:abd", ..CONTEXT },
        WrapContext { kek_id: "file:abc\0", ..CONTEXT },
        WrapContext { kek_id: "", ..CONTEXT },
    ];
    for context in elsewhere {
        let error = kwp_unwrap(&kek(), &context, &blob).err().unwrap();
        assert!(matches!(error, CryptoError::Unwrap), "{context:?}: {error}");
    }
    let other_kek = Secret::filled(32, |bytes| bytes.fill(0x43));
    assert!(matches!(kwp_unwrap(&other_kek, &CONTEXT, &blob), Err(CryptoError::Unwrap)));
}

#[test]
fn every_flipped_bit_and_every_cut_refuses() {
    let blob = kwp_wrap(&kek(), &CONTEXT, &dek(64)).unwrap();
    for bit in 0..blob.len() * 8 {
        let mut changed = blob.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(kwp_unwrap(&kek(), &CONTEXT, &changed), Err(CryptoError::Unwrap)), "{bit}");
    }
    for len in 0..blob.len() {
        assert!(kwp_unwrap(&kek(), &CONTEXT, &blob[..len]).is_err(), "{len}");
    }
    let mut longer = blob.clone();
    longer.extend([0; 8]);
    assert!(kwp_unwrap(&kek(), &CONTEXT, &longer).is_err());
}

#[test]
fn a_kek_of_another_length_is_refused() {
    for len in [0, 16, 31, 33] {
        let kek = Secret::zeroed(len);
        let message = kwp_wrap(&kek, &CONTEXT, &dek(64)).unwrap_err().to_string();
        assert_eq!(message, format!("a key-encryption key is 32 bytes long, not {len}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes nobody wrapped never open and never panic.
    #[test]
    fn noise_does_not_open(blob in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(kwp_unwrap(&kek(), &CONTEXT, &blob).is_err());
    }
}
