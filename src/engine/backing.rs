//! A backing: a regular file or block device, opened once, locked, and examined for how it can be used.
//!
//! Invariants: the lock is on the very open file description that does the I/O, so it lives exactly as long as the
//! backing (a ring's file table may hold the description longer: dropping the backing unlocks explicitly). With direct
//! I/O every transfer the kernel sees is aligned: unaligned memory goes through a bounce buffer, unaligned offsets and
//! lengths are refused. The file's own position is never used for I/O.

mod examine;
mod lock;
mod transfer;

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Mutex;

use memmap2::MmapMut;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, PosixFadviseAdvice, fallocate, posix_fadvise};
use nix::unistd::{Whence, lseek};

pub(super) use self::transfer::zeros;
use super::window::Window;
use super::{Disk, DiskCaps, EngineError, InlinePolicy, sys};

/// How a backing is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CacheMode {
    /// Direct I/O where it works, else the page cache.
    #[default]
    Auto,
    /// Direct I/O, or refuse to open. (On tmpfs there is nothing to go around: memory it is.)
    Direct,
    /// Through the page cache.
    Page,
}

impl FromStr for CacheMode {
    type Err = String;

    fn from_str(text: &str) -> Result<CacheMode, String> {
        match text {
            "auto" => Ok(CacheMode::Auto),
            "direct" => Ok(CacheMode::Direct),
            "page" => Ok(CacheMode::Page),
            _ => Err(format!("unknown cache mode {text:?}: auto, direct or page")),
        }
    }
}

impl fmt::Display for CacheMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CacheMode::Auto => "auto",
            CacheMode::Direct => "direct",
            CacheMode::Page => "page",
        })
    }
}

/// How to open a backing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OpenOptions {
    /// Never write; the lock is shared with other readers.
    pub read_only: bool,
    /// Direct I/O or page cache.
    pub cache: CacheMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Block,
}

/// A file or block device that is open, locked and examined.
pub struct Backing {
    file: File,
    path: PathBuf,
    kind: Kind,
    caps: DiskCaps,
    /// Of a file in memory.
    pub(super) window: Option<Window>,
    /// Aligned memory for callers whose own is not; made when first needed.
    bounce: Mutex<Option<MmapMut>>,
}

impl Backing {
    /// Opens what is there, locks it (exclusively, or shared if `read_only`) and finds out how it can be used.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Backing, EngineError> {
        let path = path.as_ref();
        let failed = |source| EngineError::Open { path: path.to_owned(), source };
        let kind = kind_of(path, &fs::metadata(path).map_err(failed)?)?;
        let mut flags = libc::O_NONBLOCK; // a FIFO that takes the file's place meanwhile must not hang us
        if kind == Kind::Block && !options.read_only {
            flags |= libc::O_EXCL; // claims the device against mounts and other exclusive users
        }
        let file = File::options().read(true).write(!options.read_only).custom_flags(flags).open(path);
        let file = file.map_err(|source| match (kind, source.raw_os_error()) {
            (Kind::Block, Some(libc::EBUSY)) => EngineError::InUse { path: path.to_owned(), holder: None },
            _ => failed(source),
        })?;
        Backing::adopt(file, path, options)
    }

    /// Creates a new file of `len` bytes, all of it a hole, mode 0600. Refuses a path that exists. On failure nothing is
    /// left behind. The directory entry is durable on return.
    pub fn create(path: impl AsRef<Path>, len: u64, options: &OpenOptions) -> Result<Backing, EngineError> {
        let path = path.as_ref();
        let failed = |source| EngineError::Create { path: path.to_owned(), source };
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        let made = file
            .set_len(len)
            .and_then(|()| sync_parent(path))
            .map_err(failed)
            .and_then(|()| Backing::adopt(file, path, options));
        if made.is_err() {
            let _ = fs::remove_file(path);
        }
        made
    }

    fn adopt(file: File, path: &Path, options: &OpenOptions) -> Result<Backing, EngineError> {
        let examined = |what| move |source| EngineError::Examine { path: path.to_owned(), what, source };
        let metadata = file.metadata().map_err(examined("file status"))?;
        let kind = kind_of(path, &metadata)?;
        lock::take(&file, path, options.read_only)?;
        let caps = examine::caps(&file, path, kind, &metadata, options.cache)?;
        let mapped = caps.inline == InlinePolicy::Always && !options.read_only;
        let window = mapped.then(|| Window::open(&file, metadata.len())).flatten();
        Ok(Backing { file, path: path.to_owned(), kind, caps, window, bounce: Mutex::new(None) })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is a block device, whose size is fixed.
    pub fn is_block_device(&self) -> bool {
        self.kind == Kind::Block
    }

    /// Zeros where there is no command for it: a hole that is then allocated (tmpfs), or zeros written.
    fn zero_otherwise(&self, offset: u64, len: u64) -> io::Result<()> {
        let made = self.punch(offset, len).and_then(|()| self.allocate(FallocateFlags::empty(), offset, len));
        match made {
            Err(error) if is_unsupported(&error) => self.write_zeros(offset, len),
            other => other,
        }
    }

    fn allocate(&self, flags: FallocateFlags, offset: u64, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(()); // fallocate calls that an error
        }
        let (offset, len) = (signed(offset)?, signed(len)?);
        loop {
            match fallocate(&self.file, flags | FallocateFlags::FALLOC_FL_KEEP_SIZE, offset, len) {
                Err(Errno::EINTR) => continue,
                other => return Ok(other?),
            }
        }
    }

    fn seek(&self, offset: u64, whence: Whence) -> io::Result<Option<u64>> {
        // Moves the descriptor's position, which nothing reads: all I/O here is positional.
        match lseek(&self.file, signed(offset)?, whence) {
            Ok(found) => Ok(u64::try_from(found).ok()),
            Err(Errno::ENXIO) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EOPNOTSUPP)
}

impl Disk for Backing {
    fn len(&self) -> io::Result<u64> {
        match self.kind {
            Kind::File => Ok(self.file.metadata()?.len()),
            Kind::Block => sys::block_size64(self.file.as_fd()),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.is_block_device() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.forget(len, self.len()?.saturating_sub(len));
        self.file.set_len(len)?;
        self.file.sync_all()
    }

    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        if self.window.as_ref().is_some_and(|window| window.copy(offset, data)) {
            return Ok(());
        }
        self.read_exact(offset, data)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_all(offset, data, transfer::plain)
    }

    fn write_through_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_all(offset, data, transfer::durable)
    }

    fn flush(&self) -> io::Result<()> {
        // Not retried on any error: the kernel reports a failed write-back once, and a second sync proves nothing.
        self.file.sync_data()
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.forget(offset, len);
        self.allocate(FallocateFlags::FALLOC_FL_PUNCH_HOLE, offset, len)
    }

    fn zero_range(&self, offset: u64, len: u64) -> io::Result<()> {
        self.forget(offset, len);
        match self.allocate(FallocateFlags::FALLOC_FL_ZERO_RANGE, offset, len) {
            Err(error) if is_unsupported(&error) => self.zero_otherwise(offset, len),
            other => other,
        }
    }

    fn forget(&self, offset: u64, len: u64) {
        if let Some(window) = &self.window {
            window.forget(offset, len);
        }
    }

    fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<u64>> {
        if self.is_block_device() {
            return Ok((offset < end).then_some(offset));
        }
        Ok(self.seek(offset, Whence::SeekData)?.filter(|&found| found < end))
    }

    fn next_hole(&self, offset: u64, end: u64) -> io::Result<u64> {
        if self.is_block_device() {
            return Ok(end);
        }
        Ok(self.seek(offset, Whence::SeekHole)?.map_or(end, |found| found.min(end)))
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?)
    }

    fn fd(&self) -> Option<RawFd> {
        Some(self.file.as_raw_fd())
    }

    fn caps(&self) -> DiskCaps {
        self.caps.clone()
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        lock::release(&self.file);
    }
}

impl fmt::Debug for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backing({}, {})", self.path.display(), self.caps.describe)
    }
}

fn kind_of(path: &Path, metadata: &fs::Metadata) -> Result<Kind, EngineError> {
    let of = metadata.file_type();
    match (of.is_file(), of.is_block_device()) {
        (true, _) => Ok(Kind::File),
        (_, true) => Ok(Kind::Block),
        _ => Err(EngineError::NotStorage { path: path.to_owned() }),
    }
}

/// The device number whose properties decide how the backing behaves.
fn device_of(kind: Kind, metadata: &fs::Metadata) -> u64 {
    match kind {
        Kind::File => metadata.dev(),
        Kind::Block => metadata.rdev(),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

fn signed(value: u64) -> io::Result<i64> {
    i64::try_from(value).map_err(|_| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
#[path = "tests/backing.rs"]
mod tests;
