//! What Transit answers: JSON to values, status codes to classes.
//!
//! Invariants: a key in an answer goes from one wiped buffer into another and nowhere else; what the keeper says is shown
//! only as printable text of bounded length; the class of a refusal hangs on the status code first, and on the words only
//! where Transit has one code for many things.

use std::time::Duration;

use base64ct::{Base64, Encoding};
use serde::Deserialize;

use crate::crypto::Secret;
use crate::keys::error::KeyErrorClass as Class;
use crate::limits::WRAP_BLOB_MAX;

/// Longest request id that is kept, bytes.
const REQUEST_ID_MAX: usize = 64;
/// Most of the keeper's words in a message, characters.
const WORDS_MAX: usize = 200;
/// What is wrong with an answer that cannot be read.
pub(super) const UNREADABLE: &str = "it is not what Transit says";

#[derive(Deserialize)]
struct Envelope<'a, T> {
    #[serde(borrow, default)]
    request_id: Option<&'a str>,
    data: Option<T>,
    #[serde(borrow, default)]
    auth: Option<Auth<'a>>,
}

#[derive(Deserialize)]
struct Auth<'a> {
    client_token: &'a str,
    #[serde(default)]
    lease_duration: u64,
}

/// What is known of a Transit key.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct KeyFacts {
    /// `aes256-gcm96`, `rsa-2048`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether a key is derived for each context.
    #[serde(default)]
    pub derived: bool,
    /// The version that encrypts.
    #[serde(default)]
    pub latest_version: u32,
    /// The oldest version that decrypts.
    #[serde(default)]
    pub min_decryption_version: u32,
    /// Whether it is deleted, and can be restored (OpenBao).
    #[serde(default)]
    pub soft_deleted: bool,
    /// Whether it encrypts at all.
    #[serde(default = "yes")]
    pub supports_encryption: bool,
    /// Whether its bytes can be had from the keeper.
    #[serde(default)]
    pub exportable: bool,
}

fn yes() -> bool {
    true
}

/// A login.
pub(super) struct Login {
    /// Proves who we are.
    pub token: Secret,
    /// For how long; none for ever.
    pub lease: Option<Duration>,
}

/// A wrapped key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ciphertext {
    /// Version of the Transit key.
    pub version: u32,
    /// What stands behind `vault:vN:`, decoded.
    pub bytes: Vec<u8>,
    /// The keeper's name for the request.
    pub request_id: Option<String>,
}

/// Reads the answer to `encrypt`.
pub fn encrypted(body: &[u8]) -> Result<Ciphertext, &'static str> {
    #[derive(Deserialize)]
    struct Data<'a> {
        ciphertext: &'a str,
    }
    let envelope: Envelope<'_, Data<'_>> = serde_json::from_slice(body).map_err(|_| UNREADABLE)?;
    let text = envelope.data.ok_or(UNREADABLE)?.ciphertext;
    let (version, encoded) =
        text.strip_prefix("vault:v").and_then(|rest| rest.split_once(':')).ok_or("its ciphertext has no version")?;
    let version = version.parse().ok().filter(|version| *version > 0).ok_or("its ciphertext has no version")?;
    if encoded.len() > 4 * WRAP_BLOB_MAX {
        return Err("its ciphertext is longer than a wrap can be");
    }
    let bytes = Base64::decode_vec(encoded).map_err(|_| "its ciphertext is no base64")?;
    // One byte of a wrap's blob says how it is bound.
    if bytes.is_empty() || bytes.len() >= WRAP_BLOB_MAX {
        return Err("its ciphertext is longer than a wrap can be");
    }
    Ok(Ciphertext { version, bytes, request_id: request_id(envelope.request_id) })
}

/// Reads the answer to `decrypt`: the plaintext and the keeper's name for the request.
pub fn decrypted(body: &[u8]) -> Result<(Secret, Option<String>), &'static str> {
    #[derive(Deserialize)]
    struct Data<'a> {
        plaintext: &'a str,
    }
    let envelope: Envelope<'_, Data<'_>> = serde_json::from_slice(body).map_err(|_| UNREADABLE)?;
    let text = envelope.data.ok_or(UNREADABLE)?.plaintext;
    if text.is_empty() || text.len() > 4 * WRAP_BLOB_MAX {
        return Err("its plaintext has no length that a key has");
    }
    let plain = Secret::read_up_to(text.len(), |bytes| Base64::decode(text, bytes).map(|plain| plain.len()));
    Ok((plain.map_err(|_| "its plaintext is no base64")?, request_id(envelope.request_id)))
}

/// Reads the answer to a question about the key.
pub fn facts(body: &[u8]) -> Result<KeyFacts, &'static str> {
    let envelope: Envelope<'_, KeyFacts> = serde_json::from_slice(body).map_err(|_| UNREADABLE)?;
    envelope.data.ok_or(UNREADABLE)
}

/// Reads the answer to a login.
pub(super) fn login(body: &[u8]) -> Result<Login, &'static str> {
    let envelope: Envelope<'_, serde::de::IgnoredAny> = serde_json::from_slice(body).map_err(|_| UNREADABLE)?;
    let auth = envelope.auth.ok_or("it grants no token")?;
    let token = token(auth.client_token.as_bytes()).ok_or("its token is none")?;
    let lease = (auth.lease_duration > 0).then(|| Duration::from_secs(auth.lease_duration));
    Ok(Login { token, lease })
}

/// Reads which of `paths` may be updated, from the answer to `sys/capabilities-self`.
pub(super) fn may_update(body: &[u8], path: &str) -> Option<bool> {
    let envelope: Envelope<'_, std::collections::BTreeMap<String, serde_json::Value>> =
        serde_json::from_slice(body).ok()?;
    let verbs = envelope.data?.get(path)?.as_array()?.clone();
    Some(verbs.iter().filter_map(|verb| verb.as_str()).any(|verb| matches!(verb, "update" | "root")))
}

/// A token, if `text` can go into a header as it is.
pub(super) fn token(text: &[u8]) -> Option<Secret> {
    let sensible = !text.is_empty() && text.len() <= 4096 && text.iter().all(u8::is_ascii_graphic);
    sensible.then(|| Secret::filled(text.len(), |bytes| bytes.copy_from_slice(text)))
}

fn request_id(text: Option<&str>) -> Option<String> {
    let sensible = |text: &&str| {
        !text.is_empty() && text.len() <= REQUEST_ID_MAX && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
    };
    text.filter(sensible).map(str::to_owned)
}

/// What is asked for when a refusal comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To log in.
    Login,
    /// For the facts of the key.
    Facts,
    /// To wrap.
    Encrypt,
    /// To unwrap.
    Decrypt,
}

/// Why an answer is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// How to behave about it.
    pub class: Class,
    /// What is the matter, in our words.
    pub what: &'static str,
    /// What the keeper says, as far as it can be shown.
    pub words: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.words.is_empty() {
            true => f.write_str(self.what),
            false => write!(f, "{} (it says: {})", self.what, self.words),
        }
    }
}

/// What a status code other than 200 means.
pub fn refusal(asked: Asked, status: u16, body: &[u8]) -> Refusal {
    let words = words(body);
    let says = |part: &str| words.contains(part);
    let (class, what) = match status {
        403 if asked == Asked::Login => (Class::Denied, "it does not let us log in"),
        403 => (Class::Denied, "it denies us the use of the key"),
        404 if asked == Asked::Login => (Class::Denied, "there is no such way to log in"),
        404 => (Class::Disabled, "it has no such key: deleted, or the path is wrong"),
        412 | 429 => (Class::Throttled, "it asks to come back later"),
        503 if says("sealed") => (Class::Sealed, "it is sealed, and waits for its own operators"),
        // What an RSA key does not decrypt, Transit calls an error of its own.
        500 if asked == Asked::Decrypt && says("crypto/rsa") => (Class::Tampered, "the wrap does not open"),
        501 => (Class::Sealed, "it has not been initialized"),
        300..400 => (Class::Unreachable, "it points to another node; name the active one, or have it forward"),
        500.. => (Class::Unreachable, "it has trouble of its own"),
        _ => bad_request(asked, &words),
    };
    Refusal { class, what, words }
}

/// Transit says 400 of almost everything; the words tell what.
fn bad_request(asked: Asked, words: &str) -> (Class, &'static str) {
    let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    if asked == Asked::Login {
        return (Class::Denied, "it does not let us log in");
    }
    if says(&["soft-deleted", "soft deleted"]) {
        return (Class::Disabled, "the key is deleted there, and can be restored");
    }
    if says(&["disallowed by policy (too old)", "version is too old"]) {
        return (Class::Disabled, "the version of the key that is needed is withdrawn (min_decryption_version)");
    }
    if says(&["encryption key not found", "no existing key named", "could not be found"]) {
        return (Class::Disabled, "it has no such key: deleted, or the path is wrong");
    }
    if says(&["not supported for key type", "unsupported key type", "does not support"]) {
        return (Class::Usage, "the key is of a type that does not encrypt");
    }
    if says(&["sealed"]) {
        return (Class::Sealed, "it is sealed, and waits for its own operators");
    }
    match asked {
        Asked::Decrypt => (Class::Tampered, "the wrap does not open"),
        _ => (Class::Usage, "it does not take the request"),
    }
}

/// The keeper's own words: the errors of its JSON, printable and cut short.
fn words(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<String>,
    }
    let Ok(Errors { errors }) = serde_json::from_slice(body) else { return String::new() };
    let joined = errors.join("; ");
    let joined = joined
        .strip_prefix("1 error occurred:")
        .map_or(joined.as_str(), |rest| rest.trim_start_matches([' ', '\n', '\t', '*']));
    let printable = |c: char| if c.is_ascii_graphic() { c } else { ' ' };
    let spaced: String = joined.chars().take(WORDS_MAX).map(printable).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}
