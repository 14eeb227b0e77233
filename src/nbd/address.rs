//! Where NBD is served, as people write it.
//!
//! Invariants: what is shown can be read back; a host name other than `localhost` is not trusted to stay on this machine.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// A listen address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A unix socket at this path.
    Unix(PathBuf),
    /// A TCP port.
    Tcp {
        /// Host name or address, without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// A port between virtual machines and their host.
    Vsock {
        /// The context id to listen on; `None` for any.
        cid: Option<u32>,
        /// Port.
        port: u32,
    },
    /// Sockets handed over by the service manager: those of this name, or all.
    Passed(Option<String>),
}

/// What is expected where an address cannot be read.
const FORM: &str = "it is unix:PATH, tcp:HOST:PORT, vsock:CID:PORT, systemd or systemd:NAME";
/// Highest context id that names one machine; the next one stands for any.
const CID_MAX: u32 = u32::MAX - 1;

impl Listen {
    /// Whether plaintext stays on this machine: unix sockets, loopback, and vsock, which no network carries. Sockets that are
    /// handed over are looked at when they are there.
    pub fn is_local(&self) -> bool {
        match self {
            Listen::Unix(_) | Listen::Vsock { .. } | Listen::Passed(_) => true,
            Listen::Tcp { host, .. } => {
                host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Listen {
        Listen::Tcp { host: address.ip().to_string(), port: address.port() }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        match text.split_once(':').unwrap_or((text, "")) {
            ("unix", path) if !path.is_empty() => Ok(Listen::Unix(path.into())),
            ("tcp", rest) => tcp(rest),
            ("vsock", rest) => vsock(rest),
            ("systemd", "") if text == "systemd" => Ok(Listen::Passed(None)),
            ("systemd", name) if !name.is_empty() => Ok(Listen::Passed(Some(name.into()))),
            _ => Err(FORM.into()),
        }
    }
}

fn tcp(rest: &str) -> Result<Listen, String> {
    let (host, port) = rest.rsplit_once(':').ok_or(FORM)?;
    let port = port.parse().map_err(|_| format!("`{port}` is not a port"))?;
    let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner,
        None if host.contains(':') => return Err("an IPv6 address stands in brackets: tcp:[::1]:10809".into()),
        None => host,
    };
    match host.is_empty() {
        true => Err(FORM.into()),
        false => Ok(Listen::Tcp { host: host.into(), port }),
    }
}

fn vsock(rest: &str) -> Result<Listen, String> {
    let (cid, port) = rest.split_once(':').ok_or(FORM)?;
    let cid = match cid {
        "any" => None,
        _ => Some(cid.parse().ok().filter(|cid| *cid <= CID_MAX).ok_or_else(|| {
            format!("`{cid}` is not a context id: a number up to {CID_MAX}, or `any`; 2 is the host, 1 this machine")
        })?),
    };
    let port = port.parse().map_err(|_| format!("`{port}` is not a vsock port"))?;
    Ok(Listen::Vsock { cid, port })
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
            Listen::Tcp { host, port } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Listen::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
            Listen::Vsock { cid: Some(cid), port } => write!(f, "vsock:{cid}:{port}"),
            Listen::Vsock { cid: None, port } => write!(f, "vsock:any:{port}"),
            Listen::Passed(Some(name)) => write!(f, "systemd:{name}"),
            Listen::Passed(None) => f.write_str("systemd"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        let local =
            ["unix:/run/x", "tcp:127.0.0.1:10809", "tcp:[::1]:1", "tcp:localhost:2", "vsock:any:9", "vsock:2:9"];
        for text in local.into_iter().chain(["systemd", "systemd:nbd"]) {
            let listen: Listen = text.parse().unwrap();
            assert_eq!((listen.to_string(), listen.is_local()), (text.into(), true));
        }
        for text in ["tcp:0.0.0.0:1", "tcp:[::]:1", "tcp:example.org:1"] {
            assert!(!text.parse::<Listen>().unwrap().is_local(), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let tcp = ["tcp:", "tcp::1", "tcp:host", "tcp:h:99999", "tcp:::1:1"];
        let vsock = ["vsock:", "vsock:1", "vsock:x:1", "vsock:4294967295:1", "vsock:1:-1", "vsock:any:x"];
        for text in ["", "unix:", "/run/x", "systemd:", "udp:h:1", "10809"].into_iter().chain(tcp).chain(vsock) {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }
}
