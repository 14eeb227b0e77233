//! The one door of the control plane: authorize, audit, act, audit the outcome.
//!
//! Invariants: an act runs only if the authorizer allows it *and* its intent is durable in the log; a denied request is
//! recorded and does not run; a view is recorded only when denied. A panic inside an act becomes a failed outcome.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::DeserializeOwned;

use crate::control::api::{ApiError, ControlStatus, ErrorKind, REASON_MAX};
use crate::control::audit::{AuditError, AuditLog, Draft, Kind, Space};
use crate::control::authorize::{Actor, Authorizer, Decision, Object, Verb, VerbClass};

pub mod acting {
    //! On whose behalf this thread acts, for records that are made deep inside an act.

    use std::cell::Cell;

    use crate::control::authorize::Actor;

    thread_local! {
        static ACTOR: Cell<Option<Actor>> = const { Cell::new(None) };
    }

    /// Runs `act`, in which [`actor`] is `actor`.
    pub fn on_behalf_of<R>(actor: Actor, act: impl FnOnce() -> R) -> R {
        let before = ACTOR.replace(Some(actor));
        let result = act();
        ACTOR.set(before);
        result
    }

    /// Who has asked for what this thread does; the daemon itself outside of an act.
    pub fn actor() -> Actor {
        ACTOR.get().unwrap_or_else(Actor::daemon)
    }
}

/// A request body that may carry a reason.
pub trait Reasoned {
    /// The reason given.
    fn reason(&self) -> Option<&str> {
        None
    }

    /// Whether it is refused without one.
    fn must_say_why(&self) -> bool {
        false
    }
}

/// Who asks for what.
#[derive(Clone, Debug)]
pub struct Knock {
    /// Who asks.
    pub actor: Actor,
    /// For what.
    pub verb: Verb,
    /// Done to what.
    pub object: Object,
}

/// Authorizer and audit log behind one entrance.
pub struct Door {
    authorizer: Authorizer,
    audit: AuditLog,
}

impl Door {
    /// A door with this authorizer and this log.
    pub fn new(authorizer: Authorizer, audit: AuditLog) -> Door {
        Door { authorizer, audit }
    }

    /// The door of a daemon whose state is in `state_dir`, for the user it runs as. A damaged log does not keep the daemon from
    /// serving volumes: it then refuses control actions and says why. A log that cannot be opened at all, or is in use, is
    /// an error.
    pub fn open(state_dir: &std::path::Path) -> Result<std::sync::Arc<Door>, AuditError> {
        let audit = match AuditLog::open(state_dir) {
            Err(error @ AuditError::Damaged { .. }) => {
                tracing::error!(%error, "control actions are refused");
                AuditLog::refusing(state_dir, error.to_string())
            }
            other => other?,
        };
        Ok(std::sync::Arc::new(Door::new(Authorizer::solo(nix::unistd::geteuid().as_raw()), audit)))
    }

    /// The audit log behind it.
    pub fn audit(&self) -> &AuditLog {
        &self.audit
    }

    /// What `status` says about the control plane.
    pub fn status(&self) -> ControlStatus {
        ControlStatus {
            policy: self.authorizer.describe().into(),
            audit_log: self.audit.path().display().to_string(),
            audit_head: self.audit.head(),
            audit_refusing: self.audit.why_refusing(),
            audit_reserve: self.audit.has_reserve(),
        }
    }

    /// Lets `act` happen if it may and can be recorded. `body` is the request as received: JSON, or nothing for `{}`.
    pub fn pass<B, R>(
        &self,
        knock: &Knock,
        body: &[u8],
        act: impl FnOnce(B) -> Result<R, ApiError>,
    ) -> Result<R, ApiError>
    where
        B: DeserializeOwned + Reasoned,
    {
        let decision = self.authorizer.authorize(&knock.actor, knock.verb, &knock.object);
        if !decision.allowed {
            return Err(self.deny(knock, body, decision));
        }
        let request: B = parse(body)?;
        let space = match knock.verb.class() {
            VerbClass::View => return guard(|| act(request)),
            VerbClass::Act => Space::Ordinary,
            VerbClass::Safety => Space::Reserve,
        };
        let mut draft = draft(knock, decision, Kind::Intent);
        draft.parameters = Some(parameters(body));
        draft.reason = request.reason();
        let intent = self.audit.append(draft, space).map_err(|error| refused(&error, self.audit.path()))?;
        let result = acting::on_behalf_of(knock.actor, || guard(|| act(request)));
        self.outcome(knock, decision, intent, result.as_ref().err());
        result
    }

    /// Records something the daemon did of its own accord: it started, opened a volume, finalized. Never stops it.
    pub fn note(&self, verb: Verb, object: &Object, what: &str) {
        if let Err(error) = self.record(verb, object, what, Space::Reserve) {
            tracing::error!(verb = verb.name(), %object, %error, "could not record");
        }
    }

    /// Records something the daemon is about to do of its own accord, which must not happen unrecorded.
    ///
    /// # Errors
    /// It could not be recorded.
    pub fn record(&self, verb: Verb, object: &Object, what: &str, space: Space) -> Result<(), AuditError> {
        let knock = Knock { actor: Actor::daemon(), verb, object: object.clone() };
        let mut draft = draft(&knock, Decision { allowed: true, rule: "daemon" }, Kind::Note);
        draft.outcome = Some(what);
        self.audit.append(draft, space).map(drop)
    }

    /// Records a denied request, as far as possible, and words the refusal.
    fn deny(&self, knock: &Knock, body: &[u8], decision: Decision) -> ApiError {
        let mut draft = draft(knock, decision, Kind::Denied);
        draft.parameters = Some(parameters(body));
        if let Err(error) = self.audit.append(draft, Space::Ordinary) {
            tracing::error!(verb = knock.verb.name(), uid = knock.actor.uid, %error, "could not record a denied request");
        }
        ApiError::new(ErrorKind::Denied, format!("user {} may not {}", knock.actor.uid, knock.verb.name()))
            .at(knock.object.to_string())
            .hint(match knock.verb.takes_paths() {
                true => {
                    "it has the daemon open files that the request names, with the daemon's rights: ask as root".into()
                }
                false => format!("the policy is: {}", self.authorizer.describe()),
            })
    }

    /// Records how an act ended. If that fails, the act has happened all the same; the log refuses the next one.
    fn outcome(&self, knock: &Knock, decision: Decision, intent: u64, error: Option<&ApiError>) {
        let text = match error {
            None => "done".to_owned(),
            Some(error) => format!("failed: {error}"),
        };
        let mut draft = draft(knock, decision, Kind::Outcome);
        draft.intent = Some(intent);
        draft.outcome = Some(&text);
        if let Err(error) = self.audit.append(draft, Space::Reserve) {
            tracing::error!(verb = knock.verb.name(), intent, %error, "could not record an outcome");
        }
    }
}

fn draft(knock: &Knock, decision: Decision, kind: Kind) -> Draft<'_> {
    Draft {
        kind,
        actor: &knock.actor,
        verb: knock.verb,
        object: &knock.object,
        parameters: None,
        reason: None,
        decision,
        intent: None,
        outcome: None,
        kek: None,
        keeper_request: None,
    }
}

fn parameters(body: &[u8]) -> String {
    format!("sha256:{}", crate::control::audit::digest(body))
}

/// Reads a request body; an empty one is `{}`.
fn parse<B: DeserializeOwned + Reasoned>(body: &[u8]) -> Result<B, ApiError> {
    let unreadable = |why: &dyn std::fmt::Display| {
        ApiError::new(ErrorKind::BadInput, format!("cannot read the request body: {why}"))
            .hint("GET /v1/openapi.json describes every body")
    };
    let body = if body.is_empty() { b"{}" } else { body };
    // Serde would take an array as the fields in order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(unreadable(&"it is not a JSON object"));
    }
    let request: B = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
    match request.reason() {
        Some(reason) if reason.len() > REASON_MAX => {
            Err(ApiError::new(ErrorKind::BadInput, format!("the reason is longer than {REASON_MAX} bytes"))
                .at("reason"))
        }
        Some(reason) if request.must_say_why() && reason.trim().is_empty() => {
            Err(ApiError::new(ErrorKind::BadInput, "the reason is empty").at("reason"))
        }
        _ => Ok(request),
    }
}

/// Runs an act; a panic in it is an internal error, not the end of the daemon.
fn guard<R>(act: impl FnOnce() -> Result<R, ApiError>) -> Result<R, ApiError> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| {
        Err(ApiError::new(ErrorKind::Internal, "the daemon met a fault of its own while doing it")
            .hint("its log has the details; please report it"))
    })
}

/// Words the refusal of an act that cannot be recorded.
fn refused(error: &AuditError, path: &std::path::Path) -> ApiError {
    let hint = match error {
        AuditError::NoSpace { .. } => {
            "free some space there; pause and rollback still work, and volumes are served as before"
        }
        _ => "check it with `keymoult audit verify`, then restart the daemon; volumes are served as before",
    };
    let mut what = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        what = format!("{what}: {source}");
    }
    ApiError::new(ErrorKind::AuditRefused, format!("refused, for it cannot be recorded: {what}"))
        .at(path.display().to_string())
        .hint(hint)
}

/// The body of a request that has none.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
pub struct NoBody {}

impl Reasoned for NoBody {}

macro_rules! reasoned {
    ($($body:ty),*) => {$(
        impl Reasoned for $body {
            fn reason(&self) -> Option<&str> {
                self.reason.as_deref()
            }
        }
    )*};
}

use crate::control::api::{
    AdmitRequest, BackupRequest, BreakGlassRequest, CheckRequest, DestroyRequest, EscrowRequest, ExpelRequest,
    FreezeRequest, HistoryRequest, HolderNamed, HolderRequest, InviteRequest, KeyRequest, PaceRequest, PauseRequest,
    PeerCheckRequest, ProofRequest, ReasonRequest, ResizeRequest, RewrapRequest, RotateStart, ScheduleRequest,
    TokenRequest, VerifyRequest, WrapAddRequest, WrapRemoveRequest,
};
reasoned!(BackupRequest, EscrowRequest, HolderNamed, HolderRequest);
reasoned!(RotateStart, PaceRequest, VerifyRequest, ReasonRequest, CheckRequest, ResizeRequest);
reasoned!(KeyRequest, ScheduleRequest, DestroyRequest, BreakGlassRequest);
reasoned!(RewrapRequest, WrapAddRequest, WrapRemoveRequest);
reasoned!(PauseRequest, AdmitRequest, InviteRequest, PeerCheckRequest);

macro_rules! always_reasoned {
    ($($body:ty),*) => {$(
        impl Reasoned for $body {
            fn reason(&self) -> Option<&str> {
                Some(&self.reason)
            }

            fn must_say_why(&self) -> bool {
                true
            }
        }
    )*};
}

always_reasoned!(ExpelRequest, FreezeRequest, TokenRequest, HistoryRequest);

impl Reasoned for ProofRequest {}

#[cfg(test)]
#[path = "tests/door.rs"]
mod tests;
