//! The [`Disk`] trait: a random-access device as the rest of the product sees it. It is the seam where a simulated
//! device takes the place of a file.
//!
//! Contract: offsets and lengths are multiples of [`DiskCaps::align`], ranges lie within [`Disk::len`]. A read or write
//! is exact: it moves every byte or fails. What a write stored is durable only after a later [`Disk::flush`] succeeded.

use std::io;
use std::os::fd::RawFd;

/// How an engine may run small reads and writes of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InlinePolicy {
    /// They wait for a device: always through the ring (direct I/O).
    Never,
    /// The page cache may answer at once: try without waiting first (`RWF_NOWAIT`), then the ring.
    NoWait,
    /// Memory answers, always: at once, on the calling thread (tmpfs, simulated devices).
    Always,
}

/// What a disk can do and how it must be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskCaps {
    /// Offsets and lengths are multiples of this, bytes: 1 through the page cache, 512 or 4096 for direct I/O.
    pub align: usize,
    /// Whether small reads and writes may run on the calling thread.
    pub inline: InlinePolicy,
    /// Bytes that reach the medium whole or not at all; 0 = nothing vouches for any size.
    pub granule: u32,
    /// Who vouches for the granule, in a few words for `status`.
    pub granule_source: &'static str,
    /// Whether a range can be made to read as zeros without writing to it.
    pub punches: bool,
    /// Whether seeks are dear.
    pub rotational: bool,
    /// What the backing is and how it is used, one line for `status`.
    pub describe: String,
}

/// A random-access device. All calls block; all take any thread.
pub trait Disk: Send + Sync {
    /// Size in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the size is zero.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Makes the disk `len` bytes long, durably; what it gains reads as zeros. `Unsupported` where its size is fixed.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Fills `data` from `offset`. `UnexpectedEof` if the disk ends before.
    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()>;

    /// Stores all of `data` at `offset`.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Stores all of `data` at `offset`, durable on return.
    fn write_through_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_at(offset, data)?;
        self.flush()
    }

    /// Makes every write that completed before the call durable.
    fn flush(&self) -> io::Result<()>;

    /// Frees the range, which reads as zeros afterwards. `EOPNOTSUPP` where the disk cannot: nothing has changed then.
    fn punch(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Makes the range read as zeros and keeps it allocated; writes zeros where the disk knows no better.
    fn zero_range(&self, offset: u64, len: u64) -> io::Result<()>;

    /// An engine is about to make a hole or zeros in the range without asking this trait: nothing is known of it any more.
    fn forget(&self, _offset: u64, _len: u64) {}

    /// The first byte of data in `offset..end`, or `None` if all of it is a hole. `offset` itself if unknown.
    /// A hole reads as zeros; allocated space that was only zeroed, never written, may be reported as one too.
    fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<u64>>;

    /// The first byte of a hole in `offset..end`, or `end` if there is none. `end` if unknown.
    fn next_hole(&self, offset: u64, end: u64) -> io::Result<u64>;

    /// Forgets clean cached pages, so that the next read asks the device. Flush first: dirty pages stay.
    fn drop_cache(&self) -> io::Result<()>;

    /// The descriptor an engine may use for I/O of its own, or `None` if all must go through this trait.
    fn fd(&self) -> Option<RawFd>;

    /// What the disk can do. Engines ask once per disk and keep the answer.
    fn caps(&self) -> DiskCaps;
}
