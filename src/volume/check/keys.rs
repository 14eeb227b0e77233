//! Keys: every wrap that a given KEK could open is opened, and every key is held against its canary by both engines.

use super::report::{CheckReport, Place, Severity};
use crate::crypto::{EngineKind, Secret, Suite};
use crate::engine::Disk;
use crate::format::canary::{self, Canary};
use crate::format::generations::{Entry, GenerationTable, KeyState};
use crate::format::superblock::Superblock;
use crate::keys::{Kek, KeyErrorClass, ProviderKind, WrapPurpose};
use crate::units::{Generation, VolumeId};
use crate::volume::canaries::same_canary;
use crate::volume::info::Bytes;
use crate::volume::keyring::{GenerationKey, Keyring};
use crate::volume::open::MetadataKeys;

/// Keys that opened.
pub(super) struct Keys {
    pub derived: MetadataKeys,
    pub ring: Keyring,
}

/// Opens the metadata key from the table, which nobody has verified yet: wraps authenticate themselves.
pub(super) fn metadata(
    report: &mut CheckReport,
    superblock: &Superblock,
    table: &GenerationTable,
    keks: &[Kek],
) -> Option<Keys> {
    let entry = table.entry(Generation::METADATA)?;
    let key = wraps(report, superblock.volume, entry, keks)?;
    Some(Keys { derived: MetadataKeys::derive(superblock.volume, &key), ring: Keyring::default() })
}

/// Opens every other generation and checks its canary.
pub(super) fn generations(
    report: &mut CheckReport,
    superblock: &Superblock,
    table: &GenerationTable,
    keks: &[Kek],
    keys: &mut Keys,
    header: &dyn Disk,
) {
    for entry in table.entries.iter().filter(|entry| entry.generation != Generation::METADATA) {
        if !may_be_opened(entry.state) {
            continue;
        }
        let place = format!("generation {}", entry.generation);
        let Some(suite) = Suite::from_id(entry.suite) else {
            let what = format!("suite {} is unknown to this build", entry.suite);
            report.add(Severity::Error, "suite-unknown", place, what, None);
            continue;
        };
        let dek = match suite {
            Suite::None => Some(Secret::zeroed(0)),
            _ => wraps(report, superblock.volume, entry, keks),
        };
        let Some(dek) = dek else { continue };
        match GenerationKey::new(EngineKind::AwsLc, entry, suite, &dek) {
            Ok(key) => {
                if canary(report, superblock, entry, &key, keys, header) {
                    keys.ring.insert(key);
                }
            }
            Err(error) => report.add(Severity::Error, "key-unusable", place, error.to_string(), None),
        }
    }
}

/// Whether a check unwraps the key of such a generation: not one that is gone, nor one that nobody may have.
fn may_be_opened(state: KeyState) -> bool {
    !matches!(state, KeyState::Destroyed | KeyState::Revoked)
}

fn canary(
    report: &mut CheckReport,
    superblock: &Superblock,
    entry: &Entry,
    key: &GenerationKey,
    keys: &Keys,
    header: &dyn Disk,
) -> bool {
    let offset = superblock.zones.canaries.offset + u64::from(entry.canary_slot) * canary::SLOT;
    let place = Place::header(format_args!("canary of generation {}", entry.generation), offset);
    let block = match Bytes::of(header).try_read(offset, canary::SLOT) {
        Ok(block) => block,
        Err(error) => {
            report.add(Severity::Error, "canary-unreadable", place, error.to_string(), None);
            return false;
        }
    };
    let found = match Canary::open(&keys.derived.seal, u32::from(entry.canary_slot), &block) {
        Ok(found) => found,
        Err(damage) => {
            report.damage(Severity::Error, "canary", place, &damage, None);
            return false;
        }
    };
    let proven = same_canary(&keys.derived.canary, entry, key, &found);
    match &proven {
        Ok(()) => report.good(place, "both engines decrypt it to what it must be"),
        Err(error) => report.add(Severity::Error, "canary-wrong", place, error.to_string(), None),
    }
    proven.is_ok()
}

/// Opens every wrap of an entry that one of the KEKs could open; all must give the same key.
fn wraps(report: &mut CheckReport, volume: VolumeId, entry: &Entry, keks: &[Kek]) -> Option<Secret> {
    let purpose = WrapPurpose { volume, generation: entry.generation, key_id: entry.key_id, suite: entry.suite };
    let mut key: Option<Secret> = None;
    for (index, wrap) in entry.wraps.iter().enumerate() {
        let keeper =
            ProviderKind::from_id(wrap.provider).map_or_else(|| "unknown keeper".into(), |kind| kind.to_string());
        let place = format!("generation {}, wrap {index} ({keeper} {})", entry.generation, wrap.kek_id);
        let mut refusal = None;
        let mut opened = false;
        for kek in keks.iter().filter(|kek| kek.could_open(wrap)) {
            match kek.unwrap(&purpose, wrap) {
                Ok(found) => {
                    opened = true;
                    if key.as_ref().is_some_and(|key| !key.ct_eq(&found)) {
                        let what = "opens to another key than the wraps before it";
                        report.add(Severity::Error, "wrap-differs", place.clone(), what, None);
                    } else {
                        report.good(place.clone(), format!("opens with {}", kek.describe().label));
                    }
                    key.get_or_insert(found);
                    break;
                }
                Err(error) if error.class() == KeyErrorClass::WrongKey => {}
                Err(error) => refusal = Some(error),
            }
        }
        match refusal {
            _ if opened => {}
            Some(error) if error.class() == KeyErrorClass::Tampered => {
                let hint = Some("the wrap was changed, or belongs to another volume or generation");
                report.add(Severity::Error, "wrap-tampered", place, error.to_string(), hint);
            }
            Some(error) => report.add(Severity::Warning, "wrap-unavailable", place, error.to_string(), None),
            None => {
                let what = "none of the keys given is for it; it was not tried";
                report.add(Severity::Note, "wrap-untried", place, what, None);
            }
        }
    }
    if key.is_none() {
        let needed = entry.state.is_loaded();
        let severity = if needed { Severity::Error } else { Severity::Note };
        let what = if entry.wraps.is_empty() { "it has no wrap" } else { "none of the keys given opens it" };
        let hint = Some("give the KEK its wraps name: volume info shows them");
        report.add(severity, "key-missing", format!("generation {}", entry.generation), what, hint);
    }
    key
}
