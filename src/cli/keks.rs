//! The KEKs of a volume that is about to be served: any of them opens it, so one that cannot be had is an alarm, not the
//! end. And the words for a volume that none of them opens any more, because its KEK was changed.

use std::path::Path;
use std::sync::Arc;

use super::failure::Failure;
use super::failure_of;
use crate::control::api::AuditQuery;
use crate::control::audit::{self, Kind};
use crate::control::authorize::{Object, Verb};
use crate::keys::{self, Kek, KekUri, KeyErrorClass, NewKek, Witness};

/// A KEK that was given and cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// As the operator named it.
    pub kek: String,
    /// Why.
    pub why: String,
    /// What the operator can do about it.
    pub hint: Option<String>,
}

/// Opens the KEKs that `uris` name, as far as they can be had.
///
/// # Errors
/// A URI makes no sense, or not one can be had: the first one's reason.
pub fn open_each(uris: &[String], witness: &Arc<dyn Witness>) -> Result<(Vec<Kek>, Vec<Missing>), Failure> {
    let (mut keks, mut missing, mut first) = (Vec::new(), Vec::new(), None);
    for text in uris {
        let uri: KekUri = text.parse().map_err(|error| failure_of::key(&error))?;
        match keys::open(&uri, NewKek::Never) {
            Ok(opened) => keks.push(Kek::new(opened.keeper, Some(Arc::clone(witness)))),
            Err(error) if error.class() == KeyErrorClass::Usage => return Err(failure_of::key(&error)),
            Err(error) => {
                missing.push(Missing { kek: uri.to_string(), why: error.to_string(), hint: error.hint() });
                first.get_or_insert_with(|| failure_of::key(&error));
            }
        }
    }
    match (keks.is_empty(), first) {
        (true, Some(failure)) => Err(failure),
        _ => Ok((keks, missing)),
    }
}

/// What the audit log says of the last change of the volume's KEKs, if it is among its last records.
pub fn last_change(log: &Path, name: &str) -> Option<String> {
    let page = audit::page(log, AuditQuery::default()).ok()?;
    let object = Object::Volume(name.to_owned()).to_string();
    let verbs = [Verb::KeyRewrap, Verb::KeyWrapAdd, Verb::KeyWrapRemove].map(Verb::name);
    let is_change = |record: &&audit::Record| {
        record.kind == Kind::Note && record.object == object && verbs.contains(&record.verb.as_str())
    };
    let record = page.records.iter().rev().find(is_change)?;
    Some(format!("{}: {}", record.time, record.outcome.as_deref()?))
}
