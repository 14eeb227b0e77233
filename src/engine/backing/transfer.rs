//! Exact blocking transfers of a backing: short ones are continued, unaligned memory goes through a bounce buffer.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::{MutexGuard, PoisonError};

use memmap2::MmapMut;

use super::Backing;
use crate::engine::{faults, sys};

/// Bytes of the bounce buffer.
const BOUNCE: usize = 1 << 20;

/// A source of zeros for devices without a zeroing command, aligned for direct I/O.
#[repr(align(4096))]
struct Zeros([u8; 256 << 10]);
static ZEROS: Zeros = Zeros([0; 256 << 10]);

/// Zeros, page-aligned.
pub(in crate::engine) fn zeros() -> &'static [u8] {
    &ZEROS.0
}

/// One write call; may be short.
type WriteCall = fn(&File, &[u8], u64) -> io::Result<usize>;

/// Durable later, at a flush.
pub(super) fn plain(file: &File, data: &[u8], offset: u64) -> io::Result<usize> {
    file.write_at(data, offset)
}

/// Durable on return.
pub(super) fn durable(file: &File, data: &[u8], offset: u64) -> io::Result<usize> {
    sys::write_dsync(file.as_raw_fd(), data, offset)
}

impl Backing {
    /// Fills `data` from `offset`.
    pub(super) fn read_exact(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.check_aligned(offset, data.len() as u64)?;
        if self.memory_fits(data) {
            return self.read_through(data, offset);
        }
        let mut bounce = self.bounce();
        let bounce = filled(&mut bounce)?;
        for (index, part) in data.chunks_mut(BOUNCE).enumerate() {
            let through = &mut bounce[..part.len()];
            self.file.read_exact_at(through, offset + (index * BOUNCE) as u64)?;
            part.copy_from_slice(through);
        }
        Ok(())
    }

    /// Stores all of `data` at `offset` by `call`.
    pub(super) fn write_all(&self, offset: u64, data: &[u8], call: WriteCall) -> io::Result<()> {
        self.check_aligned(offset, data.len() as u64)?;
        if self.memory_fits(data) {
            return self.write_exact(data, offset, call);
        }
        let mut bounce = self.bounce();
        let bounce = filled(&mut bounce)?;
        for (index, part) in data.chunks(BOUNCE).enumerate() {
            let through = &mut bounce[..part.len()];
            through.copy_from_slice(part);
            self.write_exact(through, offset + (index * BOUNCE) as u64, call)?;
        }
        Ok(())
    }

    /// Writes zeros over a range.
    pub(super) fn write_zeros(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_aligned(offset, len)?;
        let mut done = 0;
        while done < len {
            let part = (len - done).min(zeros().len() as u64);
            self.write_exact(&zeros()[..part as usize], offset + done, plain)?;
            done += part;
        }
        Ok(())
    }

    fn read_through(&self, mut data: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !data.is_empty() {
            match faults::transfer(self.file.read_at(data, offset), self.caps.align) {
                // A direct read that is short by less than a block has met the end too.
                Ok(moved) if moved < data.len() && (moved == 0 || !moved.is_multiple_of(self.caps.align)) => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(moved) => {
                    data = &mut data[moved..];
                    offset += moved as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write_exact(&self, mut data: &[u8], mut offset: u64, call: WriteCall) -> io::Result<()> {
        while !data.is_empty() {
            match faults::transfer(call(&self.file, data, offset), self.caps.align) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(moved) => {
                    data = &data[moved..];
                    offset += moved as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn memory_fits(&self, data: &[u8]) -> bool {
        (data.as_ptr() as usize).is_multiple_of(self.caps.align)
    }

    fn check_aligned(&self, offset: u64, len: u64) -> io::Result<()> {
        let align = self.caps.align as u64;
        if offset.is_multiple_of(align) && len.is_multiple_of(align) {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{offset}+{len} is not aligned to {align} bytes")))
    }

    fn bounce(&self) -> MutexGuard<'_, Option<MmapMut>> {
        self.bounce.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn filled(bounce: &mut Option<MmapMut>) -> io::Result<&mut MmapMut> {
    match bounce {
        Some(map) => Ok(map),
        None => Ok(bounce.insert(MmapMut::map_anon(BOUNCE)?)),
    }
}
