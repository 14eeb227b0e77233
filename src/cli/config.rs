//! What `serve` is to do: from flags, from a TOML file, from both.
//!
//! A file may say whatever a flag can: the names are the same (`nbd`, `kek`, `state-dir`, …), volumes stand in
//! `[[volume]]` tables with `name`, `path`, `header`, `kek`, `read-only`, `tls-only`, `clients`, limits in `[limits]`,
//! TLS in `[tls]`, the policy of keys and where cipher suites stand in `[policy]`, the cluster in `[peers]`, and an entry of
//! `nbd` may be a table that says who may come in. A flag replaces the setting of the same name.
//!
//! Invariants: an unknown setting is refused; export names are distinct; every volume has a KEK; NBD is not served
//! beyond this machine without TLS unless `insecure` says so; a volume for certain clients, or for TLS alone, can be reached.

pub mod etcd;
mod limits;
mod listener;
pub mod peers;
mod policy;
mod tls;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::args::{CacheChoice, CryptoChoice, IdleTime, IoChoice, KekPatience, ServeArgs, Unavailable};
use super::failure::{Failure, bad_input};
use super::names::{Named, check_name, parse_control, stem};
use crate::control::DEFAULT_STATE_DIR;
use crate::crypto::SuitePolicy;
use crate::nbd::tls::Files;
use crate::nbd::{Audience, Bounds, Entrance, Listen, TlsMode};
use limits::FileLimits;
use listener::FileEntry;
pub use listener::at;
use peers::FilePeers;
pub use peers::{MemberPlan, PeersPlan};
use policy::FilePolicy;
pub use policy::KeyPolicy;
use tls::FileTls;

/// Where NBD is served when nobody says otherwise.
const DEFAULT_NBD: &str = "/run/keymoult/nbd.sock";
/// Longest configuration file, bytes.
const CONFIG_MAX: u64 = 1 << 20;

/// One volume to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumePlan {
    /// Export name.
    pub name: String,
    /// Backing.
    pub path: PathBuf,
    /// Detached header.
    pub header: Option<PathBuf>,
    /// KEK URIs, tried in order.
    pub keks: Vec<String>,
    /// Whether it is served read only.
    pub read_only: bool,
    /// Who may see it.
    pub audience: Audience,
    /// Whether it is a replica, which peers hold others of.
    pub replicated: bool,
}

/// What `serve` is to do, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServePlan {
    /// The volumes; at least one, names distinct.
    pub volumes: Vec<VolumePlan>,
    /// How long to wait for KEKs.
    pub kek_patience: KekPatience,
    /// What becomes of a volume whose KEK cannot be had.
    pub kek_unavailable: Unavailable,
    /// Where NBD is served, and for whom; at least one.
    pub nbd: Vec<Entrance>,
    /// What TLS is made of, if any listener offers it.
    pub tls: Option<Files>,
    /// What NBD clients may cost; within their ranges.
    pub bounds: Bounds,
    /// Whether plaintext may be served beyond this machine.
    pub insecure: bool,
    /// Where the control API is served.
    pub control: PathBuf,
    /// I/O engine; None to choose.
    pub io: Option<IoChoice>,
    /// Crypto engine that writes; None to choose.
    pub crypto_engine: Option<CryptoChoice>,
    /// How backings are cached.
    pub cache: CacheChoice,
    /// Worker threads; None to choose.
    pub workers: Option<usize>,
    /// Directory of the audit log.
    pub state_dir: PathBuf,
    /// What the operator wants of keys.
    pub policy: KeyPolicy,
    /// Where cipher suites stand.
    pub suites: SuitePolicy,
    /// The cluster this node belongs to, if any.
    pub peers: Option<PeersPlan>,
    /// Where the plan was read: the path of the file, or `command line`.
    pub place: String,
}

/// The configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct File {
    volume: Vec<FileVolume>,
    kek: Vec<String>,
    kek_patience: Option<KekPatience>,
    kek_unavailable: Option<Unavailable>,
    nbd: Vec<FileEntry>,
    limits: FileLimits,
    tls: FileTls,
    policy: FilePolicy,
    peers: Option<FilePeers>,
    control: Option<String>,
    io: Option<IoChoice>,
    crypto_engine: Option<CryptoChoice>,
    cache: Option<CacheChoice>,
    workers: Option<u16>,
    insecure: bool,
    read_only: bool,
    state_dir: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileVolume {
    name: Option<String>,
    path: PathBuf,
    header: Option<PathBuf>,
    #[serde(default)]
    kek: Vec<String>,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    tls_only: bool,
    clients: Option<Vec<String>>,
    #[serde(default)]
    replicated: bool,
}

/// Makes the plan of `args`. `control` is the flag, if given; `default_control` is asked if neither flag nor file says.
pub fn plan(
    args: &ServeArgs,
    control: Option<&PathBuf>,
    default_control: impl FnOnce() -> Result<PathBuf, Failure>,
) -> Result<ServePlan, Failure> {
    let (file, place) = match &args.config {
        Some(path) => (read(path)?, path.display().to_string()),
        None => (File::default(), "command line".into()),
    };
    let wrong = |what: String| bad_input(what).at(place.clone());
    let suites = file.policy.suites().map_err(wrong)?;
    let volumes = volumes(args, &file).map_err(wrong)?;
    let peers = file.peers.as_ref().map(FilePeers::plan).transpose().map_err(wrong)?;
    peers::check_replicas(peers.as_ref(), &volumes).map_err(wrong)?;
    check_volumes(&volumes, peers.as_ref()).map_err(wrong)?;
    let insecure = args.insecure || file.insecure;
    let control = match (control, &file.control) {
        (Some(path), _) => path.clone(),
        (None, Some(text)) => parse_control(text).map_err(wrong)?,
        (None, None) => default_control()?,
    };
    if file.workers.is_some_and(|workers| !(1..=256).contains(&workers)) {
        return Err(wrong("workers is from 1 to 256".into()));
    }
    let tls = tls::files(args, &file.tls).map_err(wrong)?;
    let nbd = listeners(args, &file, tls::mode(args, &file.tls, tls.is_some())).map_err(wrong)?;
    let is_open = |plan: &&Entrance| !plan.address.is_local() && plan.tls != TlsMode::Required;
    if let Some(open) = nbd.iter().find(is_open).filter(|_| !insecure).map(|plan| &plan.address) {
        return Err(wrong(format!("{open} would serve plaintext beyond this machine, without TLS")).hint(
            "require TLS (--tls-certificate, --tls-key), listen on tcp:127.0.0.1:PORT or unix:PATH, or add --insecure if \
             the network is trusted",
        ));
    }
    tls::check(tls.as_ref(), &nbd, &volumes).map_err(wrong)?;
    let bounds = bounds(args, &file).map_err(wrong)?;
    Ok(ServePlan {
        volumes,
        kek_patience: args.kek_patience.or(file.kek_patience).unwrap_or_default(),
        kek_unavailable: args.kek_unavailable.or(file.kek_unavailable).unwrap_or_default(),
        nbd,
        tls,
        bounds,
        insecure,
        control,
        io: args.io.or(file.io),
        crypto_engine: args.crypto_engine.or(file.crypto_engine),
        cache: args.cache.or(file.cache).unwrap_or_default(),
        workers: args.workers.or(file.workers).map(usize::from),
        state_dir: args.state_dir.clone().or(file.state_dir).unwrap_or_else(|| DEFAULT_STATE_DIR.into()),
        policy: file.policy.keys().map_err(wrong)?,
        suites,
        peers,
        place: place.clone(),
    })
}

/// Where cipher suites stand by the configuration file at `path`; a volume is made without a daemon.
pub fn suites(path: &Path) -> Result<SuitePolicy, Failure> {
    read(path)?.policy.suites().map_err(|what| bad_input(what).at(path.display().to_string()))
}

/// The cluster that the configuration file at `path` names.
pub fn peers_of(path: &Path) -> Result<PeersPlan, Failure> {
    let wrong = |what: String| bad_input(what).at(path.display().to_string());
    let file = read(path)?;
    let peers = file.peers.as_ref().ok_or_else(|| wrong("the configuration has no [peers]".into()))?;
    peers.plan().map_err(wrong)
}

fn read(path: &Path) -> Result<File, Failure> {
    let unreadable = |why: String| {
        bad_input("cannot read the configuration").at(path.display().to_string()).at(format!("because: {why}"))
    };
    let length = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if length > CONFIG_MAX {
        return Err(unreadable(format!("it is longer than {CONFIG_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    toml::from_str(&text).map_err(|error| {
        let line =
            error.span().map(|span| text.as_bytes().iter().take(span.start).filter(|byte| **byte == b'\n').count() + 1);
        let place = line.map_or_else(String::new, |line| format!(", line {line}"));
        let first = error.message().lines().next().unwrap_or_default().to_owned();
        bad_input(format!("the configuration makes no sense: {first}")).at(format!("{}{place}", path.display())).hint(
            "settings have the names of the flags of `keymoult serve`; volumes stand in [[volume]], limits in [limits], TLS in [tls], \
             the cluster in [peers]",
        )
    })
}

fn volumes(args: &ServeArgs, file: &File) -> Result<Vec<VolumePlan>, String> {
    let read_only = args.read_only || file.read_only;
    let everyones = if args.keks.is_empty() { &file.kek } else { &args.keks };
    let mut volumes = Vec::new();
    for Named { name, path } in &args.volumes {
        let name = name.clone().map_or_else(|| stem(path), Ok)?;
        volumes.push(VolumePlan {
            name,
            path: path.clone(),
            header: None,
            keks: everyones.clone(),
            read_only,
            audience: Audience::Everybody,
            replicated: false,
        });
    }
    let filed = if args.volumes.is_empty() { file.volume.as_slice() } else { &[] };
    for volume in filed {
        let name = volume.name.clone().map_or_else(|| stem(&volume.path), Ok)?;
        let keks = if volume.kek.is_empty() || !args.keks.is_empty() { everyones } else { &volume.kek };
        let read_only = read_only || volume.read_only;
        volumes.push(VolumePlan {
            name,
            path: volume.path.clone(),
            header: volume.header.clone(),
            keks: keks.clone(),
            read_only,
            audience: tls::audience(volume.tls_only, volume.clients.as_deref()),
            replicated: volume.replicated,
        });
    }
    for header in &args.headers {
        set_header(&mut volumes, header)?;
    }
    Ok(volumes)
}

/// Gives a header to the volume it names, or to the sole one.
fn set_header(volumes: &mut [VolumePlan], header: &Named) -> Result<(), String> {
    let target = match (&header.name, &mut *volumes) {
        (Some(name), volumes) => volumes.iter_mut().find(|volume| volume.name == *name),
        (None, [sole]) => Some(sole),
        (None, _) => {
            return Err("a header without a name needs a sole volume; write --header NAME=FILE".into());
        }
    };
    match target {
        Some(volume) => {
            volume.header = Some(header.path.clone());
            Ok(())
        }
        None => Err(format!("the header of `{}` belongs to no volume", header.name.as_deref().unwrap_or_default())),
    }
}

fn check_volumes(volumes: &[VolumePlan], peers: Option<&PeersPlan>) -> Result<(), String> {
    if volumes.is_empty() && peers.is_none_or(|peers| peers.witnessed.is_empty()) {
        return Err("no volume to serve".into());
    }
    let mut names = BTreeSet::new();
    for volume in volumes {
        check_name(&volume.name)?;
        if !names.insert(&volume.name) {
            return Err(format!("two volumes are called `{}`; write NAME=PATH", volume.name));
        }
        if volume.keks.is_empty() {
            return Err(format!("no key to open volume `{}` with; add --kek URI", volume.name));
        }
    }
    Ok(())
}

fn listeners(args: &ServeArgs, file: &File, tls: TlsMode) -> Result<Vec<Entrance>, String> {
    if !args.nbd.is_empty() {
        return Ok(args.nbd.iter().map(|address| at(address.clone(), tls)).collect());
    }
    match file.nbd.is_empty() {
        true => Ok(vec![at(Listen::Unix(DEFAULT_NBD.into()), tls)]),
        false => file.nbd.iter().map(|entry| entry.0.plan(tls)).collect(),
    }
}

fn bounds(args: &ServeArgs, file: &File) -> Result<Bounds, String> {
    let mut bounds = file.limits.bounds()?;
    if let Some(connections) = args.connections {
        bounds.connections = connections as usize;
    }
    if let Some(connections) = args.connections_per_peer {
        bounds.connections_per_peer = Some(connections as usize);
    }
    if let Some(IdleTime(time)) = args.idle_time {
        bounds.idle_time = time;
    }
    match bounds.check() {
        Ok(()) => Ok(bounds),
        Err(error) => Err(format!("the limit {error}")),
    }
}
