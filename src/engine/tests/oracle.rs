//! The ring against its twin: the same random operations leave the same bytes and give the same results.

use std::sync::Arc;

use proptest::prelude::*;

use super::support::*;
use crate::engine::*;

const LEN: u64 = 1 << 20;
const UNIT: u64 = 4096;

#[derive(Clone, Debug)]
enum Step {
    Read { unit: u64, units: u64 },
    Write { unit: u64, units: u64, seed: u64, dsync: bool },
    Flush,
    Punch { unit: u64, units: u64 },
    Zero { unit: u64, units: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    // Some ranges reach past the end on purpose: both must fail alike.
    let range = || (0..LEN / UNIT, 1u64..40);
    prop_oneof![
        4 => range().prop_map(|(unit, units)| Step::Read { unit, units }),
        4 => (range(), any::<u64>(), any::<bool>())
            .prop_map(|((unit, units), seed, dsync)| Step::Write { unit, units, seed, dsync }),
        1 => Just(Step::Flush),
        1 => range().prop_map(|(unit, units)| Step::Punch { unit, units }),
        1 => range().prop_map(|(unit, units)| Step::Zero { unit, units }),
    ]
}

fn op(step: &Step, disk: &Arc<dyn Disk>, pool: &Pool) -> Op {
    let clip = |unit: u64, units: u64| units.min(LEN / UNIT - unit) * UNIT;
    let disk = Arc::clone(disk);
    match *step {
        Step::Read { unit, units } => read(&disk, pool, unit * UNIT, (units * UNIT) as usize),
        Step::Write { unit, units, seed, dsync } => {
            write(&disk, pool, unit * UNIT, &pattern(seed, clip(unit, units) as usize), dsync)
        }
        Step::Flush => Op::Flush { disk },
        Step::Punch { unit, units } => Op::Punch { disk, offset: unit * UNIT, len: clip(unit, units) },
        Step::Zero { unit, units } => Op::ZeroRange { disk, offset: unit * UNIT, len: clip(unit, units) },
    }
}

/// What can be compared of a completion.
fn outcome(done: &Done) -> (Result<usize, std::io::ErrorKind>, Option<Vec<u8>>) {
    let result = done.result.as_ref().map(|&count| count).map_err(std::io::Error::kind);
    let read = matches!(done.op, Op::Read { .. }) && done.result.is_ok();
    (result, read.then(|| bytes(done).to_vec()))
}

fn contents(disk: &Arc<dyn Disk>) -> Vec<u8> {
    let mut all = vec![0; LEN as usize];
    disk.read_at(0, &mut all).unwrap();
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn both_engines_do_the_same(steps in prop::collection::vec(step(), 1..60)) {
        let run_on = |kind| {
            let mut engine = open(Some(kind), &EngineOptions { entries: 8, ..EngineOptions::default() }).unwrap();
            let pool = Pool::new(16 << 20);
            disks(LEN).into_iter().map(|kept| {
                let outcomes: Vec<_> =
                    steps.iter().map(|step| outcome(&run(&mut *engine, op(step, &kept.disk, &pool)))).collect();
                (kept.name, outcomes, contents(&kept.disk))
            }).collect::<Vec<_>>()
        };
        let (ring, posix) = (run_on(IoKind::Ring), run_on(IoKind::Posix));
        for (ring, posix) in ring.iter().zip(&posix) {
            prop_assert!(ring == posix, "on {}", ring.0);
        }
    }
}
