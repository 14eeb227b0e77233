//! systemd credentials: key files as the service manager leaves them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::keys::credential::CredentialKek;
use crate::keys::tests::{PURPOSE, data_key, keeper_holds_to_the_rules, story};
use crate::keys::{FileKek, Kek, KeyError, KeyErrorClass};

const LINE: &str = "keymoult-kek-v1:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";

fn credentials(mode: u32) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("kek"), LINE).unwrap();
    fs::set_permissions(dir.path().join("kek"), Permissions::from_mode(mode)).unwrap();
    dir
}

fn open(dir: &Path, name: &str) -> Result<CredentialKek, KeyError> {
    CredentialKek::in_directory(Some(dir.into()), name)
}

#[test]
fn the_keeper_holds_to_the_rules() {
    let dir = credentials(0o400);
    let kek = Kek::unwitnessed(open(dir.path(), "kek").unwrap());
    assert_eq!(kek.describe().label, "systemd-cred:kek");
    assert_eq!(kek.describe().kek_id.as_deref(), Some("cred-973016b8e53ac81d"));
    keeper_holds_to_the_rules(&kek, 0);
}

/// The same 32 bytes as a key file and as a credential are two KEKs: a wrap says which keeper made it.
#[test]
fn a_key_file_does_not_open_what_a_credential_wrapped() {
    let dir = credentials(0o400);
    let credential = Kek::unwitnessed(open(dir.path(), "kek").unwrap());
    let file = Kek::unwitnessed(FileKek::open(&dir.path().join("kek")).unwrap());
    let wrapped = credential.wrap(&PURPOSE, &data_key()).unwrap();
    assert_eq!(file.unwrap(&PURPOSE, &wrapped).err().unwrap().class(), KeyErrorClass::WrongKey);
}

/// 0440 is what systemd leaves beside an access list; it is root's alone then.
#[test]
fn modes_are_those_that_systemd_makes() {
    let is_root = nix::unistd::geteuid().is_root();
    for (mode, fits) in [(0o400, true), (0o600, true), (0o440, is_root), (0o444, false), (0o460, false)] {
        let dir = credentials(mode);
        let opened = open(dir.path(), "kek");
        assert_eq!(opened.is_ok(), fits, "{mode:o}");
        if let Err(error) = opened {
            assert!(matches!(error, KeyError::Exposed { .. }), "{error}");
        }
    }
    if is_root {
        let dir = credentials(0o440);
        std::os::unix::fs::chown(dir.path().join("kek"), None, Some(12345)).unwrap();
        assert!(matches!(open(dir.path(), "kek"), Err(KeyError::Exposed { .. })), "another group than root's");
    }
}

#[test]
fn refusals_say_what_the_unit_lacks() {
    let dir = credentials(0o400);
    fs::write(dir.path().join("text"), "hello").unwrap();
    fs::set_permissions(dir.path().join("text"), Permissions::from_mode(0o400)).unwrap();
    let no_unit = "\
systemd-cred:kek: CREDENTIALS_DIRECTORY is not set, so there are no credentials
  hint: run it as a systemd service whose unit says LoadCredentialEncrypted=kek:/etc/keymoult/kek.cred
";
    for directory in [None, Some("relative".into())] {
        let error = CredentialKek::in_directory(directory, "kek").err().unwrap();
        assert_eq!((error.class(), story(&error, dir.path()).as_str()), (KeyErrorClass::Local, no_unit));
    }
    for (name, said) in [
        (
            "other",
            "credential DIR/other: there is no such file\n  \
             hint: the unit has to load it: LoadCredentialEncrypted=NAME:PATH, with this NAME\n",
        ),
        (
            "text",
            "credential DIR/text: it does not begin with keymoult-kek-v1:\n  \
             hint: the credential has to hold a key file: systemd-creds encrypt --name=NAME KEYFILE NAME.cred\n",
        ),
    ] {
        assert_eq!(story(&open(dir.path(), name).err().unwrap(), dir.path()), said);
    }
}

/// Systemd takes credentials away when the unit stops, and the KEK is held until then.
#[test]
fn a_held_kek_needs_its_credential_no_more() {
    let dir = credentials(0o400);
    let kek = Kek::unwitnessed(open(dir.path(), "kek").unwrap());
    let key = data_key();
    let wrapped = kek.wrap(&PURPOSE, &key).unwrap();
    drop(dir);
    kek.probe().unwrap();
    assert!(kek.unwrap(&PURPOSE, &wrapped).unwrap().ct_eq(&key));
}

#[test]
fn another_key_file_in_the_credential_is_told_from_tampering() {
    let dir = credentials(0o400);
    let kek = Kek::unwitnessed(open(dir.path(), "kek").unwrap());
    let wrapped = kek.wrap(&PURPOSE, &data_key()).unwrap();
    fs::write(dir.path().join("new"), LINE.replace("00", "ff")).unwrap();
    fs::set_permissions(dir.path().join("new"), Permissions::from_mode(0o400)).unwrap();
    let other = Kek::unwitnessed(open(dir.path(), "new").unwrap());
    assert_eq!(other.unwrap(&PURPOSE, &wrapped).err().unwrap().class(), KeyErrorClass::WrongKey);
    assert!(!other.could_open(&wrapped));
}
