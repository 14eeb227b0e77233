//! Opening a wrapped key by whichever KEK can, and remembering which one it was.
//!
//! Invariants: wraps are tried in the order of the table, each by every KEK that could open it; the first that opens is
//! taken. What was tried in vain before it is remembered: using a fallback must not go unnoticed.

use crate::crypto::{Secret, Suite};
use crate::format::generations::Entry;
use crate::format::wrapped::Wrapped;
use crate::keys::{Kek, KeyErrorClass, WrapPurpose};
use crate::units::VolumeId;
use crate::volume::error::VolumeError;

/// Which wrap opened a key, and what was in the way of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Kind of the keeper, as stored.
    pub provider: u8,
    /// Id of the KEK.
    pub kek_id: String,
    /// Its version.
    pub kek_version: u32,
    /// The KEK as the operator named it.
    pub kek: String,
    /// How many wraps stand before it in the table.
    pub wraps_before: usize,
    /// Why wraps before it did not open, though a KEK for them was given.
    pub refusals: Vec<String>,
    /// KEKs given that none of the key's wraps is for.
    pub idle: Vec<String>,
}

impl Opening {
    /// Whether `wrap` is the one.
    pub fn is_by(&self, wrap: &Wrapped) -> bool {
        (self.provider, self.kek_version) == (wrap.provider, wrap.kek_version) && self.kek_id == wrap.kek_id
    }

    /// Whether another wrap should have opened the key: a KEK that was given did not do its part, and this one stands behind
    /// others. `missing` says that a KEK could not even be had.
    pub fn is_fallback(&self, missing: bool) -> bool {
        self.wraps_before > 0 && (missing || !self.refusals.is_empty() || !self.idle.is_empty())
    }
}

/// An opened key.
pub struct Opened {
    /// The key.
    pub key: Secret,
    /// Which wrap it was.
    pub by: Opening,
}

/// What the wraps of `entry` are for.
pub fn purpose(volume: VolumeId, entry: &Entry) -> WrapPurpose {
    WrapPurpose { volume, generation: entry.generation, key_id: entry.key_id, suite: entry.suite }
}

/// Tries every KEK on every wrap it could open.
pub fn unwrap(volume: VolumeId, entry: &Entry, keks: &[Kek]) -> Result<Opened, VolumeError> {
    let purpose = purpose(volume, entry);
    let (mut refusal, mut refusals) = (None, Vec::new());
    for (wraps_before, wrap) in entry.wraps.iter().enumerate() {
        for kek in keks.iter().filter(|kek| kek.could_open(wrap)) {
            match kek.unwrap(&purpose, wrap) {
                Ok(key) => {
                    let is_idle = |kek: &&Kek| entry.wraps.iter().all(|wrap| !kek.could_open(wrap));
                    let label = |kek: &Kek| kek.describe().label.clone();
                    let by = Opening {
                        provider: wrap.provider,
                        kek_id: wrap.kek_id.clone(),
                        kek_version: wrap.kek_version,
                        kek: label(kek),
                        wraps_before,
                        refusals,
                        idle: keks.iter().filter(is_idle).map(label).collect(),
                    };
                    return Ok(Opened { key, by });
                }
                Err(error) => {
                    // A passphrase is tried on every wrap by a passphrase; that most are not for it says nothing.
                    if error.class() != KeyErrorClass::WrongKey {
                        refusals.push(error.to_string());
                    }
                    refusal = Some(error);
                }
            }
        }
    }
    match refusal {
        Some(error) => Err(VolumeError::Key(error)),
        None => {
            let wanted: Vec<&str> = entry.wraps.iter().map(|wrap| wrap.kek_id.as_str()).collect();
            Err(VolumeError::WrongKey { volume, wanted: wanted.join(", ") })
        }
    }
}

/// The key of a generation whose suite is `suite`; plaintext has none.
pub fn data_key(volume: VolumeId, entry: &Entry, suite: Suite, keks: &[Kek]) -> Result<Secret, VolumeError> {
    match suite {
        Suite::None => Ok(Secret::zeroed(0)),
        _ => Ok(unwrap(volume, entry, keks)?.key),
    }
}
