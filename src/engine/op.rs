//! Operations: what an engine is asked to do, and how it hands them back.
//!
//! Invariant: an operation owns all memory it reads or writes; [`Done`] returns the same operation, buffers included.

use std::fmt;
use std::io;
use std::ops::{Deref, Range};
use std::sync::Arc;

use super::{Buf, Disk, Sock};

/// The bytes a write or send takes from: a buffer of its own or one that others read too.
#[derive(Debug)]
pub enum Data {
    /// Nobody else sees the buffer.
    Own(Buf),
    /// Others may read the buffer, nobody writes it.
    Shared(Arc<Buf>),
}

impl Data {
    /// The buffer behind it.
    pub fn buf(&self) -> &Buf {
        match self {
            Data::Own(buf) => buf,
            Data::Shared(buf) => buf,
        }
    }
}

impl Deref for Data {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buf()
    }
}

/// One operation. Ranges are byte ranges of the buffer beside them; a range outside its buffer makes the operation
/// fail with `InvalidInput`. Results, for [`Done::result`], are given with each.
pub enum Op {
    /// Fill `buf[range]` from `offset`. Result: the range's length.
    Read {
        /// Read from here.
        disk: Arc<dyn Disk>,
        /// First byte, of the disk.
        offset: u64,
        /// Read into this buffer.
        buf: Buf,
        /// Which bytes of the buffer.
        range: Range<usize>,
    },
    /// Store `data[range]` at `offset`. Result: the range's length.
    Write {
        /// Write to this.
        disk: Arc<dyn Disk>,
        /// First byte, of the disk.
        offset: u64,
        /// The bytes.
        data: Data,
        /// Which bytes of the data.
        range: Range<usize>,
        /// Durable on completion.
        dsync: bool,
    },
    /// Make every write that *completed before this was submitted* durable. Result: 0.
    Flush {
        /// The disk to flush.
        disk: Arc<dyn Disk>,
    },
    /// [`Disk::punch`]. Result: 0.
    Punch {
        /// The disk to change.
        disk: Arc<dyn Disk>,
        /// First byte.
        offset: u64,
        /// Length, bytes.
        len: u64,
    },
    /// [`Disk::zero_range`]. Result: 0.
    ZeroRange {
        /// The disk to change.
        disk: Arc<dyn Disk>,
        /// First byte.
        offset: u64,
        /// Length, bytes.
        len: u64,
    },
    /// One receive into `first` (what remains of a payload), then `rest`. Result: bytes received over both; 0 = the
    /// peer closed. At most one receive of a socket may be under way.
    Recv {
        /// Receive from this.
        socket: Arc<Sock>,
        /// Filled first, if there.
        first: Option<(Buf, Range<usize>)>,
        /// Filled next.
        rest: (Buf, Range<usize>),
    },
    /// Send all parts in order. Result: the sum of their lengths. At most one send of a socket may be under way.
    Send {
        /// Send to this.
        socket: Arc<Sock>,
        /// What to send.
        parts: Vec<(Data, Range<usize>)>,
    },
}

impl Op {
    /// The disk the operation is for, if it is a disk operation.
    pub fn disk(&self) -> Option<&Arc<dyn Disk>> {
        match self {
            Op::Read { disk, .. }
            | Op::Write { disk, .. }
            | Op::Flush { disk }
            | Op::Punch { disk, .. }
            | Op::ZeroRange { disk, .. } => Some(disk),
            Op::Recv { .. } | Op::Send { .. } => None,
        }
    }

    /// Whether every range lies within its buffer.
    pub(super) fn in_bounds(&self) -> bool {
        fn fits(buffer: &[u8], range: &Range<usize>) -> bool {
            buffer.get(range.clone()).is_some()
        }
        match self {
            Op::Read { buf, range, .. } => fits(buf, range),
            Op::Write { data, range, .. } => fits(data, range),
            Op::Flush { .. } | Op::Punch { .. } | Op::ZeroRange { .. } => true,
            Op::Recv { first, rest, .. } => {
                first.as_ref().is_none_or(|(buf, range)| fits(buf, range)) && fits(&rest.0, &rest.1)
            }
            Op::Send { parts, .. } => parts.iter().all(|(data, range)| fits(data, range)),
        }
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Read { offset, range, .. } => write!(f, "Read({offset}+{})", range.len()),
            Op::Write { offset, range, dsync, .. } => write!(f, "Write({offset}+{}, dsync {dsync})", range.len()),
            Op::Flush { .. } => f.write_str("Flush"),
            Op::Punch { offset, len, .. } => write!(f, "Punch({offset}+{len})"),
            Op::ZeroRange { offset, len, .. } => write!(f, "ZeroRange({offset}+{len})"),
            Op::Recv { first, rest, .. } => {
                write!(f, "Recv({}+{})", first.as_ref().map_or(0, |first| first.1.len()), rest.1.len())
            }
            Op::Send { parts, .. } => write!(f, "Send({})", parts.iter().map(|part| part.1.len()).sum::<usize>()),
        }
    }
}

/// A finished operation.
#[derive(Debug)]
pub struct Done {
    /// The token it was submitted with.
    pub token: u64,
    /// How it ended; see [`Op`] for the meaning of the number.
    pub result: io::Result<usize>,
    /// The operation with its buffers, on success and on failure.
    pub op: Op,
}
