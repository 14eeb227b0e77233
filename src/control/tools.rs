//! The record of commands that work without a daemon: an audit log of the same form beside the daemon's.
//!
//! Invariants: the log is locked for one record at a time, so that commands run side by side and none waits for another's work; an act
//! begins only when its intent is durable, and so does every use of a KEK. Intents without an outcome belong to a command that was
//! killed or still runs, so nobody settles them for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::control::audit::{AuditError, AuditLog, Draft, Kind, Space};
use crate::control::authorize::{Actor, Decision, Object, Verb};
use crate::keys::{KeyAct, KeyError, KeyUse, Witness};

/// How often, and how long apart, a log that another command writes to is tried again: five seconds in all.
const TRIES: u32 = 500;
const PAUSE: Duration = Duration::from_millis(10);

/// The log of this machine's tools.
#[derive(Debug)]
pub struct ToolLog {
    state_dir: PathBuf,
    actor: Actor,
}

impl ToolLog {
    /// The log in `state_dir`, which is made if only its last component is missing. Checks that it takes records.
    ///
    /// # Errors
    /// It cannot be opened or made, or is damaged.
    pub fn open(state_dir: &Path) -> Result<ToolLog, AuditError> {
        let log = ToolLog { state_dir: state_dir.to_owned(), actor: Actor::daemon() };
        log.patiently().map(|_| log)
    }

    /// Path of the log.
    pub fn path(&self) -> PathBuf {
        self.state_dir.join(super::audit::TOOLS_NAME)
    }

    fn patiently(&self) -> Result<AuditLog, AuditError> {
        for _ in 0..TRIES {
            match AuditLog::open_tools(&self.state_dir) {
                Err(AuditError::InUse { .. }) => std::thread::sleep(PAUSE),
                other => return other,
            }
        }
        AuditLog::open_tools(&self.state_dir)
    }

    fn append(&self, draft: Draft<'_>) -> Result<u64, AuditError> {
        self.patiently()?.append(draft, Space::Reserve)
    }

    /// Records that `verb` is about to be done to `object`; gives the intent's sequence.
    ///
    /// # Errors
    /// It could not be recorded, so it must not be done.
    pub fn begin(&self, verb: Verb, object: &Object, reason: Option<&str>) -> Result<u64, AuditError> {
        self.append(Draft { reason, ..self.draft(Kind::Intent, verb, object) })
    }

    /// Records how it ended.
    ///
    /// # Errors
    /// It could not be recorded; it has happened all the same.
    pub fn end(&self, intent: u64, verb: Verb, object: &Object, outcome: &str) -> Result<u64, AuditError> {
        let outcome = Some(outcome);
        self.append(Draft { intent: Some(intent), outcome, ..self.draft(Kind::Outcome, verb, object) })
    }

    fn draft<'a>(&'a self, kind: Kind, verb: Verb, object: &'a Object) -> Draft<'a> {
        Draft {
            kind,
            actor: &self.actor,
            verb,
            object,
            parameters: None,
            reason: None,
            decision: Decision { allowed: true, rule: "tool" },
            intent: None,
            outcome: None,
            kek: None,
            keeper_request: None,
        }
    }
}

fn verb_of(usage: &KeyUse<'_>) -> Verb {
    match usage.act {
        KeyAct::Wrap => Verb::KeyWrap,
        KeyAct::Unwrap => Verb::KeyUnwrap,
    }
}

impl Witness for ToolLog {
    fn before(&self, usage: &KeyUse<'_>) -> Result<u64, KeyError> {
        let object = Object::Key(usage.purpose.volume, usage.purpose.generation);
        let draft = Draft { kek: Some(&usage.kek.label), ..self.draft(Kind::Intent, verb_of(usage), &object) };
        self.append(draft).map_err(|error| KeyError::Unrecorded { source: Box::new(error) })
    }

    fn after(&self, number: u64, usage: &KeyUse<'_>, outcome: Result<Option<&str>, &KeyError>) {
        let object = Object::Key(usage.purpose.volume, usage.purpose.generation);
        let text = outcome.err().map_or_else(|| "done".to_owned(), |error| format!("failed: {error}"));
        let draft = Draft {
            intent: Some(number),
            outcome: Some(&text),
            kek: Some(&usage.kek.label),
            keeper_request: outcome.ok().flatten(),
            ..self.draft(Kind::Outcome, verb_of(usage), &object)
        };
        if let Err(error) = self.append(draft) {
            tracing::error!(%object, %error, "could not record how the use of a key ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::audit;

    #[test]
    fn many_tools_at_once_make_one_chain() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("state");
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let dir = dir.clone();
                std::thread::spawn(move || {
                    let (log, object) = (ToolLog::open(&dir).unwrap(), Object::Volume(format!("{number}")));
                    for _ in 0..5 {
                        let intent = log.begin(Verb::VolumeCreate, &object, Some("why")).unwrap();
                        log.end(intent, Verb::VolumeCreate, &object, "done").unwrap();
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let path = ToolLog::open(&dir).unwrap().path();
        let report = audit::verify(&path, None).unwrap();
        assert_eq!((report.head.sequence, report.unfinished, report.anchored), (40, vec![], true));
    }

    #[test]
    fn an_act_that_was_cut_off_stays_without_an_outcome_and_a_damaged_log_takes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (log, object) = (ToolLog::open(folder.path()).unwrap(), Object::Volume("x".into()));
        log.begin(Verb::HeaderRestore, &object, None).unwrap();
        ToolLog::open(folder.path()).unwrap().begin(Verb::VolumeCreate, &object, None).unwrap();
        assert_eq!(audit::verify(&log.path(), None).unwrap().unfinished, [1, 2]);
        let text = std::fs::read_to_string(log.path()).unwrap().replace("header-restore", "header-rostore");
        std::fs::write(log.path(), text).unwrap();
        assert!(matches!(log.begin(Verb::VolumeCreate, &object, None), Err(AuditError::Damaged { .. })));
    }
}
