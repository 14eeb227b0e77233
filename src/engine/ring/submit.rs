//! From an operation to a submission: what runs on the calling thread, what gets a slot, and what waits in the backlog.
#![allow(unsafe_code, reason = "submissions point to memory owned by slots")]

use std::io;

use io_uring::squeue::Entry;

use super::RingEngine;
use super::slot::Slot;
use crate::engine::{Done, InlinePolicy, Op, inline, sys};
use crate::limits::INLINE_MAX;

/// Long writes to memory that kernel workers have at a time; the calling thread makes the next one itself. One worker writes
/// to a file at a time, so more would only wait there, and this thread for them.
const HANDED_OFF: usize = 2;

/// Where a disk operation goes.
pub(super) enum Way {
    /// Finished on the calling thread.
    Finished(io::Result<usize>),
    /// To the ring, so many bytes being done.
    Ring(usize),
}

impl RingEngine {
    /// Runs a disk operation on the calling thread if that is the way for it.
    pub(super) fn way(&mut self, op: &mut Op) -> Way {
        let Some(disk) = op.disk() else {
            return Way::Ring(0);
        };
        let entry = self.files.disk(&self.ring.submitter(), disk);
        let Some(fd) = entry.fd else {
            return self.run_inline(op);
        };
        let inline = entry.inline;
        let fits = |reads: usize, writes: usize| match &*op {
            Op::Read { range, .. } => range.len() <= reads,
            Op::Write { range, .. } => range.len() <= writes,
            Op::Punch { len, .. } | Op::ZeroRange { len, .. } => *len <= INLINE_MAX as u64,
            Op::Flush { .. } => true,
            Op::Recv { .. } | Op::Send { .. } => false,
        };
        let short = fits(self.options.inline_reads, self.options.inline_writes);
        let small = fits(INLINE_MAX, INLINE_MAX);
        let busy = matches!(op, Op::Write { .. }) && self.writes_under_way >= HANDED_OFF;
        if (short || busy) && inline == InlinePolicy::Always {
            return self.run_inline(op);
        }
        if entry.align > 1 && !memory_address(op).is_multiple_of(entry.align) {
            self.stats.bounced += 1;
            return self.run_inline(op);
        }
        let tried = match op {
            Op::Read { offset, buf, range, .. } if small && entry.read_nowait => {
                Some((range.len(), sys::read_nowait(fd, &mut buf[range.clone()], *offset), &mut entry.read_nowait))
            }
            Op::Write { offset, data, range, dsync: false, .. } if small && entry.write_nowait => {
                Some((range.len(), sys::write_nowait(fd, &data[range.clone()], *offset), &mut entry.write_nowait))
            }
            _ => None,
        };
        match tried {
            None => Way::Ring(0),
            Some((whole, Ok(moved), _)) if moved == whole => {
                self.stats.inlined += 1;
                Way::Finished(Ok(whole))
            }
            Some((_, Ok(moved), _)) => Way::Ring(moved),
            Some((_, Err(error), supported)) => {
                *supported &= error.raw_os_error() != Some(libc::EOPNOTSUPP);
                Way::Ring(0)
            }
        }
    }

    fn run_inline(&mut self, op: &mut Op) -> Way {
        self.stats.inlined += 1;
        Way::Finished(inline::run(op))
    }

    /// Puts an operation into a slot and starts it.
    pub(super) fn start(&mut self, token: u64, op: Op, moved: usize) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Box::new(Slot::new()));
            (self.slots.len() - 1) as u32
        });
        let submitter = self.ring.submitter();
        let mut align = 1;
        let mut chunk = None;
        let target = match &op {
            Op::Recv { socket, .. } | Op::Send { socket, .. } => self.files.socket(&submitter, socket),
            Op::Read { disk, .. }
            | Op::Write { disk, .. }
            | Op::Flush { disk }
            | Op::Punch { disk, .. }
            | Op::ZeroRange { disk, .. } => {
                let entry = self.files.disk(&submitter, disk);
                align = entry.align;
                entry.target()
            }
        };
        if align > 1 {
            // Only direct I/O pins pages, so only there does pinning them beforehand gain anything.
            chunk = match &op {
                Op::Read { buf, .. } => self.chunks.index(&submitter, buf),
                Op::Write { data, .. } => self.chunks.index(&submitter, data.buf()),
                _ => None,
            };
        }
        if let Op::Punch { disk, offset, len } | Op::ZeroRange { disk, offset, len } = &op {
            disk.forget(*offset, *len);
        }
        self.writes_under_way += usize::from(matches!(op, Op::Write { .. }));
        let slot = &mut self.slots[index as usize];
        slot.fill(token, op, target, moved);
        self.urgent |= slot.op.as_ref().is_some_and(|op| op.disk().is_some());
        slot.align = align;
        slot.chunk = chunk;
        self.launch(index);
    }

    /// Submits what is left of a slot's operation, or finishes it if nothing is.
    pub(super) fn launch(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        match slot.entry() {
            Some(entry) => {
                slot.in_flight = true;
                self.push(entry.user_data(u64::from(index)));
            }
            None => {
                let result = slot.nothing_left();
                let done = self.retire(index, result);
                self.finished.extend(done);
            }
        }
    }

    /// Takes the operation out of a slot that no submission refers to.
    pub(super) fn retire(&mut self, index: u32, result: io::Result<usize>) -> Option<Done> {
        let slot = &mut self.slots[index as usize];
        let op = slot.op.take()?;
        self.writes_under_way -= usize::from(matches!(op, Op::Write { .. }));
        self.free.push(index);
        Some(Done { token: slot.token, result, op })
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.in_flight += 1;
        if !self.backlog.is_empty() || !self.try_push(&entry) {
            self.backlog.push_back(entry);
            // Make room; whatever goes wrong here goes wrong again, and is reported, in `wait`.
            if self.enable().is_ok() && self.enter(0, None).is_ok() {
                self.drain_backlog();
            }
        }
    }

    fn try_push(&mut self, entry: &Entry) -> bool {
        // SAFETY: the entry points into a boxed slot, into buffers that slot's operation owns, to static zeros or to
        // `bell`. None of them is freed, moved or rewritten before the entry's completion was reaped: slots are retired
        // only by `reap`, and `drop` waits for all completions or leaks slots and bell.
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    pub(super) fn drain_backlog(&mut self) {
        while let Some(entry) = self.backlog.pop_front() {
            if !self.try_push(&entry) {
                self.backlog.push_front(entry);
                return;
            }
        }
    }

    /// Makes the calling thread the ring's owner.
    pub(super) fn enable(&mut self) -> io::Result<()> {
        if !self.enabled {
            self.ring.submitter().register_enable_rings()?;
            self.enabled = true;
        }
        Ok(())
    }
}

/// Address of the memory a disk transfer uses; 0 for operations without any.
fn memory_address(op: &Op) -> usize {
    match op {
        Op::Read { buf, range, .. } => buf[range.clone()].as_ptr() as usize,
        Op::Write { data, range, .. } => data[range.clone()].as_ptr() as usize,
        _ => 0,
    }
}
