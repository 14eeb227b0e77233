//! The commands that work on this machine's files: where the command line meets the layers below.
//!
//! Invariants: a function here returns a structured result or a [`Failure`] and prints nothing, except through the
//! [`Progress`] it is given; what it was given has been checked as far as that is possible without opening anything. A
//! failed `create` leaves nothing behind.

use super::args::{CheckArgs, CreateArgs, InfoArgs, SpeedArgs};
use super::config::ServePlan;
use super::exit::Exit;
use super::failure::Failure;
use super::progress::Progress;
use super::report::{Checked, Created, Info, Ready, Speed};

/// Makes a volume. Shows progress while it zeroes the data area.
pub fn create(_args: &CreateArgs, _progress: &mut Progress) -> Result<Created, Failure> {
    not_wired("volume create")
}

/// Says what a volume is.
pub fn info(_args: &InfoArgs) -> Result<Info, Failure> {
    not_wired("volume info")
}

/// Checks a volume that nobody serves. What is wrong with it is a finding; a failure means that it could not be checked.
pub fn check(_args: &CheckArgs, _progress: &mut Progress) -> Result<Checked, Failure> {
    not_wired("volume check")
}

/// Serves until SIGTERM or SIGINT. Calls `ready` once, when clients can come.
pub fn serve(
    _plan: &ServePlan,
    _ready: &mut dyn FnMut(&Ready) -> Result<(), Failure>,
) -> Result<(), Failure> {
    not_wired("serve")
}

/// Measures.
pub fn speed(_args: &SpeedArgs, _progress: &mut Progress) -> Result<Speed, Failure> {
    not_wired("speed")
}

fn not_wired<T>(what: &str) -> Result<T, Failure> {
    Err(Failure::new(
        Exit::Unsupported,
        format!("`{what}` is not wired in this build"),
    ))
}
