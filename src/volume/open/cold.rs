//! Proving a key from nothing: in a process that does not serve the volume, while another one may, the key is unwrapped anew
//! from the table on the device and decrypts the canary with both engines.
//!
//! What it proves that the serving process cannot: that whoever starts tomorrow gets the key, from the keepers as they are now
//! and from what the device holds. Invariants: nothing is written, and no lock is taken; a table or canary in the middle of
//! being written is looked at again.

use std::path::Path;
use std::sync::Arc;

use super::{Found, Opened, Opening, Verified, read_or_empty, unwrap};
use crate::crypto::{EngineKind, Secret, Suite};
use crate::engine::Disk;
use crate::format::canary;
use crate::format::generations::KeyState;
use crate::format::handover::CHECK_LEN;
use crate::keys::Kek;
use crate::units::{Generation, VolumeId};
use crate::volume::VolumeError;
use crate::volume::canaries::check_canary;
use crate::volume::drill::Onlooker;
use crate::volume::keyring::GenerationKey;
use crate::volume::life::entry_of;
use crate::volume::replica::{Proof, check_value};

/// Times that damage is taken for a write in progress before it is believed.
const LOOKS: usize = 3;

/// A key that was proven from nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColdProof {
    /// The volume it is of.
    pub volume: VolumeId,
    /// What was proven.
    pub proof: Proof,
    /// Check value of the key.
    pub check: [u8; CHECK_LEN],
    /// Which wrap opened it; none where the suite has no key.
    pub opening: Option<Opening>,
    /// Sequence of the generation table it was unwrapped from.
    pub table: u64,
}

/// Proves the key of `generation` of the volume at `path`, which may be served meanwhile.
///
/// # Errors
/// No KEK opens it, its canary is wrong, the generation is not there or its key is gone; or nothing can be read.
pub fn prove_cold(
    path: &Path,
    header: Option<&Path>,
    keks: &[Kek],
    generation: Generation,
) -> Result<ColdProof, VolumeError> {
    let data: Arc<dyn Disk> = Arc::new(Onlooker::open(path)?);
    let header = match header {
        Some(path) => Some(Arc::new(Onlooker::open(path)?) as Arc<dyn Disk>),
        None => None,
    };
    prove_on(&*data, header.as_deref(), keks, generation)
}

/// The same on disks: the seam at which a simulated device stands in.
///
/// # Errors
/// As [`prove_cold`].
pub fn prove_on(
    data: &dyn Disk,
    header: Option<&dyn Disk>,
    keks: &[Kek],
    generation: Generation,
) -> Result<ColdProof, VolumeError> {
    let look = || look(data, header, keks, generation);
    let mut seen = look();
    for _ in 1..LOOKS {
        if !matches!(seen, Err(VolumeError::Damaged { .. })) {
            break;
        }
        seen = look();
    }
    seen
}

fn look(
    data: &dyn Disk,
    header: Option<&dyn Disk>,
    keks: &[Kek],
    generation: Generation,
) -> Result<ColdProof, VolumeError> {
    let detached = header.is_some();
    let header = header.unwrap_or(data);
    header.drop_cache().map_err(VolumeError::io("drop the cache"))?;
    let found = Found::read(header)?;
    found.fits(detached, header, data)?;
    let Verified { keys, superblock, table, .. } = found.verify(keks)?;
    let (volume, entry) = (superblock.0.volume, entry_of(&table.0, generation)?);
    let refused = |why: String| VolumeError::Refused(format!("generation {generation} cannot be proven: {why}"));
    if generation == Generation::METADATA || matches!(entry.state, KeyState::Destroyed | KeyState::Revoked) {
        return Err(refused(match generation {
            Generation::METADATA => "it is the volume's metadata key".into(),
            _ => format!("it is {}", entry.state.name()),
        }));
    }
    let suite = Suite::from_id(entry.suite);
    let suite = suite.ok_or_else(|| refused(format!("suite {} is unknown to this build", entry.suite)))?;
    let (dek, opening) = match suite {
        Suite::None => (Secret::zeroed(0), None),
        _ => {
            let Opened { key, by } = unwrap(volume, entry, keks)?;
            (key, Some(by))
        }
    };
    let key = GenerationKey::new(EngineKind::best(), entry, suite, &dek)?;
    let place = superblock.0.zones.canaries.offset + u64::from(entry.canary_slot) * canary::SLOT;
    check_canary(&keys, entry, &key, &read_or_empty(header, place, canary::SLOT))?;
    let proof = Proof { generation, key_id: entry.key_id, suite: entry.suite, state: entry.state };
    Ok(ColdProof { volume, proof, check: check_value(volume, entry, &dek), opening, table: table.1 })
}
