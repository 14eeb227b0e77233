//! `keymoult audit show|verify`: reading the log through the daemon or from its file, and checking the file.

use std::path::Path;

use serde::Serialize;

use super::args::{AuditCommand, Global};
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, row, table};
use super::remote;
use crate::control::api::{AuditPage, AuditQuery};
use crate::control::audit::{self, Head, Record, Report};

/// Runs an `audit` command.
pub fn run(command: &AuditCommand, global: &Global, output: &Output) -> Result<Exit, Failure> {
    match command {
        AuditCommand::Show { after, limit, log } => {
            let query = AuditQuery { after: *after, limit: Some(*limit) };
            let page = match log {
                Some(path) => audit::page(path, query)?,
                None => remote::client(global)?.audit(query)?,
            };
            output.result(&page, page_text)?;
        }
        AuditCommand::Verify { log, expect_head } => verify(log, expect_head.as_ref(), output)?,
    }
    Ok(Exit::Ok)
}

fn page_text(page: &AuditPage) -> String {
    let mut rows = vec![row(["sequence", "time", "kind", "user", "process", "verb", "object", "what"])];
    rows.extend(page.records.iter().map(record_row));
    table(&rows)
}

fn record_row(record: &Record) -> Vec<String> {
    let pid = record.actor.pid.map_or_else(|| "?".into(), |pid| pid.to_string());
    let kind =
        serde_json::to_value(record.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
    let what = match (&record.outcome, record.intent) {
        (Some(outcome), Some(intent)) => format!("of {intent}: {outcome}"),
        (Some(outcome), None) => outcome.clone(),
        (None, _) => record.reason.clone().unwrap_or_else(|| record.rule.clone()),
    };
    let sequence = record.sequence.to_string();
    let uid = record.actor.uid.to_string();
    row([&sequence, &record.time, &kind, &uid, &pid, &record.verb, &record.object, &printable(&what)])
}

/// Text an operator wrote, without what could steer a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn verify(path: &Path, anchor: Option<&Head>, output: &Output) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Verified<'a> {
        log: String,
        #[serde(flatten)]
        report: &'a Report,
    }
    let report = audit::verify(path, anchor)?;
    output
        .result(&Verified { log: path.display().to_string(), report: &report }, |verified| text(&verified.log, &report))
}

fn text(log: &str, report: &Report) -> String {
    let mut text = format!("{log}: {} records, whole and in order\n  head {}\n", report.head.sequence, report.head);
    if !report.anchored {
        text.push_str("  no head is known: records cut off at the end would not show\n");
    }
    if report.torn_bytes > 0 {
        text.push_str(&format!(
            "  the last line is torn ({} bytes): a crash, or a write under way\n",
            report.torn_bytes
        ));
    }
    if !report.unfinished.is_empty() {
        text.push_str(&format!("  acts without an outcome: {:?}\n", report.unfinished));
    }
    text
}
