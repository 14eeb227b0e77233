//! The error of the control API: what, where, hint, and the exit code the command line ends with.
//!
//! Invariants: [`ErrorKind`] is closed; each kind has one HTTP status and one exit code (the table of
//! `keymoult help exit-codes`); no secret is ever part of a message.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of error it is; the wire word is the kebab-case name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The request cannot be read or says something impossible.
    BadInput,
    /// No such volume, rotation or route.
    NotFound,
    /// No given key opens it, or its keeper does not give it.
    WrongKey,
    /// On-disk structures are damaged or fail authentication.
    Damaged,
    /// Someone else holds it.
    InUse,
    /// A device failed.
    Io,
    /// A device is full.
    NoSpace,
    /// The state does not allow it now.
    State,
    /// The policy does not allow it to this actor.
    Denied,
    /// It would be allowed, but it cannot be recorded, so it does not happen.
    AuditRefused,
    /// The daemon is not ready, or is going away; or the keeper of a KEK does not answer.
    Unavailable,
    /// This build or this machine cannot do it.
    Unsupported,
    /// A fault of keymoult itself, or a word from a newer daemon.
    #[serde(other)]
    Internal,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [ErrorKind; 13] = [
        ErrorKind::BadInput,
        ErrorKind::NotFound,
        ErrorKind::WrongKey,
        ErrorKind::Damaged,
        ErrorKind::InUse,
        ErrorKind::Io,
        ErrorKind::NoSpace,
        ErrorKind::State,
        ErrorKind::Denied,
        ErrorKind::AuditRefused,
        ErrorKind::Unavailable,
        ErrorKind::Unsupported,
        ErrorKind::Internal,
    ];

    /// The exit code of the command line for this kind.
    pub const fn code(self) -> u8 {
        match self {
            ErrorKind::Internal => 1,
            ErrorKind::BadInput | ErrorKind::NotFound => 3,
            ErrorKind::WrongKey => 4,
            ErrorKind::Damaged => 5,
            ErrorKind::InUse => 6,
            ErrorKind::Io | ErrorKind::NoSpace => 7,
            ErrorKind::State | ErrorKind::Denied | ErrorKind::AuditRefused => 8,
            ErrorKind::Unavailable => 9,
            ErrorKind::Unsupported => 11,
        }
    }

    /// The HTTP status for this kind (RFC 9110).
    pub const fn http_status(self) -> u16 {
        match self {
            ErrorKind::BadInput => 400,
            ErrorKind::Denied => 403,
            ErrorKind::NotFound => 404,
            ErrorKind::State | ErrorKind::InUse => 409,
            ErrorKind::WrongKey | ErrorKind::Damaged => 422,
            ErrorKind::Internal | ErrorKind::Io => 500,
            ErrorKind::Unsupported => 501,
            ErrorKind::AuditRefused | ErrorKind::Unavailable => 503,
            ErrorKind::NoSpace => 507,
        }
    }
}

/// An error as the API says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// What kind of error it is.
    pub error: ErrorKind,
    /// What is wrong, in one line.
    pub what: String,
    /// What it is about: a volume, a path, a field.
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Exit code of the command line for it.
    pub code: u8,
}

impl ApiError {
    /// An error of `kind` that says `what`.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> ApiError {
        ApiError { error: kind, what: what.into(), place: None, hint: None, code: kind.code() }
    }

    /// Names the thing it is about.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> ApiError {
        self.place = Some(place.into());
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> ApiError {
        self.hint = Some(hint.into());
        self
    }

    /// The volume `name` is not served.
    pub fn no_such_volume(name: &str) -> ApiError {
        ApiError::new(ErrorKind::NotFound, "no such volume")
            .at(format!("volume {name}"))
            .hint("`keymoult status` lists the volumes the daemon serves")
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{}: {place}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for ApiError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_back_and_an_unknown_word_is_internal() {
        for kind in ErrorKind::ALL {
            let word = serde_json::to_string(&kind).unwrap();
            assert_eq!(serde_json::from_str::<ErrorKind>(&word).unwrap(), kind);
        }
        assert_eq!(serde_json::from_str::<ErrorKind>("\"newer-word\"").unwrap(), ErrorKind::Internal);
    }

    #[test]
    fn place_is_called_where_on_the_wire() {
        let text = serde_json::to_string(&ApiError::no_such_volume("x")).unwrap();
        assert!(text.contains("\"where\":\"volume x\"") && text.contains("\"code\":3"), "{text}");
    }
}
