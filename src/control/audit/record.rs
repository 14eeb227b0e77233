//! One record of the audit log and its line.
//!
//! Invariants: fields are written in declaration order, so a line is a function of its record; the hash covers the very
//! bytes of the line, so any edit shows, even of blanks. [`decode`] gives back only lines whose hash is right.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::control::authorize::Actor;
use crate::units::hex;

/// What stands before the hash in a line.
const HASH_FIELD: &str = ",\"hash\":\"";
/// The `previous` of the first record.
pub(super) const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An allowed act is about to happen.
    Intent,
    /// It happened, or failed.
    Outcome,
    /// A request was turned away; nothing happened.
    Denied,
    /// The daemon did something of its own accord.
    Note,
    /// The log was opened after a crash: what was torn, which acts have no outcome.
    Recovered,
}

/// The last record of a log: how many there are, and the hash everything before it hangs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Sequence of the last record; 0 for an empty log.
    pub sequence: u64,
    /// Its hash, 64 hexadecimal digits; zeros for an empty log.
    pub hash: String,
}

impl Default for Head {
    fn default() -> Head {
        Head { sequence: 0, hash: GENESIS.into() }
    }
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.sequence, self.hash)
    }
}

impl std::str::FromStr for Head {
    type Err = String;

    fn from_str(text: &str) -> Result<Head, String> {
        let bad = || format!("`{text}` is not SEQUENCE:HASH with a hash of 64 hexadecimal digits");
        let (sequence, hash) = text.split_once(':').ok_or_else(bad)?;
        let sequence = sequence.parse().map_err(|_| bad())?;
        match hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            true => Ok(Head { sequence, hash: hash.into() }),
            false => Err(bad()),
        }
    }
}

/// One record. Everything an auditor needs, and no secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its number, from 1, without gaps.
    pub sequence: u64,
    /// When it was written, RFC 3339.
    pub time: String,
    /// What it is about.
    pub kind: Kind,
    /// Who asked.
    pub actor: Actor,
    /// The verb.
    pub verb: String,
    /// What it was done to.
    pub object: String,
    /// SHA-256 of the request body as received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<String>,
    /// The reason given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `allowed` or `denied`.
    pub decision: String,
    /// The rule that said so.
    pub rule: String,
    /// In an outcome, the sequence of its intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<u64>,
    /// `done` or `failed`; in a note or recovery, what happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// In a use of a key: the KEK, as the operator named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kek: Option<String>,
    /// The request id of the keeper of a KEK, under which its own log has the same act.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeper_request: Option<String>,
    /// Hash of the record before.
    pub previous: String,
    /// Hash of this one. Empty while it is being written.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
}

/// SHA-256 of `bytes` in hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The line of `record`, newline included; sets its hash.
pub(super) fn encode(record: &mut Record) -> serde_json::Result<Vec<u8>> {
    record.hash.clear();
    let mut line = serde_json::to_vec(record)?;
    line.pop(); // the closing brace comes after the hash
    record.hash = digest(&line);
    line.extend_from_slice(HASH_FIELD.as_bytes());
    line.extend_from_slice(record.hash.as_bytes());
    line.extend_from_slice(b"\"}\n");
    Ok(line)
}

/// Why a line is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineError {
    /// Not JSON of the right shape.
    Unreadable,
    /// The bytes do not have the hash they claim.
    Hash,
}

/// Reads a line without its newline, and checks its hash.
pub(super) fn decode(line: &[u8]) -> Result<Record, LineError> {
    let record: Record = serde_json::from_slice(line).map_err(|_| LineError::Unreadable)?;
    let tail = HASH_FIELD.len() + 64 + 2;
    let body = line.len().checked_sub(tail).ok_or(LineError::Unreadable)?;
    let expected = [HASH_FIELD.as_bytes(), digest(&line[..body]).as_bytes(), b"\"}"].concat();
    match line[body..] == expected {
        true => Ok(record),
        false => Err(LineError::Hash),
    }
}
