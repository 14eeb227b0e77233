//! An operator's acts on the peers themselves: who leads, who is a member, what is given up.
//!
//! Invariants: as [`crate::control::peers`]; what cannot be undone takes a reason, which the routes have asked for already.

use std::sync::Arc;

use super::check::Drive;
use super::commands::{Asked, wish};
use super::{Peers, Seat, view};
use crate::cli::config::PeersPlan;
use crate::cli::operations::life::user;
use crate::cli::words;
use crate::cluster::coordinator::{self, Coordinator, CoordinatorError, Token};
use crate::cluster::identity::NodePublic;
use crate::cluster::name::NodeName;
use crate::cluster::node::{By, Command};
use crate::cluster::record::{Member, Role};
use crate::control::api::{
    AdmitRequest, ApiError, CoordinatorStatus, ErrorKind, ExpelRequest, Freeze, FreezeRequest, HistoryRequest,
    InviteRequest, InviteResult, PeerActed, PeerCheckRequest, PeerCheckStatus, PeerFrozen, PeerList, PeerRole,
    PeerStatus, PeerWaiting, ReasonRequest, TokenRequest, WaveToken,
};
use crate::control::peers::{PeerOperations, no_coordinator, no_history, not_replicated};

impl Peers {
    fn find(&self, volume: &str) -> Result<&Seat, ApiError> {
        self.seat(volume).map(|seat| &**seat).ok_or_else(|| not_replicated(volume))
    }

    fn act(&self, volume: &str, command: Command, by: By) -> Result<PeerActed, ApiError> {
        let seat = self.find(volume)?;
        let asked = seat.ask(command, by)?;
        let (complete, notes, waiting) = match asked {
            Asked::Done(said) => (true, vec![said], Vec::new()),
            Asked::UnderWay(waiting) => (false, Vec::new(), waiting.iter().map(view::waiting).collect()),
        };
        Ok(PeerActed { volume: volume.into(), changed: complete, complete, notes, waiting })
    }
}

fn node(name: &str) -> Result<NodeName, ApiError> {
    name.parse().map_err(|error| ApiError::new(ErrorKind::BadInput, format!("{error}")))
}

impl PeerOperations for Peers {
    fn list(&self) -> Result<PeerList, ApiError> {
        let links = self.post.links().map(|links| links.peers()).unwrap_or_default();
        let is_up = |name: &NodeName| *name == self.plan.node || links.iter().any(|link| link.up && link.name == *name);
        let volumes = self.seats.values().filter_map(|seat| {
            let view = seat.view()?;
            Some(view::line(seat.name(), &view.durable, &view, is_up))
        });
        let asked = self.coordinator.as_ref().map(|(coordinator, most)| coordinated(&**coordinator, *most));
        let (coordinator, frozen) = asked.map_or((None, None), |(status, frozen)| (Some(status), frozen));
        Ok(PeerList {
            cluster: self.plan.cluster.clone(),
            node: self.plan.node.to_string(),
            listen: self.post.links().map(|links| links.address().to_string()).unwrap_or_default(),
            public: self.keys.public().to_string(),
            certificate_ends: self.post.links().and_then(|links| links.certificate_ends()).and_then(words::time),
            volumes: volumes.collect(),
            links: links.iter().map(view::link).collect(),
            frozen,
            coordinator,
        })
    }

    fn status(&self, volume: &str) -> Result<PeerStatus, ApiError> {
        let seat = self.find(volume)?;
        let links = self.post.links().map(|links| links.peers()).unwrap_or_default();
        let shown = seat.shown().clone();
        let status = match &shown.view {
            Some(view) => view::status(volume, &self.plan.node, &shown, view, &links),
            None => PeerStatus {
                volume: volume.into(),
                id: seat.volume.to_string(),
                cluster: self.plan.cluster.clone(),
                node: self.plan.node.to_string(),
                lead: self.plan.lead.to_string(),
                alarms: shown.alarms.list(),
                out: shown.out.clone(),
                waiting: shown.unadmitted.map(|since| admission(&self.plan, since)).into_iter().collect(),
                ..PeerStatus::default()
            },
        };
        let stands = seat.leave.as_ref().and_then(|leave| leave.frozen());
        Ok(PeerStatus { coordinated: seat.leave.is_some(), frozen: stands.as_ref().map(frozen), ..status })
    }

    fn promote(&self, volume: &str, request: &ReasonRequest) -> Result<PeerActed, ApiError> {
        if self.find(volume)?.leave.is_some() {
            return Err(ApiError::new(ErrorKind::State, "the coordinator says who leads, by its lease")
                .at(format!("volume {volume}"))
                .hint("another node leads by itself once the lead is stopped, or its lease has ended"));
        }
        self.act(volume, Command::Promote(0), wish(request.reason.as_ref())?)
    }

    fn expel(&self, volume: &str, request: &ExpelRequest) -> Result<PeerActed, ApiError> {
        self.act(volume, Command::Expel(node(&request.node)?), wish(Some(&request.reason))?)
    }

    fn admit(&self, volume: &str, request: &AdmitRequest) -> Result<PeerActed, ApiError> {
        let bad = |what: String| ApiError::new(ErrorKind::BadInput, what);
        let public: NodePublic = request.public.parse().map_err(|error| bad(format!("{error}")))?;
        if self.configured(public.name.as_str()).is_none() {
            return Err(bad(format!(
                "{} stands in no [[peers.member]] of this node, so nobody would dial it",
                public.name
            ))
            .hint("add it, with its address, to the configuration of every node, reload them, and say it again"));
        }
        let role = match request.role {
            PeerRole::Full => Role::Full,
            PeerRole::Witness => Role::Witness,
        };
        let member = Member { name: public.name, role, sign: public.sign, seal: public.seal };
        self.act(volume, Command::Admit(member), wish(request.reason.as_ref())?)
    }

    fn abandon(&self, volume: &str, request: &ReasonRequest) -> Result<PeerActed, ApiError> {
        self.act(volume, Command::Abandon, wish(request.reason.as_ref())?)
    }

    fn invite(&self, volume: &str, request: &InviteRequest) -> Result<InviteResult, ApiError> {
        self.find(volume)?;
        super::invite::make(self, volume, request)
    }

    fn check(&self, volume: &str, request: &PeerCheckRequest) -> Result<PeerCheckStatus, ApiError> {
        let seat = self.find(volume)?;
        let served = self.served(volume)?;
        let view =
            seat.view().ok_or_else(|| ApiError::new(ErrorKind::State, "the volume has no record of its peers yet"))?;
        let drive = Drive {
            me: self.plan.node.clone(),
            served: Arc::clone(served),
            post: Arc::clone(&self.post),
            door: Arc::clone(&self.door),
            replicas: view.durable.committed.record.full().map(|member| member.name.clone()).collect(),
        };
        if drive.replicas.len() < 2 {
            return Err(ApiError::new(ErrorKind::State, "there is one replica alone: nothing to compare it with"));
        }
        seat.comparison.start(drive, request)
    }

    fn check_status(&self, volume: &str) -> Result<PeerCheckStatus, ApiError> {
        let status = self.find(volume)?.comparison.status();
        Ok(PeerCheckStatus { volume: volume.into(), ..status })
    }

    fn freeze(&self, request: &FreezeRequest) -> Result<PeerFrozen, ApiError> {
        let (coordinator, _) = self.coordinator.as_ref().ok_or_else(no_coordinator)?;
        let wanted = coordinator::Freeze { by: user(), reason: request.reason.clone(), since: words::now() };
        let stands = coordinator.freeze(&wanted).map_err(|error| unanswered(&error))?;
        Ok(PeerFrozen { changed: stands == wanted, frozen: Some(frozen(&stands)) })
    }

    fn unfreeze(&self, _: &ReasonRequest) -> Result<PeerFrozen, ApiError> {
        let (coordinator, _) = self.coordinator.as_ref().ok_or_else(no_coordinator)?;
        let stood = coordinator.unfreeze().map_err(|error| unanswered(&error))?;
        Ok(PeerFrozen { changed: stood.is_some(), frozen: None })
    }

    fn release_token(&self, request: &TokenRequest) -> Result<PeerActed, ApiError> {
        let (coordinator, _) = self.coordinator.as_ref().ok_or_else(no_coordinator)?;
        let tokens = coordinator.tokens().map_err(|error| unanswered(&error))?;
        let is_it = |token: &&Token| token.volume.to_string() == request.volume && token.node.as_str() == request.node;
        let Some(token) = tokens.iter().find(is_it) else {
            let what = format!("{} has no leave to rotate {}", request.node, request.volume);
            return Err(ApiError::new(ErrorKind::NotFound, what).hint("`keymoult peer list` shows who has"));
        };
        let changed = coordinator.drop_token(token.volume).map_err(|error| unanswered(&error))?;
        Ok(PeerActed { volume: request.volume.clone(), changed, complete: true, ..PeerActed::default() })
    }

    fn accept_history(&self, volume: &str, _: &HistoryRequest) -> Result<PeerActed, ApiError> {
        let seat = self.find(volume)?;
        let (coordinator, _) = self.coordinator.as_ref().ok_or_else(|| no_history(volume))?;
        let lost = coordinator.accept_history(seat.volume).map_err(|error| unanswered(&error))?;
        tracing::warn!(volume, ?lost, "an operator accepts what the coordinator holds");
        let notes = believed(lost.as_ref());
        Ok(PeerActed { volume: volume.into(), changed: lost.is_some(), complete: true, notes, ..PeerActed::default() })
    }
}

/// What came of an operator's word on the coordinator's history.
fn believed(lost: Option<&coordinator::Backwards>) -> Vec<String> {
    match lost {
        None => vec!["the coordinator holds no less than it has shown this node: there is nothing to accept".into()],
        Some(lost) => vec![
            format!("accepted: {lost}"),
            "say it on every node; whoever leads goes on in a new epoch, from the record the nodes hold".into(),
        ],
    }
}

/// What a node waits for that the lead's record does not name yet.
fn admission(plan: &PeersPlan, since: u64) -> PeerWaiting {
    let what = format!("to admit {}", plan.node);
    PeerWaiting { member: plan.lead.to_string(), what, since: words::time(since).unwrap_or_default() }
}

/// The coordinator did not do it.
fn unanswered(error: &CoordinatorError) -> ApiError {
    let kind = if error.is_passing() { ErrorKind::Unavailable } else { ErrorKind::State };
    ApiError::new(kind, error.to_string()).hint("clients are served, and nothing has changed")
}

fn frozen(freeze: &coordinator::Freeze) -> Freeze {
    Freeze {
        actor: freeze.by.clone(),
        reason: freeze.reason.clone(),
        since: words::time(freeze.since).unwrap_or_default(),
    }
}

/// What is known of the coordinator, asked now.
fn coordinated(coordinator: &dyn Coordinator, concurrent: usize) -> (CoordinatorStatus, Option<Freeze>) {
    // Whoever does not answer the first question is not waited for twice.
    let tokens = coordinator.tokens();
    let freeze = tokens.as_ref().map_err(CoordinatorError::clone).and_then(|_| coordinator.frozen());
    let trouble = freeze.as_ref().err().map(ToString::to_string);
    let token = |token: &Token| WaveToken {
        volume: token.volume.to_string(),
        node: token.node.to_string(),
        since: words::time(token.since),
    };
    let status = CoordinatorStatus {
        kind: "etcd".into(),
        up: trouble.is_none(),
        trouble,
        tokens_max: concurrent as u64,
        tokens: tokens.unwrap_or_default().iter().map(token).collect(),
        ..CoordinatorStatus::default()
    };
    (status, freeze.ok().flatten().as_ref().map(frozen))
}
