//! `keymoult key export-escrow` and `import-escrow`.
//!
//! Invariants: both are recorded before they act, or refused; an export never writes over a file; an import replaces no header that
//! opens with the bundle's keys, and ends with a volume that opened under the new KEK.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::args::{ExportEscrowArgs, Global, ImportEscrowArgs};
use super::backup::{Restored, alone, in_use, made_text, name, opened, restore_to, restored_text, selftest};
use super::daemon::open_keks;
use super::exit::Exit;
use super::failure::Failure;
use super::opening::patiently;
use super::operations::holders;
use super::output::Output;
use super::records::Records;
use super::{failure_of, files, remote};
use crate::control::api::EscrowRequest;
use crate::control::authorize::Verb;
use crate::crypto::EngineKind;
use crate::engine::CacheMode;
use crate::format::bundle::{BUNDLE_MAX, Bundle};
use crate::format::lives::HolderKind;
use crate::keys::escrow::{self, EscrowError, EscrowKeeper};
use crate::keys::{Kek, NewKek, Witness};
use crate::volume::open::{OpenVolume, open};

/// Runs `key export-escrow`.
pub fn export(args: &ExportEscrowArgs, global: &Global, output: &Output) -> Result<Exit, Failure> {
    let people = escrow::recipients(&args.recipients).map_err(|error| failure_of::escrow(&error))?;
    let threshold = args.threshold as usize;
    escrow::check_threshold(people.len(), threshold).map_err(|error| failure_of::escrow(&error))?;
    let made = match args.of.keks.is_empty() {
        true => {
            let request = EscrowRequest {
                path: files::absolute(&args.to)?,
                recipients: args.recipients.clone(),
                threshold: args.threshold,
                label: args.label.clone(),
                reason: args.of.reason.clone(),
            };
            remote::client(global)?.export_escrow(&name(&args.of), &request)?
        }
        false => alone(&args.of, Verb::EscrowExport, |volume, keks| {
            let new = holders::new_holder(HolderKind::Escrow, args.label.as_ref(), &args.to);
            let made = volume.export_escrow(keks, &new, &people, threshold)?;
            files::hand_out(volume, &made, &args.to)?;
            Ok(holders::made(&name(&args.of), &args.to, &made))
        })?,
    };
    output.result(&made, |made| {
        let opens =
            format!("  any {threshold} of {} recipients open it: try it with `keymoult drill restore`\n", people.len());
        made_text(made, "keys in escrow,") + &opens
    })?;
    Ok(Exit::Ok)
}

/// What an import did.
#[derive(Debug, Serialize)]
struct Imported {
    /// Path of the data backing.
    volume: String,
    /// Identity of the volume.
    id: String,
    /// The KEKs that wrap its keys now, and no others.
    keks: Vec<String>,
    /// Generations that have no key any more: the bundle has none for them, and nothing is under them.
    without_key: Vec<u32>,
    /// What restoring the header did; absent if the header that was there opens.
    #[serde(skip_serializing_if = "Option::is_none")]
    restored: Option<Restored>,
}

/// Reads a bundle and opens it: the bundle, and a keeper of its keys whose every use `witness` is told of.
pub(super) fn open_bundle(
    path: &Path,
    identities: &[std::path::PathBuf],
    witness: Option<Arc<dyn Witness>>,
) -> Result<(Bundle, Vec<Kek>), Failure> {
    let wrong = |error: &EscrowError| failure_of::escrow(error).at(path.display().to_string());
    let bytes = files::read(path, BUNDLE_MAX)?;
    let bundle = Bundle::decode(&bytes).map_err(|damage| wrong(&damage.into()))?;
    let mut people = Vec::new();
    for file in identities {
        people.extend(escrow::identities(file).map_err(|error| failure_of::escrow(&error))?);
    }
    let keys = escrow::open(&bundle, &people).map_err(|error| wrong(&error))?;
    let keeper = EscrowKeeper::new(keys, format!("escrow bundle {}", path.display()));
    Ok((bundle, vec![Kek::new(Box::new(keeper), witness)]))
}

/// Runs `key import-escrow`.
pub fn import(args: &ImportEscrowArgs, output: &Output) -> Result<Exit, Failure> {
    selftest()?;
    let records = Records::required(&args.record)?;
    let imported = records.act(Verb::EscrowImport, &args.path, args.reason.as_deref(), || {
        let (bundle, from) = open_bundle(&args.bundle, &args.identities, records.witness())?;
        let new = if args.new_kek { NewKek::IfMissing } else { NewKek::Never };
        let (to, _) = open_keks(&args.keks, new, records.witness().as_ref())?;
        let restored = match is_openable(args, &from) {
            true => None,
            false => Some(restore_to(&args.path, args.header.as_deref(), &bundle.backup, &from)?),
        };
        let volume = opened(&args.path, args.header.as_deref(), &from)?;
        let without = volume.rewrap_for(&from, &to).map_err(|error| failure_of::volume(&error))?;
        drop(volume);
        let proven = opened_with(args, &to).map_err(|error| in_use(&error))?;
        Ok(Imported {
            volume: args.path.display().to_string(),
            id: proven.to_string(),
            keks: to.iter().map(|kek| kek.describe().label.clone()).collect(),
            without_key: without.iter().map(|generation| generation.0).collect(),
            restored,
        })
    })?;
    output.result(&imported, text)?;
    Ok(Exit::Ok)
}

/// Opens the volume read-only and closes it again; its identity.
fn opened_with(args: &ImportEscrowArgs, keks: &[Kek]) -> Result<crate::units::VolumeId, crate::volume::VolumeError> {
    let header = args.header.as_deref();
    let (cache, engine) = (CacheMode::Auto, EngineKind::best());
    let how = OpenVolume { path: &args.path, header, keks, read_only: true, cache, engine };
    patiently(|| open(&how)).map(|volume| volume.id())
}

/// Whether the header that is there opens with the bundle's keys: then it is newer than the bundle, or as new.
fn is_openable(args: &ImportEscrowArgs, from: &[Kek]) -> bool {
    args.header.as_ref().is_none_or(|header| header.exists()) && opened_with(args, from).is_ok()
}

fn text(imported: &Imported) -> String {
    let mut text = imported.restored.as_ref().map(restored_text).unwrap_or_default();
    text.push_str(&format!(
        "keys of {} (volume {}) are wrapped by {} and by nothing else; it opens\n",
        imported.volume,
        imported.id,
        imported.keks.join(", ")
    ));
    if !imported.without_key.is_empty() {
        text.push_str(&format!("  generations without a key now: {:?}; nothing is under them\n", imported.without_key));
    }
    text + "  what holds its keys elsewhere is as it was: `keymoult key holder list` shows it\n"
}
