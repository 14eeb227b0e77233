//! How a thread that works in the background stands behind those that serve clients.
//!
//! A thread of a higher nice value gets a small share of a CPU that others want too, and all of one that nobody wants. It is
//! not starved: what it holds, a lock or an extent, it gives back in the end, which the idle class does not promise. Its
//! slice is long, because the scheduler lets a thread that wakes with a shorter slice preempt it at once.

use std::io;
use std::time::Duration;

use super::sys;

/// The nice value of background threads: a tenth of the weight of a usual thread.
const NICE: i32 = 10;
/// The longest slice the kernel gives.
const SLICE: Duration = Duration::from_millis(100);

/// From here the calling thread stands behind others, and so do the kernel workers of a ring it sets up. There is no way
/// back without privileges, so it is for threads that do nothing else.
///
/// # Errors
/// A sandbox refuses the call; everything goes on as before then.
pub fn step_back() -> io::Result<()> {
    sys::schedule(NICE, SLICE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_back_alone() {
        fn nice() -> i32 {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            // The name in brackets may hold blanks; nice is field 19 of all, so the 17th behind it.
            stat.rsplit_once(") ").unwrap().1.split(' ').nth(16).unwrap().parse().unwrap()
        }
        let before = nice();
        let stepped = std::thread::spawn(|| step_back().map(|()| nice())).join().unwrap();
        assert_eq!((stepped.unwrap(), nice()), (NICE, before));
    }
}
