//! From a path to an open volume.
//!
//! Order (REENCRYPTION.md, "Recovery at open"): lock; flush and drop the cache, because after a mere SIGKILL the newest
//! record may live only there; superblock and table unverified, only to unwrap the metadata key; then everything again
//! under its MAC; keys and canaries; epoch stamp; the tag pages the digest names; the ring; recovery; what a crash left of
//! a growth. Nothing is written before all of it is verified, and nothing at all if read-only: an unfinished growth is then
//! served at the size of before, and so it is on a poisoned volume.

pub mod cold;
mod pages;
mod unwrap;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::Volume;
use super::canaries::check_canary;
use super::error::VolumeError;
use super::flush::FlushGroup;
use super::gates::Gates;
use super::keyring::{GenerationKey, Keyring};
use super::meta::{Meta, MetaParts};
use super::recover::{self, Behind};
use super::replay::{SlotContent, live_records, replay};
use super::shape::LiveShape;
use super::tags::TagTable;
use super::wraps::Wraps;
use crate::crypto::fingerprint::{Fingerprinter, SECRET_LEN};
use crate::crypto::mac::MacKey;
use crate::crypto::{EngineKind, Secret, Suite, kdf};
use crate::engine::{Backing, CacheMode, Disk, OpenOptions};
use crate::format::envelope::{GENERATIONS, SUPERBLOCK, Unverified, peek};
use crate::format::generations::GenerationTable;
use crate::format::intents::Record;
use crate::format::layout::{GENERATIONS_COPY, SUPERBLOCK_A, SUPERBLOCK_B, Shape};
use crate::format::superblock::Superblock;
use crate::format::{Damage, Seal, canary, stamp};
use crate::keys::Kek;
use crate::sync::{AtomicBool, Mutex, OnceLock};
use crate::units::{BLOCK, Generation, VolumeId};
use pages::{TagPages, check_tags, read_tags};
pub use unwrap::Opening;
pub(super) use unwrap::{Opened, data_key, purpose, unwrap};

/// How to open a volume.
pub struct OpenVolume<'a> {
    /// The data backing.
    pub path: &'a Path,
    /// The header file of a detached volume.
    pub header: Option<&'a Path>,
    /// Who may unwrap its keys.
    pub keks: &'a [Kek],
    /// Never write.
    pub read_only: bool,
    /// Page cache or direct I/O.
    pub cache: CacheMode,
    /// The crypto engine for I/O.
    pub engine: EngineKind,
}

/// Keys derived from the metadata key.
pub struct MetadataKeys {
    /// Seals every structure.
    pub seal: Seal,
    /// Digest of the tag pages.
    pub digest: MacKey,
    /// Fingerprints of old ciphertext.
    pub prints: Secret,
    /// Canary texts.
    pub canary: Secret,
    /// Signatures of statements.
    pub statement: MacKey,
}

impl MetadataKeys {
    /// HKDF labels of the metadata key, salted with the volume's identity.
    pub fn derive(volume: VolumeId, metadata_key: &Secret) -> MetadataKeys {
        let label = |info: &[u8], len| kdf::derive(metadata_key, &volume.0, info, len);
        MetadataKeys {
            seal: Seal::new(volume, MacKey::new(&label(b"keymoult v1 mac", 32))),
            digest: MacKey::new(&label(b"keymoult v1 tag digest", 32)),
            prints: label(b"keymoult v1 fingerprint", SECRET_LEN),
            canary: label(b"keymoult v1 canary", 32),
            statement: MacKey::new(&label(b"keymoult v1 statement", 32)),
        }
    }
}

/// Opens a volume from paths.
pub fn open(options: &OpenVolume<'_>) -> Result<Volume, VolumeError> {
    let how = OpenOptions { read_only: options.read_only, cache: options.cache };
    let data: Arc<dyn Disk> = Arc::new(Backing::open(options.path, &how)?);
    let header = match options.header {
        Some(path) => Some(Arc::new(Backing::open(path, &how)?) as Arc<dyn Disk>),
        None => None,
    };
    open_disks(data, header, options.keks, options.read_only, options.engine)
}

/// Opens a volume from disks: the seam at which a simulated device stands in.
pub fn open_disks(
    data: Arc<dyn Disk>,
    header: Option<Arc<dyn Disk>>,
    keks: &[Kek],
    read_only: bool,
    engine: EngineKind,
) -> Result<Volume, VolumeError> {
    let detached = header.is_some();
    let header = header.unwrap_or_else(|| Arc::clone(&data));
    settle(&*header, read_only)?;
    if detached {
        settle(&*data, read_only)?;
    }
    let found = Found::read(&*header)?;
    found.fits(detached, &*header, &*data)?;
    let Verified { keys, superblock, table, opening } = found.verify(keks)?;
    let caps = data.caps();
    let mut openings = BTreeMap::from([(Generation::METADATA, opening)]);
    let keyring = load_keys(&table.0, &superblock.0, &keys, &*header, keks, engine, &mut openings)?;
    let stamp = check_stamp(&keys.seal, &superblock.0, &*data)?;
    let behind = Behind { stamp, table: found.tables_differ(), superblock: found.superblock_lags() };
    let found_tags = read_tags(&keys, &superblock.0, &*header)?;
    check_tags(&table.0, &found_tags)?;
    let TagPages { pages, newest: page_sequence, mut tags, census } = found_tags;
    let slots = read_ring(&keys.seal, &superblock.0, &*header)?;
    let records = live_records(&slots, superblock.0.tail)?;
    let replayed = replay(&records, superblock.0.tail, |extent| Generation(*tags[extent.0 as usize].get_mut()))?;
    let (id, zones) = (superblock.0.volume, superblock.0.zones);
    let stated = superblock.0.shape;
    let shape = Shape { size: superblock.0.served_size(), ..stated };
    let poison = OnceLock::new();
    if !superblock.0.poisoned.is_empty() {
        let _ = poison.set(superblock.0.poisoned.clone());
    }
    let flushes = Arc::new(FlushGroup::new(stated.extents(), stated.extents_max()));
    let log = recover::log_for(&superblock.0, &replayed, &keyring);
    let meta = Meta::new(MetaParts {
        seal: keys.seal,
        digest_key: keys.digest,
        header: Arc::clone(&header),
        superblock,
        table,
        table_used: found.tables.each_ref().map(|copy| used(copy)),
        pages,
        page_sequence,
        log,
        group: (!detached).then(|| Arc::clone(&flushes)),
    });
    let mut volume = Volume {
        id,
        shape: LiveShape::new(shape),
        read_only,
        engine,
        io_unit: u64::from(shape.write_unit()).max(caps.align as u64),
        caps,
        data,
        data_offset: zones.data.offset,
        data_len: AtomicU64::new(zones.data_len()),
        header,
        detached,
        tags: TagTable::counted(tags, stated.extents(), census),
        gates: Gates::default(),
        flushes,
        keyring,
        wraps: Wraps::new(openings),
        prints: Fingerprinter::new(keys.prints),
        canary_key: keys.canary,
        statement_key: keys.statement,
        meta: Mutex::new(meta),
        poison_written: AtomicBool::new(poison.get().is_some()),
        poison,
        recovered: recover::Recovered::default(),
        traffic: super::Traffic::default(),
    };
    volume.recovered = recover::recover(&volume, replayed, behind)?;
    if !read_only && volume.poisoned().is_none() {
        volume.finish_growth()?;
    }
    Ok(volume)
}

/// Makes what the last owner wrote durable and forgets what only the cache holds.
pub(super) fn settle(disk: &dyn Disk, read_only: bool) -> Result<(), VolumeError> {
    if super::rules::flushes_before_recovery(read_only) {
        disk.flush().map_err(VolumeError::io("flush the backing before reading it"))?;
    }
    disk.drop_cache().map_err(VolumeError::io("drop the backing's cache"))
}

/// Bytes of a table copy behind which all is zero, in whole blocks; all of a copy that cannot be read.
pub(super) fn used(copy: &[u8]) -> usize {
    const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
    if copy.is_empty() {
        return GENERATIONS_COPY as usize;
    }
    let last = copy.chunks(ZEROS.len()).rposition(|block| *block != ZEROS[..block.len()]);
    last.map_or(0, |last| (last + 1) * ZEROS.len())
}

/// What has been verified with the metadata key.
struct Verified {
    keys: MetadataKeys,
    superblock: (Superblock, u64),
    table: (GenerationTable, u64),
    /// Who opened the metadata key.
    opening: Opening,
}

/// The unverified superblock and table copies.
struct Found {
    superblocks: [Vec<u8>; 2],
    tables: [Vec<u8>; 2],
    superblock: Superblock,
}

impl Found {
    fn read(header: &dyn Disk) -> Result<Found, VolumeError> {
        let superblocks = [SUPERBLOCK_A, SUPERBLOCK_B].map(|place| read_or_empty(header, place, BLOCK));
        let copies = superblocks.each_ref().map(|bytes| peek(SUPERBLOCK, bytes));
        if let Some(Err(Damage::Newer { found, .. })) =
            copies.iter().find(|copy| matches!(copy, Err(Damage::Newer { .. })))
        {
            return Err(VolumeError::Newer { found: *found, known: crate::format::VERSION });
        }
        let newest = newest(&copies);
        let Some(newest) = newest else { return Err(no_superblock(&copies)) };
        let superblock = Superblock::decode(newest).map_err(VolumeError::damaged("the superblock"))?;
        drop(copies);
        let zone = superblock.zones.generations;
        let tables = [0, 1].map(|copy| read_or_empty(header, zone.offset + copy * GENERATIONS_COPY, GENERATIONS_COPY));
        Ok(Found { superblocks, tables, superblock })
    }

    /// Whether the table's copies say different things, or one says nothing: a crash fell between the two writes of a
    /// commit, or a copy has rotted.
    fn tables_differ(&self) -> bool {
        let [a, b] = self.tables.each_ref().map(|bytes| peek(GENERATIONS, bytes));
        !matches!((a, b), (Ok(a), Ok(b)) if a.body == b.body)
    }

    /// Whether one superblock copy stands for both: the other cannot be read, or is of an earlier step of a growth. Such a
    /// one must not come to count later: it would have the end of the data zeroed again, or not know of it.
    fn superblock_lags(&self) -> bool {
        let newest = (self.superblock.shape.size, self.superblock.unfinished);
        self.superblocks.iter().any(|bytes| {
            let copy = peek(SUPERBLOCK, bytes).and_then(|copy| Superblock::decode(&copy));
            copy.is_err() || copy.is_ok_and(|copy| (copy.shape.size, copy.unfinished) != newest)
        })
    }

    fn fits(&self, detached: bool, header: &dyn Disk, data: &dyn Disk) -> Result<(), VolumeError> {
        if self.superblock.detached && !detached {
            return Err(VolumeError::HeaderKind("this is the header of a detached volume: give the data with it"));
        }
        if !self.superblock.detached && detached {
            return Err(VolumeError::HeaderKind("the header given belongs to a volume with an attached header"));
        }
        let zones = &self.superblock.zones;
        let size = |disk: &dyn Disk| disk.len().map_err(VolumeError::io("ask a backing's size"));
        let needed = zones.data_len();
        let found = size(data)?;
        if found < needed {
            return Err(VolumeError::Truncated { which: "data", found, needed });
        }
        let needed = zones.ring.end().max(zones.tags.end()).max(zones.canaries.end()).max(zones.generations.end());
        let found = size(header)?;
        if found < needed {
            return Err(VolumeError::Truncated { which: "header", found, needed });
        }
        Ok(())
    }

    /// Unwraps the metadata key from the unverified table, then verifies superblock and table with it.
    fn verify(&self, keks: &[Kek]) -> Result<Verified, VolumeError> {
        let volume = self.superblock.volume;
        let copies = self.tables.each_ref().map(|bytes| peek(GENERATIONS, bytes));
        let Some(found) = newest(&copies) else {
            let damage = copies.into_iter().find_map(Result::err).unwrap_or(Damage::Crc { what: GENERATIONS.name });
            return Err(VolumeError::damaged("the generation table (both copies)")(damage));
        };
        let place = "the generation table";
        let table = GenerationTable::decode(found).map_err(VolumeError::damaged(place))?;
        let entry = table.entry(Generation::METADATA).ok_or(VolumeError::TableFull)?;
        let Opened { key, by } = unwrap(volume, entry, keks)?;
        let keys = MetadataKeys::derive(volume, &key);
        let (sequence, _) = keys.seal.verify(found, 0).map_err(VolumeError::damaged(place))?;
        let table = (table, sequence);
        let copies = self.superblocks.each_ref().map(|bytes| peek(SUPERBLOCK, bytes));
        let Some(found) = newest(&copies) else { return Err(no_superblock(&copies)) };
        let (sequence, _) = keys.seal.verify(found, 0).map_err(VolumeError::damaged("the superblock"))?;
        Ok(Verified { keys, superblock: (self.superblock.clone(), sequence), table, opening: by })
    }
}

/// The bytes at `place`, or none where the backing is too short or unreadable: the decoder names what is missing.
pub(super) fn read_or_empty(disk: &dyn Disk, place: u64, len: u64) -> Vec<u8> {
    let mut bytes = vec![0u8; len as usize];
    match disk.read_at(place, &mut bytes) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}

fn newest<'a, 'b>(copies: &'b [Result<Unverified<'a>, Damage>; 2]) -> Option<&'b Unverified<'a>> {
    copies.iter().flatten().max_by_key(|copy| copy.sequence)
}

pub(super) fn no_superblock(copies: &[Result<Unverified<'_>, Damage>; 2]) -> VolumeError {
    let say = |copy: &Result<Unverified<'_>, Damage>| copy.as_ref().err().map(ToString::to_string).unwrap_or_default();
    let torn = copies.iter().find_map(|copy| copy.as_ref().err().filter(|damage| matches!(damage, Damage::Crc { .. })));
    match torn {
        Some(damage) => VolumeError::Damaged { place: "the superblock (both copies)".into(), source: damage.clone() },
        None => VolumeError::NotAVolume { why: format!("copy A: {}; copy B: {}", say(&copies[0]), say(&copies[1])) },
    }
}

/// Unwraps every generation that may be needed and holds it against its canary.
fn load_keys(
    table: &GenerationTable,
    superblock: &Superblock,
    keys: &MetadataKeys,
    header: &dyn Disk,
    keks: &[Kek],
    engine: EngineKind,
    openings: &mut BTreeMap<Generation, Opening>,
) -> Result<Keyring, VolumeError> {
    let keyring = Keyring::default();
    for entry in
        table.entries.iter().filter(|entry| entry.generation != Generation::METADATA && entry.state.is_loaded())
    {
        let suite = Suite::from_id(entry.suite).ok_or_else(|| {
            VolumeError::Refused(format!(
                "generation {} uses suite {}, unknown to this build",
                entry.generation, entry.suite
            ))
        })?;
        let dek = match suite {
            Suite::None => Secret::zeroed(0),
            _ => {
                let Opened { key, by } = unwrap(superblock.volume, entry, keks)?;
                openings.insert(entry.generation, by);
                key
            }
        };
        let key = GenerationKey::new(engine, entry, suite, &dek)?;
        let place = superblock.zones.canaries.offset + u64::from(entry.canary_slot) * canary::SLOT;
        let block = read_or_empty(header, place, canary::SLOT);
        check_canary(keys, entry, &key, &block)?;
        keyring.insert(key);
    }
    Ok(keyring)
}

/// Whether the stamp is one epoch behind (a crash fell between header and stamp) and must be rewritten.
pub(super) fn check_stamp(seal: &Seal, superblock: &Superblock, data: &dyn Disk) -> Result<bool, VolumeError> {
    let zone = superblock.zones.stamp;
    if zone.length == 0 {
        return Ok(false);
    }
    let blocks = (0..zone.length / BLOCK).map(|copy| read_or_empty(data, zone.offset + copy * BLOCK, BLOCK));
    let found = stamp::newest(blocks.map(|block| stamp::open(seal, &block)).collect());
    let found = found.map_err(VolumeError::damaged("the epoch stamp at the end of the data"))?;
    let stale = |meaning| VolumeError::StaleHeader { header: superblock.epoch, data: found, meaning };
    match superblock.epoch.checked_sub(found) {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        Some(_) => Err(stale("the data is older than the header, as after restoring an old copy of it")),
        None => Err(stale("the header is older than the data, as after restoring an old backup of it")),
    }
}

/// What stands in every slot of the ring. A record that is whole but not authentic is tampering; one that is authentic
/// and out of bounds, or of a newer build, is not ours to pass over: both are refused.
pub(super) fn read_ring(
    seal: &Seal,
    superblock: &Superblock,
    header: &dyn Disk,
) -> Result<Vec<SlotContent>, VolumeError> {
    let mut slots = Vec::with_capacity(superblock.ring_slots as usize);
    for slot in 0..superblock.ring_slots {
        let place = superblock.zones.ring.offset + u64::from(slot) * u64::from(superblock.slot_size);
        let mut bytes = vec![0; superblock.slot_size as usize];
        let read = header.read_at(place, &mut bytes).is_ok();
        match read.then(|| Record::open(seal, slot, &bytes, &superblock.shape)) {
            Some(Ok(record)) => slots.push(SlotContent::Valid(record)),
            // A write that a power cut interrupted may end like that, also unreadable; never whole and yet wrong.
            None | Some(Err(Damage::Zero { .. } | Damage::NotThis { .. } | Damage::Crc { .. })) => {
                slots.push(SlotContent::Invalid);
            }
            Some(Err(damage)) => {
                return Err(VolumeError::damaged(format!("slot {slot} of the intent ring"))(damage));
            }
        }
    }
    Ok(slots)
}
