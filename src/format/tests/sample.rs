//! One of every structure, with a different value in every field.

use crate::crypto::Secret;
use crate::crypto::mac::MacKey;
use crate::format::Seal;
use crate::format::canary::{self, Canary};
use crate::format::generations::{Entry, GenerationTable, KeyState, Order, Pace, Phase, Rotation, VerifyMode};
use crate::format::intents::{Commit, Image, Intent, Record};
use crate::format::layout::{RING_SLOTS, Shape, WriteMode, plan};
use crate::format::lives::{Holder, HolderKind, Life};
use crate::format::superblock::Superblock;
use crate::format::wrapped::Wrapped;
use crate::units::{Extent, Generation, VolumeId};

pub const VOLUME: VolumeId = VolumeId([0xa5; 16]);

pub fn seal_of(volume: VolumeId, key: u8) -> Seal {
    Seal::new(volume, MacKey::new(&Secret::filled(32, |bytes| bytes.fill(key))))
}

pub fn seal() -> Seal {
    seal_of(VOLUME, 7)
}

/// Four extents of 64 KiB, the last one short.
pub fn shape(mode: WriteMode, granule: u32) -> Shape {
    Shape { size: 200 << 10, max_size: 1 << 20, extent_size: 64 << 10, data_unit: 4096, granule, mode }
}

pub fn superblock() -> Superblock {
    let shape = shape(WriteMode::InPlace, 512);
    Superblock {
        volume: VOLUME,
        shape,
        granule_source: "logical block of /dev/vda".into(),
        zones: plan(&shape, true).zones,
        detached: true,
        ring_slots: RING_SLOTS,
        slot_size: shape.slot_size() as u32,
        tail: 0x0102_0304_0506,
        checkpoint: 0x1112_1314_1516,
        tag_digest: [0xd1; 32],
        epoch: 0x21,
        poisoned: "a flush failed: Input/output error".into(),
        created: 0x31_3233_3435,
        unfinished: None,
    }
}

pub fn wrap(provider: u8, len: usize) -> Wrapped {
    Wrapped { provider, kek_id: format!("file-{provider:016x}"), kek_version: 9, blob: vec![provider; len] }
}

pub fn entry(generation: u32, state: KeyState) -> Entry {
    Entry {
        generation: Generation(generation),
        key_id: [generation as u8 + 1; 16],
        suite: 1,
        data_unit: 4096,
        tweak_unit: 512,
        tweak_base: 0x0807_0605_0403_0201,
        state,
        compromised: generation == 2,
        created: 100 + u64::from(generation),
        activated: 200 + u64::from(generation),
        bytes_reserved: 300 + u64::from(generation),
        reason: format!("reason {generation}"),
        canary_slot: generation as u16,
        wraps: vec![wrap(1, 72), wrap(2, 100)],
        life: Life {
            changed: 400 + u64::from(generation),
            scheduled: 500 + u64::from(generation),
            evidence: [generation as u8 + 9; 32],
            actor: format!("uid {generation}"),
            reason: format!("change {generation}"),
        },
    }
}

pub fn holder() -> Holder {
    Holder {
        id: [0x71; 16],
        kind: HolderKind::Escrow,
        first: Generation(1),
        last: Generation(2),
        made: 0x72,
        drilled: 0x73,
        released: 0x74,
        label: "vault of the bank".into(),
    }
}

pub fn table() -> GenerationTable {
    let metadata = Entry { suite: 0, ..entry(0, KeyState::Active) };
    GenerationTable {
        entries: vec![metadata, entry(1, KeyState::Draining), entry(2, KeyState::Active)],
        rotation: Rotation {
            id: 0x41,
            phase: Phase::Paused,
            target: Generation(2),
            rollback_to: Some(Generation(1)),
            is_rollback: false,
            hold_finalize: true,
            order: Order::Ranges(vec![(0, 65536), (131_072, 196_608)]),
            pace: Pace { rate: 0x51, adaptive: true, factor_percent: 150 },
            verify: VerifyMode::Sample(1234),
            started: 0x61,
            drained: 0x62,
            verified: 0x63,
            reason: "cryptoperiod".into(),
        },
        holders: vec![holder()],
    }
}

/// Bytes of the lives and the holders.
pub fn lives_len(table: &GenerationTable) -> usize {
    let lives: usize = table.entries.iter().map(|entry| 52 + entry.life.actor.len() + entry.life.reason.len()).sum();
    2 + lives + 2 + table.holders.iter().map(|holder| 51 + holder.label.len()).sum::<usize>()
}

/// Commits and intents of extents 0, 1 and the short one, 3.
pub fn record(shape: &Shape) -> Record {
    let image = |extent: u32| {
        let (first, end) = shape.extent_range(extent);
        match shape.mode {
            WriteMode::InPlace => Image::Fingerprints((0..(end - first) / u64::from(shape.granule)).collect()),
            WriteMode::Journal => Image::Ciphertext((first..end).map(|at| at as u8).collect()),
        }
    };
    let intent =
        |extent| Intent { extent: Extent(extent), old: Generation(1), new: Generation(2), image: image(extent) };
    Record {
        sequence: 21,
        commits: vec![Commit { extent: Extent(0), generation: Generation(2), intent: 19 }],
        intents: vec![intent(1), intent(3)],
    }
}

pub fn canary() -> Canary {
    Canary { generation: Generation(2), ciphertext: (0..canary::LEN).map(|at| (at * 7) as u8).collect() }
}
