//! The volume against a plain vector: any operation at any alignment, beside a rotation at any stage, across rollbacks,
//! further rotations and reopening. The content always equals the vector's.

use proptest::prelude::*;

use super::rig::{Disks, Rig, bytes_of, on_tmpfs, shape};
use crate::crypto::{EngineKind, Suite};
use crate::format::layout::WriteMode;
use crate::volume::executor::RequestKind;
use crate::volume::life::By;

const SIZE: u64 = 7 * (64 << 10) + 5 * 4096; // the last extent is short

#[derive(Clone, Debug)]
enum Step {
    Write {
        at: u64,
        len: usize,
        fill: u8,
        fua: bool,
        cut: usize,
    },
    Read {
        at: u64,
        len: usize,
    },
    Trim {
        at: u64,
        len: u64,
        fua: bool,
    },
    Zero {
        at: u64,
        len: u64,
        no_hole: bool,
        fua: bool,
    },
    Flush,
    /// A step of the pipeline with so many candidates.
    Rotate(usize),
    /// Ends the holds, as before a pause.
    EndHolds,
    Start(Suite),
    RollBack,
    Drain,
    Reopen,
}

fn place() -> impl Strategy<Value = (u64, u64)> {
    let len = prop_oneof![
        3 => 1u64..600,
        2 => 1u64..9000,
        1 => 1u64..300_000,
        2 => (1u64..5).prop_map(|n| n * 4096),
        2 => (1u64..9).prop_map(|n| n * 512),
        1 => Just(64 << 10),
    ];
    let at = prop_oneof![
        2 => 0..SIZE,
        2 => (0..SIZE / 512).prop_map(|n| n * 512),
        2 => (0..SIZE / 4096).prop_map(|n| n * 4096),
        1 => (0..SIZE / (64 << 10)).prop_map(|n| n * (64 << 10)),
    ];
    (at, len).prop_map(|(at, len)| (at, len.min(SIZE - at)))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (place(), 1u8.., any::<bool>(), 0usize..9000).prop_map(|((at, len), fill, fua, cut)| {
            Step::Write { at, len: len as usize, fill, fua, cut }
        }),
        4 => place().prop_map(|(at, len)| Step::Read { at, len: len as usize }),
        2 => (place(), any::<bool>()).prop_map(|((at, len), fua)| Step::Trim { at, len, fua }),
        2 => (place(), any::<bool>(), any::<bool>()).prop_map(|((at, len), no_hole, fua)| {
            Step::Zero { at, len, no_hole, fua }
        }),
        3 => Just(Step::Flush),
        8 => (0usize..5).prop_map(Step::Rotate),
        1 => Just(Step::EndHolds),
        1 => prop_oneof![Just(Suite::Aes256Xts), Just(Suite::Aes128Xts), Just(Suite::None)].prop_map(Step::Start),
        1 => Just(Step::RollBack),
        1 => Just(Step::Drain),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Clone, Debug)]
struct Setting {
    unit: u32,
    granule: u32,
    mode: WriteMode,
    crypto: EngineKind,
    detached: bool,
    /// Data lies in a file on tmpfs, which is read where it lies.
    in_file: bool,
    suite: Suite,
}

fn setting() -> impl Strategy<Value = Setting> {
    let unit = prop_oneof![Just(512u32), Just(4096u32)];
    let granule = prop_oneof![Just(512u32), Just(4096u32)];
    let mode = prop_oneof![2 => Just(WriteMode::InPlace), 1 => Just(WriteMode::Journal)];
    let crypto = prop::sample::select(EngineKind::available().collect::<Vec<_>>());
    let suite = prop_oneof![3 => Just(Suite::Aes256Xts), 1 => Just(Suite::None)];
    let placed = any::<(bool, bool)>();
    (unit, granule, mode, crypto, placed, suite).prop_map(
        |(unit, granule, mode, crypto, (detached, in_file), suite)| Setting {
            unit,
            granule,
            mode,
            crypto,
            detached,
            in_file,
            suite,
        },
    )
}

/// The rig, the vector, and writes parked behind holds: they are in the vector already and answered by later steps.
struct Run {
    rig: Rig,
    content: Vec<u8>,
    parked: Vec<u64>,
    unit: u64,
    _folder: Option<tempfile::TempDir>,
}

impl Run {
    fn new(setting: &Setting) -> Run {
        let shape = shape(SIZE, setting.unit, setting.granule, setting.mode);
        let folder = setting.in_file.then(|| tempfile::tempdir_in("/dev/shm").unwrap());
        let mut disks = Disks::in_memory(&shape, setting.detached);
        if let Some(folder) = &folder {
            disks.data = on_tmpfs(folder, &shape, setting.detached);
        }
        let rig = Rig::new_on(disks, &shape, setting.suite, setting.crypto);
        let (content, unit) = (vec![0; SIZE as usize], u64::from(shape.write_unit()));
        Run { rig, content, parked: Vec::new(), unit, _folder: folder }
    }

    /// Starts a change; it may park behind a hold.
    fn change(&mut self, kind: RequestKind) {
        let cookie = self.rig.client.start(kind);
        self.parked.push(cookie);
        self.answers();
    }

    fn answers(&mut self) {
        for (cookie, outcome) in self.rig.client.pump() {
            outcome.unwrap();
            self.parked.retain(|parked| *parked != cookie);
        }
    }

    /// Ends every hold, so that nothing is parked any more.
    fn settle(&mut self) {
        let target = self.rig.target();
        self.rig.pipeline.end_holds(target).unwrap();
        self.answers();
        assert!(self.parked.is_empty(), "writes still parked although nothing is held: {:?}", self.parked);
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Write { at, len, fill, fua, cut } => {
                let bytes: Vec<u8> = (0..*len).map(|n| fill.wrapping_add((n / 7) as u8)).collect();
                self.content[*at as usize..*at as usize + len].copy_from_slice(&bytes);
                let payload = self.rig.client.payload(&bytes, &[*cut], *fill % 2 == 0);
                self.change(RequestKind::Write { offset: *at, payload, fua: *fua });
            }
            Step::Read { at, len } => {
                self.settle();
                let found = self.rig.client.read(*at, *len).unwrap();
                assert!(found == self.content[*at as usize..][..*len], "read of {len} at {at} differs");
            }
            Step::Trim { at, len, fua } => {
                // Only whole units are promised to be forgotten, and here they read as zeros.
                let first = at.next_multiple_of(self.unit).min(at + len);
                let end = ((at + len) / self.unit * self.unit).max(first);
                self.content[first as usize..end as usize].fill(0);
                self.change(RequestKind::Trim { offset: *at, len: *len, fua: *fua });
            }
            Step::Zero { at, len, no_hole, fua } => {
                self.content[*at as usize..(at + len) as usize].fill(0);
                self.change(RequestKind::Zeroes { offset: *at, len: *len, fua: *fua, no_hole: *no_hole });
            }
            Step::Flush => {
                self.rig.client.flush().unwrap();
            }
            Step::Rotate(most) => {
                self.rig.step(*most).unwrap();
                self.answers();
            }
            Step::EndHolds => self.settle(),
            Step::Start(suite) => {
                self.rig.start_rotation(*suite);
            }
            Step::RollBack => {
                let _ = self.rig.volume.roll_back(&By::daemon("test", 3));
            }
            Step::Drain => {
                let target = self.rig.target();
                self.rig.pipeline.drain(target).unwrap();
                self.answers();
                assert!(self.parked.is_empty());
            }
            Step::Reopen => {
                self.settle();
                self.rig.reopen();
            }
        }
    }

    fn check(&mut self) {
        let cookie = self.rig.client.start(RequestKind::Read { offset: 0, len: SIZE as u32 });
        let mut found = None;
        for (number, outcome) in self.rig.client.pump() {
            let reply = outcome.unwrap();
            match number == cookie {
                true => found = Some(bytes_of(&reply)),
                false => self.parked.retain(|parked| *parked != number),
            }
        }
        let found = found.expect("a read never waits");
        if self.parked.is_empty() {
            let differs = found.iter().zip(&self.content).position(|(a, b)| a != b);
            assert!(differs.is_none(), "content differs at byte {differs:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("KEYMOULT_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(96),
        max_shrink_iters: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn content_equals_a_plain_vector(setting in setting(), steps in prop::collection::vec(step(), 1..60)) {
        let mut run = Run::new(&setting);
        for step in &steps {
            run.take(step);
            run.check();
        }
        run.settle();
        run.check();
        run.rig.rotate().unwrap();
        run.check();
        let target = run.rig.target();
        let census = run.rig.volume.census();
        prop_assert_eq!(census.len(), 1);
        prop_assert_eq!(census.get(&target), Some(&u64::from(run.rig.volume.shape().extents())));
        run.rig.reopen();
        run.check();
        prop_assert_eq!(run.rig.volume.census(), census);
    }
}
