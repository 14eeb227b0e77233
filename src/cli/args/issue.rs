//! Arguments of the commands that make and withdraw certificates of nodes: `peer init-ca`, `issue`, `revoke-certificate`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::config::peers::check_address;
use crate::cluster::identity::NodeName;

/// The verbs; none of them asks a daemon.
#[derive(Debug, Subcommand)]
pub enum IssueCommand {
    /// Make an authority for a cluster, and a folder of keys and certificates for each of its nodes
    InitCa(InitCaArgs),
    /// Add a node to such a cluster, or renew certificates
    Issue(IssueArgs),
    /// Withdraw the certificates of a node
    RevokeCertificate(RevokeArgs),
}

/// A node, and where it is dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAt {
    /// Its name.
    pub name: NodeName,
    /// `HOST:PORT`.
    pub address: String,
}

/// Reads `NAME=HOST:PORT`.
fn parse_node(text: &str) -> Result<NodeAt, String> {
    let (name, address) = text.split_once('=').ok_or("a node is NAME=HOST:PORT")?;
    check_address(address)?;
    let name = name.parse().map_err(|error| format!("{error}"))?;
    Ok(NodeAt { name, address: address.to_owned() })
}

/// Arguments of `peer init-ca`.
#[derive(Clone, Debug, Args)]
pub struct InitCaArgs {
    /// Name of the cluster
    #[arg(long, value_name = "NAME")]
    pub cluster: String,
    /// A node that keeps replicas, and where others dial it; repeatable
    #[arg(long = "node", value_name = "NAME=HOST:PORT", required = true, value_parser = parse_node)]
    pub nodes: Vec<NodeAt>,
    /// A node that votes and has no keys; repeatable
    #[arg(long = "witness", value_name = "NAME=HOST:PORT", value_parser = parse_node)]
    pub witnesses: Vec<NodeAt>,
    /// The node that leads [default: the first --node]
    #[arg(long, value_name = "NAME")]
    pub lead: Option<NodeName>,
    /// Directory to make everything in
    #[arg(long, value_name = "DIR")]
    pub into: PathBuf,
    /// Where each node will have its folder; written into its configuration
    #[arg(long, value_name = "PATH", default_value = "/etc/keymoult/peers")]
    pub folder: PathBuf,
    /// Days that certificates of nodes are good
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
}

/// Arguments of `peer issue`.
#[derive(Clone, Debug, Args)]
pub struct IssueArgs {
    /// The directory that `peer init-ca` made
    #[arg(long, value_name = "DIR")]
    pub ca: PathBuf,
    /// A new node that keeps replicas; repeatable
    #[arg(long = "node", value_name = "NAME=HOST:PORT", value_parser = parse_node, required_unless_present_any = ["witnesses", "renew"])]
    pub nodes: Vec<NodeAt>,
    /// A new node that votes and has no keys; repeatable
    #[arg(long = "witness", value_name = "NAME=HOST:PORT", value_parser = parse_node)]
    pub witnesses: Vec<NodeAt>,
    /// Make a new certificate for the key that this node has; repeatable
    #[arg(long, value_name = "NAME")]
    pub renew: Vec<NodeName>,
    /// Days that the certificates are good
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
}

/// Arguments of `peer revoke-certificate`.
#[derive(Clone, Debug, Args)]
pub struct RevokeArgs {
    /// The node
    pub node: NodeName,
    /// The directory that `peer init-ca` made
    #[arg(long, value_name = "DIR")]
    pub ca: PathBuf,
    /// Only the certificate with this serial number, in hexadecimal
    #[arg(long, value_name = "HEX")]
    pub serial: Option<String>,
}
