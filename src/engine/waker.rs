//! Waking an engine from another thread: an eventfd that one engine waits for.
//!
//! Invariant: a wake that follows a message to the engine's thread is never lost. The flag spares system calls: only the
//! first of many wakes writes; the engine clears the flag *before* its `wait` returns, so before messages are looked at.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::sync::AtomicBool;

/// Makes the engine's `wait` return. Clones wake the same engine; waking one that is gone does nothing.
#[derive(Clone, Debug)]
pub struct Waker {
    bell: Arc<Bell>,
}

#[derive(Debug)]
struct Bell {
    event: EventFd,
    rung: AtomicBool,
    #[cfg(test)]
    sleeper: (crate::sync::Mutex<()>, crate::sync::Condvar),
}

impl Waker {
    /// A waker nobody waits for yet.
    pub(super) fn new() -> io::Result<Waker> {
        // Blocking: the ring would answer EAGAIN at once for a non-blocking descriptor instead of waiting.
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?;
        let bell = Bell {
            event,
            rung: AtomicBool::new(false),
            #[cfg(test)]
            sleeper: Default::default(),
        };
        Ok(Waker { bell: Arc::new(bell) })
    }

    /// Makes the current `wait` return, or the next one.
    pub fn wake(&self) {
        if !self.bell.rung.swap(true, Ordering::AcqRel) {
            // Cannot block or fail: the counter is 0 or 1.
            let _ = self.bell.event.write(1);
            #[cfg(test)]
            self.rouse();
        }
    }

    /// Sleeps until woken: what an engine does that has no descriptor to wait for.
    #[cfg(test)]
    pub fn sleep(&self) {
        let (lock, roused) = &self.bell.sleeper;
        let mut guard = lock.lock().unwrap();
        while !self.bell.rung.swap(false, Ordering::AcqRel) {
            guard = roused.wait(guard).unwrap();
        }
    }

    #[cfg(test)]
    fn rouse(&self) {
        let (lock, roused) = &self.bell.sleeper;
        let _guard = lock.lock().unwrap();
        roused.notify_all();
    }

    /// The descriptor that becomes readable when woken.
    pub(super) fn raw(&self) -> RawFd {
        self.bell.event.as_raw_fd()
    }

    /// Takes the count off the descriptor; for an engine that polls it.
    pub(super) fn take(&self) -> io::Result<()> {
        self.bell.event.read()?;
        self.answered();
        Ok(())
    }

    /// The engine has read the descriptor: later wakes ring again.
    pub(super) fn answered(&self) {
        self.bell.rung.swap(false, Ordering::AcqRel);
    }
}
