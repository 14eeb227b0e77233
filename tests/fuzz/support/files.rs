//! Files for what reads files: a private folder in memory that goes with the process.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;

/// The folder of this process.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let make = || {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
    };
    FOLDER.get_or_init(make).path()
}

/// A file `name` with these bytes, readable by its owner alone.
pub fn private(name: &str, bytes: &[u8]) -> PathBuf {
    use std::io::Write;
    let path = folder().join(name);
    let mut options = std::fs::File::options();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path).unwrap();
    file.write_all(bytes).unwrap();
    path
}
