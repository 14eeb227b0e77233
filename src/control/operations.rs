//! The verbs of the control plane as a trait: what the daemon must be able to do for an operator.
//!
//! Invariants: every method may block, is called from several threads, and is called only by the [`crate::control::door`],
//! so it has been authorized and recorded already. A verb that finds nothing to do answers `changed: false`.

use crate::control::api::{
    ActionResult, ApiError, BackupRequest, BackupResult, BreakGlassRequest, CheckRequest, CheckStatus, DaemonStatus,
    DestroyRequest, EscrowRequest, HolderList, HolderNamed, HolderRequest, HolderResult, KeyActed, KeyInfo, KeyRequest,
    PaceRequest, PauseRequest, ProofRequest, ProofVerdict, ReasonRequest, ResizeRequest, Resized, RewrapRequest,
    Rewrapped, RotateStart, Rotation, RotationPlan, ScheduleRequest, VerifyRequest, VolumeStatus, WrapAddRequest,
    WrapRemoveRequest,
};
use crate::control::peers::{PeerOperations, no_peers};

/// What a daemon can do for an operator. `volume` is always an export name.
pub trait Operations: Send + Sync {
    /// The daemon and all its volumes. [`DaemonStatus::control`] is filled in by the server.
    fn status(&self) -> Result<DaemonStatus, ApiError>;

    /// One volume. The default looks it up in [`Operations::status`].
    fn volume(&self, volume: &str) -> Result<VolumeStatus, ApiError> {
        let found = self.status()?.volumes.into_iter().find(|status| status.name == volume);
        found.ok_or_else(|| ApiError::no_such_volume(volume))
    }

    /// The key generations of a volume, oldest first, the metadata key (0) included.
    fn keys(&self, volume: &str) -> Result<Vec<KeyInfo>, ApiError>;

    /// Proves that nothing needs a key, and takes it out of memory.
    fn retire_key(&self, volume: &str, request: &KeyRequest) -> Result<KeyActed, ApiError>;

    /// Brings a retired key back.
    fn restore_key(&self, volume: &str, request: &KeyRequest) -> Result<KeyActed, ApiError>;

    /// Gives the destruction of a retired key a date.
    fn schedule_key(&self, volume: &str, request: &ScheduleRequest) -> Result<KeyActed, ApiError>;

    /// Withdraws that date.
    fn cancel_key(&self, volume: &str, request: &KeyRequest) -> Result<KeyActed, ApiError>;

    /// Erases a key that is due.
    fn destroy_key(&self, volume: &str, request: &DestroyRequest) -> Result<KeyActed, ApiError>;

    /// Marks a key as known to others, or takes the mark away.
    fn compromise_key(&self, volume: &str, request: &BreakGlassRequest) -> Result<KeyActed, ApiError>;

    /// Withdraws a key, whatever it encrypts.
    fn revoke_key(&self, volume: &str, request: &KeyRequest) -> Result<KeyActed, ApiError>;

    /// Gives a withdrawn key back.
    fn reinstate_key(&self, volume: &str, request: &BreakGlassRequest) -> Result<KeyActed, ApiError>;

    /// Checks a statement of retirement.
    fn verify_proof(&self, volume: &str, request: &ProofRequest) -> Result<ProofVerdict, ApiError>;

    /// The rotation of a volume, running or last.
    fn rotation(&self, volume: &str) -> Result<Rotation, ApiError> {
        Ok(self.volume(volume)?.rotation)
    }

    /// What a rotation would do. Changes nothing.
    fn plan(&self, volume: &str, request: &RotateStart) -> Result<RotationPlan, ApiError>;

    /// Prepares a new generation, makes it active, and starts to re-encrypt.
    fn start(&self, volume: &str, request: &RotateStart) -> Result<ActionResult, ApiError>;

    /// Holds the rotation; survives a restart.
    fn pause(&self, volume: &str, request: &PauseRequest) -> Result<ActionResult, ApiError>;

    /// Lets a paused (or failed) rotation go on.
    fn resume(&self, volume: &str, request: &PauseRequest) -> Result<ActionResult, ApiError>;

    /// Changes the pace; survives a restart.
    fn pace(&self, volume: &str, request: &PaceRequest) -> Result<ActionResult, ApiError>;

    /// Makes the old generation the target again: one commit, whatever the size.
    fn rollback(&self, volume: &str, request: &ReasonRequest) -> Result<ActionResult, ApiError>;

    /// Reads moved extents back with the engine that did not write.
    fn verify(&self, volume: &str, request: &VerifyRequest) -> Result<ActionResult, ApiError>;

    /// Ends the way back and proves the old generation empty.
    fn finalize(&self, volume: &str, request: &ReasonRequest) -> Result<ActionResult, ApiError>;

    /// Makes a volume larger while it is served; clients see it at once.
    fn resize(&self, volume: &str, request: &ResizeRequest) -> Result<Resized, ApiError>;

    /// Begins to check a volume while it is served, in the background.
    fn check(&self, volume: &str, request: &CheckRequest) -> Result<CheckStatus, ApiError>;

    /// The check that runs, or the last one.
    fn check_status(&self, volume: &str) -> Result<CheckStatus, ApiError>;

    /// Has another KEK take over: its wraps are added, proven, and the old ones removed. No data is touched.
    fn rewrap(&self, volume: &str, request: &RewrapRequest) -> Result<Rewrapped, ApiError>;

    /// Has another KEK open the volume, too.
    fn wrap_add(&self, volume: &str, request: &WrapAddRequest) -> Result<Rewrapped, ApiError>;

    /// Takes a KEK's wraps away, if what stays is proven to open every key.
    fn wrap_remove(&self, volume: &str, request: &WrapRemoveRequest) -> Result<Rewrapped, ApiError>;

    /// What holds keys of the volume outside it.
    fn holders(&self, volume: &str) -> Result<HolderList, ApiError>;

    /// Enters a snapshot that the operator declares.
    fn add_holder(&self, volume: &str, request: &HolderRequest) -> Result<HolderResult, ApiError>;

    /// Notes that a holder is gone.
    fn release_holder(&self, volume: &str, request: &HolderNamed) -> Result<HolderResult, ApiError>;

    /// Notes that a drill has proven a holder.
    fn drilled_holder(&self, volume: &str, request: &HolderNamed) -> Result<HolderResult, ApiError>;

    /// Backs the header up into a file.
    fn back_up(&self, volume: &str, request: &BackupRequest) -> Result<BackupResult, ApiError>;

    /// Seals the keys to recipients, into a file.
    fn export_escrow(&self, volume: &str, request: &EscrowRequest) -> Result<BackupResult, ApiError>;

    /// What can be done about peers; refused by a daemon that has none.
    fn peers(&self) -> Result<&dyn PeerOperations, ApiError> {
        Err(no_peers())
    }

    /// Whether clients can be served now; the answer of `/readyz`.
    fn ready(&self) -> Result<(), ApiError>;
}
