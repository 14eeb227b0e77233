//! Descriptors that the service manager opened for this process, by the protocol of sd_listen_fds(3).
//!
//! Invariants: they are taken once per process, by its only thread; the variables that announce them are gone afterwards, and
//! no program started later gets the descriptors.

use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::sys;

/// The first descriptor that is handed over.
const FIRST: RawFd = 3;
/// Most descriptors that are believed in.
const MOST: RawFd = 256;
/// The variables of the protocol.
const VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// A descriptor and its name.
#[derive(Debug)]
pub struct Inherited {
    /// Its name, `unknown` if it has none.
    pub name: String,
    /// The descriptor.
    pub socket: OwnedFd,
}

/// Takes what was handed over to this process: nothing if the variables are not there or speak to another process.
pub fn inherited() -> io::Result<Vec<Inherited>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let variables = VARIABLES.map(|name| std::env::var(name).ok());
    let Some(names) = announced(&variables, std::process::id())? else {
        return Ok(Vec::new());
    };
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(Vec::new());
    }
    sys::clear_environment(&VARIABLES)?;
    let take = |(number, name): (RawFd, String)| {
        let socket = sys::adopt(number)?;
        fcntl(socket.as_fd(), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        Ok(Inherited { name, socket })
    };
    (FIRST..).zip(names).map(take).collect()
}

/// The names of the descriptors announced to process `pid`; `None` when it is not addressed.
fn announced([addressee, count, names]: &[Option<String>; 3], pid: u32) -> io::Result<Option<Vec<String>>> {
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
    let (Some(addressee), Some(count)) = (addressee, count) else { return Ok(None) };
    let addressee: u32 = addressee.parse().map_err(|_| wrong(format!("LISTEN_PID is `{addressee}`")))?;
    if addressee != pid {
        return Ok(None);
    }
    let count: RawFd = count
        .parse()
        .ok()
        .filter(|count| (0..=MOST).contains(count))
        .ok_or_else(|| wrong(format!("LISTEN_FDS is `{count}`, which is no number from 0 to {MOST}")))?;
    let mut known: Vec<String> =
        names.as_deref().map_or_else(Vec::new, |names| names.split(':').map(Into::into).collect());
    if names.is_some() && known.len() != count as usize {
        return Err(wrong(format!("LISTEN_FDNAMES has {} names for {count} sockets", known.len())));
    }
    known.resize(count as usize, "unknown".into());
    Ok(Some(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pid: &str, count: &str, names: Option<&str>) -> io::Result<Option<Vec<String>>> {
        announced(&[Some(pid.into()), Some(count.into()), names.map(Into::into)], 7)
    }

    #[test]
    fn announcements_are_read() {
        assert_eq!(announced(&[None, None, None], 7).unwrap(), None);
        assert_eq!(names("8", "1", None).unwrap(), None, "for another process");
        assert_eq!(names("7", "2", None).unwrap().unwrap(), ["unknown", "unknown"]);
        assert_eq!(names("7", "2", Some("a:b")).unwrap().unwrap(), ["a", "b"]);
        assert_eq!(names("7", "0", None).unwrap().unwrap(), [""; 0]);
    }

    #[test]
    fn false_announcements_are_errors() {
        for (pid, count, given) in [("x", "1", None), ("7", "-1", None), ("7", "257", None), ("7", "1", Some("a:b"))] {
            assert_eq!(names(pid, count, given).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
