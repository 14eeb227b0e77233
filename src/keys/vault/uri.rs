//! `vault://HOST:PORT/MOUNT/KEY?…`: a key of Vault or OpenBao Transit, and how to get at it.
//!
//! Invariants: nothing secret stands in it, only names of files; without TLS there is no host but this machine; there is
//! exactly one way to log in.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::keys::error::KeyError;
use crate::keys::net::{Address, Settings, TlsFiles, is_name};

const PORT: u16 = 8200;
/// How long a request may take, if nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How to prove who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A token that somebody else keeps alive in a file.
    TokenFile(PathBuf),
    /// The TLS client certificate (`auth/cert`), for the named role, or whichever fits.
    Certificate {
        /// The role.
        role: Option<String>,
    },
    /// AppRole: an id and a secret, each in a file.
    AppRole {
        /// File of the role id.
        role: PathBuf,
        /// File of the secret id.
        secret: PathBuf,
    },
}

/// A Transit key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultUri {
    /// Where the keeper is.
    pub address: Address,
    /// TLS, or plain HTTP on this machine.
    pub tls: Option<TlsFiles>,
    /// Mount of the Transit engine.
    pub mount: String,
    /// Name of the key.
    pub key: String,
    /// Namespace, if any.
    pub namespace: Option<String>,
    /// How to log in.
    pub credentials: Credentials,
    /// Mount of the login method, if it is not the usual one.
    pub auth: Option<String>,
    /// How long a request may take.
    pub timeout: Duration,
}

impl VaultUri {
    /// Reads what stands behind `scheme:`; `scheme` is `vault` or `vault+http`.
    pub(in crate::keys) fn parse(scheme: &'static str, rest: &str) -> Result<VaultUri, KeyError> {
        read(scheme, rest).map_err(|reason| KeyError::BadUri { scheme, reason })
    }

    /// The keeper's name for the key, as it is bound into every wrap: where it is found, whatever the host.
    pub(super) fn kek_id(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}/{}", self.mount, self.key),
            None => format!("{}/{}", self.mount, self.key),
        }
    }

    /// The key as messages name it.
    pub(super) fn label(&self) -> String {
        format!("{}://{}/{}/{}", self.scheme(), self.address, self.mount, self.key)
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "vault" } else { "vault+http" }
    }
}

fn read(scheme: &str, rest: &str) -> Result<VaultUri, &'static str> {
    let rest = rest.strip_prefix("//").ok_or("behind the scheme belongs //HOST:PORT/MOUNT/KEY")?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (address, path) = place.split_once('/').ok_or("it names no key: //HOST:PORT/MOUNT/KEY")?;
    let address = Address::parse(address, PORT)?;
    let (mount, key) = path.rsplit_once('/').ok_or("it names no key: //HOST:PORT/MOUNT/KEY")?;
    if !is_name(mount) || !is_name(key) {
        return Err("mount and key are made of letters, digits and -._");
    }
    let mut settings = Settings::parse(query)?;
    let ca = settings.path("ca");
    let identity = pair(settings.path("cert"), settings.path("key"), "cert=FILE and key=FILE belong together")?;
    let token = settings.path("token-file");
    let approle = pair(
        settings.path("role-id-file"),
        settings.path("secret-id-file"),
        "role-id-file=FILE and secret-id-file=FILE belong together",
    )?;
    let role = settings.name("role")?;
    let (auth, namespace) = (settings.name("auth")?, settings.name("namespace")?);
    let timeout = settings.timeout(TIMEOUT)?;
    settings.finish()?;
    let credentials = match (token, approle) {
        (Some(_), Some(_)) => return Err("token-file and role-id-file are two ways to log in; one is needed"),
        (Some(path), None) => Credentials::TokenFile(path),
        (None, Some((role, secret))) => Credentials::AppRole { role, secret },
        (None, None) if identity.is_some() => Credentials::Certificate { role: role.clone() },
        (None, None) => {
            return Err("it says no way to log in: token-file=FILE, cert=FILE&key=FILE, or \
                        role-id-file=FILE&secret-id-file=FILE behind ?");
        }
    };
    if role.is_some() && !matches!(credentials, Credentials::Certificate { .. }) {
        return Err("role=NAME belongs to a login by certificate");
    }
    if auth.is_some() && matches!(credentials, Credentials::TokenFile(_)) {
        return Err("auth=MOUNT belongs to a login, and a token needs none");
    }
    let tls = match scheme {
        "vault" => Some(TlsFiles { ca, identity }),
        _ if ca.is_some() || identity.is_some() => return Err("without TLS there are no certificates; use vault:"),
        _ if !address.is_loopback() => return Err("without TLS only this machine can be named; use vault:"),
        _ => None,
    };
    let (mount, key) = (mount.to_owned(), key.to_owned());
    Ok(VaultUri { address, tls, mount, key, namespace, credentials, auth, timeout })
}

fn pair<T>(a: Option<T>, b: Option<T>, otherwise: &'static str) -> Result<Option<(T, T)>, &'static str> {
    match (a, b) {
        (Some(a), Some(b)) => Ok(Some((a, b))),
        (None, None) => Ok(None),
        _ => Err(otherwise),
    }
}

impl FromStr for VaultUri {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<VaultUri, KeyError> {
        match text.split_once(':') {
            Some(("vault", rest)) => VaultUri::parse("vault", rest),
            Some(("vault+http", rest)) => VaultUri::parse("vault+http", rest),
            _ => Err(KeyError::BadUri { scheme: "vault", reason: "it does not begin with vault://" }),
        }
    }
}

impl fmt::Display for VaultUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label())?;
        let mut settings: Vec<(&str, String)> = Vec::new();
        let path = |path: &PathBuf| path.display().to_string();
        if let Some(tls) = &self.tls {
            settings.extend(tls.ca.as_ref().map(|ca| ("ca", path(ca))));
            if let Some((certificate, key)) = &tls.identity {
                settings.extend([("cert", path(certificate)), ("key", path(key))]);
            }
        }
        match &self.credentials {
            Credentials::TokenFile(file) => settings.push(("token-file", path(file))),
            Credentials::Certificate { role } => settings.extend(role.clone().map(|role| ("role", role))),
            Credentials::AppRole { role, secret } => {
                settings.extend([("role-id-file", path(role)), ("secret-id-file", path(secret))]);
            }
        }
        settings.extend(self.auth.clone().map(|auth| ("auth", auth)));
        settings.extend(self.namespace.clone().map(|namespace| ("namespace", namespace)));
        if self.timeout != TIMEOUT {
            settings.push(("timeout", self.timeout.as_secs().to_string()));
        }
        for (index, (name, value)) in settings.iter().enumerate() {
            write!(f, "{}{name}={value}", if index == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}
