//! What every process of this program does before it touches a key: no core dumps, no ptrace by the same user.
//!
//! Invariant: nothing here fails the program; what could not be had is returned, for the daemon to tell.

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};

/// Forbids core dumps twice over, by the process's own flag and by its limit. Says what could not be had.
pub fn harden() -> Vec<String> {
    let mut lost = Vec::new();
    if let Err(error) = prctl::set_dumpable(false) {
        lost.push(format!("core dumps could not be forbidden: {error}"));
    }
    if let Err(error) = setrlimit(Resource::RLIMIT_CORE, 0, 0) {
        lost.push(format!("the core size limit could not be set to 0: {error}"));
    }
    lost
}
