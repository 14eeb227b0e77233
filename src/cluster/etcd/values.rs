//! The values in etcd. Small ones are JSON, so that `etcdctl get` shows them; a record is its stamp and its bytes.
//!
//! Invariant: whatever stands there, reading it gives a value within its bounds or says what is wrong; nothing is guessed.

use serde::{Deserialize, Serialize};

use crate::cluster::coordinator::{
    CoordinatorError, Freeze, Lead, PUBLISHED_MAX, Published, TOKENS_MAX, Token, WORDS_MAX,
};
use crate::cluster::stamp::Stamp;
use crate::units::VolumeId;

/// Longest small value that is looked at, bytes.
const SMALL_MAX: usize = 4096;
/// Longest list of tokens, bytes.
const TOKENS_BYTES_MAX: usize = TOKENS_MAX * 192;
/// How a record begins; the digit is the version.
const RECORD_MAGIC: &[u8; 8] = b"KMRING1\n";
const RECORD_HEAD: usize = 8 + 8 + 8;
/// The only version of the JSON values.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeadValue {
    version: u32,
    node: String,
    epoch: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EpochValue {
    version: u32,
    epoch: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FreezeValue {
    version: u32,
    by: String,
    reason: String,
    since: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokensValue {
    version: u32,
    tokens: Vec<TokenValue>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenValue {
    volume: String,
    node: String,
    since: u64,
}

/// Why a value is not one.
type Why = String;

/// Says where a value stands that is none.
pub fn at(key: &str) -> impl Fn(Why) -> CoordinatorError + '_ {
    move |why| CoordinatorError::Malformed { key: key.to_owned(), why }
}

fn small<'a, T: Deserialize<'a>>(bytes: &'a [u8], max: usize) -> Result<T, Why> {
    if bytes.len() > max {
        return Err(format!("{} bytes, at most {max}", bytes.len()));
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

fn versioned(version: u32) -> Result<(), Why> {
    if version == VERSION { Ok(()) } else { Err(format!("version {version}; this build reads {VERSION}")) }
}

/// The bytes of a value that always has some.
fn written<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// Who leads, as bytes.
pub fn of_lead(lead: &Lead) -> Vec<u8> {
    written(&LeadValue { version: VERSION, node: lead.node.to_string(), epoch: lead.epoch })
}

/// Who leads.
pub fn lead(bytes: &[u8]) -> Result<Lead, Why> {
    let value: LeadValue = small(bytes, SMALL_MAX)?;
    versioned(value.version)?;
    let node = value.node.parse().map_err(|error| format!("{error}"))?;
    Ok(Lead { node, epoch: value.epoch })
}

/// An epoch, as bytes.
pub fn of_epoch(epoch: u64) -> Vec<u8> {
    written(&EpochValue { version: VERSION, epoch })
}

/// An epoch.
pub fn epoch(bytes: &[u8]) -> Result<u64, Why> {
    let value: EpochValue = small(bytes, SMALL_MAX)?;
    versioned(value.version)?;
    Ok(value.epoch)
}

/// A freeze, as bytes.
pub fn of_freeze(freeze: &Freeze) -> Vec<u8> {
    let Freeze { by, reason, since } = freeze.clone();
    written(&FreezeValue { version: VERSION, by, reason, since })
}

/// A freeze. What it says too much is cut: a freeze that cannot be read must freeze all the same.
pub fn freeze(bytes: &[u8]) -> Freeze {
    let read = small::<FreezeValue>(bytes, SMALL_MAX * 2).and_then(|value| versioned(value.version).map(|()| value));
    match read {
        Ok(value) => Freeze { by: cut(&value.by), reason: cut(&value.reason), since: value.since },
        Err(why) => Freeze { by: "somebody".into(), reason: cut(&format!("unreadable: {why}")), since: 0 },
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(WORDS_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// Tokens, as bytes.
pub fn of_tokens(tokens: &[Token]) -> Vec<u8> {
    let one = |token: &Token| TokenValue {
        volume: token.volume.to_string(),
        node: token.node.to_string(),
        since: token.since,
    };
    written(&TokensValue { version: VERSION, tokens: tokens.iter().map(one).collect() })
}

/// Tokens, one of a volume at most.
pub fn tokens(bytes: &[u8]) -> Result<Vec<Token>, Why> {
    let value: TokensValue = small(bytes, TOKENS_BYTES_MAX)?;
    versioned(value.version)?;
    if value.tokens.len() > TOKENS_MAX {
        return Err(format!("{} tokens, at most {TOKENS_MAX}", value.tokens.len()));
    }
    let mut tokens: Vec<Token> = Vec::new();
    for token in value.tokens {
        let volume = volume(&token.volume).ok_or_else(|| format!("{:?} is no volume id", cut(&token.volume)))?;
        let node = token.node.parse().map_err(|error| format!("{error}"))?;
        if tokens.iter().any(|other| other.volume == volume) {
            return Err(format!("two tokens of volume {volume}"));
        }
        tokens.push(Token { volume, node, since: token.since });
    }
    Ok(tokens)
}

/// A volume's id as it is printed.
pub fn volume(text: &str) -> Option<VolumeId> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let mut id = [0; 16];
    if digits.len() != 32 || !digits.is_ascii() {
        return None;
    }
    for (byte, at) in id.iter_mut().zip((0..32).step_by(2)) {
        *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    let id = VolumeId(id);
    (id.to_string() == text).then_some(id)
}

/// A record, as bytes.
pub fn of_record(stamp: Stamp, record: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RECORD_HEAD + record.len());
    bytes.extend_from_slice(RECORD_MAGIC);
    bytes.extend_from_slice(&stamp.epoch.to_le_bytes());
    bytes.extend_from_slice(&stamp.revision.to_le_bytes());
    bytes.extend_from_slice(record);
    bytes
}

/// A record.
pub fn record(bytes: &[u8]) -> Result<Published, Why> {
    let (head, record) = bytes.split_at_checked(RECORD_HEAD).ok_or("too short")?;
    if !head.starts_with(RECORD_MAGIC) {
        return Err("no keyring record of a version this build reads".into());
    }
    if record.len() > PUBLISHED_MAX {
        return Err(format!("a record of {} bytes, at most {PUBLISHED_MAX}", record.len()));
    }
    let number = |at: usize| head[at..at + 8].try_into().map(u64::from_le_bytes).unwrap_or_default();
    Ok(Published { stamp: Stamp::new(number(8), number(16)), record: record.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let node: crate::cluster::name::NodeName = "a".parse().unwrap();
        let first = Lead { node: node.clone(), epoch: 7 };
        assert_eq!(lead(&of_lead(&first)), Ok(first));
        assert_eq!(epoch(&of_epoch(9)), Ok(9));
        let held = Freeze { by: "uid:0".into(), reason: "\"quoted\"\n".into(), since: 3 };
        assert_eq!(freeze(&of_freeze(&held)), held);
        let two =
            [VolumeId([1; 16]), VolumeId([0xfe; 16])].map(|volume| Token { volume, node: node.clone(), since: 5 });
        assert_eq!(tokens(&of_tokens(&two)), Ok(two.to_vec()));
        let stamp = Stamp::new(2, u64::MAX);
        assert_eq!(record(&of_record(stamp, b"abc")), Ok(Published { stamp, record: b"abc".to_vec() }));
    }

    #[test]
    fn what_others_write_is_refused() {
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"version":2,"node":"a","epoch":1}"#,
            r#"{"version":1,"node":"A","epoch":1}"#,
            r#"{"version":1,"node":"a","epoch":-1}"#,
            r#"{"version":1,"node":"a","epoch":1,"more":1}"#,
            &" ".repeat(SMALL_MAX + 1),
        ] {
            assert!(lead(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(epoch(br#"{"version":1,"epoch":18446744073709551616}"#).is_err());
        let id = VolumeId([1; 16]);
        let twice = format!(r#"{{"volume":"{id}","node":"a","since":1}}"#);
        assert!(tokens(format!(r#"{{"version":1,"tokens":[{twice},{twice}]}}"#).as_bytes()).is_err());
        assert!(tokens(br#"{"version":1,"tokens":[{"volume":"01","node":"a","since":1}]}"#).is_err());
        assert!(record(b"KMRING1\n").is_err());
        assert!(record(&[0; 64]).is_err());
        assert!(record(&of_record(Stamp::new(1, 1), &vec![0; PUBLISHED_MAX + 1])).is_err());
    }

    #[test]
    fn a_freeze_that_cannot_be_read_freezes() {
        assert!(freeze(b"\xff").reason.starts_with("unreadable"));
        let long = Freeze { by: "ä".repeat(WORDS_MAX), reason: "r".into(), since: 0 };
        assert_eq!(freeze(&of_freeze(&long)).by.len(), WORDS_MAX);
    }

    #[test]
    fn a_volume_id_has_one_spelling() {
        let id = VolumeId([0xab; 16]);
        assert_eq!(volume(&id.to_string()), Some(id));
        for bad in [id.to_string().to_uppercase(), "ab".repeat(16), String::new(), "+b".repeat(16), "ä".repeat(16)] {
            assert_eq!(volume(&bad), None, "{bad}");
        }
    }
}
