//! A KEK in a PKCS#11 token (an HSM, a smart card, SoftHSM): it wraps and unwraps there and never leaves.
//!
//! | file | what it holds |
//! |---|---|
//! | `uri` | which key on which token, and how to log in |
//! | `module` | the vendor's library |
//! | `session` | token, login, key |
//! | `wrapping` | AES-GCM and AES key wrap in the token |
//! | `error` | what goes wrong, in classes |
//!
//! Invariants: a KEK has one session at a time, behind a lock, so calls of one KEK queue up (they are made when a volume is
//! opened or a key is made, never per I/O); a session that is lost is begun again once for each call; the token may be absent
//! when the KEK is opened, as long as another KEK opens the volume.

mod error;
mod module;
mod session;
mod uri;
mod wrapping;

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use cryptoki::context::Pkcs11;

use crate::crypto::Secret;
use crate::format::wrapped::Wrapped;
use crate::keys::error::{KeyError, KeyErrorClass};
use crate::keys::provider::{Answer, Binding, Capabilities, KekDescription, KekProvider, ProviderKind, WrapPurpose};
use crate::keys::seal::{KEK_VERSION, check_if_data_key};
use crate::keys::{key_file, passed, prompt};
pub use error::{Said, TokenProblem};
use error::{is_lost, may_be_the_wrap, problem};
use session::{Session, Way};
pub(super) use uri::HINT;
pub use uri::{ModuleName, PinSource, Pkcs11Uri, WrapMechanism};
use wrapping::Failure;

/// The KEK of one key on one token.
pub struct Pkcs11Kek {
    uri: Pkcs11Uri,
    path: PathBuf,
    module: Pkcs11,
    unseen: KekDescription,
    /// Set when the token was reached for the first time.
    seen: OnceLock<KekDescription>,
    pin: Mutex<Option<Secret>>,
    session: Mutex<Option<Session>>,
}

impl Pkcs11Kek {
    /// Reads the PIN, loads the module, and finds the key if the token is there.
    ///
    /// # Errors
    /// All that goes wrong except that the token does not answer: then each use tries again.
    pub fn open(uri: &Pkcs11Uri) -> Result<Pkcs11Kek, KeyError> {
        let label = format!("pkcs11:{}", uri.path);
        let pin = match &uri.pin {
            PinSource::Prompt => None,
            PinSource::File(path) => Some(key_file::read_line_of("PIN file", path)?),
            PinSource::Descriptor(number) => Some(passed::read(*number)?),
        };
        let (path, module) = module::load(&uri.module, &label)?;
        let kek = Pkcs11Kek {
            uri: uri.clone(),
            path,
            module,
            unseen: KekDescription { kind: ProviderKind::Pkcs11, label, kek_id: uri.kek_id.clone() },
            seen: OnceLock::new(),
            pin: Mutex::new(pin),
            session: Mutex::new(None),
        };
        match kek.in_session(&mut |_| Ok(())) {
            Err(error) if error.class() != KeyErrorClass::Unreachable => Err(error),
            _ => Ok(kek),
        }
    }

    fn label(&self) -> &str {
        &self.unseen.label
    }

    fn begin(&self) -> Result<Session, KeyError> {
        let way = Way { uri: &self.uri, kek: self.label(), path: &self.path, module: &self.module, pin: self };
        let session = way.begin()?;
        let seen =
            self.seen.get_or_init(|| KekDescription { kek_id: Some(session.kek_id.clone()), ..self.unseen.clone() });
        match &seen.kek_id {
            Some(before) if *before != session.kek_id => {
                let (now, before) = (session.kek_id, before.clone());
                Err(TokenProblem::OtherKey { now, before }.about(self.label(), None))
            }
            _ => Ok(session),
        }
    }

    /// Runs `call` in the session, or in a new one if there is none or it turns out to be lost.
    fn in_session<T>(&self, call: &mut dyn FnMut(&Session) -> Result<T, Failure>) -> Result<T, KeyError> {
        let mut held = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = &*held {
            match call(session) {
                Err(Failure::Token(error)) if is_lost(&error) => {}
                other => return other.map_err(|failure| self.told(failure)),
            }
        }
        *held = None;
        let session = held.insert(self.begin()?);
        call(session).map_err(|failure| self.told(failure))
    }

    fn told(&self, failure: Failure) -> KeyError {
        match failure {
            Failure::Token(error) => problem(&error, self.uri.mechanism.name()).about(self.label(), Some(error)),
            Failure::Local(error) => error.into(),
            Failure::OtherContext | Failure::Malformed(_) => TokenProblem::Failed.about(self.label(), None),
        }
    }

    /// Opens a blob in a session; what may be the wrap's fault is held against the KEK's own working.
    fn open_blob(&self, session: &Session, context: &[u8], blob: &[u8]) -> Result<Opened, Failure> {
        match wrapping::unwrap(session, context, blob) {
            Ok(key) => Ok(Opened::Key(key)),
            Err(Failure::OtherContext) => Ok(Opened::Tampered(None)),
            Err(Failure::Malformed(reason)) => Ok(Opened::Malformed(reason)),
            Err(Failure::Token(error)) if may_be_the_wrap(&error) => {
                wrapping::try_out(session, self.uri.mechanism).map(|()| Opened::Tampered(Some(error)))
            }
            Err(other) => Err(other),
        }
    }
}

/// What came of opening a wrap with a token that works.
enum Opened {
    Key(Secret),
    Malformed(&'static str),
    Tampered(Option<cryptoki::error::Error>),
}

impl session::Pin for Pkcs11Kek {
    /// It is asked for if it was not given.
    fn with(&self, with_pin: &mut dyn FnMut(&Secret) -> Result<(), KeyError>) -> Result<(), KeyError> {
        let mut pin = self.pin.lock().unwrap_or_else(PoisonError::into_inner);
        if pin.is_none() {
            *pin = Some(prompt::pin(self.label()).map_err(|error| match error {
                KeyError::Terminal(_) => TokenProblem::PinUnset.about(self.label(), None),
                other => other,
            })?);
        }
        match &*pin {
            Some(pin) => with_pin(pin),
            None => Err(TokenProblem::PinUnset.about(self.label(), None)),
        }
    }
}

impl KekProvider for Pkcs11Kek {
    fn describe(&self) -> &KekDescription {
        self.seen.get().unwrap_or(&self.unseen)
    }

    fn capabilities(&self) -> Capabilities {
        let binding = match self.uri.mechanism {
            WrapMechanism::Gcm => Binding::AssociatedData,
            WrapMechanism::KeyWrap => Binding::Digest,
        };
        Capabilities { binding, held_here: false }
    }

    /// Finds token and key anew, with their attributes, and has the key work once.
    fn probe(&self) -> Result<(), KeyError> {
        let mut held = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        *held = None;
        let session = held.insert(self.begin()?);
        wrapping::try_out(session, self.uri.mechanism).map_err(|failure| self.told(failure))
    }

    fn wrap(&self, purpose: &WrapPurpose, key: &Secret) -> Result<Answer<Wrapped>, KeyError> {
        check_if_data_key(purpose, key)?;
        let wrapped = self.in_session(&mut |session| {
            let context = purpose.context(&session.kek_id).to_bytes()?;
            let blob = wrapping::wrap(session, self.uri.mechanism, &context, key)?;
            let (provider, kek_id) = (ProviderKind::Pkcs11.id(), session.kek_id.clone());
            Ok(Wrapped { provider, kek_id, kek_version: KEK_VERSION, blob })
        })?;
        Ok(wrapped.into())
    }

    fn unwrap(&self, purpose: &WrapPurpose, wrapped: &Wrapped) -> Result<Answer<Secret>, KeyError> {
        let generation = purpose.generation.0;
        ProviderKind::Pkcs11.check(wrapped, purpose, self.label())?;
        let opened = self.in_session(&mut |session| {
            if session.kek_id != wrapped.kek_id {
                return Ok(Err(session.kek_id.clone()));
            }
            let context = purpose.context(&session.kek_id).to_bytes()?;
            self.open_blob(session, &context, &wrapped.blob).map(Ok)
        })?;
        match opened {
            Ok(Opened::Key(key)) => {
                check_if_data_key(purpose, &key)?;
                Ok(key.into())
            }
            Ok(Opened::Malformed(reason)) => Err(KeyError::BadWrap { generation, reason }),
            Ok(Opened::Tampered(source)) => Err(TokenProblem::Tampered { generation }.about(self.label(), source)),
            Err(have) => Err(KeyError::WrongKek { kek: self.label().to_owned(), have, want: wrapped.kek_id.clone() }),
        }
    }

    /// True while the token was never reached: then only trying can tell.
    fn could_open(&self, wrapped: &Wrapped) -> bool {
        let same = |id: &String| *id == wrapped.kek_id;
        wrapped.provider == ProviderKind::Pkcs11.id() && self.describe().kek_id.as_ref().is_none_or(same)
    }
}
