//! Online checks in a loop beside rotations, rollbacks and verifying clients on threads of their own: not one false alarm,
//! and clients find what they wrote.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::failures::watched;
use super::kek::OpenKek;
use super::rig::{Disks, shape, spec};
use super::threads::{BLOCK, BLOCKS, Owner, rotate};
use crate::crypto::{EngineKind, Suite};
use crate::engine::{EngineOptions, IoKind, open};
use crate::format::generations::Phase;
use crate::format::layout::WriteMode;
use crate::volume::Volume;
use crate::volume::check::{OnlineOptions, Severity};
use crate::volume::life::By;
use crate::volume::pipeline::Pipeline;

/// Checks until told to stop; how many checks and findings "ok" there were.
fn check(volume: &Arc<Volume>, full: bool, over: &AtomicBool, checks: &AtomicU64) {
    let keks = OpenKek::list();
    while !over.load(Ordering::Relaxed) {
        let report = volume.check_online(&keks, OnlineOptions { full, bytes_per_s: None }, &mut |_, _| true).unwrap();
        let alarms: Vec<_> = report.findings.iter().filter(|finding| finding.severity != Severity::Ok).collect();
        assert!(alarms.is_empty() && report.passed, "false alarm: {alarms:#?}");
        checks.fetch_add(1, Ordering::Relaxed);
    }
}

fn beside(kind: IoKind, mode: WriteMode, detached: bool, rotations: u64) {
    let shape = shape(BLOCKS * BLOCK, 512, 512, mode);
    let (disks, keks) = (Disks::in_memory(&shape, detached), OpenKek::list());
    disks.create(&shape, Suite::Aes256Xts, &keks);
    let volume = Arc::new(disks.open(&keks, EngineKind::AwsLc, false).unwrap());
    let (over, checks) = (Arc::new(AtomicBool::new(false)), [Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0))]);
    let owners = (0..2).map(|number| {
        let (volume, over) = (Arc::clone(&volume), Arc::clone(&over));
        std::thread::spawn(move || {
            let mut owner = Owner::new(&volume, kind, number, 2);
            while !over.load(Ordering::Relaxed) {
                owner.act();
            }
            owner.check();
        })
    });
    let checkers = [false, true].map(|full| {
        let (volume, over, checks) = (Arc::clone(&volume), Arc::clone(&over), Arc::clone(&checks[usize::from(full)]));
        std::thread::spawn(move || check(&volume, full, &over, &checks))
    });
    let threads: Vec<_> = owners.chain(checkers).collect();
    let mut pipeline = Pipeline::new(Arc::clone(&volume), open(Some(kind), &EngineOptions::default()).unwrap());
    // The two kinds of check must have run beside the rotations, not after them.
    let enough = || checks.iter().all(|count| count.load(Ordering::Relaxed) >= 3 * rotations);
    let mut round = 0;
    while (round < rotations || !enough()) && !threads.iter().any(std::thread::JoinHandle::is_finished) {
        volume.start_rotation(&keks, &spec(Suite::Aes256Xts)).unwrap();
        rotate(&volume, &mut pipeline);
        if round % 2 == 0 {
            volume.update_rotation(|rotation| rotation.phase = Phase::Drained).unwrap();
            volume.finalize(&By::daemon("test", 4)).unwrap();
        } else {
            volume.roll_back(&By::daemon("test", 3)).unwrap();
            rotate(&volume, &mut pipeline);
        }
        round += 1;
        if volume.table().free_slot().is_none() {
            break; // as many generations as a table holds
        }
    }
    over.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().expect("a false alarm, or wrong bytes"));
    let counts = checks.map(|count| count.load(Ordering::Relaxed));
    println!("{kind}, {mode:?}: {round} rotations, {counts:?} checks, {:?}", pipeline.counters());
    assert!(counts.iter().all(|count| *count > 0));
}

#[test]
fn no_false_alarm_beside_rotations_and_writes() {
    watched(|| {
        beside(IoKind::Posix, WriteMode::InPlace, false, 4);
        beside(IoKind::Ring, WriteMode::InPlace, true, 4);
        beside(IoKind::Posix, WriteMode::Journal, false, 2);
    });
}
