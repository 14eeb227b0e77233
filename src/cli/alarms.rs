//! The alarms of a served volume: raised once, counted, said in the log, on record and in `status` until they are over.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::keks::Missing;
use super::words;
use crate::control::api::{Alarm, AlarmKind};
use crate::control::authorize::{Object, Verb};
use crate::control::door::Door;
use crate::crypto::{Standing, Suite, SuitePolicy};
use crate::format::generations::GenerationTable;
use crate::units::Generation;
use crate::volume::Volume;
use crate::volume::open::Opening;

/// The alarms of one volume.
#[derive(Debug, Default)]
pub struct Alarms(Mutex<BTreeMap<(AlarmKind, String), Alarm>>);

impl Alarms {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(AlarmKind, String), Alarm>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Raises an alarm, or counts it once more.
    pub fn raise(&self, name: &str, kind: AlarmKind, what: String) {
        tracing::error!(name, alarm = kind.name(), what, "alarm");
        let since = words::time(words::now()).unwrap_or_default();
        let mut alarms = self.lock();
        let key = (kind, what.clone());
        alarms.entry(key).or_insert(Alarm { kind, since, count: 0, what }).count += 1;
    }

    /// What `kind` was about is over.
    pub fn clear(&self, kind: AlarmKind) {
        self.lock().retain(|(other, _), _| *other != kind);
    }

    /// Those that are raised.
    pub fn list(&self) -> Vec<Alarm> {
        self.lock().values().cloned().collect()
    }
}

/// Raises what opening a volume gave cause for, and puts it on record.
pub fn of_opening(alarms: &Alarms, name: &str, volume: &Volume, missing: &[Missing], door: &Door) {
    for Missing { kek, why, .. } in missing {
        let what = format!("the KEK {kek} cannot be had ({why}): new generations are wrapped for the others only");
        alarms.raise(name, AlarmKind::KekUnavailable, what);
    }
    let openings = volume.openings();
    let fallbacks: Vec<_> = openings.iter().filter(|(_, opening)| opening.is_fallback(!missing.is_empty())).collect();
    if let Some(what) = fallback(&fallbacks, missing) {
        alarms.raise(name, AlarmKind::FallbackKek, what);
    }
    let object = Object::Volume(name.to_owned());
    alarms.list().iter().for_each(|alarm| door.note(Verb::VolumeOpen, &object, &format!("alarm: {}", alarm.what)));
}

/// Fallbacks in words.
fn fallback(fallbacks: &[(&Generation, &Opening)], missing: &[Missing]) -> Option<String> {
    let (_, opening) = fallbacks.first()?;
    let keys: Vec<String> = fallbacks.iter().map(|(generation, _)| generation.to_string()).collect();
    let mut reasons: Vec<String> = missing.iter().map(|it| it.why.clone()).collect();
    reasons.extend(opening.refusals.iter().cloned());
    reasons.extend(opening.idle.iter().map(|kek| format!("no wrap is by {kek}")));
    Some(format!(
        "the keys of generations {} were opened by the fallback {} ({}), since {}",
        keys.join(", "),
        opening.kek,
        opening.kek_id,
        reasons.join("; ")
    ))
}

/// Whether any key is still opened by a fallback.
pub fn has_fallback(volume: &Volume) -> bool {
    volume.openings().values().any(|opening| opening.wraps_before > 0)
}

/// Alarms about suites that extents are under, by today's policy.
pub fn of_suites(table: &GenerationTable, volume: &Volume, policy: &SuitePolicy, name: &str) -> Vec<Alarm> {
    let census = volume.census();
    let mut alarms = Vec::new();
    for entry in &table.entries {
        let Some(extents) = census.get(&entry.generation) else { continue };
        let Some((suite, verdict)) =
            Suite::from_id(entry.suite).map(|suite| (suite, policy.verdict(suite, words::now())))
        else {
            continue;
        };
        let kind = match verdict.standing {
            Standing::Allowed => continue,
            Standing::Deprecated => AlarmKind::SuiteDeprecated,
            Standing::Forbidden => AlarmKind::SuiteForbidden,
        };
        let since = words::time(verdict.since.unwrap_or(entry.created)).unwrap_or_default();
        let what = format!(
            "{extents} extents are under generation {}, whose suite {}: `keymoult rotate start {name} --cipher …` moves them",
            entry.generation,
            words::standing(suite, &verdict)
        );
        alarms.push(Alarm { kind, since, count: 1, what });
    }
    alarms
}
