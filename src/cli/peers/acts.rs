//! An operator's acts on the peers themselves: who leads, who is a member, what is given up.
//!
//! Invariants: as [`crate::control::peers`]; what cannot be undone takes a reason, which the routes have asked for already.

use super::commands::{Asked, wish};
use super::{Peers, Seat, view};
use crate::cli::words;
use crate::cluster::identity::NodePublic;
use crate::cluster::name::NodeName;
use crate::cluster::node::{By, Command};
use crate::cluster::record::{Member, Role};
use crate::control::api::{
    AdmitRequest, ApiError, ErrorKind, ExpelRequest, FreezeRequest, InviteRequest, InviteResult, PeerActed,
    PeerCheckRequest, PeerCheckStatus, PeerFrozen, PeerList, PeerRole, PeerStatus, ReasonRequest, TokenRequest,
};
use crate::control::peers::{PeerOperations, no_coordinator, not_replicated};

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
        Ok(PeerList {
            cluster: self.plan.cluster.clone(),
            node: self.plan.node.to_string(),
            listen: self.post.links().map(|links| links.address().to_string()).unwrap_or_default(),
            public: self.keys.public().to_string(),
            certificate_ends: self.post.links().and_then(|links| links.certificate_ends()).and_then(words::time),
            volumes: volumes.collect(),
            links: links.iter().map(view::link).collect(),
            frozen: None,
            coordinator: None,
        })
    }

    fn status(&self, volume: &str) -> Result<PeerStatus, ApiError> {
        let seat = self.find(volume)?;
        let links = self.post.links().map(|links| links.peers()).unwrap_or_default();
        let shown = seat.shown().clone();
        Ok(match &shown.view {
            Some(view) => view::status(volume, &self.plan.node, &shown, view, &links),
            None => PeerStatus {
                volume: volume.into(),
                id: seat.volume.to_string(),
                cluster: self.plan.cluster.clone(),
                node: self.plan.node.to_string(),
                lead: self.plan.lead.to_string(),
                alarms: shown.alarms.list(),
                out: shown.out.clone(),
                ..PeerStatus::default()
            },
        })
    }

    fn promote(&self, volume: &str, request: &ReasonRequest) -> Result<PeerActed, ApiError> {
        self.act(volume, Command::Promote(0), wish(request.reason.as_ref())?)
    }

    fn expel(&self, volume: &str, request: &ExpelRequest) -> Result<PeerActed, ApiError> {
        self.act(volume, Command::Expel(node(&request.node)?), wish(Some(&request.reason))?)
    }

    fn admit(&self, volume: &str, request: &AdmitRequest) -> Result<PeerActed, ApiError> {
        let bad = |what: String| ApiError::new(ErrorKind::BadInput, what);
        let public: NodePublic = request.public.parse().map_err(|error| bad(format!("{error}")))?;
        let dialled = self.plan.members.iter().any(|member| member.name == public.name);
        if !dialled {
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

    fn check(&self, volume: &str, _: &PeerCheckRequest) -> Result<PeerCheckStatus, ApiError> {
        self.find(volume)?;
        Err(ApiError::new(ErrorKind::Unsupported, "replicas cannot be compared by this build"))
    }

    fn check_status(&self, volume: &str) -> Result<PeerCheckStatus, ApiError> {
        self.find(volume)?;
        Err(ApiError::new(ErrorKind::Unsupported, "replicas cannot be compared by this build"))
    }

    fn freeze(&self, _: &FreezeRequest) -> Result<PeerFrozen, ApiError> {
        Err(no_coordinator())
    }

    fn unfreeze(&self, _: &ReasonRequest) -> Result<PeerFrozen, ApiError> {
        Err(no_coordinator())
    }

    fn release_token(&self, _: &TokenRequest) -> Result<PeerActed, ApiError> {
        Err(no_coordinator())
    }
}
