//! Making a volume.
//!
//! Order: everything else first, the superblock last, so that a crash or an error leaves no half-made volume; files this
//! made are removed again on error. Keys are made here and nowhere stored but wrapped.

mod replica;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::PageState;
use super::error::VolumeError;
use super::log::IntentLog;
use super::meta::{Meta, MetaParts};
use super::open::MetadataKeys;
use super::tags::TagTable;
use crate::crypto::{Secret, Suite};
use crate::engine::{Backing, CacheMode, Disk, OpenOptions};
use crate::format::generations::{Entry, KeyState, SUITE_METADATA};
use crate::format::handover::Founding;
use crate::format::layout::{Plan, RING_SLOTS, SUPERBLOCK_A, SUPERBLOCK_B, Shape, WriteMode, largest_size, plan};
use crate::format::lives::Life;
use crate::format::superblock::Superblock;
use crate::format::{canary, stamp};
use crate::keys::Kek;
use crate::units::{BLOCK, Generation, VolumeId};
use replica::First;

/// Bytes of the metadata key.
pub const METADATA_KEY_LEN: usize = 32;

/// How ciphertext shall be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModeChoice {
    /// In place where something vouches for the granule, the journal elsewhere.
    Auto,
    /// In place, or refuse.
    InPlace,
    /// Through the journal.
    Journal,
}

/// What to make.
pub struct CreateOptions<'a> {
    /// The data backing: a new file, or an existing file or block device.
    pub path: &'a Path,
    /// A header file of its own; it must not exist yet.
    pub header: Option<&'a Path>,
    /// Bytes clients see; `None`: what fits on an existing backing.
    pub size: Option<u64>,
    /// Bytes the volume may grow to; `None`: its size.
    pub max_size: Option<u64>,
    /// Bytes of an extent.
    pub extent_size: u64,
    /// Bytes of a data unit.
    pub data_unit: u32,
    /// Cipher suite of the first generation; a replica has those of the volume it is one of.
    pub suite: Suite,
    /// Makes another replica of a volume, which then has the shape and the keys that this says.
    pub replica_of: Option<&'a Founding>,
    /// How ciphertext shall be replaced.
    pub mode: ModeChoice,
    /// The data area is known to read as zeros.
    pub assume_zeroed: bool,
    /// Who wraps the keys.
    pub keks: &'a [Kek],
    /// Page cache or direct I/O.
    pub cache: CacheMode,
    /// Seconds since 1970.
    pub now: u64,
}

/// What was made.
#[derive(Debug)]
pub struct Created {
    /// Its identity.
    pub id: VolumeId,
    /// Its shape.
    pub shape: Shape,
    /// What vouches for the granule.
    pub granule_source: String,
    /// Bytes of metadata.
    pub header_bytes: u64,
}

/// Makes a volume. `progress` is told bytes zeroed and bytes to zero.
pub fn create(options: &CreateOptions<'_>, progress: &mut dyn FnMut(u64, u64)) -> Result<Created, VolumeError> {
    if options.keks.is_empty() {
        return Err(VolumeError::Refused("a volume needs at least one key-encryption key".into()));
    }
    let mut made = Made(Vec::new());
    let created = match options.replica_of {
        None => create_inside(options, progress, &mut made)?,
        Some(Founding { size, max_size, extent_size, data_unit, .. }) => {
            let (size, max_size) = (Some(*size), Some(*max_size));
            let options =
                CreateOptions { size, max_size, extent_size: *extent_size, data_unit: *data_unit, ..*options };
            create_inside(&options, progress, &mut made)?
        }
    };
    made.0.clear();
    Ok(created)
}

/// Files made so far; removed on drop unless the list was cleared.
struct Made(Vec<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn create_inside(
    options: &CreateOptions<'_>,
    progress: &mut dyn FnMut(u64, u64),
    made: &mut Made,
) -> Result<Created, VolumeError> {
    let open = OpenOptions { read_only: false, cache: options.cache };
    let existing = options.path.exists();
    let data = if existing {
        Backing::open(options.path, &open)?
    } else {
        let Some(size) = options.size else {
            return Err(VolumeError::Refused(format!("{} does not exist: say --size", options.path.display())));
        };
        let backing = Backing::create(options.path, size.min(1 << 62), &open)?;
        made.0.push(options.path.to_path_buf());
        backing
    };
    if existing {
        refuse_overwrite(&data, options)?;
    }
    let (shape, source) = shape_for(options, &data)?;
    let layout = plan(&shape, options.header.is_some());
    fit(&data, &layout, existing)?;
    let thin = !data.is_block_device();
    let data: Arc<dyn Disk> = Arc::new(data);
    let header: Arc<dyn Disk> = match options.header {
        Some(path) => {
            let header = Backing::create(path, layout.header_len, &open)?;
            made.0.push(path.to_path_buf());
            Arc::new(header)
        }
        None => Arc::clone(&data),
    };
    if existing && options.header.is_none() {
        // Whatever `assume_zeroed` says: a superblock B or ring record of an earlier volume would be taken for tampering.
        zero(&*data, 0, layout.zones.data.offset, &mut |_, _| {})?;
    }
    if thin {
        set_aside(&*header, layout.header_len)?;
    }
    if existing && !options.assume_zeroed {
        zero(&*data, layout.zones.data.offset, shape.size, progress)?;
    }
    let new = NewVolume {
        shape,
        granule_source: source,
        suite: options.suite,
        replica_of: options.replica_of,
        keks: options.keks,
        now: options.now,
    };
    let id = create_on_disks(&new, &data, options.header.map(|_| &header))?;
    Ok(Created { id, shape, granule_source: new.granule_source, header_bytes: layout.header_len })
}

/// A backing that already is a volume is never overwritten; nor is an ordinary file that has content.
fn refuse_overwrite(data: &Backing, options: &CreateOptions<'_>) -> Result<(), VolumeError> {
    let len = data.len().map_err(VolumeError::io("ask the backing's size"))?;
    let read = |place: u64| {
        let mut block = vec![0u8; BLOCK as usize];
        if len >= place + BLOCK {
            data.read_at(place, &mut block).map_err(VolumeError::io("read the backing's first blocks"))?;
        }
        Ok::<_, VolumeError>(block)
    };
    let (block, twin) = (read(SUPERBLOCK_A)?, read(SUPERBLOCK_B)?);
    let magic = &crate::format::envelope::SUPERBLOCK.magic;
    if block.starts_with(magic) || twin.starts_with(magic) {
        let path = options.path.display();
        return Err(VolumeError::Refused(format!("{path} already holds a keymoult volume; it is never overwritten")));
    }
    if block.iter().any(|byte| *byte != 0) {
        let path = options.path.display();
        let why =
            "its first block is not zero, so it may hold something else; wipe it first (blkdiscard, wipefs) if not";
        return Err(VolumeError::Refused(format!("{path} is not empty: {why}")));
    }
    Ok(())
}

fn shape_for(options: &CreateOptions<'_>, data: &Backing) -> Result<(Shape, String), VolumeError> {
    let caps = data.caps();
    let vouched = matches!(caps.granule, 512 | 4096);
    let mode = match options.mode {
        ModeChoice::Journal => WriteMode::Journal,
        ModeChoice::InPlace if !vouched => {
            let why = format!("nothing vouches for atomic writes here ({}): use --mode journal", caps.granule_source);
            return Err(VolumeError::Refused(why));
        }
        ModeChoice::InPlace => WriteMode::InPlace,
        ModeChoice::Auto if vouched => WriteMode::InPlace,
        ModeChoice::Auto => WriteMode::Journal,
    };
    let mut shape = Shape {
        size: options.size.unwrap_or(0),
        max_size: options.max_size.unwrap_or(options.size.unwrap_or(0)),
        extent_size: options.extent_size,
        data_unit: options.data_unit,
        granule: if vouched { caps.granule } else { 4096 },
        mode,
    };
    if options.size.is_none() && shape.extent_size.is_power_of_two() {
        let len = data.len().map_err(VolumeError::io("ask the backing's size"))?;
        shape.size = largest_size(&shape, len, options.header.is_some());
        shape.max_size = options.max_size.unwrap_or(shape.size);
    }
    shape.check()?;
    Ok((shape, caps.granule_source.to_string()))
}

fn fit(data: &Backing, layout: &Plan, existing: bool) -> Result<(), VolumeError> {
    let found = data.len().map_err(VolumeError::io("ask the backing's size"))?;
    if !existing || (!data.is_block_device() && found < layout.data_len) {
        return data.set_len(layout.data_len).map_err(VolumeError::io("set the backing's length"));
    }
    if found < layout.data_len {
        return Err(VolumeError::Truncated { which: "data", found, needed: layout.data_len });
    }
    Ok(())
}

/// Makes the data area read as zeros, punching where that works.
pub(super) fn zero(
    data: &dyn Disk,
    offset: u64,
    len: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), VolumeError> {
    const STEP: u64 = 64 << 20;
    let mut done = 0;
    while done < len {
        let step = STEP.min(len - done);
        data.punch(offset + done, step)
            .or_else(|_| data.zero_range(offset + done, step))
            .map_err(VolumeError::io("zero the data area"))?;
        done += step;
        progress(done, len);
    }
    Ok(())
}

/// Allocates the metadata of a thin file: a full file system may refuse a client's write, but a record that found no room
/// would poison the volume.
fn set_aside(header: &dyn Disk, len: u64) -> Result<(), VolumeError> {
    header.zero_range(0, len).map_err(VolumeError::io("set the metadata area aside"))
}

/// What to write on disks that are there already.
pub struct NewVolume<'a> {
    /// Its shape, checked.
    pub shape: Shape,
    /// What vouches for the granule, in words.
    pub granule_source: String,
    /// Cipher suite of the first generation of a volume that is not a replica.
    pub suite: Suite,
    /// What it is a replica of; of the same shape.
    pub replica_of: Option<&'a Founding>,
    /// Who wraps the keys.
    pub keks: &'a [Kek],
    /// Seconds since 1970.
    pub now: u64,
}

/// Writes a new volume's metadata: the seam at which simulated devices stand in. The data area must read as zeros;
/// `header` is there if it is a backing of its own.
pub fn create_on_disks(
    new: &NewVolume<'_>,
    data: &Arc<dyn Disk>,
    header: Option<&Arc<dyn Disk>>,
) -> Result<VolumeId, VolumeError> {
    let shape = &new.shape;
    let layout = plan(shape, header.is_some());
    let detached = header.is_some();
    let header = header.unwrap_or(data);
    let metadata_key = Secret::random(METADATA_KEY_LEN)?;
    let First { id, table, canaries } = replica::first(new, &metadata_key)?;
    let (keys, target) = (MetadataKeys::derive(id, &metadata_key), table.rotation.target);
    let superblock = Superblock {
        volume: id,
        shape: *shape,
        granule_source: new.granule_source.clone(),
        zones: layout.zones,
        detached,
        ring_slots: RING_SLOTS,
        slot_size: shape.slot_size() as u32,
        tail: 0,
        checkpoint: 0,
        tag_digest: [0; 32],
        epoch: 1,
        poisoned: String::new(),
        created: new.now,
        unfinished: None,
    };
    let io = VolumeError::io;
    for (slot, canary) in &canaries {
        let place = layout.zones.canaries.offset + u64::from(*slot) * canary::SLOT;
        let block = canary.seal(&keys.seal, u32::from(*slot));
        header.write_at(place, &block).map_err(io("write a canary"))?;
    }
    for epoch in [0, 1] {
        // Both copies: what an earlier owner of the disk left there would look like tampering.
        let place = stamp::place(&layout.zones.stamp, epoch);
        data.write_at(place, &stamp::seal(&keys.seal, 1)).map_err(io("write the epoch stamp"))?;
    }
    data.flush().map_err(io("flush the data backing"))?;
    let pages = vec![PageState { sequence: 0, copy: 1, dirty: true }; shape.tag_pages() as usize];
    let mut meta = Meta::new(MetaParts {
        seal: keys.seal,
        digest_key: keys.digest,
        header: Arc::clone(header),
        superblock: (superblock, 0),
        table: (table.clone(), 0),
        table_used: [0; 2],
        pages,
        page_sequence: 0,
        log: IntentLog::empty(RING_SLOTS, 0),
        group: None,
    });
    // Both copies of each are there from the start: one damaged block never costs a volume.
    meta.commit_table(table)?;
    let extents = shape.extents() as usize;
    meta.checkpoint(&TagTable::new(vec![target; extents].into_iter()))?;
    meta.mend_superblock()?;
    Ok(id)
}

fn metadata_entry(now: u64) -> Result<Entry, VolumeError> {
    Ok(Entry {
        suite: SUITE_METADATA,
        state: KeyState::Active,
        activated: now,
        reason: "volume metadata key".into(),
        ..new_entry(Generation::METADATA, Suite::None, 4096, 0, now)?
    })
}

/// A fresh entry in state prepared, with a random key id and no wraps.
pub(super) fn new_entry(
    generation: Generation,
    suite: Suite,
    data_unit: u32,
    canary_slot: u16,
    now: u64,
) -> Result<Entry, VolumeError> {
    let mut key_id = [0u8; 16];
    fill_random(&mut key_id)?;
    Ok(Entry {
        generation,
        key_id,
        suite: suite.id(),
        data_unit,
        tweak_unit: data_unit,
        tweak_base: 0,
        state: KeyState::Prepared,
        compromised: false,
        created: now,
        activated: 0,
        bytes_reserved: 0,
        reason: "created with the volume".into(),
        canary_slot,
        wraps: Vec::new(),
        life: Life::default(),
    })
}

pub(super) fn fill_random(bytes: &mut [u8]) -> Result<(), VolumeError> {
    getrandom::fill(bytes).map_err(|source| VolumeError::Crypto(crate::crypto::CryptoError::Random(source)))
}
