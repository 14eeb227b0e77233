//! Runs a test under many schedules, one per seed, on one thread: whoever reaches an operation of `crate::sync` may have
//! to wait there while others go on, as the seed decides.
//!
//! Three ways to walk take turns, because each finds what the others rarely do: an even choice at every step; long runs
//! of one thread; and fixed ranks with a few changes (PCT), which holds one thread back while all others go on.
//! What is found wrong is noted, the schedule stops there, and the message names the seed that replays it:
//! `KEYMOULT_SCHEDULE_SEED=n`. `KEYMOULT_SCHEDULES=n` sets how many seeds a test runs.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use shuttle::scheduler::{DfsScheduler, Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use super::super::sim::rng::Rng;
use crate::sync::schedule;

/// Steps no schedule comes near unless somebody runs in circles.
const STEPS_MAX: usize = 400_000;
/// Within so many steps ranks change.
const RANK_STEPS: u64 = 3000;

thread_local! {
    static WRONG: RefCell<Option<String>> = const { RefCell::new(None) };
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// Something is wrong: the schedule ends here.
pub fn wrong(what: impl Into<String>) -> ! {
    let what = what.into();
    assert!(schedule::runs(), "{what}");
    WRONG.with_borrow_mut(|wrong| {
        wrong.get_or_insert(what);
    });
    loop {
        // The scheduler lets nobody go on.
        shuttle::thread::yield_now();
    }
}

/// Something is wrong unless `good`.
pub fn check(good: bool, what: impl FnOnce() -> String) {
    if !good {
        wrong(what());
    }
}

enum Walk {
    Even,
    /// Changes the thread once in so many steps.
    Runs(u64),
    /// The highest rank goes on; at these steps the thread that is on falls to the lowest.
    Ranks {
        ranks: Vec<u64>,
        changes: Vec<u64>,
    },
}

impl Walk {
    fn of(rng: &mut Rng) -> Walk {
        match rng.below(3) {
            0 => Walk::Even,
            1 => Walk::Runs(2 + rng.below(30)),
            _ => {
                let span = 1 + rng.below(RANK_STEPS);
                let changes = (0..rng.below(6)).map(|_| rng.below(span)).collect();
                Walk::Ranks { ranks: Vec::new(), changes }
            }
        }
    }
}

struct Seeds {
    left: Range<u64>,
    rng: Rng,
    walk: Walk,
    step: u64,
}

impl Seeds {
    fn choose(&mut self, runnable: &[&Task], current: Option<TaskId>, yields: bool) -> TaskId {
        let any = runnable[self.rng.below(runnable.len() as u64) as usize].id();
        let on = current.filter(|current| runnable.iter().any(|task| task.id() == *current));
        match (&mut self.walk, on) {
            (Walk::Even, _) | (Walk::Runs(_), None) => any,
            (Walk::Runs(len), Some(on)) => {
                if yields || self.rng.once_in(*len) {
                    any
                } else {
                    on
                }
            }
            (Walk::Ranks { ranks, changes }, on) => {
                let most = runnable.iter().map(|task| usize::from(task.id())).max().unwrap_or(0);
                while ranks.len() <= most {
                    ranks.push(1_000_000 + self.rng.below(1_000_000));
                }
                if let Some(on) = on
                    && (yields || changes.contains(&self.step))
                {
                    ranks[usize::from(on)] = 1_000_000u64.saturating_sub(self.step);
                }
                let first = runnable.iter().max_by_key(|task| ranks[usize::from(task.id())]);
                first.map_or(any, |task| task.id())
            }
        }
    }
}

impl Scheduler for Seeds {
    fn new_execution(&mut self) -> Option<Schedule> {
        if WRONG.with_borrow(Option::is_some) {
            return None;
        }
        let seed = self.left.next()?;
        SEED.set(seed);
        self.rng = Rng::new(seed);
        self.walk = Walk::of(&mut self.rng);
        self.step = 0;
        Some(Schedule::new(seed))
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, yields: bool) -> Option<TaskId> {
        if WRONG.with_borrow(Option::is_some) {
            return None;
        }
        self.step += 1;
        Some(self.choose(runnable, current, yields))
    }

    fn next_u64(&mut self) -> u64 {
        self.rng.next()
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 512 << 10;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.failure_persistence = FailurePersistence::None;
    config.silence_warnings = true;
    config.ungraceful_shutdown_config.immediately_return_on_panic = true;
    config
}

/// Runs `f`, which is given the seed, once for each of `seeds`; the number of schedules, or what was wrong with which.
pub fn explore(seeds: Range<u64>, f: impl Fn(u64) + Send + Sync + 'static) -> Result<usize, String> {
    run(move || Seeds { left: seeds, rng: Rng::new(0), walk: Walk::Even, step: 0 }, move || f(SEED.get()))
        .map_err(|wrong| format!("seed {}: {}", wrong.0, wrong.1))
}

/// Runs `f` in every interleaving there is; how many there are.
pub fn every(f: impl Fn() + Send + Sync + 'static) -> usize {
    run(|| DfsScheduler::new(None, false), f).unwrap_or_else(|(_, wrong)| panic!("{wrong}"))
}

fn run<S: Scheduler + 'static>(
    scheduler: impl FnOnce() -> S + Send + 'static,
    f: impl Fn() + Send + Sync + 'static,
) -> Result<usize, (u64, String)> {
    // A thread of its own: a schedule that is cut short leaves its stacks and thread-locals behind.
    let thread = std::thread::spawn(move || {
        let scheduled = move || {
            schedule::set(true);
            f();
            schedule::join_jobs();
            schedule::set(false);
        };
        let ran = catch_unwind(AssertUnwindSafe(|| Runner::new(scheduler(), config()).run(scheduled)));
        schedule::set(false);
        match (ran, WRONG.take()) {
            (Ok(count), None) => Ok(count),
            (_, Some(wrong)) => Err((SEED.get(), wrong)),
            (Err(panic), None) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
                Err((SEED.get(), text.into()))
            }
        }
    });
    thread.join().expect("the explorer itself")
}

/// The seeds a test runs: `usual` many of them, or what the environment says.
fn seeds(usual: u64) -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match (number("KEYMOULT_SCHEDULE_SEED"), number("KEYMOULT_SCHEDULES")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => 1..count.unwrap_or(usual) + 1,
    }
}

/// `f` holds under every schedule.
pub fn holds(usual: u64, f: impl Fn(u64) + Send + Sync + 'static) {
    let seeds = seeds(usual);
    match explore(seeds.clone(), f) {
        Ok(count) => println!("{count} schedules, seeds {seeds:?}"),
        Err(wrong) => panic!("{wrong}\nreplay with KEYMOULT_SCHEDULE_SEED"),
    }
}

/// Positive control: among the first `most` schedules of a broken `f` there is one that is noticed, with `word` in the
/// message.
pub fn noticed(most: u64, word: &str, f: impl Fn(u64) + Send + Sync + 'static) {
    let found = explore(1..most + 1, f).expect_err("the suite must notice");
    println!("{found}");
    assert!(found.contains(word), "noticed as something else than {word:?}: {found}");
}
