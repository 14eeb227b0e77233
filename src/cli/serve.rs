//! `keymoult serve`: flags and configuration in, one checked plan out, [`super::local`] serves it.

use super::args::{Global, ServeArgs};
use super::config;
use super::exit::Exit;
use super::failure::Failure;
use super::output::Output;
use super::{failure_of, local, remote, report};
use crate::nbd::Passed;

/// Runs `serve`.
pub fn run(args: &ServeArgs, global: &Global, output: &Output) -> Result<Exit, Failure> {
    let replan = || config::plan(args, global.control.as_ref(), || remote::control_path(global));
    let plan = replan()?;
    // Before there is a second thread.
    let passed = Passed::of_this_process().map_err(|error| failure_of::nbd(&error))?;
    log();
    local::serve(&plan, &passed, &replan, &mut |ready| output.result(ready, report::ready))?;
    Ok(Exit::Ok)
}

/// Sends the daemon's log to stderr.
fn log() {
    // Fails only if there is a subscriber already, which is then the one to use.
    let _ = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).try_init();
}
