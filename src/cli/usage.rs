//! Turns what clap says about a command line into our own form of message.
//!
//! Invariants: help and version go to stdout and are no failure; all else is exit code 2, with clap's tip as the hint and
//! the usage line as the place.

use std::io::Write as _;

use clap::error::ErrorKind;

use super::exit::Exit;
use super::failure::Failure;

/// Ends a run whose command line was not a command.
pub fn end(error: &clap::Error) -> Result<Exit, Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            std::io::stdout().write_all(error.render().to_string().as_bytes())?;
            Ok(Exit::Ok)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Err(Failure::new(Exit::Usage, "a command is missing").hint("`keymoult --help` lists the commands"))
        }
        _ => Err(reword(&error.render().to_string())),
    }
}

/// Rewords a message of clap: paragraphs, of which the first is the error, one may be a tip, one the usage.
fn reword(text: &str) -> Failure {
    let mut paragraphs = text.split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    let mut lines = first.trim().trim_start_matches("error: ").lines();
    let mut failure = Failure::new(Exit::Usage, lines.next().unwrap_or_default());
    for line in lines {
        failure = failure.at(line.trim());
    }
    let mut hint = None;
    for paragraph in paragraphs.map(str::trim) {
        if let Some(usage) = paragraph.strip_prefix("Usage: ") {
            failure = failure.at(format!("usage: {usage}"));
        } else if let Some(tip) = paragraph.strip_prefix("tip: ") {
            hint = Some(tip.lines().next().unwrap_or_default().to_owned());
        }
    }
    failure.hint(hint.unwrap_or_else(|| "`--help` after a command describes it".into()))
}
