//! Jobs that must not run on the thread that finds them necessary: it may be a worker whom others, holding the
//! metadata, wait for.
//!
//! Invariant: a job runs once, on a thread of its own, and nobody waits for it. Tests may keep the jobs of their thread
//! and run them at a moment of their choice instead, so that a seed replays; under a schedule the thread is a scheduled one.

/// Runs `job` on a thread called `name`. If no thread can be had the job is lost: it is never essential.
pub fn run(name: &str, job: impl FnOnce() + Send + 'static) {
    #[cfg(test)]
    let Some(job) = kept::keep(Box::new(job)) else { return };
    #[cfg(test)]
    let Some(job) = crate::sync::schedule::spawn(job) else { return };
    if let Err(error) = std::thread::Builder::new().name(name.into()).spawn(job) {
        tracing::warn!(name, %error, "a background job found no thread");
    }
}

#[cfg(test)]
pub mod kept {
    //! Jobs kept by a test.

    use std::cell::RefCell;

    type Job = Box<dyn FnOnce() + Send>;

    thread_local! {
        static JOBS: RefCell<Option<Vec<Job>>> = const { RefCell::new(None) };
    }

    /// From here this thread's jobs wait for [`run_all`].
    pub fn start() {
        JOBS.with_borrow_mut(|jobs| {
            jobs.get_or_insert_default();
        });
    }

    pub(super) fn keep(job: Job) -> Option<Job> {
        JOBS.with_borrow_mut(|jobs| match jobs {
            Some(jobs) => {
                jobs.push(job);
                None
            }
            None => Some(job),
        })
    }

    /// Runs the jobs kept so far.
    pub fn run_all() {
        let jobs = JOBS.with_borrow_mut(|jobs| jobs.as_mut().map(std::mem::take).unwrap_or_default());
        for job in jobs {
            job();
        }
    }
}
