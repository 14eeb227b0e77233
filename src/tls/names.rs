//! What the holder of a certificate is called: the names in it that allow lists are compared with.
//!
//! These are the DNS names of the subject alternative name, if the certificate has any; else the common name of its
//! subject, if that is the only one, 1 to 255 bytes of UTF-8 without control characters. DNS names are compared without
//! regard to case, a common name byte by byte; nothing is a pattern, so `*.example` is a name like any other.
//!
//! Invariant: names are taken from certificates that were verified.

use std::fmt;

use rustls::pki_types::CertificateDer;

use super::der;

/// Longest common name that counts, bytes.
const COMMON_NAME_MAX: usize = 255;

/// The names of one client; none if it showed no certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    dns: Vec<String>,
    common: Option<String>,
}

impl Names {
    /// The names in a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Names {
        let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) else {
            return Names::default();
        };
        let dns: Vec<String> = parsed.valid_dns_names().map(str::to_owned).collect();
        let common = || {
            let name = der::common_name(parsed.subject())?;
            let plain = (1..=COMMON_NAME_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
            plain.then(|| name.to_owned())
        };
        let common = if dns.is_empty() { common() } else { None };
        Names { dns, common }
    }

    /// The DNS names.
    pub fn dns(&self) -> impl Iterator<Item = &str> {
        self.dns.iter().map(String::as_str)
    }

    /// Whether the client is called `name`.
    pub fn include(&self, name: &str) -> bool {
        self.dns.iter().any(|own| own.eq_ignore_ascii_case(name)) || self.common.as_deref() == Some(name)
    }

    /// A client with these DNS names.
    #[cfg(test)]
    pub fn from_dns(names: &[&str]) -> Names {
        Names { dns: names.iter().map(|name| (*name).to_owned()).collect(), common: None }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<&str> = self.dns.iter().chain(&self.common).map(String::as_str).collect();
        if all.is_empty() { f.write_str("nobody by name") } else { f.write_str(&all.join(", ")) }
    }
}
