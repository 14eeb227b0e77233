//! KEK URIs: how an operator names the key that wraps the others.
//!
//! Invariants: a scheme the design knows is recognised even when this build does not serve it; what an argument holds
//! beyond the scheme is never echoed unless it is a path, because it may be a passphrase or a PIN.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::keys::credential;
use crate::keys::error::KeyError;
use crate::keys::kmip::KmipUri;
use crate::keys::pkcs11::Pkcs11Uri;
use crate::keys::vault::VaultUri;

/// A KEK that this build can open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KekUri {
    /// `file:PATH`: a key file.
    File(PathBuf),
    /// `passphrase:`, `passphrase:file=PATH` or `passphrase:fd=N`.
    Passphrase(PassphraseSource),
    /// `systemd-cred:NAME`: a credential of the unit.
    SystemdCred(String),
    /// `pkcs11:…`: a key in a token.
    Pkcs11(Box<Pkcs11Uri>),
    /// `vault://HOST:PORT/MOUNT/KEY?…`: Vault or OpenBao Transit.
    Vault(VaultUri),
    /// `kmip://HOST:PORT/KEY-ID?…`: a KMIP server.
    Kmip(KmipUri),
}

/// Where a passphrase comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassphraseSource {
    /// Asked for on the terminal.
    Prompt,
    /// The first line of a file.
    File(PathBuf),
    /// The first line from a descriptor that was passed to this program.
    Descriptor(i32),
}

/// Schemes of later builds, and what serves today.
const LATER: &[(&str, &str)] = &[
    ("awskms", "AWS KMS cannot be used yet; use file: or passphrase:"),
    ("tpm2", "a TPM cannot be used yet; use file: or passphrase:"),
];

impl FromStr for KekUri {
    type Err = KeyError;

    fn from_str(uri: &str) -> Result<KekUri, KeyError> {
        let Some((scheme, rest)) = uri.split_once(':') else {
            return Err(not_uri(uri));
        };
        match scheme {
            "file" => file(rest),
            "passphrase" => passphrase(rest),
            "systemd-cred" => systemd_cred(rest),
            "pkcs11" => Ok(KekUri::Pkcs11(Box::new(rest.parse()?))),
            "kmip" => KmipUri::parse(rest).map(KekUri::Kmip),
            "vault" => VaultUri::parse("vault", rest).map(KekUri::Vault),
            "vault+http" => VaultUri::parse("vault+http", rest).map(KekUri::Vault),
            _ => match LATER.iter().find(|(name, _)| *name == scheme) {
                Some((scheme, instead)) => Err(KeyError::NotInBuild { scheme, instead }),
                None => Err(not_uri(uri)),
            },
        }
    }
}

fn file(rest: &str) -> Result<KekUri, KeyError> {
    let bad = |reason| Err(KeyError::BadUri { scheme: "file", reason });
    let path = match rest.strip_prefix("//") {
        Some(local) if local.starts_with('/') => local,
        Some(_) => return bad("a host is named; only local files can be opened"),
        None => rest,
    };
    match path {
        "" => bad("no path is given"),
        path if path.contains('\0') => bad("the path contains a NUL byte"),
        path => Ok(KekUri::File(path.into())),
    }
}

fn passphrase(rest: &str) -> Result<KekUri, KeyError> {
    let bad = |reason| Err(KeyError::BadUri { scheme: "passphrase", reason });
    if let Some(number) = rest.strip_prefix("fd=") {
        let number = number.parse().ok().filter(|number| *number >= 0);
        return match number {
            Some(number) => Ok(KekUri::Passphrase(PassphraseSource::Descriptor(number))),
            None => bad("fd= is not followed by the number of a descriptor"),
        };
    }
    match (rest, rest.strip_prefix("file=")) {
        ("", _) => Ok(KekUri::Passphrase(PassphraseSource::Prompt)),
        (_, Some("")) => bad("no path is given"),
        (_, Some(path)) if path.contains('\0') => bad("the path contains a NUL byte"),
        (_, Some(path)) => Ok(KekUri::Passphrase(PassphraseSource::File(path.into()))),
        (_, None) => bad("nothing, file=PATH or fd=N may follow"),
    }
}

fn systemd_cred(rest: &str) -> Result<KekUri, KeyError> {
    if !credential::is_name(rest) {
        return Err(KeyError::BadUri { scheme: "systemd-cred", reason: "the name of a credential has to follow" });
    }
    Ok(KekUri::SystemdCred(rest.to_owned()))
}

/// Shows a path whole; of anything else what stands before the first separator, in case the rest is secret.
fn not_uri(uri: &str) -> KeyError {
    let shown = if uri.starts_with(['/', '.']) && !uri.contains(':') {
        uri.to_owned()
    } else {
        let scheme = uri.split_once(':').map_or("", |(scheme, _)| scheme);
        let name = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        if !scheme.is_empty() && scheme.len() <= 32 && scheme.chars().all(name) {
            format!("{scheme}:…")
        } else {
            "…".to_owned()
        }
    };
    KeyError::NotUri { shown }
}

impl fmt::Display for KekUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Two slashes right behind the scheme would be read as the start of a host.
            KekUri::File(path) if path.as_os_str().as_encoded_bytes().starts_with(b"//") => {
                write!(f, "file://{}", path.display())
            }
            KekUri::File(path) => write!(f, "file:{}", path.display()),
            KekUri::Passphrase(source) => source.fmt(f),
            KekUri::SystemdCred(name) => write!(f, "systemd-cred:{name}"),
            KekUri::Pkcs11(uri) => uri.fmt(f),
            KekUri::Vault(uri) => uri.fmt(f),
            KekUri::Kmip(uri) => uri.fmt(f),
        }
    }
}

impl fmt::Display for PassphraseSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PassphraseSource::Prompt => f.write_str("passphrase:"),
            PassphraseSource::File(path) => write!(f, "passphrase:file={}", path.display()),
            PassphraseSource::Descriptor(number) => write!(f, "passphrase:fd={number}"),
        }
    }
}
