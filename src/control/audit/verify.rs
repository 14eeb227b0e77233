//! Reading a log and checking its chain; names the first line that is wrong.
//!
//! Invariants: reading needs no lock and changes nothing. A last line without a newline is *torn*: what a crash leaves, not
//! damage, unless the head file says that it was whole once.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::record::{Head, Kind, LineError, Record, decode};
use super::{AuditError, LINE_MAX, sink};

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is not a record.
    Unreadable,
    /// It was edited: its bytes do not have the hash they claim.
    Edited,
    /// Its sequence is not the next one: a record was deleted, inserted or moved.
    Sequence {
        /// The sequence that should stand here.
        expected: u64,
        /// The one that does.
        found: u64,
    },
    /// It does not hang on the line before: that one was replaced.
    Unchained,
    /// The log ends here, but a known head is further on: records were cut off.
    Truncated {
        /// Sequence of the known head.
        head: u64,
    },
    /// The record has another hash than the known head: history was rewritten.
    Rewritten,
}

/// The first thing wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Number of the line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: Why,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line;
        match &self.why {
            Why::Unreadable => write!(f, "line {line} is not a record"),
            Why::Edited => write!(f, "line {line} was edited: its hash does not match"),
            Why::Sequence { expected, found } => {
                write!(
                    f,
                    "line {line} is record {found} where record {expected} belongs: one was deleted, inserted or moved"
                )
            }
            Why::Unchained => write!(f, "line {line} does not follow from the line before, which was replaced"),
            Why::Truncated { head } => {
                write!(f, "the log ends before line {line}, but record {head} was written once: it was truncated")
            }
            Why::Rewritten => write!(f, "line {line} is not the record that was written there: history was rewritten"),
        }
    }
}

/// What a whole log looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Its last record.
    pub head: Head,
    /// Bytes of whole lines.
    pub bytes: u64,
    /// Whether a head known from elsewhere was there to show a cut at the end.
    pub anchored: bool,
    /// Bytes of a torn last line.
    pub torn_bytes: u64,
    /// Intents without an outcome.
    pub unfinished: Vec<u64>,
}

/// Why a log could not be read to its end.
#[derive(Debug)]
pub(super) enum WalkError {
    Damage(Damage),
    Io(io::Error),
}

impl WalkError {
    /// Says which log it was.
    pub(super) fn of(self, path: &Path) -> AuditError {
        match self {
            WalkError::Damage(damage) => AuditError::Damaged { path: path.into(), damage },
            WalkError::Io(source) => AuditError::Open { path: path.into(), source },
        }
    }
}

/// Reads a log from its first line, checks it, and hands every record to `each`. `heads` are records known to have been
/// durable.
pub(super) fn walk(log: &mut impl BufRead, heads: &[Head], mut each: impl FnMut(&Record)) -> Result<Report, WalkError> {
    let mut report = Report::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let len = log.by_ref().take(LINE_MAX + 1).read_until(b'\n', &mut line).map_err(WalkError::Io)? as u64;
        let number = report.head.sequence + 1;
        if line.pop() != Some(b'\n') {
            let damage = |why| Err(WalkError::Damage(Damage { line: number, why }));
            report.torn_bytes = len;
            return match heads.iter().find(|head| head.sequence > report.head.sequence) {
                Some(head) => damage(Why::Truncated { head: head.sequence }),
                None if len > LINE_MAX => damage(Why::Unreadable),
                None => Ok(report),
            };
        }
        let record = next(&line, &report.head).map_err(|why| WalkError::Damage(Damage { line: number, why }))?;
        if heads.iter().any(|head| head.sequence == record.sequence && head.hash != record.hash) {
            return Err(WalkError::Damage(Damage { line: number, why: Why::Rewritten }));
        }
        follow(&mut report.unfinished, &record);
        each(&record);
        report.bytes += len;
        report.head = Head { sequence: record.sequence, hash: record.hash };
    }
}

/// The record of `line`, if it may follow `head`.
fn next(line: &[u8], head: &Head) -> Result<Record, Why> {
    let record = decode(line).map_err(|error| match error {
        LineError::Unreadable => Why::Unreadable,
        LineError::Hash => Why::Edited,
    })?;
    let expected = head.sequence + 1;
    if record.sequence != expected {
        return Err(Why::Sequence { expected, found: record.sequence });
    }
    match record.previous == head.hash {
        true => Ok(record),
        false => Err(Why::Unchained),
    }
}

/// Keeps the list of intents without an outcome.
fn follow(unfinished: &mut Vec<u64>, record: &Record) {
    match record.kind {
        Kind::Intent => unfinished.push(record.sequence),
        Kind::Outcome => unfinished.retain(|sequence| Some(*sequence) != record.intent),
        Kind::Recovered => unfinished.clear(),
        Kind::Denied | Kind::Note => {}
    }
}

/// Checks the log at `path` against its own chain, the head file beside it, and `anchor`, a head noted elsewhere.
pub fn verify(path: &Path, anchor: Option<&Head>) -> Result<Report, AuditError> {
    read(path, anchor, |_| ())
}

/// Like [`verify`], and hands every record to `each`.
pub fn read(path: &Path, anchor: Option<&Head>, each: impl FnMut(&Record)) -> Result<Report, AuditError> {
    let fail = |source| AuditError::Open { path: path.into(), source };
    // The head first: it only ever lags behind the log, also while a daemon appends.
    let mut heads: Vec<Head> = sink::read_head(path).map_err(fail)?.into_iter().collect();
    heads.extend(anchor.cloned());
    let file = File::open(path).map_err(fail)?;
    let mut report = walk(&mut BufReader::new(file), &heads, each).map_err(|error| error.of(path))?;
    report.anchored = !heads.is_empty();
    Ok(report)
}
