//! The verbs of the control plane about peers as a trait, for daemons that have some.
//!
//! Invariants: as [`crate::control::operations`]: every method may block, but not for longer than a client waits; an act that is
//! not committed by then answers `complete: false` and stays under way. `volume` is always an export name.

use crate::control::api::{
    AdmitRequest, ApiError, ErrorKind, ExpelRequest, FreezeRequest, HistoryRequest, InviteRequest, InviteResult,
    PeerActed, PeerCheckRequest, PeerCheckStatus, PeerFrozen, PeerList, PeerStatus, ReasonRequest, TokenRequest,
};

/// What a daemon with peers can do for an operator.
pub trait PeerOperations: Send + Sync {
    /// This node, its links and its replicated volumes.
    fn list(&self) -> Result<PeerList, ApiError>;

    /// The replicas of a volume; [`not_replicated`] if it has none.
    fn status(&self, volume: &str) -> Result<PeerStatus, ApiError>;

    /// Makes this node the lead, by promises of a majority.
    fn promote(&self, volume: &str, request: &ReasonRequest) -> Result<PeerActed, ApiError>;

    /// Goes on without a member, for good.
    fn expel(&self, volume: &str, request: &ExpelRequest) -> Result<PeerActed, ApiError>;

    /// Takes a member in.
    fn admit(&self, volume: &str, request: &AdmitRequest) -> Result<PeerActed, ApiError>;

    /// Gives up a generation that is prepared and not active yet.
    fn abandon(&self, volume: &str, request: &ReasonRequest) -> Result<PeerActed, ApiError>;

    /// Seals the volume's keys to nodes that shall make replicas, into a file.
    fn invite(&self, volume: &str, request: &InviteRequest) -> Result<InviteResult, ApiError>;

    /// Begins to compare the replicas of a volume, in the background.
    fn check(&self, volume: &str, request: &PeerCheckRequest) -> Result<PeerCheckStatus, ApiError>;

    /// The comparison that runs, or the last one.
    fn check_status(&self, volume: &str) -> Result<PeerCheckStatus, ApiError>;

    /// Keeps everybody from beginning a change.
    fn freeze(&self, request: &FreezeRequest) -> Result<PeerFrozen, ApiError>;

    /// Ends that.
    fn unfreeze(&self, request: &ReasonRequest) -> Result<PeerFrozen, ApiError>;

    /// Takes back a leave to rotate from a node that will not give it back itself.
    fn release_token(&self, request: &TokenRequest) -> Result<PeerActed, ApiError>;

    /// Takes what the coordinator holds of a volume as it is, although it held more before.
    fn accept_history(&self, volume: &str, request: &HistoryRequest) -> Result<PeerActed, ApiError>;
}

/// The daemon has no peers.
pub fn no_peers() -> ApiError {
    ApiError::new(ErrorKind::State, "no peers are configured")
        .hint("the daemon's configuration names them under [peers]; `keymoult peer init-ca` makes what it needs")
}

/// The volume is served, and has no replicas.
pub fn not_replicated(volume: &str) -> ApiError {
    ApiError::new(ErrorKind::State, "the volume is not replicated")
        .at(format!("volume {volume}"))
        .hint("`replicated = true` under its [[volume]] makes it so; `keymoult peer list` shows those that are")
}

/// Nothing that holds for every node can be said without a coordinator.
pub fn no_coordinator() -> ApiError {
    ApiError::new(ErrorKind::State, "no coordinator is configured").hint(
        "freezing all nodes and leaves to rotate take etcd ([peers.etcd]); `keymoult rotate pause` holds one volume",
    )
}

/// There is no coordinator whose history could be taken as it is.
pub fn no_history(volume: &str) -> ApiError {
    ApiError::new(ErrorKind::State, "no coordinator is configured, so there is no history of one to accept")
        .at(format!("volume {volume}"))
        .hint("what the peers agree on stands in each node's own file; `keymoult peer status` shows the latest record")
}

/// Another node leads.
pub fn not_the_lead(volume: &str, lead: &str, epoch: u64) -> ApiError {
    ApiError::new(ErrorKind::State, format!("{lead} leads this volume (epoch {epoch})"))
        .at(format!("volume {volume}"))
        .hint(format!("say it on {lead}; if {lead} is gone, `keymoult peer promote {volume}` makes this node the lead"))
}

/// Too few members can be reached.
pub fn no_majority(volume: &str, reachable: usize, members: usize, missing: &[String]) -> ApiError {
    let needed = members / 2 + 1;
    let what = format!("{reachable} of {members} members can be reached, and it takes {needed}");
    ApiError::new(ErrorKind::Unavailable, what)
        .at(format!("volume {volume}; not reached: {}", missing.join(", ")))
        .hint("nothing has changed, and clients are served; bring a node back or mend the network between them")
}
