//! Header backups, escrow and holders, as the daemon does them for an operator and a command without it.

use std::path::Path;
use std::sync::Arc;

use super::{Served, failed};
use crate::cli::{files, words};
use crate::control::api::{
    self, ApiError, BackupRequest, BackupResult, ErrorKind, EscrowRequest, HolderInfo, HolderList, HolderNamed,
    HolderRequest, HolderResult,
};
use crate::format::lives::{Holder, HolderKind};
use crate::keys::escrow::recipients;
use crate::units::{Generation, hex};
use crate::volume::backup::MadeBackup;
use crate::volume::holders::{NewHolder, overdue};
use crate::volume::{Volume, VolumeError};

/// A holder in the words of the API; `max_age` is how old its last drill may be, seconds.
pub fn info(holder: &Holder, max_age: Option<u64>) -> HolderInfo {
    HolderInfo {
        id: hex(&holder.id),
        kind: match holder.kind {
            HolderKind::HeaderBackup => api::HolderKind::HeaderBackup,
            HolderKind::Escrow => api::HolderKind::Escrow,
            HolderKind::Snapshot => api::HolderKind::Snapshot,
        },
        label: holder.label.clone(),
        first_generation: holder.first.0,
        last_generation: holder.last.0,
        made: words::time(holder.made).unwrap_or_default(),
        drilled: words::time(holder.drilled),
        released: words::time(holder.released),
        overdue: max_age.is_some_and(|age| overdue(holder, age, words::now())),
    }
}

/// How many of the volume's holders should have been drilled by now.
pub fn count_overdue(volume: &Volume, max_age: Option<u64>) -> u64 {
    let late = |age| volume.holders().iter().filter(|holder| overdue(holder, age, words::now())).count() as u64;
    max_age.map_or(0, late)
}

/// The catalogue.
pub fn list(name: &str, volume: &Volume, max_age: Option<u64>) -> HolderList {
    let holders = volume.holders().iter().map(|holder| info(holder, max_age)).collect();
    HolderList { volume: name.into(), drill_max_age_s: max_age, holders }
}

/// Enters a snapshot.
pub fn add(name: &str, volume: &Arc<Volume>, request: &HolderRequest) -> Result<HolderResult, VolumeError> {
    let generations = match (request.first_generation, request.last_generation) {
        (Some(first), Some(last)) => Some((Generation(first), Generation(last))),
        (None, None) => None,
        _ => return Err(VolumeError::Refused("name both the first and the last generation, or neither".into())),
    };
    let new = NewHolder { kind: HolderKind::Snapshot, generations, label: request.label.clone(), now: words::now() };
    let holder = volume.add_holder(&new)?;
    Ok(HolderResult { volume: name.into(), changed: true, holder: info(&holder, None) })
}

/// Notes that a holder is gone.
pub fn release(name: &str, volume: &Arc<Volume>, request: &HolderNamed) -> Result<HolderResult, VolumeError> {
    let (holder, changed) = volume.release_holder(&request.holder, words::now())?;
    Ok(HolderResult { volume: name.into(), changed, holder: info(&holder, None) })
}

/// Notes that a drill has proven a holder.
pub fn drilled(name: &str, volume: &Arc<Volume>, request: &HolderNamed) -> Result<HolderResult, VolumeError> {
    let holder = volume.drilled_holder(&request.holder, words::now())?;
    Ok(HolderResult { volume: name.into(), changed: true, holder: info(&holder, None) })
}

/// What is to be entered for a file at `path`.
pub fn new_holder(kind: HolderKind, label: Option<&String>, path: &Path) -> NewHolder {
    let mut label = label.cloned().unwrap_or_else(|| path.display().to_string());
    label.truncate(label.floor_char_boundary(crate::format::lives::LABEL_MAX));
    NewHolder { kind, generations: None, label, now: words::now() }
}

/// What a backup or bundle at `path` came to.
pub fn made(name: &str, path: &Path, made: &MadeBackup) -> BackupResult {
    BackupResult {
        volume: name.into(),
        path: path.display().to_string(),
        size_bytes: made.bytes.len() as u64,
        epoch: made.epoch,
        settled: made.settled,
        holder: info(&made.holder, None),
    }
}

fn new_file(path: &str) -> Result<&Path, ApiError> {
    let wrong = |what: &str| Err(ApiError::new(ErrorKind::BadInput, what).at(path));
    let path = Path::new(path);
    if !path.is_absolute() {
        return wrong("the path is not absolute");
    }
    if path.symlink_metadata().is_ok() {
        return wrong("there is something already; it is never overwritten");
    }
    Ok(path)
}

pub(super) fn back_up(served: &Served, request: &BackupRequest) -> Result<BackupResult, ApiError> {
    let (path, volume) = (new_file(&request.path)?, served.controller.volume());
    let new = new_holder(HolderKind::HeaderBackup, request.label.as_ref(), path);
    let backup = volume.back_up(&new).map_err(failed)?;
    files::hand_out(volume, &backup, path).map_err(failed)?;
    Ok(made(&served.name, path, &backup))
}

pub(super) fn export(served: &Served, request: &EscrowRequest) -> Result<BackupResult, ApiError> {
    let (path, volume) = (new_file(&request.path)?, served.controller.volume());
    let people = recipients(&request.recipients).map_err(|error| failed(error.into()))?;
    let new = new_holder(HolderKind::Escrow, request.label.as_ref(), path);
    let bundle = volume
        .export_escrow(&served.controller.keks().now(), &new, &people, request.threshold as usize)
        .map_err(failed)?;
    files::hand_out(volume, &bundle, path).map_err(failed)?;
    Ok(made(&served.name, path, &bundle))
}
