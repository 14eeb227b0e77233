//! The cardboard daemon's peers: three nodes of which it is one, in the states an operator meets.

use std::collections::BTreeMap;

use keymoult::control::api::*;
use keymoult::control::peers::{PeerOperations, no_coordinator, no_history, no_majority, not_the_lead};

use crate::fake::{EXTENTS, Fake};

const ID: &str = "00000000-0000-4000-8000-000000000000";
const TIME: &str = "2026-01-02T03:04:05Z";

fn link(node: &str, up: bool) -> PeerLink {
    PeerLink {
        node: node.into(),
        address: format!("{node}.example:7000"),
        up,
        since: Some(TIME.into()),
        heard: Some(TIME.into()),
        version: Some("0.0.1".into()),
        suites: vec!["aes-256-xts".into(), "aes-128-xts".into()],
        certificate_ends: Some("2027-01-02T03:04:05Z".into()),
        last_error: (!up).then(|| "no answer for 10 s".into()),
        sent_bytes: 4096,
        received_bytes: 8192,
    }
}

fn progress(done: u64, revision: u64) -> ReplicaProgress {
    ReplicaProgress {
        told: TIME.into(),
        phase: if done == EXTENTS { ReplicaPhase::Drained } else { ReplicaPhase::Running },
        target: 2,
        census: BTreeMap::from([(1, EXTENTS - done), (2, done)]),
        extents_done: done,
        extents_total: EXTENTS,
        extents_verified: if done == EXTENTS { EXTENTS } else { 0 },
        rate_bytes_per_s: if done == EXTENTS { 0 } else { 200 << 20 },
        eta_s: (done < EXTENTS).then_some(75),
        converged: RecordStamp { epoch: 1, revision },
        lag_revisions: 12 - revision,
        lag_s: if revision < 12 { 125 } else { 0 },
        last_verified: Some(TIME.into()),
        ..ReplicaProgress::default()
    }
}

fn member(name: &str, link: Option<PeerLink>, progress: Option<ReplicaProgress>) -> MemberStatus {
    MemberStatus { name: name.into(), role: PeerRole::Full, link, progress }
}

/// Three replicas, led from here; all is well, and they drain.
pub fn draining() -> PeerStatus {
    PeerStatus {
        volume: "disk0".into(),
        id: ID.into(),
        cluster: "west".into(),
        node: "a".into(),
        lead: "a".into(),
        epoch: 1,
        accepted: RecordName { stamp: RecordStamp { epoch: 1, revision: 12 }, hash: "ab".repeat(32) },
        committed: RecordName { stamp: RecordStamp { epoch: 1, revision: 12 }, hash: "ab".repeat(32) },
        majority: 2,
        change: ChangeStatus {
            id: 1,
            step: ChangeStep::Active,
            target: 2,
            from: 1,
            since: Some(TIME.into()),
            actor: "user 0, process 7".into(),
            reason: "yearly".into(),
            ..ChangeStatus::default()
        },
        members: vec![
            member("a", None, Some(progress(EXTENTS, 12))),
            member("b", Some(link("b", true)), Some(progress(3, 12))),
            member("c", Some(link("c", true)), Some(progress(1, 12))),
        ],
        ..PeerStatus::default()
    }
}

/// The same, and b has gone.
pub fn one_missing() -> PeerStatus {
    let mut status = draining();
    status.members[1] = member("b", Some(link("b", false)), Some(progress(3, 11)));
    status.waiting =
        vec![PeerWaiting { member: "b".into(), what: "to be drained and verified".into(), since: TIME.into() }];
    status
}

/// The same from b, which hears c but not the lead.
pub fn follower() -> PeerStatus {
    let mut status = draining();
    status.node = "b".into();
    status.members = vec![
        member("a", Some(link("a", false)), Some(progress(3, 12))),
        member("b", None, Some(progress(2, 12))),
        member("c", Some(link("c", true)), Some(progress(1, 12))),
    ];
    status
}

/// The same, and nobody is heard.
pub fn cut_off() -> PeerStatus {
    let mut status = follower();
    status.members[2] = member("c", Some(link("c", false)), None);
    status
}

/// Something of everything the API can say.
pub fn everything() -> PeerStatus {
    let mut status = one_missing();
    let together =
        Together { one_at_a_time: true, cold_proof: true, deadline_s: Some(600), on_deadline: OnDeadline::Undo };
    let deadline = Some("2026-01-02T03:14:05Z".into());
    status.change = ChangeStatus { together, turn: Some("b".into()), deadline, paused: true, ..status.change };
    status.members[2].role = PeerRole::Witness;
    let hindrance = Some("the KEK file:/etc/keymoult/kek cannot be had: no such file".into());
    status.members[0].progress = Some(ReplicaProgress { held: true, hindrance, ..progress(2, 11) });
    status.expelled = vec!["d".into()];
    status.refusals = vec![PeerRefusal {
        member: "c".into(),
        kind: RefusalKind::Upgrade,
        what: "upgrade needed: it cannot read suite 7".into(),
    }];
    status.alarms = vec![Alarm {
        kind: AlarmKind::Peers,
        since: TIME.into(),
        count: 1,
        what: "b has not answered for 600 s".into(),
    }];
    status.out = Some("its record 1.12 is not in the lead's history".into());
    status.frozen = Some(freeze("the storage network is being rebuilt"));
    status
}

fn freeze(reason: &str) -> Freeze {
    Freeze { actor: "user 0, process 7 on a".into(), reason: reason.into(), since: TIME.into() }
}

impl Fake {
    fn replicas(&self, volume: &str) -> Result<&PeerStatus, ApiError> {
        self.known(volume)?;
        Ok(self.peers.as_ref().unwrap())
    }

    /// An act of the lead.
    fn lead_acts(&self, volume: &str, note: String) -> Result<PeerActed, ApiError> {
        let status = self.replicas(volume)?;
        if status.lead != status.node {
            return Err(not_the_lead(volume, &status.lead, status.epoch));
        }
        let (volume, waiting) = (volume.into(), status.waiting.clone());
        Ok(PeerActed { volume, changed: true, complete: waiting.is_empty(), notes: vec![note], waiting })
    }
}

impl PeerOperations for Fake {
    fn list(&self) -> Result<PeerList, ApiError> {
        let status = self.replicas("disk0")?;
        let links: Vec<PeerLink> = status.members.iter().filter_map(|member| member.link.clone()).collect();
        let volume = PeerVolume {
            volume: status.volume.clone(),
            lead: status.lead.clone(),
            epoch: status.epoch,
            step: status.change.step,
            members: 3,
            reachable: 1 + links.iter().filter(|link| link.up).count() as u64,
            waits_for: status.waiting.iter().map(|waiting| waiting.member.clone()).collect(),
            out: status.out.clone(),
        };
        let coordinator = status.frozen.as_ref().map(|_| CoordinatorStatus {
            kind: "etcd".into(),
            up: false,
            lead: Some("a".into()),
            epoch: Some(1),
            trouble: Some("no quorum: bring its members back".into()),
            tokens_max: 2,
            tokens: vec![WaveToken { volume: ID.into(), node: "b".into(), since: Some(TIME.into()) }],
        });
        Ok(PeerList {
            cluster: status.cluster.clone(),
            node: status.node.clone(),
            listen: "192.0.2.1:7000".into(),
            public: format!("keymoult-node:{}:00:11", status.node),
            certificate_ends: Some("2027-01-02T03:04:05Z".into()),
            links,
            volumes: vec![volume],
            frozen: status.frozen.clone(),
            coordinator,
        })
    }

    fn status(&self, volume: &str) -> Result<PeerStatus, ApiError> {
        self.replicas(volume).cloned()
    }

    fn promote(&self, volume: &str, _: &ReasonRequest) -> Result<PeerActed, ApiError> {
        let status = self.replicas(volume)?;
        let is_up = |member: &&MemberStatus| member.link.as_ref().is_none_or(|link| link.up);
        let missing: Vec<String> =
            status.members.iter().filter(|member| !is_up(member)).map(|it| it.name.clone()).collect();
        let reachable = status.members.len() - missing.len();
        if (reachable as u64) < status.majority {
            return Err(no_majority(volume, reachable, status.members.len(), &missing));
        }
        let note = format!("{} leads epoch {}", status.node, status.epoch + 1);
        let changed = status.lead != status.node;
        Ok(PeerActed { volume: volume.into(), changed, complete: true, notes: vec![note], waiting: Vec::new() })
    }

    fn expel(&self, volume: &str, request: &ExpelRequest) -> Result<PeerActed, ApiError> {
        self.lead_acts(volume, format!("{} holds no replica any more", request.node))
    }

    fn admit(&self, volume: &str, request: &AdmitRequest) -> Result<PeerActed, ApiError> {
        self.lead_acts(volume, format!("{} is a member, {}", request.public, request.role.name()))
    }

    fn abandon(&self, volume: &str, _: &ReasonRequest) -> Result<PeerActed, ApiError> {
        let status = self.replicas(volume)?;
        match status.change.step {
            ChangeStep::Prepared => self.lead_acts(volume, "generation 2 is given up".into()),
            step => Err(ApiError::new(ErrorKind::State, format!("the change is {}: nothing is prepared", step.name()))
                .at(format!("volume {volume}"))
                .hint("an active one goes back by `keymoult rotate rollback`")),
        }
    }

    fn invite(&self, volume: &str, request: &InviteRequest) -> Result<InviteResult, ApiError> {
        self.known(volume)?;
        let (volume, path, nodes) = (volume.into(), request.into.clone(), request.nodes.clone());
        Ok(InviteResult { volume, path, size_bytes: 1234, nodes, generations: vec![1, 2] })
    }

    fn check(&self, volume: &str, request: &PeerCheckRequest) -> Result<PeerCheckStatus, ApiError> {
        self.replicas(volume)?;
        *self.check.lock().unwrap() = Some(request.data);
        Ok(comparison(CheckState::Running, request.data))
    }

    /// Running at the first look, done at the next.
    fn check_status(&self, volume: &str) -> Result<PeerCheckStatus, ApiError> {
        let status = self.replicas(volume)?;
        let asked = self.check.lock().unwrap().take();
        let mut found = match asked {
            Some(data) => comparison(CheckState::Running, data),
            None => comparison(CheckState::Done, true),
        };
        if status.out.is_some() {
            found.state = CheckState::Failed;
            found.why = Some("this replica is quarantined".into());
        }
        Ok(found)
    }

    fn freeze(&self, request: &FreezeRequest) -> Result<PeerFrozen, ApiError> {
        match self.replicas("disk0")?.frozen {
            None => Err(no_coordinator()),
            Some(_) => Ok(PeerFrozen { changed: true, frozen: Some(freeze(&request.reason)) }),
        }
    }

    fn unfreeze(&self, _: &ReasonRequest) -> Result<PeerFrozen, ApiError> {
        match self.replicas("disk0")?.frozen {
            None => Err(no_coordinator()),
            Some(_) => Ok(PeerFrozen { changed: true, frozen: None }),
        }
    }

    fn accept_history(&self, volume: &str, _: &HistoryRequest) -> Result<PeerActed, ApiError> {
        if self.replicas(volume)?.frozen.is_none() {
            return Err(no_history(volume));
        }
        let notes = vec!["accepted: the volume's record is 1.4 and was 1.12".to_owned()];
        Ok(PeerActed { volume: volume.into(), changed: true, complete: true, notes, ..PeerActed::default() })
    }

    fn release_token(&self, request: &TokenRequest) -> Result<PeerActed, ApiError> {
        let notes = vec![format!("{} has leave to rotate no more", request.node)];
        Ok(PeerActed { volume: request.volume.clone(), changed: true, complete: true, notes, ..PeerActed::default() })
    }
}

fn comparison(state: CheckState, data: bool) -> PeerCheckStatus {
    let done = state == CheckState::Done;
    let found = |kind, first: u64, length: u64, nodes: &[&str]| Difference {
        kind,
        first,
        end: first + length,
        nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
    };
    let differences = vec![
        found(DifferenceKind::Draining, 0, 1 << 20, &[]),
        found(DifferenceKind::Differs, 1 << 20, 4096, &["c"]),
        found(DifferenceKind::Busy, 2 << 20, 8192, &[]),
    ];
    PeerCheckStatus {
        volume: "disk0".into(),
        state,
        data,
        started: Some(TIME.into()),
        bytes_done: if done { EXTENTS << 20 } else { 1 << 20 },
        bytes_total: EXTENTS << 20,
        bytes_differing: if done { 4096 } else { 0 },
        bytes_busy: if done { 8192 } else { 0 },
        bytes_draining: if done { 1 << 20 } else { 0 },
        replicas: vec!["a".into(), "c".into()],
        left_out: vec![LeftOut { node: "b".into(), why: "it cannot be reached".into() }],
        differences: if done { differences } else { Vec::new() },
        ..PeerCheckStatus::default()
    }
}
