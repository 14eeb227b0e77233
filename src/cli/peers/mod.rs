//! Peers in the daemon: one seat for each replicated volume, and the links between nodes. The place where the cluster's state machine,
//! the volumes, the keys and the control plane meet.
//!
//! | file | what it is for |
//! |---|---|
//! | `seat` | events in, actions carried out: the thread of one volume among its peers |
//! | `hands`, `asks`, `converge`, `cold` | what the volume is made to do: keys, proofs, steps towards the record |
//! | `shelf`, `notary` | what a seat may not forget, and what it signs, seals and opens |
//! | `post` | frames of the links to seats, and back |
//! | `founding` | the first record of a volume, and starting a seat |
//! | `progress`, `view`, `telling`, `alarms` | what is told of a replica to peers and to operators |
//! | `commands`, `together`, `acts` | an operator's commands: on the rotation and keys, and on the peers themselves |
//! | `check` | comparing replicas |
//! | `guard` | a coordinator beside a seat: who leads, and records published |
//! | `invite` | what another replica is made from |
//!
//! Invariants: clients' I/O waits for nothing in here; a volume that is not replicated behaves as without peers; nothing is on record
//! in the cluster that was not noted in the audit log first; a DEK leaves a node sealed to another one, or not at all.

mod acts;
mod alarms;
mod asks;
mod check;
mod cold;
mod commands;
mod converge;
mod founding;
mod guard;
mod hands;
mod invite;
mod notary;
mod post;
mod progress;
mod seat;
mod shelf;
mod telling;
mod together;
mod view;

#[cfg(test)]
#[path = "tests/sample.rs"]
mod sample;
#[cfg(test)]
#[path = "tests/table.rs"]
mod table;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

pub use invite::open_invite;
pub use together::Together;

use super::config::{MemberPlan, PeersPlan, ServePlan};
use super::exit::Exit;
use super::failure::Failure;
use super::operations::Served;
use crate::cluster::coordinator::Coordinator;
use crate::cluster::identity::NodeKeys;
use crate::cluster::link::{Capabilities, LinkConfig, Links};
use crate::cluster::name::NodeName;
use crate::cluster::node::{By, Command, Refused, View, Waiting};
use crate::cluster::record::Key;
use crate::control::api::{Alarm, ApiError, ErrorKind, Rotation, RotationState};
use crate::control::door::Door;
use crate::crypto::Suite;
use crate::units::{Generation, VolumeId};
use check::Comparison;
use cold::Cold;
use guard::Leave;
use post::{INBOX_MAX, Post};
use seat::{Driver, Input, Shown};

/// The seat of one volume, from outside.
pub struct Seat {
    name: String,
    me: NodeName,
    volume: VolumeId,
    inputs: SyncSender<Input>,
    shown: Arc<Mutex<Shown>>,
    comparison: Arc<Comparison>,
    leave: Option<Arc<Leave>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A coordinator, and how many volumes may rotate at a time by its leave.
type Coordinated = (Arc<dyn Coordinator>, usize);

/// This node among its peers.
pub struct Peers {
    plan: PeersPlan,
    /// Members as the configuration names them now: a reload may add some.
    members: Mutex<Vec<MemberPlan>>,
    keys: Arc<NodeKeys>,
    post: Arc<Post>,
    seats: BTreeMap<String, Arc<Seat>>,
    volumes: Vec<Arc<Served>>,
    coordinator: Option<Coordinated>,
    door: Arc<Door>,
}

/// What peers are started with.
pub struct Start<'a> {
    /// What the daemon is to do.
    pub plan: &'a ServePlan,
    /// Its volumes.
    pub volumes: &'a [Arc<Served>],
    /// Where acts are recorded.
    pub door: &'a Arc<Door>,
}

/// Starts a seat for every replicated volume, and the links; none if the plan has no peers.
///
/// # Errors
/// The node's keys, its certificates or its address cannot be used, or a volume is not what its peers agreed on.
pub fn start(start: &Start<'_>) -> Result<Option<Arc<Peers>>, Failure> {
    let Some(plan) = &start.plan.peers else { return Ok(None) };
    plan.warnings().iter().for_each(|what| tracing::warn!(what, "peers"));
    let keys = Arc::new(invite::read_identity(plan)?);
    let coordinator = coordinator(start, plan)?;
    let post = Arc::new(Post::default());
    let mut inboxes = BTreeMap::new();
    let mut waiting = Vec::new();
    for wanted in wanted(start, plan) {
        let (inputs, inbox) = sync_channel(INBOX_MAX);
        inboxes.insert(wanted.volume, inputs.clone());
        waiting.push((wanted, inputs, inbox));
    }
    post.open(inboxes);
    let mut seats = BTreeMap::new();
    let mut drivers = Vec::new();
    for (wanted, inputs, inbox) in waiting {
        let leave = coordinator
            .as_ref()
            .map(|(coordinator, concurrent)| Arc::new(Leave::new(Arc::clone(coordinator), wanted.volume, *concurrent)));
        let driver = founding::driver(start, plan, &keys, &post, &wanted, &inputs, leave.as_ref())?;
        let seat = Arc::new(Seat {
            name: wanted.name.clone(),
            me: plan.node.clone(),
            volume: wanted.volume,
            inputs,
            shown: Arc::clone(&driver.shown),
            comparison: Arc::clone(&driver.comparison),
            leave,
            thread: Mutex::new(None),
        });
        drivers.push((Arc::clone(&seat), driver, inbox));
        seats.insert(wanted.name, seat);
    }
    post.connect(links(plan, &post, seats.len())?);
    for (seat, driver, inbox) in drivers {
        run(&seat, driver, inbox)?;
    }
    let door = Arc::clone(start.door);
    Ok(Some(Arc::new(Peers {
        plan: plan.clone(),
        members: Mutex::new(plan.members.clone()),
        keys,
        post,
        seats,
        volumes: start.volumes.to_vec(),
        coordinator,
        door,
    })))
}

/// A seat that the plan wants.
struct WantedSeat {
    name: String,
    volume: VolumeId,
    /// Of a witness there is none.
    served: Option<(Arc<Served>, Cold)>,
}

fn wanted(start: &Start<'_>, plan: &PeersPlan) -> Vec<WantedSeat> {
    let replicated = start.plan.volumes.iter().filter(|volume| volume.replicated);
    let full = replicated.filter_map(|planned| {
        let served = start.volumes.iter().find(|served| served.name == planned.name)?;
        let cold = Cold {
            path: planned.path.clone(),
            header: planned.header.clone(),
            keks: planned.keks.clone(),
            state_dir: start.plan.state_dir.clone(),
        };
        Some(WantedSeat {
            name: planned.name.clone(),
            volume: served.controller.volume().id(),
            served: Some((Arc::clone(served), cold)),
        })
    });
    let witness = plan.witnessed.iter();
    full.chain(witness.map(|it| WantedSeat { name: it.name.clone(), volume: it.volume, served: None })).collect()
}

/// The coordinator, and how many volumes may rotate at a time; none if none is configured.
fn coordinator(start: &Start<'_>, plan: &PeersPlan) -> Result<Option<Coordinated>, Failure> {
    let Some(etcd) = &plan.etcd else { return Ok(None) };
    let memory = start.plan.state_dir.join("peers").join("etcd.seen");
    if let Some(folder) = memory.parent() {
        let made = std::fs::create_dir_all(folder);
        made.map_err(|error| Failure::from_error(Exit::Io, &error).at(folder.display().to_string()))?;
    }
    let opened = etcd.open(&plan.cluster, &plan.node, &memory);
    let opened = opened.map_err(|error| Failure::from_error(Exit::Unreachable, &error).at("the coordinator"))?;
    Ok(Some((opened, etcd.concurrent)))
}

fn links(plan: &PeersPlan, post: &Arc<Post>, volumes: usize) -> Result<Links, Failure> {
    let config = LinkConfig {
        me: plan.node.clone(),
        cluster: plan.cluster.clone(),
        listen: plan.listen,
        files: plan.files.clone(),
        peers: plan.others(),
        capabilities: Capabilities {
            software: env!("CARGO_PKG_VERSION").into(),
            suites: suites(),
            volumes: u32::try_from(volumes).unwrap_or(u32::MAX),
        },
    };
    let incoming = Arc::clone(post);
    Links::start(config, incoming).map_err(|error| {
        Failure::from_error(Exit::BadInput, &error).at("the links to peers").hint("see [peers] of the configuration")
    })
}

/// The cipher suites that this build reads.
pub fn suites() -> Vec<u16> {
    [Suite::Aes256Xts, Suite::Aes128Xts].map(Suite::id).to_vec()
}

fn run(seat: &Arc<Seat>, driver: Driver, inbox: Receiver<Input>) -> Result<(), Failure> {
    let thread = std::thread::Builder::new().name("km-seat".into()).spawn(move || driver.run(&inbox));
    let thread = thread.map_err(|error| Failure::from_error(Exit::Io, &error).at("a seat's thread"))?;
    *seat.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    Ok(())
}

impl Seat {
    /// Export name of its volume.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the machine stands, if it has a record yet.
    pub fn view(&self) -> Option<View> {
        self.shown().view.clone()
    }

    /// The alarms of the seat.
    pub fn alarms(&self) -> Vec<Alarm> {
        self.shown().alarms.list()
    }

    /// A rotation that is under way, with what is the matter with the coordinator, if anything is.
    fn troubled(&self, mut rotation: Rotation) -> Rotation {
        use RotationState::{RollingBack, Running, Verified, Verifying};
        if matches!(rotation.state, Running | Verifying | Verified | RollingBack) {
            rotation.why = self.shown().alarms.text("coordinator").or(rotation.why);
        }
        rotation
    }

    fn waiting(&self) -> Vec<Waiting> {
        self.shown().view.as_ref().map(|view| view.waiting.clone()).unwrap_or_default()
    }

    /// Whether this node's volume has been brought to the committed record.
    fn has_followed(&self) -> bool {
        let shown = self.shown();
        let Some(view) = &shown.view else { return false };
        let own = view.members.iter().find(|(name, _)| *name == self.me).and_then(|(_, told)| told.as_ref());
        own.is_some_and(|own| own.converged >= view.durable.committed_stamp())
    }

    /// A key as the committed record has it.
    fn committed_key(&self, generation: Generation) -> Option<Key> {
        let shown = self.shown();
        shown.view.as_ref()?.durable.committed.record.key(generation).cloned()
    }

    /// Gives the machine a command; what comes of it arrives in the channel.
    fn begin(&self, command: Command, by: By) -> Result<Receiver<Result<String, Refused>>, ApiError> {
        let (answer, answered) = sync_channel(1);
        let asked = self.inputs.try_send(Input::Ask(command, by, answer));
        asked.map(|()| answered).map_err(|_| {
            ApiError::new(ErrorKind::Unavailable, "the peers of the volume are busy, or on their way out")
                .at(format!("volume {}", self.name))
                .hint("try again")
        })
    }

    fn begin_to_stop(&self) {
        self.comparison.stop();
        // A full inbox is being worked on: there is room soon, or nobody at the other end.
        let _ = self.inputs.send(Input::Stop);
    }

    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Peers {
    /// The seat of a volume, if it is replicated.
    pub fn seat(&self, volume: &str) -> Option<&Arc<Seat>> {
        self.seats.get(volume)
    }

    /// A member that the configuration names.
    fn configured(&self, name: &str) -> Option<MemberPlan> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.iter().find(|member| member.name.as_str() == name).cloned()
    }

    /// Takes over members and their addresses, and reads certificates again.
    ///
    /// # Errors
    /// They will not do, or peers were begun or given up; nothing is changed.
    pub fn reload(&self, plan: Option<&PeersPlan>) -> Result<(), Failure> {
        let same = plan.filter(|plan| {
            (&plan.cluster, &plan.node, plan.listen) == (&self.plan.cluster, &self.plan.node, self.plan.listen)
        });
        let Some(plan) = same else {
            return Err(super::failure::bad_input(
                "cluster, node and listener of [peers] cannot be changed while serving",
            )
            .hint("restart the daemon"));
        };
        let Some(links) = self.post.links() else { return Ok(()) };
        links.reload().map_err(|error| Failure::from_error(Exit::BadInput, &error))?;
        *self.members.lock().unwrap_or_else(PoisonError::into_inner) = plan.members.clone();
        links.set_peers(plan.others());
        Ok(())
    }

    /// Ends links and seats; what is under way goes on after the next start.
    pub fn stop(&self) {
        if let Some(links) = self.post.links() {
            links.stop();
        }
        self.seats.values().for_each(|seat| seat.begin_to_stop());
        self.seats.values().for_each(|seat| seat.join());
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.stop();
    }
}
