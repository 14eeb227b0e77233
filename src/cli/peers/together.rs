//! The verbs of the control API on a daemon that has peers: those on a replicated volume go to its seat, all others go on as ever.
//!
//! Invariants: what changes keys or the rotation of a replicated volume goes through its seat, all of it; what only looks, reads data
//! or concerns this node's own wraps, backups and files stays local.

use std::sync::Arc;

use super::commands::{self, wish};
use super::{Peers, Seat, telling};
use crate::cli::operations::{DaemonOperations, Served};
use crate::cluster::node::Command;
use crate::control::Operations;
use crate::control::api::{
    ActionResult, ApiError, BackupRequest, BackupResult, BreakGlassRequest, CheckRequest, CheckStatus, DaemonStatus,
    DestroyRequest, EscrowRequest, HolderList, HolderNamed, HolderRequest, HolderResult, KeyActed, KeyInfo, KeyRequest,
    PaceRequest, PauseRequest, ProofRequest, ProofVerdict, ReasonRequest, ResizeRequest, Resized, RewrapRequest,
    Rewrapped, RotateStart, Rotation, RotationPlan, ScheduleRequest, VerifyRequest, VolumeStatus, WrapAddRequest,
    WrapRemoveRequest,
};
use crate::control::peers::PeerOperations;

/// A daemon among its peers.
pub struct Together {
    /// What it does alone.
    pub alone: Arc<DaemonOperations>,
    /// Its peers.
    pub peers: Arc<Peers>,
}

impl Together {
    /// The seat of a volume that is replicated, and the volume.
    fn seat(&self, volume: &str) -> Result<Option<(&Seat, &Served)>, ApiError> {
        let served = self.alone.find(volume)?;
        Ok(self.peers.seat(volume).map(|seat| (&**seat, &**served)))
    }

    fn key(
        &self,
        volume: &str,
        request: &KeyRequest,
        command: fn(crate::units::Generation) -> Command,
    ) -> Result<Option<KeyActed>, ApiError> {
        let seat = self.seat(volume)?;
        seat.map(|(seat, served)| commands::key(seat, served, request, command)).transpose()
    }

    /// The status of a volume, with what its peers have to do with it.
    fn among_peers(&self, mut status: VolumeStatus) -> VolumeStatus {
        if let Ok(Some((seat, served))) = self.seat(&status.name) {
            status.alarms.extend(seat.alarms());
            status.rotation = telling::rotation(seat, served);
        }
        status
    }
}

impl Operations for Together {
    fn status(&self) -> Result<DaemonStatus, ApiError> {
        let mut status = self.alone.status()?;
        status.volumes = status.volumes.into_iter().map(|volume| self.among_peers(volume)).collect();
        Ok(status)
    }

    fn volume(&self, volume: &str) -> Result<VolumeStatus, ApiError> {
        Ok(self.among_peers(self.alone.volume(volume)?))
    }

    fn keys(&self, volume: &str) -> Result<Vec<KeyInfo>, ApiError> {
        self.alone.keys(volume)
    }

    fn retire_key(&self, volume: &str, request: &KeyRequest) -> Result<KeyActed, ApiError> {
        let done = self.key(volume, request, Command::Retire)?;
        done.map_or_else(|| self.alone.retire_key(volume, request), Ok)
    }

    fn restore_key(&self, volume: &str, request: &KeyRequest) -> Result<KeyActed, ApiError> {
        let done = self.key(volume, request, Command::Restore)?;
        done.map_or_else(|| self.alone.restore_key(volume, request), Ok)
    }

    fn schedule_key(&self, volume: &str, request: &ScheduleRequest) -> Result<KeyActed, ApiError> {
        match self.seat(volume)? {
            Some((seat, served)) => {
                commands::schedule(seat, served, request, self.alone.policy.destroy_delay.as_secs())
            }
            None => self.alone.schedule_key(volume, request),
        }
    }

    fn cancel_key(&self, volume: &str, request: &KeyRequest) -> Result<KeyActed, ApiError> {
        let done = self.key(volume, request, Command::Cancel)?;
        done.map_or_else(|| self.alone.cancel_key(volume, request), Ok)
    }

    fn destroy_key(&self, volume: &str, request: &DestroyRequest) -> Result<KeyActed, ApiError> {
        match self.seat(volume)? {
            Some((seat, served)) => commands::destroy(seat, served, request, self.alone.policy.drill_max_age),
            None => self.alone.destroy_key(volume, request),
        }
    }

    fn compromise_key(&self, volume: &str, request: &BreakGlassRequest) -> Result<KeyActed, ApiError> {
        match self.seat(volume)? {
            Some((seat, served)) => commands::compromise(seat, served, request),
            None => self.alone.compromise_key(volume, request),
        }
    }

    fn revoke_key(&self, volume: &str, request: &KeyRequest) -> Result<KeyActed, ApiError> {
        match self.seat(volume)? {
            Some((seat, served)) => commands::revoke(seat, served, request),
            None => self.alone.revoke_key(volume, request),
        }
    }

    fn reinstate_key(&self, volume: &str, request: &BreakGlassRequest) -> Result<KeyActed, ApiError> {
        match self.seat(volume)? {
            Some((seat, served)) => commands::reinstate(seat, served, request),
            None => self.alone.reinstate_key(volume, request),
        }
    }

    fn verify_proof(&self, volume: &str, request: &ProofRequest) -> Result<ProofVerdict, ApiError> {
        self.alone.verify_proof(volume, request)
    }

    fn rotation(&self, volume: &str) -> Result<Rotation, ApiError> {
        match self.seat(volume)? {
            Some((seat, served)) => Ok(seat.troubled(telling::rotation(seat, served))),
            None => self.alone.rotation(volume),
        }
    }

    fn plan(&self, volume: &str, request: &RotateStart) -> Result<RotationPlan, ApiError> {
        self.alone.plan(volume, request)
    }

    fn start(&self, volume: &str, request: &RotateStart) -> Result<ActionResult, ApiError> {
        match self.seat(volume)? {
            Some((seat, served)) => {
                self.alone.refuse_forbidden_of(served, request.suite.as_ref())?;
                commands::start(seat, served, request)
            }
            None => self.alone.start(volume, request),
        }
    }

    fn pause(&self, volume: &str, request: &PauseRequest) -> Result<ActionResult, ApiError> {
        match self.seat(volume)? {
            Some((seat, served)) if request.here => {
                commands::hold_here(seat, served, true, wish(request.reason.as_ref())?)
            }
            Some((seat, served)) => commands::act(seat, served, Command::Pause(true), wish(request.reason.as_ref())?),
            None => self.alone.pause(volume, request),
        }
    }

    fn resume(&self, volume: &str, request: &PauseRequest) -> Result<ActionResult, ApiError> {
        match self.seat(volume)? {
            Some((seat, served)) if request.here => {
                commands::hold_here(seat, served, false, wish(request.reason.as_ref())?)
            }
            Some((seat, served)) => commands::act(seat, served, Command::Pause(false), wish(request.reason.as_ref())?),
            None => self.alone.resume(volume, request),
        }
    }

    fn pace(&self, volume: &str, request: &PaceRequest) -> Result<ActionResult, ApiError> {
        match self.seat(volume)? {
            Some((seat, served)) => commands::pace(seat, served, request),
            None => self.alone.pace(volume, request),
        }
    }

    fn rollback(&self, volume: &str, request: &ReasonRequest) -> Result<ActionResult, ApiError> {
        match self.seat(volume)? {
            Some((seat, served)) => commands::act(seat, served, Command::RollBack, wish(request.reason.as_ref())?),
            None => self.alone.rollback(volume, request),
        }
    }

    fn verify(&self, volume: &str, request: &VerifyRequest) -> Result<ActionResult, ApiError> {
        self.alone.verify(volume, request)
    }

    fn finalize(&self, volume: &str, request: &ReasonRequest) -> Result<ActionResult, ApiError> {
        match self.seat(volume)? {
            Some((seat, served)) => commands::act(seat, served, Command::Finalize, wish(request.reason.as_ref())?),
            None => self.alone.finalize(volume, request),
        }
    }

    fn resize(&self, volume: &str, request: &ResizeRequest) -> Result<Resized, ApiError> {
        self.alone.resize(volume, request)
    }

    fn check(&self, volume: &str, request: &CheckRequest) -> Result<CheckStatus, ApiError> {
        self.alone.check(volume, request)
    }

    fn check_status(&self, volume: &str) -> Result<CheckStatus, ApiError> {
        self.alone.check_status(volume)
    }

    fn rewrap(&self, volume: &str, request: &RewrapRequest) -> Result<Rewrapped, ApiError> {
        self.alone.rewrap(volume, request)
    }

    fn wrap_add(&self, volume: &str, request: &WrapAddRequest) -> Result<Rewrapped, ApiError> {
        self.alone.wrap_add(volume, request)
    }

    fn wrap_remove(&self, volume: &str, request: &WrapRemoveRequest) -> Result<Rewrapped, ApiError> {
        self.alone.wrap_remove(volume, request)
    }

    fn holders(&self, volume: &str) -> Result<HolderList, ApiError> {
        self.alone.holders(volume)
    }

    fn add_holder(&self, volume: &str, request: &HolderRequest) -> Result<HolderResult, ApiError> {
        self.alone.add_holder(volume, request)
    }

    fn release_holder(&self, volume: &str, request: &HolderNamed) -> Result<HolderResult, ApiError> {
        self.alone.release_holder(volume, request)
    }

    fn drilled_holder(&self, volume: &str, request: &HolderNamed) -> Result<HolderResult, ApiError> {
        self.alone.drilled_holder(volume, request)
    }

    fn back_up(&self, volume: &str, request: &BackupRequest) -> Result<BackupResult, ApiError> {
        self.alone.back_up(volume, request)
    }

    fn export_escrow(&self, volume: &str, request: &EscrowRequest) -> Result<BackupResult, ApiError> {
        self.alone.export_escrow(volume, request)
    }

    fn peers(&self) -> Result<&dyn PeerOperations, ApiError> {
        Ok(&*self.peers)
    }

    fn ready(&self) -> Result<(), ApiError> {
        self.alone.ready()
    }
}
