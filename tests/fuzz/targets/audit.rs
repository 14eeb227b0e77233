//! Audit logs, as they are and with their chain made right: every line gets the hash of its own bytes, and `@` in it
//! stands for the hash of the line before. Promises: a log that is accepted is whole lines, each hanging on the one
//! before, with at most one torn line behind them; the head it ends in can be written and read; a page of it is one.

use keymoult::control::audit::{Head, LINE_MAX, page, read, verify};
use sha2::{Digest, Sha256};

use crate::support::files::private;

pub fn run(bytes: &[u8]) {
    let _ = std::str::from_utf8(bytes).map(str::parse::<Head>);
    log(bytes);
    log(&chained(bytes));
}

fn log(bytes: &[u8]) {
    let path = private("fuzzed.jsonl", bytes);
    let mut records = Vec::new();
    let Ok(report) = read(&path, None, |record| records.push((record.sequence, record.hash.clone()))) else {
        return assert!(verify(&path, None).is_err());
    };
    assert_eq!(report.bytes + report.torn_bytes, bytes.len() as u64);
    assert!(report.torn_bytes <= LINE_MAX);
    assert!(records.iter().map(|record| record.0).eq(1..=report.head.sequence));
    assert!(report.unfinished.iter().all(|intent| *intent <= report.head.sequence));
    assert_eq!(report.head.to_string().parse::<Head>().as_ref(), Ok(&report.head));
    if let Some((sequence, hash)) = records.first() {
        let known = Head { sequence: *sequence, hash: hash.clone() };
        assert!(verify(&path, Some(&known)).is_ok(), "a head of the log itself");
        let other = Head { sequence: *sequence, hash: "f".repeat(64) };
        assert!(verify(&path, Some(&other)).is_err() || *hash == other.hash);
    }
    let further = Head { sequence: report.head.sequence + 1, hash: "0".repeat(64) };
    assert!(verify(&path, Some(&further)).is_err(), "it was longer once");
    let _ = page(&path, Default::default());
}

fn chained(bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut hash) = (Vec::new(), "0".repeat(64));
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(body) = line.strip_suffix(b"}\n") else {
            out.extend_from_slice(line);
            continue;
        };
        let pieces: Vec<&[u8]> = body.split(|byte| *byte == b'@').collect();
        let body = pieces.join(hash.as_bytes());
        hash = Sha256::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
        out.extend_from_slice(&body);
        out.extend_from_slice(format!(",\"hash\":\"{hash}\"}}\n").as_bytes());
    }
    out
}
