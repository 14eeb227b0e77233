//! Passphrases: derivation bounds, caching, files.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::crypto::Secret;
use crate::crypto::kdf::{Argon2Params, M_KIB_MIN, P_MIN, T_MIN};
use crate::format::wrapped::Wrapped;
use crate::keys::tests::{PURPOSE, data_key, keeper_holds_to_the_rules, story};
use crate::keys::{Kek, KeyErrorClass, PassphraseKek, PassphraseSource, PassphraseUse, WrapPurpose};
use crate::units::{Generation, VolumeId};

/// As cheap as the floor allows.
const CHEAP: Argon2Params = Argon2Params { m_kib: M_KIB_MIN, t: T_MIN, p: P_MIN };

fn kek(passphrase: &str) -> Kek {
    let secret = Secret::filled(passphrase.len(), |bytes| bytes.copy_from_slice(passphrase.as_bytes()));
    Kek::unwitnessed(PassphraseKek::with(secret, "passphrase:".into(), CHEAP))
}

#[test]
fn the_keeper_holds_to_the_rules() {
    // The salt and the parameters have a test of their own: changing them is another KEK, not a changed wrap.
    keeper_holds_to_the_rules(&kek("correct horse"), 28);
}

#[test]
fn every_byte_of_the_header_counts() {
    let kek = kek("correct horse");
    let wrapped = kek.wrap(&PURPOSE, &data_key()).unwrap();
    for index in 0..28 {
        let mut changed = wrapped.clone();
        changed.blob[index] ^= 0x80;
        let error = kek.unwrap(&PURPOSE, &changed).err().unwrap();
        // Layout and reserved bytes are read, parameters out of bounds are seen; the rest gives another KEK.
        let seen = matches!(index, 0 | 1 | 2 | 3 | 6..=11);
        let expected = if seen { KeyErrorClass::Tampered } else { KeyErrorClass::WrongKey };
        assert_eq!(error.class(), expected, "byte {index}: {error}");
    }
    // Parameters that are still within bounds.
    for (index, value) in [(1, 2), (5, 0x4d), (8, 3)] {
        let mut changed = wrapped.clone();
        assert_ne!(changed.blob[index], value);
        changed.blob[index] = value;
        let error = kek.unwrap(&PURPOSE, &changed).err().unwrap();
        assert_eq!(error.class(), KeyErrorClass::WrongKey, "byte {index}: {error}");
    }
}

/// A header that asks for 4 TiB, or for 4 billion passes, is refused before anything is allocated or computed: were it
/// not, this test would not end.
#[test]
fn work_out_of_bounds_is_refused_first() {
    let kek = kek("correct horse");
    let wrapped = kek.wrap(&PURPOSE, &data_key()).unwrap();
    let with = |range: std::ops::Range<usize>, value: &[u8]| {
        let mut blob = wrapped.blob.clone();
        blob[range].copy_from_slice(value);
        let changed = Wrapped { blob, ..wrapped.clone() };
        story(&kek.unwrap(&PURPOSE, &changed).err().unwrap(), Path::new("/nowhere"))
    };
    let hint = "  hint: restore the header from a backup, or open with another KEK of the volume; \
                find out who changed it\n";
    let story = |name: &str, found: u64, bounds: &str| {
        format!(
            "the wrapped key of generation 3 asks for work out of bounds\n  \
             because: Argon2id parameter {name} is {found}, allowed are {bounds}\n{hint}"
        )
    };
    assert_eq!(with(4..8, &[0xff; 4]), story("m (KiB)", u32::MAX.into(), "19456 to 1048576"));
    assert_eq!(with(8..12, &[0xff; 4]), story("t (passes)", u32::MAX.into(), "2 to 32"));
    assert_eq!(with(1..2, &[255]), story("p (lanes)", 255, "1 to 16"));
    assert_eq!(with(4..8, &[8, 0, 0, 0]), story("m (KiB)", 8, "19456 to 1048576"));
    assert_eq!(with(8..12, &[1, 0, 0, 0]), story("t (passes)", 1, "2 to 32"));
    assert_eq!(with(4..12, &[0, 0, 16, 0, 32, 0, 0, 0]), story("m × t (KiB × passes)", 32 << 20, "0 to 4194304"));
    assert_eq!(
        with(2..3, &[1]),
        format!(
            "the wrapped key of generation 3 is malformed: a reserved byte of its Argon2id header \
             is not zero\n{hint}"
        )
    );
    assert_eq!(
        with(0..1, &[2]),
        format!(
            "the wrapped key of generation 3 is malformed: its Argon2id header has a layout this \
             build does not know\n{hint}"
        )
    );
}

#[test]
fn a_wrong_passphrase_is_told_from_tampering() {
    let wrapped = kek("correct horse").wrap(&PURPOSE, &data_key()).unwrap();
    let error = kek("Correct horse").unwrap(&PURPOSE, &wrapped).err().unwrap();
    assert_eq!(error.class(), KeyErrorClass::WrongKey);
    assert_eq!(
        story(&error, Path::new("/nowhere")),
        "passphrase: is not the passphrase that wraps this key\n  \
         hint: check the keyboard layout and CapsLock, or give another KEK of the volume\n"
    );
}

/// One salt, and so one derivation, per volume: all its wraps open with what the first one cost; another volume and
/// another run get a salt of their own.
#[test]
fn a_volume_has_one_salt_and_others_have_theirs() {
    let salt = |wrapped: &Wrapped| wrapped.blob[12..28].to_vec();
    let creator = kek("correct horse");
    let key = data_key();
    let next = WrapPurpose { generation: Generation(4), ..PURPOSE };
    let other = WrapPurpose { volume: VolumeId([1; 16]), ..PURPOSE };
    let first = creator.wrap(&PURPOSE, &key).unwrap();
    let second = creator.wrap(&next, &key).unwrap();
    let elsewhere = creator.wrap(&other, &key).unwrap();
    assert_eq!(salt(&first), salt(&second));
    assert_eq!(first.kek_id, second.kek_id);
    assert_ne!(first.blob[28..], second.blob[28..]);
    assert_ne!(salt(&first), salt(&elsewhere));
    assert_ne!(first.kek_id, elsewhere.kek_id);

    // A later run opens the volume and wraps a new generation: the salt stays.
    let later = kek("correct horse");
    assert!(later.unwrap(&PURPOSE, &first).unwrap().ct_eq(&key));
    assert_eq!(salt(&later.wrap(&next, &key).unwrap()), salt(&first));
    // A run that never saw the volume makes a salt.
    assert_ne!(salt(&kek("correct horse").wrap(&next, &key).unwrap()), salt(&first));
}

#[test]
fn passphrase_files_are_read_with_the_same_care_as_key_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pass");
    let open = || {
        let source = PassphraseSource::File(path.clone());
        PassphraseKek::open(&source, PassphraseUse::Create)
    };
    let write = |contents: &[u8], mode| {
        let _ = fs::remove_file(&path);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    };
    let refused = || story(&open().err().unwrap(), dir.path());
    assert_eq!(refused(), "passphrase file DIR/pass: there is no such file\n  hint: check the path\n");
    write(b"correct horse\n", 0o604);
    assert_eq!(
        refused(),
        "passphrase file DIR/pass: its mode 0604 lets others than its owner at it\n  \
         hint: chmod 600 DIR/pass\n"
    );
    for (contents, reason) in
        [(&b""[..], "it is empty"), (b"\n", "it is empty"), (b"a\nb\n", "it has more than one line")]
    {
        write(contents, 0o600);
        assert_eq!(
            refused(),
            format!(
                "passphrase file DIR/pass: {reason}\n  \
                 hint: a passphrase file is one line of text\n"
            )
        );
    }
    for len in [1025, 1026, 5000] {
        write(&vec![b'x'; len], 0o600);
        assert_eq!(
            refused(),
            "the passphrase is longer than 1024 bytes\n  \
             hint: use a shorter passphrase, or a key file\n"
        );
    }
    // The newline at the end is no part of it, whoever wrote it.
    let wrapped = kek("correct horse").wrap(&PURPOSE, &data_key()).unwrap();
    for contents in [&b"correct horse"[..], b"correct horse\n", b"correct horse\r\n"] {
        write(contents, 0o400);
        Kek::unwitnessed(open().unwrap()).unwrap(&PURPOSE, &wrapped).unwrap();
    }
    write(b" correct horse\n", 0o400);
    assert!(Kek::unwitnessed(open().unwrap()).unwrap(&PURPOSE, &wrapped).is_err());
}
