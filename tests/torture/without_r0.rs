//! `keymoult` without rule R0: the daemon that `control.rs` must catch. A release build of it refuses to run.

use std::process::ExitCode;

#[cfg(debug_assertions)]
fn main() -> ExitCode {
    keymoult::volume::drop_r0();
    keymoult::cli::main()
}

#[cfg(not(debug_assertions))]
fn main() -> ExitCode {
    eprintln!("keymoult-without-r0 drops a rule, which only a debug build can");
    ExitCode::FAILURE
}
