//! The record that a command keeps when it works without a daemon: before it acts, and of every use of a KEK.
//!
//! Invariants: `header-backup`, `header-restore`, escrow and drills are refused where they cannot be recorded; other commands say
//! once on stderr that they are not recorded, and go on, so that a user without rights to the state directory can work on files of
//! their own. A log that is damaged, or was tampered with, refuses everybody.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::RecordArgs;
use super::failure::Failure;
use super::output::Output;
use crate::control::DEFAULT_STATE_DIR;
use crate::control::audit::AuditError;
use crate::control::authorize::{Object, Verb};
use crate::control::tools::ToolLog;
use crate::keys::Witness;

/// Environment variable that names the state directory where `--state-dir` does not.
const VARIABLE: &str = "KEYMOULT_STATE_DIR";

/// The record of one command.
pub struct Records {
    log: Option<Arc<ToolLog>>,
}

/// Path of the state directory: `--state-dir`, else the environment, else the default.
fn state_dir(args: &RecordArgs) -> PathBuf {
    let named = args.state_dir.clone().or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from));
    named.unwrap_or_else(|| DEFAULT_STATE_DIR.into())
}

impl Records {
    /// The record of a command that is refused without one.
    pub fn required(args: &RecordArgs) -> Result<Records, Failure> {
        let log = ToolLog::open(&state_dir(args)).map_err(|error| {
            let failure = Failure::from(error);
            failure.at("it would not be recorded, so it is not done").hint("name a directory with --state-dir DIR")
        })?;
        Ok(Records { log: Some(Arc::new(log)) })
    }

    /// The record of a command that goes on without one.
    pub fn wanted(args: &RecordArgs, output: &Output) -> Result<Records, Failure> {
        match ToolLog::open(&state_dir(args)) {
            Ok(log) => Ok(Records { log: Some(Arc::new(log)) }),
            Err(AuditError::Open { path, source }) if args.state_dir.is_none() => {
                note(output, &format!("this is not recorded: {}: {source}", path.display()));
                Ok(Records { log: None })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// No record: nothing that matters is done.
    pub fn none() -> Records {
        Records { log: None }
    }

    /// Who is told of every use of a KEK.
    pub fn witness(&self) -> Option<Arc<dyn Witness>> {
        self.log.clone().map(|log| log as Arc<dyn Witness>)
    }

    /// Does `act`, which is `verb` done to the volume at `path`, between its two records.
    pub fn act<R>(
        &self,
        verb: Verb,
        path: &Path,
        reason: Option<&str>,
        act: impl FnOnce() -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let Some(log) = &self.log else { return act() };
        let object = Object::Volume(path.display().to_string());
        let intent = log.begin(verb, &object, reason)?;
        let done = act();
        let outcome = match &done {
            Ok(_) => "done".to_owned(),
            Err(failure) => format!("failed: {}", failure.summary()),
        };
        if let Err(error) = log.end(intent, verb, &object, &outcome) {
            tracing::error!(verb = verb.name(), intent, %error, "could not record an outcome");
        }
        done
    }
}

fn note(output: &Output, what: &str) {
    match output.is_json() {
        true => eprintln!("{}", serde_json::json!({ "note": what })),
        false => eprintln!("note: {what}"),
    }
}
