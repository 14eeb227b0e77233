//! A volume on disks in memory, driven by one thread: requests run to their end, the pipeline steps when told to.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::kek::OpenKek;
use crate::crypto::{EngineKind, Suite};
use crate::engine::mem::MemDisk;
use crate::engine::{Backing, Buf, Disk, Done, Engine, EngineOptions, IoKind, OpenOptions, Pool, open as open_engine};
use crate::format::generations::{Order, Pace, VerifyMode};
use crate::format::layout::{Shape, WriteMode, plan};
use crate::keys::Kek;
use crate::units::{Extent, Generation};
use crate::volume::background::kept;
use crate::volume::create::{NewVolume, create_on_disks};
use crate::volume::executor::{Executor, IoFailure, Reply, Request, RequestKind};
use crate::volume::life::By;
use crate::volume::lifecycle::RotationSpec;
use crate::volume::open::open_disks;
use crate::volume::pipeline::Pipeline;
use crate::volume::{Volume, VolumeError};

/// The engine of pread and pwrite.
pub fn engine() -> Box<dyn Engine> {
    open_engine(Some(IoKind::Posix), &EngineOptions::default()).unwrap()
}

/// A shape with 64 KiB extents and room in a record for eight of them.
pub fn shape(size: u64, unit: u32, granule: u32, mode: WriteMode) -> Shape {
    let max_size = size.max(8 << 20);
    Shape { size, max_size, extent_size: 64 << 10, data_unit: unit, granule, mode }
}

/// What a forward rotation is like in tests.
pub fn spec(suite: Suite) -> RotationSpec {
    RotationSpec {
        suite,
        order: Order::Sequential,
        pace: Pace { rate: 0, adaptive: false, factor_percent: 150 },
        verify: VerifyMode::Full,
        hold_finalize: true,
        paused: false,
        by: By::daemon("test", 2),
    }
}

/// The disks of a volume.
#[derive(Clone)]
pub struct Disks {
    pub data: Arc<dyn Disk>,
    pub header: Option<Arc<dyn Disk>>,
}

impl Disks {
    /// Disks in memory, of the lengths a volume of `shape` needs.
    pub fn in_memory(shape: &Shape, detached: bool) -> Disks {
        let plan = plan(shape, detached);
        let disk = |len: u64| Arc::new(MemDisk::new(len as usize)) as Arc<dyn Disk>;
        Disks { data: disk(plan.data_len), header: detached.then(|| disk(plan.header_len)) }
    }

    /// Writes a new volume on them.
    pub fn create(&self, shape: &Shape, suite: Suite, keks: &[Kek]) {
        shape.check().unwrap();
        let new = NewVolume {
            shape: *shape,
            granule_source: "a name so long that the superblock spans granules of 512 bytes ".repeat(6),
            suite,
            replica_of: None,
            keks,
            now: 1,
        };
        create_on_disks(&new, &self.data, self.header.as_ref()).unwrap();
    }

    /// Opens the volume on them.
    pub fn open(&self, keks: &[Kek], engine: EngineKind, read_only: bool) -> Result<Volume, VolumeError> {
        open_disks(Arc::clone(&self.data), self.header.clone(), keks, read_only, engine)
    }
}

/// A data disk for a volume of `shape`: a file in `folder`, which is on tmpfs.
pub fn on_tmpfs(folder: &tempfile::TempDir, shape: &Shape, detached: bool) -> Arc<dyn Disk> {
    let len = plan(shape, detached).data_len;
    Arc::new(Backing::create(folder.path().join("data"), len, &OpenOptions::default()).unwrap())
}

/// A worker: an executor and its engine.
pub struct Client {
    pub volume: Arc<Volume>,
    pub executor: Executor,
    engine: Box<dyn Engine>,
    pool: Pool,
    next: u64,
    done: Vec<Done>,
    /// Where the request that finished last failed.
    pub failed_at: Option<u64>,
}

/// What a request came to.
pub type Outcome = Result<Reply, IoFailure>;

impl Client {
    pub fn new(volume: &Arc<Volume>, engine: Box<dyn Engine>) -> Client {
        let pool = Pool::new(16 << 20);
        let executor = Executor::new(pool.clone(), engine.waker());
        Client { volume: Arc::clone(volume), executor, engine, pool, next: 0, done: Vec::new(), failed_at: None }
    }

    /// Starts a request of session 0; its number.
    pub fn start(&mut self, kind: RequestKind) -> u64 {
        self.start_as(0, kind)
    }

    pub fn start_as(&mut self, session: u32, kind: RequestKind) -> u64 {
        self.next += 1;
        let request = Request { volume: Arc::clone(&self.volume), session, cookie: self.next, kind };
        self.executor.start(&mut *self.engine, request);
        self.next
    }

    /// The number the next request gets.
    pub fn next_number(&self) -> u64 {
        self.next + 1
    }

    /// Operations the engine has.
    pub fn pending(&self) -> usize {
        self.engine.pending()
    }

    /// Moves everything as far as it goes; what has finished.
    pub fn pump(&mut self) -> Vec<(u64, Outcome)> {
        let mut finished = Vec::new();
        let mut idle = 0;
        while idle < 4 {
            self.engine.wait(Some(Duration::ZERO), &mut self.done).unwrap();
            idle = if self.done.is_empty() { idle + 1 } else { 0 };
            for done in std::mem::take(&mut self.done) {
                self.executor.complete(&mut *self.engine, done);
            }
            self.executor.poll(&mut *self.engine);
            while let Some(end) = self.executor.finished() {
                idle = 0;
                self.failed_at = end.failed_at;
                finished.push((end.cookie, end.outcome));
            }
        }
        finished
    }

    /// Waits until something happens; what has finished.
    pub fn wait(&mut self) -> Vec<(u64, Outcome)> {
        self.engine.wait(Some(Duration::from_millis(5)), &mut self.done).unwrap();
        for done in std::mem::take(&mut self.done) {
            self.executor.complete(&mut *self.engine, done);
        }
        self.executor.poll(&mut *self.engine);
        std::iter::from_fn(|| self.executor.finished()).map(|end| (end.cookie, end.outcome)).collect()
    }

    /// Runs one request to its end, which must not wait for anybody else.
    pub fn run(&mut self, kind: RequestKind) -> Outcome {
        let cookie = self.start(kind);
        let finished = self.pump();
        kept::run_all();
        let (number, outcome) = finished.into_iter().next().expect("the request waits for somebody else");
        assert_eq!(number, cookie);
        outcome
    }

    /// `bytes` in pool buffers, cut at `cuts`, each part at an odd place of its buffer unless `straight`.
    pub fn payload(&self, bytes: &[u8], cuts: &[usize], straight: bool) -> Vec<(Buf, Range<usize>)> {
        let mut parts = Vec::new();
        let mut from = 0;
        let lead = if straight { 0 } else { 28 };
        let most = (1 << 20) - lead;
        let mut ends: Vec<usize> =
            cuts.iter().copied().chain((1..).map(|n| n * most).take(bytes.len() / most)).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        for end in ends {
            if end <= from || end > bytes.len() {
                continue;
            }
            // A client's own buffers are not what a test lets fail: such a fault strikes once.
            let buf = self.pool.take(end - from + lead).or_else(|| self.pool.take(end - from + lead));
            let mut buf = buf.expect("a buffer");
            let range = lead..lead + end - from;
            buf[range.clone()].copy_from_slice(&bytes[from..end]);
            parts.push((buf, range));
            from = end;
        }
        parts
    }

    pub fn write_kind(&self, offset: u64, bytes: &[u8], fua: bool) -> RequestKind {
        RequestKind::Write { offset, payload: self.payload(bytes, &[], bytes.len() <= 1 << 20), fua }
    }

    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Outcome {
        let kind = self.write_kind(offset, bytes, false);
        self.run(kind)
    }

    pub fn read(&mut self, offset: u64, len: usize) -> Result<Vec<u8>, IoFailure> {
        let len = u32::try_from(len).unwrap();
        self.run(RequestKind::Read { offset, len }).map(|reply| bytes_of(&reply))
    }

    pub fn flush(&mut self) -> Outcome {
        self.run(RequestKind::Flush)
    }

    pub fn trim(&mut self, offset: u64, len: u64) -> Outcome {
        self.run(RequestKind::Trim { offset, len, fua: false })
    }

    pub fn zero(&mut self, offset: u64, len: u64, no_hole: bool) -> Outcome {
        self.run(RequestKind::Zeroes { offset, len, fua: false, no_hole })
    }

    /// The whole volume.
    pub fn content(&mut self) -> Vec<u8> {
        self.read(0, self.volume.size() as usize).expect("the whole volume is readable")
    }
}

/// The plaintext of a read.
pub fn bytes_of(reply: &Reply) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Reply::Data(parts) = reply {
        parts.iter().for_each(|(buf, range)| bytes.extend_from_slice(&buf[range.clone()]));
    }
    bytes
}

/// A volume, a client and a pipeline.
pub struct Rig {
    pub disks: Disks,
    pub keks: Vec<Kek>,
    pub crypto: EngineKind,
    pub volume: Arc<Volume>,
    pub client: Client,
    pub pipeline: Pipeline,
}

impl Rig {
    /// A new volume on disks in memory.
    pub fn new(shape: &Shape, suite: Suite, detached: bool, crypto: EngineKind) -> Rig {
        Rig::new_on(Disks::in_memory(shape, detached), shape, suite, crypto)
    }

    /// A new volume on disks that hold none.
    pub fn new_on(disks: Disks, shape: &Shape, suite: Suite, crypto: EngineKind) -> Rig {
        kept::start();
        let keks = OpenKek::list();
        disks.create(shape, suite, &keks);
        Rig::on(disks, keks, crypto)
    }

    /// A volume on disks that hold one.
    pub fn on(disks: Disks, keks: Vec<Kek>, crypto: EngineKind) -> Rig {
        kept::start();
        let volume = Arc::new(disks.open(&keks, crypto, false).unwrap());
        let client = Client::new(&volume, engine());
        let pipeline = Pipeline::new(Arc::clone(&volume), engine());
        Rig { disks, keks, crypto, volume, client, pipeline }
    }

    /// Leaves the volume as it is, without ending anything, and opens it again.
    pub fn reopen(&mut self) {
        *self = Rig::on(self.disks.clone(), OpenKek::list(), self.crypto);
    }

    pub fn start_rotation(&mut self, suite: Suite) -> Generation {
        let generation = self.volume.start_rotation(&self.keks, &spec(suite)).unwrap();
        kept::run_all();
        generation
    }

    pub fn target(&self) -> Generation {
        self.volume.rotation().target
    }

    /// Extents not under the target.
    pub fn behind(&self) -> Vec<Extent> {
        let target = self.target();
        (0..self.volume.shape().extents()).map(Extent).filter(|extent| self.volume.tag(*extent) != target).collect()
    }

    /// One step with at most `most` candidates.
    pub fn step(&mut self, most: usize) -> Result<(), VolumeError> {
        let target = self.target();
        let mut candidates = self.behind();
        candidates.truncate(most);
        let stepped = self.pipeline.step(&candidates, target, 1_000_000);
        kept::run_all();
        stepped
    }

    /// Steps until every extent carries the target and nothing is under way.
    pub fn rotate(&mut self) -> Result<(), VolumeError> {
        for _ in 0..200 {
            if self.behind().is_empty() {
                let target = self.target();
                self.pipeline.drain(target)?;
                if self.behind().is_empty() {
                    return Ok(());
                }
            }
            self.step(4)?;
        }
        panic!("the rotation does not end");
    }
}
