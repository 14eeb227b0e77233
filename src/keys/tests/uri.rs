//! Golden messages for KEK URIs; most of these are refusals.

use std::path::Path;

use crate::keys::tests::story;
use crate::keys::{KekUri, KeyErrorClass, PassphraseSource};

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
  hint: a KEK is file:PATH, passphrase:, passphrase:file=PATH, systemd-cred:NAME or pkcs11:…
> gcpkms:projects/p
not a KEK URI: \"gcpkms:…\"
  hint: a KEK is file:PATH, passphrase:, passphrase:file=PATH, systemd-cred:NAME or pkcs11:…
> passphrase:fd=three
KEK URI passphrase: fd= is not followed by the number of a descriptor
  hint: write passphrase: to be asked, or passphrase:file=PATH or passphrase:fd=N; a passphrase in an argument is seen by every user of the machine and kept in shell histories
> pkcs11:token=kek;object=kek-g1
KEK URI pkcs11: it names no module: ?module-path= or ?module-name= is missing
  hint: an HSM key is named pkcs11:token=LABEL;object=LABEL?module-path=/usr/lib/…/module.so&pin-source=file:PATH; the token also by serial= or slot-id=, the key by id=%01
> vault://127.0.0.1:8200/transit/k
KEK URI vault: not in this build
  hint: Vault Transit cannot be used yet; have its agent write a key file, and use file:
> kmip://host
KEK URI kmip: not in this build
  hint: a KMIP server cannot be used yet; use file: or passphrase:
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
        "unknown:hunter2",
        "file://hunter2",
    ] {
        let error = uri.parse::<KekUri>().unwrap_err();
        let told = story(&error, Path::new("/nowhere")) + &format!("{error:?}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}
