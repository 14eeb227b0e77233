//! Finding out what a backing is: its file system, whether direct I/O works (tried, not assumed), whether the page cache
//! answers without waiting, which size its device writes whole, whether it punches holes.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::str::FromStr;

use memmap2::MmapMut;
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, fallocate, fcntl};
use nix::sys::stat::{major, minor};
use nix::sys::statfs::{self, FsType, fstatfs};

use super::{CacheMode, Kind, device_of};
use crate::engine::{DiskCaps, EngineError, InlinePolicy, sys};

/// Alignments to try for direct I/O, bytes.
const ALIGNMENTS: [usize; 2] = [512, 4096];
/// Bytes a file is asked to punch behind its end.
const PROBE: i64 = 4096;
/// `RAMFS_MAGIC` of the kernel's linux/magic.h, which `nix` does not list.
const RAMFS_MAGIC: i64 = 0x8584_58f6;

/// What the backing stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ground {
    /// A block device itself.
    Device,
    /// ext2, ext3 or ext4.
    Ext,
    /// XFS.
    Xfs,
    /// tmpfs or ramfs.
    Memory,
    /// Anything else: it may work, nothing vouches for its atomicity.
    Other,
}

impl Ground {
    fn name(self) -> &'static str {
        match self {
            Ground::Device => "block device",
            Ground::Ext => "file on ext4",
            Ground::Xfs => "file on xfs",
            Ground::Memory => "file on tmpfs",
            Ground::Other => "file",
        }
    }
}

/// Examines an open backing, switching its description to direct I/O if that is wanted and works.
pub(super) fn caps(
    file: &File,
    path: &Path,
    kind: Kind,
    metadata: &Metadata,
    cache: CacheMode,
) -> Result<DiskCaps, EngineError> {
    let failed = |what| move |source| EngineError::Examine { path: path.to_owned(), what, source };
    // O_NONBLOCK was for opening only.
    set_flag(file, OFlag::O_NONBLOCK, false).map_err(failed("file flags"))?;
    let ground = ground(file, kind).map_err(failed("file system"))?;
    let device = device_of(kind, metadata);
    let (granule, granule_source) = granule(ground, device);
    let direct = match (ground, cache) {
        (Ground::Memory, _) | (_, CacheMode::Page) => None,
        (_, CacheMode::Auto) => try_direct(file).ok(),
        (_, CacheMode::Direct) => {
            Some(try_direct(file).map_err(|source| EngineError::NoDirect { path: path.to_owned(), source })?)
        }
    };
    let inline = match (ground, direct) {
        (Ground::Memory, _) => InlinePolicy::Always,
        (_, Some(_)) => InlinePolicy::Never,
        (_, None) => inline_of_page_cache(file),
    };
    let how = match (direct, inline) {
        (Some(align), _) => format!("direct I/O aligned to {align}"),
        (None, InlinePolicy::Always) => "memory".to_owned(),
        (None, InlinePolicy::NoWait) => "page cache".to_owned(),
        (None, InlinePolicy::Never) => "page cache that always waits".to_owned(),
    };
    let describe = format!("{}, {how}", ground.name());
    let punches = punches(file, kind, metadata, device);
    let rotational = ground != Ground::Memory && queue_value(device, "rotational") == Some(1);
    Ok(DiskCaps { align: direct.unwrap_or(1), inline, granule, granule_source, punches, rotational, describe })
}

fn ground(file: &File, kind: Kind) -> io::Result<Ground> {
    if kind == Kind::Block {
        return Ok(Ground::Device);
    }
    let found = fstatfs(file)?.filesystem_type();
    Ok(match found {
        statfs::EXT4_SUPER_MAGIC => Ground::Ext,
        statfs::XFS_SUPER_MAGIC => Ground::Xfs,
        statfs::TMPFS_MAGIC => Ground::Memory,
        FsType(RAMFS_MAGIC) => Ground::Memory,
        _ => Ground::Other,
    })
}

/// Switches the description to direct I/O, reads with it, and returns the alignment that worked. Switches back if none.
fn try_direct(file: &File) -> io::Result<usize> {
    set_flag(file, OFlag::O_DIRECT, true)?;
    let stated = sys::direct_align(file.as_fd()).map_or(0, |align| align.memory.max(align.offset) as usize);
    let tried = read_direct(file, stated);
    if tried.is_err() {
        set_flag(file, OFlag::O_DIRECT, false)?;
    }
    tried
}

/// Reads at each alignment that is not below what the file system states; the smallest that works.
fn read_direct(file: &File, stated: usize) -> io::Result<usize> {
    let mut memory = MmapMut::map_anon(2 * ALIGNMENTS[1])?;
    let mut refused = io::Error::from_raw_os_error(libc::EINVAL);
    for align in ALIGNMENTS.into_iter().filter(|&align| align >= stated) {
        // Memory and offset are aligned to `align` and to nothing larger.
        match file.read_at(&mut memory[align..2 * align], align as u64) {
            Ok(_) => return Ok(align),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn inline_of_page_cache(file: &File) -> InlinePolicy {
    match sys::read_nowait(file.as_raw_fd(), &mut [0], 0) {
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => InlinePolicy::NoWait,
        Err(_) => InlinePolicy::Never,
        Ok(_) => InlinePolicy::NoWait,
    }
}

/// What is written whole or not at all, and who says so.
fn granule(ground: Ground, device: u64) -> (u32, &'static str) {
    match ground {
        Ground::Memory => (4096, "page of tmpfs"),
        Ground::Other => (0, "nothing: unknown file system"),
        Ground::Device | Ground::Ext | Ground::Xfs => match logical_block_size(device) {
            Some(size) => (size, "logical block size of the device (sysfs)"),
            None => (0, "nothing: no block size in sysfs"),
        },
    }
}

fn logical_block_size(device: u64) -> Option<u32> {
    queue_value(device, "logical_block_size").filter(|size| (512..=65536u32).contains(size) && size.is_power_of_two())
}

/// Whether ranges can be punched. A file is asked to punch behind its end, where there is nothing to lose; a device would
/// refuse that, so its queue is asked.
fn punches(file: &File, kind: Kind, metadata: &Metadata, device: u64) -> bool {
    if kind == Kind::Block {
        return queue_value::<u64>(device, "write_zeroes_max_bytes").is_some_and(|most| most > 0);
    }
    let behind = metadata.len().next_multiple_of(PROBE as u64) as i64;
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(file, flags, behind, PROBE).is_ok()
}

/// A number that the request queue of a device tells.
fn queue_value<T: FromStr>(device: u64, name: &str) -> Option<T> {
    let base = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    // A partition has no queue of its own; its parent directory is the whole device.
    [format!("{base}/queue/{name}"), format!("{base}/../queue/{name}")]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok())
        .and_then(|text| text.trim().parse().ok())
}

fn set_flag(file: &File, flag: OFlag, on: bool) -> io::Result<()> {
    let mut flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
    flags.set(flag, on);
    fcntl(file, FcntlArg::F_SETFL(flags))?;
    Ok(())
}
