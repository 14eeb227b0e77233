//! Every use of a KEK goes into the audit log before it happens, on behalf of whoever acts.
//!
//! Invariants: the intent is durable before the keeper is asked, and the outcome carries the keeper's request id, so that
//! our log can be held against the keeper's own. A key is not wrapped unrecorded. It *is* opened unrecorded if the log
//! takes no records, and the daemon's own log says so: a log that is full or damaged must not keep a volume from its clients.

use std::sync::Arc;

use crate::control::audit::{Draft, Kind, Space};
use crate::control::authorize::{Actor, Decision, Object, Verb};
use crate::control::door::{Door, acting};
use crate::keys::{KeyAct, KeyError, KeyUse, Witness};

/// The witness of a daemon's KEKs.
pub struct AuditWitness {
    door: Arc<Door>,
}

impl AuditWitness {
    /// Records in the log behind `door`.
    pub fn new(door: Arc<Door>) -> AuditWitness {
        AuditWitness { door }
    }
}

impl Witness for AuditWitness {
    fn before(&self, usage: &KeyUse<'_>) -> Result<u64, KeyError> {
        let (actor, object) = (acting::actor(), object(usage));
        let recorded = self.door.audit().append(draft(usage, &actor, &object, Kind::Intent), Space::Reserve);
        match (recorded, usage.act) {
            (Ok(sequence), _) => Ok(sequence),
            (Err(error), KeyAct::Unwrap) => {
                tracing::error!(%object, %error, "a key is opened and it could not be recorded");
                Ok(0)
            }
            (Err(error), KeyAct::Wrap) => Err(KeyError::Unrecorded { source: Box::new(error) }),
        }
    }

    fn after(&self, number: u64, usage: &KeyUse<'_>, outcome: Result<Option<&str>, &KeyError>) {
        let (actor, object) = (acting::actor(), object(usage));
        let text = outcome.err().map_or_else(|| "done".to_owned(), |error| format!("failed: {error}"));
        let mut draft = draft(usage, &actor, &object, Kind::Outcome);
        draft.intent = (number > 0).then_some(number);
        draft.outcome = Some(&text);
        draft.keeper_request = outcome.ok().flatten();
        if let Err(error) = self.door.audit().append(draft, Space::Reserve) {
            tracing::error!(%object, %error, "could not record how the use of a key ended");
        }
    }
}

fn object(usage: &KeyUse<'_>) -> Object {
    Object::Key(usage.purpose.volume, usage.purpose.generation)
}

fn draft<'a>(usage: &'a KeyUse<'_>, actor: &'a Actor, object: &'a Object, kind: Kind) -> Draft<'a> {
    let verb = match usage.act {
        KeyAct::Wrap => Verb::KeyWrap,
        KeyAct::Unwrap => Verb::KeyUnwrap,
    };
    Draft {
        kind,
        actor,
        verb,
        object,
        parameters: None,
        reason: None,
        decision: Decision { allowed: true, rule: "daemon" },
        intent: None,
        outcome: None,
        kek: Some(&usage.kek.label),
        keeper_request: None,
    }
}

#[cfg(test)]
#[path = "tests/witness.rs"]
mod tests;
