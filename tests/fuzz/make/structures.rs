//! Bodies of on-disk structures: those of the golden images, and one of each with a value in every field.

use keymoult::crypto::Secret;
use keymoult::format::COUNTER_MAX;
use keymoult::format::codec::Writer;
use keymoult::format::envelope::{GENERATIONS, HEAD, Kind, OVERHEAD, SUPERBLOCK, TAG_PAGE, peek};
use keymoult::format::generations::{GenerationTable, KeyState};
use keymoult::format::handover::{Founding, Handover, SharedKey};
use keymoult::format::intents::{Commit, Image, Intent, Record};
use keymoult::format::layout::{GENERATIONS_COPY, Place, SUPERBLOCK_A, SUPERBLOCK_B, WriteMode};
use keymoult::format::superblock::Superblock;
use keymoult::units::{BLOCK, Extent, Generation};

use crate::support::golden::images;
use crate::support::sealed::{seal, shapes};

/// The bodies at `places` of every golden header.
fn bodies(kind: Kind, places: impl Fn(&Superblock) -> Vec<u64>, len: u64) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    for golden in images() {
        let mut files = golden.files.clone();
        for place in places(&golden.superblock) {
            let bytes = &files.meta()[place as usize..][..len as usize];
            bodies.extend(peek(kind, bytes).ok().map(|found| found.body.to_vec()));
        }
    }
    bodies
}

pub fn superblocks() -> Vec<Vec<u8>> {
    let mut all = bodies(SUPERBLOCK, |_| vec![SUPERBLOCK_A, SUPERBLOCK_B], BLOCK);
    // Counters at their end, a poisoned one, and one whole with its envelope.
    let golden = &images()[0].superblock;
    for field in 0..3 {
        let mut block = golden.clone();
        *[&mut block.tail, &mut block.checkpoint, &mut block.epoch][field] = COUNTER_MAX;
        all.push(body(&block.seal(seal(), 1)));
    }
    let poisoned = Superblock { poisoned: "a flush failed".into(), ..golden.clone() };
    all.push(body(&poisoned.seal(seal(), 1)));
    let last = Place { offset: golden.zones.data.end() - BLOCK, length: BLOCK };
    let growing = Superblock { unfinished: Some(last), ..golden.clone() };
    all.push(body(&growing.seal(seal(), 1)));
    all.push(whole(&golden.seal(seal(), 1)));
    all
}

/// What stands between an envelope's head and its MAC.
fn body(sealed: &[u8]) -> Vec<u8> {
    let whole = whole(sealed);
    whole[HEAD..whole.len() - (OVERHEAD - HEAD)].to_vec()
}

/// An envelope without what pads it.
fn whole(sealed: &[u8]) -> Vec<u8> {
    let length = u32::from_le_bytes([sealed[12], sealed[13], sealed[14], sealed[15]]) as usize;
    sealed[..OVERHEAD + length].to_vec()
}

pub fn tables() -> Vec<Vec<u8>> {
    let zone = |block: &Superblock| block.zones.generations.offset;
    bodies(GENERATIONS, |block| vec![zone(block), zone(block) + GENERATIONS_COPY], GENERATIONS_COPY)
}

pub fn tag_pages() -> Vec<Vec<u8>> {
    let places =
        |block: &Superblock| vec![block.zones.tags.offset, block.zones.tags.offset + block.zones.tags.length / 2];
    let pages = bodies(TAG_PAGE, places, BLOCK);
    let with_numbers = |numbers: [u8; 4], body: &[u8]| [&numbers[..], body].concat();
    vec![
        with_numbers([0, 2, 1, 2], &pages[0]),
        with_numbers([3, 9, 0, 9], &pages[pages.len() - 1]),
        vec![1, 2, 3, 4, 5],
    ]
}

fn record(mode: WriteMode, granule: u64) -> Record {
    let image = |len: u64| match mode {
        WriteMode::InPlace => Image::Fingerprints(vec![0x0102_0304_0506_0708; (len / granule) as usize]),
        WriteMode::Journal => Image::Ciphertext(vec![0x77; len as usize]),
    };
    let intent =
        |extent: u32, len| Intent { extent: Extent(extent), old: Generation(1), new: Generation(2), image: image(len) };
    let mut intents = vec![intent(1, 4096)];
    if mode == WriteMode::InPlace {
        intents.push(intent(0, 64 << 10));
    }
    let commits = vec![Commit { extent: Extent(0), generation: Generation(2), intent: 5 }];
    Record { sequence: 7, commits, intents }
}

pub fn records() -> Vec<Vec<u8>> {
    let mut all = vec![vec![0; 26]];
    for (index, shape) in (0u8..).zip(shapes()) {
        let body = body(&record(shape.mode, shape.granule.into()).seal(seal(), 16));
        all.push([&[index][..], &7u64.to_le_bytes(), &[13], &body].concat());
    }
    all
}

pub fn canaries() -> Vec<Vec<u8>> {
    let mut out = Writer::new();
    out.u8(3).u32(1).short_bytes(&[0x66; 4096]);
    let mut short = Writer::new();
    short.u8(3).u32(1).short_bytes(&[0x66; 10]);
    vec![out.bytes, short.bytes]
}

pub fn stamps() -> Vec<Vec<u8>> {
    vec![
        3u64.to_le_bytes().to_vec(),
        u64::MAX.to_le_bytes().to_vec(),
        vec![1, 2, 3],
        whole(&seal().seal(keymoult::format::envelope::STAMP, 0, 3, &[3; 8])),
    ]
}

pub fn wraps() -> Vec<Vec<u8>> {
    let mut out = Writer::new();
    for wrap in wraps_of_first() {
        wrap.encode(&mut out);
    }
    let cut = out.bytes[..out.bytes.len() - 3].to_vec();
    vec![out.bytes, cut]
}

/// A handover, a founding of three keys of which the first is gone, and one that is cut.
pub fn handovers() -> Vec<Vec<u8>> {
    let handover = |generation: u32, len: usize| Handover {
        generation: Generation(generation),
        key_id: [generation as u8; 16],
        suite: 1,
        data_unit: 4096,
        tweak_unit: 4096,
        tweak_base: 0,
        created: 7,
        reason: "cryptoperiod".into(),
        check: [9; 16],
        key: Secret::filled(len, |bytes| bytes.fill(generation as u8)),
    };
    let shared = |generation, state, len| SharedKey {
        handover: handover(generation, len),
        state,
        compromised: false,
        activated: 8,
        scheduled: 0,
        bytes: 4096,
    };
    let keys = vec![shared(1, KeyState::Destroyed, 0), shared(2, KeyState::Empty, 64), shared(5, KeyState::Active, 64)];
    let volume = seal().volume();
    let founding = Founding { volume, size: 1 << 20, max_size: 2 << 20, extent_size: 65536, data_unit: 4096, keys };
    let founding = founding.encode().expose().to_vec();
    let cut = founding[..founding.len() - 3].to_vec();
    vec![handover(7, 64).encode().expose().to_vec(), founding, cut]
}

fn wraps_of_first() -> Vec<keymoult::format::wrapped::Wrapped> {
    let body = &tables()[0];
    let sealed = seal().seal(GENERATIONS, 0, 1, body);
    let table = GenerationTable::decode(&peek(GENERATIONS, &sealed).unwrap()).unwrap();
    table.entries[0].wraps.clone()
}

pub fn envelopes() -> Vec<Vec<u8>> {
    let head =
        |kind: u8, body: &[u8]| [&[kind][..], &5u64.to_le_bytes(), &6u64.to_le_bytes(), &[30, 0, 3], body].concat();
    let mut all: Vec<_> = (0..6).map(|kind| head(kind, b"a body")).collect();
    all.push(head(0, b""));
    all.push(whole(&seal().seal(SUPERBLOCK, 0, 1, b"a body")));
    all.push(vec![0; 60]);
    all
}

/// As `targets/replay_ring.rs` reads them: slots, tail, eight tags, then slot by slot sequence, commits and intents.
pub fn rings() -> Vec<Vec<u8>> {
    let head = [&[1, 1, 10][..], &[0; 8]].concat();
    // One record: extent 1 from generation 1 to 2; the next commits it and does extent 2.
    let first = [1, 0, 1, 1, 0, 1, 7];
    let second = [2, 1, 1, 1, 1, 1, 2, 0, 1, 8];
    let empty = 0xff;
    let ring = |slots: &[&[u8]]| [&head[..], &slots.concat()[..]].concat();
    vec![
        // Slots are indexed by sequence modulo four: 11 stands in slot 3, 12 in slot 0.
        ring(&[&second, &[empty], &[empty], &first]),
        ring(&[&[empty], &[empty], &[empty], &first]),
        ring(&[&second, &[empty], &[empty], &[empty]]),
        ring(&[&[empty], &[empty], &[empty], &[empty]]),
        [&[13, 0, 0][..], &[1; 40]].concat(),
    ]
}
