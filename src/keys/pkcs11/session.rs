//! A session with a token, logged in, with the KEK found: what one use of the KEK needs.
//!
//! Invariants: exactly one token and one key fit the URI, the key is AES, stays in the token and may be used, or there is no
//! [`Session`]; a PIN that a token refused is not offered to it again by this process.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{Function, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::UserType;
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::RawAuthPin;

use super::error::{TokenProblem, problem};
use super::uri::{Pkcs11Uri, WrapMechanism};
use crate::crypto::{Secret, kdf};
use crate::keys::error::KeyError;
use crate::limits::KEK_ID_MAX;
use crate::units::hex;

/// A token refused a PIN, of which only a digest is kept.
struct Refusal {
    module: PathBuf,
    serial: String,
    pin: Secret,
}

static REFUSALS: Mutex<Vec<Refusal>> = Mutex::new(Vec::new());

/// An open session in which the KEK can be used.
pub(super) struct Session {
    pub raw: cryptoki::session::Session,
    pub key: ObjectHandle,
    pub kek_id: String,
}

/// Who has the PIN, or asks for it.
pub(super) trait Pin {
    /// Calls `use_it` with the PIN, which is gone afterwards.
    fn with(&self, use_it: &mut dyn FnMut(&Secret) -> Result<(), KeyError>) -> Result<(), KeyError>;
}

/// What is needed to begin a session.
pub(super) struct Way<'a> {
    pub uri: &'a Pkcs11Uri,
    pub kek: &'a str,
    pub path: &'a PathBuf,
    pub module: &'a Pkcs11,
    /// Asks for the PIN; called only if the token wants one and it is not logged in to.
    pub pin: &'a dyn Pin,
}

impl Way<'_> {
    /// Finds the token, logs in, finds the key.
    pub(super) fn begin(&self) -> Result<Session, KeyError> {
        let (slot, token) = self.token()?;
        let raw = self.module.open_ro_session(slot).map_err(|error| self.failed(error))?;
        if token.login_required() {
            self.log_in(&raw, &token)?;
        }
        let (key, name) = self.key(&raw)?;
        let derived = || kek_id(token.serial_number(), &name);
        let kek_id = self.uri.kek_id.clone().unwrap_or_else(derived);
        Ok(Session { raw, key, kek_id })
    }

    fn failed(&self, error: Error) -> KeyError {
        problem(&error, self.uri.mechanism.name()).about(self.kek, Some(error))
    }

    fn is(&self, problem: TokenProblem) -> KeyError {
        problem.about(self.kek, None)
    }

    fn token(&self) -> Result<(Slot, TokenInfo), KeyError> {
        let slots = self.module.get_slots_with_token().map_err(|error| self.failed(error))?;
        let mut fitting = Vec::new();
        for slot in slots.into_iter().filter(|slot| self.uri.slot.is_none_or(|wanted| wanted == slot.id())) {
            // A token that was taken out since the list was made is one that is not there.
            let Ok(token) = self.module.get_token_info(slot) else { continue };
            if self.fits(&token) {
                fitting.push((slot, token));
            }
        }
        match (fitting.len(), fitting.pop()) {
            (1, Some(found)) => Ok(found),
            (0, _) => Err(self.is(TokenProblem::NoToken)),
            (count, _) => Err(self.is(TokenProblem::ManyTokens { count })),
        }
    }

    fn fits(&self, token: &TokenInfo) -> bool {
        let same = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        token.token_initialized()
            && same(&self.uri.token, token.label())
            && same(&self.uri.serial, token.serial_number())
            && same(&self.uri.manufacturer, token.manufacturer_id())
            && same(&self.uri.model, token.model())
    }

    fn log_in(&self, raw: &cryptoki::session::Session, token: &TokenInfo) -> Result<(), KeyError> {
        if raw.get_session_info().is_ok_and(|info| is_logged_in(&info)) {
            return Ok(());
        }
        if token.user_pin_locked() {
            return Err(self.is(TokenProblem::PinLocked));
        }
        if token.protected_authentication_path() {
            return self.logged_in(raw.login(UserType::User, None));
        }
        self.pin.with(&mut |pin| self.offer(raw, token, pin))
    }

    /// Offers `pin` to the token, unless it refused it before.
    fn offer(&self, raw: &cryptoki::session::Session, token: &TokenInfo, pin: &Secret) -> Result<(), KeyError> {
        let digest = kdf::derive(pin, b"", b"keymoult refused pin 1", 16);
        let mut refusals = REFUSALS.lock().unwrap_or_else(PoisonError::into_inner);
        let serial = token.serial_number();
        let same = |it: &Refusal| it.module == *self.path && it.serial == serial && it.pin.ct_eq(&digest);
        if refusals.iter().any(same) {
            return Err(self.is(TokenProblem::PinRefusedBefore));
        }
        // The crate wants the PIN on the heap; it is wiped there as soon as the token has it.
        let answer = raw.login_with_raw(UserType::User, &RawAuthPin::new(Box::new(pin.expose().to_vec())));
        let refused = |error: &Error| matches!(problem(error, ""), TokenProblem::PinWrong | TokenProblem::PinLocked);
        if answer.as_ref().is_err_and(refused) {
            refusals.push(Refusal { module: self.path.clone(), serial: serial.to_owned(), pin: digest });
        }
        drop(refusals);
        self.logged_in(answer)
    }

    fn logged_in(&self, answer: Result<(), Error>) -> Result<(), KeyError> {
        match answer {
            // Logged in is a token, for all sessions of a process.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, Function::Login)) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The key, and what it is called: its `CKA_ID`, or its label if it has no id.
    fn key(&self, raw: &cryptoki::session::Session) -> Result<(ObjectHandle, KeyName), KeyError> {
        let mut template =
            vec![Attribute::Class(ObjectClass::SECRET_KEY), Attribute::KeyType(KeyType::AES), Attribute::Token(true)];
        template.extend(self.uri.id.clone().map(Attribute::Id));
        template.extend(self.uri.object.clone().map(Attribute::Label));
        let found = raw.find_objects(&template).map_err(|error| self.failed(error))?;
        let key = match found[..] {
            [key] => key,
            [] => return Err(self.is(TokenProblem::NoKey)),
            _ => return Err(self.is(TokenProblem::ManyKeys { count: found.len() })),
        };
        let [encrypts, decrypts] = self.uri.mechanism.attributes();
        let asked = [AttributeType::Id, AttributeType::Label, AttributeType::Extractable, encrypts.0, decrypts.0];
        let attributes = raw.get_attributes(key, &asked).map_err(|error| self.failed(error))?;
        self.check_usage(&attributes)?;
        let mut name = KeyName { id: Vec::new(), label: Vec::new() };
        for attribute in attributes {
            match attribute {
                Attribute::Id(id) => name.id = id,
                Attribute::Label(label) => name.label = label,
                _ => {}
            }
        }
        Ok((key, name))
    }

    fn check_usage(&self, attributes: &[Attribute]) -> Result<(), KeyError> {
        if attributes.contains(&Attribute::Extractable(true)) {
            return Err(self.is(TokenProblem::KeyExtractable));
        }
        let forbids = |attribute: &Attribute| {
            matches!(
                attribute,
                Attribute::Encrypt(false)
                    | Attribute::Decrypt(false)
                    | Attribute::Wrap(false)
                    | Attribute::Unwrap(false)
            )
        };
        let [encrypts, decrypts] = self.uri.mechanism.attributes();
        match attributes.iter().find(|attribute| forbids(attribute)) {
            None => Ok(()),
            Some(it) => {
                let (_, attribute) = if it.attribute_type() == encrypts.0 { encrypts } else { decrypts };
                Err(self.is(TokenProblem::KeyForbids { attribute }))
            }
        }
    }
}

fn is_logged_in(info: &cryptoki::session::SessionInfo) -> bool {
    use cryptoki::session::SessionState as State;
    matches!(info.session_state(), State::RoUser | State::RwUser)
}

impl WrapMechanism {
    /// The name for messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            WrapMechanism::Gcm => "AES-GCM",
            WrapMechanism::KeyWrap => "AES key wrap",
        }
    }

    /// What a key must allow, one way and the other.
    fn attributes(self) -> [(AttributeType, &'static str); 2] {
        match self {
            WrapMechanism::Gcm => [(AttributeType::Encrypt, "CKA_ENCRYPT"), (AttributeType::Decrypt, "CKA_DECRYPT")],
            WrapMechanism::KeyWrap => [(AttributeType::Wrap, "CKA_WRAP"), (AttributeType::Unwrap, "CKA_UNWRAP")],
        }
    }
}

struct KeyName {
    id: Vec<u8>,
    label: Vec<u8>,
}

/// `pkcs11:SERIAL;id=HEX`, or `pkcs11:SERIAL;object=LABEL` for a key without an id; what is too long, or no plain text, as hex
/// of a digest. A key keeps its KEK id when it is given another label.
fn kek_id(serial: &str, name: &KeyName) -> String {
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let id = match std::str::from_utf8(&name.label) {
        _ if !name.id.is_empty() => format!("pkcs11:{serial};id={}", hex(&name.id)),
        Ok(label) if plain(label) => format!("pkcs11:{serial};object={label}"),
        _ => format!("pkcs11:{serial};object=%{}", hex(&name.label)),
    };
    if id.len() <= KEK_ID_MAX && plain(serial) { id } else { format!("pkcs11:digest={}", digest(&id)) }
}

fn digest(text: &str) -> String {
    use sha2::Digest;
    hex(&sha2::Sha256::digest(text.as_bytes())[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_kek_is_stable_and_fits() {
        let name = |id: &[u8], label: &str| KeyName { id: id.to_vec(), label: label.into() };
        assert_eq!(kek_id("5d2f9bb5", &name(&[1, 0xab], "kek-g1")), "pkcs11:5d2f9bb5;id=01ab");
        assert_eq!(kek_id("5d2f9bb5", &name(&[1, 0xab], "renamed")), "pkcs11:5d2f9bb5;id=01ab");
        assert_eq!(kek_id("5d2f9bb5", &name(&[], "kek-g1")), "pkcs11:5d2f9bb5;object=kek-g1");
        assert_eq!(kek_id("5d2f9bb5", &name(&[], "k 1")), "pkcs11:5d2f9bb5;object=%6b2031");
        for long in [kek_id("5d2f9bb5", &name(&[7; 200], "")), kek_id("a b", &name(&[7], ""))] {
            assert_eq!(long.len(), "pkcs11:digest=".len() + 32, "{long}");
        }
        assert_ne!(kek_id("a b", &name(&[7], "")), kek_id("a b", &name(&[8], "")));
    }
}
