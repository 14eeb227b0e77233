//! What a run of the crash suite is like: everything that follows from its seed before it begins.

use super::super::rig::shape;
use super::rng::Rng;
use crate::crypto::Suite;
use crate::format::layout::{Shape, WriteMode};

/// What a run is like.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub seed: u64,
    pub shape: Shape,
    /// What the device replaces atomically: the shape's granule, unless a control lies about it.
    pub device_granule: u32,
    pub detached: bool,
    pub suite: Suite,
    /// Top-level actions.
    pub actions: usize,
    /// Once in so many actions the target changes or the holds are ended.
    pub restless: u64,
    /// Whether the device watches the order of writes.
    pub watched: bool,
    /// Once in so many actions the volume grows; 0: never.
    pub grows: u64,
    /// Once in so many actions a key takes a step in its life; 0: never.
    pub lives: u64,
    /// Once in so many actions a key is shared with another replica; 0: never.
    pub shares: u64,
    /// Once in so many actions another KEK takes over; 0: never.
    pub rewraps: u64,
    /// Once in so many times that KEK wraps wrongly; 0: never.
    pub slips: u64,
}

impl Setting {
    /// The setting a seed stands for.
    pub fn new(seed: u64) -> Setting {
        let mut rng = Rng::new(seed);
        let extents = 5 + rng.below(4);
        let size = extents * (64 << 10) - rng.below(12) * 4096;
        let granule = rng.pick(&[512, 4096]);
        let mode = if rng.once_in(4) { WriteMode::Journal } else { WriteMode::InPlace };
        Setting {
            seed,
            shape: shape(size, rng.pick(&[512, 4096]), granule, mode),
            device_granule: granule,
            detached: rng.once_in(3),
            suite: if rng.once_in(4) { Suite::None } else { Suite::Aes256Xts },
            actions: 60,
            restless: 10,
            watched: true,
            grows: 0,
            lives: 0,
            shares: 0,
            rewraps: 0,
            slips: 4,
        }
    }

    pub fn mode(self, mode: WriteMode) -> Setting {
        Setting { shape: Shape { mode, ..self.shape }, ..self }
    }
}
