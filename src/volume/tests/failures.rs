//! Every operation of a short workload fails once. The outcome is one of three, by what it leaves: done, rolled back, or
//! poisoned; never wrong bytes, never a request without an answer.

use std::sync::mpsc::channel;
use std::time::Duration;

use super::rig::Client;
use super::sim::engine::SimEngine;
use super::sim::ledger::{End, Ledger};
use super::sim::lives::revive;
use super::sim::rng::Rng;
use super::sim::state::DiskState;
use super::sim::work::{Run, Setting, disks_of, in_full};
use super::sim::world::{Fault, Kind, World};
use crate::crypto::EngineKind;
use crate::format::generations::KeyState;
use std::sync::Arc;

/// Long enough never to be reached by a test that passes.
const WATCHDOG: Duration = Duration::from_secs(600);

/// Runs `f` on a thread of its own and gives up when it hangs.
pub fn watched<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = channel();
    let thread = std::thread::spawn(move || {
        let _ = tell.send(f());
    });
    match told.recv_timeout(WATCHDOG) {
        Ok(result) => result,
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(thread.join().expect_err("it panicked"))
        }
    }
}

/// How a workload with one failing operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End3 {
    /// Nobody noticed, or it was a read that was not needed.
    Done,
    /// Somebody got an error, and everything went on.
    RolledBack,
    /// Writes are refused.
    Poisoned,
}

fn short(seed: u64) -> Setting {
    // After a failed flush nothing counts as durable, so the order of what follows says nothing.
    Setting { actions: 14, watched: false, ..Setting::new(seed) }
}

/// Runs with the fault; the end, the kind of operation that failed, and whether the fault was reached.
fn run_with(setting: Setting, fault: Fault) -> Result<Option<(End3, Kind)>, String> {
    let mut run = Run::prepare(setting);
    run.world.set_fault(Some(fault));
    let good = run.under_way(Run::all_that_goes);
    run.between();
    if let Some(wrong) = run.wrongs().first() {
        return Err(wrong.clone());
    }
    let Some(kind) = run.world.failed() else { return Ok(None) };
    let poisoned = run.volume.poisoned().is_some();
    let ledger = run.ledger_now();
    let mut client = Client::new(&run.volume, Box::new(SimEngine::new(0, false)));
    if !run.volume.table().entries.iter().any(|entry| entry.state == KeyState::Revoked) {
        ledger.judge(0, &client.content(), End::Kill).map_err(|wrong| format!("as it runs on: {wrong}"))?;
    }
    ledger.judge_size(run.volume.size()).map_err(|wrong| format!("as it runs on: {wrong}"))?;
    let states = run.world.states();
    let mut rng = Rng::new(setting.seed ^ fault.operation);
    let after = |image: Vec<DiskState>, end, what| look(&setting, image, &ledger, end, poisoned, what);
    after(states.clone(), End::Kill, "killed")?;
    for _ in 0..3 {
        after(states.iter().map(|disk| disk.crash(&mut rng)).collect(), End::Power, "power cut")?;
    }
    Ok(Some(match (poisoned, good) {
        (true, _) => (End3::Poisoned, kind),
        (false, true) => (End3::Done, kind),
        (false, false) => (End3::RolledBack, kind),
    }))
}

fn look(
    setting: &Setting,
    image: Vec<DiskState>,
    ledger: &Ledger,
    end: End,
    poisoned: bool,
    what: &str,
) -> Result<(), String> {
    let world = World::new(image, 1 << 32);
    let keks = ledger.keks(&mut Rng::new(setting.seed));
    let opened = disks_of(&world, setting.detached).open(&keks, EngineKind::AwsLc, false);
    let mut volume = Arc::new(opened.map_err(|error| format!("{what}: it cannot be opened: {}", in_full(&error)))?);
    let disks = disks_of(&world, setting.detached);
    let zones = volume.meta().superblock.zones;
    let header = disks.header.as_ref().unwrap_or(&disks.data);
    if volume.poisoned().is_none() {
        let judged = ledger.judge_keys(&volume.table(), &**header, zones.generations.end());
        judged.map_err(|wrong| format!("{what}: {wrong}"))?;
        if revive(&volume).map_err(|wrong| format!("{what}: {wrong}"))? {
            drop(volume);
            let again = disks.open(&keks, EngineKind::AwsLc, false);
            volume =
                Arc::new(again.map_err(|error| format!("{what}: it cannot be opened again: {}", in_full(&error)))?);
        }
    } else if volume.table().entries.iter().any(|entry| entry.state == KeyState::Revoked) {
        // Nothing is reinstated on a poisoned volume.
        return Ok(());
    }
    let mut client = Client::new(&volume, Box::new(SimEngine::new(0, false)));
    ledger.judge(0, &client.content(), end).map_err(|wrong| format!("{what}: {wrong}"))?;
    ledger.judge_size(volume.size()).map_err(|wrong| format!("{what}: {wrong}"))?;
    if poisoned && volume.poisoned().is_none() {
        return Err(format!("{what}: the poison did not last"));
    }
    if poisoned && client.write(0, &[1; 4096]).is_ok() {
        return Err(format!("{what}: a poisoned volume was written to"));
    }
    Ok(())
}

/// Fails every operation of these workloads once, and holds what is left against what may be.
fn fail_each(settings: Vec<Setting>) {
    let ends = watched(move || {
        let mut ends: Vec<(End3, Kind)> = Vec::new();
        for setting in settings {
            for errno in [libc::EIO, libc::ENOSPC] {
                for operation in 0.. {
                    let fault = Fault { operation, errno };
                    match run_with(setting, fault) {
                        Ok(Some(end)) => ends.push(end),
                        Ok(None) => break,
                        Err(wrong) => panic!("{fault:?}: {wrong}\n{setting:?}"),
                    }
                }
            }
        }
        ends
    });
    let count = |wanted: fn(&(End3, Kind)) -> bool| ends.iter().filter(|end| wanted(end)).count();
    println!(
        "{} faults: {} done, {} rolled back, {} poisoned",
        ends.len(),
        count(|end| end.0 == End3::Done),
        count(|end| end.0 == End3::RolledBack),
        count(|end| end.0 == End3::Poisoned),
    );
    assert_eq!(count(|end| end.1 == Kind::Flush && end.0 != End3::Poisoned), 0, "a failed flush always poisons");
    assert_eq!(count(|end| end.1 == Kind::Read && end.0 == End3::Poisoned), 0, "a failed read never poisons");
    assert!(count(|end| end.0 == End3::Poisoned) > 0 && count(|end| end.0 == End3::RolledBack) > 0);
}

#[test]
fn every_operation_may_fail_once() {
    fail_each((1..=6).map(short).collect());
}

#[test]
fn every_operation_may_fail_once_while_the_volume_grows() {
    fail_each((1..=6).map(|seed| Setting { actions: 8, grows: 3, ..short(seed) }).collect());
}

#[test]
fn every_operation_may_fail_once_while_keys_live_and_die() {
    fail_each((1..=4).map(|seed| Setting { actions: 8, lives: 2, ..short(seed) }).collect());
}

#[test]
fn every_operation_may_fail_once_while_keys_are_shared() {
    fail_each((1..=3).map(|seed| Setting { actions: 6, shares: 2, ..short(seed) }).collect());
}

#[test]
fn every_operation_may_fail_once_while_its_keks_change() {
    fail_each((1..=6).map(|seed| Setting { actions: 8, rewraps: 3, ..short(seed) }).collect());
}
