//! Secrets from descriptors that were passed to this program: `passphrase:fd=N`, `pin-source=fd:N`.
//!
//! Invariants: only a descriptor that survived the start of this program counts, which one without close-on-exec did: our
//! own are all opened with it, so none of them is ever read as a passphrase. It is read once, to its end, and closed (standard
//! input excepted), so that no child inherits it; what was read is kept, since several volumes may name the same one.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::crypto::Secret;
use crate::keys::error::KeyError;
use crate::keys::key_file::{self, LINE_MAX};

const WHAT: &str = "descriptor";

static READ: Mutex<Vec<(i32, Secret)>> = Mutex::new(Vec::new());

/// The first line that comes from descriptor `number`, which has to be all of it.
pub(super) fn read(number: i32) -> Result<Secret, KeyError> {
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, secret)) = read.iter().find(|(known, _)| *known == number) {
        return Ok(copy(secret));
    }
    let secret = read_now(number)?;
    let answer = copy(&secret);
    read.push((number, secret));
    Ok(answer)
}

fn copy(secret: &Secret) -> Secret {
    Secret::filled(secret.len(), |bytes| bytes.copy_from_slice(secret.expose()))
}

fn read_now(number: i32) -> Result<Secret, KeyError> {
    let path = PathBuf::from(format!("/proc/self/fd/{number}"));
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => KeyError::Missing { what: WHAT, path: path.clone() },
        _ => KeyError::Unreadable { what: WHAT, path: path.clone(), source },
    };
    let malformed = |reason| KeyError::Malformed { what: WHAT, path: path.clone(), reason };
    if matches!(number, 1 | 2) {
        return Err(malformed("it is where this program writes to"));
    }
    if !was_passed(number).map_err(unreadable)? {
        return Err(malformed("it was not passed to this program, but opened by it"));
    }
    let mut file = File::open(&path).map_err(unreadable)?;
    // Before reading: of a pipe that this process could write to, too, the end never comes.
    if number != 0 {
        nix::unistd::close(number).map_err(|errno| unreadable(errno.into()))?;
    }
    let text = Secret::read_from(LINE_MAX + 2, &mut file).map_err(unreadable)?;
    key_file::line_of(WHAT, &path, &text)
}

/// Whether the descriptor is open without close-on-exec.
fn was_passed(number: i32) -> io::Result<bool> {
    const CLOSE_ON_EXEC: u32 = libc::O_CLOEXEC as u32;
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{number}"))?;
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    Ok(flags.is_some_and(|flags| flags & CLOSE_ON_EXEC == 0))
}
