//! The life of keys on disks that work: what each step does, what is refused, and what is left on the device.
//! `crashes`, `failures` and `controls` have the rest.

mod destroy;
mod retire;
mod revoke;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use super::kek::OpenKek;
use super::rig::{Disks, Rig, shape};
use crate::crypto::{EngineKind, Suite};
use crate::format::generations::{KeyState, Phase};
use crate::format::layout::{Shape, WriteMode};
use crate::units::Generation;
use crate::volume::check::{CheckReport, Depth, Severity, check_disks};
use crate::volume::life::{By, Clock, Reinstated, Retired, Statement, Step};
use crate::volume::{Volume, VolumeError};

const EXTENT: u64 = 64 << 10;
const EXTENTS: u64 = 6;
const OLD: Generation = Generation(1);
const NEW: Generation = Generation(2);

fn small(mode: WriteMode) -> Shape {
    shape(EXTENTS * EXTENT, 4096, 4096, mode)
}

fn by(now: u64) -> By {
    By { actor: "user 0, process 7".into(), reason: "why not".into(), now }
}

/// A retired key comes back: had from its keeper, then loaded.
pub fn restore(volume: &Arc<Volume>, generation: Generation, by: &By) -> Result<(), VolumeError> {
    volume.unlock(generation, Step::Restore, &OpenKek::list())?;
    volume.restore(generation, by)
}

/// A revoked key comes back.
pub fn reinstate(volume: &Arc<Volume>, generation: Generation, by: &By) -> Result<Reinstated, VolumeError> {
    volume.unlock(generation, Step::Reinstate, &OpenKek::list())?;
    volume.reinstate(generation, by)
}

/// A clock that a test moves: each wait is as long as it is said to be, and does what the test wants meanwhile.
struct TestClock<F: Fn()> {
    now: Cell<Duration>,
    meanwhile: F,
}

impl<F: Fn()> TestClock<F> {
    fn new(meanwhile: F) -> TestClock<F> {
        TestClock { now: Cell::default(), meanwhile }
    }
}

impl<F: Fn()> Clock for TestClock<F> {
    fn elapsed(&self) -> Duration {
        self.now.get()
    }

    fn sleep(&self, time: Duration) {
        (self.meanwhile)();
        self.now.set(self.now.get() + time);
    }
}

fn pattern(len: u64, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at / 509) as u8 ^ seed | 1).collect()
}

/// A filled volume whose rotation to generation 2 has begun, and what it holds.
fn rotating(mode: WriteMode, detached: bool) -> (Rig, Vec<u8>) {
    let mut rig = Rig::new(&small(mode), Suite::Aes256Xts, detached, EngineKind::AwsLc);
    let content = pattern(EXTENTS * EXTENT, 5);
    rig.client.write(0, &content).unwrap();
    rig.client.flush().unwrap();
    rig.start_rotation(Suite::Aes256Xts);
    (rig, content)
}

/// The same, finalized: generation 1 is empty.
fn finalized(mode: WriteMode, detached: bool) -> (Rig, Vec<u8>) {
    let (mut rig, content) = rotating(mode, detached);
    rig.rotate().unwrap();
    rig.volume.update_rotation(|rotation| rotation.phase = Phase::Drained).unwrap();
    assert_eq!(rig.volume.finalize(&by(10)).unwrap(), [OLD]);
    (rig, content)
}

fn state(volume: &Volume, generation: Generation) -> KeyState {
    volume.table().entry(generation).unwrap().state
}

fn retire(volume: &Arc<Volume>, clock: &dyn Clock) -> Result<(Retired, String), VolumeError> {
    let mut kept = String::new();
    let retired = volume.retire(OLD, &by(20), clock, &mut |_: &Statement, text: &str| {
        kept = text.into();
        Ok(())
    })?;
    Ok((retired, kept))
}

fn still() -> TestClock<impl Fn()> {
    TestClock::new(|| {})
}

fn why<T: std::fmt::Debug>(refused: Result<T, VolumeError>) -> String {
    match refused {
        Err(VolumeError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

fn check(disks: &Disks) -> CheckReport {
    let keks = OpenKek::list();
    let depth = Depth { keks: Some(&keks), full: true, repair: false };
    let report = check_disks(Arc::clone(&disks.data), disks.header.clone(), depth, &mut |_, _| {}).unwrap();
    let errors: Vec<_> = report.findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:?}");
    report
}

/// Every step is on record with time, actor and reason, those that a rotation takes itself too.
#[test]
fn whoever_takes_a_step_is_on_record() {
    let (mut rig, _) = finalized(WriteMode::InPlace, false);
    let life = |rig: &Rig, generation| rig.volume.table().entry(generation).unwrap().life.clone();
    let (old, new) = (life(&rig, OLD), life(&rig, NEW));
    assert_eq!((old.changed, old.actor.as_str(), old.reason.as_str()), (10, "user 0, process 7", "why not"));
    assert_eq!((new.changed, new.actor.as_str(), new.reason.as_str()), (2, "daemon", "test"));
    let long = By { actor: "a".repeat(300), reason: "é".repeat(400), now: 30 };
    assert!(rig.volume.mark(OLD, true, &long).unwrap());
    rig.reopen();
    let marked = life(&rig, OLD);
    assert_eq!((marked.changed, marked.actor.len(), marked.reason.len()), (30, 128, 512), "cut, not refused");
    assert!(rig.volume.table().entry(OLD).unwrap().compromised);
}

/// A key known to others: nothing goes back to it, and the mark is taken away only on purpose.
#[test]
fn there_is_no_way_back_to_a_compromised_key() {
    let (mut rig, content) = rotating(WriteMode::InPlace, false);
    rig.step(2).unwrap();
    assert!(rig.volume.mark(OLD, true, &by(5)).unwrap());
    assert!(!rig.volume.mark(OLD, true, &by(6)).unwrap(), "once is enough");
    assert!(why(rig.volume.roll_back(&by(7))).contains("compromised"));
    assert_eq!(state(&rig.volume, OLD), KeyState::Draining);
    assert!(rig.client.content() == content, "its extents are read as before");
    rig.pipeline.drain(NEW).unwrap();
    rig.reopen();
    assert!(why(rig.volume.roll_back(&by(8))).contains("compromised"));
    assert!(rig.volume.mark(OLD, false, &by(9)).unwrap());
    assert_eq!(rig.volume.roll_back(&by(10)).unwrap(), OLD);
}
