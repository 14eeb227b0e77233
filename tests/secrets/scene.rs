//! The scene of a search: a volume whose KEKs the test chose and whose data keys it can open, and a daemon that talks as much
//! as it can and would leave a core if it could.

use super::needles::{Needle, raw, spelled};
use super::support::{Store, Volume, keymoult, run};
use keymoult::crypto::{Secret, kdf};
use keymoult::format::envelope::{GENERATIONS, SUPERBLOCK, peek};
use keymoult::format::generations::GenerationTable;
use keymoult::format::layout::{GENERATIONS_COPY, SUPERBLOCK_A, SUPERBLOCK_B};
use keymoult::format::superblock::Superblock;
use keymoult::keys::{FileKek, Kek, WrapPurpose};
use keymoult::units::BLOCK;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A KEK no random source gives.
pub const KEK: [u8; 32] = [
    0xc3, 0x5e, 0x91, 0x27, 0xb8, 0x4d, 0xf2, 0x06, 0x7a, 0xe9, 0x13, 0xd4, 0x68, 0xaf, 0x35, 0x9c, 0x41, 0xd8, 0x0f,
    0xb2, 0x76, 0xea, 0x59, 0x84, 0x1d, 0xc7, 0x3b, 0xf6, 0x62, 0x98, 0xae, 0x05,
];
/// A passphrase nobody else writes.
pub const PASSPHRASE: &str = "planted-Ql7vEw93-correct-Zt4x-horse";

/// Writes a file that its owner alone may read.
pub fn private(path: &Path, contents: &str) {
    fs::write(path, contents).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The line of a key file with the planted KEK.
pub fn key_line() -> String {
    let digits: String = KEK.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("keymoult-kek-v1:{digits}\n")
}

/// A store with the planted key file and passphrase file, and a volume that either opens.
pub fn planted_volume(store: &Store) -> Volume {
    private(&store.path("kek"), &key_line());
    private(&store.path("pass"), &format!("{PASSPHRASE}\n"));
    let path = store.path("vol.km");
    let mut create = keymoult();
    create.args(["volume", "create"]).arg(&path).args(["--size", "32MiB", "--extent-size", "64KiB"]);
    create.args(["--kek", &store.kek(), "--kek", &passphrase_uri(store)]);
    let output = run(&mut create);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Volume { name: "vol".into(), path, header: None, size: 32 << 20 }
}

pub fn passphrase_uri(store: &Store) -> String {
    format!("passphrase:file={}", store.path("pass").display())
}

/// A script in front of the real binary: trace log, cores allowed, the store as working directory.
pub fn talkative(store: &Store, more: &str) -> PathBuf {
    let path = store.path("talkative");
    let binary = PathBuf::from(keymoult().get_program());
    let script = format!(
        "#!/bin/sh\ncd '{}' && ulimit -c unlimited\n{more}KEYMOULT_LOG=trace exec '{}' \"$@\"\n",
        store.path("").display(),
        binary.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// The volume's secrets: the KEK, the passphrase and what it derives, the metadata key and every data key.
pub fn secrets(volume: &Volume, kek: &Kek) -> Vec<(String, Vec<u8>)> {
    let (superblock, table) = table(&volume.path);
    let mut all = vec![("KEK".to_owned(), KEK.to_vec()), ("passphrase".to_owned(), PASSPHRASE.as_bytes().to_vec())];
    for entry in &table.entries {
        let purpose = WrapPurpose {
            volume: superblock.volume,
            generation: entry.generation,
            key_id: entry.key_id,
            suite: entry.suite,
        };
        let wrap = entry.wraps.iter().find(|wrap| kek.could_open(wrap)).unwrap();
        let key = kek.unwrap(&purpose, wrap).unwrap();
        all.push((format!("DEK of generation {}", entry.generation), key.expose().to_vec()));
        for wrap in entry.wraps.iter().filter(|wrap| wrap.provider == 2) {
            all.push((format!("passphrase KEK of generation {}", entry.generation), derived(&wrap.blob)));
        }
    }
    assert!(all.len() >= 6, "metadata key and data key, each under both KEKs");
    all
}

/// The planted key file's KEK.
pub fn planted_kek(store: &Store) -> Kek {
    Kek::unwitnessed(FileKek::open(&store.path("kek")).unwrap())
}

fn derived(blob: &[u8]) -> Vec<u8> {
    let number = |at: usize| u32::from_le_bytes(blob[at..at + 4].try_into().unwrap());
    let params = kdf::Argon2Params { p: blob[1].into(), m_kib: number(4), t: number(8) };
    let secret = Secret::filled(PASSPHRASE.len(), |bytes| bytes.copy_from_slice(PASSPHRASE.as_bytes()));
    kdf::passphrase(&secret, blob[12..28].try_into().unwrap(), params).unwrap().expose().to_vec()
}

/// Superblock and generation table that count, as they stand on disk.
fn table(path: &Path) -> (Superblock, GenerationTable) {
    let file = File::open(path).unwrap();
    let read = |place: u64, len: u64| {
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, place).unwrap();
        bytes
    };
    let copies = [SUPERBLOCK_A, SUPERBLOCK_B].map(|place| read(place, BLOCK));
    let newest =
        copies.iter().filter_map(|bytes| peek(SUPERBLOCK, bytes).ok()).max_by_key(|copy| copy.sequence).unwrap();
    let superblock = Superblock::decode(&newest).unwrap();
    let first = superblock.zones.generations.offset;
    let copies = [first, first + GENERATIONS_COPY].map(|place| read(place, GENERATIONS_COPY));
    let newest =
        copies.iter().filter_map(|bytes| peek(GENERATIONS, bytes).ok()).max_by_key(|copy| copy.sequence).unwrap();
    (superblock, GenerationTable::decode(&newest).unwrap())
}

/// All secrets in all spellings.
pub fn all_spelled(secrets: &[(String, Vec<u8>)]) -> Vec<Needle> {
    secrets.iter().flat_map(|(name, secret)| spelled(name, secret)).collect()
}

/// All secrets as they are.
pub fn all_raw(secrets: &[(String, Vec<u8>)]) -> Vec<Needle> {
    secrets.iter().flat_map(|(name, secret)| raw(name, secret)).collect()
}
