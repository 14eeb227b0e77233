//! AWS-LC contexts shared by threads: an EVP context is changed by every use, a key serves many threads at once.
//!
//! Each thread has a slot it tries first; a taken slot sends it to the next. Slots are filled, by copying the master,
//! the first time they are used, so that in the steady state a call takes one uncontended lock and allocates nothing.
//!
//! Invariants: no slot is held across calls; when all slots are taken, or memory for a new one is short, the master
//! serves, blocking.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::crypto::awslc::Contexts;
use crate::crypto::error::CryptoError;
use crate::crypto::secret::Secret;
use crate::crypto::suite::Suite;
use crate::crypto::xex::{Direction, Io, Tweaks};

/// Threads that can use one key at the same moment without waiting.
const SLOTS: usize = 16;

static NEXT_THREAD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static FIRST_SLOT: usize = NEXT_THREAD.fetch_add(1, Ordering::Relaxed) % SLOTS;
}

/// One XTS key in AWS-LC, usable from any thread.
pub(super) struct AwsLc {
    master: Mutex<Contexts>,
    slots: [Mutex<Option<Contexts>>; SLOTS],
}

impl AwsLc {
    /// Expands `key`, whose length fits `suite` (one that encrypts).
    pub(super) fn new(suite: Suite, key: &Secret) -> Result<AwsLc, CryptoError> {
        Ok(AwsLc { master: Mutex::new(Contexts::new(suite, key)?), slots: [const { Mutex::new(None) }; SLOTS] })
    }

    /// Encrypts or decrypts whole data units of `unit` bytes.
    #[inline]
    pub(super) fn crypt(&self, way: Direction, tweaks: Tweaks, unit: usize, io: Io<'_>) {
        let first = FIRST_SLOT.with(|slot| *slot);
        for index in 0..SLOTS {
            let Ok(mut slot) = self.slots[(first + index) % SLOTS].try_lock() else {
                continue;
            };
            if slot.is_none() {
                *slot = self.duplicate();
            }
            match slot.as_mut() {
                Some(contexts) => return contexts.crypt(way, tweaks, unit, io),
                None => break,
            }
        }
        let mut master = self.master.lock().unwrap_or_else(PoisonError::into_inner);
        master.crypt(way, tweaks, unit, io);
    }

    #[cold]
    fn duplicate(&self) -> Option<Contexts> {
        self.master.lock().unwrap_or_else(PoisonError::into_inner).duplicate()
    }
}
