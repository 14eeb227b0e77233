//! Escrow: the keys of a volume for another administrative domain, and a keeper that gives them back.
//!
//! A bundle's keys are sealed under a random secret, and that secret is shared among the recipients, each share an age file for
//! one of them: any `threshold` open the bundle, fewer learn nothing. Invariants: keys and shares are in [`Secret`]s; recipients are
//! X25519 keys, never passphrases, since a bundle may lie about for years; an identity file is trusted as a key file is; what
//! opens is bound to everything else in the bundle, so that no part can be exchanged.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::crypto::age::{self, Identity, Recipient};
use crate::crypto::{CryptoError, Secret, aead_open, aead_seal, kdf, shamir};
use crate::format::Damage;
use crate::format::bundle::{Bundle, Share};
use crate::format::wrapped::Wrapped;
use crate::keys::error::KeyError;
use crate::keys::key_file;
use crate::keys::provider::{Answer, Capabilities, KekDescription, KekProvider, ProviderKind, WrapPurpose};
use crate::units::{Generation, VolumeId};

/// Length of the secret that is shared, bytes.
const SECRET_LEN: usize = 32;
/// What each share begins with.
const SHARE_MAGIC: &[u8; 16] = b"keymoult share 1";
/// Bytes of a share: magic, volume, holder, number, threshold, share.
const SHARE_LEN: usize = 16 + 16 + 16 + 2 + SECRET_LEN;
/// Longest identity file, bytes.
const IDENTITIES_MAX: usize = 64 << 10;

/// Why a bundle cannot be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum EscrowError {
    /// Not a recipient.
    #[error("{shown:?} is no recipient")]
    NotRecipient {
        /// What may be shown of it.
        shown: String,
    },
    /// No such sharing.
    #[error("a threshold of {threshold} is not possible with {recipients} recipients")]
    Threshold {
        /// Shares wanted.
        threshold: usize,
        /// Recipients given.
        recipients: usize,
    },
    /// The same recipient twice: its holder would have two shares.
    #[error("recipient {0} is named twice")]
    Twice(String),
    /// An identity file cannot be used.
    #[error("an identity file cannot be used")]
    Identity(#[from] KeyError),
    /// A file without an identity.
    #[error("{} holds no age identity (AGE-SECRET-KEY-1…)", .0.display())]
    NoIdentity(PathBuf),
    /// Not a bundle, or a damaged one.
    #[error("the escrow bundle cannot be read")]
    Bundle(#[from] Damage),
    /// Too few shares could be opened.
    #[error("the identities given open {have} of the bundle's shares, and it takes {need}")]
    TooFew {
        /// Shares opened.
        have: usize,
        /// Shares needed.
        need: usize,
    },
    /// The shares open, and what they give does not open the keys.
    #[error("the bundle is not authentic: its keys do not open with its own shares (it was changed)")]
    Tampered,
    /// The cryptographic layer refused.
    #[error("the keys cannot be sealed")]
    Crypto(#[from] CryptoError),
}

/// One key of a volume, and what it is for.
pub struct EscrowKey {
    /// What it is for.
    pub purpose: WrapPurpose,
    /// The key.
    pub key: Secret,
}

/// Reads recipients; passphrases and other kinds are refused.
///
/// # Errors
/// One is none, or stands there twice.
pub fn recipients(texts: &[String]) -> Result<Vec<Recipient>, EscrowError> {
    let mut all: Vec<Recipient> = Vec::new();
    for text in texts {
        let shown = if text.starts_with("age1") { text.clone() } else { String::from("(not shown)") };
        let recipient = Recipient::parse(text).ok_or(EscrowError::NotRecipient { shown })?;
        if all.contains(&recipient) {
            return Err(EscrowError::Twice(text.clone()));
        }
        all.push(recipient);
    }
    Ok(all)
}

/// What a bundle is made of, its keys aside.
pub struct Contents {
    /// Whose keys they are.
    pub volume: VolumeId,
    /// Its entry among the holders.
    pub holder: [u8; 16],
    /// When it was made, seconds since 1970.
    pub made: u64,
    /// A header backup of the same moment.
    pub backup: Vec<u8>,
}

/// Checks how keys are to be shared.
///
/// # Errors
/// There are no recipients, or fewer than the threshold.
pub fn check_threshold(recipients: usize, threshold: usize) -> Result<(), EscrowError> {
    match (1..=recipients).contains(&threshold) && recipients <= shamir::SHARES_MAX {
        true => Ok(()),
        false => Err(EscrowError::Threshold { threshold, recipients }),
    }
}

/// Seals `keys` into a bundle of which any `threshold` of the recipients can open it.
///
/// # Errors
/// As [`check_threshold`], or the cryptographic layer refuses.
pub fn seal(
    contents: Contents,
    keys: &[EscrowKey],
    recipients: &[Recipient],
    threshold: usize,
) -> Result<Bundle, EscrowError> {
    check_threshold(recipients.len(), threshold)?;
    let secret = Secret::random(SECRET_LEN)?;
    let Contents { volume, holder, made, backup } = contents;
    let mut bundle =
        Bundle { volume, holder, made, threshold: threshold as u8, shares: Vec::new(), keys: Vec::new(), backup };
    let shares = shamir::split(&secret, threshold, recipients.len())?;
    for ((number, share), recipient) in (1u8..).zip(&shares).zip(recipients) {
        let plain = Secret::filled(SHARE_LEN, |bytes| {
            let parts: [&[u8]; 5] = [SHARE_MAGIC, &volume.0, &holder, &[number, threshold as u8], share.expose()];
            fill(bytes, &parts);
        });
        let sealed = age::seal(recipient, &plain)?;
        bundle.shares.push(Share { recipient: recipient.to_string(), sealed });
    }
    let also = Sha256::digest(bundle.open_part());
    bundle.keys = aead_seal(&keys_key(&secret, &holder), [0; 12], &also, &pack(keys))?;
    Ok(bundle)
}

fn fill(bytes: &mut [u8], parts: &[&[u8]]) {
    let mut at = 0;
    for part in parts {
        bytes[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
}

fn keys_key(secret: &Secret, holder: &[u8; 16]) -> Secret {
    kdf::derive(secret, holder, b"keymoult v1 escrow", 32)
}

/// Count (2), then for each key generation (4), key id (16), suite (2), length (2), key.
fn pack(keys: &[EscrowKey]) -> Secret {
    let len = 2 + keys.iter().map(|key| 24 + key.key.len()).sum::<usize>();
    Secret::filled(len, |bytes| {
        fill(bytes, &[&(keys.len() as u16).to_le_bytes()]);
        let mut at = 2;
        for EscrowKey { purpose, key } in keys {
            let parts: [&[u8]; 5] = [
                &purpose.generation.0.to_le_bytes(),
                &purpose.key_id,
                &purpose.suite.to_le_bytes(),
                &(key.len() as u16).to_le_bytes(),
                key.expose(),
            ];
            fill(&mut bytes[at..], &parts);
            at += 24 + key.len();
        }
    })
}

fn unpack(volume: VolumeId, packed: &Secret) -> Option<Vec<EscrowKey>> {
    let (count, mut rest) = packed.expose().split_first_chunk::<2>()?;
    let mut keys = Vec::new();
    for _ in 0..u16::from_le_bytes(*count) {
        let (generation, more) = rest.split_first_chunk::<4>()?;
        let (key_id, more) = more.split_first_chunk::<16>()?;
        let (suite, more) = more.split_first_chunk::<2>()?;
        let (len, more) = more.split_first_chunk::<2>()?;
        let (key, more) = more.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
        let purpose = WrapPurpose {
            volume,
            generation: Generation(u32::from_le_bytes(*generation)),
            key_id: *key_id,
            suite: u16::from_le_bytes(*suite),
        };
        keys.push(EscrowKey { purpose, key: Secret::filled(key.len(), |bytes| bytes.copy_from_slice(key)) });
        rest = more;
    }
    rest.is_empty().then_some(keys)
}

/// Reads the identities of a file as age-keygen writes it; it must be closed to everybody but its owner.
///
/// # Errors
/// It cannot be read or trusted, or holds none.
pub fn identities(path: &Path) -> Result<Vec<Identity>, EscrowError> {
    let text = key_file::read_secret("identity file", path, IDENTITIES_MAX, key_file::Privacy::OfFile)?;
    let lines = text.expose().split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let found: Vec<Identity> = lines.filter_map(Identity::parse).collect();
    match found.is_empty() {
        true => Err(EscrowError::NoIdentity(path.to_owned())),
        false => Ok(found),
    }
}

/// Opens a bundle with as many of `identities` as it takes.
///
/// # Errors
/// They are too few, or the bundle is not what was sealed.
pub fn open(bundle: &Bundle, identities: &[Identity]) -> Result<Vec<EscrowKey>, EscrowError> {
    let mut shares: Vec<(u8, Secret)> = Vec::new();
    for (number, share) in (1u8..).zip(&bundle.shares) {
        let Some(plain) = identities.iter().find_map(|identity| age::open(identity, &share.sealed).ok()) else {
            continue;
        };
        let (head, share) = plain.expose().split_at_checked(SHARE_LEN - SECRET_LEN).ok_or(EscrowError::Tampered)?;
        let wanted: [&[u8]; 4] = [SHARE_MAGIC, &bundle.volume.0, &bundle.holder, &[number, bundle.threshold]];
        if head != wanted.concat() || share.len() != SECRET_LEN {
            return Err(EscrowError::Tampered);
        }
        shares.push((number, Secret::filled(SECRET_LEN, |bytes| bytes.copy_from_slice(share))));
    }
    let need = usize::from(bundle.threshold);
    if shares.len() < need {
        return Err(EscrowError::TooFew { have: shares.len(), need });
    }
    let enough: Vec<(u8, &Secret)> = shares.iter().take(need).map(|(number, share)| (*number, share)).collect();
    let secret = shamir::combine(&enough).ok_or(EscrowError::Tampered)?;
    let also = Sha256::digest(bundle.open_part());
    let packed = aead_open(&keys_key(&secret, &bundle.holder), [0; 12], &also, &bundle.keys)
        .map_err(|_| EscrowError::Tampered)?;
    unpack(bundle.volume, &packed).ok_or(EscrowError::Tampered)
}

/// A keeper that has no KEK, only the keys themselves: whatever is asked for by name and purpose, it has or has not.
pub struct EscrowKeeper {
    keys: Vec<EscrowKey>,
    description: KekDescription,
}

impl EscrowKeeper {
    /// A keeper of the keys of a bundle, called `label` in messages and records.
    pub fn new(keys: Vec<EscrowKey>, label: String) -> EscrowKeeper {
        // The format has no number for it, since it never wraps: nothing on a disk names it.
        let description = KekDescription { kind: ProviderKind::File, label, kek_id: None };
        EscrowKeeper { keys, description }
    }
}

impl KekProvider for EscrowKeeper {
    fn describe(&self) -> &KekDescription {
        &self.description
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::HELD
    }

    fn probe(&self) -> Result<(), KeyError> {
        Ok(())
    }

    fn wrap(&self, _: &WrapPurpose, _: &Secret) -> Result<Answer<Wrapped>, KeyError> {
        let reason = "an escrow bundle gives keys back; it wraps none".to_owned();
        let class = crate::keys::KeyErrorClass::Usage;
        Err(KeyError::Remote { kek: self.description.label.clone(), class, reason, source: None })
    }

    fn unwrap(&self, purpose: &WrapPurpose, _: &Wrapped) -> Result<Answer<Secret>, KeyError> {
        match self.keys.iter().find(|known| known.purpose == *purpose) {
            Some(known) => {
                let key = known.key.expose();
                Ok(Secret::filled(key.len(), |bytes| bytes.copy_from_slice(key)).into())
            }
            None => Err(KeyError::OtherProvider {
                kek: self.description.label.clone(),
                by: format!("a KEK, of generation {}, made after the bundle", purpose.generation),
            }),
        }
    }

    fn could_open(&self, _: &Wrapped) -> bool {
        true
    }
}
