//! Runs one input through one target and holds it to the target's memory bound. The plain tests and the fuzzer share it.
//!
//! Invariant: the bound is on what is allocated at one time during the run beyond what was there before, as asked for,
//! touched or not: a decoder that believes a length shows at once. One input runs at a time, and what is made once for
//! all inputs (images, keys) is made before the first is measured.

use std::sync::{Mutex, PoisonError};

use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// One target.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name of its file, its corpus and its dictionary.
    pub name: &'static str,
    /// Runs an input; panics if a promise is broken.
    pub run: fn(&[u8]),
    /// The most an input of so many bytes may make it allocate at a time, bytes.
    pub bound: fn(usize) -> usize,
}

impl Target {
    /// Runs `bytes` under the bound.
    pub fn check(&self, bytes: &[u8]) {
        let (used, len) = (self.measure(bytes), bytes.len());
        let most = (self.bound)(len);
        assert!(used <= most, "{}: {len} bytes of input made it allocate {used} bytes, at most {most}", self.name);
    }

    /// Runs `bytes`; the most that was allocated at one time.
    fn measure(&self, bytes: &[u8]) -> usize {
        /// The targets that have run. Held while one runs.
        static RAN: Mutex<Vec<&str>> = Mutex::new(Vec::new());
        let mut ran = RAN.lock().unwrap_or_else(PoisonError::into_inner);
        if !ran.contains(&self.name) {
            ran.push(self.name);
            (self.run)(&[]);
        }
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        (self.run)(bytes);
        MEMORY.peak_usage().saturating_sub(before)
    }
}
