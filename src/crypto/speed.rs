//! What each engine reaches on this CPU, one core, data in cache.

use std::time::{Duration, Instant};

use crate::crypto::error::CryptoError;
use crate::crypto::suite::{EngineKind, Suite, TweakRule};
use crate::crypto::xts::{Xts, new_key};

/// Bytes of one call: as large as the pieces the daemon handles, small enough for the cache.
const CALL: usize = 256 << 10;
/// Calls between two looks at the clock.
const CALLS_PER_LOOK: u32 = 4;

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpeedRow {
    /// The engine measured.
    pub engine: EngineKind,
    /// The suite measured.
    pub suite: Suite,
    /// Bytes per data unit.
    pub unit: u32,
    /// `encrypt` or `decrypt`.
    pub direction: &'static str,
    /// Bytes per second, one core.
    pub bytes_per_s: f64,
}

/// Measures every engine, suite, data unit and direction, each for at least `budget`.
///
/// # Errors
/// A key could not be made or expanded.
pub fn measure(budget: Duration) -> Result<Vec<SpeedRow>, CryptoError> {
    let mut rows = Vec::new();
    let mut data = vec![0x5a; CALL];
    for engine in EngineKind::available() {
        for suite in [Suite::Aes256Xts, Suite::Aes128Xts] {
            let key = new_key(suite)?;
            for unit in [4096, 512] {
                let xts = Xts::new(engine, suite, &key, unit, TweakRule::own(unit))?;
                let mut row = |direction, bytes_per_s| {
                    rows.push(SpeedRow { engine, suite, unit, direction, bytes_per_s });
                };
                row("encrypt", rate(budget, || xts.encrypt(0, &mut data)));
                row("decrypt", rate(budget, || xts.decrypt(0, &mut data)));
            }
        }
    }
    Ok(rows)
}

/// Bytes per second of `call`, which handles [`CALL`] bytes.
fn rate(budget: Duration, mut call: impl FnMut()) -> f64 {
    call();
    let start = Instant::now();
    let mut calls = 0u64;
    loop {
        (0..CALLS_PER_LOOK).for_each(|_| call());
        calls += u64::from(CALLS_PER_LOOK);
        let elapsed = start.elapsed();
        if elapsed >= budget && !elapsed.is_zero() {
            return calls as f64 * CALL as f64 / elapsed.as_secs_f64();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_measured_once() {
        let rows = measure(Duration::from_micros(1)).unwrap();
        assert_eq!(rows.len(), EngineKind::available().count() * 2 * 2 * 2);
        for (index, row) in rows.iter().enumerate() {
            assert!(row.bytes_per_s > 0.0);
            let cell = |r: &SpeedRow| (r.engine, r.suite, r.unit, r.direction);
            assert!(rows[..index].iter().all(|earlier| cell(earlier) != cell(row)));
        }
    }
}
