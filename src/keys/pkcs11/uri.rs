//! PKCS#11 URIs (RFC 7512), as far as they name one AES key on one token and how to log in.
//!
//! ```text
//! pkcs11:token=kek;object=kek-g1?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/keymoult/pin
//! ```
//! Of the path, `token`, `serial`, `manufacturer`, `model` and `slot-id` choose the token, `object` and `id` the key;
//! `type` may only be `secret-key`. Of the query, `module-path` or `module-name` says which library to load, `pin-source`
//! where the PIN is (`file:PATH` or `fd:N`; without it the terminal is asked), and, our own, `mechanism` (`gcm` or `kw`)
//! how keys are wrapped and `kek-id` under which id.
//!
//! Invariants: nothing here is a secret, since `pin-value` is refused; nothing of a refused URI is repeated, since it might
//! hold one; an attribute that is not understood is refused and not overlooked.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::keys::error::KeyError;
use crate::limits::KEK_ID_MAX;

/// What to write, for hints.
pub(in crate::keys) const HINT: &str = "\
an HSM key is named pkcs11:token=LABEL;object=LABEL?module-path=/usr/lib/…/module.so&pin-source=file:PATH; \
the token also by serial= or slot-id=, the key by id=%01";

/// Which library speaks for the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModuleName {
    /// At this path.
    Path(PathBuf),
    /// `NAME.so` or `libNAME.so` in one of the places where such modules are installed.
    Name(String),
}

/// Where the PIN comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinSource {
    /// Asked for on the terminal, or on the token's own keypad.
    Prompt,
    /// The first line of a file.
    File(PathBuf),
    /// A descriptor that was passed to this program.
    Descriptor(i32),
}

/// How the token wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrapMechanism {
    /// `C_Encrypt` with AES-GCM.
    Gcm,
    /// `C_WrapKey` with AES key wrap (RFC 3394), for tokens without GCM.
    KeyWrap,
}

/// One AES key on one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pkcs11Uri {
    /// The part that names the key, as it was given.
    pub(super) path: String,
    query: String,
    /// Label of the token.
    pub(super) token: Option<String>,
    /// Serial number of the token.
    pub(super) serial: Option<String>,
    /// Manufacturer of the token.
    pub(super) manufacturer: Option<String>,
    /// Model of the token.
    pub(super) model: Option<String>,
    /// Slot the token is in.
    pub(super) slot: Option<u64>,
    /// `CKA_LABEL` of the key.
    pub(super) object: Option<Vec<u8>>,
    /// `CKA_ID` of the key.
    pub(super) id: Option<Vec<u8>>,
    /// The library.
    pub(super) module: ModuleName,
    /// Where the PIN comes from.
    pub(super) pin: PinSource,
    /// How to wrap.
    pub(super) mechanism: WrapMechanism,
    /// The KEK's id, if not the one that token and key give.
    pub(super) kek_id: Option<String>,
}

impl fmt::Display for Pkcs11Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pkcs11:{}?{}", self.path, self.query)
    }
}

impl FromStr for Pkcs11Uri {
    type Err = KeyError;

    /// Reads what follows `pkcs11:`.
    fn from_str(rest: &str) -> Result<Pkcs11Uri, KeyError> {
        read(rest).map_err(|reason| KeyError::BadUri { scheme: "pkcs11", reason })
    }
}

fn read(rest: &str) -> Result<Pkcs11Uri, &'static str> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut named = Attributes::of(path, ';')?;
    let mut asked = Attributes::of(query, '&')?;
    if asked.has("pin-value") || named.has("pin-value") {
        return Err("pin-value is refused: every user of the machine can read it; put the PIN into a file");
    }
    let uri = Pkcs11Uri {
        path: path.to_owned(),
        query: query.to_owned(),
        token: named.text("token")?,
        serial: named.text("serial")?,
        manufacturer: named.text("manufacturer")?,
        model: named.text("model")?,
        slot: named.text("slot-id")?.map(|text| text.parse()).transpose().map_err(|_| "slot-id is no number")?,
        object: named.take("object"),
        id: named.take("id"),
        module: module(&mut asked)?,
        pin: pin(&mut asked)?,
        mechanism: mechanism(&mut asked)?,
        kek_id: kek_id(&mut asked)?,
    };
    if named.text("type")?.is_some_and(|kind| kind != "secret-key") {
        return Err("only a secret-key can be a KEK");
    }
    if uri.token.is_none() && uri.serial.is_none() && uri.slot.is_none() {
        return Err("it names no token: token=, serial= or slot-id= is missing");
    }
    if uri.object.is_none() && uri.id.is_none() {
        return Err("it names no key: object= or id= is missing");
    }
    if !named.0.is_empty() || !asked.0.is_empty() {
        return Err("it has an attribute that means nothing here");
    }
    Ok(uri)
}

fn module(asked: &mut Attributes) -> Result<ModuleName, &'static str> {
    match (asked.text("module-path")?, asked.text("module-name")?) {
        (Some(path), None) if path.starts_with('/') => Ok(ModuleName::Path(path.into())),
        (Some(_), None) => Err("module-path is not absolute"),
        (None, Some(name)) if name.is_empty() || name.contains('/') => Err("module-name is a name without slashes"),
        (None, Some(name)) => Ok(ModuleName::Name(name)),
        (Some(_), Some(_)) => Err("module-path and module-name cannot both be given"),
        (None, None) => Err("it names no module: ?module-path= or ?module-name= is missing"),
    }
}

fn pin(asked: &mut Attributes) -> Result<PinSource, &'static str> {
    let Some(source) = asked.text("pin-source")? else { return Ok(PinSource::Prompt) };
    if let Some(number) = source.strip_prefix("fd:") {
        return number.parse().map(PinSource::Descriptor).map_err(|_| "pin-source=fd: is followed by a number");
    }
    let path = source.strip_prefix("file:").unwrap_or(&source);
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.starts_with('|') {
        return Err("pin-source cannot be a command; use file:PATH or fd:N");
    }
    if !path.starts_with('/') {
        return Err("pin-source is file: and an absolute path, or fd: and a number");
    }
    Ok(PinSource::File(path.into()))
}

fn mechanism(asked: &mut Attributes) -> Result<WrapMechanism, &'static str> {
    match asked.text("mechanism")?.as_deref() {
        None | Some("gcm") => Ok(WrapMechanism::Gcm),
        Some("kw") => Ok(WrapMechanism::KeyWrap),
        Some(_) => Err("mechanism is gcm or kw"),
    }
}

fn kek_id(asked: &mut Attributes) -> Result<Option<String>, &'static str> {
    let id = asked.text("kek-id")?;
    let fits = |id: &String| id.starts_with("pkcs11:") && id.len() <= KEK_ID_MAX;
    if id.as_ref().is_some_and(|id| !fits(id)) {
        return Err("kek-id is an id of an HSM key as `keymoult key list` shows it");
    }
    Ok(id)
}

/// Attributes that nobody has taken yet, decoded.
struct Attributes(Vec<(String, Vec<u8>)>);

impl Attributes {
    fn of(text: &str, between: char) -> Result<Attributes, &'static str> {
        let mut all: Vec<(String, Vec<u8>)> = Vec::new();
        for part in text.split(between).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or("an attribute has no value")?;
            if all.iter().any(|(other, _)| other == name) {
                return Err("an attribute is given twice");
            }
            all.push((name.to_owned(), decode(value)?));
        }
        Ok(Attributes(all))
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(other, _)| other.eq_ignore_ascii_case(name))
    }

    fn take(&mut self, name: &str) -> Option<Vec<u8>> {
        let index = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.swap_remove(index).1)
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, &'static str> {
        let text = self.take(name).map(String::from_utf8).transpose().map_err(|_| "an attribute is not UTF-8")?;
        if text.as_ref().is_some_and(|text| text.contains('\0')) {
            return Err("an attribute contains a NUL byte");
        }
        Ok(text)
    }
}

/// Percent-decodes a value (RFC 3986 §2.1).
fn decode(text: &str) -> Result<Vec<u8>, &'static str> {
    let wrong = "a percent sign is not followed by two hexadecimal digits";
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16)).ok_or(wrong);
        let (high, low) = (digit()?, digit()?);
        out.push((high << 4 | low) as u8);
    }
    Ok(out)
}
