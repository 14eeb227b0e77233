//! What every keeper must hold to, whoever it is: there and back, and nothing that was moved or changed opens.

use keymoult::crypto::{Secret, Suite, new_key};
use keymoult::format::wrapped::Wrapped;
use keymoult::keys::{Kek, KekUri, KeyError, KeyErrorClass, NewKek, WrapPurpose, open};
use keymoult::units::{Generation, VolumeId};

/// The purpose of the key that tests wrap.
pub const PURPOSE: WrapPurpose =
    WrapPurpose { volume: VolumeId([7; 16]), generation: Generation(3), key_id: [9; 16], suite: Suite::Aes256Xts.id() };

/// A KEK whose uses nobody is told of.
#[track_caller]
pub fn kek(uri: &str) -> Kek {
    let uri: KekUri = uri.parse().unwrap();
    Kek::new(open(&uri, NewKek::Never).map_err(|error| story(&error)).unwrap().keeper, None)
}

/// A fresh DEK.
pub fn data_key() -> Secret {
    new_key(Suite::Aes256Xts).unwrap()
}

/// The error a call must end with.
#[track_caller]
pub fn refused<T>(result: Result<T, KeyError>) -> KeyError {
    match result {
        Ok(_) => panic!("it succeeded"),
        Err(error) => error,
    }
}

/// An error as the operator sees it: message, causes, hint.
pub fn story(error: &KeyError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text += &format!("\nbecause: {error}");
        cause = error.source();
    }
    text + &error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default()
}

/// Wraps and unwraps, then moves and changes the wrap in every way.
#[track_caller]
pub fn keeper_holds_to_the_rules(kek: &Kek) {
    kek.probe().unwrap();
    let key = data_key();
    let wrapped = kek.wrap(&PURPOSE, &key).unwrap();
    assert!(kek.could_open(&wrapped));
    assert!(kek.unwrap(&PURPOSE, &wrapped).unwrap().ct_eq(&key));
    assert!(!contains(&wrapped.blob, key.expose()));

    let elsewhere = [
        WrapPurpose { volume: VolumeId([8; 16]), ..PURPOSE },
        WrapPurpose { generation: Generation(2), ..PURPOSE },
        WrapPurpose { generation: Generation::METADATA, ..PURPOSE },
        WrapPurpose { key_id: [1; 16], ..PURPOSE },
        WrapPurpose { suite: Suite::Aes128Xts.id(), ..PURPOSE },
        WrapPurpose { suite: 0, ..PURPOSE },
    ];
    for purpose in elsewhere {
        let error = refused(kek.unwrap(&purpose, &wrapped));
        assert_eq!(error.class(), KeyErrorClass::Tampered, "{purpose:?}: {error}");
    }
    for index in 0..wrapped.blob.len() {
        let mut changed = wrapped.clone();
        changed.blob[index] ^= 0x10;
        let error = refused(kek.unwrap(&PURPOSE, &changed));
        assert_eq!(error.class(), KeyErrorClass::Tampered, "byte {index}: {error}");
    }
    for len in [0, 1, 2, 13, 29, wrapped.blob.len() - 1] {
        let cut = Wrapped { blob: wrapped.blob[..len].to_vec(), ..wrapped.clone() };
        assert_eq!(refused(kek.unwrap(&PURPOSE, &cut)).class(), KeyErrorClass::Tampered, "{len} bytes");
    }
    let other = Wrapped { kek_id: "file-0011223344556677".into(), ..wrapped.clone() };
    assert!(!kek.could_open(&other));
    assert_eq!(refused(kek.unwrap(&PURPOSE, &other)).class(), KeyErrorClass::WrongKey);
    let version = Wrapped { kek_version: wrapped.kek_version + 7, ..wrapped.clone() };
    assert_eq!(refused(kek.unwrap(&PURPOSE, &version)).class(), KeyErrorClass::Tampered);
    let provider = Wrapped { provider: wrapped.provider + 1, ..wrapped.clone() };
    assert!(!kek.could_open(&provider));
    assert_eq!(refused(kek.unwrap(&PURPOSE, &provider)).class(), KeyErrorClass::WrongKey);
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
