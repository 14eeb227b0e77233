//! Arguments of `serve`. Each has a setting of the same name in the configuration file ([`crate::cli::config`]).

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::cli::names::{Named, parse_named};
use crate::cli::size;
use crate::nbd::Listen;

/// I/O engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IoChoice {
    /// io_uring
    Ring,
    /// Plain system calls
    Posix,
}

/// Crypto engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CryptoChoice {
    /// The fastest this CPU can run
    Auto,
    /// Our own vector code, for VAES and AVX-512
    Vaes512,
    /// The same for VAES and AVX2
    Vaes256,
    /// AWS-LC, fast on any CPU
    AwsLc,
    /// Pure Rust
    Portable,
}

/// How backings are cached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheChoice {
    /// Direct where it works, else the page cache
    #[default]
    Auto,
    /// O_DIRECT, or refuse
    Direct,
    /// The page cache
    Page,
}

/// How a listener treats TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsChoice {
    /// Plaintext
    Off,
    /// The client decides
    Allowed,
    /// Nothing without TLS
    Required,
}

/// Where NBD can be served.
const NBD_HELP: &str = "\
Where to serve NBD; repeatable [default: unix:/run/keymoult/nbd.sock]: unix:PATH, tcp:HOST:PORT, vsock:CID:PORT (CID a \
number or any), systemd for the sockets the service manager passes, systemd:NAME for those of that name";

/// How long a connection may ask for nothing; None for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleTime(pub Option<Duration>);

/// How long a daemon that starts waits for KEKs; None for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KekPatience(pub Option<Duration>);

impl Default for KekPatience {
    fn default() -> KekPatience {
        KekPatience(Some(Duration::from_secs(30)))
    }
}

fn parse_kek_patience(text: &str) -> Result<KekPatience, String> {
    size::parse_time(text).map(KekPatience)
}

impl<'de> Deserialize<'de> for KekPatience {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<KekPatience, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_kek_patience(&text).map_err(serde::de::Error::custom)
    }
}

/// What becomes of a volume whose KEK cannot be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unavailable {
    /// The daemon ends and serves nothing
    #[default]
    End,
    /// The other volumes are served without it
    Skip,
}

fn parse_idle_time(text: &str) -> Result<IdleTime, String> {
    size::parse_time(text).map(IdleTime)
}

/// Arguments of `serve`.
#[derive(Clone, Debug, Default, Args)]
pub struct ServeArgs {
    /// Volumes: PATH, exported under its file stem, or NAME=PATH
    #[arg(value_name = "[NAME=]PATH", value_parser = parse_named, required_unless_present = "config")]
    pub volumes: Vec<Named>,
    /// Configuration file (TOML); a flag replaces the setting of the same name
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// KEK that opens the volumes: file:/path, passphrase:[file=/path], systemd-cred:NAME, pkcs11:…, vault://…, kmip://…; repeatable
    #[arg(long = "kek", value_name = "URI")]
    pub keks: Vec<String>,
    /// Wait for keepers that do not answer or are sealed: 90s, 5min, never to end [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = parse_kek_patience)]
    pub kek_patience: Option<KekPatience>,
    /// What to do about a volume whose KEK cannot be had by then [default: end]
    #[arg(long, value_enum)]
    pub kek_unavailable: Option<Unavailable>,
    /// Detached header: NAME=FILE, or FILE for a sole volume; repeatable
    #[arg(long = "header", value_name = "[NAME=]FILE", value_parser = parse_named)]
    pub headers: Vec<Named>,
    /// Where to serve NBD; repeatable [default: unix:/run/keymoult/nbd.sock]
    #[arg(long, value_name = "ADDRESS", long_help = NBD_HELP)]
    pub nbd: Vec<Listen>,
    /// Certificate of the NBD server and those up to its authority, PEM
    #[arg(long, value_name = "FILE")]
    pub tls_certificate: Option<PathBuf>,
    /// Private key of the certificate, PEM, readable by its owner alone
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Authorities of client certificates, PEM; with them every TLS client needs a certificate
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,
    /// Revocation lists of those authorities, PEM
    #[arg(long, value_name = "FILE")]
    pub tls_client_crl: Option<PathBuf>,
    /// TLS on listeners that say nothing else [default: required with a certificate, else off]
    #[arg(long, value_enum)]
    pub tls: Option<TlsChoice>,
    /// NBD connections at a time [default: 1024]
    #[arg(long, value_name = "N")]
    pub connections: Option<u32>,
    /// Of these, of one address, user or machine [default: three quarters]
    #[arg(long, value_name = "N")]
    pub connections_per_peer: Option<u32>,
    /// Close a connection that asks for nothing for so long: 90s, 30min, 12h [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse_idle_time)]
    pub idle_time: Option<IdleTime>,
    /// I/O engine [default: ring where it works]
    #[arg(long, value_enum)]
    pub io: Option<IoChoice>,
    /// Crypto engine that writes [default: auto]
    #[arg(long, value_enum)]
    pub crypto_engine: Option<CryptoChoice>,
    /// How backings are cached [default: auto]
    #[arg(long, value_enum)]
    pub cache: Option<CacheChoice>,
    /// Worker threads [default: as fits the machine]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,
    /// Serve NBD beyond this machine where TLS is not required
    #[arg(long)]
    pub insecure: bool,
    /// Serve all volumes read only
    #[arg(long)]
    pub read_only: bool,
    /// Directory of the audit log [default: /var/lib/keymoult]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}
