//! Arguments of header backups, holders, escrow and drills.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Where a command that works without a daemon leaves its record.
#[derive(Clone, Debug, Default, Args)]
pub struct RecordArgs {
    /// Directory of the record of this command [default: $KEYMOULT_STATE_DIR or /var/lib/keymoult]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// A volume that a daemon serves, or, with keys, one that nobody serves.
#[derive(Clone, Debug, Args)]
pub struct VolumeArgs {
    /// Export name of a volume that a daemon serves; with --kek the backing of one that nobody serves
    #[arg(value_name = "VOLUME")]
    pub volume: PathBuf,
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

/// Arguments of `volume header-backup`.
#[derive(Clone, Debug, Args)]
pub struct HeaderBackupArgs {
    /// Which volume.
    #[command(flatten)]
    pub of: VolumeArgs,
    /// The file to make; it must not exist
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// What the list of holders calls it [default: its path]
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
}

/// Arguments of `volume header-restore`.
#[derive(Clone, Debug, Args)]
pub struct HeaderRestoreArgs {
    /// Backing of the volume, which nobody serves
    pub path: PathBuf,
    /// The backup
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
    /// Key that opens it; repeatable
    #[arg(long = "kek", value_name = "URI", required = true)]
    pub keks: Vec<String>,
    /// Its detached header; made if it is missing
    #[arg(long, value_name = "FILE")]
    pub header: Option<PathBuf>,
    /// Why; recorded
    #[arg(long)]
    pub reason: Option<String>,
    /// Where it is recorded.
    #[command(flatten)]
    pub record: RecordArgs,
}

/// The verbs of `key holder`.
#[derive(Debug, Subcommand)]
pub enum HolderCommand {
    /// List what holds keys of a volume outside it: header backups, escrow bundles, declared snapshots
    List {
        /// Which volume.
        #[command(flatten)]
        of: VolumeArgs,
    },
    /// Declare a snapshot of the backing, which holds ciphertext and wrapped keys
    Add {
        /// Which volume.
        #[command(flatten)]
        of: VolumeArgs,
        /// What it is called
        #[arg(long, value_name = "TEXT")]
        label: String,
        /// The oldest generation in it [default: the oldest that has a key]
        #[arg(long, value_name = "N", requires = "last")]
        first: Option<u32>,
        /// The newest generation in it [default: the newest that has a key]
        #[arg(long, value_name = "N", requires = "first")]
        last: Option<u32>,
    },
    /// Declare a holder gone: it pins no generation any more
    Release {
        /// Which volume.
        #[command(flatten)]
        of: VolumeArgs,
        /// Its id, or the first digits of it
        #[arg(long, value_name = "ID")]
        holder: String,
    },
}

/// Arguments of `key export-escrow`.
#[derive(Clone, Debug, Args)]
pub struct ExportEscrowArgs {
    /// Which volume.
    #[command(flatten)]
    pub of: VolumeArgs,
    /// The bundle to make; it must not exist
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// Who can open it, as age-keygen prints it: age1…; repeatable. Passphrases are refused
    #[arg(long = "recipient", value_name = "age1…", required = true)]
    pub recipients: Vec<String>,
    /// How many of them it takes
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=255))]
    pub threshold: u32,
    /// What the list of holders calls it [default: its path]
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
}

/// Arguments of `key import-escrow`.
#[derive(Clone, Debug, Args)]
pub struct ImportEscrowArgs {
    /// The bundle
    pub bundle: PathBuf,
    /// Backing of the volume, which nobody serves
    pub path: PathBuf,
    /// Identity file of a recipient, as age-keygen writes it; repeatable
    #[arg(long = "identity", value_name = "FILE", required = true)]
    pub identities: Vec<PathBuf>,
    /// Key that shall wrap the volume's keys from now on, in place of all before; repeatable
    #[arg(long = "kek", value_name = "URI", required = true)]
    pub keks: Vec<String>,
    /// Make the key file of a file: URI if it is missing
    #[arg(long)]
    pub new_kek: bool,
    /// Its detached header; made if it is missing
    #[arg(long, value_name = "FILE")]
    pub header: Option<PathBuf>,
    /// Why; recorded
    #[arg(long)]
    pub reason: Option<String>,
    /// Where it is recorded.
    #[command(flatten)]
    pub record: RecordArgs,
}

/// The verbs of `drill`.
#[derive(Debug, Subcommand)]
pub enum DrillCommand {
    /// Rehearse restoring a header backup or an escrow bundle; nothing of the volume is written but the note that it was done
    Restore(DrillArgs),
}

/// Arguments of `drill restore`.
#[derive(Clone, Debug, Args)]
pub struct DrillArgs {
    /// Export name of a volume that a daemon serves, or the backing of one that nobody serves
    #[arg(value_name = "VOLUME")]
    pub volume: PathBuf,
    /// The header backup or escrow bundle
    #[arg(long, value_name = "FILE")]
    pub bundle: PathBuf,
    /// Identity file of a recipient of the bundle; repeatable
    #[arg(long = "identity", value_name = "FILE")]
    pub identities: Vec<PathBuf>,
    /// Key that opens the header backup; repeatable
    #[arg(long = "kek", value_name = "URI")]
    pub keks: Vec<String>,
    /// Detached header of a volume that nobody serves
    #[arg(long, value_name = "FILE")]
    pub header: Option<PathBuf>,
    /// Directory for the copy of the header, removed afterwards [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
    /// Why; recorded
    #[arg(long)]
    pub reason: Option<String>,
    /// Where it is recorded.
    #[command(flatten)]
    pub record: RecordArgs,
}
