//! An engine without a kernel: reads and flushes run as soon as it is waited for, writes when it pleases, in any order.

use std::io;
use std::time::Duration;

use super::order;
use super::rng::Rng;
use crate::engine::{Done, Engine, EngineOptions, EngineReport, EngineStats, IoKind, Op, Waker, open};

pub struct SimEngine {
    queue: Vec<(u64, Op)>,
    rng: Rng,
    /// Whether writes may stay in the queue.
    pub lazy: bool,
    /// Whether its writes are the rotation's.
    rotating: bool,
    waker: Waker,
}

thread_local! {
    // A waker is an engine's; nobody sleeps here, so one serves all.
    static WAKER: Waker = open(Some(IoKind::Posix), &EngineOptions::default()).unwrap().waker();
}

impl SimEngine {
    pub fn new(seed: u64, lazy: bool) -> SimEngine {
        let waker = WAKER.with(Waker::clone);
        SimEngine { queue: Vec::new(), rng: Rng::new(seed), lazy, rotating: false, waker }
    }

    /// The pipeline's.
    pub fn rotating(seed: u64) -> SimEngine {
        SimEngine { rotating: true, ..SimEngine::new(seed, true) }
    }
}

/// Runs an operation to its end.
pub fn run(op: &mut Op) -> io::Result<usize> {
    match op {
        Op::Read { disk, offset, buf, range } => disk.read_at(*offset, &mut buf[range.clone()]).map(|()| range.len()),
        Op::Write { disk, offset, data, range, dsync: true } => {
            disk.write_through_at(*offset, &data[range.clone()]).map(|()| range.len())
        }
        Op::Write { disk, offset, data, range, .. } => {
            disk.write_at(*offset, &data[range.clone()]).map(|()| range.len())
        }
        Op::Flush { disk } => disk.flush().map(|()| 0),
        Op::Punch { disk, offset, len } => disk.punch(*offset, *len).map(|()| 0),
        Op::ZeroRange { disk, offset, len } => disk.zero_range(*offset, *len).map(|()| 0),
        Op::Recv { .. } | Op::Send { .. } => Err(io::ErrorKind::InvalidInput.into()),
    }
}

impl Engine for SimEngine {
    fn submit(&mut self, token: u64, op: Op) {
        self.queue.push((token, op));
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Done>) -> io::Result<()> {
        assert!(timeout.is_some() || !self.queue.is_empty(), "waiting for ever");
        let must = if timeout.is_none() { self.rng.below(self.queue.len() as u64) as usize } else { usize::MAX };
        for (index, (token, op)) in std::mem::take(&mut self.queue).into_iter().enumerate() {
            let eager = matches!(op, Op::Read { .. } | Op::Flush { .. });
            if !self.lazy || eager || index == must || self.rng.once_in(3) {
                let mut op = op;
                let before = order::rotating(self.rotating);
                let result = run(&mut op);
                order::rotating(before);
                done.push(Done { token, result, op });
            } else {
                self.queue.push((token, op));
            }
        }
        Ok(())
    }

    fn pending(&self) -> usize {
        self.queue.len()
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn report(&self) -> EngineReport {
        EngineReport { name: "simulated", features: Vec::new(), lost: Vec::new() }
    }

    fn stats(&self) -> EngineStats {
        EngineStats::default()
    }
}
