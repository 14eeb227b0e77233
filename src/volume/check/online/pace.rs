//! How fast an online check reads, and when it is to stop.
//!
//! Invariant: it never reads ahead of its rate by more than one piece, and notices a stop within a tenth of a second.

use std::time::{Duration, Instant};

use crate::volume::VolumeError;

/// Longest sleep between two looks at whether to stop.
const NAP: Duration = Duration::from_millis(100);

/// Sleeps as its rate asks, and tells how far the check is.
pub(super) struct Pacer<'a> {
    rate: Option<u64>,
    begun: Instant,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64) -> bool,
}

impl<'a> Pacer<'a> {
    /// For `total` bytes at `rate` bytes per second.
    pub fn new(rate: Option<u64>, total: u64, progress: &'a mut dyn FnMut(u64, u64) -> bool) -> Pacer<'a> {
        Pacer { rate: rate.filter(|rate| *rate > 0), begun: Instant::now(), done: 0, total, progress }
    }

    /// `bytes` were read: waits until that is within the rate. Fails if the check is to stop.
    pub fn spend(&mut self, bytes: u64) -> Result<(), VolumeError> {
        self.done = self.done.saturating_add(bytes);
        let due = self.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(self.done as f64 / rate as f64));
        loop {
            if !(self.progress)(self.done.min(self.total), self.total) {
                return Err(VolumeError::Refused("the check was cut short".into()));
            }
            match due.checked_sub(self.begun.elapsed()) {
                Some(left) if !left.is_zero() => std::thread::sleep(left.min(NAP)),
                _ => return Ok(()),
            }
        }
    }
}
