//! An engine whose operations run on scheduled threads of their own, as a ring's run in the kernel: in any order, beside
//! one another and beside their worker, and to their end even if the engine is gone.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::super::sim::engine::run;
use crate::engine::{Done, Engine, EngineOptions, EngineReport, EngineStats, IoKind, Op, Waker, open};
use crate::sync::schedule;

/// Looks at every operation and its token before it begins.
pub type Watch = Arc<dyn Fn(u64, &Op) + Send + Sync>;

/// See the module's head.
pub struct TurnEngine {
    waker: Waker,
    ended: Arc<Mutex<Vec<Done>>>,
    pending: usize,
    watch: Option<Watch>,
}

impl TurnEngine {
    pub fn new(watch: Option<Watch>) -> TurnEngine {
        let waker = open(Some(IoKind::Posix), &EngineOptions::default()).unwrap().waker();
        TurnEngine { waker, ended: Arc::default(), pending: 0, watch }
    }

    fn take(&mut self, done: &mut Vec<Done>) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        self.pending -= ended.len();
        done.append(&mut ended);
    }
}

impl Engine for TurnEngine {
    fn submit(&mut self, token: u64, mut op: Op) {
        if let Some(watch) = &self.watch {
            watch(token, &op);
        }
        self.pending += 1;
        let (ended, waker) = (Arc::clone(&self.ended), self.waker.clone());
        let refused = schedule::spawn(move || {
            let result = run(&mut op);
            ended.lock().unwrap_or_else(PoisonError::into_inner).push(Done { token, result, op });
            waker.wake();
        });
        assert!(refused.is_none(), "a scheduled engine on a thread that runs no schedule");
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Done>) -> io::Result<()> {
        schedule::point();
        self.take(done);
        if done.is_empty() {
            match timeout {
                None => self.waker.sleep(),
                Some(_) => shuttle::thread::yield_now(),
            }
            self.take(done);
        }
        Ok(())
    }

    fn pending(&self) -> usize {
        self.pending
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn report(&self) -> EngineReport {
        EngineReport { name: "scheduled", features: Vec::new(), lost: Vec::new() }
    }

    fn stats(&self) -> EngineStats {
        EngineStats::default()
    }
}
