//! Tests of the key layer as a whole.

mod credential;
mod escrow;
mod file;
mod kek;
mod kmip_messages;
mod passphrase;
mod pkcs11;
mod softhsm;
mod uri;
mod vault_answers;

use std::error::Error;
use std::path::Path;

use crate::crypto::{Secret, Suite, new_key};
use crate::format::wrapped::Wrapped;
use crate::keys::{Kek, KeyError, KeyErrorClass, WrapPurpose};
use crate::units::{Generation, VolumeId};

const PURPOSE: WrapPurpose =
    WrapPurpose { volume: VolumeId([7; 16]), generation: Generation(3), key_id: [9; 16], suite: Suite::Aes256Xts.id() };

/// An error as the operator sees it: message, causes, hint; `dir` is shown as DIR.
fn story(error: &KeyError, dir: &Path) -> String {
    let mut text = format!("{error}\n");
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!("  because: {error}\n");
        cause = error.source();
    }
    if let Some(hint) = error.hint() {
        text += &format!("  hint: {hint}\n");
    }
    text.replace(&dir.display().to_string(), "DIR")
}

fn data_key() -> Secret {
    new_key(Suite::Aes256Xts).unwrap()
}

/// What every keeper must hold to: there and back, and nothing that was moved or changed opens.
fn keeper_holds_to_the_rules(kek: &Kek, key_start: usize) {
    let key = data_key();
    let wrapped = kek.wrap(&PURPOSE, &key).unwrap();
    assert!(kek.could_open(&wrapped));
    assert!(kek.unwrap(&PURPOSE, &wrapped).unwrap().ct_eq(&key));

    let elsewhere = [
        WrapPurpose { volume: VolumeId([8; 16]), ..PURPOSE },
        WrapPurpose { generation: Generation(2), ..PURPOSE },
        WrapPurpose { generation: Generation::METADATA, ..PURPOSE },
        WrapPurpose { key_id: [1; 16], ..PURPOSE },
        WrapPurpose { suite: Suite::Aes128Xts.id(), ..PURPOSE },
        WrapPurpose { suite: 0, ..PURPOSE },
    ];
    for purpose in elsewhere {
        let error = kek.unwrap(&purpose, &wrapped).err().unwrap();
        assert_eq!(error.class(), KeyErrorClass::Tampered, "{purpose:?}: {error}");
    }

    for index in key_start..wrapped.blob.len() {
        let mut changed = wrapped.clone();
        changed.blob[index] ^= 0x10;
        let error = kek.unwrap(&PURPOSE, &changed).err().unwrap();
        assert_eq!(error.class(), KeyErrorClass::Tampered, "byte {index}: {error}");
    }
    for len in 0..wrapped.blob.len() {
        let cut = Wrapped { blob: wrapped.blob[..len].to_vec(), ..wrapped.clone() };
        assert_eq!(kek.unwrap(&PURPOSE, &cut).err().unwrap().class(), KeyErrorClass::Tampered);
    }

    let other_kek = Wrapped { kek_id: "file-0011223344556677".into(), ..wrapped.clone() };
    assert_eq!(kek.unwrap(&PURPOSE, &other_kek).err().unwrap().class(), KeyErrorClass::WrongKey);
    let version = Wrapped { kek_version: 2, ..wrapped.clone() };
    assert_eq!(kek.unwrap(&PURPOSE, &version).err().unwrap().class(), KeyErrorClass::Tampered);
    for provider in (0..=255).filter(|provider| *provider != wrapped.provider) {
        let other = Wrapped { provider, ..wrapped.clone() };
        assert!(!kek.could_open(&other));
        assert_eq!(kek.unwrap(&PURPOSE, &other).err().unwrap().class(), KeyErrorClass::WrongKey);
    }
}

#[test]
fn only_trouble_elsewhere_is_worth_another_try() {
    use KeyErrorClass as Class;
    let all = [
        (Class::Unreachable, true),
        (Class::Sealed, true),
        (Class::Throttled, true),
        (Class::Denied, false),
        (Class::Disabled, false),
        (Class::Tampered, false),
        (Class::WrongKey, false),
        (Class::Local, false),
        (Class::Usage, false),
    ];
    for (class, again) in all {
        let error = KeyError::Remote { kek: "vault".into(), class, reason: "said so".into(), source: None };
        assert_eq!(error.class().is_retryable(), again, "{class:?}");
    }
}
