//! Reading structures without a key: bytes from a file or disk, and the two copies of a twofold structure.
//!
//! Invariant: what cannot be read is empty bytes, which every decoder describes as damage.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::types::CopyInfo;
use crate::engine::{Disk, EngineError};
use crate::format::Damage;
use crate::format::envelope::{GENERATIONS, Kind, SUPERBLOCK, Unverified, peek};
use crate::format::layout::{GENERATIONS_COPY, SUPERBLOCK_A, SUPERBLOCK_B};
use crate::format::superblock::Superblock;
use crate::units::BLOCK;
use crate::volume::error::VolumeError;

/// Where bytes come from.
pub(in crate::volume) enum Bytes<'a> {
    /// A file nobody has locked for us.
    File(File),
    /// A disk that is open.
    Disk(&'a dyn Disk),
}

impl Bytes<'_> {
    /// Opens `path` for reading.
    pub fn open(path: &Path) -> Result<Bytes<'static>, VolumeError> {
        let failed = |source| EngineError::Open { path: path.to_owned(), source };
        // Looked at first: opening a FIFO would wait for its other end.
        let of = std::fs::metadata(path).map_err(failed)?.file_type();
        if !of.is_file() && !std::os::unix::fs::FileTypeExt::is_block_device(&of) {
            return Err(EngineError::NotStorage { path: path.to_owned() }.into());
        }
        Ok(Bytes::File(File::open(path).map_err(failed)?))
    }

    /// An open disk's bytes.
    pub fn of(disk: &dyn Disk) -> Bytes<'_> {
        Bytes::Disk(disk)
    }

    /// `len` bytes at `place`, or none if they cannot be had.
    pub fn read(&self, place: u64, len: u64) -> Vec<u8> {
        self.try_read(place, len).unwrap_or_default()
    }

    /// Bytes there are.
    fn len(&self) -> io::Result<u64> {
        match self {
            // A device's status has no size; nothing reads at the position this moves.
            Bytes::File(file) => {
                let mut position: &File = file;
                position.seek(SeekFrom::End(0))
            }
            Bytes::Disk(disk) => disk.len(),
        }
    }

    /// `len` bytes at `place`. No memory is taken for more than there is: places and lengths are claims of the metadata.
    pub fn try_read(&self, place: u64, len: u64) -> io::Result<Vec<u8>> {
        let end = self.len()?;
        if place.checked_add(len).is_none_or(|wanted| wanted > end) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0u8; len as usize];
        match self {
            Bytes::File(file) => file.read_exact_at(&mut bytes, place)?,
            Bytes::Disk(disk) => disk.read_at(place, &mut bytes)?,
        }
        Ok(bytes)
    }
}

/// Both copies of the superblock or of the generation table.
pub(in crate::volume) struct Copies {
    kind: Kind,
    /// Offsets of A and B on the header backing.
    pub places: [u64; 2],
    /// What stands there; empty where it cannot be read.
    pub bytes: [Vec<u8>; 2],
    /// What the device said where it cannot be read.
    pub errors: [Option<String>; 2],
}

impl Copies {
    /// The superblock's.
    pub fn superblocks(header: &Bytes<'_>) -> Copies {
        Copies::read(header, SUPERBLOCK, [SUPERBLOCK_A, SUPERBLOCK_B], BLOCK)
    }

    /// The generation table's.
    pub fn tables(header: &Bytes<'_>, superblock: &Superblock) -> Copies {
        let first = superblock.zones.generations.offset;
        Copies::read(header, GENERATIONS, [first, first + GENERATIONS_COPY], GENERATIONS_COPY)
    }

    fn read(header: &Bytes<'_>, kind: Kind, places: [u64; 2], len: u64) -> Copies {
        let found = places.map(|place| header.try_read(place, len).map_err(|error| error.to_string()));
        let errors = found.each_ref().map(|bytes| bytes.as_ref().err().cloned());
        Copies { kind, places, bytes: found.map(Result::unwrap_or_default), errors }
    }

    /// Both, as far as they can be judged without a key.
    pub fn peek(&self) -> [Result<Unverified<'_>, Damage>; 2] {
        self.bytes.each_ref().map(|bytes| peek(self.kind, bytes))
    }

    /// The one that counts: the newest whose CRC is right.
    pub fn newest(&self) -> Option<usize> {
        let found = self.peek();
        let sequence = |copy: &usize| found[*copy].as_ref().ok().map(|found| found.sequence);
        (0..2).filter(|copy| found[*copy].is_ok()).max_by_key(sequence)
    }

    /// Both, described.
    pub fn states(&self) -> [CopyInfo; 2] {
        let newest = self.newest();
        let found = self.peek();
        [0, 1].map(|copy| {
            let mut state = CopyInfo::of(&found[copy].as_ref().map(|found| found.sequence).map_err(Damage::clone));
            state.counts = newest == Some(copy);
            state
        })
    }
}

/// Offsets of both copies of tag page `index`.
pub(in crate::volume) fn tag_page_places(superblock: &Superblock, index: u32) -> [u64; 2] {
    let pages = u64::from(superblock.shape.tag_pages());
    [0, 1].map(|copy| superblock.zones.tags.offset + (copy * pages + u64::from(index)) * BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mem::MemDisk;

    #[test]
    fn no_memory_is_taken_for_bytes_that_are_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("header");
        std::fs::write(&path, [7; 4096]).unwrap();
        let disk = MemDisk::new(4096);
        for bytes in [Bytes::open(&path).unwrap(), Bytes::of(&disk)] {
            assert_eq!(bytes.try_read(1024, 3072).unwrap().len(), 3072);
            // More than any machine has: taking it would end the process.
            for (place, len) in [(0, 1 << 60), (u64::MAX, 1 << 60), (4096, 1), (1, 4096)] {
                assert_eq!(bytes.try_read(place, len).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
                assert!(bytes.read(place, len).is_empty());
            }
        }
    }
}
