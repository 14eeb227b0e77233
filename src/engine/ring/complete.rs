//! From a completion to a [`Done`]: entering the kernel, taking completions off the queue, and the end of a ring.

use std::io;
use std::mem;
use std::time::Duration;

use io_uring::opcode;
use io_uring::types::{Fd, SubmitArgs, Timespec};

use super::slot::Next;
use super::{CANCEL, RingEngine, WAKE};
use crate::engine::{Done, faults};

impl RingEngine {
    pub(super) fn arm_bell(&mut self) {
        if !self.bell_armed && !self.closing {
            self.bell_armed = true;
            let read = opcode::Read::new(Fd(self.waker.raw()), self.bell.as_mut_ptr(), self.bell.len() as u32);
            self.push(read.offset(u64::MAX).build().user_data(WAKE));
        }
    }

    /// Submits all and waits for `want` completions. True if the time ran out.
    pub(super) fn enter(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<bool> {
        self.stats.enters += 1;
        (self.urgent, self.put_off) = (false, false);
        let submitter = self.ring.submitter();
        let entered = faults::enter().and_then(|()| match timeout.filter(|_| want > 0) {
            None => submitter.submit_and_wait(want),
            Some(timeout) => {
                let time = Timespec::from(timeout);
                submitter.submit_with_args(want, &SubmitArgs::new().timespec(&time))
            }
        });
        match entered.map_err(|error| (error.raw_os_error(), error)) {
            Ok(_) | Err((Some(libc::EINTR), _)) => Ok(false),
            Err((Some(libc::ETIME), _)) => Ok(true),
            // The completion queue is full, or the kernel short of memory: what is done must be taken first.
            Err((Some(libc::EBUSY | libc::EAGAIN), _)) => {
                std::thread::yield_now();
                Ok(false)
            }
            Err((_, error)) => Err(error),
        }
    }

    /// Whether an enter has anything to do now, there being results to hand out already. Queued socket operations
    /// are put off once: the caller's answer to those results usually goes along with them.
    pub(super) fn must_enter(&mut self) -> bool {
        let queue = self.ring.submission();
        let queued = !queue.is_empty();
        let demanded = queue.taskrun() || queue.cq_overflow() || !self.probed.defer_taskrun;
        drop(queue);
        let now = demanded || (queued && (self.urgent || self.put_off || !self.backlog.is_empty()));
        self.put_off = queued && !now;
        now
    }

    /// Takes completions off the queue and deals with each. True if one was a wake.
    pub(super) fn reap(&mut self, done: &mut Vec<Done>) -> bool {
        let mut reaped = mem::take(&mut self.reaped);
        reaped.extend(self.ring.completion().map(|entry| (entry.user_data(), entry.result())));
        let mut woken = false;
        for (data, result) in reaped.drain(..) {
            self.in_flight -= 1;
            match data {
                CANCEL => {}
                WAKE => {
                    self.bell_armed = false;
                    // A wake that failed (never seen) must still be answered, or later ones would not ring.
                    self.waker.answered();
                    self.stats.wakes += u64::from(result > 0);
                    woken |= result > 0;
                }
                index => done.extend(self.completed(index as u32, result)),
            }
        }
        self.reaped = reaped;
        woken
    }

    fn completed(&mut self, index: u32, result: i32) -> Option<Done> {
        let slot = self.slots.get_mut(index as usize)?;
        slot.in_flight = false;
        let result = faults::completion(result, slot.align);
        match slot.completed(result) {
            Next::Finish(result) => self.retire(index, result),
            Next::Again if self.closing => self.retire(index, Err(io::ErrorKind::Interrupted.into())),
            Next::Again => {
                self.stats.continued += 1;
                self.launch(index);
                None
            }
        }
    }

    /// Cancels everything and waits for it. False if completions could not be waited for.
    pub(super) fn close(&mut self) -> bool {
        self.closing = true;
        self.in_flight -= self.backlog.len();
        for entry in self.backlog.drain(..) {
            // Never submitted, so nothing refers to these slots.
            match entry.get_user_data() {
                WAKE => self.bell_armed = false,
                index => {
                    if let Some(slot) = self.slots.get_mut(index as usize) {
                        slot.in_flight = false;
                    }
                }
            }
        }
        if !self.enabled {
            return true; // a disabled ring has taken nothing from its queue
        }
        let flying = self.slots.iter().enumerate().filter(|(_, slot)| slot.in_flight);
        let mut targets: Vec<u64> = flying.map(|(index, _)| index as u64).collect();
        targets.extend(self.bell_armed.then_some(WAKE));
        for target in targets {
            self.push(opcode::AsyncCancel::new(target).build().user_data(CANCEL));
        }
        let mut rest = Vec::new();
        while self.in_flight > 0 {
            self.drain_backlog();
            if self.enter(1, None).is_err() {
                return false;
            }
            self.reap(&mut rest);
        }
        true
    }
}
