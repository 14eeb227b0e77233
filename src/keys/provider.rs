//! The interface every keeper of KEKs implements: describe, probe, wrap, unwrap.
//!
//! Invariants: an implementation binds the whole [`WrapPurpose`] and the KEK id into the wrap, so that a wrap moved
//! elsewhere does not open; it says [`KeyErrorClass::WrongKey`](crate::keys::KeyErrorClass) only for a KEK that is another one, and
//! `Tampered` for the right KEK and a wrap that does not open.

use std::fmt;

use crate::crypto::Secret;
use crate::crypto::wrap::WrapContext;
use crate::format::wrapped::Wrapped;
use crate::keys::error::KeyError;
use crate::keys::seal::KEK_VERSION;
use crate::units::{Generation, VolumeId};

/// Which kind of keeper wrapped a key; the number is what the format stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ProviderKind {
    /// A key file.
    File = 1,
    /// A passphrase.
    Passphrase = 2,
    /// A PKCS#11 token.
    Pkcs11 = 3,
    /// Vault or OpenBao Transit.
    Vault = 4,
    /// A KMIP server.
    Kmip = 5,
    /// AWS KMS.
    AwsKms = 6,
    /// A systemd credential.
    SystemdCred = 7,
    /// A TPM 2.0.
    Tpm2 = 8,
}

impl ProviderKind {
    const ALL: [(ProviderKind, &'static str); 8] = [
        (ProviderKind::File, "file"),
        (ProviderKind::Passphrase, "passphrase"),
        (ProviderKind::Pkcs11, "pkcs11"),
        (ProviderKind::Vault, "vault"),
        (ProviderKind::Kmip, "kmip"),
        (ProviderKind::AwsKms, "awskms"),
        (ProviderKind::SystemdCred, "systemd-cred"),
        (ProviderKind::Tpm2, "tpm2"),
    ];

    /// The number the format stores.
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// The kind stored as `id`, if the design knows it.
    pub fn from_id(id: u8) -> Option<ProviderKind> {
        Self::ALL.iter().map(|(kind, _)| *kind).find(|kind| kind.id() == id)
    }
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(kind, _)| kind == self).map_or("", |(_, name)| *name);
        f.write_str(name)
    }
}

/// What a wrapped key is for; everything in it is bound into the wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrapPurpose {
    /// The volume.
    pub volume: VolumeId,
    /// The generation; 0 for the volume metadata key.
    pub generation: Generation,
    /// The key's own random id.
    pub key_id: [u8; 16],
    /// The id of the suite the key serves; 0 for the volume metadata key.
    pub suite: u16,
}

impl WrapPurpose {
    /// The context of a wrap by the KEK `kek_id`.
    pub fn context(self, kek_id: &str) -> WrapContext<'_> {
        let WrapPurpose { volume, generation, key_id, suite } = self;
        WrapContext { volume, generation, key_id, suite, kek_id }
    }
}

/// What there is to say about a KEK without using it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KekDescription {
    /// Who keeps it.
    pub kind: ProviderKind,
    /// The KEK as the operator named it, free of secrets.
    pub label: String,
    /// Its id, where it is one key; none for a passphrase, which gives a KEK of its own with each salt.
    pub kek_id: Option<String>,
}

/// How a keeper binds a wrap to its [`WrapPurpose`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// The wrapping key is derived from the KEK and the context.
    Derivation,
    /// The keeper authenticates the context as associated data, or derives by it.
    AssociatedData,
    /// The keeper knows no context: a digest of it is wrapped with the key, and compared after unwrapping.
    Digest,
}

/// What a keeper can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// How wraps are bound.
    pub binding: Binding,
    /// Whether the KEK's bytes are in this process: such a KEK protects against nobody who controls it.
    pub held_here: bool,
}

impl Capabilities {
    /// A KEK in this process's memory.
    pub const HELD: Capabilities = Capabilities { binding: Binding::Derivation, held_here: true };
}

/// What a keeper answered, and the name its own log has for the request.
pub struct Answer<T> {
    /// The answer.
    pub value: T,
    /// The keeper's request id, if it has such.
    pub request_id: Option<String>,
}

impl<T> From<T> for Answer<T> {
    fn from(value: T) -> Answer<T> {
        Answer { value, request_id: None }
    }
}

/// A keeper of a KEK. Calls may block (a network, Argon2id) and are never made per I/O. Used through
/// [`Kek`](crate::keys::Kek), which has every use witnessed.
pub trait KekProvider: Send + Sync {
    /// What it is.
    fn describe(&self) -> &KekDescription;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Asks whether the KEK can be had and used now; opens nothing.
    ///
    /// # Errors
    /// Of the class that says what is the matter.
    fn probe(&self) -> Result<(), KeyError>;

    /// Wraps `key` for `purpose`.
    ///
    /// # Errors
    /// Of the class that says how to go on.
    fn wrap(&self, purpose: &WrapPurpose, key: &Secret) -> Result<Answer<Wrapped>, KeyError>;

    /// Opens a wrap made for `purpose`.
    ///
    /// # Errors
    /// Of the class that says how to go on.
    fn unwrap(&self, purpose: &WrapPurpose, wrapped: &Wrapped) -> Result<Answer<Secret>, KeyError>;

    /// Whether trying to open `wrapped` makes sense: cheap, and no promise.
    fn could_open(&self, wrapped: &Wrapped) -> bool;
}

/// Refuses a wrap by another kind of keeper, or by another KEK, than the one described.
pub(super) fn same_keeper(kek: &KekDescription, wrapped: &Wrapped) -> Result<(), KeyError> {
    if wrapped.provider != kek.kind.id() {
        let by = ProviderKind::from_id(wrapped.provider)
            .map_or_else(|| format!("keeper {}", wrapped.provider), |kind| kind.to_string());
        return Err(KeyError::OtherProvider { kek: kek.label.clone(), by });
    }
    match &kek.kek_id {
        Some(have) if *have != wrapped.kek_id => {
            let (kek, have, want) = (kek.label.clone(), have.clone(), wrapped.kek_id.clone());
            Err(KeyError::WrongKek { kek, have, want })
        }
        _ => Ok(()),
    }
}

impl ProviderKind {
    /// Refuses a wrap by another kind of keeper, or by a KEK version that keepers of this kind do not have.
    pub(super) fn check(self, wrapped: &Wrapped, purpose: &WrapPurpose, label: &str) -> Result<(), KeyError> {
        if wrapped.provider != self.id() {
            let by = ProviderKind::from_id(wrapped.provider)
                .map_or_else(|| format!("keeper {}", wrapped.provider), |kind| kind.to_string());
            return Err(KeyError::OtherProvider { kek: label.to_owned(), by });
        }
        if wrapped.kek_version != KEK_VERSION {
            let reason = "it names a KEK version that this kind of KEK does not have";
            return Err(KeyError::BadWrap { generation: purpose.generation.0, reason });
        }
        Ok(())
    }
}
