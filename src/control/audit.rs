//! The audit log: append-only lines of JSON, each chained to the one before by SHA-256.
//!
//! One line is one [`Record`]; its last field is `hash`, the SHA-256 of the line's bytes before `,"hash":`, and its
//! `previous` is the hash of the line before (64 zeros in the first). So a line can be checked with
//! `sed 's/,"hash":"[0-9a-f]*"}$//' | tr -d '\n' | sha256sum`.
//!
//! Invariants: an intent is durable before the act it announces; the outcome follows; a denied request leaves a record too.
//! Sequences start at 1 and have no gap. After a failed sync nothing is recorded, hence nothing done, until the log is
//! opened anew: retrying a sync proves nothing. Space for [`RESERVE`] bytes is set aside beyond the end of the file, and
//! only safety verbs and outcomes may use it.
//!
//! What a chain cannot show is a cut at its end. `audit.head` beside the log names the last record, so a cut of the log
//! alone is noticed; whoever can cut both is found out only by a head kept elsewhere (`audit verify --expect-head`).

mod log;
mod page;
mod record;
mod sink;
mod verify;

use std::path::PathBuf;

pub use log::{AuditLog, Draft, Space};
pub use page::{describe, page};
pub(crate) use record::digest;
pub use record::{Head, Kind, Record};
pub use verify::{Damage, Report, Why, read, verify};

/// Name of the log in the state directory.
pub const LOG_NAME: &str = "audit.jsonl";
/// Name of the log of the tools that work without a daemon.
pub const TOOLS_NAME: &str = "tools.jsonl";
/// Longest line, bytes, its newline included.
pub const LINE_MAX: u64 = 16 << 10;
/// Space set aside beyond the end of the log for safety verbs, bytes.
pub const RESERVE: u64 = 256 << 10;

/// Why the audit log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// It cannot be opened or made.
    #[error("cannot open the audit log {}", path.display())]
    Open {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process appends to it.
    #[error("the audit log {} is in use by another daemon", path.display())]
    InUse {
        /// Its path.
        path: PathBuf,
    },
    /// It was changed, or lost lines.
    #[error("the audit log {} is damaged: {damage}", path.display())]
    Damaged {
        /// Its path.
        path: PathBuf,
        /// Where and how.
        damage: Damage,
    },
    /// There is no room for the record.
    #[error("no space to record it in the audit log")]
    NoSpace {
        /// What the system said.
        source: std::io::Error,
    },
    /// Writing or syncing failed.
    #[error("cannot write the audit log")]
    Write {
        /// What the system said.
        source: std::io::Error,
    },
    /// It failed before and takes nothing more.
    #[error("the audit log takes no records: {why}")]
    Refusing {
        /// What happened.
        why: String,
    },
    /// The record is longer than a line may be.
    #[error("the audit record is longer than {LINE_MAX} bytes")]
    TooLong,
}

#[cfg(test)]
#[path = "tests/audit.rs"]
mod tests;

#[cfg(test)]
#[path = "tests/audit_device.rs"]
mod device_tests;
