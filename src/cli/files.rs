//! Files that commands and the daemon hand out: backups and bundles, never over anything, durable when reported.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::failure::{Failure, bad_input};
use crate::volume::backup::MadeBackup;
use crate::volume::{Volume, VolumeError};

/// Makes `path`, 0600, with `bytes` in it; durable on return. On failure nothing is left behind.
pub fn make(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| sync_directory(path));
    if written.is_err() {
        // It is ours and of no use.
        let _ = std::fs::remove_file(path);
    }
    written
}

/// Makes the entry of `path` in its directory durable.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// Writes a backup or bundle that is catalogued already; takes the entry back if that fails.
pub fn hand_out(volume: &Arc<Volume>, made: &MadeBackup, path: &Path) -> Result<(), VolumeError> {
    let written = make(path, &made.bytes).map_err(VolumeError::io("write the file"));
    if written.is_err() {
        volume.forget_backup(&made.holder)?;
    }
    written
}

/// Reads a file of at most `most` bytes.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    let unreadable =
        |why: String| bad_input("cannot read the file").at(path.display().to_string()).at(format!("because: {why}"));
    let found = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if !found.is_file() {
        return Err(unreadable("it is no regular file".into()));
    }
    if found.size() > most {
        return Err(unreadable(format!("it is longer than {most} bytes")));
    }
    std::fs::read(path).map_err(|error| unreadable(error.to_string()))
}

/// `path` made absolute, as the daemon, which stands elsewhere, must have it.
pub fn absolute(path: &Path) -> Result<String, Failure> {
    let path =
        std::path::absolute(path).map_err(|error| bad_input(error.to_string()).at(path.display().to_string()))?;
    path.to_str().map(str::to_owned).ok_or_else(|| bad_input("the path is not UTF-8").at(path.display().to_string()))
}

/// The first of `PATH.before`, `PATH.before.1`, … that does not exist.
pub fn free_name(path: &Path) -> Result<PathBuf, Failure> {
    let mut base = path.as_os_str().to_owned();
    base.push(".before");
    let numbered = (1..1000).map(|number| {
        let mut name = base.clone();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    });
    let mut names = std::iter::once(PathBuf::from(&base)).chain(numbered);
    names
        .find(|name| !name.exists())
        .ok_or_else(|| bad_input("too many headers were saved aside").at(path.display().to_string()))
}
