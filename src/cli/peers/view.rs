//! The replicas of a volume in the API's words.
//!
//! Invariant: nothing is asked of anybody: what is shown is what the seat and the links know at this moment.

use super::seat::Shown;
use crate::cli::words;
use crate::cluster::durable::Durable;
use crate::cluster::link::PeerState;
use crate::cluster::message::Refusal;
use crate::cluster::name::NodeName;
use crate::cluster::node::{View, Waiting};
use crate::cluster::progress::Progress;
use crate::cluster::record::{self, Change, Member, Role, Signed, Step};
use crate::cluster::stamp::Stamp;
use crate::control::api::{
    ChangeStatus, ChangeStep, MemberStatus, OnDeadline, PeerLink, PeerRefusal, PeerRole, PeerStatus, PeerVolume,
    PeerWaiting, RecordName, RecordStamp, RefusalKind, ReplicaPhase, ReplicaProgress, Together,
};
use crate::format::generations::Phase;
use crate::units::hex;

/// What the API is told of a seat that has a record.
pub fn status(volume: &str, me: &NodeName, shown: &Shown, view: &View, links: &[PeerState]) -> PeerStatus {
    let durable = &view.durable;
    let record = &durable.committed.record;
    PeerStatus {
        volume: volume.into(),
        id: record.volume.to_string(),
        cluster: record.cluster.clone(),
        node: me.to_string(),
        lead: record.lead.to_string(),
        epoch: record.stamp.epoch,
        accepted: name(&durable.accepted),
        committed: name(&durable.committed),
        majority: record.majority() as u64,
        change: change(&record.change, view),
        members: record.members.iter().map(|it| member(it, me, view, durable, links)).collect(),
        expelled: record.expelled.iter().map(ToString::to_string).collect(),
        waiting: view.waiting.iter().map(waiting).collect(),
        refusals: view.refusals.iter().map(|(member, why)| refusal(member, why)).collect(),
        alarms: shown.alarms.list(),
        out: durable.out.clone(),
        ..PeerStatus::default()
    }
}

/// A replicated volume in one line.
pub fn line(volume: &str, durable: &Durable, view: &View, up: impl Fn(&NodeName) -> bool) -> PeerVolume {
    let record = &durable.committed.record;
    let mut waits_for: Vec<String> = view.waiting.iter().map(|it| it.member.to_string()).collect();
    waits_for.dedup();
    PeerVolume {
        volume: volume.into(),
        lead: record.lead.to_string(),
        epoch: record.stamp.epoch,
        step: step(record.change.step),
        members: record.members.len() as u64,
        reachable: record.members.iter().filter(|member| up(&member.name)).count() as u64,
        waits_for,
        out: durable.out.clone(),
    }
}

fn stamp(stamp: Stamp) -> RecordStamp {
    RecordStamp { epoch: stamp.epoch, revision: stamp.revision }
}

fn name(signed: &Signed) -> RecordName {
    RecordName { stamp: stamp(signed.record.stamp), hash: hex(&signed.record.hash()) }
}

fn step(step: Step) -> ChangeStep {
    match step {
        Step::Idle => ChangeStep::Idle,
        Step::Prepared => ChangeStep::Prepared,
        Step::Active => ChangeStep::Active,
        Step::RolledBack => ChangeStep::RolledBack,
        Step::Finalized => ChangeStep::Finalized,
    }
}

fn on_deadline(what: record::OnDeadline) -> OnDeadline {
    match what {
        record::OnDeadline::Alarm => OnDeadline::Alarm,
        record::OnDeadline::Undo => OnDeadline::Undo,
    }
}

fn change(change: &Change, view: &View) -> ChangeStatus {
    let oldest = view.waiting.iter().map(|it| it.since).min();
    let deadline = oldest.filter(|_| change.deadline_s > 0).map(|since| since.saturating_add(change.deadline_s));
    ChangeStatus {
        id: change.id,
        step: step(change.step),
        target: change.target.0,
        from: change.from.0,
        paused: change.paused,
        hold_finalize: change.hold_finalize,
        together: Together {
            one_at_a_time: change.one_at_a_time,
            cold_proof: change.cold_proof,
            deadline_s: (change.deadline_s > 0).then_some(change.deadline_s),
            on_deadline: on_deadline(change.on_deadline),
        },
        turn: None,
        pace: words::pace_out(change.pace),
        verify: words::verify_out(change.verify),
        since: words::time(change.since),
        deadline: deadline.and_then(words::time),
        actor: change.actor.clone(),
        reason: change.reason.clone(),
    }
}

fn member(it: &Member, me: &NodeName, view: &View, durable: &Durable, links: &[PeerState]) -> MemberStatus {
    let said = view.members.iter().find(|(name, _)| *name == it.name).and_then(|(_, said)| said.as_ref());
    MemberStatus {
        name: it.name.to_string(),
        role: match it.role {
            Role::Full => PeerRole::Full,
            Role::Witness => PeerRole::Witness,
        },
        link: links.iter().find(|state| state.name == it.name && it.name != *me).map(link),
        progress: said.filter(|_| it.role == Role::Full).map(|said| progress(said, durable)),
    }
}

/// A link in the API's words.
pub fn link(state: &PeerState) -> PeerLink {
    PeerLink {
        node: state.name.to_string(),
        address: state.address.clone(),
        up: state.up,
        since: words::time(state.since),
        heard: words::time(state.heard),
        version: state.hello.as_ref().map(|hello| hello.capabilities.software.clone()),
        suites: state.hello.iter().flat_map(|hello| &hello.capabilities.suites).map(|id| words::suite(*id)).collect(),
        certificate_ends: state.certificate_ends.and_then(words::time),
        last_error: state.last_error.clone(),
        sent_bytes: state.sent_bytes,
        received_bytes: state.received_bytes,
    }
}

fn phase(phase: Phase) -> ReplicaPhase {
    match phase {
        Phase::Idle => ReplicaPhase::Idle,
        Phase::Running => ReplicaPhase::Running,
        Phase::Paused => ReplicaPhase::Paused,
        Phase::Drained => ReplicaPhase::Drained,
        Phase::Finalized => ReplicaPhase::Finalized,
        Phase::Failed => ReplicaPhase::Failed,
    }
}

fn progress(said: &Progress, durable: &Durable) -> ReplicaProgress {
    let committed = &durable.committed.record;
    let lag = committed.stamp.revision.saturating_sub(said.converged.revision);
    let extents_total = said.census.iter().map(|(_, extents)| extents).sum();
    let done = said.census.iter().find(|(generation, _)| *generation == said.target).map_or(0, |(_, extents)| *extents);
    ReplicaProgress {
        told: words::time(said.at).unwrap_or_default(),
        phase: phase(said.phase),
        target: said.target.0,
        census: said.census.iter().map(|(generation, extents)| (generation.0, *extents)).collect(),
        extents_done: done,
        extents_total,
        extents_verified: said.verified,
        rate_bytes_per_s: said.rate,
        eta_s: said.eta_s,
        converged: stamp(said.converged),
        lag_revisions: lag,
        lag_s: if lag > 0 { words::now().saturating_sub(committed.change.since) } else { 0 },
        hindrance: said.hindrance.clone(),
        held: said.held,
        last_verified: words::time(said.last_verified),
    }
}

/// What is waited for, in the API's words.
pub fn waiting(it: &Waiting) -> PeerWaiting {
    PeerWaiting {
        member: it.member.to_string(),
        what: it.what.clone(),
        since: words::time(it.since).unwrap_or_default(),
    }
}

fn refusal(member: &NodeName, why: &Refusal) -> PeerRefusal {
    let kind = match why {
        Refusal::Epoch { .. } => RefusalKind::Epoch,
        Refusal::Older { .. } => RefusalKind::Older,
        Refusal::Fork { .. } => RefusalKind::Fork,
        Refusal::NotEntitled(_) => RefusalKind::NotEntitled,
        Refusal::Rule(_) => RefusalKind::Rule,
        Refusal::Upgrade(_) => RefusalKind::Upgrade,
        Refusal::Failed(_) => RefusalKind::Failed,
        Refusal::Out(_) => RefusalKind::Out,
    };
    PeerRefusal { member: member.to_string(), kind, what: why.to_string() }
}
