//! How a seat begins: from what its shelf holds; on the configured lead from the volume itself; elsewhere from the lead's first record.
//!
//! Invariants: the first record is made once, of a volume in which no rotation is under way, and only where nothing was ever saved; a
//! shelf that cannot be believed leaves the volume served and its seat out, with an alarm.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};

use super::alarms::SeatAlarms;
use super::asks::Asks;
use super::check::Answerer;
use super::guard::{Leave, Watch};
use super::hands::{Tools, Workers};
use super::notary::NodeNotary;
use super::post::Post;
use super::seat::{Chair, Driver, Input, Shown};
use super::shelf::{Shelf, ShelfError};
use super::{Start, WantedSeat};
use crate::cli::config::PeersPlan;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::operations::Served;
use crate::cli::words;
use crate::cluster::durable::Durable;
use crate::cluster::founding::Founding;
use crate::cluster::identity::NodeKeys;
use crate::cluster::record::{Change, Key, Keyring, Member, NodeWrap};
use crate::cluster::stamp::Stamp;
use crate::control::audit::Space;
use crate::control::authorize::{Object, Verb};
use crate::format::generations::{Entry, GenerationTable, KeyState, Phase};
use crate::rotation::controller::describe;
use crate::units::{Generation, VolumeId};

/// Everything a seat needs, ready to run.
///
/// # Errors
/// The shelf cannot be had, or a thread.
pub fn driver(
    start: &Start<'_>,
    plan: &PeersPlan,
    keys: &Arc<NodeKeys>,
    post: &Arc<Post>,
    wanted: &WantedSeat,
    inputs: &SyncSender<Input>,
    leave: Option<&Arc<Leave>>,
) -> Result<Driver, Failure> {
    let notary = NodeNotary::new(Arc::clone(keys));
    let shelf = Shelf::new(&start.plan.state_dir, wanted.volume)
        .map_err(|error| Failure::from_error(Exit::Io, &error).at(format!("volume {}", wanted.name)))?;
    let mut alarms = SeatAlarms::default();
    let chair = seated(start, plan, &notary, &shelf, wanted)?;
    if let Chair::Out(why) = &chair {
        tracing::error!(name = wanted.name, why, "the volume is served, and takes no part in what its peers do");
        alarms.raise(
            "out",
            &format!("this node takes no part in what the peers of the volume do: {why}"),
            words::now(),
        );
    }
    let hands = wanted.served.as_ref().map(|(served, cold)| {
        let tools = Arc::new(Tools {
            me: plan.node.clone(),
            notary: notary.clone(),
            served: Arc::clone(served),
            state_dir: start.plan.state_dir.clone(),
            cold: cold.clone(),
            handover: Mutex::default(),
            checks: Mutex::default(),
            asks: Asks::default(),
        });
        Workers::start(&tools, inputs).map(|workers| (tools, workers))
    });
    let hands = hands.transpose().map_err(|error| Failure::from_error(Exit::Io, &error).at("a seat's threads"))?;
    let answerer = wanted.served.as_ref().map(|(served, _)| Answerer::start(served, post)).transpose();
    let answerer = answerer.map_err(|error| Failure::from_error(Exit::Io, &error).at("a seat's threads"))?;
    let shown = Arc::new(Mutex::new(Shown { alarms: alarms.clone(), out: chair.why_out(), ..Shown::default() }));
    let guard = leave.map(|leave| {
        let watch = Watch {
            leave: Arc::clone(leave),
            me: plan.node.clone(),
            may_lead: wanted.served.is_some(),
            goes_first: plan.lead == plan.node,
            seat: inputs.clone(),
            shown: Arc::clone(&shown),
        };
        watch.start()
    });
    let guard = guard.transpose().map_err(|error| Failure::from_error(Exit::Io, &error).at("a seat's threads"))?;
    Ok(Driver {
        name: wanted.name.clone(),
        me: plan.node.clone(),
        chair,
        notary,
        shelf,
        post: Arc::clone(post),
        door: Arc::clone(start.door),
        hands,
        answerer,
        guard,
        comparison: Arc::default(),
        alarms,
        shown,
    })
}

fn seated(
    start: &Start<'_>,
    plan: &PeersPlan,
    notary: &NodeNotary,
    shelf: &Shelf,
    wanted: &WantedSeat,
) -> Result<Chair, Failure> {
    let durable = match shelf.load() {
        Ok(Some(durable)) => durable,
        Ok(None) => return first(start, plan, notary, shelf, wanted),
        Err(error @ ShelfError::Damaged { .. }) => return Ok(Chair::Out(describe(&error))),
        Err(error) => return Err(Failure::from_error(Exit::Io, &error).at(format!("volume {}", wanted.name))),
    };
    let record = &durable.committed.record;
    if record.volume != wanted.volume || record.cluster != plan.cluster {
        let why = format!("{} is of another volume or cluster", shelf.path().display());
        return Ok(Chair::Out(why));
    }
    if let Some(generation) = stranger(&durable, wanted) {
        let why = format!(
            "{} is older than the volume, which holds generation {generation}: it was put back from a copy, and what this \
             node promised since is lost; put the newest one back, or expel this node and found its replica anew",
            shelf.path().display()
        );
        return Ok(Chair::Out(why));
    }
    match durable.authentic(notary) {
        Ok(()) => Ok(Chair::new(&plan.node, durable, plan.etcd.is_some())),
        Err(why) => Ok(Chair::Out(format!("{}: {why}", shelf.path().display()))),
    }
}

/// A generation that the volume has come to hold by records which the file does not know.
fn stranger(durable: &Durable, wanted: &WantedSeat) -> Option<Generation> {
    let (served, _) = wanted.served.as_ref()?;
    let table = served.controller.volume().table();
    let known =
        |generation| [&durable.accepted, &durable.committed].iter().any(|it| it.record.key(generation).is_some());
    shared(&table).map(|entry| entry.generation).find(|generation| !known(*generation))
}

/// A seat without a record.
fn first(
    start: &Start<'_>,
    plan: &PeersPlan,
    notary: &NodeNotary,
    shelf: &Shelf,
    wanted: &WantedSeat,
) -> Result<Chair, Failure> {
    let served = wanted.served.as_ref().map(|(served, _)| served);
    let (true, Some(served)) = (plan.lead == plan.node, served) else {
        return Ok(match expected(plan, wanted.volume, served) {
            Some(founding) => Chair::Waiting(Box::new(founding)),
            None => Chair::Out(format!("{} is none of the configured members", plan.lead)),
        });
    };
    let genesis = match genesis(plan, served, words::now()) {
        Ok(genesis) => genesis,
        Err(why) => return Ok(Chair::Out(why)),
    };
    let durable = match Durable::found(genesis, notary) {
        Ok(durable) => durable,
        Err(why) => return Ok(Chair::Out(format!("no first record can be made of the volume: {why}"))),
    };
    let what = format!("founds the peers of volume {}: {}", wanted.volume, member_names(&durable.committed.record));
    let noted = start.door.record(Verb::PeerRecord, &Object::Volume(wanted.name.clone()), &what, Space::Ordinary);
    noted.map_err(Failure::from)?;
    let saved = shelf.save(&durable);
    saved.map_err(|error| Failure::from_error(Exit::Io, &error).at(format!("volume {}", wanted.name)))?;
    Ok(Chair::new(&plan.node, durable, plan.etcd.is_some()))
}

fn member_names(record: &Keyring) -> String {
    record.members.iter().map(|member| member.name.to_string()).collect::<Vec<_>>().join(", ")
}

/// What a member that has no record yet holds the first one against.
fn expected(plan: &PeersPlan, volume: VolumeId, served: Option<&Arc<Served>>) -> Option<Founding> {
    let lead = plan.members.iter().find(|member| member.name == plan.lead)?;
    let keys = served.map(|served| held(&served.controller.volume().table())).unwrap_or_default();
    Some(Founding {
        cluster: plan.cluster.clone(),
        volume,
        me: plan.node.clone(),
        lead: plan.lead.clone(),
        lead_sign: lead.public.sign,
        keys,
    })
}

/// Generations that others have to have, too.
fn shared(table: &GenerationTable) -> impl Iterator<Item = &Entry> {
    let never_used = |entry: &Entry| entry.state == KeyState::Prepared && entry.activated == 0;
    table.entries.iter().filter(move |entry| entry.generation != Generation::METADATA && !never_used(entry))
}

fn held(table: &GenerationTable) -> Vec<(Generation, [u8; 16])> {
    shared(table).map(|entry| (entry.generation, entry.key_id)).collect()
}

/// The first record of a volume.
fn genesis(plan: &PeersPlan, served: &Served, now: u64) -> Result<Keyring, String> {
    let volume = served.controller.volume();
    let table = volume.table();
    if !matches!(table.rotation.phase, Phase::Idle | Phase::Finalized) {
        return Err(
            "a rotation of this node alone is under way: finish it with `replicated = false`, then begin".into()
        );
    }
    let mut members: Vec<Member> = plan
        .members
        .iter()
        .map(|member| Member {
            name: member.name.clone(),
            role: member.role,
            sign: member.public.sign,
            seal: member.public.seal,
        })
        .collect();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    let key = |entry: &Entry| Key {
        generation: entry.generation,
        key_id: entry.key_id,
        suite: entry.suite,
        state: entry.state,
        compromised: entry.compromised,
        created: entry.created,
        activated: entry.activated,
        scheduled: entry.life.scheduled,
        check: [0; 16],
        reason: entry.reason.clone(),
        wraps: entry
            .wraps
            .iter()
            .map(|wrapped| NodeWrap { node: plan.node.clone(), wrapped: wrapped.clone() })
            .collect(),
    };
    let target = table.rotation.target;
    Ok(Keyring {
        cluster: plan.cluster.clone(),
        volume: volume.id(),
        stamp: Stamp::new(1, 1),
        lead: plan.node.clone(),
        ancestors: Vec::new(),
        members,
        expelled: Vec::new(),
        mandate: Vec::new(),
        keys: shared(&table).map(key).collect(),
        change: Change {
            pace: table.rotation.pace,
            verify: table.rotation.verify,
            ..Change::none(target, now, "daemon", "the peers of the volume were founded")
        },
    })
}
