//! How a thread that works in the background stands behind those that serve clients.
//!
//! It runs in the idle class: whoever wakes preempts it at once. The class is the fair one with the smallest weight, so the
//! thread always gets something; where all CPUs are busy with something else that is very little, and a client that waits for
//! an extent it holds waits the longer. What it does for clients, measured, is in bench/NOTES.md.

use std::io;

use super::sys;

/// From here the calling thread stands behind others, and so do the kernel workers of a ring it sets up. There is no way
/// back without privileges, so it is for threads that do nothing else.
///
/// # Errors
/// A sandbox refuses the call; everything goes on as before then.
pub fn step_back() -> io::Result<()> {
    sys::schedule_idle()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_back_alone() {
        fn policy() -> i32 {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            // The name in brackets may hold blanks; the policy is field 41 of all, so the 39th behind it.
            stat.rsplit_once(") ").unwrap().1.split(' ').nth(38).unwrap().parse().unwrap()
        }
        let before = policy();
        let stepped = std::thread::spawn(|| step_back().map(|()| policy())).join().unwrap();
        assert_eq!((stepped.unwrap(), policy()), (libc::SCHED_IDLE, before));
    }
}
