//! What readers of the log are given: a page of records, or an error in words.

use std::path::Path;

use super::{AuditError, read};
use crate::control::api::{ApiError, AuditPage, AuditQuery, ErrorKind};

/// Most records in one page.
const PAGE_MAX: usize = 1000;

/// The records of the log at `path` that `query` asks for.
pub fn page(path: &Path, query: AuditQuery) -> Result<AuditPage, ApiError> {
    let limit = query.limit.unwrap_or(PAGE_MAX).min(PAGE_MAX);
    let mut records = std::collections::VecDeque::new();
    let report = read(path, None, |record| {
        let wanted = query.after.is_none_or(|after| record.sequence > after);
        if !wanted || (query.after.is_some() && records.len() >= limit) {
            return;
        }
        records.push_back(record.clone());
        if records.len() > limit {
            records.pop_front();
        }
    });
    let report = report.map_err(|error| describe(&error))?;
    Ok(AuditPage { records: records.into(), head: report.head })
}

/// Words an error of the audit log for the API and the command line.
pub fn describe(error: &AuditError) -> ApiError {
    let (kind, path) = match error {
        AuditError::Open { path, source } if source.kind() == std::io::ErrorKind::NotFound => {
            (ErrorKind::NotFound, Some(path))
        }
        AuditError::Open { path, .. } => (ErrorKind::Io, Some(path)),
        AuditError::InUse { path } => (ErrorKind::InUse, Some(path)),
        AuditError::Damaged { path, .. } => (ErrorKind::Damaged, Some(path)),
        AuditError::NoSpace { .. } => (ErrorKind::NoSpace, None),
        AuditError::Write { .. } => (ErrorKind::Io, None),
        AuditError::Refusing { .. } | AuditError::TooLong => (ErrorKind::AuditRefused, None),
    };
    let what = match (error, std::error::Error::source(error)) {
        (AuditError::Damaged { damage, .. }, _) => format!("the audit log is damaged: {damage}"),
        (AuditError::Open { source, .. }, _) => format!("cannot open the audit log: {source}"),
        (AuditError::InUse { .. }, _) => "the audit log is in use by another daemon".into(),
        (_, Some(source)) => format!("{error}: {source}"),
        (_, None) => error.to_string(),
    };
    let hint = match error {
        AuditError::InUse { .. } => Some("stop the other daemon, or give this one its own --state-dir"),
        AuditError::Damaged { .. } => {
            Some("set the log and its .head file aside as evidence; the next start begins a new chain")
        }
        AuditError::Open { .. } => Some("check that it, or its directory, exists and that this user may use it"),
        _ => None,
    };
    ApiError {
        place: path.map(|path| path.display().to_string()),
        hint: hint.map(Into::into),
        ..ApiError::new(kind, what)
    }
}
