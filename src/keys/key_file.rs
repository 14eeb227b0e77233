//! Files that hold secrets: reading them with care, and making new key files.
//!
//! A key file is one line, `keymoult-kek-v1:` and 64 hexadecimal digits (32 random bytes).
//!
//! Invariants: a file is used only if it is a regular file, closed to everybody but its owner, and owned by root or by the
//! running user, all of that asked of the open file and not of the path. A new key file is made with `O_EXCL` and mode
//! 0600, and reported only when the file and its directory entry are durable; nothing is ever overwritten, and a failed
//! attempt leaves nothing behind.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::crypto::wrap::KEK_LEN;
use crate::crypto::{Secret, line};
use crate::keys::error::KeyError;
use crate::keys::passphrase::PASSPHRASE_MAX;

const PREFIX: &[u8] = b"keymoult-kek-v1:";
const LINE_LEN: usize = PREFIX.len() + 2 * KEK_LEN;

/// Whom a file must be closed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Privacy {
    /// Everybody but its owner.
    OfFile,
    /// The same, or everybody but root's group: what systemd leaves where it lets a user in by an access list.
    OfCredential,
}

/// Reads the KEK of a key file, which messages call `what`.
pub(super) fn read_kek(what: &'static str, path: &Path, privacy: Privacy) -> Result<Secret, KeyError> {
    // A byte more than fits tells a longer file.
    let text = read_secret(what, path, LINE_LEN + 2, privacy)?;
    let malformed = |reason| KeyError::Malformed { what, path: path.to_owned(), reason };
    let text = text.expose();
    let text_line = text.strip_suffix(b"\n").unwrap_or(text);
    let digits = match text_line.strip_prefix(PREFIX) {
        Some(digits) if digits.len() == 2 * KEK_LEN => digits,
        Some(_) => return Err(malformed("the key is not 64 hexadecimal digits long")),
        None if text.is_empty() => return Err(malformed("it is empty")),
        None => return Err(malformed("it does not begin with keymoult-kek-v1:")),
    };
    line::read(digits).ok_or(malformed("the key contains something else than hexadecimal digits"))
}

/// Reads a file that holds a secret, at most `most` bytes of it.
pub(super) fn read_secret(what: &'static str, path: &Path, most: usize, privacy: Privacy) -> Result<Secret, KeyError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => KeyError::Missing { what, path: path.to_owned() },
        _ => KeyError::Unreadable { what, path: path.to_owned(), source },
    };
    // Without O_NONBLOCK, a pipe at this path would hang the daemon.
    let options = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).to_owned();
    let mut file = options.open(path).map_err(unreadable)?;
    check_private(what, path, &file, privacy)?;
    Secret::read_from(most, &mut file).map_err(unreadable)
}

fn check_private(what: &'static str, path: &Path, file: &File, privacy: Privacy) -> Result<(), KeyError> {
    let path = || path.to_owned();
    let metadata = file.metadata().map_err(|source| KeyError::Unreadable { what, path: path(), source })?;
    if !metadata.is_file() {
        return Err(KeyError::NotFile { what, path: path() });
    }
    let (owner, running) = (metadata.uid(), nix::unistd::geteuid().as_raw());
    if owner != running && owner != 0 {
        return Err(KeyError::Owner { what, path: path(), owner, running });
    }
    let mode = metadata.mode() & 0o7777;
    let by_list = privacy == Privacy::OfCredential && owner == 0 && metadata.gid() == 0;
    let closed_to = if by_list { 0o037 } else { 0o077 };
    if mode & closed_to != 0 {
        return Err(KeyError::Exposed { what, path: path(), mode });
    }
    Ok(())
}

/// Makes a key file with a fresh random KEK, and returns the KEK once the file is durable.
pub(super) fn create(path: &Path) -> Result<Secret, KeyError> {
    let kek = Secret::random(KEK_LEN)?;
    let failed = |step| move |source| KeyError::Create { path: path.to_owned(), step, source };
    let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = open.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
        _ => failed("open")(source),
    })?;
    let written = file
        .write_all(line::write(PREFIX, &[&kek]).expose())
        .map_err(failed("write"))
        .and_then(|()| file.sync_all().map_err(failed("fsync")))
        .and_then(|()| sync_directory(path).map_err(failed("fsync of the directory")));
    if let Err(error) = written {
        // The file is ours (O_EXCL) and useless; that it cannot be removed would not be worth more than the error.
        let _ = fs::remove_file(path);
        return Err(error);
    }
    Ok(kek)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    File::open(parent)?.sync_all()
}

/// Where systemd puts the credentials of its units.
const CREDENTIALS: &str = "/run/credentials";
/// Longest passphrase or PIN, bytes.
pub(super) const LINE_MAX: usize = PASSPHRASE_MAX;

/// Reads a file of one line, a passphrase or a PIN: its contents without one newline at the end.
pub(super) fn read_line_of(what: &'static str, path: &Path) -> Result<Secret, KeyError> {
    // Two bytes more than fit: one for the newline, one to tell a longer file.
    let privacy = if path.starts_with(CREDENTIALS) { Privacy::OfCredential } else { Privacy::OfFile };
    let text = read_secret(what, path, LINE_MAX + 2, privacy)?;
    line_of(what, path, &text)
}

/// The one line that `text` is, read from `path`.
pub(super) fn line_of(what: &'static str, path: &Path, text: &Secret) -> Result<Secret, KeyError> {
    let line = text.expose();
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let malformed = |reason| Err(KeyError::Malformed { what, path: path.to_owned(), reason });
    if line.is_empty() {
        return malformed("it is empty");
    }
    if line.contains(&b'\n') {
        return malformed("it has more than one line");
    }
    if line.len() > LINE_MAX {
        return Err(KeyError::TooLong { most: LINE_MAX });
    }
    Ok(Secret::filled(line.len(), |bytes| bytes.copy_from_slice(line)))
}
