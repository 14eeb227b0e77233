//! Where audit lines go: a file with space set aside beyond its end, and the head file beside it.
//!
//! Invariants: the log file is locked for as long as it is open; the head file is written after the log is durable and
//! never synced itself, so it may lag behind but never runs ahead. A file system without `fallocate` loses the reserve,
//! and says so.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{FallocateFlags, fallocate};

use super::AuditError;
use super::record::Head;

/// The seam under the log: a file, or a device in tests that fills up and fails on demand.
pub(super) trait Sink: Send {
    /// Makes sure that bytes `offset..offset + len` can be written later without running out of space.
    fn set_aside(&mut self, offset: u64, len: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file to `len` bytes.
    fn cut(&mut self, len: u64) -> io::Result<()>;
    /// Notes the head beside the log.
    fn note_head(&mut self, head: &Head) -> io::Result<()>;
    /// Whether [`Sink::set_aside`] really sets aside.
    fn has_reserve(&self) -> bool;
}

/// A log file.
#[derive(Debug)]
pub(super) struct FileSink {
    log: File,
    head: File,
    reserve: bool,
}

/// Path of the head file that belongs to the log at `log`.
pub(super) fn head_path(log: &Path) -> PathBuf {
    log.with_extension("head")
}

/// Reads the head file of the log at `log`. None if there is none or it cannot be read back.
pub(super) fn read_head(log: &Path) -> io::Result<Option<Head>> {
    let mut text = String::new();
    match File::open(head_path(log)) {
        Ok(file) => file.take(1024).read_to_string(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(text.trim().parse().ok())
}

impl FileSink {
    /// Opens or makes the log at `path`, 0600, and locks it.
    pub(super) fn open(path: &Path) -> Result<FileSink, AuditError> {
        let fail = |source| AuditError::Open { path: path.into(), source };
        let made = !path.exists();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let log = options.open(path).map_err(fail)?;
        match log.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(AuditError::InUse { path: path.into() }),
            Err(TryLockError::Error(source)) => return Err(fail(source)),
        }
        let head = options.open(head_path(path)).map_err(fail)?;
        if let (true, Some(parent)) = (made, path.parent()) {
            log.sync_all().and_then(|()| File::open(parent)?.sync_all()).map_err(fail)?;
        }
        Ok(FileSink { log, head, reserve: true })
    }
}

impl Sink for FileSink {
    fn set_aside(&mut self, offset: u64, len: u64) -> io::Result<()> {
        let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else {
            return Err(io::ErrorKind::FileTooLarge.into());
        };
        match fallocate(&self.log, FallocateFlags::FALLOC_FL_KEEP_SIZE, offset, len) {
            Ok(()) => Ok(()),
            Err(nix::errno::Errno::EOPNOTSUPP | nix::errno::Errno::ENOSYS) => {
                self.reserve = false;
                Ok(())
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.log.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.log.sync_data()
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.log.set_len(len)
    }

    fn note_head(&mut self, head: &Head) -> io::Result<()> {
        // Always the same length, within one device block: it is replaced whole or not at all.
        self.head.write_all_at(format!("{:>20}:{}\n", head.sequence, head.hash).as_bytes(), 0)
    }

    fn has_reserve(&self) -> bool {
        self.reserve
    }
}
