//! The durable memory of a seat: one file per replicated volume, `STATE/peers/VOLUME-ID.ring`.
//!
//! Order of a save: (1) the new content in a file beside it, fsync; (2) the present file is kept under the name `.ring.before`; (3)
//! rename, **the commit point**; (4) fsync of the directory; (5) space for the next save is set aside in the file beside it. A crash before (3) leaves the old content, behind it the new one.
//! Invariants: nothing counts as saved before (4); a file that does not decode is never used and never lost: it is kept aside; the
//! one before it is not used in its place, since what was promised behind it would be forgotten.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{FallocateFlags, fallocate};

use crate::cluster::durable::Durable;
use crate::cluster::whole;
use crate::units::VolumeId;

/// Folder of the files, in the state directory.
const FOLDER: &str = "peers";
/// Longest file, bytes: two records and what stands beside them.
const FILE_MAX: u64 = 4 << 20;
/// Bytes set aside for the next save beyond twice what the present one took.
const SPARE: u64 = 64 << 10;
/// Files kept aside at most, of one volume.
const ASIDE_MAX: u32 = 1000;

/// Where a seat keeps what it may not forget.
pub struct Shelf {
    path: PathBuf,
}

/// Why there is nothing to go on from.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The folder or a file cannot be used.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// Doing what.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what was saved.
    #[error("{} does not hold what was saved ({why}); it is kept as {}", path.display(), aside.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// Where it is kept now.
        aside: PathBuf,
    },
}

impl Shelf {
    /// The shelf of a volume.
    ///
    /// # Errors
    /// Its folder cannot be made.
    pub fn new(state_dir: &Path, volume: VolumeId) -> Result<Shelf, ShelfError> {
        let folder = state_dir.join(FOLDER);
        let made = DirBuilder::new().mode(0o700).recursive(true).create(&folder);
        made.and_then(|()| File::open(state_dir)?.sync_all()).map_err(|source| ShelfError::Io {
            what: "make",
            path: folder.clone(),
            source,
        })?;
        Ok(Shelf { path: folder.join(format!("{volume}.ring")) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was saved last; none if nothing ever was.
    ///
    /// # Errors
    /// It cannot be read; or it is damaged, and has been put aside.
    pub fn load(&self) -> Result<Option<Durable>, ShelfError> {
        let io = |source| ShelfError::Io { what: "read", path: self.path.clone(), source };
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.nothing(),
            opened => opened.map_err(io)?,
        };
        let mut bytes = Vec::new();
        file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > FILE_MAX {
            return Err(self.put_aside(format!("it is longer than {FILE_MAX} bytes")));
        }
        Durable::decode(&bytes).map(Some).map_err(|damage| self.put_aside(damage.to_string()))
    }

    /// There is no file. If one was put aside, or one before it is there, something was saved once: nobody begins anew over that.
    fn nothing(&self) -> Result<Option<Durable>, ShelfError> {
        let before = self.named("before");
        let aside = self.named("damaged");
        match [before, aside].into_iter().find(|path| path.exists()) {
            None => Ok(None),
            Some(aside) => {
                let why = "it is missing, although something was saved".to_owned();
                Err(ShelfError::Damaged { path: self.path.clone(), why, aside })
            }
        }
    }

    fn put_aside(&self, why: String) -> ShelfError {
        let numbered = (1..ASIDE_MAX).map(|number| self.named(&format!("damaged.{number}")));
        let free = std::iter::once(self.named("damaged")).chain(numbered).find(|path| !path.exists());
        let aside = free.unwrap_or_else(|| self.named("damaged"));
        let moved = fs::rename(&self.path, &aside).and_then(|()| whole::sync_folder(&self.path));
        match moved {
            Ok(()) => ShelfError::Damaged { path: self.path.clone(), why, aside },
            Err(source) => ShelfError::Io { what: "put aside", path: self.path.clone(), source },
        }
    }

    /// Saves; durable on return.
    ///
    /// # Errors
    /// What the system said; whether the old or the new content is there is then not known until it is loaded.
    pub fn save(&self, durable: &Durable) -> Result<(), ShelfError> {
        let fresh = self.named("new");
        let failed = |what: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| ShelfError::Io { what, path, source }
        };
        let bytes = durable.encode();
        whole::write(&fresh, &bytes).map_err(failed("write", &fresh))?;
        self.keep_before().map_err(failed("keep the one before", &self.path))?;
        whole::put(&fresh, &self.path).map_err(failed("put the new content in the place of", &self.path))?;
        self.set_aside(bytes.len() as u64);
        Ok(())
    }

    /// Sets space aside for the next save, so that a rollback can be kept on a full file system. Without room now, the next save
    /// takes its chance.
    fn set_aside(&self, len: u64) {
        let wanted = i64::try_from(len.saturating_mul(2).saturating_add(SPARE)).unwrap_or(i64::MAX);
        let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(self.named("new"));
        if let Ok(file) = made {
            let _ = fallocate(&file, FallocateFlags::empty(), 0, wanted);
        }
    }

    fn keep_before(&self) -> io::Result<()> {
        let before = self.named("before");
        match fs::remove_file(&before) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match fs::hard_link(&self.path, &before) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn named(&self, end: &str) -> PathBuf {
        self.path.with_extension(format!("ring.{end}"))
    }
}

#[cfg(test)]
#[path = "tests/shelf.rs"]
mod tests;
