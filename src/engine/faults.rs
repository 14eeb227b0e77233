//! Faults that tests inject below an engine: what the kernel and the allocator may answer at any time.
//!
//! In every build but the tests' each function here is a constant. A fault strikes once, at the n-th point of its kind that
//! the calling thread passes.

use std::io;

/// Where a fault can strike.
#[cfg_attr(not(test), allow(dead_code, reason = "only tests arm faults"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A completion of the ring.
    Completion,
    /// A pread or pwrite on the calling thread.
    Transfer,
    /// Entering the kernel with the ring.
    Enter,
    /// Taking a buffer from a pool.
    Buffer,
}

/// What happens there.
#[cfg_attr(not(test), allow(dead_code, reason = "only tests arm faults"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Half of a transfer is reported.
    Short,
    /// This error is reported; for a buffer: there is none.
    Errno(i32),
}

#[cfg(test)]
pub use armed::{arm, disarm};

#[cfg(test)]
use armed::strike;

#[cfg(not(test))]
const fn strike(_: Point) -> Option<Fault> {
    None
}

/// A completion's result as the engine shall see it; short transfers stay multiples of `align`.
pub fn completion(result: i32, align: usize) -> i32 {
    match strike(Point::Completion) {
        None => result,
        Some(Fault::Errno(errno)) => -errno,
        Some(Fault::Short) => {
            let half = usize::try_from(result).unwrap_or(0) / 2 / align * align;
            if half > 0 { half as i32 } else { result }
        }
    }
}

/// The same for what a call on this thread gave.
pub fn transfer(result: io::Result<usize>, align: usize) -> io::Result<usize> {
    match (strike(Point::Transfer), result) {
        (Some(Fault::Errno(errno)), _) => Err(io::Error::from_raw_os_error(errno)),
        (Some(Fault::Short), Ok(moved)) if moved / 2 >= align => Ok(moved / 2 / align * align),
        (_, result) => result,
    }
}

/// Why entering the kernel fails now, if it shall.
pub fn enter() -> io::Result<()> {
    match strike(Point::Enter) {
        Some(Fault::Errno(errno)) => Err(io::Error::from_raw_os_error(errno)),
        _ => Ok(()),
    }
}

/// Whether there is no buffer now, although the pool has one.
pub fn no_buffer() -> bool {
    strike(Point::Buffer).is_some()
}

#[cfg(test)]
mod armed {
    use super::{Fault, Point};
    use std::cell::Cell;

    thread_local! {
        static ARMED: Cell<Option<(Point, u64, Fault)>> = const { Cell::new(None) };
    }

    /// Arms `fault` for the `number`-th pass of `point` from now on.
    pub fn arm(point: Point, number: u64, fault: Fault) {
        ARMED.set(Some((point, number, fault)));
    }

    /// Disarms; whether the fault has struck.
    pub fn disarm() -> bool {
        ARMED.take().is_none()
    }

    pub(super) fn strike(at: Point) -> Option<Fault> {
        let (point, left, fault) = ARMED.get().filter(|(point, ..)| *point == at)?;
        ARMED.set((left > 0).then(|| (point, left - 1, fault)));
        (left == 0).then_some(fault)
    }
}
