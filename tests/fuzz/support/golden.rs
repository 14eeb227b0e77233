//! The golden images (`tests/golden`) as disks in memory, with the keys that open them and what seals their structures.

use std::sync::{Arc, OnceLock};

use keymoult::engine::Disk;
use keymoult::engine::mem::MemDisk;
use keymoult::format::envelope::{GENERATIONS, SUPERBLOCK, peek};
use keymoult::format::generations::GenerationTable;
use keymoult::format::layout::{GENERATIONS_COPY, SUPERBLOCK_A};
use keymoult::format::superblock::Superblock;
use keymoult::keys::{FileKek, Kek, WrapPurpose};
use keymoult::units::{BLOCK, Generation};
use keymoult::volume::open::MetadataKeys;

use super::files::private;

macro_rules! texts {
    ($($name:literal $(with $header:literal)?,)*) => {
        /// Data and, if detached, header of each.
        const TEXTS: &[(&str, Option<&str>)] = &[$((
            include_str!(concat!("../../golden/", $name, ".km.hex")),
            [$(Some(include_str!(concat!("../../golden/", $header))),)? None][0],
        ),)*];
    };
}

texts! {
    "attached-4096-idle",
    "attached-4096-rotating",
    "attached-512-rotating",
    "detached-512-rotating" with "detached-512-rotating.header.hex",
    "detached-journal-rotating" with "detached-journal-rotating.header.hex",
    "attached-three-generations",
    "attached-4096on512-rotating",
    "attached-128-finalized",
}

/// A volume's files.
#[derive(Clone, PartialEq, Eq)]
pub struct Files {
    /// The data backing.
    pub data: Vec<u8>,
    /// The header file, if it is one of its own.
    pub header: Option<Vec<u8>>,
}

impl Files {
    /// The file with the metadata.
    pub fn meta(&mut self) -> &mut Vec<u8> {
        self.header.as_mut().unwrap_or(&mut self.data)
    }

    /// Disks with a copy of them.
    pub fn disks(&self) -> (Arc<MemDisk>, Option<Arc<MemDisk>>) {
        (Arc::new(disk(&self.data)), self.header.as_ref().map(|header| Arc::new(disk(header))))
    }
}

/// A golden image.
pub struct Golden {
    /// Its files.
    pub files: Files,
    /// Its superblock.
    pub superblock: Superblock,
    /// What its metadata key gives.
    pub keys: MetadataKeys,
}

/// All of them.
pub fn images() -> &'static [Golden] {
    static IMAGES: OnceLock<Vec<Golden>> = OnceLock::new();
    IMAGES.get_or_init(|| TEXTS.iter().map(|(data, header)| Golden::load(data, *header)).collect())
}

/// The golden key file.
pub fn keks() -> &'static [Kek] {
    static KEKS: OnceLock<Vec<Kek>> = OnceLock::new();
    KEKS.get_or_init(|| {
        let path = private("golden-kek", include_bytes!("../../golden/kek"));
        vec![Kek::unwitnessed(FileKek::open(&path).unwrap())]
    })
}

impl Golden {
    fn load(data: &str, header: Option<&str>) -> Golden {
        let mut files = Files { data: from_text(data), header: header.map(from_text) };
        let meta = files.meta();
        let block = &meta[SUPERBLOCK_A as usize..][..BLOCK as usize];
        let superblock = Superblock::decode(&peek(SUPERBLOCK, block).unwrap()).unwrap();
        let zone = superblock.zones.generations.offset as usize;
        let table = GenerationTable::decode(&peek(GENERATIONS, &meta[zone..][..GENERATIONS_COPY as usize]).unwrap());
        let table = table.unwrap();
        let entry = table.entry(Generation::METADATA).unwrap();
        let (volume, kek) = (superblock.volume, &keks()[0]);
        let purpose = WrapPurpose { volume, generation: entry.generation, key_id: entry.key_id, suite: entry.suite };
        let wrap = entry.wraps.iter().find(|wrap| kek.could_open(wrap)).unwrap();
        let keys = MetadataKeys::derive(volume, &kek.unwrap(&purpose, wrap).unwrap());
        Golden { files, superblock, keys }
    }
}

/// Bytes from text; `tests/format/image.rs` says how.
fn from_text(text: &str) -> Vec<u8> {
    let mut lines = text.lines();
    let length = lines.next().unwrap().split(' ').nth(2).unwrap();
    let mut bytes = vec![0; length.parse().unwrap()];
    for line in lines {
        let (at, digits) = line.split_once(' ').unwrap();
        let at = usize::from_str_radix(at, 16).unwrap();
        for (index, pair) in digits.as_bytes().chunks(2).enumerate() {
            bytes[at + index] = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        }
    }
    bytes
}

/// A disk in memory; blocks of zeros are holes.
fn disk(bytes: &[u8]) -> MemDisk {
    let disk = MemDisk::new(bytes.len());
    let step = BLOCK as usize;
    // Compared whole: byte by byte takes long when instrumented.
    let zeros = vec![0; step];
    for (block, at) in bytes.chunks(step).zip((0..).step_by(step)) {
        if *block != zeros[..block.len()] {
            disk.write_at(at, block).unwrap();
        }
    }
    disk
}

/// A disk as the volume takes it.
pub fn as_disk(disk: &Arc<MemDisk>) -> Arc<dyn Disk> {
    Arc::clone(disk) as Arc<dyn Disk>
}
