//! One operation under way: it owns the operation with its buffers, and the message header a socket operation needs.
//!
//! Invariants: a slot is boxed and reused, never moved or freed while a submission refers to it; the message header and
//! its vectors are only rewritten when no submission is in flight.
#![allow(unsafe_code, reason = "a slot holds raw vectors into the buffers it owns")]

use std::io;

use io_uring::squeue::{Entry, Flags};
use io_uring::{opcode, types};

use super::files::Target;
use crate::engine::backing::zeros;
use crate::engine::{Op, sys};

/// Most vectors one sendmsg takes (the kernel's UIO_MAXIOV).
const VECTORS: usize = 1024;

/// What to do after a completion.
#[derive(Debug)]
pub(super) enum Next {
    /// The operation is finished.
    Finish(io::Result<usize>),
    /// More is to be submitted: the rest of a short transfer, or a retry.
    Again,
}

/// An operation under way.
pub(super) struct Slot {
    pub(super) token: u64,
    pub(super) op: Option<Op>,
    /// A submission refers to this slot.
    pub(super) in_flight: bool,
    /// Bytes moved by earlier submissions.
    pub(super) moved: usize,
    pub(super) target: Target,
    /// Table entry of the buffer, if its chunk is registered.
    pub(super) chunk: Option<u16>,
    /// Length a direct transfer moves in multiples of, bytes.
    pub(super) align: usize,
    /// A zero range whose device has no command for it: zeros are written.
    zeroing: bool,
    vectors: Vec<libc::iovec>,
    message: libc::msghdr,
}

// SAFETY: the raw pointers lead to buffers owned by `op`, which is Send, and to this slot's own vectors.
unsafe impl Send for Slot {}

impl Slot {
    /// A slot without an operation.
    pub(super) fn new() -> Slot {
        Slot {
            token: 0,
            op: None,
            in_flight: false,
            moved: 0,
            target: Target { number: -1, fixed: false },
            chunk: None,
            align: 1,
            zeroing: false,
            vectors: Vec::new(),
            message: sys::empty_message(),
        }
    }

    /// Takes an operation of which `moved` bytes are done. The op's ranges have been checked.
    pub(super) fn fill(&mut self, token: u64, op: Op, target: Target, moved: usize) {
        self.token = token;
        self.op = Some(op);
        self.moved = moved;
        self.target = target;
        self.chunk = None;
        self.align = 1;
        self.zeroing = false;
    }

    /// The submission for what is left of the operation, without user data; `None` if nothing is left.
    pub(super) fn entry(&mut self) -> Option<Entry> {
        let moved = self.moved;
        let fd = types::Fd(self.target.number);
        let entry = match self.op.as_mut()? {
            Op::Read { offset, buf, range, .. } => {
                let left = &mut buf[range.start + moved..range.end];
                let (at, memory, len) = (*offset + moved as u64, left.as_mut_ptr(), length(left)?);
                match self.chunk {
                    Some(chunk) => opcode::ReadFixed::new(fd, memory, len, chunk).offset(at).build(),
                    None => opcode::Read::new(fd, memory, len).offset(at).build(),
                }
            }
            Op::Write { offset, data, range, dsync, .. } => {
                let left = &data[range.start + moved..range.end];
                let (at, memory, len) = (*offset + moved as u64, left.as_ptr(), length(left)?);
                let how = if *dsync { libc::RWF_DSYNC } else { 0 };
                match self.chunk {
                    Some(chunk) => opcode::WriteFixed::new(fd, memory, len, chunk).offset(at).rw_flags(how).build(),
                    None => opcode::Write::new(fd, memory, len).offset(at).rw_flags(how).build(),
                }
            }
            Op::Flush { .. } => opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build(),
            Op::Punch { offset, len, .. } => fallocate(fd, libc::FALLOC_FL_PUNCH_HOLE, *offset, *len)?,
            Op::ZeroRange { offset, len, .. } if self.zeroing => {
                let left = usize::try_from(*len).ok()?.saturating_sub(moved).min(zeros().len());
                let zeros = &zeros()[..left];
                opcode::Write::new(fd, zeros.as_ptr(), length(zeros)?).offset(*offset + moved as u64).build()
            }
            Op::ZeroRange { offset, len, .. } => fallocate(fd, libc::FALLOC_FL_ZERO_RANGE, *offset, *len)?,
            Op::Recv { .. } => {
                self.aim_receive()?;
                opcode::RecvMsg::new(fd, &mut self.message).build()
            }
            Op::Send { .. } => {
                self.aim_send()?;
                // WAITALL: the kernel goes on after short sends by itself (Linux 5.19).
                let how = (libc::MSG_NOSIGNAL | libc::MSG_WAITALL) as u32;
                opcode::SendMsg::new(fd, &self.message).flags(how).build()
            }
        };
        Some(if self.target.fixed { entry.flags(Flags::FIXED_FILE) } else { entry })
    }

    fn aim_receive(&mut self) -> Option<()> {
        let Some(Op::Recv { first, rest, .. }) = &mut self.op else {
            return None;
        };
        self.vectors.clear();
        let parts = first.iter_mut().chain(std::iter::once(rest));
        self.vectors.extend(parts.map(|(buf, range)| vector(&mut buf[range.clone()])));
        self.vectors.retain(|vector| vector.iov_len != 0);
        self.aim()
    }

    fn aim_send(&mut self) -> Option<()> {
        let Some(Op::Send { parts, .. }) = &self.op else {
            return None;
        };
        self.vectors.clear();
        let mut skip = self.moved;
        for (data, range) in parts {
            if skip >= range.len() {
                skip -= range.len();
                continue;
            }
            if self.vectors.len() == VECTORS {
                break;
            }
            let left = &data[range.start + skip..range.end];
            // The kernel only reads through the vectors of a send.
            self.vectors.push(libc::iovec { iov_base: left.as_ptr().cast_mut().cast(), iov_len: left.len() });
            skip = 0;
        }
        self.aim()
    }

    fn aim(&mut self) -> Option<()> {
        self.message.msg_iov = self.vectors.as_mut_ptr();
        self.message.msg_iovlen = self.vectors.len();
        (!self.vectors.is_empty()).then_some(())
    }

    /// What remains of an operation of which [`entry`](Slot::entry) says that nothing is left to submit.
    pub(super) fn nothing_left(&self) -> io::Result<usize> {
        match &self.op {
            // A receive into nothing: its 0 would look like the peer's end.
            Some(Op::Recv { .. }) | None => Err(io::ErrorKind::InvalidInput.into()),
            Some(Op::ZeroRange { .. } | Op::Punch { .. } | Op::Flush { .. }) => Ok(0),
            Some(_) => Ok(self.moved),
        }
    }

    /// Judges a completion's result (a count, or a negated errno).
    pub(super) fn completed(&mut self, result: i32) -> Next {
        let Ok(count) = usize::try_from(result) else {
            return self.failed(-result);
        };
        match &self.op {
            Some(Op::Read { range, .. }) => {
                self.moved += count;
                // A direct read that is short by less than a block has met the end too.
                if self.moved < range.len() && (count == 0 || !count.is_multiple_of(self.align)) {
                    return Next::Finish(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                self.again_until(range.len())
            }
            Some(Op::Write { range, .. }) => {
                let whole = range.len();
                self.advance(count, whole)
            }
            Some(Op::Send { parts, .. }) => {
                let whole = parts.iter().map(|part| part.1.len()).sum();
                self.advance(count, whole)
            }
            Some(Op::ZeroRange { len, .. }) if self.zeroing => {
                let whole = usize::try_from(*len).unwrap_or(usize::MAX);
                match self.advance(count, whole) {
                    Next::Finish(Ok(_)) => Next::Finish(Ok(0)),
                    other => other,
                }
            }
            Some(Op::Recv { .. }) => Next::Finish(Ok(count)),
            _ => Next::Finish(Ok(0)),
        }
    }

    fn advance(&mut self, count: usize, whole: usize) -> Next {
        if count == 0 {
            return Next::Finish(Err(io::ErrorKind::WriteZero.into()));
        }
        self.moved += count;
        self.again_until(whole)
    }

    fn again_until(&self, whole: usize) -> Next {
        if self.moved < whole { Next::Again } else { Next::Finish(Ok(whole)) }
    }

    fn failed(&mut self, errno: i32) -> Next {
        match (errno, &self.op) {
            (libc::EINTR | libc::EAGAIN, _) => Next::Again,
            (libc::EOPNOTSUPP, Some(Op::ZeroRange { .. })) if !self.zeroing => {
                self.zeroing = true;
                Next::Again
            }
            _ => Next::Finish(Err(io::Error::from_raw_os_error(errno))),
        }
    }
}

/// A transfer's length as a submission carries it; `None` for an empty one. Buffers are at most 1 MiB.
fn length(bytes: &[u8]) -> Option<u32> {
    u32::try_from(bytes.len()).ok().filter(|&len| len != 0)
}

fn vector(bytes: &mut [u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
}

fn fallocate(fd: types::Fd, mode: i32, offset: u64, len: u64) -> Option<Entry> {
    let keep = mode | libc::FALLOC_FL_KEEP_SIZE;
    (len != 0).then(|| opcode::Fallocate::new(fd, len).offset(offset).mode(keep).build())
}
