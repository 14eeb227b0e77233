//! The life of keys on a running daemon: requests in, the controller asked, proofs kept, words out.
//!
//! Invariants: what cannot be undone takes a reason; a statement of retirement is durable in the state directory before the
//! generation table names it, and its digest is in the audit log.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::{DaemonOperations, Served, failed, reason, words};
use crate::cluster::whole;
use crate::control::api::{
    ApiError, BreakGlassRequest, DestroyRequest, ErrorKind, KeyActed, KeyInfo, KeyRequest, ProofRequest, ProofVerdict,
    ScheduleRequest,
};
use crate::control::authorize::{Object, Verb};
use crate::control::door::acting;
use crate::format::generations::{Entry, KeyState};
use crate::rotation::Flight;
use crate::units::{Generation, hex};
use crate::volume::VolumeError;
use crate::volume::life::{By, Destroyed, How, LostWrap, REVOKE_PATIENCE, Statement, SystemClock};
use crate::volume::open::Opening;

/// Where statements are kept, in the state directory.
const PROOFS: &str = "proofs";

/// Whoever this thread acts for, now, and why.
pub fn by(reason: String) -> By {
    By { actor: user(), reason, now: words::now() }
}

/// Whoever this thread acts for.
pub fn user() -> String {
    let actor = acting::actor();
    let process = actor.pid.map_or_else(String::new, |pid| format!(", process {pid}"));
    format!("user {}{process}", actor.uid)
}

/// What an operator who knows that it cannot be undone has to say.
pub fn insist(break_glass: bool, given: Option<&String>, what: &str) -> Result<(), ApiError> {
    let said = given.is_some_and(|reason| !reason.trim().is_empty());
    match (break_glass, said) {
        (true, true) => Ok(()),
        (false, _) => Err(ApiError::new(ErrorKind::State, format!("{what} needs break-glass"))
            .hint("say --break-glass and --reason, if that is what you want; both are recorded")),
        (true, false) => Err(ApiError::new(ErrorKind::BadInput, format!("{what} takes a reason")).at("reason")),
    }
}

fn acted(served: &Served, generation: Generation, changed: bool, notes: Vec<String>) -> KeyActed {
    let table = served.controller.volume().table();
    let entry = table.entry(generation);
    KeyActed {
        volume: served.name.clone(),
        generation: generation.0,
        state: entry.map(|entry| words::state(entry.state)).unwrap_or_default(),
        changed,
        complete: true,
        notes,
        evidence: entry.and_then(evidence),
        ..KeyActed::default()
    }
}

fn evidence(entry: &Entry) -> Option<String> {
    (entry.life.evidence != [0; 32]).then(|| hex(&entry.life.evidence))
}

/// `key retire`.
pub fn retire(ops: &DaemonOperations, volume: &str, request: &KeyRequest) -> Result<KeyActed, ApiError> {
    let (served, generation) = (ops.find(volume)?, Generation(request.generation));
    let by = by(reason(request.reason.as_ref())?);
    let mut kept = PathBuf::new();
    let mut keep = |statement: &Statement, text: &str| {
        kept = keep_statement(&ops.state_dir, statement, text)?;
        Ok(())
    };
    let retired = served.controller.retire(generation, &by, &SystemClock::default(), &mut keep).map_err(failed)?;
    let digest = hex(&retired.digest);
    let said = format!("generation {generation} is needed by nobody: statement sha256:{digest}");
    ops.door.note(Verb::KeyRetire, &Object::Key(served.controller.volume().id(), generation), &said);
    let mut notes = vec!["no extent, record or request needs it; its key has left memory".to_owned()];
    let holders = retired.statement.holders.iter();
    notes.extend(holders.map(|holder| format!("{} {} still holds the key", holder.kind, holder.label)));
    if !retired.left_memory {
        notes[0] = "a request that began before still holds the key in memory".into();
    }
    let result = acted(served, generation, true, notes);
    Ok(KeyActed { complete: retired.left_memory, proof: Some(kept.display().to_string()), ..result })
}

/// `key restore`.
pub fn restore(ops: &DaemonOperations, volume: &str, request: &KeyRequest) -> Result<KeyActed, ApiError> {
    let (served, generation) = (ops.find(volume)?, Generation(request.generation));
    served.controller.restore(generation, &by(reason(request.reason.as_ref())?)).map_err(failed)?;
    Ok(acted(served, generation, true, vec!["its key is in memory again".into()]))
}

/// `key schedule`.
pub fn schedule(ops: &DaemonOperations, volume: &str, request: &ScheduleRequest) -> Result<KeyActed, ApiError> {
    let (served, generation) = (ops.find(volume)?, Generation(request.generation));
    let least = ops.policy.destroy_delay.as_secs();
    let after = request.after_s.unwrap_or(least);
    if after < least {
        insist(request.break_glass, request.reason.as_ref(), &format!("a delay below the policy's {least} s"))?;
    }
    let by = by(reason(request.reason.as_ref())?);
    let date = by.now.saturating_add(after);
    served.controller.schedule(generation, date, &by).map_err(failed)?;
    let date = words::time(date).unwrap_or_default();
    Ok(acted(served, generation, true, vec![format!("it may be destroyed from {date} on")]))
}

/// `key cancel`.
pub fn cancel(ops: &DaemonOperations, volume: &str, request: &KeyRequest) -> Result<KeyActed, ApiError> {
    let (served, generation) = (ops.find(volume)?, Generation(request.generation));
    served.controller.cancel(generation, &by(reason(request.reason.as_ref())?)).map_err(failed)?;
    Ok(acted(served, generation, true, vec!["it is not destroyed; `key restore` brings its key back".into()]))
}

/// `key destroy`.
pub fn destroy(ops: &DaemonOperations, volume: &str, request: &DestroyRequest) -> Result<KeyActed, ApiError> {
    let (served, generation) = (ops.find(volume)?, Generation(request.generation));
    for (given, what) in [
        (request.break_glass, "destroying a key before its date"),
        (request.despite_holders, "destroying a key that something else holds"),
    ] {
        if given {
            insist(true, request.reason.as_ref(), what)?;
        }
    }
    let how = How {
        early: request.break_glass,
        despite_holders: request.despite_holders,
        drill_max_age: ops.policy.drill_max_age,
    };
    let destroyed =
        served.controller.destroy(generation, how, &by(reason(request.reason.as_ref())?)).map_err(failed)?;
    let result = acted(served, generation, true, destroyed_notes(&destroyed));
    Ok(KeyActed { complete: destroyed.left.is_empty(), ..result })
}

/// What was reached, and what was not.
fn destroyed_notes(destroyed: &Destroyed) -> Vec<String> {
    let mut notes = Vec::new();
    match destroyed.left.as_slice() {
        [] if destroyed.windows == 0 => notes.push("there was no wrapped copy left to erase".into()),
        [] => notes.push(format!(
            "every wrapped copy in the header is erased: {} bytes read back, {} windows of 16 bytes searched for, none found",
            destroyed.bytes_searched, destroyed.windows
        )),
        [first, ..] => notes.push(format!(
            "NOT erased: something of a wrapped copy still stands at header offset {first}; the device does not overwrite"
        )),
    }
    notes.extend(destroyed.holders.iter().map(|holder| format!("{holder} still holds the key, and was passed over")));
    let kek = |wrap: &LostWrap| format!("{}:{} version {}", wrap.provider, wrap.kek_id, wrap.kek_version);
    let keks: Vec<String> = destroyed.wraps.iter().map(kek).collect();
    if !keks.is_empty() {
        notes.push(format!(
            "this is the destruction of local copies; it is complete only when the KEK is gone too: {}",
            keks.join(", ")
        ));
    }
    notes
}

/// `key compromise`.
pub fn compromise(ops: &DaemonOperations, volume: &str, request: &BreakGlassRequest) -> Result<KeyActed, ApiError> {
    let (served, generation) = (ops.find(volume)?, Generation(request.generation));
    if request.undo {
        insist(request.break_glass, request.reason.as_ref(), "taking the mark away")?;
        let cleared =
            served.controller.clear_mark(generation, &by(reason(request.reason.as_ref())?)).map_err(failed)?;
        return Ok(acted(served, generation, cleared, Vec::new()));
    }
    let by = by(reason(request.reason.as_ref())?);
    let compromised = served.controller.compromise(generation, &by).map_err(failed)?;
    let (complete, note) = match compromised.flight {
        Flight::NotNeeded => (true, "no extent carries it".to_owned()),
        Flight::Begun(target) => (true, format!("a rotation to generation {target} has begun, at top priority")),
        Flight::Raised(target) => {
            (true, format!("the rotation to generation {target} leaves it, at top priority from now on"))
        }
        Flight::Refused(why) => (false, format!("it is marked, but no rotation away from it could begin: {why}")),
    };
    Ok(KeyActed { complete, ..acted(served, generation, compromised.marked, vec![note]) })
}

/// `key revoke`.
pub fn revoke(ops: &DaemonOperations, volume: &str, request: &KeyRequest) -> Result<KeyActed, ApiError> {
    let (served, generation) = (ops.find(volume)?, Generation(request.generation));
    let by = by(reason(request.reason.as_ref())?);
    let revoked = served.controller.revoke(generation, &by, &SystemClock::default()).map_err(failed)?;
    let mut notes = vec![match revoked.left_memory {
        Some(time) => format!("nothing in this process holds its key, {} ms after it was withdrawn", time.as_millis()),
        None => format!(
            "a request or a change of wraps still holds its key after {} s: end the client, or the daemon",
            REVOKE_PATIENCE.as_secs()
        ),
    }];
    notes.push(match revoked.extents {
        0 => "no extent carries it".into(),
        extents => format!("{extents} extents answer EIO until `key reinstate`; everything else is served"),
    });
    let result = acted(served, generation, true, notes);
    let left_memory_ms = revoked.left_memory.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    Ok(KeyActed { complete: left_memory_ms.is_some(), left_memory_ms, ..result })
}

/// `key reinstate`.
pub fn reinstate(ops: &DaemonOperations, volume: &str, request: &BreakGlassRequest) -> Result<KeyActed, ApiError> {
    let (served, generation) = (ops.find(volume)?, Generation(request.generation));
    insist(request.break_glass, request.reason.as_ref(), "giving a withdrawn key back")?;
    let by = by(reason(request.reason.as_ref())?);
    let reinstated = served.controller.reinstate(generation, &by).map_err(failed)?;
    let mut notes = vec![format!("{} extents are served again", reinstated.extents)];
    if reinstated.barred > 0 {
        notes.push(format!("{} extents need a restart of the daemon, which settles their records", reinstated.barred));
    }
    Ok(acted(served, generation, true, notes))
}

/// `key verify-proof`.
pub fn verify_proof(ops: &DaemonOperations, volume: &str, request: &ProofRequest) -> Result<ProofVerdict, ApiError> {
    let served = ops.find(volume)?;
    let verdict = served.controller.verify_statement(&request.proof);
    let verdict = verdict.map_err(|error| ApiError::new(ErrorKind::BadInput, error.to_string()).at("proof"))?;
    let statement = verdict.statement;
    Ok(ProofVerdict {
        volume: served.name.clone(),
        generation: statement.generation,
        digest: hex(&verdict.digest),
        authentic: verdict.authentic,
        on_record: verdict.on_record,
        time: words::time(statement.time),
        actor: statement.actor,
        holders: statement.holders.iter().map(|holder| format!("{} {}", holder.kind, holder.label)).collect(),
    })
}

/// `key list`: what the table says of an entry, and what the policy makes of it.
pub fn key(ops: &DaemonOperations, entry: &Entry, extents: u64, opening: Option<&Opening>) -> KeyInfo {
    let life = &entry.life;
    let said = |text: &String| (!text.is_empty()).then(|| text.clone());
    let began = if entry.activated > 0 { entry.activated } else { entry.created };
    let age_s = words::now().saturating_sub(began);
    // The metadata key encrypts no data, and an empty one nothing any more.
    let encrypts = matches!(entry.state, KeyState::Active | KeyState::Draining);
    let counts = entry.generation != Generation::METADATA && encrypts;
    let left = |limit: u64, used: u64| i64::try_from(i128::from(limit) - i128::from(used)).unwrap_or(i64::MIN);
    let cryptoperiod = ops.policy.cryptoperiod.filter(|_| counts).map(|period| left(period.as_secs(), age_s));
    let bytes = ops.policy.bytes.filter(|_| counts).map(|bytes| left(bytes, entry.bytes_reserved));
    KeyInfo {
        age_s,
        cryptoperiod_left_s: cryptoperiod,
        bytes_left: bytes,
        changed: words::time(life.changed),
        actor: said(&life.actor),
        reason: said(&life.reason),
        scheduled: words::time(life.scheduled).filter(|_| entry.state == KeyState::Scheduled),
        evidence: evidence(entry),
        ..words::key(entry, extents, opening, &ops.suites)
    }
}

fn proof_path(state_dir: &Path, statement: &Statement) -> PathBuf {
    state_dir.join(PROOFS).join(&statement.volume).join(format!("{}.json", statement.generation))
}

/// Keeps a statement of retirement, durably; gives its path.
pub fn keep_statement(state_dir: &Path, statement: &Statement, text: &str) -> Result<PathBuf, VolumeError> {
    let path = proof_path(state_dir, statement);
    write_proof(&path, text).map_err(VolumeError::io("keep the statement of retirement"))?;
    Ok(path)
}

/// Writes a file whole or not at all, for its owner alone, durably; an older one of the same name is replaced.
fn write_proof(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().mode(0o700).recursive(true).create(folder)?;
    let fresh = path.with_extension("json.new");
    whole::write(&fresh, text.as_bytes())?;
    whole::put(&fresh, path)?;
    // Folders that may be new.
    folder.ancestors().take(2).try_for_each(whole::sync_folder)
}
