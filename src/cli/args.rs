//! The arguments, as clap reads them: the top level, and what every command takes.
//!
//! Invariants: `--json` and `--control` may stand anywhere on the line; no secret is ever an argument (a KEK URI names where
//! one is); the table of `keymoult --help` names every command (a test holds it against this tree).

mod backup;
mod life;
mod rotate;
mod serve;
mod volume;
mod wraps;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use backup::{
    DrillArgs, DrillCommand, ExportEscrowArgs, HeaderBackupArgs, HeaderRestoreArgs, HolderCommand, ImportEscrowArgs,
    RecordArgs, VolumeArgs,
};
pub use life::{KeyArgs, LifeCommand};
pub use rotate::{OrderChoice, PaceArgs, RangeArg, ReasonArgs, RotateArgs, RotateCommand, StartArgs, WaitArgs};
pub use serve::{CacheChoice, CryptoChoice, IdleTime, IoChoice, KekPatience, ServeArgs, TlsChoice, Unavailable};
pub use volume::{
    CheckArgs, Cipher, CreateArgs, InfoArgs, ModeChoice, NewSize, ProveArgs, ResizeArgs, SpeedArgs, VolumeCommand,
};
pub use wraps::{RewrapArgs, WrapAddArgs, WrapRemoveArgs, WrapTarget};

use super::help;
use super::names::parse_control;
use crate::control::audit::Head;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "keymoult",
    version,
    about = "Encrypted block volumes over NBD that shed old keys while in use",
    disable_help_subcommand = true,
    max_term_width = 100,
    help_template = "{about}\n\nUsage: {usage}{after-help}\n\nEverywhere:\n{options}",
    after_help = help::COMMANDS
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Write results and errors as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Control socket of the daemon [default: $KEYMOULT_CONTROL or unix:/run/keymoult/control.sock]
    #[arg(long, global = true, value_name = "unix:PATH", value_parser = parse_control)]
    pub control: Option<PathBuf>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make, show, check and grow volumes
    Volume {
        /// What to do.
        #[command(subcommand)]
        command: VolumeCommand,
    },
    /// Serve volumes over NBD until told to stop
    Serve(ServeArgs),
    /// Show the daemon and its volumes
    Status(StatusArgs),
    /// Change the key of a volume while it is in use
    Rotate {
        /// What to do.
        #[command(subcommand)]
        command: RotateCommand,
    },
    /// Show keys, what becomes of them, the KEKs that wrap them, who else holds them
    Key {
        /// What to do.
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Rehearse what must work one day
    Drill {
        /// What to rehearse.
        #[command(subcommand)]
        command: DrillCommand,
    },
    /// Read and check the audit log
    Audit {
        /// What to do.
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Measure what this machine can reach
    Speed(SpeedArgs),
    /// Explain a command, or a topic: exit-codes, sizes
    Help(HelpArgs),
}

/// Arguments of `status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Show this volume only
    pub volume: Option<String>,
    /// Show it again and again
    #[arg(long)]
    pub watch: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = parse_interval)]
    pub interval: f64,
    /// Stop after so many looks
    #[arg(long, hide = true)]
    pub count: Option<u64>,
}

/// The verbs of `key`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List the key generations of a volume
    List {
        /// Export name of the volume
        volume: String,
    },
    /// What becomes of a key
    #[command(flatten)]
    Life(LifeCommand),
    /// Have another KEK open a volume instead; no data is re-encrypted
    Rewrap(RewrapArgs),
    /// Have another KEK open a volume, too
    WrapAdd(WrapAddArgs),
    /// Take a KEK's wraps away, if others are proven
    WrapRemove(WrapRemoveArgs),
    /// List and declare what holds keys of a volume outside it
    Holder {
        /// What to do.
        #[command(subcommand)]
        command: HolderCommand,
    },
    /// Seal the keys of a volume to recipients of another domain, any K of whom can open them
    ExportEscrow(ExportEscrowArgs),
    /// Take keys back from an escrow bundle, under a new KEK, restoring the header if need be
    ImportEscrow(ImportEscrowArgs),
}

/// The verbs of `audit`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Show records, the last ones unless told otherwise
    Show {
        /// Only records after this sequence
        #[arg(long, value_name = "SEQUENCE")]
        after: Option<u64>,
        /// At most so many (1000 at most)
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        limit: usize,
        /// Read this file instead of asking the daemon
        #[arg(long, value_name = "FILE")]
        log: Option<PathBuf>,
    },
    /// Check the chain of a log and name the first line that is wrong
    Verify {
        /// The log; no daemon is asked
        #[arg(long, value_name = "FILE", default_value = "/var/lib/keymoult/audit.jsonl")]
        log: PathBuf,
        /// A head noted elsewhere, which the log must still contain
        #[arg(long, value_name = "SEQUENCE:HASH")]
        expect_head: Option<Head>,
    },
}

/// Arguments of `help`.
#[derive(Clone, Debug, Args)]
pub struct HelpArgs {
    /// A command, such as `rotate start`, or a topic
    pub topic: Vec<String>,
}

/// Reads a pause between two looks: 0.05 to 3600 seconds.
pub(super) fn parse_interval(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.05..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("it is a number of seconds from 0.05 to 3600".into()),
    }
}
