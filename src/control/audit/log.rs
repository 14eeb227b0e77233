//! The log as the daemon holds it: open, recover, append.
//!
//! Invariants: [`AuditLog::append`] returns only when the record is durable; appends are serialized by one lock, held for
//! one write and one sync and never across an act. Once it refuses, it refuses until opened anew.

use std::fs::{DirBuilder, File};
use std::io::{BufReader, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::record::{Head, Kind, Record, encode};
use super::sink::{self, FileSink, Sink};
use super::verify::{Report, walk};
use super::{AuditError, LINE_MAX, LOG_NAME, RESERVE, TOOLS_NAME};
use crate::control::authorize::{Actor, Decision, Object, Verb};

/// What a record says, before it has a place in the chain.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    /// What it is about.
    pub kind: Kind,
    /// Who asked.
    pub actor: &'a Actor,
    /// The verb.
    pub verb: Verb,
    /// What it is done to.
    pub object: &'a Object,
    /// SHA-256 of the request body.
    pub parameters: Option<String>,
    /// The reason given.
    pub reason: Option<&'a str>,
    /// The authorizer's answer.
    pub decision: Decision,
    /// In an outcome, the sequence of its intent.
    pub intent: Option<u64>,
    /// What happened.
    pub outcome: Option<&'a str>,
    /// In a use of a key, the KEK.
    pub kek: Option<&'a str>,
    /// The request id of its keeper.
    pub keeper_request: Option<&'a str>,
}

/// Which space a record may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Only what leaves the reserve, and room for the outcome, whole.
    Ordinary,
    /// The reserve too.
    Reserve,
}

/// The audit log of a running daemon.
pub struct AuditLog {
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    /// None in a log that was never opened.
    sink: Option<Box<dyn Sink>>,
    /// Bytes of whole lines.
    end: u64,
    head: Head,
    refusing: Option<String>,
}

impl AuditLog {
    /// Opens or makes the log in `state_dir`, checks its whole chain, and records what a crash left behind.
    /// The directory is made (0700) if only its last component is missing.
    pub fn open(state_dir: &Path) -> Result<AuditLog, AuditError> {
        let (log, report) = AuditLog::open_named(state_dir, LOG_NAME)?;
        log.recover(&report)?;
        Ok(log)
    }

    /// The same for the log of the tools, which many processes hold in turns: what is without an outcome may still be under way.
    pub(in crate::control) fn open_tools(state_dir: &Path) -> Result<AuditLog, AuditError> {
        AuditLog::open_named(state_dir, TOOLS_NAME).map(|(log, _)| log)
    }

    fn open_named(state_dir: &Path, name: &str) -> Result<(AuditLog, Report), AuditError> {
        let path = state_dir.join(name);
        let fail = |source| AuditError::Open { path: path.clone(), source };
        match DirBuilder::new().mode(0o700).create(state_dir) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(fail(error)),
            _ => {}
        }
        let mut sink = FileSink::open(&path)?;
        let heads: Vec<Head> = sink::read_head(&path).map_err(fail)?.into_iter().collect();
        let mut reader = BufReader::new(File::open(&path).map_err(fail)?);
        let report = walk(&mut reader, &heads, |_| ()).map_err(|error| error.of(&path))?;
        if report.torn_bytes > 0 {
            sink.cut(report.bytes).map_err(fail)?;
        }
        Ok((AuditLog::with_sink(path, Box::new(sink), &report), report))
    }

    /// A log that takes nothing and says `why`: for a daemon that serves its volumes although its log is damaged.
    pub fn refusing(state_dir: &Path, why: impl Into<String>) -> AuditLog {
        let state = State { sink: None, end: 0, head: Head::default(), refusing: Some(why.into()) };
        AuditLog { path: state_dir.join(LOG_NAME), state: Mutex::new(state) }
    }

    pub(super) fn with_sink(path: PathBuf, mut sink: Box<dyn Sink>, report: &Report) -> AuditLog {
        // Best effort: without room now, ordinary acts are refused when they come.
        let _ = sink.set_aside(report.bytes, RESERVE);
        let state = State { sink: Some(sink), end: report.bytes, head: report.head.clone(), refusing: None };
        AuditLog { path, state: Mutex::new(state) }
    }

    /// Records what a crash left: a torn line, acts without an outcome. A full disk does not stop the daemon here.
    fn recover(&self, report: &Report) -> Result<(), AuditError> {
        if report.torn_bytes == 0 && report.unfinished.is_empty() {
            return Ok(());
        }
        let shown = &report.unfinished[..report.unfinished.len().min(100)];
        let outcome = format!("torn bytes removed: {}; acts without an outcome: {shown:?}", report.torn_bytes);
        let draft = Draft {
            kind: Kind::Recovered,
            actor: &Actor::daemon(),
            verb: Verb::DaemonStart,
            object: &Object::Audit,
            parameters: None,
            reason: None,
            decision: Decision { allowed: true, rule: "recovery" },
            intent: None,
            outcome: Some(&outcome),
            kek: None,
            keeper_request: None,
        };
        match self.append(draft, Space::Reserve) {
            Err(AuditError::NoSpace { .. }) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Appends a record and makes it durable. Returns its sequence.
    pub fn append(&self, draft: Draft<'_>, space: Space) -> Result<u64, AuditError> {
        self.lock().append(draft, space)
    }

    /// Path of the log.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last record.
    pub fn head(&self) -> Head {
        self.lock().head.clone()
    }

    /// Why the log takes no records, if it does not.
    pub fn why_refusing(&self) -> Option<String> {
        self.lock().refusing.clone()
    }

    /// Whether space is set aside for safety verbs.
    pub fn has_reserve(&self) -> bool {
        self.lock().sink.as_ref().is_some_and(|sink| sink.has_reserve())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic between two statements of `append` leaves the state whole: it changes last, in one go.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn append(&mut self, draft: Draft<'_>, space: Space) -> Result<u64, AuditError> {
        let mut record = self.place(draft);
        let line = encode(&mut record).map_err(|error| AuditError::Write { source: error.into() })?;
        if line.len() as u64 > LINE_MAX {
            return Err(AuditError::TooLong);
        }
        self.write(&line, space)?;
        self.end += line.len() as u64;
        self.head = Head { sequence: record.sequence, hash: record.hash };
        if let Some(sink) = &mut self.sink {
            // The head may lag behind; it must only never run ahead.
            let _ = sink.note_head(&self.head);
        }
        Ok(self.head.sequence)
    }

    /// Gives a draft its place in the chain.
    fn place(&self, draft: Draft<'_>) -> Record {
        Record {
            sequence: self.head.sequence + 1,
            time: now(),
            kind: draft.kind,
            actor: *draft.actor,
            verb: draft.verb.name().into(),
            object: clip(&draft.object.to_string(), 300),
            parameters: draft.parameters,
            reason: draft.reason.map(|reason| clip(reason, crate::control::api::REASON_MAX)),
            decision: if draft.decision.allowed { "allowed" } else { "denied" }.into(),
            rule: draft.decision.rule.into(),
            intent: draft.intent,
            outcome: draft.outcome.map(|outcome| clip(outcome, 1024)),
            kek: draft.kek.map(|kek| clip(kek, 300)),
            keeper_request: draft.keeper_request.map(|request| clip(request, 128)),
            previous: self.head.hash.clone(),
            hash: String::new(),
        }
    }

    /// Writes and syncs a line at the end; leaves no half line behind.
    fn write(&mut self, line: &[u8], space: Space) -> Result<(), AuditError> {
        let (end, len) = (self.end, line.len() as u64);
        if let Some(why) = &self.refusing {
            return Err(AuditError::Refusing { why: why.clone() });
        }
        let Some(sink) = self.sink.as_mut() else {
            return Err(AuditError::Refusing { why: "it is not open".into() });
        };
        if space == Space::Ordinary {
            sink.set_aside(end, len + LINE_MAX + RESERVE).map_err(|source| AuditError::NoSpace { source })?;
        }
        if let Err(source) = sink.write_at(end, line) {
            if let Err(cut) = sink.cut(end) {
                self.refusing = Some(format!("a failed write could not be undone: {cut}"));
            }
            return Err(match source.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => AuditError::NoSpace { source },
                _ => AuditError::Write { source },
            });
        }
        sink.sync().map_err(|source| {
            self.refusing = Some(format!("a sync failed: {source}"));
            AuditError::Write { source }
        })
    }
}

/// The present, RFC 3339 with milliseconds.
fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

/// The longest prefix of `text` of at most `max` bytes.
fn clip(text: &str, max: usize) -> String {
    text[..text.floor_char_boundary(max)].into()
}
