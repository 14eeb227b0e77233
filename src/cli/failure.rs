//! How a command fails: what, where, hint, exit code; for a person or as JSON.
//!
//! Invariants: goes to stderr; one failure, one message; the form for a person is
//! `error: what`, then one indented line for each place, then `  hint: …`. The JSON form is that of the API's errors.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;

use serde::Serialize;

use super::exit::Exit;
use crate::control::api::{ApiError, ErrorKind};
use crate::control::audit::AuditError;
use crate::control::{ClientError, ServerError};

/// A failure of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    exit: Exit,
    /// The `error` of the JSON form: a kind of the API, or the word of the exit code.
    word: String,
    what: String,
    places: Vec<String>,
    hint: Option<String>,
}

impl Failure {
    /// A failure that ends with `exit` and says `what`.
    pub fn new(exit: Exit, what: impl Into<String>) -> Failure {
        Failure { exit, word: exit.word().into(), what: what.into(), places: Vec::new(), hint: None }
    }

    /// A failure whose message is that of `error`; what caused it follows, one line each.
    pub fn from_error(exit: Exit, error: &dyn Error) -> Failure {
        let mut failure = Failure::new(exit, error.to_string());
        let mut cause = error.source();
        while let Some(error) = cause {
            failure = failure.at(format!("because: {error}"));
            cause = error.source();
        }
        failure
    }

    /// Adds a line that says where, or why.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Failure {
        self.places.push(place.into());
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// What the command ends with.
    pub(super) fn exit(&self) -> Exit {
        self.exit
    }

    /// What it says, in one line, for a record.
    pub(super) fn summary(&self) -> String {
        std::iter::once(self.what.as_str()).chain(self.places.iter().map(String::as_str)).collect::<Vec<_>>().join("; ")
    }

    /// Nobody reads stdout any more: the one failure that is none.
    pub(super) fn is_silent(&self) -> bool {
        self.exit == Exit::Ok
    }

    /// The message for a person.
    pub(super) fn human(&self) -> String {
        let mut text = format!("error: {}\n", self.what);
        for place in &self.places {
            let _ = writeln!(text, "  {place}");
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "  hint: {hint}");
        }
        text
    }

    /// The message as JSON, one line.
    pub(super) fn json(&self) -> String {
        #[derive(Serialize)]
        struct Wire<'a> {
            error: &'a str,
            what: &'a str,
            #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
            place: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            hint: Option<&'a str>,
            code: u8,
        }
        let place = (!self.places.is_empty()).then(|| self.places.join("; "));
        let hint = self.hint.as_deref();
        let wire = Wire { error: &self.word, what: &self.what, place, hint, code: self.exit.code() };
        serde_json::to_string(&wire).unwrap_or_default()
    }

    /// Says it on stderr; returns the exit code to end with.
    pub(super) fn report(&self, json: bool) -> Exit {
        if !self.is_silent() {
            let text = if json { self.json() + "\n" } else { self.human() };
            // Nothing is left to do if stderr is gone too.
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
        self.exit
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Failure {
        let mut failure = Failure::new(Exit::of(error.error), error.what);
        if let Ok(serde_json::Value::String(word)) = serde_json::to_value(error.error) {
            failure.word = word;
        }
        failure.places.extend(error.place);
        failure.hint = error.hint;
        failure
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        match error {
            ClientError::Daemon(error) => error.into(),
            ClientError::Unreachable { ref source, .. } => {
                let hint = match source.kind() {
                    std::io::ErrorKind::PermissionDenied => "only root and the daemon's own user may talk to it",
                    _ => "start one with `keymoult serve`, or name its socket with --control unix:PATH",
                };
                Failure::from_error(Exit::Unreachable, &error).hint(hint)
            }
            ClientError::Late { .. } => {
                Failure::from_error(Exit::Unreachable, &error).hint("its log may say what it waits for")
            }
            ClientError::Nonsense { .. } => {
                Failure::from_error(Exit::Internal, &error).hint("is it the control socket, and of the same version?")
            }
        }
    }
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Failure {
        crate::control::audit::describe(&error).into()
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Failure {
        let (exit, hint) = match &error {
            ServerError::InUse { .. } => {
                (Exit::InUse, "stop the other daemon, or choose another socket with --control unix:PATH")
            }
            ServerError::NotASocket { .. } => (Exit::BadInput, "choose another name with --control unix:PATH"),
            ServerError::Bind { .. } => {
                (Exit::BadInput, "check that its directory exists and that this user may write there")
            }
            ServerError::Start { .. } => (Exit::Internal, "the machine may be out of threads or descriptors"),
        };
        Failure::from_error(exit, &error).hint(hint)
    }
}

impl From<std::io::Error> for Failure {
    /// For stdout only: other I/O errors deserve a place.
    fn from(error: std::io::Error) -> Failure {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::new(Exit::Ok, ""),
            _ => Failure::new(Exit::Io, "cannot write the result").at(format!("because: {error}")),
        }
    }
}

/// Shorthand for bad input.
pub(super) fn bad_input(what: impl Into<String>) -> Failure {
    Failure::new(Exit::of(ErrorKind::BadInput), what)
}
