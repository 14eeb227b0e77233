//! Arguments of the commands that change who may open a volume: `key rewrap`, `key wrap-add`, `key wrap-remove`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

/// Which volume, and how it is reached.
#[derive(Clone, Debug, Args)]
pub struct WrapTarget {
    /// Export name of a volume that a daemon serves; with --kek the backing of one that nobody serves
    #[arg(value_name = "VOLUME", required_unless_present = "all")]
    pub volume: Option<PathBuf>,
    /// All volumes of the daemon; a failure of one does not stop the others
    #[arg(long, conflicts_with_all = ["volume", "keks"])]
    pub all: bool,
    /// With --all: so many volumes at a time
    #[arg(long, value_name = "N", default_value_t = 4, requires = "all", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub jobs: u8,
    /// KEK that opens the volume now, which nobody serves; repeatable
    #[arg(long = "kek", value_name = "URI")]
    pub keks: Vec<String>,
    /// Its detached header
    #[arg(long, value_name = "FILE", requires = "keks")]
    pub header: Option<PathBuf>,
    /// Change the key of this generation alone [default: all, the metadata key (0) included]
    #[arg(long, value_name = "N")]
    pub generation: Option<u32>,
    /// Why; recorded by the daemon
    #[arg(long, conflicts_with = "keks")]
    pub reason: Option<String>,
}

/// Arguments of `key rewrap`.
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("old").args(["from", "keep_old"])))]
pub struct RewrapArgs {
    /// Which volume.
    #[command(flatten)]
    pub target: WrapTarget,
    /// KEK that takes over: file:/path, passphrase:file=/path, pkcs11:…, vault://…, kmip://…
    #[arg(long, value_name = "URI")]
    pub to: String,
    /// KEK whose wraps go: its id, or its URI as it was given [default: the one in use]
    #[arg(long, value_name = "KEKID|URI")]
    pub from: Option<String>,
    /// Keep the old wraps, as fallbacks behind the new ones
    #[arg(long)]
    pub keep_old: bool,
    /// Make the key file of a file: URI if it is missing
    #[arg(long)]
    pub new_kek: bool,
}

/// Arguments of `key wrap-add`.
#[derive(Clone, Debug, Args)]
pub struct WrapAddArgs {
    /// Which volume.
    #[command(flatten)]
    pub target: WrapTarget,
    /// KEK that shall open it, too: file:/path, passphrase:file=/path, pkcs11:…, vault://…, kmip://…
    #[arg(long, value_name = "URI")]
    pub to: String,
    /// Make the key file of a file: URI if it is missing
    #[arg(long)]
    pub new_kek: bool,
}

/// Arguments of `key wrap-remove`.
#[derive(Clone, Debug, Args)]
pub struct WrapRemoveArgs {
    /// Which volume.
    #[command(flatten)]
    pub target: WrapTarget,
    /// KEK whose wraps go: its id, as `key list` shows it, or its URI as it was given
    #[arg(long, value_name = "KEKID|URI")]
    pub from: String,
}
