//! Tells the service manager how far the daemon has come (sd_notify(3)): one datagram, no answer.
//!
//! Invariant: whatever goes wrong here is no reason not to serve; without `NOTIFY_SOCKET` nothing is said.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// What can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Clients can come.
    Ready,
    /// The end has begun.
    Stopping,
}

/// Tells it.
pub fn tell(state: State) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let name = name.as_encoded_bytes();
    let word: &[u8] = match state {
        State::Ready => b"READY=1\n",
        State::Stopping => b"STOPPING=1\n",
    };
    if let Err(error) = send(name, word) {
        tracing::warn!(%error, socket = %String::from_utf8_lossy(name), "cannot tell the service manager");
    }
}

fn send(name: &[u8], word: &[u8]) -> std::io::Result<()> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let address = match name.strip_prefix(b"@") {
        Some(hidden) => SocketAddr::from_abstract_name(hidden)?,
        None => SocketAddr::from_pathname(OsStr::from_bytes(name))?,
    };
    UnixDatagram::unbound()?.send_to_addr(word, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_arrive_by_path_and_by_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let hidden = format!("keymoult-notify-{}", std::process::id());
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&hidden).unwrap()).unwrap();
        for (socket, name) in [(by_path, path.display().to_string()), (by_name, format!("@{hidden}"))] {
            send(name.as_bytes(), b"READY=1\n").unwrap();
            let mut bytes = [0; 20];
            let len = socket.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..len], b"READY=1\n");
        }
        assert!(send(b"/nonexistent/socket", b"x").is_err());
    }
}
