//! Rehearsing a restore: the header is written into scratch space and opened over the live data, which are read and never
//! written.
//!
//! What it proves: the backup opens with the key given, would not be refused now, every key passes its canary on both engines, the volume
//! opens as a restored one would, and a sample of its extents reads alike on both engines; where the present header can be
//! read, that every extent has the same generation in it. Invariants: the live disks are only read; a volume that is being
//! served is looked at without its lock, so what is read of it may be changing, which makes a drill fail, never pass, in the middle
//! of a rotation.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::RawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use super::backup::expanded;
use super::error::VolumeError;
use super::open::open_disks;
use super::restore::{Ground, Prepared, Proof, Target};
use crate::crypto::EngineKind;
use crate::engine::{Disk, DiskCaps, EngineError, InlinePolicy};
use crate::keys::Kek;

/// What a drill found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drilled {
    /// The holder that was drilled.
    pub holder: [u8; 16],
    /// Why it might be restored now.
    pub ground: Ground,
    /// The rotation epoch of the backup.
    pub epoch: u64,
    /// What opened and was read.
    pub proof: Proof,
    /// Extents whose generation the present header confirms; none if it could not be asked.
    pub confirmed: Option<u64>,
    /// What a restore would say besides.
    pub notes: Vec<String>,
}

/// Rehearses restoring `backup` for the volume on `live`, its header written to `scratch`.
///
/// # Errors
/// It would not open, be refused, or not read.
pub fn drill(backup: &[u8], keks: &[Kek], live: &Target, scratch: Arc<dyn Disk>) -> Result<Drilled, VolumeError> {
    let prepared = Prepared::of(backup, keks, live)?;
    scratch.set_len(prepared.header_len()).map_err(VolumeError::io("make the scratch copy"))?;
    let rehearsal = match live.header {
        Some(_) => Target { data: Arc::clone(&live.data), header: Some(scratch) },
        None => {
            let behind = Arc::clone(&live.data);
            Target { data: Arc::new(Overlay { front: scratch, behind, len: prepared.header_len() }), header: None }
        }
    };
    prepared.write(&rehearsal)?;
    let proof = prepared.prove(&rehearsal, keks)?;
    let mut notes = prepared.notes.clone();
    let confirmed = confirm(&prepared, keks, live, &mut notes)?;
    let epoch = prepared.backup.superblock.0.epoch;
    Ok(Drilled { holder: prepared.backup.holder, ground: prepared.ground, epoch, proof, confirmed, notes })
}

/// Holds the tags of the backup against those of the header that is there.
fn confirm(
    prepared: &Prepared,
    keks: &[Kek],
    live: &Target,
    notes: &mut Vec<String>,
) -> Result<Option<u64>, VolumeError> {
    let volume = match open_disks(Arc::clone(&live.data), live.header.clone(), keks, true, EngineKind::best()) {
        Ok(volume) => volume,
        Err(error) => {
            notes.push(format!("the present header could not be compared: {error}"));
            return Ok(None);
        }
    };
    let mut tags = expanded(&prepared.backup.tags);
    match tags.find(|(extent, tag)| volume.tag(*extent) != *tag) {
        Some((extent, _)) => {
            let why = format!("extent {extent} has another generation in the present header");
            Err(VolumeError::StaleBackup { why })
        }
        None => Ok(Some(u64::from(volume.shape().extents()))),
    }
}

/// The front of one disk over another.
struct Overlay {
    front: Arc<dyn Disk>,
    behind: Arc<dyn Disk>,
    len: u64,
}

impl Overlay {
    fn of(&self, offset: u64) -> &dyn Disk {
        if offset < self.len { &*self.front } else { &*self.behind }
    }
}

impl Disk for Overlay {
    fn len(&self) -> io::Result<u64> {
        self.behind.len()
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.of(offset).read_at(offset, data)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match offset + data.len() as u64 <= self.len {
            true => self.front.write_at(offset, data),
            false => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
        }
    }

    fn flush(&self) -> io::Result<()> {
        self.front.flush()
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.zero_range(offset, len)
    }

    fn zero_range(&self, offset: u64, len: u64) -> io::Result<()> {
        match offset + len <= self.len {
            true => self.front.zero_range(offset, len),
            false => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
        }
    }

    fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<u64>> {
        self.of(offset).next_data(offset, end)
    }

    fn next_hole(&self, offset: u64, end: u64) -> io::Result<u64> {
        self.of(offset).next_hole(offset, end)
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.behind.drop_cache()
    }

    fn fd(&self) -> Option<RawFd> {
        None
    }

    fn caps(&self) -> DiskCaps {
        self.behind.caps()
    }
}

/// A file or block device that is looked at without its lock.
pub struct Onlooker {
    file: File,
    describe: String,
}

impl Onlooker {
    /// Opens `path` for reading.
    ///
    /// # Errors
    /// It cannot be opened, or is neither a file nor a block device.
    pub fn open(path: &Path) -> Result<Onlooker, EngineError> {
        let failed = |source| EngineError::Open { path: path.to_owned(), source };
        // Without O_NONBLOCK a FIFO would wait for its other end.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
        let of = file.metadata().map_err(failed)?.file_type();
        match of.is_file() || of.is_block_device() {
            true => Ok(Onlooker { file, describe: format!("{}, looked at without its lock", path.display()) }),
            false => Err(EngineError::NotStorage { path: path.to_owned() }),
        }
    }
}

fn only_looked_at<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for Onlooker {
    fn len(&self) -> io::Result<u64> {
        // Nothing reads at the position this moves.
        (&self.file).seek(SeekFrom::End(0))
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        only_looked_at()
    }

    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(data, offset)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        only_looked_at()
    }

    fn flush(&self) -> io::Result<()> {
        only_looked_at()
    }

    fn punch(&self, _: u64, _: u64) -> io::Result<()> {
        only_looked_at()
    }

    fn zero_range(&self, _: u64, _: u64) -> io::Result<()> {
        only_looked_at()
    }

    fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<u64>> {
        Ok((offset < end).then_some(offset))
    }

    fn next_hole(&self, _: u64, end: u64) -> io::Result<u64> {
        Ok(end)
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?)
    }

    fn fd(&self) -> Option<RawFd> {
        None
    }

    fn caps(&self) -> DiskCaps {
        DiskCaps {
            align: 1,
            inline: InlinePolicy::Always,
            granule: 0,
            granule_source: "nobody",
            punches: false,
            rotational: false,
            describe: self.describe.clone(),
        }
    }
}
