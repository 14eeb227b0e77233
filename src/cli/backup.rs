//! `keymoult volume header-backup` and `header-restore`.
//!
//! Invariants: a backup is catalogued before its file exists, by the daemon that serves the volume or, with a key on the line, here; a
//! restore is recorded before it begins, verifies before it writes, saves what it replaces beside the file, and puts that back if the
//! result does not prove itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::args::{Global, HeaderBackupArgs, HeaderRestoreArgs, VolumeArgs};
use super::daemon::open_keks;
use super::exit::Exit;
use super::failure::Failure;
use super::opening::patiently;
use super::operations::holders;
use super::output::{Output, properties};
use super::records::Records;
use super::{failure_of, files, remote, size};
use crate::control::api::{BackupRequest, BackupResult};
use crate::control::authorize::Verb;
use crate::crypto::EngineKind;
use crate::engine::{Backing, CacheMode, Disk, EngineError, OpenOptions};
use crate::format::backup::BACKUP_MAX;
use crate::format::lives::HolderKind;
use crate::keys::{Kek, NewKek};
use crate::volume::open::{OpenVolume, open};
use crate::volume::restore::{Ground, Prepared, Proof, Target, open_backup};
use crate::volume::{Volume, VolumeError};

const WRITABLE: OpenOptions = OpenOptions { read_only: false, cache: CacheMode::Auto };

/// Runs `volume header-backup`.
pub fn back_up(args: &HeaderBackupArgs, global: &Global, output: &Output) -> Result<Exit, Failure> {
    let made = match args.of.keks.is_empty() {
        true => {
            let (path, label, reason) = (files::absolute(&args.to)?, args.label.clone(), args.of.reason.clone());
            remote::client(global)?.back_up(&name(&args.of), &BackupRequest { path, label, reason })?
        }
        false => alone(&args.of, Verb::HeaderBackup, |volume, _| {
            let new = holders::new_holder(HolderKind::HeaderBackup, args.label.as_ref(), &args.to);
            let made = volume.back_up(&new)?;
            files::hand_out(volume, &made, &args.to)?;
            Ok(holders::made(&name(&args.of), &args.to, &made))
        })?,
    };
    output.result(&made, |made| made_text(made, "header backup"))?;
    Ok(Exit::Ok)
}

/// The export name, or the path of the backing.
pub(super) fn name(of: &VolumeArgs) -> String {
    of.volume.display().to_string()
}

/// Opens a volume that nobody serves, and does `act` to it, recorded as `verb`.
pub(super) fn alone<R>(
    of: &VolumeArgs,
    verb: Verb,
    act: impl FnOnce(&Arc<Volume>, &[Kek]) -> Result<R, VolumeError>,
) -> Result<R, Failure> {
    selftest()?;
    let records = Records::required(&of.record)?;
    records.act(verb, &of.volume, of.reason.as_deref(), || {
        let (keks, _) = open_keks(&of.keks, NewKek::Never, records.witness().as_ref())?;
        let volume = opened(&of.volume, of.header.as_deref(), &keks)?;
        act(&volume, &keks).map_err(|error| failure_of::volume(&error).at(of.volume.display().to_string()))
    })
}

pub(super) fn selftest() -> Result<(), Failure> {
    crate::crypto::selftest::run().map_err(|error| Failure::from_error(Exit::Internal, &error))
}

/// Opens a volume for writing.
pub(super) fn opened(path: &Path, header: Option<&Path>, keks: &[Kek]) -> Result<Arc<Volume>, Failure> {
    let how = OpenVolume { path, header, keks, read_only: false, cache: CacheMode::Auto, engine: EngineKind::best() };
    patiently(|| open(&how)).map(Arc::new).map_err(|error| in_use(&error).at(path.display().to_string()))
}

/// A volume in use has a daemon that can be asked.
pub(super) fn in_use(error: &VolumeError) -> Failure {
    match error {
        VolumeError::Backing(EngineError::InUse { .. }) => failure_of::volume(error)
            .hint("a daemon serves it: give its export name, and no --kek, to have the daemon do it; a restore needs it stopped"),
        _ => failure_of::volume(error),
    }
}

pub(super) fn made_text(made: &BackupResult, what: &str) -> String {
    let good = match made.settled {
        true => "until the next rotation starts",
        false => "only until another extent moves: a rotation is unfinished",
    };
    let holder = &made.holder;
    let pairs = [
        ("size", size::bytes(made.size_bytes)),
        ("generations", format!("{} to {}", holder.first_generation, holder.last_generation)),
        ("epoch", made.epoch.to_string()),
        ("can be restored", good.into()),
        ("holder", holder.id.clone()),
    ];
    format!("{what} of {} in {}\n{}", made.volume, made.path, properties(&pairs))
}

/// What a restore did.
#[derive(Debug, Serialize)]
pub struct Restored {
    /// Path of the data backing.
    pub volume: String,
    /// The rotation epoch it is of.
    pub epoch: u64,
    /// What showed that nothing has moved since.
    pub ground: &'static str,
    /// Where the header that was there is now; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved: Option<String>,
    /// Blocks of it that could not be read.
    pub unread_blocks: u64,
    /// Generations whose canary both engines decrypt.
    pub canaries: u32,
    /// Extents that were read and decrypted by both engines.
    pub extents_read: u64,
    /// Bytes clients see.
    pub size_bytes: u64,
    /// What is not as it was when the backup was made.
    pub notes: Vec<String>,
    /// How long it took.
    pub milliseconds: u64,
}

/// Runs `volume header-restore`.
pub fn restore(args: &HeaderRestoreArgs, output: &Output) -> Result<Exit, Failure> {
    selftest()?;
    let bytes = files::read(&args.from, BACKUP_MAX)?;
    let records = Records::required(&args.record)?;
    let restored = records.act(Verb::HeaderRestore, &args.path, args.reason.as_deref(), || {
        let (keks, _) = open_keks(&args.keks, NewKek::Never, records.witness().as_ref())?;
        open_backup(&bytes, &keks).map_err(|error| failure_of::volume(&error).at(args.from.display().to_string()))?;
        restore_to(&args.path, args.header.as_deref(), &bytes, &keks)
    })?;
    output.result(&restored, restored_text)?;
    Ok(Exit::Ok)
}

/// Restores the backup in `bytes`, which opens with `keks`, onto the volume at `path`.
pub(super) fn restore_to(path: &Path, header: Option<&Path>, bytes: &[u8], keks: &[Kek]) -> Result<Restored, Failure> {
    let began = Instant::now();
    let failed = |error: VolumeError| in_use(&error).at(path.display().to_string());
    let data: Arc<dyn Disk> = Arc::new(patiently(|| Ok(Backing::open(path, &WRITABLE)?)).map_err(failed)?);
    let fresh = header.is_some_and(|header| !header.exists());
    let apart = match header {
        Some(header) if fresh => Some(Backing::create(header, 0, &WRITABLE).map_err(VolumeError::from)),
        Some(header) => Some(patiently(|| Ok(Backing::open(header, &WRITABLE)?))),
        None => None,
    };
    let apart = apart.transpose().map_err(failed)?;
    let target = Target { data, header: apart.map(|header| Arc::new(header) as Arc<dyn Disk>) };
    let done = replace(&target, header.unwrap_or(path), fresh, bytes, keks);
    if let (Err(_), true, Some(header)) = (&done, fresh, header) {
        // Made a moment ago for this.
        let _ = std::fs::remove_file(header);
    }
    let (prepared, saved, proof) = done.map_err(|failure| failure.at(path.display().to_string()))?;
    let (saved, unread_blocks) = saved.map_or((None, 0), |(path, unread)| (Some(path.display().to_string()), unread));
    Ok(Restored {
        volume: path.display().to_string(),
        epoch: prepared.backup.superblock.0.epoch,
        ground: ground(prepared.ground),
        saved,
        unread_blocks,
        canaries: proof.canaries,
        extents_read: proof.extents,
        size_bytes: proof.size,
        notes: prepared.notes,
        milliseconds: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

/// The ground of a restore in words.
pub(super) fn ground(ground: Ground) -> &'static str {
    match ground {
        Ground::Epoch => "the data are of its rotation epoch",
        Ground::Unmoved => "the header that was there shows that no extent has moved",
    }
}

type Replaced = (Prepared, Option<(PathBuf, u64)>, Proof);

/// Verifies, saves, writes, proves; puts back what was saved if the last two fail.
fn replace(target: &Target, place: &Path, fresh: bool, bytes: &[u8], keks: &[Kek]) -> Result<Replaced, Failure> {
    let prepared = Prepared::of(bytes, keks, target).map_err(|error| failure_of::volume(&error))?;
    let saved = if fresh { None } else { Some(save(&prepared, target, place)?) };
    let proven = prepared.write(target).and_then(|()| prepared.prove(target, keks));
    let error = match proven {
        Ok(proof) => return Ok((prepared, saved.map(|(path, unread, _)| (path, unread)), proof)),
        Err(error) => failure_of::volume(&error),
    };
    match saved {
        None => Err(error),
        Some((path, _, aside)) => Err(match prepared.put_back(target, &aside) {
            Ok(()) => error.at("the header that was there is back"),
            Err(back) => {
                error.at(format!("and the header that was there could not be put back: {back}")).hint(format!(
                    "it is in {}: run the restore again, or copy that over the start of the backing",
                    path.display()
                ))
            }
        }),
    }
}

/// Copies the header that is there to a file beside it, which has its name only when it is whole and durable.
fn save(prepared: &Prepared, target: &Target, place: &Path) -> Result<(PathBuf, u64, Backing), Failure> {
    let path = files::free_name(place)?;
    let unfinished = path.with_extension("unfinished");
    let _ = std::fs::remove_file(&unfinished);
    let failed = |error: VolumeError| failure_of::volume(&error).at("nothing was changed");
    let aside = Backing::create(&unfinished, prepared.header_len(), &WRITABLE).map_err(|error| failed(error.into()))?;
    let unread = prepared.save(target, &aside).map_err(failed)?;
    let named = std::fs::rename(&unfinished, &path).and_then(|()| files::sync_directory(&path));
    named.map_err(|source| failed(VolumeError::Io { what: "name the header saved aside", source }))?;
    Ok((path, unread, aside))
}

pub(super) fn restored_text(restored: &Restored) -> String {
    let mut pairs = vec![
        ("size", size::bytes(restored.size_bytes)),
        ("epoch", format!("{}: {}", restored.epoch, restored.ground)),
        (
            "proven by",
            format!("{} canaries, {} extents read by both engines", restored.canaries, restored.extents_read),
        ),
    ];
    pairs.extend(restored.saved.iter().map(|path| ("the old header", path.clone())));
    if restored.unread_blocks > 0 {
        pairs.push(("", format!("{} blocks of it could not be read", restored.unread_blocks)));
    }
    pairs.extend(restored.notes.iter().map(|note| ("note", note.clone())));
    format!("header of {} restored in {} ms\n{}", restored.volume, restored.milliseconds, properties(&pairs))
}
