//! A KEK in Vault's or OpenBao's Transit engine. Its bytes never leave the keeper; we send a DEK there to be wrapped.
//!
//! | file | what it holds |
//! |---|---|
//! | `uri` | `vault://HOST:PORT/MOUNT/KEY?…` |
//! | `session` | logging in, keeping the token |
//! | `http` | one request and its answer |
//! | `answer` | what Transit says: JSON to values, refusals to classes |
//!
//! A wrap's blob is one byte for how it is bound, then Transit's ciphertext, decoded, without `vault:vN:` in front; `N` is the
//! wrap's KEK version. Bindings:
//! ```text
//! 1  context: a key with derived=true; the canonical wrap context is what the key is derived by
//! 2  associated data: an AEAD key; the same bytes are authenticated with the DEK
//! 3  digest: any other key; DEK ‖ first 16 bytes of SHA-256(context) is what is encrypted
//! ```
//! Invariants: how a key binds is asked of the keeper before it wraps, because Transit ignores what its key cannot use;
//! that question is also what keeps `encrypt` from making a key of a mistyped name. A wrap says itself how it was bound, so
//! unwrapping needs no more than `decrypt`.

mod answer;
mod http;
mod session;
mod uri;

use std::sync::{Mutex, PoisonError};

use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha256};

use self::answer::Asked;
pub use self::answer::{Ciphertext, KeyFacts, Refusal, decrypted, encrypted, facts, refusal};
pub use self::http::{Parsed, parse};
use self::session::Session;
pub use self::uri::{Credentials, VaultUri};
use crate::crypto::Secret;
use crate::format::wrapped::Wrapped;
use crate::keys::error::{KeyError, KeyErrorClass};
use crate::keys::provider::{
    Answer, Binding, Capabilities, KekDescription, KekProvider, ProviderKind, WrapPurpose, same_keeper,
};
use crate::keys::seal::check_if_data_key;

/// Bytes of the digest that stands behind a DEK.
const DIGEST_LEN: usize = 16;

/// What asking for an answer's kind is about, for those who read answers only.
pub use self::answer::Asked as TransitQuestion;

/// A Transit key.
pub struct VaultKek {
    session: Session,
    description: KekDescription,
    /// How the key binds, once it was asked.
    binding: Mutex<Option<Binding>>,
}

impl VaultKek {
    /// A KEK that will be asked for at `uri`; nobody is asked yet.
    ///
    /// # Errors
    /// A file that the URI names cannot be used.
    pub fn open(uri: &VaultUri) -> Result<VaultKek, KeyError> {
        let description = KekDescription { kind: ProviderKind::Vault, label: uri.label(), kek_id: Some(uri.kek_id()) };
        Ok(VaultKek { session: Session::new(uri.clone())?, description, binding: Mutex::new(None) })
    }

    fn path(&self, verb: &str) -> String {
        format!("{}/{verb}/{}", self.session.uri.mount, self.session.uri.key)
    }

    /// Asks what the key is, and refuses one that cannot serve.
    fn facts(&self) -> Result<Binding, KeyError> {
        let body = self.session.ask_twice(Asked::Facts, &self.path("keys"), &[])?;
        let facts = self.session.understood(answer::facts(body.expose()))?;
        if facts.soft_deleted {
            let reason = "the key is deleted there, and can be restored";
            return Err(self.session.refuse(KeyErrorClass::Disabled, reason));
        }
        if !facts.supports_encryption {
            let reason = format!("a key of type {} does not encrypt", printable(&facts.kind));
            return Err(self.session.refuse(KeyErrorClass::Usage, reason));
        }
        let binding = binding_of(&facts);
        *self.binding.lock().unwrap_or_else(PoisonError::into_inner) = Some(binding);
        Ok(binding)
    }

    fn binding(&self) -> Result<Binding, KeyError> {
        let known = *self.binding.lock().unwrap_or_else(PoisonError::into_inner);
        known.map_or_else(|| self.facts(), Ok)
    }

    /// The path must be one that we may use; who may not even ask learns it when it is used.
    fn check_permission(&self, verb: &str) -> Result<(), KeyError> {
        let path = self.path(verb);
        let body = format!("{{\"paths\":[\"{path}\"]}}");
        let answered = self.session.ask_twice(Asked::Facts, "sys/capabilities-self", &[body.as_bytes()]);
        match answered {
            Ok(body) if answer::may_update(body.expose(), &path) == Some(false) => {
                let reason = format!("it denies us the use of the key: no `update` on {path}");
                Err(self.session.refuse(KeyErrorClass::Denied, reason))
            }
            Ok(_) => Ok(()),
            Err(error) if error.class() == KeyErrorClass::Denied => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn context(&self, purpose: &WrapPurpose) -> Result<Vec<u8>, KeyError> {
        let kek_id = self.description.kek_id.as_deref().unwrap_or_default();
        Ok(purpose.context(kek_id).to_bytes()?)
    }
}

fn binding_of(facts: &KeyFacts) -> Binding {
    let is_aead = ["aes", "chacha20", "xchacha20"].iter().any(|family| facts.kind.starts_with(family));
    match is_aead {
        _ if facts.derived => Binding::Derivation,
        true => Binding::AssociatedData,
        false => Binding::Digest,
    }
}

fn printable(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).take(40).collect()
}

/// The number of a binding in a blob.
fn number(binding: Binding) -> u8 {
    match binding {
        Binding::Derivation => 1,
        Binding::AssociatedData => 2,
        Binding::Digest => 3,
    }
}

/// The second field of a request, by which Transit binds, with its value in base64; none if it does not.
fn field(binding: Binding) -> Option<&'static [u8]> {
    match binding {
        Binding::Derivation => Some(b"\",\"context\":\""),
        Binding::AssociatedData => Some(b"\",\"associated_data\":\""),
        Binding::Digest => None,
    }
}

fn digest(context: &[u8]) -> [u8; DIGEST_LEN] {
    let whole = Sha256::digest(context);
    std::array::from_fn(|index| whole[index])
}

/// Base64 of `bytes`, in wiped memory.
fn base64(bytes: &[u8]) -> Secret {
    Secret::filled(Base64::encoded_len(bytes), |text| {
        // It has the length it needs.
        let _ = Base64::encode(bytes, text);
    })
}

impl KekProvider for VaultKek {
    fn describe(&self) -> &KekDescription {
        &self.description
    }

    fn capabilities(&self) -> Capabilities {
        let known = *self.binding.lock().unwrap_or_else(PoisonError::into_inner);
        // `rewrap` of Transit takes no associated data, and would leave the proof to the keeper: it is not used.
        Capabilities { binding: known.unwrap_or(Binding::Derivation), held_here: false }
    }

    fn probe(&self) -> Result<(), KeyError> {
        self.facts()?;
        self.check_permission("encrypt")?;
        self.check_permission("decrypt")
    }

    fn wrap(&self, purpose: &WrapPurpose, key: &Secret) -> Result<Answer<Wrapped>, KeyError> {
        check_if_data_key(purpose, key)?;
        let (binding, context) = (self.binding()?, self.context(purpose)?);
        let bound = http::joined(&[key.expose(), &digest(&context)]);
        let plain = base64(if binding == Binding::Digest { bound.expose() } else { key.expose() });
        let encoded = Base64::encode_string(&context);
        let mut body: Vec<&[u8]> = vec![b"{\"plaintext\":\"", plain.expose()];
        if let Some(field) = field(binding) {
            body.extend([field, encoded.as_bytes()]);
        }
        body.push(b"\"}");
        let answered = self.session.ask(Asked::Encrypt, &self.path("encrypt"), &body)?;
        let made = self.session.understood(answer::encrypted(answered.expose()))?;
        let mut blob = vec![number(binding)];
        blob.extend(made.bytes);
        let kek_id = self.description.kek_id.clone().unwrap_or_default();
        let value = Wrapped { provider: ProviderKind::Vault.id(), kek_id, kek_version: made.version, blob };
        Ok(Answer { value, request_id: made.request_id })
    }

    fn unwrap(&self, purpose: &WrapPurpose, wrapped: &Wrapped) -> Result<Answer<Secret>, KeyError> {
        let label = self.session.label();
        same_keeper(&self.description, wrapped)?;
        let bad = |reason| KeyError::BadWrap { generation: purpose.generation.0, reason };
        let (binding, sealed) = match wrapped.blob.split_first() {
            Some((1, sealed)) => (Binding::Derivation, sealed),
            Some((2, sealed)) => (Binding::AssociatedData, sealed),
            Some((3, sealed)) => (Binding::Digest, sealed),
            _ => return Err(bad("it does not say how it is bound")),
        };
        if sealed.is_empty() || wrapped.kek_version == 0 {
            return Err(bad("its ciphertext is cut short"));
        }
        let context = self.context(purpose)?;
        let encoded = Base64::encode_string(&context);
        let cipher = format!("vault:v{}:{}", wrapped.kek_version, Base64::encode_string(sealed));
        let mut body: Vec<&[u8]> = vec![b"{\"ciphertext\":\"", cipher.as_bytes()];
        if let Some(field) = field(binding) {
            body.extend([field, encoded.as_bytes()]);
        }
        body.push(b"\"}");
        let answered = self.session.ask(Asked::Decrypt, &self.path("decrypt"), &body)?;
        let (plain, request_id) = self.session.understood(answer::decrypted(answered.expose()))?;
        let value = match binding {
            Binding::Digest => undigested(&plain, &context)
                .ok_or_else(|| KeyError::Tampered { kek: label.to_owned(), generation: purpose.generation.0 })?,
            _ => plain,
        };
        check_if_data_key(purpose, &value)?;
        Ok(Answer { value, request_id })
    }

    fn could_open(&self, wrapped: &Wrapped) -> bool {
        same_keeper(&self.description, wrapped).is_ok()
    }
}

/// The key in front of the digest of its context, if that is the one.
fn undigested(plain: &Secret, context: &[u8]) -> Option<Secret> {
    let (key, found) = plain.expose().split_last_chunk::<DIGEST_LEN>()?;
    let is_right = subtle::ConstantTimeEq::ct_eq(&found[..], &digest(context)[..]);
    bool::from(is_right).then(|| Secret::filled(key.len(), |bytes| bytes.copy_from_slice(key)))
}
