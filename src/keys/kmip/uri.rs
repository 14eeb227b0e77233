//! `kmip://HOST:PORT/KEY-ID?…`: a symmetric key of a KMIP server.
//!
//! Invariants: nothing secret stands in it, only names of files; there is always TLS, and always a client certificate, by
//! which such servers know their clients.

use std::fmt;
use std::time::Duration;

use crate::keys::error::KeyError;
use crate::keys::net::{Address, Settings, TlsFiles, is_name};

const PORT: u16 = 5696;
/// How long a request may take, if nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A key of a KMIP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmipUri {
    /// Where the server is.
    pub address: Address,
    /// Whom we trust and who we are.
    pub tls: TlsFiles,
    /// The key's unique identifier.
    pub key: String,
    /// How long a request may take.
    pub timeout: Duration,
}

impl KmipUri {
    /// Reads what stands behind `kmip:`.
    pub(in crate::keys) fn parse(rest: &str) -> Result<KmipUri, KeyError> {
        read(rest).map_err(|reason| KeyError::BadUri { scheme: "kmip", reason })
    }

    /// The key as messages name it.
    pub(super) fn label(&self) -> String {
        format!("kmip://{}/{}", self.address, self.key)
    }
}

fn read(rest: &str) -> Result<KmipUri, &'static str> {
    let rest = rest.strip_prefix("//").ok_or("behind the scheme belongs //HOST:PORT/KEY-ID")?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (address, key) = place.split_once('/').ok_or("it names no key: //HOST:PORT/KEY-ID")?;
    let address = Address::parse(address, PORT)?;
    if key.contains('/') || !is_name(key) {
        return Err("a key id is made of letters, digits and -._");
    }
    let mut settings = Settings::parse(query)?;
    let ca = settings.path("ca");
    let identity = settings.path("cert").zip(settings.path("key"));
    let timeout = settings.timeout(TIMEOUT)?;
    settings.finish()?;
    let identity = Some(identity.ok_or("a client certificate is needed: cert=FILE&key=FILE behind ?")?);
    Ok(KmipUri { address, tls: TlsFiles { ca, identity }, key: key.to_owned(), timeout })
}

impl fmt::Display for KmipUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label())?;
        let mut settings: Vec<String> = Vec::new();
        settings.extend(self.tls.ca.as_ref().map(|ca| format!("ca={}", ca.display())));
        if let Some((certificate, key)) = &self.tls.identity {
            settings.push(format!("cert={}&key={}", certificate.display(), key.display()));
        }
        if self.timeout != TIMEOUT {
            settings.push(format!("timeout={}", self.timeout.as_secs()));
        }
        write!(f, "?{}", settings.join("&"))
    }
}
