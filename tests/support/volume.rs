//! A folder with a key file and volumes in it, made by the real `keymoult volume create`.

use super::process::{run, succeed};
use super::{MIB, keymoult};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where a test keeps its volumes, its key file and its sockets; gone when dropped.
pub struct Store {
    folder: tempfile::TempDir,
    kek: Option<String>,
}

/// What a volume is made with. The default is 32 MiB of 64 KiB extents, 4096-byte sectors, AES-256.
#[derive(Clone, Debug)]
pub struct VolumeOptions {
    /// Size in bytes.
    pub size: u64,
    /// Bytes it may grow to, if it may.
    pub max_size: Option<u64>,
    /// Extent size in bytes.
    pub extent_size: u64,
    /// Data unit in bytes.
    pub sector_size: u32,
    /// Cipher suite by its command-line name.
    pub cipher: &'static str,
    /// Whether the metadata go to a header file of their own.
    pub detached: bool,
}

impl Default for VolumeOptions {
    fn default() -> VolumeOptions {
        let cipher = "aes-256-xts";
        let (size, extent_size) = (32 * MIB, 64 << 10);
        VolumeOptions { size, max_size: None, extent_size, sector_size: 4096, cipher, detached: false }
    }
}

/// A volume on disk: its export name and where its parts are.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Export name: the file stem.
    pub name: String,
    /// The backing.
    pub path: PathBuf,
    /// The detached header, if it has one.
    pub header: Option<PathBuf>,
    /// Size in bytes.
    pub size: u64,
}

impl Store {
    /// A new folder under the temporary folder of the system (a disk: O_DIRECT and the ring are used).
    pub fn new() -> Store {
        Store::under(&std::env::temp_dir())
    }

    /// A new folder under `parent`, for example `/dev/shm`.
    pub fn under(parent: &Path) -> Store {
        // A short prefix: a socket path holds 107 bytes.
        let folder = tempfile::Builder::new().prefix("km").tempdir_in(parent).unwrap();
        Store { folder, kek: None }
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// From now on another KEK than the store's key file.
    pub fn use_kek(&mut self, uri: String) {
        self.kek = Some(uri);
    }

    /// The KEK's URI: one key file for the whole store, unless another is used.
    pub fn kek(&self) -> String {
        self.kek.clone().unwrap_or_else(|| format!("file:{}", self.path("kek").display()))
    }

    /// Creates a volume; the first one makes the key file too.
    #[track_caller]
    pub fn create(&self, name: &str, options: &VolumeOptions) -> Volume {
        let path = self.path(&format!("{name}.km"));
        let header = options.detached.then(|| self.path(&format!("{name}.header")));
        let mut command = keymoult();
        command.args(["volume", "create"]).arg(&path);
        command.args(["--size", &options.size.to_string(), "--extent-size", &options.extent_size.to_string()]);
        command.args(["--sector-size", &options.sector_size.to_string(), "--cipher", options.cipher]);
        command.args(["--kek", &self.kek()]);
        if self.kek.is_none() && !self.path("kek").exists() {
            command.arg("--new-kek");
        }
        if options.cipher == "none" {
            command.arg("--i-know-this-is-plaintext");
        }
        if let Some(max) = options.max_size {
            command.args(["--max-size", &max.to_string()]);
        }
        if let Some(header) = &header {
            command.arg("--header").arg(header);
        }
        succeed(&mut command);
        Volume { name: name.into(), path, header, size: options.size }
    }

    /// `keymoult volume check --full` of a volume that nobody serves.
    #[track_caller]
    pub fn check(&self, volume: &Volume) -> Output {
        let mut command = keymoult();
        command.args(["volume", "check"]).arg(&volume.path).args(["--full", "--kek", &self.kek()]);
        if let Some(header) = &volume.header {
            command.arg("--header").arg(header);
        }
        run(&mut command)
    }

    /// [`Store::check`] of a volume in which nothing may be found.
    #[track_caller]
    pub fn passes(&self, volume: &Volume) {
        let output = self.check(volume);
        let words = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        assert!(output.status.success(), "{}{}", words[0], words[1]);
    }
}
