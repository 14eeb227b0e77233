//! A KEK from a passphrase, by Argon2id.
//!
//! Each volume gets a KEK with a random salt of its own. A wrap's blob says how to derive it again:
//! ```text
//! 0   1  layout, 1
//! 1   1  lanes p
//! 2   2  reserved, 0
//! 4   4  memory m, KiB, little endian
//! 8   4  passes t, little endian
//! 12 16  salt
//! 28  n  AES-256-KWP of the key
//! ```
//! Invariants: these parameters are read before anything has authenticated them, so they are checked against floor and
//! cap before any work; any change to them gives another KEK, whose id is not the one the wrap names. A derived KEK is
//! kept, so that all wraps of a volume cost one derivation. (Until the metadata key is open and the table verified, a
//! forged table costs at most one derivation for each of its wraps of that one key.)

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::crypto::kdf::{self, Argon2Params, SALT_LEN};
use crate::crypto::{CryptoError, Secret};
use crate::format::wrapped::Wrapped;
use crate::keys::error::KeyError;
use crate::keys::key_file;
use crate::keys::passed;
use crate::keys::prompt;
use crate::keys::provider::{Answer, Capabilities, KekDescription, KekProvider, ProviderKind, WrapPurpose};
use crate::keys::seal::{HeldKek, KEK_VERSION};
use crate::keys::uri::PassphraseSource;
use crate::units::VolumeId;

/// Longest passphrase, bytes.
pub(super) const PASSPHRASE_MAX: usize = 1024;
const HEADER_LEN: usize = 28;
const LAYOUT: u8 = 1;
/// Derived KEKs kept; the oldest goes first.
const KEPT_MAX: usize = 64;

/// Whether a passphrase is new, which decides how it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassphraseUse {
    /// To open what exists: asked for once.
    Open,
    /// To protect something new: asked for twice.
    Create,
}

/// How a KEK is derived from the passphrase.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Recipe {
    params: Argon2Params,
    salt: [u8; SALT_LEN],
}

struct Kept {
    recipe: Recipe,
    kek: Arc<HeldKek>,
    /// The volume whose keys it is known to wrap.
    volume: Option<VolumeId>,
}

/// The KEKs of one passphrase.
pub struct PassphraseKek {
    passphrase: Secret,
    params: Argon2Params,
    kept: Mutex<Vec<Kept>>,
    description: KekDescription,
}

impl PassphraseKek {
    /// Asks for the passphrase, or reads it from its file or descriptor; nothing is derived yet.
    ///
    /// # Errors
    /// No terminal, two different entries, an empty or overlong passphrase, or a file that cannot be trusted or read, or a descriptor that was not passed to us.
    pub fn open(source: &PassphraseSource, usage: PassphraseUse) -> Result<PassphraseKek, KeyError> {
        let passphrase = match source {
            PassphraseSource::Prompt => prompt::passphrase(usage)?,
            PassphraseSource::File(path) => key_file::read_line_of("passphrase file", path)?,
            PassphraseSource::Descriptor(number) => passed::read(*number)?,
        };
        Ok(PassphraseKek::with(passphrase, source.to_string(), Argon2Params::DEFAULT))
    }

    /// The KEKs of `passphrase`, called `label` in messages; new ones cost `params`.
    pub(super) fn with(passphrase: Secret, label: String, params: Argon2Params) -> PassphraseKek {
        let kind = ProviderKind::Passphrase;
        let description = KekDescription { kind, label, kek_id: None };
        PassphraseKek { passphrase, params, kept: Mutex::new(Vec::new()), description }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The KEK of `recipe`, derived unless it is kept. The lock is held meanwhile: who comes second waits for the answer
    /// and does not pay for it again.
    fn kek(&self, recipe: Recipe) -> Result<Arc<HeldKek>, KeyError> {
        let mut kept = self.kept();
        if let Some(known) = kept.iter().find(|known| known.recipe == recipe) {
            return Ok(known.kek.clone());
        }
        let key = kdf::passphrase(&self.passphrase, &recipe.salt, recipe.params)?;
        let kek = Arc::new(HeldKek::new(key, "pass-"));
        if kept.len() == KEPT_MAX {
            kept.remove(0);
        }
        kept.push(Kept { recipe, kek: kek.clone(), volume: None });
        Ok(kek)
    }

    /// The recipe by which keys of `volume` are wrapped: the one proven by opening it, else a new one.
    fn recipe_for(&self, volume: VolumeId) -> Result<Recipe, KeyError> {
        let kept = self.kept();
        if let Some(known) = kept.iter().rev().find(|known| known.volume == Some(volume)) {
            return Ok(known.recipe);
        }
        drop(kept);
        let mut salt = [0; SALT_LEN];
        salt.copy_from_slice(Secret::random(SALT_LEN)?.expose());
        Ok(Recipe { params: self.params, salt })
    }

    fn remember(&self, recipe: Recipe, volume: VolumeId) {
        let mut kept = self.kept();
        if let Some(known) = kept.iter_mut().find(|known| known.recipe == recipe) {
            known.volume = Some(volume);
        }
    }
}

impl KekProvider for PassphraseKek {
    fn describe(&self) -> &KekDescription {
        &self.description
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::HELD
    }

    fn probe(&self) -> Result<(), KeyError> {
        Ok(())
    }

    fn wrap(&self, purpose: &WrapPurpose, key: &Secret) -> Result<Answer<Wrapped>, KeyError> {
        let recipe = self.recipe_for(purpose.volume)?;
        let kek = self.kek(recipe)?;
        let mut blob = recipe.to_bytes().to_vec();
        blob.extend(kek.seal(purpose, key)?);
        self.remember(recipe, purpose.volume);
        let (provider, kek_id) = (ProviderKind::Passphrase.id(), kek.id.clone());
        Ok(Wrapped { provider, kek_id, kek_version: KEK_VERSION, blob }.into())
    }

    fn unwrap(&self, purpose: &WrapPurpose, wrapped: &Wrapped) -> Result<Answer<Secret>, KeyError> {
        let label = &self.description.label;
        ProviderKind::Passphrase.check(wrapped, purpose, label)?;
        let (recipe, sealed) = Recipe::split(&wrapped.blob)
            .map_err(|reason| KeyError::BadWrap { generation: purpose.generation.0, reason })?;
        let kek = self.kek(recipe).map_err(|error| match error {
            KeyError::Crypto(source @ CryptoError::Argon2Bounds { .. }) => {
                KeyError::Work { generation: purpose.generation.0, source }
            }
            other => other,
        })?;
        if kek.id != wrapped.kek_id {
            return Err(KeyError::WrongPassphrase { kek: label.clone() });
        }
        let key = kek.open(purpose, sealed, label)?;
        self.remember(recipe, purpose.volume);
        Ok(key.into())
    }

    fn could_open(&self, wrapped: &Wrapped) -> bool {
        wrapped.provider == ProviderKind::Passphrase.id()
    }
}

impl Recipe {
    fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0] = LAYOUT;
        // At most P_MAX, which the cap keeps below 256.
        bytes[1] = self.params.p as u8;
        bytes[4..8].copy_from_slice(&self.params.m_kib.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.params.t.to_le_bytes());
        bytes[12..].copy_from_slice(&self.salt);
        bytes
    }

    /// Reads the recipe at the front of a blob; what it asks for is checked when it is used.
    fn split(blob: &[u8]) -> Result<(Recipe, &[u8]), &'static str> {
        let (header, sealed) = blob.split_first_chunk::<HEADER_LEN>().ok_or("its Argon2id header is cut short")?;
        let [layout, p, 0, 0, m0, m1, m2, m3, t0, t1, t2, t3, salt @ ..] = *header else {
            return Err("a reserved byte of its Argon2id header is not zero");
        };
        if layout != LAYOUT {
            return Err("its Argon2id header has a layout this build does not know");
        }
        let params = Argon2Params {
            m_kib: u32::from_le_bytes([m0, m1, m2, m3]),
            t: u32::from_le_bytes([t0, t1, t2, t3]),
            p: p.into(),
        };
        Ok((Recipe { params, salt }, sealed))
    }
}

const _: () = assert!(kdf::P_MAX < 256, "lanes are stored in one byte");
