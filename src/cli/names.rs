//! Names on the command line: volumes (`NAME=PATH`), headers, the control socket (`unix:PATH`).
//!
//! Invariants: an export name is 1 to 255 bytes without `/` and control characters; a name is what stands before the first
//! `=` if it can be one, so a path with `=` in a directory needs no care.

use std::path::{Path, PathBuf};

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
}
