//! What kernel and allocator may answer to a sound request, each answer given once at each place of a workload on a real
//! file: a transfer cut short, EINTR, EAGAIN, an error, a kernel entered in vain, no buffer.
//!
//! A short or interrupted answer changes nothing; no memory is waited for or ends a step before it began; an error
//! leaves a volume that is right as far as it went, now and after it is opened again.

use std::sync::Arc;

use super::failures::watched;
use super::kek::OpenKek;
use super::rig::{Client, Disks, Outcome, Rig, shape};
use super::sim::ledger::{End, Ledger, Note};
use super::sim::rng::Rng;
use crate::crypto::{EngineKind, Suite};
use crate::engine::faults::{Fault, Point, arm, disarm};
use crate::engine::{Backing, CacheMode, Disk, Engine, EngineOptions, IoKind, OpenOptions, open as open_engine};
use crate::format::layout::{Shape, WriteMode, plan};
use crate::volume::background::kept;
use crate::volume::executor::RequestKind;
use crate::volume::pipeline::{Patience, Pipeline};

const EXTENTS: u64 = 3;

/// A volume in a file, and what its client may find there.
struct Bench {
    rig: Rig,
    ledger: Ledger,
    rng: Rng,
    /// Requests and steps that reported an error.
    errors: u64,
    dir: tempfile::TempDir,
}

fn backing(dir: &tempfile::TempDir) -> Disks {
    let path = dir.path().join("disk");
    let options = OpenOptions { cache: CacheMode::Auto, ..OpenOptions::default() };
    Disks { data: Arc::new(Backing::open(path, &options).unwrap()), header: None }
}

fn engine(kind: IoKind) -> Box<dyn Engine> {
    open_engine(Some(kind), &EngineOptions::default()).unwrap()
}

impl Bench {
    fn new(kind: IoKind, mode: WriteMode, point: Point) -> Bench {
        kept::start();
        // Where only the way into the kernel matters, memory does; flushes go through the ring on a disk only.
        let place = if point == Point::Completion { std::env::temp_dir() } else { "/dev/shm".into() };
        let dir = tempfile::tempdir_in(place).unwrap();
        let file = Backing::create(dir.path().join("disk"), 1 << 20, &OpenOptions::default()).unwrap();
        let shape: Shape = shape(EXTENTS * (64 << 10), 4096, file.caps().granule, mode);
        drop(file);
        let file = std::fs::File::options().write(true).open(dir.path().join("disk")).unwrap();
        file.set_len(plan(&shape, false).data_len).unwrap();
        let disks = backing(&dir);
        disks.create(&shape, Suite::Aes256Xts, &OpenKek::list());
        let mut rig = Rig::on(disks, OpenKek::list(), EngineKind::AwsLc);
        rig.client = Client::new(&rig.volume, engine(kind));
        rig.pipeline = Pipeline::new(Arc::clone(&rig.volume), engine(kind));
        rig.pipeline.set_patience(Patience::NONE);
        let ledger = Ledger::new(shape.size, shape.size);
        Bench { rig, ledger, rng: Rng::new(7), errors: 0, dir }
    }

    fn ask(&mut self, kind: RequestKind) -> Option<Outcome> {
        let client = &mut self.rig.client;
        let cookie = client.start(kind);
        // Half a minute of waits of five milliseconds: a disk that others keep busy may take more than a second.
        for _ in 0..6000 {
            let finished = client.pump().into_iter().chain(client.wait()).find(|(number, _)| *number == cookie);
            kept::run_all();
            if let Some((_, outcome)) = finished {
                self.errors += u64::from(outcome.is_err());
                return Some(outcome);
            }
        }
        None
    }

    fn write(&mut self, offset: u64, len: usize) {
        let bytes: Vec<u8> = (0..len).map(|_| self.rng.next() as u8).collect();
        let id = self.rig.client.next_number();
        self.ledger.take(&Note::Begun { id, offset, len: len as u64, bytes: Some(bytes.clone().into()), fua: false });
        let kind = self.rig.client.write_kind(offset, &bytes, false);
        match self.ask(kind).expect("a write is answered") {
            Ok(_) => self.ledger.take(&Note::Done { id }),
            Err(_) => self.ledger.take(&Note::Failed { id }),
        }
    }

    fn flush(&mut self) {
        let id = self.rig.client.next_number();
        self.ledger.take(&Note::FlushBegun { id });
        if self.ask(RequestKind::Flush).expect("a flush is answered").is_ok() {
            self.ledger.take(&Note::FlushDone { id });
        }
    }

    fn step(&mut self, most: usize) {
        // An extent whose write waits behind a hold would wait for this very thread.
        self.errors += u64::from(self.rig.step(most).is_err());
        let target = self.rig.target();
        self.errors += u64::from(self.rig.pipeline.end_holds(target).is_err());
    }

    /// Fills the volume, rotates it and writes in between.
    fn workload(&mut self) {
        for extent in 0..EXTENTS {
            self.write(extent << 16, 64 << 10);
        }
        self.flush();
        self.errors +=
            u64::from(self.rig.volume.start_rotation(&self.rig.keks, &super::rig::spec(Suite::Aes256Xts)).is_err());
        for round in 0..3 {
            self.step(2);
            self.write(round * 9000 + 100, 5000);
            self.flush();
        }
        let target = self.rig.target();
        self.errors += u64::from(self.rig.pipeline.drain(target).is_err());
    }

    /// What the client reads is right, now and after the volume is opened again.
    fn judge(mut self) -> Result<bool, String> {
        let poisoned = self.rig.volume.poisoned().is_some();
        let size = self.rig.volume.size() as u32;
        let found = self.ask(RequestKind::Read { offset: 0, len: size }).ok_or("the read is never answered")?;
        let found = super::rig::bytes_of(&found.map_err(|failure| format!("it cannot be read: {failure:?}"))?);
        self.ledger.judge(0, &found, End::Kill).map_err(|wrong| format!("as it runs on: {wrong}"))?;
        let Bench { rig, ledger, dir, .. } = self;
        drop(rig);
        let opened = backing(&dir).open(&OpenKek::list(), EngineKind::Portable, false);
        let volume = Arc::new(opened.map_err(|error| format!("it cannot be opened again: {error}"))?);
        let mut client = Client::new(&volume, engine(IoKind::Posix));
        ledger.judge(0, &client.content(), End::Kill).map_err(|wrong| format!("opened again: {wrong}"))?;
        match poisoned && volume.poisoned().is_none() {
            true => Err("the poison did not last".into()),
            false => Ok(poisoned),
        }
    }
}

/// How often each end was reached.
#[derive(Debug, Default)]
struct Tally {
    unnoticed: u64,
    reported: u64,
    poisoned: u64,
}

/// Gives `fault` at every place of its kind, one run of the workload for each.
fn everywhere(kind: IoKind, mode: WriteMode, point: Point, fault: Fault) -> Tally {
    let mut tally = Tally::default();
    for number in 0.. {
        let mut bench = Bench::new(kind, mode, point);
        arm(point, number, fault);
        bench.workload();
        if !disarm() {
            assert!(number > 0, "the workload never passes {point:?}");
            return tally;
        }
        let errors = bench.errors;
        match (bench.judge(), errors) {
            (Ok(true), _) => tally.poisoned += 1,
            (Ok(false), 0) => tally.unnoticed += 1,
            (Ok(false), _) => tally.reported += 1,
            (Err(wrong), _) => panic!("{kind:?}, {mode:?}, {fault:?} at {point:?} {number}: {wrong}"),
        }
    }
    tally
}

/// In turn, so that the two modes share the work.
fn modes() -> [WriteMode; 2] {
    [WriteMode::InPlace, WriteMode::Journal]
}

fn changes_nothing(kind: IoKind, point: Point, faults: &[Fault]) {
    for mode in modes() {
        for fault in faults {
            let tally = everywhere(kind, mode, point, *fault);
            println!("{kind:?}, {mode:?}, {fault:?} at {point:?}: {tally:?}");
            assert!(tally.unnoticed > 3 && tally.reported + tally.poisoned == 0, "{fault:?} at {point:?}: {tally:?}");
        }
    }
}

const INTERRUPTED: Fault = Fault::Errno(libc::EINTR);
const AGAIN: Fault = Fault::Errno(libc::EAGAIN);

#[test]
fn a_completion_cut_short_or_interrupted_changes_nothing() {
    watched(|| changes_nothing(IoKind::Ring, Point::Completion, &[Fault::Short, INTERRUPTED, AGAIN]));
}

#[test]
fn a_kernel_entered_in_vain_is_entered_again() {
    watched(|| changes_nothing(IoKind::Ring, Point::Enter, &[INTERRUPTED, AGAIN, Fault::Errno(libc::EBUSY)]));
}

#[test]
fn a_call_cut_short_or_interrupted_changes_nothing() {
    watched(|| changes_nothing(IoKind::Posix, Point::Transfer, &[Fault::Short, INTERRUPTED]));
}

#[test]
fn an_error_is_reported_or_poisons_and_nothing_is_wrong_afterwards() {
    watched(|| {
        for (kind, point) in [(IoKind::Ring, Point::Completion), (IoKind::Posix, Point::Transfer)] {
            for errno in [libc::EIO, libc::ENOSPC] {
                for mode in modes() {
                    let tally = everywhere(kind, mode, point, Fault::Errno(errno));
                    println!("{kind:?}, {mode:?}, errno {errno}: {tally:?}");
                    assert!(tally.reported > 0 && tally.poisoned > 0, "{tally:?}");
                }
            }
        }
    });
}

#[test]
fn without_a_buffer_a_request_waits_and_a_step_ends_before_it_began() {
    watched(|| {
        for mode in modes() {
            let tally = everywhere(IoKind::Posix, mode, Point::Buffer, Fault::Errno(libc::ENOMEM));
            println!("{mode:?}: {tally:?}");
            assert!(tally.unnoticed > 3 && tally.reported > 1 && tally.poisoned == 0, "{tally:?}");
        }
    });
}
