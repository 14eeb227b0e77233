//! Where and how one campaign runs: the volume, its backing and its daemon, all from a seed.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::support::{MIB, ServeOptions, Store, Volume, keymoult, next, run, succeed};

/// What the backing stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// A file in the system's temporary folder, normally on a disk: direct I/O.
    File,
    /// A file on tmpfs.
    Memory,
    /// The disk whose power can be cut.
    Disk,
}

/// Bytes of the disk whose power can be cut: a volume of 8 MiB, its metadata and, in journal mode, its ring.
const DISK: u64 = 64 * MIB;

/// One campaign's surroundings.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub seed: u64,
    pub ground: Ground,
    pub mode: &'static str,
    pub sector_size: u32,
    pub detached: bool,
    pub io: &'static str,
    pub crypto_engine: &'static str,
    pub size: u64,
    pub clients: u32,
    /// How often clients flush, of a thousand requests: from never to all the time.
    pub flushes: u64,
}

impl Setting {
    /// Everything but the ground from the seed.
    pub fn draw(seed: u64, ground: Ground) -> Setting {
        let mut random = seed;
        let mut coin = || next(&mut random).is_multiple_of(2);
        Setting {
            seed,
            ground,
            mode: if coin() || coin() { "in-place" } else { "journal" },
            sector_size: if coin() { 4096 } else { 512 },
            detached: coin() && ground != Ground::Disk,
            io: if coin() { "ring" } else { "posix" },
            crypto_engine: if coin() || coin() { "aws-lc" } else { "portable" },
            size: if coin() || ground == Ground::Disk { 8 * MIB } else { 16 * MIB },
            clients: if coin() { 2 } else { 3 },
            flushes: [0, 2, 10, 80][next(&mut random) as usize % 4],
        }
    }

    /// A folder for it.
    pub fn store(&self) -> Store {
        match self.ground {
            Ground::Memory => Store::under(Path::new("/dev/shm")),
            Ground::File | Ground::Disk => Store::new(),
        }
    }

    /// Makes the backing and the volume.
    pub fn create(&self, store: &Store) -> (Volume, Option<Disk>) {
        let path = store.path("vol.km");
        let disk = (self.ground == Ground::Disk).then(|| Disk::new(DISK, &store.path("platter"), &path));
        let header = self.detached.then(|| store.path("vol.header"));
        let volume = Volume { name: "vol".into(), path, header, size: self.size };
        let mut command = keymoult();
        command.args(["volume", "create"]).arg(&volume.path).args(["--size", &self.size.to_string()]);
        command.args(["--extent-size", "64KiB", "--sector-size", &self.sector_size.to_string(), "--mode", self.mode]);
        command.args(["--new-kek", "--kek", &store.kek()]);
        if let Some(header) = &volume.header {
            command.arg("--header").arg(header);
        }
        succeed(&mut command);
        if let Some(disk) = &disk {
            let (ring, data) = (zone(&volume.path, "intent ring"), zone(&volume.path, "data"));
            disk.platter().set_zones(ring, data.start);
        }
        (volume, disk)
    }

    /// How the daemon is started.
    pub fn serve(&self) -> ServeOptions {
        ServeOptions { crypto_engine: Some(self.crypto_engine), io: Some(self.io), more: Vec::new() }
    }
}

/// Where a zone of a volume stands.
fn zone(path: &Path, name: &str) -> Range<usize> {
    let info = succeed(keymoult().args(["volume", "info", "--json"]).arg(path));
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    let zones = info["zones"].as_array().unwrap();
    let zone = zones.iter().find(|zone| zone["name"] == name).unwrap();
    let (offset, length) = (zone["offset"].as_u64().unwrap() as usize, zone["length"].as_u64().unwrap() as usize);
    offset..offset + length
}

/// `volume check --full` of a volume that nobody serves, by the program under test or another one.
pub fn check(store: &Store, volume: &Volume, binary: Option<&PathBuf>) -> Result<(), String> {
    let mut command = binary.map_or_else(keymoult, std::process::Command::new);
    command.args(["volume", "check"]).arg(&volume.path).args(["--full", "--kek", &store.kek()]);
    if let Some(header) = &volume.header {
        command.arg("--header").arg(header);
    }
    let output = run(&mut command);
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "volume check --full: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}
