//! What a volume does as one of several replicas, on disks that work. `crashes`, `failures` and `controls` have the rest.

mod digests;
mod founding;
mod proofs;
mod share;

use std::sync::Arc;

use super::rig::{Disks, Rig, shape};
use crate::crypto::{EngineKind, Secret, Suite, new_key};
use crate::format::generations::KeyState;
use crate::format::handover::Handover;
use crate::format::layout::{Shape, WriteMode};
use crate::format::lives::Life;
use crate::units::Generation;
use crate::volume::life::By;
use crate::volume::replica::{check_value, entry_from};
use crate::volume::{Volume, VolumeError};

const EXTENT: u64 = 64 << 10;
const EXTENTS: u64 = 6;
const SIZE: u64 = EXTENTS * EXTENT;
const OLD: Generation = Generation(1);
const NEW: Generation = Generation(7);

fn small(mode: WriteMode) -> Shape {
    shape(SIZE, 4096, 4096, mode)
}

fn rig() -> Rig {
    Rig::new(&small(WriteMode::InPlace), Suite::Aes256Xts, false, EngineKind::AwsLc)
}

fn by(now: u64) -> By {
    By { actor: "the lead".into(), reason: "a new key for all".into(), now }
}

fn pattern(len: u64, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at / 509) as u8 ^ seed | 1).collect()
}

fn why<T: std::fmt::Debug>(refused: Result<T, VolumeError>) -> String {
    match refused {
        Err(VolumeError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

fn state(volume: &Volume, generation: Generation) -> Option<KeyState> {
    volume.table().entry(generation).map(|entry| entry.state)
}

/// A handover with a check value that fits `key`.
fn handover(volume: &Volume, generation: Generation, suite: Suite, key: Secret) -> Handover {
    let mut key_id = [0; 16];
    getrandom::fill(&mut key_id).unwrap();
    let unit = volume.shape().data_unit;
    let mut handover = Handover {
        generation,
        key_id,
        suite: suite.id(),
        data_unit: unit,
        tweak_unit: unit,
        tweak_base: 0,
        created: 77,
        reason: "made elsewhere".into(),
        check: [0; 16],
        key,
    };
    handover.check = check_value(volume.id(), &entry_from(&handover, Life::default()), &handover.key);
    handover
}

/// A key for `volume` that some other replica of it has made.
pub fn made_elsewhere(volume: &Volume, generation: Generation, suite: Suite) -> Handover {
    handover(volume, generation, suite, new_key(suite).unwrap())
}

/// The same handover as it arrives.
fn arrived(handover: &Handover) -> Handover {
    Handover::decode(handover.encode().expose()).unwrap()
}

/// The data area as it is on the device.
fn ciphertext(disks: &Disks, volume: &Arc<Volume>) -> Vec<u8> {
    let mut bytes = vec![0; SIZE as usize];
    disks.data.read_at(volume.data_offset, &mut bytes).unwrap();
    bytes
}
