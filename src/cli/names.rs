//! Names on the command line: volumes (`NAME=PATH`), sockets (`unix:PATH`, `tcp:HOST:PORT`), headers.
//!
//! Invariants: an export name is 1 to 255 bytes without `/` and control characters; a name is what stands before the first
//! `=` if it can be one, so a path with `=` in a directory needs no care.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Longest export name, bytes.
const NAME_MAX: usize = 255;

/// A thing with or without a name: `NAME=PATH` or `PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name, if one was given.
    pub name: Option<String>,
    /// The path.
    pub path: PathBuf,
}

/// Reads `NAME=PATH` or `PATH`.
pub fn parse_named(text: &str) -> Result<Named, String> {
    let named = match text.split_once('=') {
        Some((name, path)) if !name.contains('/') => {
            check_name(name)?;
            Named { name: Some(name.into()), path: path.into() }
        }
        _ => Named { name: None, path: text.into() },
    };
    match named.path.as_os_str().is_empty() {
        true => Err("the path is empty".into()),
        false => Ok(named),
    }
}

/// Says what is wrong with an export name, if anything is.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(format!("an export name has 1 to {NAME_MAX} bytes"));
    }
    match name.chars().any(|c| c == '/' || c.is_control()) {
        true => Err("an export name holds no `/` and no control characters".into()),
        false => Ok(()),
    }
}

/// The export name of a path without one: its file stem.
pub fn stem(path: &Path) -> Result<String, String> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let stem = stem.ok_or_else(|| format!("{} gives no export name; write NAME={0}", path.display()))?;
    check_name(stem).map(|()| stem.to_owned())
}

/// Reads the address of the control socket.
pub fn parse_control(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix("unix:") {
        Some(path) if !path.is_empty() => Ok(path.into()),
        _ => Err("the control socket is unix:PATH".into()),
    }
}

/// Where NBD is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum Listen {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp {
        /// Host name or address, without brackets.
        host: String,
        /// Port.
        port: u16,
    },
}

impl Listen {
    /// Whether only this machine can reach it. A host name other than `localhost` is not trusted to stay here.
    pub fn is_local(&self) -> bool {
        match self {
            Listen::Unix(_) => true,
            Listen::Tcp { host, .. } => {
                host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
            Listen::Tcp { host, port } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Listen::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
        }
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> String {
        listen.to_string()
    }
}

/// Reads `unix:PATH` or `tcp:HOST:PORT`; an IPv6 address stands in brackets.
pub fn parse_listen(text: &str) -> Result<Listen, String> {
    const FORM: &str = "it is unix:PATH or tcp:HOST:PORT";
    if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
        return Ok(Listen::Unix(path.into()));
    }
    let (host, port) = text.strip_prefix("tcp:").and_then(|rest| rest.rsplit_once(':')).ok_or(FORM)?;
    let port = port.parse().map_err(|_| format!("`{port}` is not a port"))?;
    let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner,
        None if host.contains(':') => {
            return Err("an IPv6 address stands in brackets: tcp:[::1]:10809".into());
        }
        None => host,
    };
    match host.is_empty() {
        true => Err(FORM.into()),
        false => Ok(Listen::Tcp { host: host.into(), port }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths() {
        let named = |text: &str| parse_named(text).map(|n| (n.name, n.path));
        assert_eq!(named("a=/x=y"), Ok((Some("a".into()), "/x=y".into())));
        assert_eq!(named("/d=e/x"), Ok((None, "/d=e/x".into())));
        for bad in ["", "=x", "a=", "a\n=x"] {
            assert!(named(bad).is_err(), "{bad:?}");
        }
        assert_eq!(stem(Path::new("/x/disk.img")), Ok("disk".into()));
        assert_eq!(stem(Path::new("/dev/vdb")), Ok("vdb".into()));
        assert!(stem(Path::new("/")).is_err());
    }

    #[test]
    fn listeners() {
        for text in ["unix:/run/x", "tcp:127.0.0.1:10809", "tcp:[::1]:1", "tcp:localhost:2"] {
            let listen = parse_listen(text).unwrap();
            assert_eq!((listen.to_string(), listen.is_local()), (text.into(), true));
        }
        for text in ["tcp:0.0.0.0:1", "tcp:[::]:1", "tcp:example.org:1"] {
            assert!(!parse_listen(text).unwrap().is_local(), "{text}");
        }
        for text in ["", "unix:", "tcp:", "tcp::1", "tcp:host", "tcp:h:99999", "tcp:::1:1", "/run/x"] {
            assert!(parse_listen(text).is_err(), "{text}");
        }
    }
}
