//! The listening end of the control socket: a unix stream socket only its owner may connect to.
//!
//! Invariants: the mode is 0600 before anyone can connect (between bind and listen the kernel refuses connections); a
//! socket left by a dead daemon is replaced, that of a living one is not; on drop the path is removed if it is still ours.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};

use super::server::ServerError;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;

/// The path of a bound socket; removes it on drop.
#[derive(Debug)]
pub(super) struct BoundPath {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Makes the default directory of sockets (0755) if `socket` is to be in it and it is missing, as it is after each boot.
/// Any other directory is the operator's to make.
pub fn ensure_runtime_dir(socket: &Path) -> io::Result<()> {
    if socket.parent() != Path::new(super::DEFAULT_SOCKET).parent() {
        return Ok(());
    }
    match socket.parent().map(fs::create_dir) {
        Some(Err(error)) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Binds and listens at `path`, mode 0600, non-blocking.
pub(super) fn listen_at(path: &Path) -> Result<(UnixListener, BoundPath), ServerError> {
    let fail = |source: io::Error| ServerError::Bind { path: path.into(), source };
    let address = UnixAddr::new(path).map_err(|errno| fail(errno.into()))?;
    remove_stale(path)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(|errno| fail(errno.into()))?;
    bind(fd.as_raw_fd(), &address).map_err(|errno| fail(errno.into()))?;
    let bound = BoundPath { path: path.into(), identity: identity(path) };
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(fail)?;
    let backlog = Backlog::new(BACKLOG).map_err(|errno| fail(errno.into()))?;
    listen(&fd, backlog).map_err(|errno| fail(errno.into()))?;
    Ok((UnixListener::from(fd), bound))
}

/// Removes a socket nobody listens on. Leaves anything else alone.
fn remove_stale(path: &Path) -> Result<(), ServerError> {
    let fail = |source: io::Error| ServerError::Bind { path: path.into(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fail(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ServerError::NotASocket { path: path.into() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ServerError::InUse { path: path.into() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(fail),
        Err(error) => Err(fail(error)),
    }
}
