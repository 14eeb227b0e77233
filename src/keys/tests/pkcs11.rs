//! KEKs in a token, on SoftHSM: what is refused and how it is said, what opens, and what is survived.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;

use crate::keys::tests::softhsm::{MODULE, PIN, SoftHsm, open_uri, with_softhsm};
use crate::keys::tests::{PURPOSE, data_key, keeper_holds_to_the_rules, story};
use crate::keys::{Binding, KekUri, KeyErrorClass};

fn serial(hsm: &SoftHsm) -> String {
    let id = hsm.open("token=kek;object=g1", "").unwrap().describe().kek_id.clone().unwrap();
    id.strip_prefix("pkcs11:").unwrap().strip_suffix(";id=01").unwrap().to_owned()
}

#[test]
fn gcm_holds_to_the_rules() {
    with_softhsm("pkcs11::gcm_holds_to_the_rules", |hsm| {
        let kek = hsm.open("token=kek;object=g1", "").unwrap();
        assert_eq!(kek.capabilities().binding, Binding::AssociatedData);
        assert!(!kek.capabilities().held_here);
        kek.probe().unwrap();
        keeper_holds_to_the_rules(&kek, 0);
    });
}

#[test]
fn key_wrap_holds_to_the_rules() {
    with_softhsm("pkcs11::key_wrap_holds_to_the_rules", |hsm| {
        let kek = hsm.open("token=kek;object=g1", "&mechanism=kw").unwrap();
        assert_eq!(kek.capabilities().binding, Binding::Digest);
        kek.probe().unwrap();
        keeper_holds_to_the_rules(&kek, 0);
        // Either way of wrapping opens, whatever new wraps are made with.
        let by_gcm = hsm.open("token=kek;object=g1", "").unwrap();
        let key = data_key();
        let wrapped = by_gcm.wrap(&PURPOSE, &key).unwrap();
        assert!(kek.unwrap(&PURPOSE, &wrapped).unwrap().ct_eq(&key));
        let wrapped = kek.wrap(&PURPOSE, &key).unwrap();
        assert!(by_gcm.unwrap(&PURPOSE, &wrapped).unwrap().ct_eq(&key));
        // Nothing is left on the token or in the session.
        assert_eq!(hsm.tool(&["-O", "--type", "secrkey"]).matches("Secret Key Object").count(), 1);
    });
}

#[test]
fn wraps_of_one_key_differ() {
    with_softhsm("pkcs11::wraps_of_one_key_differ", |hsm| {
        let kek = hsm.open("token=kek;object=g1", "").unwrap();
        let key = data_key();
        let [a, b] = [(), ()].map(|()| kek.wrap(&PURPOSE, &key).unwrap());
        assert_ne!(a.blob[1..13], b.blob[1..13], "an IV was used twice");
        assert_eq!(a.blob.len(), 1 + 12 + 64 + 16);
    });
}

/// The id names token and key, not the label, which people change.
#[test]
fn the_id_stays_when_the_label_changes() {
    with_softhsm("pkcs11::the_id_stays_when_the_label_changes", |hsm| {
        let before = hsm.open("token=kek;object=g1", "").unwrap();
        let key = data_key();
        let wrapped = before.wrap(&PURPOSE, &key).unwrap();
        let serial = serial(hsm);
        for named in [format!("serial={serial};id=%01"), "token=kek;id=%01".into(), "token=kek;object=g1;id=%01".into()]
        {
            let kek = hsm.open(&named, "").unwrap();
            assert_eq!(kek.describe().kek_id.as_deref(), Some(wrapped.kek_id.as_str()));
            assert_eq!(kek.describe().label, format!("pkcs11:{named}"));
            assert!(kek.unwrap(&PURPOSE, &wrapped).unwrap().ct_eq(&key));
        }
        // A key that was restored to another token goes on under the id its wraps name.
        let moved = hsm.open("token=kek;object=g1", "&kek-id=pkcs11:0000;id=01").unwrap();
        assert_eq!(moved.wrap(&PURPOSE, &key).unwrap().kek_id, "pkcs11:0000;id=01");
        assert_eq!(moved.unwrap(&PURPOSE, &wrapped).err().unwrap().class(), KeyErrorClass::WrongKey);
    });
}

/// A key that only decrypts, which `pkcs11-tool` cannot make on SoftHSM.
fn make_one_way(label: &str, id: u8) {
    let module = Pkcs11::new(MODULE).unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let session = module.open_rw_session(module.get_slots_with_initialized_token().unwrap()[0]).unwrap();
    session.login(UserType::User, Some(&AuthPin::new(PIN.into()))).unwrap();
    let template = [
        Attribute::Token(true),
        Attribute::Label(label.into()),
        Attribute::Id(vec![id]),
        Attribute::ValueLen(32.into()),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(false),
    ];
    session.generate_key(&Mechanism::AesKeyGen, &template).unwrap();
}

/// Each refusal with what the operator reads.
#[test]
fn refusals_are_told_plainly() {
    with_softhsm("pkcs11::refusals_are_told_plainly", |hsm| {
        hsm.make_key("twin", "02", &["--sensitive"]);
        hsm.make_key("twin", "03", &["--sensitive"]);
        hsm.make_key("loose", "04", &["--extractable"]);
        make_one_way("one-way", 5);
        let exposed = hsm.dir().join("module.so");
        fs::copy(MODULE, &exposed).unwrap();
        fs::set_permissions(&exposed, PermissionsExt::from_mode(0o777)).unwrap();
        fs::write(hsm.dir().join("no-module.so"), "text").unwrap();
        let dir = hsm.dir().display();
        let golden = "\
> token=kek;object=gone
Disabled: pkcs11:token=kek;object=gone: the token has no such AES key
  hint: `pkcs11-tool --module MODULE --login -O` lists the keys; was it destroyed?
> token=kek;object=twin
Usage: pkcs11:token=kek;object=twin: 2 AES keys on the token fit
  hint: name one by its id: pkcs11:…;id=%01
> token=kek;object=loose
Usage: pkcs11:token=kek;object=loose: the key can be taken out of the token: its CKA_EXTRACTABLE is true
  hint: make a key with CKA_EXTRACTABLE false and CKA_SENSITIVE true
> token=kek;object=one-way
Disabled: pkcs11:token=kek;object=one-way: the key may not be used: its CKA_ENCRYPT is false
  hint: set the attribute, or make another key for this use
> ?module-path=DIR/missing.so
Local: pkcs11:token=kek;id=%01: there is no PKCS#11 module DIR/missing.so
  hint: install the vendor's module, or say where it is: ?module-path=/usr/lib/…
> ?module-name=nowhere
Local: pkcs11:token=kek;id=%01: there is no PKCS#11 module nowhere
  hint: install the vendor's module, or say where it is: ?module-path=/usr/lib/…
> ?module-path=DIR/module.so
Local: pkcs11:token=kek;id=%01: the PKCS#11 module DIR/module.so can be changed by others than root and its user
  hint: it runs inside the daemon: chown it to root and chmod go-w it
> ?module-path=DIR/no-module.so
Local: pkcs11:token=kek;id=%01: the PKCS#11 module DIR/no-module.so cannot be used
  because: DIR/no-module.so: file too short
  hint: is it a PKCS#11 module, and is its configuration readable?
";
        let mut told = String::new();
        for line in golden.lines().filter_map(|line| line.strip_prefix("> ")) {
            let error = match line.strip_prefix('?') {
                Some(query) => open_uri(&format!("pkcs11:token=kek;id=%01?{}", query.replace("DIR", &dir.to_string()))),
                None => hsm.open(line, ""),
            };
            let error = error.err().unwrap_or_else(|| panic!("{line} opened"));
            told += &format!("> {line}\n{:?}: {}", error.class(), story(&error, hsm.dir()));
        }
        assert_eq!(told, golden);
    });
}

/// A wrong PIN is offered once in the life of the process; the right one still works afterwards.
#[test]
fn a_wrong_pin_is_not_tried_again() {
    with_softhsm("pkcs11::a_wrong_pin_is_not_tried_again", |hsm| {
        let wrong = hsm.pin_file("4321");
        let uri = format!("pkcs11:token=kek;object=g1?module-path={MODULE}&pin-source={}", wrong.display());
        let first = open_uri(&uri).err().unwrap();
        assert_eq!(first.class(), KeyErrorClass::Denied);
        assert_eq!(
            story(&first, Path::new("/nowhere")),
            "pkcs11:token=kek;object=g1: the token refuses the PIN\n  \
             because: C_Login returned CKR_PIN_INCORRECT\n  \
             hint: correct the PIN and start again; each try counts\n"
        );
        let second = open_uri(&uri).err().unwrap();
        assert_eq!(second.class(), KeyErrorClass::Denied);
        assert_eq!(
            story(&second, Path::new("/nowhere")),
            "pkcs11:token=kek;object=g1: the token refused this PIN before, and it is not tried again: tokens lock after \
             a few tries\n  hint: correct the PIN and start again; each try counts\n"
        );
        hsm.open("token=kek;object=g1", "").unwrap().probe().unwrap();
    });
}

#[test]
fn a_pin_file_is_read_with_care() {
    with_softhsm("pkcs11::a_pin_file_is_read_with_care", |hsm| {
        let path = hsm.pin_file(PIN);
        fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let uri = format!("pkcs11:token=kek;object=g1?module-path={MODULE}&pin-source=file:{}", path.display());
        assert_eq!(
            story(&open_uri(&uri).err().unwrap(), hsm.dir()),
            "PIN file DIR/pin-1234: its mode 0644 lets others than its owner at it\n  hint: chmod 600 DIR/pin-1234\n"
        );
    });
}

/// All sessions closed behind our back: the session and the login are gone, and the next use gets new ones.
#[test]
fn a_lost_session_is_begun_again() {
    with_softhsm("pkcs11::a_lost_session_is_begun_again", |hsm| {
        let kek = hsm.open("token=kek;object=g1", "").unwrap();
        let key = data_key();
        let wrapped = kek.wrap(&PURPOSE, &key).unwrap();
        let again = || {
            // The same library of this very process, by another handle.
            Pkcs11::new(MODULE).unwrap().finalize().unwrap();
            let args = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
            Pkcs11::new(MODULE).unwrap().initialize(args).unwrap();
        };
        again();
        assert!(kek.unwrap(&PURPOSE, &wrapped).unwrap().ct_eq(&key));
        again();
        kek.wrap(&PURPOSE, &key).unwrap();
        again();
        kek.probe().unwrap();
    });
}

/// A token that is not there is worth another try, and nothing else has to be right for that.
#[test]
fn an_absent_token_is_unreachable() {
    with_softhsm("pkcs11::an_absent_token_is_unreachable", |hsm| {
        let kek = hsm.open("token=elsewhere;object=g1", "").unwrap();
        let said = "pkcs11:token=elsewhere;object=g1: the token is not there\n  hint: is the token plugged in and its service \
                    running? `pkcs11-tool --module MODULE -L` lists tokens\n";
        let wrapped = hsm.open("token=kek;object=g1", "").unwrap().wrap(&PURPOSE, &data_key()).unwrap();
        // Who was never reached could open anything of its kind.
        assert!(kek.could_open(&wrapped) && kek.describe().kek_id.is_none());
        for error in [
            kek.probe().err().unwrap(),
            kek.wrap(&PURPOSE, &data_key()).err().unwrap(),
            kek.unwrap(&PURPOSE, &wrapped).err().unwrap(),
        ] {
            assert_eq!(error.class(), KeyErrorClass::Unreachable);
            assert_eq!(story(&error, Path::new("/nowhere")), said);
        }
    });
}

/// A key destroyed on the token is not mistaken for a changed wrap, nor for a token that is away.
#[test]
fn a_destroyed_key_is_disabled() {
    with_softhsm("pkcs11::a_destroyed_key_is_disabled", |hsm| {
        let kek = hsm.open("token=kek;object=g1", "").unwrap();
        let wrapped = kek.wrap(&PURPOSE, &data_key()).unwrap();
        hsm.tool(&["--delete-object", "--type", "secrkey", "--id", "01"]);
        for error in [
            kek.unwrap(&PURPOSE, &wrapped).err().unwrap(),
            kek.wrap(&PURPOSE, &data_key()).err().unwrap(),
            kek.probe().err().unwrap(),
        ] {
            assert_eq!(error.class(), KeyErrorClass::Disabled, "{error}");
        }
        // Another key under the same name: what it cannot open is an alarm, and the message leaves room for this.
        hsm.make_key("g1", "01", &["--sensitive"]);
        let error = kek.unwrap(&PURPOSE, &wrapped).err().unwrap();
        assert_eq!(error.class(), KeyErrorClass::Tampered);
        assert!(error.to_string().contains("replaced by another of the same name"), "{error}");
    });
}

/// A token deleted under an open KEK.
#[test]
fn a_token_that_goes_is_unreachable() {
    with_softhsm("pkcs11::a_token_that_goes_is_unreachable", |hsm| {
        let kek = hsm.open("token=kek;object=g1", "").unwrap();
        let wrapped = kek.wrap(&PURPOSE, &data_key()).unwrap();
        hsm.delete_token("kek");
        let error = kek.unwrap(&PURPOSE, &wrapped).err().unwrap();
        assert!(matches!(error.class(), KeyErrorClass::Unreachable | KeyErrorClass::Disabled), "{error}");
        assert_ne!(kek.probe().map_err(|error| error.class()), Ok(()));
    });
}

#[test]
fn uris_read_and_print() {
    let text = "pkcs11:token=my%20kek;id=%01%ff;object=g1;slot-id=7?module-name=softhsm2&pin-source=fd:3&mechanism=kw";
    assert_eq!(text.parse::<KekUri>().unwrap().to_string(), text);
}

#[test]
fn uri_refusals_say_what_is_wrong() {
    let golden = "\
> token=kek?module-path=/m
it names no key: object= or id= is missing
> object=g1?module-path=/m
it names no token: token=, serial= or slot-id= is missing
> token=kek;object=g1
it names no module: ?module-path= or ?module-name= is missing
> token=kek;object=g1?module-path=m.so
module-path is not absolute
> token=kek;object=g1?module-name=a/b
module-name is a name without slashes
> token=kek;object=g1?module-name=m&module-path=/m
module-path and module-name cannot both be given
> token=kek;object=g1?module-path=/m&pin-value=1234
pin-value is refused: every user of the machine can read it; put the PIN into a file
> token=kek;object=g1;pin-value=1234?module-path=/m
pin-value is refused: every user of the machine can read it; put the PIN into a file
> token=kek;object=g1?module-path=/m&pin-source=|cat
pin-source cannot be a command; use file:PATH or fd:N
> token=kek;object=g1?module-path=/m&pin-source=pin
pin-source is file: and an absolute path, or fd: and a number
> token=kek;object=g1?module-path=/m&mechanism=cbc
mechanism is gcm or kw
> token=kek;object=g1?module-path=/m&kek-id=file-00
kek-id is an id of an HSM key as `keymoult key list` shows it
> token=kek;object=g1;type=public?module-path=/m
only a secret-key can be a KEK
> token=kek;object=g1;colour=red?module-path=/m
it has an attribute that means nothing here
> token=kek;token=kek;object=g1?module-path=/m
an attribute is given twice
> token=kek;object=%0?module-path=/m
a percent sign is not followed by two hexadecimal digits
> token=kek;object?module-path=/m
an attribute has no value
> slot-id=x;object=g1?module-path=/m
slot-id is no number
";
    let mut told = String::new();
    for line in golden.lines().filter_map(|line| line.strip_prefix("> ")) {
        let error = format!("pkcs11:{line}").parse::<KekUri>().unwrap_err();
        assert_eq!(error.class(), KeyErrorClass::Usage);
        let said = error.to_string();
        assert!(!said.contains("1234") && error.hint().is_some());
        told += &format!("> {line}\n{}\n", said.strip_prefix("KEK URI pkcs11: ").unwrap());
    }
    assert_eq!(told, golden);
}
