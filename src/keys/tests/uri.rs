//! Golden messages for KEK URIs; most of these are refusals.

use std::path::Path;

use crate::keys::tests::story;
use crate::keys::{KekUri, KeyErrorClass, PassphraseSource};

/// Each way to log in, as written and as printed.
#[test]
fn keys_of_keepers_elsewhere_read_and_print() {
    for (text, printed) in [
        ("vault://kms/transit/k?token-file=/t", "vault://kms:8200/transit/k?token-file=/t"),
        ("vault+http://[::1]:1/a/b/k?token-file=/t", "vault+http://[::1]:1/a/b/k?token-file=/t"),
        (
            "vault://kms:1/transit/k?role=km&key=/k&cert=/c&ca=/ca",
            "vault://kms:1/transit/k?ca=/ca&cert=/c&key=/k&role=km",
        ),
        (
            "vault://kms:1/t/k?role-id-file=/r&secret-id-file=/s&auth=approle2&namespace=a/b&timeout=3",
            "vault://kms:1/t/k?role-id-file=/r&secret-id-file=/s&auth=approle2&namespace=a/b&timeout=3",
        ),
    ] {
        let uri = text.parse::<KekUri>().unwrap();
        assert_eq!(uri.to_string(), printed);
        assert_eq!(printed.parse::<KekUri>().unwrap(), uri);
    }
    let text = "kmip://kms/7?ca=/ca&cert=/c&key=/k";
    let uri = text.parse::<KekUri>().unwrap();
    assert_eq!(uri.to_string(), "kmip://kms:5696/7?ca=/ca&cert=/c&key=/k");
    assert_eq!(uri.to_string().parse::<KekUri>().unwrap(), uri);
    for wrong in [
        "kmip://kms/7?cert=/c",
        "kmip://kms/a/b?cert=/c&key=/k",
        "kmip://kms/7?cert=/c&key=/k&password=x",
        "vault://kms/transit/k?cert=/c",
        "vault://kms/transit/k?token-file=/t&role=r",
        "vault://kms/transit/k?token-file=/t&auth=m",
        "vault://kms/transit/k?token-file=/t&role-id-file=/r&secret-id-file=/s",
        "vault://kms/transit/../k?token-file=/t",
        "vault://kms/transit/k?token-file=/t&namespace=a%0d%0ab",
        "vault://kms/transit/k?token-file=/t&timeout=0",
        "vault+http://127.0.0.1/transit/k?token-file=/t&ca=/ca",
    ] {
        assert_eq!(wrong.parse::<KekUri>().unwrap_err().class(), KeyErrorClass::Usage, "{wrong}");
    }
}

#[test]
fn what_this_build_opens_reads_and_prints() {
    for (text, uri, printed) in [
        ("file:/etc/k", KekUri::File("/etc/k".into()), "file:/etc/k"),
        ("file:///etc/k", KekUri::File("/etc/k".into()), "file:/etc/k"),
        // Printed with two slashes it would name a host.
        ("file:////srv/k", KekUri::File("//srv/k".into()), "file:////srv/k"),
        ("file:keys/a b", KekUri::File("keys/a b".into()), "file:keys/a b"),
        ("passphrase:", KekUri::Passphrase(PassphraseSource::Prompt), "passphrase:"),
        (
            "passphrase:file=/run/p",
            KekUri::Passphrase(PassphraseSource::File("/run/p".into())),
            "passphrase:file=/run/p",
        ),
        ("passphrase:fd=3", KekUri::Passphrase(PassphraseSource::Descriptor(3)), "passphrase:fd=3"),
        ("systemd-cred:kek", KekUri::SystemdCred("kek".into()), "systemd-cred:kek"),
    ] {
        assert_eq!(text.parse::<KekUri>().unwrap(), uri);
        assert_eq!(uri.to_string(), printed);
        assert_eq!(printed.parse::<KekUri>().unwrap(), uri);
    }
}

#[test]
fn refusals_say_what_to_write() {
    let golden = "\
> file:
KEK URI file: no path is given
  hint: a key file is named file:PATH
> file://server/key
KEK URI file: a host is named; only local files can be opened
  hint: a key file is named file:PATH
> passphrase:file=
KEK URI passphrase: no path is given
  hint: write passphrase: to be asked, or passphrase:file=PATH or passphrase:fd=N; a passphrase in an argument is seen by every user of the machine and kept in shell histories
> /etc/keymoult/kek
not a KEK URI: \"/etc/keymoult/kek\"
  hint: a key file is named file:/etc/keymoult/kek
> kek
not a KEK URI: \"…\"
  hint: a KEK is file:PATH, passphrase:, passphrase:file=PATH, systemd-cred:NAME, pkcs11:…, vault://… or kmip://…
> gcpkms:projects/p
not a KEK URI: \"gcpkms:…\"
  hint: a KEK is file:PATH, passphrase:, passphrase:file=PATH, systemd-cred:NAME, pkcs11:…, vault://… or kmip://…
> passphrase:fd=three
KEK URI passphrase: fd= is not followed by the number of a descriptor
  hint: write passphrase: to be asked, or passphrase:file=PATH or passphrase:fd=N; a passphrase in an argument is seen by every user of the machine and kept in shell histories
> pkcs11:token=kek;object=kek-g1
KEK URI pkcs11: it names no module: ?module-path= or ?module-name= is missing
  hint: an HSM key is named pkcs11:token=LABEL;object=LABEL?module-path=/usr/lib/…/module.so&pin-source=file:PATH; the token also by serial= or slot-id=, the key by id=%01
> vault:transit/k
KEK URI vault: behind the scheme belongs //HOST:PORT/MOUNT/KEY
  hint: write vault://HOST:PORT/MOUNT/KEY?ca=FILE&token-file=FILE; a token or password does not belong into it
> vault://127.0.0.1:8200/k
KEK URI vault: it names no key: //HOST:PORT/MOUNT/KEY
  hint: write vault://HOST:PORT/MOUNT/KEY?ca=FILE&token-file=FILE; a token or password does not belong into it
> vault://127.0.0.1:8200/transit/k
KEK URI vault: it says no way to log in: token-file=FILE, cert=FILE&key=FILE, or role-id-file=FILE&secret-id-file=FILE behind ?
  hint: write vault://HOST:PORT/MOUNT/KEY?ca=FILE&token-file=FILE; a token or password does not belong into it
> vault+http://kms/transit/k?token-file=/t
KEK URI vault+http: without TLS only this machine can be named; use vault:
  hint: write vault://HOST:PORT/MOUNT/KEY?ca=FILE&token-file=FILE; a token or password does not belong into it
> vault://kms/transit/k?token=s.abc
KEK URI vault: a setting behind ? is unknown
  hint: write vault://HOST:PORT/MOUNT/KEY?ca=FILE&token-file=FILE; a token or password does not belong into it
> kmip://host
KEK URI kmip: it names no key: //HOST:PORT/KEY-ID
  hint: write kmip://HOST:PORT/KEY-ID?ca=FILE&cert=FILE&key=FILE; a password does not belong into it
> kmip://host/7
KEK URI kmip: a client certificate is needed: cert=FILE&key=FILE behind ?
  hint: write kmip://HOST:PORT/KEY-ID?ca=FILE&cert=FILE&key=FILE; a password does not belong into it
> awskms:arn:aws:kms:eu-west-1:1:key/k
KEK URI awskms: not in this build
  hint: AWS KMS cannot be used yet; use file: or passphrase:
> systemd-cred:
KEK URI systemd-cred: the name of a credential has to follow
  hint: a credential is named systemd-cred:NAME, by the name it has in the unit
> systemd-cred:../kek
KEK URI systemd-cred: the name of a credential has to follow
  hint: a credential is named systemd-cred:NAME, by the name it has in the unit
> tpm2:
KEK URI tpm2: not in this build
  hint: a TPM cannot be used yet; use file: or passphrase:
";
    let mut told = String::new();
    for uri in golden.lines().filter_map(|line| line.strip_prefix("> ")) {
        let error = uri.parse::<KekUri>().unwrap_err();
        assert_eq!(error.class(), KeyErrorClass::Usage);
        told += &format!("> {uri}\n{}", story(&error, Path::new("/nowhere")));
    }
    assert_eq!(told, golden);
}

/// A passphrase or PIN that landed in the URI must not come out in a message.
#[test]
fn what_may_be_secret_is_not_repeated() {
    for uri in [
        "passphrase:hunter2",
        "passphrase:File=hunter2",
        "hunter2",
        "hunter2 and more:x",
        "passphrase:fd=hunter2",
        "systemd-cred:hunter2/x",
        "pkcs11:token=t?pin-value=hunter2",
        "pkcs11:token=t;object=o?module-path=/m&PIN-VALUE=hunter2",
        "vault://hunter2@host/transit/k",
        "vault://u:hunter2@host/transit/k?token-file=/t",
        "vault://host/transit/k?token=hunter2",
        "kmip://hunter2@host/7?cert=/c&key=/k",
        "kmip://host/hunter2/7?cert=/c&key=/k&password=hunter2",
        "vault://host/transit/hunter2 x?token-file=/t",
        "unknown:hunter2",
        "file://hunter2",
    ] {
        let error = uri.parse::<KekUri>().unwrap_err();
        let told = story(&error, Path::new("/nowhere")) + &format!("{error:?}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}
