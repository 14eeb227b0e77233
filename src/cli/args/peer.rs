//! Arguments of `peer …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{IssueCommand, ReasonArgs};
use crate::cli::size::{Rate, parse_rate};

/// The verbs of `peer`.
#[derive(Debug, Subcommand)]
pub enum PeerCommand {
    /// Certificates of nodes
    #[command(flatten)]
    Issue(IssueCommand),
    /// Show this node, its links and its replicated volumes
    List,
    /// Show who holds replicas of a volume, what is waited for, and what to do
    Status {
        /// Export name of the volume [default: all that are replicated]
        volume: Option<String>,
    },
    /// Make this node the lead of a volume, by promises of a majority
    Promote(ReasonArgs),
    /// Go on without a node, for good; on the lead
    Expel(ExpelArgs),
    /// Take a node in; on the lead
    Admit(AdmitArgs),
    /// Give up a new key that is prepared and not active yet; on the lead
    Abandon(ReasonArgs),
    /// Seal the keys of a volume to nodes that shall make replicas
    Invite(InviteArgs),
    /// Compare the replicas of a volume
    Check(PeerCheckArgs),
    /// Keep every node from beginning a change; takes a coordinator
    Freeze {
        /// Why; recorded, and shown to everybody who is kept from something
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// End that
    Unfreeze {
        /// Why; recorded
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Believe a coordinator that holds less of a volume than it did; on every node
    AcceptHistory {
        /// Export name of the volume
        volume: String,
        /// Why; recorded
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Take back a leave to rotate from a node that is gone; takes a coordinator
    ReleaseToken {
        /// Identity of the volume, as `peer list` shows it
        volume: String,
        /// The node that has it
        node: String,
        /// Why; recorded
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// Arguments of `peer expel`.
#[derive(Clone, Debug, Args)]
pub struct ExpelArgs {
    /// Export name of the volume
    pub volume: String,
    /// The node; it never comes back under that name
    pub node: String,
    /// Why; recorded
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// Arguments of `peer admit`.
#[derive(Clone, Debug, Args)]
pub struct AdmitArgs {
    /// Export name of the volume
    pub volume: String,
    /// The node's public line, as `peer list` shows it there
    pub public: String,
    /// Where it is reached [default: as the configuration says]
    #[arg(long, value_name = "HOST:PORT")]
    pub address: Option<String>,
    /// It votes, and holds no keys
    #[arg(long)]
    pub witness: bool,
    /// Why; recorded
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// Arguments of `peer invite`.
#[derive(Clone, Debug, Args)]
pub struct InviteArgs {
    /// Export name of the volume
    pub volume: String,
    /// A node that may open it; repeatable
    #[arg(long = "node", value_name = "NODE", required = true)]
    pub nodes: Vec<String>,
    /// The file to make; it must not exist
    #[arg(long, value_name = "FILE")]
    pub into: PathBuf,
    /// Why; recorded
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// Arguments of `peer check`.
#[derive(Clone, Debug, Args)]
pub struct PeerCheckArgs {
    /// Export name of the volume
    pub volume: String,
    /// Compare what clients would read, too, not the generations of extents alone
    #[arg(long)]
    pub data: bool,
    /// Have each replica read at most so much per second [default: 200MiB]
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub rate: Option<Rate>,
    /// Why; recorded
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}
