//! The primitives at which the threads of a volume meet: the standard library's, under one name.
//!
//! Invariant: in every build but that of the unit tests these *are* the standard library's types. There they are twins
//! that mean the same and, on a thread that runs a schedule, let a seeded scheduler (`shuttle`) decide at each operation
//! who goes on. So one build of the tests serves both, and what is scheduled is the code that ships. Twins know no
//! poisoning, which nobody here asks for. A schedule explores interleavings, not weak memory: every atomic is SeqCst to it.

#[cfg(not(test))]
pub use std::sync::{
    Condvar, Mutex, MutexGuard, OnceLock,
    atomic::{AtomicBool, AtomicU32, AtomicU64},
};
/// `len` zeros, which the system hands out when they are first written.
#[cfg(not(test))]
pub fn zeros(len: usize) -> Box<[AtomicU32]> {
    use zerocopy::FromZeros;
    // What cannot be had that way ends the program here as everywhere.
    <[AtomicU32]>::new_box_zeroed_with_elems(len).unwrap_or_else(|_| (0..len).map(|_| AtomicU32::new(0)).collect())
}

/// `len` zeros.
#[cfg(test)]
pub fn zeros(len: usize) -> Box<[AtomicU32]> {
    (0..len).map(|_| AtomicU32::new(0)).collect()
}

#[cfg(test)]
pub use twin::{AtomicBool, AtomicU32, AtomicU64, Condvar, Mutex, MutexGuard, OnceLock};

#[cfg(test)]
pub mod schedule {
    //! Whether this thread runs a schedule, and what that changes.

    use std::cell::{Cell, RefCell};

    use shuttle::rand::RngCore;
    use shuttle::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use shuttle::thread::JoinHandle;

    thread_local! {
        static RUNS: Cell<bool> = const { Cell::new(false) };
        static TURN: AtomicBool = const { AtomicBool::new(false) };
        static JOBS: RefCell<Vec<JoinHandle<()>>> = const { RefCell::new(Vec::new()) };
    }

    /// Says whether what this thread does from here on is scheduled.
    pub fn set(runs: bool) {
        RUNS.set(runs);
    }

    /// Whether what this thread does is scheduled.
    pub fn runs() -> bool {
        RUNS.get()
    }

    /// Somebody else may have a turn here.
    pub fn point() {
        if runs() {
            TURN.with(|turn| turn.load(SeqCst));
        }
    }

    /// A number below `end` that belongs to the schedule.
    pub fn choose(end: u64) -> u64 {
        shuttle::rand::thread_rng().next_u64() % end
    }

    /// Runs `job` on a scheduled thread if this thread runs a schedule, else gives it back.
    pub fn spawn<F: FnOnce() + Send + 'static>(job: F) -> Option<F> {
        if !runs() {
            return Some(job);
        }
        let handle = shuttle::thread::spawn(job);
        JOBS.with_borrow_mut(|jobs| jobs.push(handle));
        None
    }

    /// Waits for every job [`spawn`] has started.
    pub fn join_jobs() {
        while let Some(job) = JOBS.with_borrow_mut(Vec::pop) {
            let _ = job.join();
        }
    }
}

#[cfg(test)]
#[allow(missing_docs, reason = "the names are the standard library's, and so is what they mean")]
mod twin {
    use std::ops::{Deref, DerefMut};
    use std::sync::{LockResult, PoisonError, atomic};
    use std::time::Duration;

    use super::schedule;

    /// How often a scheduled wait with a timeout looks at most before time is up.
    const LOOKS: u64 = 6;

    /// [`std::sync::Mutex`]; on a schedule a scheduled mutex is taken first, so that the real one is always free.
    #[derive(Debug, Default)]
    pub struct Mutex<T> {
        turn: shuttle::sync::Mutex<()>,
        value: std::sync::Mutex<T>,
    }

    /// [`std::sync::MutexGuard`]. The fields are dropped in this order.
    pub struct MutexGuard<'a, T> {
        value: Option<std::sync::MutexGuard<'a, T>>,
        turn: Option<shuttle::sync::MutexGuard<'a, ()>>,
        of: &'a Mutex<T>,
    }

    impl<T> Mutex<T> {
        pub const fn new(value: T) -> Mutex<T> {
            Mutex { turn: shuttle::sync::Mutex::new(()), value: std::sync::Mutex::new(value) }
        }

        pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            let turn = schedule::runs().then(|| self.turn.lock().unwrap_or_else(PoisonError::into_inner));
            Ok(MutexGuard { value: Some(self.real()), turn, of: self })
        }

        fn real(&self) -> std::sync::MutexGuard<'_, T> {
            self.value.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.value.as_ref().expect("a guard that is not given to a wait")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.value.as_mut().expect("a guard that is not given to a wait")
        }
    }

    /// [`std::sync::Condvar`].
    #[derive(Debug, Default)]
    pub struct Condvar {
        scheduled: shuttle::sync::Condvar,
        real: std::sync::Condvar,
    }

    impl Condvar {
        pub const fn new() -> Condvar {
            Condvar { scheduled: shuttle::sync::Condvar::new(), real: std::sync::Condvar::new() }
        }

        pub fn notify_all(&self) {
            if schedule::runs() {
                self.scheduled.notify_all();
            }
            self.real.notify_all();
        }

        pub fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
            let value = guard.value.take();
            match guard.turn.take() {
                Some(turn) => {
                    drop(value);
                    guard.turn = Some(self.scheduled.wait(turn).unwrap_or_else(PoisonError::into_inner));
                    guard.value = Some(guard.of.real());
                }
                None => {
                    guard.value = value.map(|value| self.real.wait(value).unwrap_or_else(PoisonError::into_inner));
                }
            }
            Ok(guard)
        }

        pub fn wait_while<'a, T>(
            &self,
            mut guard: MutexGuard<'a, T>,
            mut busy: impl FnMut(&mut T) -> bool,
        ) -> LockResult<MutexGuard<'a, T>> {
            while busy(&mut guard) {
                guard = self.wait(guard)?;
            }
            Ok(guard)
        }

        /// On a schedule no clock runs: time is up when the schedule says so, after any number of turns of the others,
        /// but never if `patience` is [`Duration::MAX`] and at once if it is zero.
        pub fn wait_timeout_while<'a, T>(
            &self,
            mut guard: MutexGuard<'a, T>,
            patience: Duration,
            mut busy: impl FnMut(&mut T) -> bool,
        ) -> LockResult<(MutexGuard<'a, T>, bool)> {
            if guard.turn.is_none() {
                if let Some(value) = guard.value.take() {
                    let waited = self.real.wait_timeout_while(value, patience, busy);
                    let (value, waited) = waited.unwrap_or_else(PoisonError::into_inner);
                    guard.value = Some(value);
                    return Ok((guard, waited.timed_out()));
                }
                return Ok((guard, false));
            }
            if patience == Duration::MAX {
                return self.wait_while(guard, busy).map(|guard| (guard, false)).map_err(|_| unreachable!());
            }
            let looks = if patience.is_zero() { 0 } else { schedule::choose(LOOKS) };
            for _ in 0..looks {
                if !busy(&mut guard) {
                    return Ok((guard, false));
                }
                let of = guard.of;
                drop(guard);
                shuttle::thread::yield_now();
                guard = of.lock().unwrap_or_else(PoisonError::into_inner);
            }
            let timed_out = busy(&mut guard);
            Ok((guard, timed_out))
        }
    }

    /// [`std::sync::OnceLock`], as far as it is used.
    pub struct OnceLock<T>(std::sync::OnceLock<T>);

    impl<T> Default for OnceLock<T> {
        fn default() -> OnceLock<T> {
            OnceLock::new()
        }
    }

    impl<T> OnceLock<T> {
        pub const fn new() -> OnceLock<T> {
            OnceLock(std::sync::OnceLock::new())
        }

        pub fn get(&self) -> Option<&T> {
            schedule::point();
            self.0.get()
        }

        pub fn set(&self, value: T) -> Result<(), T> {
            schedule::point();
            self.0.set(value)
        }
    }

    macro_rules! atomic {
        ($name:ident, $value:ty, $($method:ident($($argument:ident)?) $(-> $result:ty)?),+) => {
            /// The atomic of the standard library, as far as it is used.
            #[derive(Debug)]
            pub struct $name(atomic::$name);

            impl $name {
                pub const fn new(value: $value) -> $name {
                    $name(atomic::$name::new(value))
                }

                #[allow(dead_code, reason = "not of every type is it used")]
                pub fn get_mut(&mut self) -> &mut $value {
                    self.0.get_mut()
                }

                $(pub fn $method(&self, $($argument: $value,)? order: atomic::Ordering) $(-> $result)? {
                    schedule::point();
                    self.0.$method($($argument,)? order)
                })+
            }
        };
    }

    atomic!(AtomicBool, bool, swap(value) -> bool);
    atomic!(AtomicU32, u32, load() -> u32, store(value));
    atomic!(AtomicU64, u64, load() -> u64, store(value), fetch_add(value) -> u64, fetch_or(value) -> u64);
}
