//! Files that are replaced whole: after a crash at any moment the old content stands there, or the new one.
//!
//! Invariants: nobody but the owner reads them; what these functions have done is durable when they return; space that was set aside
//! for the new content is kept for it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes what is to take a file's place, beside it.
///
/// # Errors
/// What the system said; the file itself is untouched.
pub fn write(fresh: &Path, bytes: &[u8]) -> io::Result<()> {
    // Not truncated first: its space may have been set aside.
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(fresh)?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()
}

/// Puts it in the file's place.
///
/// # Errors
/// What the system said; whether the old or the new content will be there after a crash is then not known.
pub fn put(fresh: &Path, path: &Path) -> io::Result<()> {
    fs::rename(fresh, path)?;
    sync_folder(path)
}

/// Makes durable what the folder of a file says of it.
///
/// # Errors
/// What the system said.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_shorter_content_leaves_nothing_of_a_longer_one() {
        let folder = tempfile::tempdir().unwrap();
        let (fresh, path) = (folder.path().join("new"), folder.path().join("file"));
        for content in [&b"longer"[..], b"short", b""] {
            fs::write(&fresh, b"set aside before").unwrap();
            fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600)).unwrap();
            write(&fresh, content).unwrap();
            put(&fresh, &path).unwrap();
            assert_eq!(fs::read(&path).unwrap(), content);
        }
        write(&fresh, b"x").unwrap();
        assert_eq!(fs::metadata(&fresh).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(put(&folder.path().join("none"), &path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"", "the old content stands");
    }
}
