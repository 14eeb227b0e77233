//! A restrained engine moves the same bytes in pieces, one after another, and hands operations back whole.

use std::sync::Mutex;

use super::*;
use crate::engine::mem::MemDisk;
use crate::engine::{Data, EngineOptions, IoKind, Pool, open};

type Log = Arc<Mutex<Vec<(u64, usize)>>>;

/// An engine that notes the place of every operation, and sees to it that one is under way at a time.
struct Spy {
    inner: Box<dyn Engine>,
    log: Log,
    pieces: usize,
}

impl Engine for Spy {
    fn submit(&mut self, token: u64, mut op: Op) {
        if let Some((offset, range)) = place(&mut op) {
            self.log.lock().unwrap().push((*offset, range.len()));
        }
        self.pieces += usize::from(token == TOKEN);
        assert!(self.pieces <= 1, "two pieces are under way");
        self.inner.submit(token, op);
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Done>) -> io::Result<()> {
        let before = done.len();
        self.inner.wait(timeout, done)?;
        self.pieces -= done[before..].iter().filter(|done| done.token == TOKEN).count();
        Ok(())
    }

    fn pending(&self) -> usize {
        self.inner.pending()
    }

    fn waker(&self) -> Waker {
        self.inner.waker()
    }

    fn report(&self) -> EngineReport {
        self.inner.report()
    }

    fn stats(&self) -> EngineStats {
        self.inner.stats()
    }
}

fn gentle(restrained: bool) -> (Gentle, Arc<Restraint>, Log) {
    let (log, restraint) = (Log::default(), Arc::new(Restraint::default()));
    restraint.set(restrained.then_some(u64::MAX));
    let inner = open(Some(IoKind::Posix), &EngineOptions::default()).unwrap();
    let spy = Box::new(Spy { inner, log: Arc::clone(&log), pieces: 0 });
    (Gentle::new(spy, Arc::clone(&restraint)), restraint, log)
}

fn all(engine: &mut Gentle, count: usize) -> Vec<Done> {
    let mut done = Vec::new();
    while done.len() < count {
        engine.wait(Some(Duration::from_secs(20)), &mut done).unwrap();
    }
    assert_eq!((done.len(), engine.pending()), (count, 0));
    done
}

/// What a restrained engine moves at a time on these disks, which are memory.
const STEP: usize = INLINE_MAX;
const LEN: usize = 2 * STEP + 4096;

fn write(disk: &Arc<dyn Disk>, offset: u64, byte: u8) -> Op {
    let mut buf = Pool::new(usize::MAX).take(LEN + 512).unwrap();
    buf[..LEN + 512].fill(byte);
    Op::Write { disk: Arc::clone(disk), offset, data: Data::Own(buf), range: 512..LEN + 512, dsync: false }
}

fn read(disk: &Arc<dyn Disk>, offset: u64) -> Op {
    let buf = Pool::new(usize::MAX).take(LEN).unwrap();
    Op::Read { disk: Arc::clone(disk), offset, buf, range: 0..LEN }
}

#[test]
fn in_pieces_and_whole_again() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new(1 << 20));
    let (mut engine, _, log) = gentle(true);
    engine.submit(7, write(&disk, 4096, 0xa5));
    engine.submit(8, read(&disk, 4096));
    assert_eq!(engine.pending(), 2);
    let done = all(&mut engine, 2);
    let pieces = |at: u64| [(at, STEP), (at + STEP as u64, STEP), (at + 2 * STEP as u64, 4096)];
    assert_eq!(*log.lock().unwrap(), [pieces(4096), pieces(4096)].concat());
    for (done, token) in done.into_iter().zip([7, 8]) {
        assert_eq!((done.token, done.result.unwrap()), (token, LEN));
        match done.op {
            Op::Write { offset, range, .. } => assert_eq!((offset, range), (4096, 512..LEN + 512)),
            Op::Read { offset, range, buf, .. } => {
                assert_eq!((offset, range), (4096, 0..LEN));
                assert!(buf[..LEN].iter().all(|byte| *byte == 0xa5));
            }
            op => panic!("{op:?}"),
        }
    }
}

#[test]
fn a_piece_that_fails_is_the_last_one() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new(STEP + 8192));
    let (mut engine, _, log) = gentle(true);
    engine.submit(1, read(&disk, 0));
    engine.submit(2, write(&disk, 0, 1));
    let done = all(&mut engine, 2);
    assert!(done.iter().all(|done| done.result.is_err()));
    assert!(matches!(&done[0].op, Op::Read { offset: 0, range, .. } if *range == (0..LEN)));
    assert_eq!(log.lock().unwrap().len(), 4, "no third piece of either");
}

#[test]
fn unrestrained_nothing_is_cut_and_what_waits_is_finished() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new(1 << 20));
    let (mut engine, restraint, log) = gentle(true);
    engine.submit(1, write(&disk, 0, 1));
    restraint.set(None);
    engine.submit(2, read(&disk, 0));
    let mut tokens: Vec<u64> = all(&mut engine, 2).iter().map(|done| done.token).collect();
    tokens.sort_unstable();
    assert_eq!(tokens, [1, 2]);
    let mut lengths: Vec<usize> = log.lock().unwrap().iter().map(|(_, length)| *length).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [4096, STEP, STEP, LEN]);
}

#[test]
fn a_timeout_and_a_wake_return() {
    let (mut engine, _, _) = gentle(true);
    let mut done = Vec::new();
    engine.wait(Some(Duration::ZERO), &mut done).unwrap();
    engine.waker().wake();
    engine.wait(None, &mut done).unwrap();
    assert!(done.is_empty());
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn pieces_are_spread_evenly_and_short_rests_are_saved_up() {
    let mut spread = Spread::default();
    let (mut now, mut rests) = (Duration::from_secs(5), 0);
    // Pieces of 32 KiB that take 10 µs each, 500 MB of them a second: one every 65.5 µs.
    for _ in 0..1000 {
        let rest = spread.rest(now);
        assert!(rest.is_zero() || (REST_MIN..2 * REST_MIN).contains(&rest), "{rest:?}");
        rests += u32::from(!rest.is_zero());
        now += rest;
        spread.started(now, 32 << 10, 500_000_000);
        now += MS / 100;
    }
    let took = (now - Duration::from_secs(5)).as_secs_f64() * 1e3;
    assert!((65.536 - 3.2..65.536).contains(&took), "{took} ms, less what the start makes up for");
    assert!((400..=500).contains(&rests), "{rests}");
}

#[test]
fn who_is_late_makes_up_for_a_little_and_no_more() {
    let mut spread = Spread::default();
    let late = Duration::from_secs(9);
    let mut at_once = 0;
    while spread.rest(late).is_zero() {
        spread.started(late, 1 << 20, 1 << 30);
        at_once += 1;
    }
    assert_eq!(at_once, 4, "3 ms are three pieces, and one that is not late");
    assert!(spread.rest(late) <= MS);
}

#[test]
fn a_restraint_draws_nothing_out_for_long() {
    let restraint = Restraint::default();
    for (asked, got) in [(None, None), (Some(1), Some(SLOWEST)), (Some(SLOWEST + 1), Some(SLOWEST + 1))] {
        restraint.set(asked);
        assert_eq!(restraint.rate(), got);
    }
}
