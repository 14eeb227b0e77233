//! `HOST:PORT` of a keeper, and the settings behind the `?` of its KEK URI.
//!
//! Invariant: what is refused is not repeated: a password may have been written where none belongs.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

/// Longest host name, bytes (RFC 1035).
const HOST_MAX: usize = 253;
/// Longest a request to a keeper may be allowed to take.
const TIMEOUT_MAX: u64 = 120;

/// Where a keeper listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl Address {
    /// Reads `HOST`, `HOST:PORT` or `[IPv6]:PORT`.
    pub fn parse(text: &str, default_port: u16) -> Result<Address, &'static str> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or("a bracket is not closed")?;
                host.parse::<Ipv6Addr>().map_err(|_| "in brackets belongs an IPv6 address")?;
                (host, port.strip_prefix(':').or(port.is_empty().then_some("")).ok_or("behind the host belongs :PORT")?)
            }
            None => text.split_once(':').unwrap_or((text, "")),
        };
        let sensible = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        if host.is_empty() || host.len() > HOST_MAX || !host.chars().all(sensible) {
            return Err("it names no host: behind :// belongs HOST:PORT, without a user or a password");
        }
        let port = match port {
            "" => default_port,
            digits => digits.parse().ok().filter(|port| *port > 0).ok_or("its port is no number from 1 to 65535")?,
        };
        Ok(Address { host: host.to_owned(), port })
    }

    /// Whether it can only be on this machine.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// `name=value` pairs behind the `?` of a KEK URI, taken one by one; each may stand there once.
pub struct Settings<'a> {
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Settings<'a> {
    /// Splits `query` at `&` and `=`.
    pub fn parse(query: &'a str) -> Result<Settings<'a>, &'static str> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or("a setting behind ? is written name=value")?;
            if value.is_empty() || value.contains('\0') {
                return Err("a setting behind ? has no value");
            }
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err("a setting behind ? stands there twice");
            }
            pairs.push((name, value));
        }
        Ok(Settings { pairs })
    }

    /// Takes the value of `name`.
    pub fn take(&mut self, name: &str) -> Option<&'a str> {
        let at = self.pairs.iter().position(|(known, _)| *known == name)?;
        Some(self.pairs.swap_remove(at).1)
    }

    /// Takes the path that `name` gives.
    pub fn path(&mut self, name: &str) -> Option<PathBuf> {
        self.take(name).map(PathBuf::from)
    }

    /// Takes a name made of letters, digits and `-._`, in which `/` may stand between parts.
    pub fn name(&mut self, name: &str) -> Result<Option<String>, &'static str> {
        match self.take(name) {
            None => Ok(None),
            Some(value) if is_name(value) => Ok(Some(value.to_owned())),
            Some(_) => Err("a name behind ? is made of letters, digits and -._/"),
        }
    }

    /// Takes `timeout`, the seconds a request may take; `otherwise` if it is not there.
    pub fn timeout(&mut self, otherwise: Duration) -> Result<Duration, &'static str> {
        let seconds = match self.take("timeout") {
            None => return Ok(otherwise),
            Some(value) => value.parse().ok().filter(|seconds| (1..=TIMEOUT_MAX).contains(seconds)),
        };
        seconds.map(Duration::from_secs).ok_or("timeout is a number of seconds from 1 to 120")
    }

    /// Refuses what nobody has taken.
    pub fn finish(self) -> Result<(), &'static str> {
        match self.pairs.is_empty() {
            true => Ok(()),
            false => Err("a setting behind ? is unknown"),
        }
    }
}

/// Whether `text` is a path of names that need no quoting anywhere: no empty part, no `.` or `..`.
pub fn is_name(text: &str) -> bool {
    let sensible = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    text.len() <= 200
        && text.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && part.chars().all(sensible))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_and_print() {
        for (text, printed, loopback) in [
            ("kms", "kms:8200", false),
            ("kms.example:1", "kms.example:1", false),
            ("127.0.0.1:65535", "127.0.0.1:65535", true),
            ("localhost", "localhost:8200", true),
            ("[::1]:8200", "[::1]:8200", true),
            ("[2001:db8::1]", "[2001:db8::1]:8200", false),
        ] {
            let address = Address::parse(text, 8200).unwrap();
            assert_eq!((address.to_string().as_str(), address.is_loopback()), (printed, loopback));
        }
        for text in ["", ":1", "h:0", "h:65536", "h:x", "u:p@h", "user@h", "[::1", "[h]:1", "[::1]1", "a b", "h\r\nx"] {
            assert!(Address::parse(text, 1).is_err(), "{text:?}");
        }
    }

    #[test]
    fn every_setting_is_taken_once_or_refused() {
        let mut settings = Settings::parse("ca=/a b&role=ops/km&timeout=7").unwrap();
        assert_eq!(settings.path("ca"), Some("/a b".into()));
        assert_eq!(settings.name("role"), Ok(Some("ops/km".into())));
        assert_eq!(settings.timeout(Duration::ZERO), Ok(Duration::from_secs(7)));
        assert_eq!(settings.timeout(Duration::ZERO), Ok(Duration::ZERO));
        settings.finish().unwrap();
        for query in ["ca", "ca=", "ca=1&ca=2", "x=1"] {
            assert!(Settings::parse(query).and_then(Settings::finish).is_err(), "{query}");
        }
        for (query, what) in [("n=../x", "name"), ("n=a b", "name"), ("n=a%0d", "name"), ("timeout=0", "time")] {
            let mut settings = Settings::parse(query).unwrap();
            assert!(settings.name("n").is_err() || settings.timeout(Duration::ZERO).is_err(), "{query} {what}");
        }
    }
}
