//! Arguments of the verbs that move a key through its life: `key retire` to `key reinstate`, and `key verify-proof`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::cli::size;

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum LifeCommand {
    /// Prove that nothing needs a key, and take it out of memory
    Retire(KeyArgs),
    /// Bring a retired key back into memory
    Restore(KeyArgs),
    /// Give the destruction of a retired key a date
    Schedule(ScheduleArgs),
    /// Withdraw that date
    Cancel(KeyArgs),
    /// Erase a key that is due, and prove that nothing of it is left
    Destroy(DestroyArgs),
    /// Mark a key as known to others, and re-encrypt what it encrypts
    Compromise(CompromiseArgs),
    /// Withdraw a key, whatever it encrypts: its extents answer EIO
    Revoke(KeyArgs),
    /// Give a withdrawn key back
    Reinstate(ReinstateArgs),
    /// Check a statement that `key retire` has signed
    VerifyProof {
        /// Export name of the volume
        volume: String,
        /// The statement's file
        file: PathBuf,
    },
}

/// A key of a volume, and why.
#[derive(Clone, Debug, Args)]
pub struct KeyArgs {
    /// Export name of the volume
    pub volume: String,
    /// Which generation; `key list` shows them
    pub generation: u32,
    /// Why; recorded
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// Arguments of `key schedule`.
#[derive(Clone, Debug, Args)]
pub struct ScheduleArgs {
    /// Which key, and why.
    #[command(flatten)]
    pub key: KeyArgs,
    /// When, from now, such as 3d or 12h [default: the policy's delay, 7d]
    #[arg(long, value_name = "TIME", value_parser = parse_delay, conflicts_with = "now")]
    pub after: Option<Delay>,
    /// At once; takes --i-know-this-cannot-be-undone
    #[arg(long, requires = "i_know_this_cannot_be_undone")]
    pub now: bool,
    /// Mean a delay below the policy's; takes --reason
    #[arg(long, requires = "reason")]
    pub i_know_this_cannot_be_undone: bool,
}

/// Arguments of `key destroy`.
#[derive(Clone, Debug, Args)]
pub struct DestroyArgs {
    /// Which key, and why.
    #[command(flatten)]
    pub key: KeyArgs,
    /// Although a header backup, an escrow bundle or a snapshot holds the key; takes --reason
    #[arg(long, requires = "reason")]
    pub despite_holders: bool,
    /// Although its date has not come; takes --reason
    #[arg(long, requires = "reason")]
    pub i_know_this_cannot_be_undone: bool,
}

/// Arguments of `key compromise`.
#[derive(Clone, Debug, Args)]
pub struct CompromiseArgs {
    /// Which key, and why.
    #[command(flatten)]
    pub key: KeyArgs,
    /// Take the mark away; takes --break-glass
    #[arg(long, requires = "break_glass")]
    pub undo: bool,
    /// Undo knowingly what protects data; takes --reason
    #[arg(long, requires_all = ["undo", "reason"])]
    pub break_glass: bool,
}

/// Arguments of `key reinstate`.
#[derive(Clone, Debug, Args)]
pub struct ReinstateArgs {
    /// Which key, and why.
    #[command(flatten)]
    pub key: KeyArgs,
    /// Undo knowingly what protects data; takes --reason
    #[arg(long, requires = "reason")]
    pub break_glass: bool,
}

/// A delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay(pub Duration);

fn parse_delay(text: &str) -> Result<Delay, String> {
    match size::parse_time(text)? {
        Some(delay) => Ok(Delay(delay)),
        None => Err("a key that shall stay is not scheduled".into()),
    }
}
