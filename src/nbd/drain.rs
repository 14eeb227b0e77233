//! The end of a worker: what happens between the order to stop and the last connection.
//!
//! From the order on, new requests and options are refused with a shutdown error. Clients that have nothing running
//! get [`LINGER`] to hear of it, then nothing more is read, what runs is answered, and connections close. At the
//! deadline what is left is cut off.

use std::time::{Duration, Instant};

use super::backend::Backend;
use super::session::Io;
use super::table::Table;

/// How long clients are told of the shutdown before nothing more is read from them.
const LINGER: Duration = Duration::from_millis(250);

/// How far the end has come.
#[derive(Debug)]
pub struct Drain {
    time: Duration,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Serving,
    Refusing { closing: Instant, deadline: Instant },
    Closing { deadline: Instant },
}

impl Drain {
    /// Nothing ordered yet; `time` is what the end may take.
    pub fn new(time: Duration) -> Drain {
        Drain { time, stage: Stage::Serving }
    }

    /// Goes on with the end; called every round once it was ordered.
    pub fn step<B: Backend>(&mut self, table: &mut Table<B>, io: &mut Io<'_, B>) {
        match self.stage {
            Stage::Serving => {
                self.stage = Stage::Refusing { closing: io.now + LINGER, deadline: io.now + self.time };
            }
            Stage::Refusing { closing, deadline } if closing <= io.now => {
                table.close_all(io);
                self.stage = Stage::Closing { deadline };
            }
            Stage::Closing { deadline } if deadline <= io.now => table.cut_off_all(io),
            _ => {}
        }
    }

    /// When [`Drain::step`] has something to do next.
    pub fn next(&self) -> Option<Instant> {
        match self.stage {
            Stage::Serving => None,
            Stage::Refusing { closing, .. } => Some(closing),
            Stage::Closing { deadline } => Some(deadline),
        }
    }

    /// Whether the worker may end: nothing is left, or the deadline is past.
    pub fn is_over(&self, now: Instant, sessions: usize, pending: usize) -> bool {
        match self.stage {
            Stage::Serving => false,
            Stage::Refusing { .. } => sessions == 0 && pending == 0,
            Stage::Closing { deadline } => (sessions == 0 && pending == 0) || deadline <= now,
        }
    }
}
