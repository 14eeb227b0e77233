//! The command line: arguments, configuration, messages, exit codes. The composition root of the program.
//!
//! Invariants: results go to stdout, progress and errors to stderr; with `--json` each is JSON; every failure ends in a
//! documented exit code ([`exit::Exit`]) and says what, where and what to do. Secrets are never arguments.

mod alarms;
pub mod args;
mod audit;
mod backup;
pub mod config;
mod daemon;
mod drill;
mod escrow;
mod examine;
pub mod exit;
pub mod failure;
mod failure_of;
mod files;
mod harden;
mod help;
mod holders;
mod keks;
mod life;
mod local;
mod names;
mod notify;
mod opening;
mod operations;
pub mod output;
pub mod progress;
mod prove;
mod records;
mod reload;
mod remote;
pub mod report;
mod resize;
mod rotate;
mod serve;
mod size;
mod speed;
mod status;
mod usage;
mod volume;
mod words;
mod wraps;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command, KeyCommand};
use exit::Exit;
use failure::Failure;
use output::Output;

/// Runs the command line.
pub fn main() -> ExitCode {
    // Commands open KEKs, too; `serve` tells what is lost.
    let _ = harden::harden();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Looked for by hand, since it also decides how a usage error is worded.
    let json = arguments.iter().any(|argument| argument == "--json");
    let end = match Cli::try_parse_from(arguments) {
        Ok(cli) => run(cli),
        Err(error) => usage::end(&error),
    };
    let exit = end.unwrap_or_else(|failure| failure.report(json));
    ExitCode::from(exit.code())
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    let global = cli.global;
    let output = Output::new(global.json);
    match cli.command {
        Command::Volume { command } => volume::run(&command, &global, &output),
        Command::Serve(args) => serve::run(&args, &global, &output),
        Command::Status(args) => status::run(&args, &global, &output),
        Command::Rotate { command } => rotate::run(&command, &global, &output),
        Command::Key { command } => key(&command, &global, &output),
        Command::Drill { command } => drill::run(&command, &global, &output),
        Command::Audit { command } => audit::run(&command, &global, &output),
        Command::Speed(args) => volume::speed(&args, &output),
        Command::Help(args) => help::run(&args, &output),
    }
}

fn key(command: &KeyCommand, global: &args::Global, output: &Output) -> Result<Exit, Failure> {
    match command {
        KeyCommand::List { volume } => status::keys(volume, global, output),
        KeyCommand::Life(command) => life::run(command, global, output),
        KeyCommand::Rewrap(args) => wraps::rewrap(args, global, output),
        KeyCommand::WrapAdd(args) => wraps::add(args, global, output),
        KeyCommand::WrapRemove(args) => wraps::remove(args, global, output),
        KeyCommand::Holder { command } => holders::run(command, global, output),
        KeyCommand::ExportEscrow(args) => escrow::export(args, global, output),
        KeyCommand::ImportEscrow(args) => escrow::import(args, output),
    }
}

#[cfg(test)]
mod tests;
