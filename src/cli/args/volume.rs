//! Arguments of the commands that work on a volume's files: `volume …` and `speed`.
//!
//! Invariants: what is impossible whatever the backing is refused by [`CreateArgs::check`], before anything is opened.

use std::fmt;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::backup::{HeaderBackupArgs, HeaderRestoreArgs, RecordArgs};
use crate::cli::failure::{Failure, bad_input};
use crate::cli::size;
use crate::limits::{EXTENT_DEFAULT, EXTENT_MAX, EXTENT_MIN, EXTENTS_MAX, VOLUME_MIN};

/// The verbs of `volume`.
#[derive(Debug, Subcommand)]
pub enum VolumeCommand {
    /// Make an encrypted volume in a new file or on a block device
    Create(CreateArgs),
    /// Say what a volume is; without a key, what can be said without one
    Info(InfoArgs),
    /// Check a volume that nobody serves; with --online, one that a daemon serves
    Check(CheckArgs),
    /// Prove that a key can be had from nothing, and is the right one; also while a daemon serves the volume
    Prove(ProveArgs),
    /// Make a volume larger, served or not; it never shrinks
    Resize(ResizeArgs),
    /// Back the header up into a file, catalogued among the holders of the volume's keys
    HeaderBackup(HeaderBackupArgs),
    /// Restore a header from a backup, unless that would decrypt to garbage
    HeaderRestore(HeaderRestoreArgs),
}

/// Cipher suites.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cipher {
    /// XTS-AES-256 (IEEE 1619)
    #[default]
    #[value(name = "aes-256-xts")]
    #[serde(rename = "aes-256-xts")]
    Aes256Xts,
    /// XTS-AES-128 (IEEE 1619)
    #[value(name = "aes-128-xts")]
    #[serde(rename = "aes-128-xts")]
    Aes128Xts,
    /// No encryption; needs --i-know-this-is-plaintext
    None,
}

/// How rotations rewrite extents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModeChoice {
    /// In place where the backing vouches for an atomic write, else by journal
    #[default]
    Auto,
    /// In place, under fingerprint intents
    InPlace,
    /// Through the ring: twice the writes, no demand on the backing
    Journal,
}

macro_rules! word {
    ($($choice:ty),*) => {$(
        impl fmt::Display for $choice {
            /// The word of the command line.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.to_possible_value() {
                    Some(value) => f.write_str(value.get_name()),
                    None => Ok(()),
                }
            }
        }
    )*};
}
word!(Cipher, ModeChoice, super::IoChoice, super::CryptoChoice, super::CacheChoice, super::OrderChoice);

/// Arguments of `volume create`.
#[derive(Clone, Debug, Args)]
pub struct CreateArgs {
    /// A new file, or a block device
    pub path: PathBuf,
    /// Size of the virtual disk, such as 10GiB; a block device gives its own
    #[arg(long, value_parser = size::parse)]
    pub size: Option<u64>,
    /// KEK that wraps the volume's keys: file:/path, passphrase:[file=/path], systemd-cred:NAME, pkcs11:…, vault://…, kmip://…; repeatable, any one opens
    #[arg(long = "kek", value_name = "URI", required = true)]
    pub keks: Vec<String>,
    /// Make the key file of a file: URI if it is missing
    #[arg(long)]
    pub new_kek: bool,
    /// Cipher suite
    #[arg(long, value_enum, default_value_t)]
    pub cipher: Cipher,
    /// Size of an extent, the unit of re-encryption: a power of two from 64KiB to 64MiB
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "1MiB")]
    pub extent_size: u64,
    /// Size of a sector, which is the data unit of encryption: 512 or 4096
    #[arg(long, visible_alias = "data-unit", value_name = "BYTES", value_parser = parse_sector, default_value = "4096")]
    pub sector_size: u32,
    /// Keep the metadata in this new file instead of in front of the data
    #[arg(long, value_name = "FILE")]
    pub header: Option<PathBuf>,
    /// Reserve metadata for growth up to this size
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub max_size: Option<u64>,
    /// How rotations rewrite extents
    #[arg(long, value_enum, default_value_t)]
    pub mode: ModeChoice,
    /// Skip zeroing the data area: it reads as zeros already
    #[arg(long)]
    pub assume_zeroed: bool,
    /// Allow --cipher none
    #[arg(long)]
    pub i_know_this_is_plaintext: bool,
    /// Make a replica from an invite (`peer invite`), which gives size, cipher and keys
    #[arg(long, value_name = "FILE", requires = "peers", conflicts_with_all = ["size", "max_size", "cipher", "i_know_this_is_plaintext"])]
    pub replica_of: Option<PathBuf>,
    /// Configuration whose [peers] says which node opens the invite
    #[arg(long, value_name = "FILE", requires = "replica_of")]
    pub peers: Option<PathBuf>,
    /// Configuration whose [policy] says which cipher suites are allowed
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where it is recorded.
    #[command(flatten)]
    pub record: RecordArgs,
}

impl CreateArgs {
    /// Refuses what no backing could make good.
    pub fn check(&self) -> Result<(), Failure> {
        check_plaintext(self.cipher, self.i_know_this_is_plaintext)?;
        if !self.extent_size.is_power_of_two() || !(EXTENT_MIN..=EXTENT_MAX).contains(&self.extent_size) {
            return Err(bad_input(format!("an extent of {} bytes is not possible", self.extent_size))
                .at("--extent-size")
                .hint(format!(
                    "it is a power of two from 64KiB to 64MiB, {} unless given",
                    size::bytes(EXTENT_DEFAULT)
                )));
        }
        if let Some(bytes) = self.size {
            self.check_size(bytes, "--size")?;
        }
        match (self.size, self.max_size) {
            (Some(bytes), Some(max)) if max < bytes => {
                Err(bad_input(format!("the volume may grow to {max} bytes, but starts with {bytes}")).at("--max-size"))
            }
            (_, Some(max)) => self.check_size(max, "--max-size"),
            _ => Ok(()),
        }
    }

    fn check_size(&self, bytes: u64, flag: &str) -> Result<(), Failure> {
        let sector = u64::from(self.sector_size);
        if !bytes.is_multiple_of(sector) {
            let down = bytes - bytes % sector;
            return Err(bad_input(format!("{bytes} bytes are no whole number of sectors of {sector} bytes"))
                .at(flag)
                .hint(format!("the nearest sizes are {down} and {}", down.saturating_add(sector))));
        }
        if bytes < VOLUME_MIN {
            return Err(bad_input(format!("{bytes} bytes are too few"))
                .at(flag)
                .hint(format!("the least is {}", size::bytes(VOLUME_MIN))));
        }
        match bytes.div_ceil(self.extent_size) > EXTENTS_MAX {
            false => Ok(()),
            true => Err(bad_input(format!("{} make more than {EXTENTS_MAX} extents", size::bytes(bytes)))
                .at(flag)
                .hint("choose a larger --extent-size")),
        }
    }
}

/// Refuses plaintext that nobody asked for in so many words, and the words without plaintext.
pub fn check_plaintext(cipher: Cipher, known: bool) -> Result<(), Failure> {
    match (cipher, known) {
        (Cipher::None, false) => Err(bad_input("cipher none writes plaintext")
            .at("--cipher none")
            .hint("add --i-know-this-is-plaintext if that is what you want")),
        (Cipher::Aes256Xts | Cipher::Aes128Xts, true) => {
            Err(bad_input("--i-know-this-is-plaintext goes with --cipher none")
                .at(format!("--cipher {cipher}"))
                .hint("drop one of the two"))
        }
        _ => Ok(()),
    }
}

fn parse_sector(text: &str) -> Result<u32, String> {
    match size::parse(text)? {
        512 => Ok(512),
        4096 => Ok(4096),
        _ => Err("a sector has 512 or 4096 bytes".into()),
    }
}

/// Arguments of `volume info`.
#[derive(Clone, Debug, Args)]
pub struct InfoArgs {
    /// Backing of the volume
    pub path: PathBuf,
    /// Its detached header
    #[arg(long, value_name = "FILE")]
    pub header: Option<PathBuf>,
}

/// Arguments of `volume check`.
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("keys").args(["keks", "online"])))]
pub struct CheckArgs {
    /// Backing of the volume; with --online its export name
    pub path: PathBuf,
    /// Its detached header
    #[arg(long, value_name = "FILE")]
    pub header: Option<PathBuf>,
    /// Key to authenticate the metadata with; repeatable
    #[arg(long = "kek", value_name = "URI")]
    pub keks: Vec<String>,
    /// Read everything: each tag page, each ring record, each extent; needs a key, or a daemon
    #[arg(long, requires = "keys")]
    pub full: bool,
    /// Rewrite a damaged twin copy from the good one; with --full, let a poisoned volume that passes be written again
    #[arg(long, requires = "keks")]
    pub repair: bool,
    /// Have the daemon check it while it serves it: clients are not stopped, its own keys are used
    #[arg(long, conflicts_with_all = ["keks", "header", "repair"])]
    pub online: bool,
    /// With --online: read at most so much per second, or unlimited [default: 200MiB]
    #[arg(long, value_name = "RATE", requires = "online", value_parser = size::parse_rate)]
    pub rate: Option<size::Rate>,
    /// Where it is recorded.
    #[command(flatten)]
    pub record: RecordArgs,
}

/// Arguments of `volume prove`.
#[derive(Clone, Debug, Args)]
pub struct ProveArgs {
    /// Backing of the volume, served or not
    pub path: PathBuf,
    /// Which generation's key
    #[arg(long, value_name = "NUMBER")]
    pub generation: u32,
    /// Key that opens it; repeatable
    #[arg(long = "kek", value_name = "URI", required = true)]
    pub keks: Vec<String>,
    /// Its detached header
    #[arg(long, value_name = "FILE")]
    pub header: Option<PathBuf>,
    /// Where it is recorded.
    #[command(flatten)]
    pub record: RecordArgs,
}

/// Arguments of `volume resize`.
#[derive(Clone, Debug, Args)]
pub struct ResizeArgs {
    /// Export name of a volume that a daemon serves; with --kek the backing of one that nobody serves
    #[arg(value_name = "VOLUME")]
    pub volume: PathBuf,
    /// The new size, such as 20GiB, or how much to add, such as +10GiB
    #[arg(long, value_parser = NewSize::parse)]
    pub size: NewSize,
    /// Key that opens the volume, which nobody serves; repeatable
    #[arg(long = "kek", value_name = "URI")]
    pub keks: Vec<String>,
    /// Its detached header
    #[arg(long, value_name = "FILE", requires = "keks")]
    pub header: Option<PathBuf>,
    /// Why; recorded
    #[arg(long)]
    pub reason: Option<String>,
    /// Where it is recorded without a daemon.
    #[command(flatten)]
    pub record: RecordArgs,
}

/// A size, or a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewSize {
    /// So many bytes.
    To(u64),
    /// So many bytes more.
    By(u64),
}

impl NewSize {
    /// Reads `20GiB` or `+10GiB`.
    fn parse(text: &str) -> Result<NewSize, String> {
        match text.strip_prefix('+') {
            Some(more) => size::parse(more).map(NewSize::By),
            None => size::parse(text).map(NewSize::To),
        }
    }
}

/// Arguments of `speed`.
#[derive(Clone, Debug, Args)]
pub struct SpeedArgs {
    /// Seconds for each measurement
    #[arg(long, value_name = "SECONDS", default_value_t = 0.25, value_parser = super::parse_interval)]
    pub seconds: f64,
    /// Measure a backing in this directory too
    #[arg(long, value_name = "DIR")]
    pub backing: Option<PathBuf>,
}
