//! Unix sockets and their files.
//!
//! Invariants: a socket's file has its mode and group before anybody can connect to it; a socket file is replaced only if
//! nobody listens on it, and removed at the end only if it is still ours.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr};

use super::{BACKLOG, Listener};
use crate::nbd::access::Kind;
use crate::nbd::address::Listen;
use crate::nbd::error::NbdError;

/// Who may open a unix socket's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRights {
    /// Its mode.
    pub mode: u32,
    /// Its group, if not the process's own.
    pub group: Option<u32>,
}

impl Default for FileRights {
    fn default() -> FileRights {
        FileRights { mode: 0o600, group: None }
    }
}

/// The file of a socket; removed when dropped, if it is still that one.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if file_identity(&self.path).is_ok_and(|now| now == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path`.
pub fn open(path: &Path, rights: FileRights) -> Result<Listener, NbdError> {
    let failed = |source| NbdError::Listen { address: format!("unix:{}", path.display()), source };
    let address = UnixAddr::new(path).map_err(|errno| failed(errno.into()))?;
    clear_stale(path, &address)?;
    let socket = stream().map_err(failed)?;
    socket::bind(socket.as_raw_fd(), &address).map_err(|errno| failed(errno.into()))?;
    // From here on the file goes with whatever goes wrong.
    let identity = file_identity(path).map_err(failed)?;
    let file = SocketFile { path: path.into(), identity };
    set_rights(path, rights).map_err(failed)?;
    // Nobody can connect before listen(2), so the rights are in force from the first connection on.
    let listens = Backlog::new(BACKLOG).and_then(|backlog| socket::listen(&socket, backlog));
    listens.map_err(|errno| failed(errno.into()))?;
    Ok(Listener::new(socket, Kind::Unix, Listen::Unix(path.into()), Some(file)))
}

fn stream() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?)
}

/// The group first: a mode that lets a group in must not let in the wrong one.
fn set_rights(path: &Path, rights: FileRights) -> io::Result<()> {
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
    if rights.group.is_some() {
        std::os::unix::fs::lchown(path, None, rights.group)?;
    }
    std::fs::set_permissions(path, PermissionsExt::from_mode(rights.mode))
}

/// Removes a socket file that nobody listens on.
fn clear_stale(path: &Path, address: &UnixAddr) -> Result<(), NbdError> {
    let failed = |source| NbdError::Listen { address: format!("unix:{}", path.display()), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(NbdError::NotASocket(path.into()));
        }
        Ok(_) => {}
    }
    // Not blocking: a server whose queue is full is a server too.
    let probe = stream().map_err(failed)?;
    match socket::connect(probe.as_raw_fd(), address) {
        Ok(()) | Err(Errno::EAGAIN) => Err(NbdError::SocketInUse(path.into())),
        Err(Errno::ECONNREFUSED) => std::fs::remove_file(path).map_err(failed),
        Err(errno) => Err(failed(errno.into())),
    }
}

fn file_identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nbd::access::Peer;
    use std::os::unix::net::{UnixListener, UnixStream};

    fn open_at(path: &Path) -> Result<Listener, NbdError> {
        open(path, FileRights::default())
    }

    #[test]
    fn a_unix_socket_is_private_and_goes_with_its_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = open_at(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(open_at(&path), Err(NbdError::SocketInUse(_))));
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn mode_and_group_are_as_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        // A group one is a member of is one that may be given.
        let group = nix::unistd::getgroups().unwrap().last().copied().unwrap_or(nix::unistd::getgid()).as_raw();
        let listener = open(&path, FileRights { mode: 0o660, group: Some(group) }).unwrap();
        let found = std::fs::metadata(&path).unwrap();
        assert_eq!((found.permissions().mode() & 0o777, found.gid()), (0o660, group));
        drop(listener);
        if !nix::unistd::geteuid().is_root() {
            let error = open(&path, FileRights { mode: 0o660, group: Some(0) }).unwrap_err();
            assert!(matches!(error, NbdError::Listen { .. }));
            assert!(!path.exists(), "nothing is left behind");
        }
    }

    #[test]
    fn whoever_comes_in_is_known_by_user_and_groups() {
        let dir = tempfile::tempdir().unwrap();
        let listener = open_at(&dir.path().join("s")).unwrap();
        let _client = UnixStream::connect(dir.path().join("s")).unwrap();
        let (_, peer) = listener.accept().unwrap();
        let Peer::Process { uid, gids } = peer else { panic!("{peer:?}") };
        assert_eq!(uid, nix::unistd::getuid().as_raw());
        let own = nix::unistd::getgroups().unwrap();
        assert!(own.iter().all(|gid| gids.contains(&gid.as_raw())), "{gids:?} lacks one of {own:?}");
        assert!(gids.contains(&nix::unistd::getgid().as_raw()));
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves the file behind");
        let listener = open_at(&path).unwrap();
        // Replaced behind our back: not ours to remove.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "data").unwrap();
        drop(listener);
        assert!(matches!(open_at(&path), Err(NbdError::NotASocket(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"data");
    }

    #[test]
    fn a_missing_directory_is_an_error_that_names_the_path() {
        let error = open_at(Path::new("/nonexistent/dir/s")).unwrap_err();
        assert_eq!(error.to_string(), "cannot listen on unix:/nonexistent/dir/s");
        let long = PathBuf::from(format!("/tmp/{}", "x".repeat(200)));
        assert!(matches!(open_at(&long), Err(NbdError::Listen { .. })));
    }
}
