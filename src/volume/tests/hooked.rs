//! A disk that passes everything through to another, but for what its hooks change.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use crate::engine::{Disk, DiskCaps};

/// What happens to some operations; the others happen to the disk beneath.
pub trait Hooks: Send + Sync {
    /// Instead of asking for its size.
    fn len(&self, disk: &dyn Disk) -> io::Result<u64> {
        disk.len()
    }
    /// Instead of a read.
    fn read(&self, disk: &dyn Disk, offset: u64, data: &mut [u8]) -> io::Result<()> {
        disk.read_at(offset, data)
    }
    /// Instead of a write.
    fn write(&self, disk: &dyn Disk, offset: u64, data: &[u8]) -> io::Result<()> {
        disk.write_at(offset, data)
    }
    /// Instead of a flush.
    fn flush(&self, disk: &dyn Disk) -> io::Result<()> {
        disk.flush()
    }
    /// Before it is made longer.
    fn set_len(&self) -> io::Result<()> {
        Ok(())
    }
    /// Before zeros are made, by punching or otherwise.
    fn zero(&self) -> io::Result<()> {
        Ok(())
    }
    /// What the disk says of itself.
    fn caps(&self, caps: DiskCaps) -> DiskCaps {
        caps
    }
}

/// A disk and its hooks.
pub struct Hooked<H> {
    pub disk: Arc<dyn Disk>,
    pub hooks: H,
}

impl<H: Hooks> Disk for Hooked<H> {
    fn len(&self) -> io::Result<u64> {
        self.hooks.len(&*self.disk)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.hooks.set_len()?;
        self.disk.set_len(len)
    }
    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.hooks.read(&*self.disk, offset, data)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.hooks.write(&*self.disk, offset, data)
    }
    fn flush(&self) -> io::Result<()> {
        self.hooks.flush(&*self.disk)
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.hooks.zero()?;
        self.disk.punch(offset, len)
    }
    fn zero_range(&self, offset: u64, len: u64) -> io::Result<()> {
        self.hooks.zero()?;
        self.disk.zero_range(offset, len)
    }
    fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<u64>> {
        self.disk.next_data(offset, end)
    }
    fn next_hole(&self, offset: u64, end: u64) -> io::Result<u64> {
        self.disk.next_hole(offset, end)
    }
    fn drop_cache(&self) -> io::Result<()> {
        self.disk.drop_cache()
    }
    fn fd(&self) -> Option<RawFd> {
        None
    }
    fn caps(&self) -> DiskCaps {
        self.hooks.caps(self.disk.caps())
    }
}
