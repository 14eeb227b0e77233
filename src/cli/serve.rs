//! `keymoult serve`: flags and configuration in, one checked plan out, [`super::local`] serves it.

use super::args::{Global, ServeArgs};
use super::config;
use super::exit::Exit;
use super::failure::{Failure, bad_input};
use super::output::Output;
use super::{failure_of, local, remote, report};
use crate::nbd::Passed;
use tracing_subscriber::filter::LevelFilter;

/// Runs `serve`.
pub fn run(args: &ServeArgs, global: &Global, output: &Output) -> Result<Exit, Failure> {
    let replan = || config::plan(args, global.control.as_ref(), || remote::control_path(global));
    let plan = replan()?;
    // Before there is a second thread.
    let passed = Passed::of_this_process().map_err(|error| failure_of::nbd(&error))?;
    log()?;
    local::serve(&plan, &passed, &replan, &mut |ready| output.result(ready, report::ready))?;
    Ok(Exit::Ok)
}

/// How much the daemon's log says: off, error, warn, info, debug or trace.
const LOG_VARIABLE: &str = "KEYMOULT_LOG";

/// Sends the daemon's log to stderr.
fn log() -> Result<(), Failure> {
    let level = match std::env::var(LOG_VARIABLE) {
        Err(_) => LevelFilter::INFO,
        Ok(name) => name.parse().map_err(|_| {
            bad_input("not a level of the log").at(LOG_VARIABLE).hint("levels: off, error, warn, info, debug, trace")
        })?,
    };
    let subscriber = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false);
    // Fails only if there is a subscriber already, which is then the one to use.
    let _ = subscriber.with_max_level(level).try_init();
    Ok(())
}
