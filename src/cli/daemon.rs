//! `keymoult serve`: opens the volumes, starts the two planes, waits for a signal, ends in order.
//!
//! Order of starting: hardening, self-test, keys, volumes (recovery happens here), NBD, rotations that a restart
//! interrupted, peers, control. Order of ending: control, peers, NBD (in-flight requests finish), checks (cut short), rotations (batches
//! in flight finish), volumes. Invariant: whatever fails while starting, nothing is left running and no socket file behind.

use std::sync::Arc;

use nix::sys::signal::{SigSet, Signal};

use super::args::{CacheChoice, CryptoChoice, IoChoice};
use super::config::ServePlan;
use super::exit::Exit;
use super::failure::Failure;
use super::failure_of;
use super::harden::harden;
use super::notify;
use super::opening::{Opened, Opening, open_all};
use super::operations::{DaemonOperations, Served};
use super::peers::{self, Together};
use super::reload::{self, Reload};
use super::report::Ready;
use super::words;
use crate::control::api::IoReport;
use crate::control::authorize::{Object, Verb};
use crate::control::witness::AuditWitness;
use crate::control::{self, Operations, door::Door};
use crate::crypto::EngineKind;
use crate::engine::{self, CacheMode, EngineOptions, IoKind, Pool};
use crate::keys::{Kek, KekUri, NewKek, Witness};
use crate::latency::Histogram;
use crate::nbd::{self, Export, ExportError, Exports};
use crate::rotation::Controller;
use crate::rotation::controller::{MakeEngine, Probe};
use crate::volume::Volume;
use crate::volume::check::Checker;
use crate::volume::executor::Executor;

/// Descriptors a process needs besides its connections: volumes, sockets, rings, files of a check.
const DESCRIPTORS: u64 = 256;

/// Serves until SIGTERM or SIGINT. Calls `ready` once, when clients can come. `passed` holds the sockets that the service
/// manager handed over; `replan` makes the plan again, when SIGHUP asks for it.
pub fn serve(
    plan: &ServePlan,
    passed: &nbd::Passed,
    replan: &dyn Fn() -> Result<ServePlan, Failure>,
    ready: &mut dyn FnMut(&Ready) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut lost = harden();
    crate::crypto::selftest::run().map_err(|error| {
        Failure::from_error(Exit::Internal, &error).hint("this machine computes wrongly: do not serve from it")
    })?;
    let signals = block_signals()?;
    let keeper = reload::keeper(plan)?;
    let crypto = crypto_engine(plan.crypto_engine);
    let door = Door::open(&plan.state_dir)?;
    door.note(Verb::DaemonStart, &Object::Daemon, concat!("keymoult ", env!("CARGO_PKG_VERSION")));
    let witness: Arc<dyn Witness> = Arc::new(AuditWitness::new(Arc::clone(&door)));
    let opened = match open_all(plan, crypto, &door, &witness, &signals)? {
        Opening::Done(opened, left_out) => {
            lost.extend(left_out);
            opened
        }
        Opening::Stopped => {
            door.note(Verb::DaemonStop, &Object::Daemon, "stopped before it served");
            return Ok(());
        }
    };
    let exports: Arc<Exports<Volume>> = Arc::new(Exports::new());
    let mut offered = Vec::new();
    for Opened { planned, volume, .. } in &opened {
        let export = export(&planned.name, volume).map(|export| export.with_audience(planned.audience.clone()));
        let added = export.and_then(|export| exports.add(export));
        offered.push(added.map_err(|error| Failure::from_error(Exit::BadInput, &error))?);
    }
    let config = nbd::Config { tls: keeper.clone(), ..nbd_config(plan, passed)? };
    let pool = Pool::new(plan.bounds.buffers());
    lost.extend(raise_descriptors(plan.bounds.connections));
    let server = nbd::start(&config, &exports, &pool, |pool, waker| Executor::new(pool.clone(), waker));
    let server = Arc::new(server.map_err(|error| failure_of::nbd(&error))?);
    let io = io_report(&server);
    lost.extend(io.lost.iter().cloned());
    let (make_engine, probe) = (engine_maker(plan), latency_probe(&server));
    let volumes: Vec<Arc<Served>> = opened
        .into_iter()
        .zip(offered)
        .map(|(Opened { planned, volume, keks, alarms }, export)| {
            door.note(
                Verb::VolumeOpen,
                &Object::Volume(planned.name.clone()),
                &format!("opened volume {}", volume.id()),
            );
            Arc::new(Served {
                name: planned.name.clone(),
                path: planned.path.display().to_string(),
                header: planned.header.as_ref().map(|path| path.display().to_string()),
                export,
                alarms,
                checker: Checker::new(Arc::clone(&volume), Arc::clone(&keks)),
                controller: Controller::new(volume, keks, Arc::clone(&make_engine), Arc::clone(&probe)),
            })
        })
        .collect();
    volumes.iter().for_each(|served| served.controller.go_on());
    let alone = Arc::new(DaemonOperations {
        volumes: volumes.clone(),
        io,
        crypto,
        lost: lost.clone(),
        started: words::time(words::now()).unwrap_or_default(),
        door: Arc::clone(&door),
        state_dir: plan.state_dir.clone(),
        policy: plan.policy,
        witness,
        suites: plan.suites.clone(),
        place: plan.place.clone(),
    });
    let peers = peers::start(&peers::Start { plan, volumes: &volumes, door: &door })?;
    let operations: Arc<dyn Operations> = match &peers {
        Some(peers) => Arc::new(Together { alone, peers: Arc::clone(peers) }),
        None => alone,
    };
    let control = control::Server::start(&plan.control, Arc::clone(&door), operations)?;
    let said = ready(&Ready {
        pid: std::process::id(),
        nbd: server.addresses().iter().map(ToString::to_string).collect(),
        control: format!("unix:{}", plan.control.display()),
        volumes: volumes.iter().map(|served| (served.name.clone(), served.controller.volume().size())).collect(),
        lost,
    });
    if said.is_ok() {
        notify::tell(notify::State::Ready);
        let reload = Reload { replan, keeper, exports, peers: peers.clone(), door: Arc::clone(&door) };
        await_end(&signals, &reload)?;
        notify::tell(notify::State::Stopping);
    }
    control.stop();
    if let Some(peers) = &peers {
        peers.stop();
    }
    let clean = server.stop();
    for served in &volumes {
        served.checker.stop();
        served.controller.stop();
        if let Err(error) = served.controller.volume().settle_counters() {
            tracing::warn!(name = served.name, %error, "byte counters could not be put on record");
        }
    }
    door.note(Verb::DaemonStop, &Object::Daemon, if clean { "stopped" } else { "stopped with clients cut off" });
    said
}

/// What clients are told of a volume.
fn export(name: &str, volume: &Arc<Volume>) -> Result<Export<Volume>, ExportError> {
    let caps = volume.caps();
    let export = Export::new(name, volume.size(), volume.data_unit(), Arc::clone(volume))?;
    let export = export.with_description(&format!("keymoult volume {}", volume.id()))?;
    Ok(export.with_read_only(volume.read_only()).with_fast_zero(caps.punches).with_rotational(caps.rotational))
}

/// Allows as many descriptors as `connections` need. Says what could not be had.
fn raise_descriptors(connections: usize) -> Option<String> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let wanted = connections as u64 + DESCRIPTORS;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0));
    if soft >= wanted {
        return None;
    }
    let raised = setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard);
    (hard < wanted || raised.is_err())
        .then(|| format!("{connections} connections need {wanted} open files, and {} are allowed", hard.max(soft)))
}

/// Waits for a signal that ends the daemon; reads files again when asked to.
fn await_end(signals: &SigSet, reload: &Reload<'_>) -> Result<(), Failure> {
    loop {
        match signals.wait().map_err(|error| Failure::from_error(Exit::Internal, &error))? {
            Signal::SIGHUP => reload.run(),
            signal => {
                tracing::info!(%signal, "stopping");
                return Ok(());
            }
        }
    }
}

/// Blocks the signals that are waited for in this thread, and so in all threads started later.
fn block_signals() -> Result<SigSet, Failure> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGINT);
    set.add(Signal::SIGHUP);
    set.thread_block().map_err(|error| Failure::from_error(Exit::Internal, &error))?;
    Ok(set)
}

/// Opens the KEKs a list of URIs names; gives the labels of key files made for it, too. `witness` is told of their
/// uses: the daemon's log, or the tool's.
pub fn open_keks(
    uris: &[String],
    new: NewKek,
    witness: Option<&Arc<dyn Witness>>,
) -> Result<(Vec<Kek>, Vec<String>), Failure> {
    let mut keks = Vec::new();
    let mut made = Vec::new();
    for text in uris {
        let uri: KekUri = text.parse().map_err(|error| failure_of::key(&error))?;
        let opened = crate::keys::open(&uri, new).map_err(|error| failure_of::key(&error))?;
        if opened.created {
            made.push(opened.keeper.describe().label.clone());
        }
        keks.push(Kek::new(opened.keeper, witness.cloned()));
    }
    Ok((keks, made))
}

fn nbd_config(plan: &ServePlan, passed: &nbd::Passed) -> Result<nbd::Config, Failure> {
    for listener in &plan.nbd {
        if let nbd::Listen::Unix(path) = &listener.address {
            control::ensure_runtime_dir(path).map_err(|error| {
                Failure::from_error(Exit::Io, &error).at(format!("the directory of {}", path.display()))
            })?;
        }
    }
    let mut config = nbd::Config {
        listen: plan.nbd.clone(),
        insecure: plan.insecure,
        bounds: plan.bounds,
        passed: passed.clone(),
        io: io_kind(plan.io),
        ..nbd::Config::default()
    };
    if let Some(workers) = plan.workers {
        config.workers = workers;
    }
    Ok(config)
}

fn io_kind(choice: Option<IoChoice>) -> Option<IoKind> {
    choice.map(|choice| match choice {
        IoChoice::Ring => IoKind::Ring,
        IoChoice::Posix => IoKind::Posix,
    })
}

/// The crypto engine of a choice.
pub fn crypto_engine(choice: Option<CryptoChoice>) -> EngineKind {
    match choice {
        None | Some(CryptoChoice::Auto) => EngineKind::best(),
        Some(CryptoChoice::Vaes512) => EngineKind::Vaes512,
        Some(CryptoChoice::Vaes256) => EngineKind::Vaes256,
        Some(CryptoChoice::AwsLc) => EngineKind::AwsLc,
        Some(CryptoChoice::Portable) => EngineKind::Portable,
    }
}

/// The cache mode of a choice.
pub fn cache_mode(choice: CacheChoice) -> CacheMode {
    match choice {
        CacheChoice::Auto => CacheMode::Auto,
        CacheChoice::Direct => CacheMode::Direct,
        CacheChoice::Page => CacheMode::Page,
    }
}

fn io_report(server: &nbd::Server) -> IoReport {
    let Some(report) = server.engine_reports().first() else { return IoReport::default() };
    IoReport {
        name: report.name.to_string(),
        features: report.features.iter().map(ToString::to_string).collect(),
        lost: report.lost.clone(),
    }
}

fn engine_maker(plan: &ServePlan) -> MakeEngine {
    let kind = io_kind(plan.io);
    // A rotation has a thread for each processor, which copies memory itself: kernel workers would want the same ones.
    let options = EngineOptions { inline_writes: engine::CLASS_MAX, ..EngineOptions::default() };
    Arc::new(move || engine::open(kind, &options))
}

/// Client latency over all operations and workers. Holds no server alive.
fn latency_probe(server: &Arc<nbd::Server>) -> Probe {
    let server = Arc::downgrade(server);
    Arc::new(move || {
        let mut latency = Histogram::default();
        let Some(server) = server.upgrade() else { return latency };
        server.stats().operations.iter().for_each(|operation| latency.add(&operation.latency));
        latency
    })
}
