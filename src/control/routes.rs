//! The routes of `/v1`, as one table: method, path, verb, handler.
//!
//! Invariants: every handler goes through the door, since [`Call::pass`] is its only way to the operations; a path with
//! `{volume}` acts on that volume, any other on the daemon or the audit log. `openapi.json` lists the same routes.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::api::{ApiError, AuditQuery, ErrorKind, KeyList, Pace, RotateStart, VolumeList};
use super::audit;
use super::authorize::{Actor, Object, Verb};
use super::door::{Door, Knock, NoBody, Reasoned};
use super::operations::Operations;

/// The API description, served as it is.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

/// What the handlers share.
pub(super) struct Shared {
    pub(super) door: Arc<Door>,
    pub(super) operations: Arc<dyn Operations>,
}

/// One request that reached a route.
pub(super) struct Call<'a> {
    pub(super) shared: &'a Shared,
    pub(super) actor: Actor,
    pub(super) verb: Verb,
    /// The volume of the path; empty where the path has none.
    pub(super) volume: String,
    pub(super) query: String,
    pub(super) body: &'a [u8],
}

/// JSON, or an error.
pub(super) type Answer = Result<Vec<u8>, ApiError>;

/// The method of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
}

/// One route.
#[derive(Clone, Copy)]
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) verb: Verb,
    pub(super) handler: fn(&Call<'_>) -> Answer,
}

const fn route(method: Method, path: &'static str, verb: Verb, handler: fn(&Call<'_>) -> Answer) -> Route {
    Route { method, path, verb, handler }
}

/// Every route behind the door.
pub(super) const ROUTES: &[Route] = &[
    route(Method::Get, "/v1/status", Verb::Status, status),
    route(Method::Get, "/v1/volumes", Verb::VolumeShow, volumes),
    route(Method::Get, "/v1/volumes/{volume}", Verb::VolumeShow, |c| c.view(|ops| ops.volume(&c.volume))),
    route(Method::Get, "/v1/volumes/{volume}/keys", Verb::KeyList, keys),
    route(Method::Post, "/v1/volumes/{volume}/keys/retire", Verb::KeyRetire, |c| {
        c.act(|ops, r| ops.retire_key(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/keys/restore", Verb::KeyRestore, |c| {
        c.act(|ops, r| ops.restore_key(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/keys/schedule", Verb::KeySchedule, |c| {
        c.act(|ops, r| ops.schedule_key(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/keys/cancel", Verb::KeyCancel, |c| {
        c.act(|ops, r| ops.cancel_key(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/keys/destroy", Verb::KeyDestroy, |c| {
        c.act(|ops, r| ops.destroy_key(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/keys/compromise", Verb::KeyCompromise, |c| {
        c.act(|ops, r| ops.compromise_key(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/keys/revoke", Verb::KeyRevoke, |c| {
        c.act(|ops, r| ops.revoke_key(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/keys/reinstate", Verb::KeyReinstate, |c| {
        c.act(|ops, r| ops.reinstate_key(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/keys/verify-proof", Verb::KeyVerifyProof, |c| {
        c.act(|ops, r| ops.verify_proof(&c.volume, &r))
    }),
    route(Method::Get, "/v1/volumes/{volume}/rotation", Verb::RotationShow, |c| c.view(|ops| ops.rotation(&c.volume))),
    route(Method::Post, "/v1/volumes/{volume}/rotation/plan", Verb::RotatePlan, plan),
    route(Method::Post, "/v1/volumes/{volume}/rotation/start", Verb::RotateStart, start),
    route(Method::Post, "/v1/volumes/{volume}/rotation/pause", Verb::RotatePause, |c| {
        c.act(|ops, r| ops.pause(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/rotation/resume", Verb::RotateResume, |c| {
        c.act(|ops, r| ops.resume(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/rotation/pace", Verb::RotatePace, pace),
    route(Method::Post, "/v1/volumes/{volume}/rotation/rollback", Verb::RotateRollback, |c| {
        c.act(|ops, r| ops.rollback(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/rotation/verify", Verb::RotateVerify, |c| {
        c.act(|ops, r| ops.verify(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/rotation/finalize", Verb::RotateFinalize, |c| {
        c.act(|ops, r| ops.finalize(&c.volume, &r))
    }),
    route(Method::Get, "/v1/volumes/{volume}/check", Verb::CheckShow, |c| c.view(|ops| ops.check_status(&c.volume))),
    route(Method::Post, "/v1/volumes/{volume}/check", Verb::VolumeCheck, |c| c.act(|ops, r| ops.check(&c.volume, &r))),
    route(Method::Post, "/v1/volumes/{volume}/resize", Verb::VolumeResize, |c| {
        c.act(|ops, r| ops.resize(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/keys/rewrap", Verb::KeyRewrap, |c| {
        c.act(|ops, r| ops.rewrap(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/keys/wrap-add", Verb::KeyWrapAdd, |c| {
        c.act(|ops, r| ops.wrap_add(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/keys/wrap-remove", Verb::KeyWrapRemove, |c| {
        c.act(|ops, r| ops.wrap_remove(&c.volume, &r))
    }),
    route(Method::Get, "/v1/volumes/{volume}/holders", Verb::HolderShow, |c| c.view(|ops| ops.holders(&c.volume))),
    route(Method::Post, "/v1/volumes/{volume}/holders", Verb::HolderAdd, |c| {
        c.act(|ops, r| ops.add_holder(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/holders/release", Verb::HolderRelease, |c| {
        c.act(|ops, r| ops.release_holder(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/holders/drilled", Verb::DrillRestore, |c| {
        c.act(|ops, r| ops.drilled_holder(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/header-backup", Verb::HeaderBackup, |c| {
        c.act(|ops, r| ops.back_up(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/escrow", Verb::EscrowExport, |c| {
        c.act(|ops, r| ops.export_escrow(&c.volume, &r))
    }),
    route(Method::Get, "/v1/volumes/{volume}/peers", Verb::PeerShow, |c| c.view(|ops| ops.peers()?.status(&c.volume))),
    route(Method::Post, "/v1/volumes/{volume}/peers/promote", Verb::PeerPromote, |c| {
        c.act(|ops, r| ops.peers()?.promote(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/peers/expel", Verb::PeerExpel, |c| {
        c.act(|ops, r| ops.peers()?.expel(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/peers/admit", Verb::PeerAdmit, |c| {
        c.act(|ops, r| ops.peers()?.admit(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/peers/abandon", Verb::PeerAbandon, |c| {
        c.act(|ops, r| ops.peers()?.abandon(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/peers/invite", Verb::PeerInvite, |c| {
        c.act(|ops, r| ops.peers()?.invite(&c.volume, &r))
    }),
    route(Method::Post, "/v1/volumes/{volume}/peers/accept-history", Verb::PeerAcceptHistory, |c| {
        c.act(|ops, r| ops.peers()?.accept_history(&c.volume, &r))
    }),
    route(Method::Get, "/v1/volumes/{volume}/peers/check", Verb::PeerCheckShow, |c| {
        c.view(|ops| ops.peers()?.check_status(&c.volume))
    }),
    route(Method::Post, "/v1/volumes/{volume}/peers/check", Verb::PeerCheck, |c| {
        c.act(|ops, r| ops.peers()?.check(&c.volume, &r))
    }),
    route(Method::Get, "/v1/peers", Verb::PeerShow, |c| c.view(|ops| ops.peers()?.list())),
    route(Method::Post, "/v1/peers/freeze", Verb::PeerFreeze, |c| c.act(|ops, r| ops.peers()?.freeze(&r))),
    route(Method::Post, "/v1/peers/unfreeze", Verb::PeerUnfreeze, |c| c.act(|ops, r| ops.peers()?.unfreeze(&r))),
    route(Method::Post, "/v1/peers/release-token", Verb::PeerReleaseToken, |c| {
        c.act(|ops, r| ops.peers()?.release_token(&r))
    }),
    route(Method::Get, "/v1/audit", Verb::AuditShow, show_audit),
    route(Method::Get, "/v1/openapi.json", Verb::Status, describe),
];

impl Call<'_> {
    fn object(&self) -> Object {
        match self.verb {
            Verb::AuditShow => Object::Audit,
            _ if self.volume.is_empty() => Object::Daemon,
            _ => Object::Volume(self.volume.clone()),
        }
    }

    fn pass<B, R>(&self, body: &[u8], act: impl FnOnce(B) -> Result<R, ApiError>) -> Answer
    where
        B: DeserializeOwned + Reasoned,
        R: Serialize,
    {
        let knock = Knock { actor: self.actor, verb: self.verb, object: self.object() };
        let result = self.shared.door.pass(&knock, body, act)?;
        serde_json::to_vec(&result)
            .map_err(|error| ApiError::new(ErrorKind::Internal, format!("cannot write the answer: {error}")))
    }

    /// Looks.
    fn view<R: Serialize>(&self, look: impl FnOnce(&dyn Operations) -> Result<R, ApiError>) -> Answer {
        self.pass(b"", |_: NoBody| look(self.shared.operations.as_ref()))
    }

    /// Acts on the request in the body.
    fn act<B, R>(&self, act: impl FnOnce(&dyn Operations, B) -> Result<R, ApiError>) -> Answer
    where
        B: DeserializeOwned + Reasoned,
        R: Serialize,
    {
        self.pass(self.body, |request| act(self.shared.operations.as_ref(), request))
    }
}

fn status(call: &Call<'_>) -> Answer {
    call.view(|ops| {
        let mut status = ops.status()?;
        status.control = call.shared.door.status();
        Ok(status)
    })
}

fn describe(call: &Call<'_>) -> Answer {
    call.view(|_| {
        serde_json::from_str::<serde_json::Value>(OPENAPI)
            .map_err(|error| ApiError::new(ErrorKind::Internal, format!("cannot read the API description: {error}")))
    })
}

fn volumes(call: &Call<'_>) -> Answer {
    call.view(|ops| Ok(VolumeList { volumes: ops.status()?.volumes }))
}

fn keys(call: &Call<'_>) -> Answer {
    call.view(|ops| Ok(KeyList { volume: call.volume.clone(), keys: ops.keys(&call.volume)? }))
}

fn plan(call: &Call<'_>) -> Answer {
    call.act(|ops, request: RotateStart| {
        check(&request.pace)?;
        ops.plan(&call.volume, &request)
    })
}

fn start(call: &Call<'_>) -> Answer {
    call.act(|ops, request: RotateStart| {
        check(&request.pace)?;
        ops.start(&call.volume, &request)
    })
}

fn pace(call: &Call<'_>) -> Answer {
    call.act(|ops, request: super::api::PaceRequest| {
        check(&request.pace)?;
        ops.pace(&call.volume, &request)
    })
}

fn check(pace: &Pace) -> Result<(), ApiError> {
    pace.check().map_err(|what| ApiError::new(ErrorKind::BadInput, what).at("pace"))
}

fn show_audit(call: &Call<'_>) -> Answer {
    call.view(|_| {
        let query = parse_audit_query(&call.query)?;
        audit::page(call.shared.door.audit().path(), query)
    })
}

/// Reads `after=N&limit=N`; numbers need no percent-decoding.
fn parse_audit_query(query: &str) -> Result<AuditQuery, ApiError> {
    let mut parsed = AuditQuery::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let known = match pair.split_once('=') {
            Some(("after", value)) => value.parse().map(|after| parsed.after = Some(after)).is_ok(),
            Some(("limit", value)) => value.parse().map(|limit| parsed.limit = Some(limit)).is_ok(),
            _ => false,
        };
        if !known {
            return Err(ApiError::new(ErrorKind::BadInput, format!("cannot read `{pair}` of the query"))
                .hint("the query is after=SEQUENCE and limit=COUNT"));
        }
    }
    Ok(parsed)
}

#[cfg(test)]
#[path = "tests/routes.rs"]
mod tests;
