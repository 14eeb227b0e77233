//! The files TLS is made of: what is taken, what is refused, and in which words.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::super::tls::{Files, Names, TlsError};
use super::certificates::{Authority, Says, write};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// A folder with good files.
fn good(folder: &Path) -> (Authority, Files) {
    let authority = Authority::new("authority");
    let server = authority.issue(Says::server());
    let files = Files {
        certificate: write(folder, "certificate", &(server.certificate + &authority.pem)),
        key: write(folder, "key", &server.key),
        client_ca: Some(write(folder, "ca", &authority.pem)),
        client_crl: Some(write(folder, "crl", &authority.revoke(&[7]))),
    };
    (authority, files)
}

#[test]
fn good_files_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (_, files) = good(folder.path());
    files.load().unwrap();
    Files { client_crl: None, ..files.clone() }.load().unwrap();
    Files { client_crl: None, client_ca: None, ..files }.load().unwrap();
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_, files) = good(folder.path());
    for mode in [0o640, 0o604, 0o660, 0o644] {
        std::fs::set_permissions(&files.key, PermissionsExt::from_mode(mode)).unwrap();
        let error = files.load().unwrap_err();
        assert!(matches!(error, TlsError::Exposed { mode: found, .. } if found == mode), "{error}");
        assert!(error.to_string().contains(&format!("its mode {mode:04o} lets others")), "{error}");
    }
    // A link to it is as good as the file itself: what is opened counts.
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&files.key, &link).unwrap();
    assert!(matches!(Files { key: link, ..files.clone() }.load(), Err(TlsError::Exposed { .. })));
    std::fs::set_permissions(&files.key, PermissionsExt::from_mode(0o400)).unwrap();
    files.load().unwrap();
}

#[test]
fn bad_files_are_refused_by_name_and_without_their_content() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, files) = good(folder.path());
    let key = std::fs::read_to_string(&files.key).unwrap();
    let secret = key.lines().nth(1).unwrap().to_owned();
    let place = |name: &str, text: &str| write(folder.path(), name, text);
    let broken = key.replace("-----END PRIVATE KEY-----", "");
    let cases = [
        (Files { key: place("1", ""), ..files.clone() }, "holds no private key"),
        (Files { key: place("2", &broken), ..files.clone() }, "is broken PEM"),
        (Files { key: place("3", &key.replace(&secret, "!!")), ..files.clone() }, "is broken PEM"),
        (Files { key: place("4", &key.replace(&secret[..8], "AAAAAAAA")), ..files.clone() }, "TLS cannot use it"),
        (
            Files { key: place("5", &authority.issue(Says::server()).key), ..files.clone() },
            "is not that of the certificate",
        ),
        (Files { key: files.certificate.clone(), ..files.clone() }, "holds no private key"),
        (Files { key: folder.path().into(), ..files.clone() }, "is not a regular file"),
        (Files { key: folder.path().join("none"), ..files.clone() }, "cannot read the TLS key"),
        (Files { certificate: place("6", &key), ..files.clone() }, "holds no certificate"),
        (
            Files {
                certificate: place("7", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
                ..files.clone()
            },
            "TLS certificate",
        ),
        (Files { client_ca: Some(place("8", "")), ..files.clone() }, "holds no certificate"),
        (Files { client_crl: Some(place("9", &authority.pem)), ..files.clone() }, "holds no revocation list"),
        (Files { certificate: place("10", &"x".repeat(2 << 20)), ..files }, "is not a regular file of at most"),
    ];
    for (index, (files, words)) in cases.iter().enumerate() {
        let error = files.load().unwrap_err();
        let (shown, whole) = (error.to_string(), format!("{error:?}"));
        assert!(shown.contains(words), "case {index}: {shown}");
        assert!(!whole.contains(&secret) && !whole.contains(&secret[..12]), "case {index} shows the key: {whole}");
    }
}

#[test]
fn a_certificate_bears_its_dns_names_or_else_its_common_name() {
    let authority = Authority::new("authority");
    let names = |says: Says<'_>| {
        let pem = authority.issue(says).certificate;
        Names::of(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
    };
    let both = names(Says { names: &["Host.example", "*.wild.example", "192.0.2.1"], ..Says::client("alice") });
    for name in ["host.example", "HOST.EXAMPLE", "*.wild.example"] {
        assert!(both.include(name), "{name}");
    }
    for name in ["alice", "a.wild.example", "192.0.2.1", "example", ""] {
        assert!(!both.include(name), "{name}");
    }
    let common = names(Says::client("Alice Ärger"));
    assert!(common.include("Alice Ärger"));
    assert!(!common.include("alice Ärger"), "a common name is compared as it is");
    let address = names(Says { names: &["192.0.2.1"], ..Says::client("alice") });
    assert!(address.include("alice"), "an address is no DNS name");
    assert!(!names(Says::client("alice\u{0}.example")).include("alice"));
    assert_eq!(names(Says::client("alice\u{0}.example")), Names::default());
    assert_eq!(names(Says::client(&"x".repeat(256))), Names::default());
}
