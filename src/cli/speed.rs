//! What the I/O engines reach on a backing: the second half of `keymoult speed`.
//!
//! Invariant: works on a file of its own, which is removed whatever happens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::exit::Exit;
use super::failure::Failure;
use super::report::SpeedRow;
use crate::engine::{self, Backing, Data, Disk, Engine, EngineError, EngineOptions, IoKind, Op, OpenOptions, Pool};

/// Bytes of the file.
const FILE: u64 = 64 << 20;
/// Operations under way.
const DEPTH: usize = 16;

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Measures both engines on a file in `directory`, if one is given.
pub fn engines(budget: Duration, directory: Option<&Path>) -> Result<Vec<SpeedRow>, Failure> {
    let Some(directory) = directory else { return Ok(Vec::new()) };
    let path = directory.join(format!(".keymoult-speed-{}", std::process::id()));
    let failed = |error: EngineError| Failure::from_error(Exit::Io, &error).at(directory.display().to_string());
    let backing = Backing::create(&path, FILE, &OpenOptions::default()).map_err(failed)?;
    let _scratch = Scratch(path);
    let disk: Arc<dyn Disk> = Arc::new(backing);
    fill(&*disk).map_err(|error| Failure::from_error(Exit::Io, &error).at(directory.display().to_string()))?;
    let mut rows = Vec::new();
    for kind in [IoKind::Ring, IoKind::Posix] {
        let Ok(mut engine) = engine::open(Some(kind), &EngineOptions::default()) else { continue };
        for unit in [4096u32, 128 << 10] {
            for direction in ["read", "write"] {
                let rate = rate(&mut *engine, &disk, unit as usize, direction == "write", budget)
                    .map_err(|error| Failure::from_error(Exit::Io, &error))?;
                rows.push(SpeedRow {
                    what: "backing".into(),
                    engine: kind.to_string(),
                    detail: disk.caps().describe,
                    unit_bytes: unit,
                    direction: direction.into(),
                    bytes_per_s: rate as u64,
                });
            }
        }
    }
    Ok(rows)
}

/// Writes the whole file once, so that reads find data and writes find their blocks.
fn fill(disk: &dyn Disk) -> std::io::Result<()> {
    let block = vec![0xa5u8; 1 << 20];
    (0..FILE / (1 << 20)).try_for_each(|index| disk.write_at(index << 20, &block))
}

fn rate(
    engine: &mut dyn Engine,
    disk: &Arc<dyn Disk>,
    unit: usize,
    write: bool,
    budget: Duration,
) -> std::io::Result<f64> {
    let pool = Pool::new(64 << 20);
    let (mut next, mut moved) = (0u64, 0u64);
    let mut submit = |engine: &mut dyn Engine, buf| {
        next = (next + 7919) % (FILE / unit as u64);
        let (disk, offset) = (Arc::clone(disk), next * unit as u64);
        let op = match write {
            true => Op::Write { disk, offset, data: Data::Own(buf), range: 0..unit, dsync: false },
            false => Op::Read { disk, offset, buf, range: 0..unit },
        };
        engine.submit(0, op);
    };
    for _ in 0..DEPTH {
        let Some(buf) = pool.take(unit) else { break };
        submit(engine, buf);
    }
    let start = Instant::now();
    let mut done = Vec::new();
    while engine.pending() > 0 {
        engine.wait(None, &mut done)?;
        for finished in done.drain(..) {
            finished.result?;
            moved += unit as u64;
            let buf = match finished.op {
                Op::Read { buf, .. } | Op::Write { data: Data::Own(buf), .. } => buf,
                _ => continue,
            };
            if start.elapsed() < budget {
                submit(engine, buf);
            }
        }
    }
    Ok(moved as f64 / start.elapsed().as_secs_f64())
}
