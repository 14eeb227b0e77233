//! A disk with a volatile cache, in memory: what is not behind a flush may be lost when the power is cut.
//!
//! Invariants: requests are served one at a time, so a flush covers exactly what was served before it; from the cut on
//! every request fails, until [`Platter::restore`] has decided what survived. A sector of 512 bytes is never torn.

use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::ledger::SECTOR;
use crate::support::next;

/// When the power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Instead of the n-th flush from now.
    Flush(u32),
    /// Instead of the n-th flush from now that covers both records in the ring and data.
    Mixed(u32),
    /// Instead of the n-th change from now.
    Change(u32),
}

/// One change that no flush covers yet.
struct Unflushed {
    offset: usize,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct State {
    durable: Vec<u8>,
    now: Vec<u8>,
    unflushed: Vec<Unflushed>,
    trigger: Option<Trigger>,
    /// Where the volume's intent ring stands, and where its data begin.
    ring: Range<usize>,
    border: usize,
    cut: bool,
    /// Requests of earlier plug-ins are ghosts: they fail.
    plugged: u32,
    /// Flushes wait.
    stalled: bool,
    /// So many do.
    waiting: u32,
}

/// The power is off.
#[derive(Debug)]
pub struct Cut;

/// What survives of the cache.
#[derive(Clone, Copy, Debug)]
enum Survival {
    Nothing,
    Everything,
    /// In order up to some change, which is shorn.
    Prefix,
    /// Each change with this chance in eight.
    Changes(u64),
    /// Each sector by itself.
    Sectors,
    /// All changes before the border, or all from it on, and half of the others.
    Part {
        first: bool,
    },
}

/// The disk.
#[derive(Default)]
pub struct Platter {
    state: Mutex<State>,
    is_cut: Condvar,
    stall: Condvar,
}

impl Platter {
    /// An empty disk of `size` bytes.
    pub fn new(size: usize) -> Platter {
        let state = State { durable: vec![0; size], now: vec![0; size], ..State::default() };
        Platter { state: Mutex::new(state), ..Platter::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes.
    pub fn size(&self) -> usize {
        self.lock().now.len()
    }

    /// Where the volume's intent ring stands, and where its data begin.
    pub fn set_zones(&self, ring: Range<usize>, data: usize) {
        let mut state = self.lock();
        (state.ring, state.border) = (ring, data);
    }

    /// Who asks from now on: earlier plug-ins see the power off.
    pub fn plug_in(&self) -> u32 {
        let mut state = self.lock();
        state.plugged += 1;
        state.plugged
    }

    /// Reads; what is in the cache is read from there.
    pub fn read(&self, plug: u32, offset: usize, len: usize) -> Result<Vec<u8>, Cut> {
        let state = self.lock();
        state.powered(plug)?;
        let end = (offset + len).min(state.now.len());
        Ok(state.now[offset.min(end)..end].to_vec())
    }

    /// Writes into the cache.
    pub fn write(&self, plug: u32, offset: usize, bytes: &[u8]) -> Result<(), Cut> {
        let mut state = self.lock();
        state.powered(plug)?;
        if self.strikes(&mut state, |trigger, _| matches!(trigger, Trigger::Change(_))) {
            return Err(Cut);
        }
        state.now[offset..offset + bytes.len()].copy_from_slice(bytes);
        state.unflushed.push(Unflushed { offset, bytes: bytes.to_vec() });
        Ok(())
    }

    /// Makes everything served before durable.
    pub fn flush(&self, plug: u32) -> Result<(), Cut> {
        let mut state = self.lock();
        state.powered(plug)?;
        if self.strikes(&mut state, |trigger, mixed| {
            matches!(trigger, Trigger::Flush(_)) || mixed && matches!(trigger, Trigger::Mixed(_))
        }) {
            return Err(Cut);
        }
        let state = &mut *state;
        for change in state.unflushed.drain(..) {
            state.durable[change.offset..change.offset + change.bytes.len()].copy_from_slice(&change.bytes);
        }
        Ok(())
    }

    /// Counts down; whether the power is cut here.
    fn strikes(&self, state: &mut State, concerns: impl Fn(Trigger, bool) -> bool) -> bool {
        let in_ring = |change: &Unflushed| state.ring.contains(&change.offset);
        let in_data = |change: &Unflushed| change.offset >= state.border;
        let mixed = state.unflushed.iter().any(in_ring) && state.unflushed.iter().any(in_data);
        let Some(trigger) = state.trigger.filter(|trigger| concerns(*trigger, mixed)) else { return false };
        state.trigger = match trigger {
            Trigger::Flush(0 | 1) | Trigger::Mixed(0 | 1) | Trigger::Change(0 | 1) => None,
            Trigger::Flush(left) => Some(Trigger::Flush(left - 1)),
            Trigger::Mixed(left) => Some(Trigger::Mixed(left - 1)),
            Trigger::Change(left) => Some(Trigger::Change(left - 1)),
        };
        state.cut = state.trigger.is_none();
        if state.cut {
            self.is_cut.notify_all();
        }
        state.cut
    }

    /// Cuts the power at `trigger`, or after `patience` if that does not come.
    pub fn cut(&self, trigger: Trigger, patience: Duration) {
        let mut state = self.lock();
        state.trigger = Some(trigger);
        let waited = self.is_cut.wait_timeout_while(state, patience, |state| !state.cut);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.trigger = None;
        state.cut = true;
    }

    /// Power again: decides which unflushed changes survived, and drops the rest. Says which way it went.
    pub fn restore(&self, random: &mut u64) -> String {
        let mut state = self.lock();
        let state = &mut *state;
        let survival = Survival::draw(random);
        let unflushed = std::mem::take(&mut state.unflushed);
        let last = if unflushed.is_empty() { 0 } else { next(random) as usize % unflushed.len() };
        let count = unflushed.len();
        for (index, change) in unflushed.into_iter().enumerate() {
            let whole = survival.keeps(random, index, last, change.offset < state.border);
            for (at, sector) in (change.offset..).step_by(SECTOR).zip(change.bytes.chunks(SECTOR)) {
                let kept = match survival {
                    Survival::Sectors => next(random).is_multiple_of(2),
                    Survival::Prefix if index == last => next(random).is_multiple_of(2),
                    _ => whole,
                };
                if kept {
                    state.durable[at..at + sector.len()].copy_from_slice(sector);
                }
            }
        }
        state.now.copy_from_slice(&state.durable);
        state.cut = false;
        format!("{survival:?} of {count} unflushed changes")
    }

    /// Flushes wait for as long as the guard lives: a daemon stuck in one cannot even be killed, so no panic may keep it.
    pub fn stall(&self) -> Stall<'_> {
        self.lock().stalled = true;
        Stall(self)
    }

    /// Waits until a flush waits; false if none does within `patience`.
    pub fn await_stalled(&self, patience: Duration) -> bool {
        let waited = self.stall.wait_timeout_while(self.lock(), patience, |state| state.waiting == 0);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting > 0
    }

    /// Whether a flush would wait now: then it must not do so on the thread that serves everybody.
    pub fn is_stalled(&self) -> bool {
        self.lock().stalled
    }

    /// Waits while flushes are stalled.
    pub fn await_turn(&self) {
        let mut state = self.lock();
        state.waiting += 1;
        self.stall.notify_all();
        let waited = self.stall.wait_while(state, |state| state.stalled);
        waited.unwrap_or_else(PoisonError::into_inner).waiting -= 1;
    }
}

/// Flushes are stalled.
pub struct Stall<'a>(&'a Platter);

impl Drop for Stall<'_> {
    fn drop(&mut self) {
        self.0.lock().stalled = false;
        self.0.stall.notify_all();
    }
}

impl State {
    fn powered(&self, plug: u32) -> Result<(), Cut> {
        if self.cut || plug != self.plugged { Err(Cut) } else { Ok(()) }
    }
}

impl Survival {
    fn draw(random: &mut u64) -> Survival {
        match next(random) % 10 {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            2 => Survival::Prefix,
            3..=5 => Survival::Changes(1 + next(random) % 7),
            6 => Survival::Sectors,
            roll => Survival::Part { first: roll > 7 },
        }
    }

    fn keeps(self, random: &mut u64, index: usize, last: usize, in_front: bool) -> bool {
        match self {
            Survival::Nothing => false,
            Survival::Everything | Survival::Sectors => true,
            Survival::Prefix => index < last,
            Survival::Changes(eighths) => next(random) % 8 < eighths,
            Survival::Part { first } => first == in_front || next(random).is_multiple_of(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_flushed_stays_and_the_rest_is_old_or_new_by_sector() {
        let (mut lost, mut kept) = (0, 0);
        for seed in 0..200 {
            let platter = Platter::new(4096);
            let plug = platter.plug_in();
            platter.write(plug, 0, &[1; 1024]).unwrap();
            platter.flush(plug).unwrap();
            platter.write(plug, 512, &[2; 1024]).unwrap();
            platter.cut(Trigger::Flush(1), Duration::ZERO);
            assert!(platter.flush(plug).is_err() && platter.read(plug, 0, 1).is_err());
            platter.restore(&mut { seed });
            let plug = platter.plug_in();
            let found = platter.read(plug, 0, 2048).unwrap();
            assert_eq!(found[..512], [1; 512]);
            assert!(found[512..1024] == [1; 512] || found[512..1024] == [2; 512]);
            assert!(found[1024..1536] == [0; 512] || found[1024..1536] == [2; 512]);
            lost += u32::from(found[512] == 1);
            kept += u32::from(found[512] == 2);
        }
        assert!(lost > 20 && kept > 20, "lost {lost}, kept {kept}");
    }

    #[test]
    fn the_trigger_counts() {
        let platter = Platter::new(4096);
        let plug = platter.plug_in();
        std::thread::scope(|scope| {
            let cut = scope.spawn(|| platter.cut(Trigger::Flush(3), Duration::from_secs(600)));
            let mut served = 0;
            while platter.flush(plug).is_ok() {
                served += 1;
            }
            cut.join().unwrap();
            assert!(served >= 2 && platter.write(plug, 0, &[1]).is_err());
        });
        platter.restore(&mut 1);
        assert!(platter.flush(plug).is_ok());
        platter.plug_in();
        assert!(platter.flush(plug).is_err(), "a ghost of the earlier plug-in");
    }
}
