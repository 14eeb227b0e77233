//! What a seat has its volume do: keys made, taken and proven, references counted, steps taken. On threads of their own, so that
//! ticks, messages and a rollback never wait for a keeper that hangs.
//!
//! Two threads: `km-seat-keys` asks keepers and counts references, `km-seat-steps` brings the volume to committed records, and never
//! asks a keeper: a step that needs a key is taken when the other thread has had it ([`super::asks`]). Invariants: every order is
//! answered with what came of it, unless a later one or the seat's end overtakes it; orders of one thread are carried out one after
//! another, and of several waiting orders to converge only the last one is carried out; a DEK on its way to others is in memory
//! only while its generation is being prepared.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::asks::Asks;
use super::cold::{Cold, prove_cold};
use super::converge::{Hands, StepToTake, converge};
use super::notary::{Context, NodeNotary};
use super::seat::Input;
use crate::cli::operations::Served;
use crate::cli::operations::life::keep_statement;
use crate::cli::words;
use crate::cluster::name::NodeName;
use crate::cluster::node::{Event, Local, Outcome};
use crate::cluster::record::{Key, Keyring};
use crate::crypto::Suite;
use crate::format::generations::{Entry, GenerationTable, KeyState, Order, Pace, VerifyMode};
use crate::format::handover::Handover;
use crate::rotation::controller::describe;
use crate::units::Generation;
use crate::volume::VolumeError;
use crate::volume::life::{By, How, Step, SystemClock};
use crate::volume::lifecycle::RotationSpec;
use crate::volume::replica::PreparedKey;

/// How long a keeper may take before the seat is told that the volume waits for it.
const ASKING: Duration = Duration::from_secs(2);

/// What the volume of a seat is worked with.
pub struct Tools {
    /// This node.
    pub me: NodeName,
    /// Its keys.
    pub notary: NodeNotary,
    /// The volume.
    pub served: Arc<Served>,
    /// Where statements of retirement are kept.
    pub state_dir: PathBuf,
    /// How a proof from a fresh process is had.
    pub cold: Cold,
    /// The DEK that is being handed over.
    pub handover: Mutex<Option<Handover>>,
    /// Check values of keys that were prepared or had since the start.
    pub checks: Mutex<BTreeMap<Generation, [u8; 16]>>,
    /// What keepers are being asked for, to bring keys back.
    pub asks: Asks,
}

/// An order to the keys' thread.
pub enum KeyWork {
    /// Something of the volume, and who wanted it.
    Local(Local, By),
    /// Have the DEK of a generation at hand, to seal it.
    Fetch(Generation),
    /// Have the key of a generation at hand, for a step that brings it back.
    Unlock(Generation, Step),
}

/// An order to the steps' thread.
pub enum StepWork {
    /// Bring the volume to this record; whether its drain may run.
    Converge(Box<Keyring>, bool),
    /// Once more: something that may have been waited for is there.
    Again,
}

/// The two threads, seen from the seat.
pub struct Workers {
    keys: Arc<Sender<KeyWork>>,
    steps: Arc<Sender<StepWork>>,
}

impl Workers {
    /// Starts them; what comes of orders goes to `seat`.
    ///
    /// # Errors
    /// A thread cannot be had.
    pub fn start(tools: &Arc<Tools>, seat: &SyncSender<Input>) -> std::io::Result<Workers> {
        let (keys, key_orders) = channel();
        let (steps, step_orders) = channel();
        let (keys, steps) = (Arc::new(keys), Arc::new(steps));
        // What one thread orders of the other keeps neither alive.
        let (to_keys, to_steps) = (Arc::downgrade(&keys), Arc::downgrade(&steps));
        let (for_keys, for_steps) = (Arc::clone(tools), Arc::clone(tools));
        let (key_seat, step_seat) = (seat.clone(), seat.clone());
        let builder = |name: &str| std::thread::Builder::new().name(name.into());
        builder("km-seat-keys").spawn(move || work_on_keys(&for_keys, &key_orders, &to_steps, &key_seat))?;
        builder("km-seat-steps").spawn(move || take_steps(&for_steps, &step_orders, &to_keys, &step_seat))?;
        Ok(Workers { keys, steps })
    }

    /// Gives an order; the threads end with the seat, not before.
    pub fn order(&self, local: Local, by: By) {
        let _ = match local {
            Local::Converge { record, may_drain } => self.steps.send(StepWork::Converge(record, may_drain)).is_ok(),
            other => self.keys.send(KeyWork::Local(other, by)).is_ok(),
        };
    }

    /// Has the DEK of a generation brought to hand.
    pub fn fetch(&self, generation: Generation) {
        let _ = self.keys.send(KeyWork::Fetch(generation));
    }
}

fn work_on_keys(tools: &Tools, orders: &Receiver<KeyWork>, steps: &Weak<Sender<StepWork>>, seat: &SyncSender<Input>) {
    for order in orders {
        let changes =
            !matches!(order, KeyWork::Fetch(_) | KeyWork::Local(Local::Prove { .. } | Local::Report { .. }, _));
        let input = match order {
            KeyWork::Local(local, by) => {
                let done = tools.do_local(&local, &by);
                Some(Input::Event(Box::new(Event::Done(local, done))))
            }
            KeyWork::Fetch(generation) => Some(Input::Fetched(generation, tools.fetch(generation))),
            KeyWork::Unlock(generation, step) => {
                let had = tools.served.controller.unlock(generation, step).map_err(said);
                tools.asks.answered(generation, had);
                None
            }
        };
        if changes && let Some(steps) = steps.upgrade() {
            let _ = steps.send(StepWork::Again);
        }
        if input.is_some_and(|input| seat.send(input).is_err()) {
            return;
        }
    }
}

fn take_steps(tools: &Arc<Tools>, orders: &Receiver<StepWork>, keys: &Weak<Sender<KeyWork>>, seat: &SyncSender<Input>) {
    let mut latest = None;
    let mut next = orders.recv().ok();
    while let Some(order) = next {
        latest = newest(order, orders).or(latest);
        if let Some((record, may_drain)) = latest.clone() {
            let done = bring(tools, keys, &record, may_drain);
            if done.is_err() && tools.asks.is_asking() {
                // A keeper that answers soon hinders nothing that anybody had to be told of.
                match orders.recv_timeout(ASKING) {
                    Ok(order) => {
                        next = Some(order);
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {}
                }
            }
            let outcome = done.map(|()| Outcome::Converged(record.stamp));
            let local = Local::Converge { record, may_drain };
            if seat.send(Input::Event(Box::new(Event::Done(local, outcome)))).is_err() {
                return;
            }
        }
        next = orders.recv().ok();
    }
}

/// The last of the records that wait.
fn newest(order: StepWork, orders: &Receiver<StepWork>) -> Option<(Box<Keyring>, bool)> {
    let all = std::iter::once(order).chain(orders.try_iter());
    all.filter_map(|order| match order {
        StepWork::Converge(record, may_drain) => Some((record, may_drain)),
        StepWork::Again => None,
    })
    .last()
}

/// Brings the volume to a record as far as it goes.
fn bring(tools: &Arc<Tools>, keys: &Weak<Sender<KeyWork>>, record: &Keyring, may_drain: bool) -> Result<(), String> {
    let at_hand = tools.asks.at_hand();
    let done = converge(&mut VolumeHands { tools, keys, may_drain }, record, may_drain);
    for generation in tools.asks.forget(&at_hand) {
        tools.served.controller.volume().forget_unlocked(generation);
    }
    done
}

/// What a prepared generation is like before it is activated.
fn spec(suite: Suite, by: By) -> RotationSpec {
    RotationSpec {
        suite,
        order: Order::Sequential,
        pace: Pace { rate: 0, adaptive: true, factor_percent: 150 },
        verify: VerifyMode::Full,
        hold_finalize: true,
        paused: false,
        by,
    }
}

fn said(error: VolumeError) -> String {
    describe(&error)
}

impl Tools {
    /// The DEK at hand, if one is.
    pub fn handover(&self) -> MutexGuard<'_, Option<Handover>> {
        self.handover.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, generation: Generation) -> Option<Entry> {
        self.served.controller.volume().table().entry(generation).cloned()
    }

    fn do_local(&self, local: &Local, by: &By) -> Result<Outcome, String> {
        match local {
            Local::Make { generation, suite } => self.make(*generation, *suite, by),
            Local::Prepare { record, handover } => self.prepare(record, handover),
            Local::Prove { generation, cold } => self.prove(*generation, *cold),
            Local::Report { generation } => self.report(*generation),
            Local::Converge { .. } => Err("this is no work on keys".into()),
        }
    }

    fn make(&self, generation: Generation, suite: u16, by: &By) -> Result<Outcome, String> {
        let suite = Suite::from_id(suite).ok_or_else(|| format!("suite {suite} is unknown to this build"))?;
        let controller = &self.served.controller;
        let stray =
            self.entry(generation).filter(|entry| entry.state == KeyState::Prepared && entry.suite != suite.id());
        if stray.is_some() {
            controller.abandon(generation, by).map_err(said)?;
        }
        let (key, handover) = controller.prepare_shared(&spec(suite, by.clone()), generation).map_err(said)?;
        *self.handover() = Some(handover);
        Ok(self.prepared(key))
    }

    fn prepared(&self, key: PreparedKey) -> Outcome {
        let PreparedKey { generation, key_id, check, wraps } = key;
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).insert(generation, check);
        Outcome::Prepared { generation, key_id, check, wraps }
    }

    fn prepare(&self, record: &Keyring, sealed: &[u8]) -> Result<Outcome, String> {
        let prepared = |key: &&Key| key.state == KeyState::Prepared;
        let key = record.keys.iter().rev().find(prepared).ok_or("the record prepares no generation")?;
        let generation = key.generation;
        let opened = self.notary.open(&Context::of(record, key, &self.me), sealed);
        let opened = opened.map_err(|error| format!("the key of generation {generation} does not open: {error}"))?;
        let handover = Handover::decode(opened.expose()).map_err(|error| error.to_string())?;
        let is_the_one = handover.generation == generation
            && handover.key_id == key.key_id
            && handover.suite == key.suite
            && handover.check == key.check;
        if !is_the_one {
            return Err(format!(
                "what was handed over is not the key of generation {generation} that the record names"
            ));
        }
        let by = by_record(record);
        let stray = self.entry(generation).filter(|there| there.key_id != key.key_id);
        if stray.is_some_and(|there| there.state == KeyState::Prepared && there.activated == 0) {
            self.served.controller.abandon(generation, &by).map_err(said)?;
        }
        let key = self.served.controller.take(&handover, &by).map_err(said)?;
        Ok(self.prepared(key))
    }

    fn prove(&self, generation: Generation, cold: bool) -> Result<Outcome, String> {
        if cold {
            let (key_id, check) = prove_cold(&self.cold, generation)?;
            return Ok(Outcome::Proven { generation, key_id, check });
        }
        let proof = self.served.controller.volume().prove_again(generation).map_err(said)?;
        let known = self.checks.lock().unwrap_or_else(PoisonError::into_inner).get(&generation).copied();
        let check = match known {
            Some(check) => check,
            // After a restart only a keeper can tell.
            None => self.served.controller.handover(generation).map_err(said)?.check,
        };
        Ok(Outcome::Proven { generation, key_id: proof.key_id, check })
    }

    fn report(&self, generation: Generation) -> Result<Outcome, String> {
        let report = self.served.controller.volume().zero_report(generation, &SystemClock::default()).map_err(said)?;
        Ok(Outcome::Reported { references: report.references, pins: report.pins })
    }

    /// Has the DEK of a prepared generation at hand again, after a restart.
    fn fetch(&self, generation: Generation) -> Result<(), String> {
        if self.handover().as_ref().is_some_and(|there| there.generation == generation) {
            return Ok(());
        }
        let handover = self.served.controller.handover(generation).map_err(said)?;
        *self.handover() = Some(handover);
        Ok(())
    }
}

/// On whose behalf a step of a record is taken.
pub fn by_record(record: &Keyring) -> By {
    let reason = match record.change.reason.is_empty() {
        true => format!("record {}", record.stamp),
        false => format!("record {}: {}", record.stamp, record.change.reason),
    };
    By { actor: format!("node {} for its peers", record.lead), reason, now: words::now() }
}

/// Takes steps of a served volume.
struct VolumeHands<'a> {
    tools: &'a Arc<Tools>,
    keys: &'a Weak<Sender<KeyWork>>,
    may_drain: bool,
}

impl VolumeHands<'_> {
    fn step(&self, step: &StepToTake, record: &Keyring) -> Result<(), VolumeError> {
        let (controller, by) = (&self.tools.served.controller, by_record(record));
        match step {
            StepToTake::Activate(generation) => controller.activate(*generation, &self.spec(record, by)?).map(drop),
            StepToTake::RollBack => controller.roll_back(&by).map(drop),
            StepToTake::Revoke(generation) => controller.revoke(*generation, &by, &SystemClock::default()).map(drop),
            StepToTake::Mark(generation, mark) => controller.volume().mark(*generation, *mark, &by).map(drop),
            StepToTake::Pause => controller.pause().map(drop),
            StepToTake::Resume => controller.resume().map(drop),
            StepToTake::Pace(pace) => controller.pace(*pace).map(drop),
            StepToTake::Finalize => controller.finalize(&by).map(drop),
            StepToTake::Abandon(generation) => controller.abandon(*generation, &by).map(drop),
            StepToTake::EnterEmpty(generation) => controller.volume().enter_empty(*generation, &by),
            StepToTake::Retire(generation) => self.retire(*generation, &by),
            StepToTake::Restore(generation) => controller.restore_unlocked(*generation, &by),
            StepToTake::Schedule(generation, date) => controller.schedule(*generation, *date, &by),
            StepToTake::Cancel(generation) => controller.cancel(*generation, &by),
            StepToTake::Destroy(generation) => {
                // Dates and holders were asked for before it was committed; here it is carried out.
                controller
                    .destroy(*generation, How { early: true, despite_holders: true, drill_max_age: None }, &by)
                    .map(drop)
            }
            StepToTake::Reinstate(generation) => controller.reinstate_unlocked(*generation, &by).map(drop),
        }
    }

    /// Whether the key that a step brings back is at hand; if it is not, it is asked for.
    fn have_key(&self, step: &StepToTake) -> Result<(), String> {
        let (generation, back) = match step {
            StepToTake::Restore(generation) => (*generation, Step::Restore),
            StepToTake::Reinstate(generation) => (*generation, Step::Reinstate),
            _ => return Ok(()),
        };
        self.tools.asks.take(generation, || {
            let keys = self.keys.upgrade();
            keys.is_some_and(|keys| keys.send(KeyWork::Unlock(generation, back)).is_ok())
        })
    }

    fn spec(&self, record: &Keyring, by: By) -> Result<RotationSpec, VolumeError> {
        let change = &record.change;
        let active = record.keys.iter().find(|key| key.state == KeyState::Active);
        let suite = active.and_then(|key| Suite::from_id(key.suite));
        let suite = suite.ok_or_else(|| VolumeError::Refused("the record's suite is unknown to this build".into()))?;
        let paused = change.paused || !self.may_drain;
        Ok(RotationSpec { pace: change.pace, verify: change.verify, paused, ..spec(suite, by) })
    }

    fn retire(&self, generation: Generation, by: &By) -> Result<(), VolumeError> {
        let mut keep = |statement: &crate::volume::life::Statement, text: &str| {
            keep_statement(&self.tools.state_dir, statement, text).map(drop)
        };
        self.tools.served.controller.retire(generation, by, &SystemClock::default(), &mut keep).map(drop)
    }
}

impl Hands for VolumeHands<'_> {
    fn look(&self) -> (GenerationTable, BTreeMap<Generation, u64>) {
        let volume = self.tools.served.controller.volume();
        (volume.table(), volume.census())
    }

    fn take(&mut self, step: &StepToTake, record: &Keyring) -> Result<(), String> {
        self.have_key(step)?;
        tracing::info!(name = self.tools.served.name, ?step, record = %record.stamp, "brought to the record of its peers");
        self.step(step, record).map_err(said)
    }
}

#[cfg(test)]
#[path = "tests/hands.rs"]
mod tests;
