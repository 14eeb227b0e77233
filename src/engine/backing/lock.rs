//! The lock that says "in use": an open-file-description lock over the whole file, as fcntl_locking(2) describes.
//!
//! Invariant: it belongs to the description, not to the process: opening the same path twice in one process conflicts.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use crate::engine::EngineError;

/// Locks the whole file: exclusively, or shared for a reader.
pub(super) fn take(file: &File, path: &Path, read_only: bool) -> Result<(), EngineError> {
    let kind = if read_only { libc::F_RDLCK } else { libc::F_WRLCK };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file(kind))) {
        Ok(_) => Ok(()),
        Err(Errno::EAGAIN | Errno::EACCES) => {
            Err(EngineError::InUse { path: path.to_owned(), holder: holder(file, kind) })
        }
        Err(errno) => Err(EngineError::Lock { path: path.to_owned(), source: io::Error::from(errno) }),
    }
}

/// Unlocks, whatever else still holds the description.
pub(super) fn release(file: &File) {
    // Fails only if there is no lock to release.
    let _ = fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK)));
}

/// Who is in the way. The kernel knows it for process locks; a description has no pid, it says -1 then.
fn holder(file: &File, kind: i32) -> Option<u32> {
    let mut query = whole_file(kind);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut query)).ok()?;
    u32::try_from(query.l_pid).ok().filter(|&pid| pid != 0)
}

fn whole_file(kind: i32) -> libc::flock {
    // The constants fit: F_RDLCK, F_WRLCK, F_UNLCK are 0, 1, 2. Start 0, length 0 = to the end, however it grows.
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 }
}
