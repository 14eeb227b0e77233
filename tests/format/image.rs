//! Golden images as text: the non-zero bytes of a backing, 32 to a line behind their offset, and the length in front.
//!
//! ```text
//! keymoult image, 4096 bytes
//! 00000000 4b45594d4f554c54…
//! ```

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keymoult::engine::Disk;
use keymoult::engine::mem::MemDisk;
use keymoult::keys::{FileKek, Kek, PassphraseKek, PassphraseSource, PassphraseUse};

const LINE: usize = 32;
const BLOCK: usize = 4096;

pub type Keks = Vec<Kek>;

/// The folder with the golden images.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Bytes as text.
pub fn to_text(bytes: &[u8]) -> String {
    let mut text = format!("keymoult image, {} bytes\n", bytes.len());
    for (index, line) in bytes.chunks(LINE).enumerate() {
        if line.iter().any(|byte| *byte != 0) {
            write!(text, "{:08x} ", index * LINE).unwrap();
            line.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
            text.push('\n');
        }
    }
    text
}

/// Bytes from text.
pub fn from_text(text: &str) -> Vec<u8> {
    let mut lines = text.lines();
    let head = lines.next().unwrap().strip_prefix("keymoult image, ").unwrap();
    let mut bytes = vec![0; head.strip_suffix(" bytes").unwrap().parse().unwrap()];
    for line in lines {
        let (at, digits) = line.split_once(' ').unwrap();
        let at = usize::from_str_radix(at, 16).unwrap();
        for (index, pair) in digits.as_bytes().chunks(2).enumerate() {
            bytes[at + index] = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        }
    }
    bytes
}

/// One golden volume: its data and, if detached, its header.
pub struct Image {
    pub data: Vec<u8>,
    pub header: Option<Vec<u8>>,
}

impl Image {
    /// Loads the image `name`.
    pub fn load(name: &str) -> Image {
        let read = |suffix: &str| std::fs::read_to_string(folder().join(format!("{name}.{suffix}"))).ok();
        let data = read("km.hex").unwrap_or_else(|| panic!("tests/golden/{name}.km.hex"));
        Image { data: from_text(&data), header: read("header.hex").map(|text| from_text(&text)) }
    }

    /// Writes the image as golden files.
    pub fn store(&self, name: &str) {
        std::fs::write(folder().join(format!("{name}.km.hex")), to_text(&self.data)).unwrap();
        if let Some(header) = &self.header {
            std::fs::write(folder().join(format!("{name}.header.hex")), to_text(header)).unwrap();
        }
    }

    /// Disks in memory with a copy of it.
    pub fn disks(&self) -> (Arc<MemDisk>, Option<Arc<MemDisk>>) {
        (Arc::new(disk(&self.data)), self.header.as_ref().map(|header| Arc::new(disk(header))))
    }
}

/// A disk in memory; blocks of zeros are holes.
pub fn disk(bytes: &[u8]) -> MemDisk {
    let disk = MemDisk::new(bytes.len());
    for (block, at) in bytes.chunks(BLOCK).zip((0..).step_by(BLOCK)) {
        if block.iter().any(|byte| *byte != 0) {
            disk.write_at(at, block).unwrap();
        }
    }
    disk
}

/// Everything on a disk.
pub fn all(disk: &dyn Disk) -> Vec<u8> {
    let mut bytes = vec![0; disk.len().unwrap() as usize];
    disk.read_at(0, &mut bytes).unwrap();
    bytes
}

/// A disk as the volume takes it.
pub fn as_disk(disk: &Arc<MemDisk>) -> Arc<dyn Disk> {
    Arc::clone(disk) as Arc<dyn Disk>
}

/// The golden key file, private as a key file must be.
pub fn file_kek(folder_of_test: &Path) -> Kek {
    Kek::unwitnessed(FileKek::open(&private(folder_of_test, "kek")).unwrap())
}

/// The golden passphrase.
pub fn passphrase_kek(folder_of_test: &Path) -> Kek {
    let source = PassphraseSource::File(private(folder_of_test, "passphrase"));
    Kek::unwitnessed(PassphraseKek::open(&source, PassphraseUse::Open).unwrap())
}

/// A copy with mode 0600, which a checkout does not keep.
fn private(folder_of_test: &Path, name: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder_of_test.join(name);
    std::fs::write(&path, std::fs::read(folder().join(name)).unwrap()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[test]
fn text_comes_back() {
    let mut bytes = vec![0u8; 5000];
    (bytes[0], bytes[77], bytes[4999]) = (1, 2, 3);
    assert_eq!(from_text(&to_text(&bytes)), bytes);
    assert_eq!(to_text(&bytes).lines().count(), 4);
}
