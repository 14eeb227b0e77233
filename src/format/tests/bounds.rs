//! Bodies that are authentic and out of bounds, as a hostile or mistaken writer with the key would make them: refused
//! by the name of the field, before anything is allocated for the count they claim.

use proptest::prelude::*;

use super::sample::{self, seal};
use crate::format::codec::Writer;
use crate::format::envelope::{self, CANARY, GENERATIONS, Kind, RECORD, SUPERBLOCK, TAG_PAGE, peek};
use crate::format::generations::{GenerationTable, KeyState, Order, RANGES_MAX, REASON_MAX};
use crate::format::intents::Record;
use crate::format::layout::{Place, Shape, WriteMode, Zones, plan};
use crate::format::lives::Life;
use crate::format::superblock::Superblock;
use crate::format::{COUNTER_MAX, Damage, canary::Canary, stamp, tags};
use crate::limits::{GENERATIONS_MAX, KEK_ID_MAX, WRAP_BLOB_MAX, WRAPS_MAX};
use crate::units::BLOCK;

/// The body of a sealed structure, to be changed and sealed again.
fn body(kind: Kind, bytes: &[u8]) -> Vec<u8> {
    peek(kind, bytes).unwrap().body.to_vec()
}

fn superblock_with(at: usize, value: &[u8]) -> Result<Superblock, Damage> {
    let mut body = body(SUPERBLOCK, &sample::superblock().seal(&seal(), 1));
    body[at..at + value.len()].copy_from_slice(value);
    Superblock::decode(&peek(SUPERBLOCK, &seal().seal(SUPERBLOCK, 0, 1, &body))?)
}

fn refused<T: std::fmt::Debug>(found: Result<T, Damage>, wanted: &str) {
    match found {
        Err(Damage::Field { field, .. }) => assert_eq!(field, wanted),
        other => panic!("{wanted}: {other:?}"),
    }
}

#[test]
fn superblock_fields() {
    assert!(superblock_with(16, &(200u64 << 10).to_le_bytes()).is_ok());
    for (at, value, field) in [
        (16, &0u64.to_le_bytes()[..], "shape"),
        (16, &4097u64.to_le_bytes(), "shape"),
        (16, &(2u64 << 20).to_le_bytes(), "shape"),
        (24, &u64::MAX.to_le_bytes(), "shape"),
        (32, &65537u64.to_le_bytes(), "shape"),
        (32, &(128u64 << 20).to_le_bytes(), "shape"),
        (40, &1024u32.to_le_bytes(), "shape"),
        (44, &0u32.to_le_bytes(), "shape"),
        (48, &[2], "write mode"),
        (49, &[2], "header kind"),
        (50, &[1], "hole rule"),
        (52, &1u64.to_le_bytes(), "generation zone"),
        (60, &4096u64.to_le_bytes(), "generation zone"),
        (60, &u64::MAX.to_le_bytes(), "generation zone"),
        (76, &4096u64.to_le_bytes(), "canary zone"),
        (92, &4096u64.to_le_bytes(), "tag zone"),
        (100, &(1u64 << 62).to_le_bytes(), "ring zone"),
        (124, &4096u64.to_le_bytes(), "data zone"),
        (140, &12288u64.to_le_bytes(), "stamp zone"),
        (148, &0u32.to_le_bytes(), "ring slots"),
        (148, &1025u32.to_le_bytes(), "ring slots"),
        (148, &17u32.to_le_bytes(), "ring zone"),
        (152, &0u32.to_le_bytes(), "slot size"),
        (152, &u32::MAX.to_le_bytes(), "slot size"),
        (156, &(COUNTER_MAX + 1).to_le_bytes(), "ring tail"),
        (164, &(COUNTER_MAX + 1).to_le_bytes(), "checkpoint"),
        (204, &(COUNTER_MAX + 1).to_le_bytes(), "epoch"),
        (100, &65536u64.to_le_bytes(), "zones (they overlap)"),
        (52, &0u64.to_le_bytes(), "zones (they overlap)"),
        (220, &1u64.to_le_bytes(), "place to zero"),
        (220, &2u64.to_le_bytes(), "feature bits (written by a newer build)"),
        (220, &3u64.to_le_bytes(), "feature bits (written by a newer build)"),
        (228, &513u16.to_le_bytes(), "granule source"),
    ] {
        refused(superblock_with(at, value), field);
    }
}

/// The place that a growth leaves to zero lies in data, or behind them where nothing is; else it would be a way to have
/// the volume zero its own metadata.
#[test]
fn places_to_zero() {
    let block = sample::superblock();
    let with = |unfinished, detached, zones| {
        let block = Superblock { unfinished: Some(unfinished), detached, zones, ..block.clone() };
        Superblock::decode(&peek(SUPERBLOCK, &block.seal(&seal(), 1)).unwrap())
    };
    let attached = plan(&block.shape, false).zones;
    for (zones, detached) in [(block.zones, true), (attached, false)] {
        let data = zones.data;
        let last = Place { offset: data.end() - BLOCK, length: BLOCK };
        let found = with(last, detached, zones).unwrap();
        assert_eq!((found.unfinished, found.served_size()), (Some(last), block.shape.size - BLOCK));
        let gap = Zones { stamp: Place { offset: zones.stamp.offset + BLOCK, ..zones.stamp }, ..zones };
        assert!(with(Place { length: 2 * BLOCK, ..last }, detached, gap).is_ok(), "behind the data, where nothing is");
        for bad in [
            Place { length: 2 * BLOCK, ..last },
            Place { length: 0, ..last },
            Place { length: 512, ..last },
            Place { length: 1 << 62, ..last },
            Place { length: u64::MAX - 4095, ..last },
            Place { offset: last.offset + 512, ..last },
            Place { offset: data.offset, ..last },
            Place { offset: data.end(), ..last },
            Place { offset: 1 << 62, ..last },
        ] {
            refused(with(bad, detached, zones), "place to zero");
        }
    }
    let before = Place { offset: attached.ring.offset, length: BLOCK };
    refused(with(before, false, attached), "place to zero");
}

/// What a sequence is counted on from never overflows.
#[test]
fn sequences_of_every_kind() {
    for kind in [SUPERBLOCK, GENERATIONS, CANARY, TAG_PAGE, RECORD, envelope::STAMP] {
        let sealed = |sequence| seal().seal(kind, 0, sequence, &[0; 8]);
        assert!(peek(kind, &sealed(COUNTER_MAX)).is_ok());
        refused(peek(kind, &sealed(COUNTER_MAX + 1)).map(|_| ()), "sequence");
        refused(peek(kind, &sealed(u64::MAX)).map(|_| ()), "sequence");
    }
}

fn table_with(body: &[u8]) -> Result<GenerationTable, Damage> {
    GenerationTable::decode(&peek(GENERATIONS, &seal().seal(GENERATIONS, 0, 1, body))?)
}

#[test]
fn table_counts_and_fields() {
    let good = body(GENERATIONS, &sample::table().seal(&seal(), 1).unwrap());
    assert_eq!(table_with(&good).unwrap(), sample::table());
    let with = |at: usize, value: &[u8]| {
        let mut body = good.clone();
        body[at..at + value.len()].copy_from_slice(value);
        table_with(&body)
    };
    refused(with(0, &0u16.to_le_bytes()), "entry count");
    refused(with(0, &(GENERATIONS_MAX as u16 + 1).to_le_bytes()), "entry count");
    refused(with(0, &u16::MAX.to_le_bytes()), "entry count");
    // Entry 0 begins at byte 2.
    refused(with(2, &1u32.to_le_bytes()), "generation order");
    refused(with(2, &u32::MAX.to_le_bytes()), "generation");
    refused(with(2 + 58, &(COUNTER_MAX + 1).to_le_bytes()), "bytes encrypted");
    refused(with(2 + 22, &1024u32.to_le_bytes()), "data unit or tweak unit");
    refused(with(2 + 26, &8192u32.to_le_bytes()), "data unit or tweak unit");
    refused(with(2 + 38, &[0]), "key state");
    refused(with(2 + 38, &[9]), "key state");
    refused(with(2 + 40, &256u16.to_le_bytes()), "canary slot");
    refused(with(2 + 66, &(REASON_MAX as u16 + 1).to_le_bytes()), "reason");
    refused(with(2 + 68, &[0xff]), "reason");
    let wraps = 2 + 68 + "reason 0".len();
    refused(with(wraps, &[WRAPS_MAX as u8 + 1]), "wrap count");
    refused(with(wraps + 1 + 5, &(KEK_ID_MAX as u16 + 1).to_le_bytes()), "wrap KEK id");
    refused(with(wraps + 1 + 7 + 21, &(WRAP_BLOB_MAX as u16 + 1).to_le_bytes()), "wrap blob");
}

#[test]
fn rotation_fields() {
    let mut table = sample::table();
    table.rotation.target = crate::units::Generation(1);
    let mut out = Writer::new();
    out.u16(1);
    assert!(table.seal(&seal(), 1).is_none(), "the target must be active");
    let good = body(GENERATIONS, &sample::table().seal(&seal(), 1).unwrap());
    let rotation = good.len() - sample::lives_len(&sample::table()) - (62 + 2 * 16 + "cryptoperiod".len());
    let with = |at: usize, value: &[u8]| {
        let mut body = good.clone();
        body[rotation + at..rotation + at + value.len()].copy_from_slice(value);
        table_with(&body)
    };
    refused(with(0, &(COUNTER_MAX + 1).to_le_bytes()), "rotation id");
    refused(with(8, &[6]), "rotation phase");
    refused(with(9, &1u32.to_le_bytes()), "target");
    refused(with(9, &77u32.to_le_bytes()), "target");
    refused(with(17, &[4]), "rotation flags");
    refused(with(18, &[3]), "range count");
    refused(with(19, &(RANGES_MAX as u16 + 1).to_le_bytes()), "range count");
    refused(with(32 + 32, &1_000_001u32.to_le_bytes()), "verification");
}

#[test]
fn lives_and_holders() {
    let table = sample::table();
    let good = body(GENERATIONS, &table.seal(&seal(), 1).unwrap());
    let lives = good.len() - sample::lives_len(&table);
    let holder = good.len() - (51 + table.holders[0].label.len());
    let with = |at: usize, value: &[u8]| {
        let mut body = good.clone();
        body[at..at + value.len()].copy_from_slice(value);
        table_with(&body)
    };
    let late = (COUNTER_MAX + 1).to_le_bytes();
    refused(with(lives, &2u16.to_le_bytes()), "life count");
    refused(with(lives + 2, &late), "time of the change");
    refused(with(lives + 2 + 8, &late), "date of destruction");
    refused(with(lives + 2 + 48, &200u16.to_le_bytes()), "actor");
    refused(with(holder - 2, &65u16.to_le_bytes()), "holder count");
    refused(with(holder - 2, &0u16.to_le_bytes()), "end of the holders");
    refused(with(holder + 16, &[4]), "holder kind");
    refused(with(holder + 17, &3u32.to_le_bytes()), "generations of a holder");
    refused(with(holder + 25, &late), "time a holder was made");
    refused(with(holder + 33, &late), "time of a drill");
    refused(with(holder + 41, &late), "time of a release");
    refused(with(holder + 49, &256u16.to_le_bytes()), "label");
}

#[test]
fn a_table_with_nothing_to_say_of_lives_and_holders_ends_with_its_rotation() {
    let mut table = sample::table();
    table.entries.iter_mut().for_each(|entry| entry.life = Life::default());
    table.holders.clear();
    let short = body(GENERATIONS, &table.seal(&seal(), 1).unwrap());
    let long = body(GENERATIONS, &sample::table().seal(&seal(), 1).unwrap());
    assert_eq!(short.len(), long.len() - sample::lives_len(&sample::table()));
    assert_eq!(table_with(&short), Ok(table));
}

#[test]
fn a_table_that_could_not_be_read_back_is_never_written() {
    let unreadable = |change: fn(&mut GenerationTable)| {
        let mut table = sample::table();
        change(&mut table);
        table.seal(&seal(), 1).is_none()
    };
    assert!(unreadable(|table| table.entries[1].wraps = vec![sample::wrap(1, 8); WRAPS_MAX + 1]));
    assert!(unreadable(|table| table.entries[1].wraps = vec![sample::wrap(1, 8); 256]));
    assert!(unreadable(|table| table.entries[1].wraps[0].kek_id = "k".repeat(KEK_ID_MAX + 1)));
    assert!(unreadable(|table| table.entries[1].wraps[0].blob = vec![0; WRAP_BLOB_MAX + 1]));
    assert!(unreadable(|table| table.rotation.order = Order::Ranges(vec![(0, 1); RANGES_MAX + 1])));
    assert!(unreadable(|table| table.entries[2].state = KeyState::Draining));
    assert!(unreadable(|table| table.entries.swap(0, 1)));
    assert!(unreadable(|table| {
        let entry = table.entries[1].clone();
        table.entries.extend((3..400).map(|generation| {
            let generation = crate::units::Generation(generation);
            crate::format::generations::Entry { generation, ..entry.clone() }
        }));
    }));
}

#[test]
fn long_reasons_are_cut_between_characters_and_read_back() {
    let mut table = sample::table();
    table.rotation.reason = "ü".repeat(REASON_MAX);
    table.entries[1].reason = format!("x{}", "ü".repeat(REASON_MAX));
    let bytes = table.seal(&seal(), 1).unwrap();
    let found = GenerationTable::decode(&peek(GENERATIONS, &bytes).unwrap()).unwrap();
    assert_eq!(found.rotation.reason, "ü".repeat(REASON_MAX / 2));
    assert_eq!(found.entries[1].reason, format!("x{}", "ü".repeat(REASON_MAX / 2 - 1)));
}

fn record_with(change: impl FnOnce(&mut Vec<u8>), shape: &Shape) -> Result<Record, Damage> {
    let mut body = body(RECORD, &sample::record(shape).seal(&seal(), 16));
    change(&mut body);
    Record::open(&seal(), 5, &seal().seal(RECORD, 5, 21, &body), shape)
}

#[test]
fn record_counts_and_fields() {
    for shape in [sample::shape(WriteMode::InPlace, 512), sample::shape(WriteMode::Journal, 4096)] {
        let set =
            |at: usize, value: u32| move |body: &mut Vec<u8>| body[at..at + 4].copy_from_slice(&value.to_le_bytes());
        assert_eq!(record_with(|_| {}, &shape).unwrap(), sample::record(&shape));
        refused(record_with(set(0, u32::MAX), &shape), "count");
        refused(record_with(set(4, u32::MAX), &shape), "count");
        refused(record_with(set(0, 1025), &shape), "count");
        refused(record_with(set(4, 1024), &shape), "extent");
        refused(record_with(set(16, 4), &shape), "extent");
        refused(record_with(set(32, 4), &shape), "extent");
        refused(record_with(set(32 + 12, u32::MAX), &shape), "image");
        refused(record_with(set(32 + 12, 8), &shape), "image length");
        // The short last extent, taken for a whole one.
        refused(record_with(set(32, 3), &shape), "image length");
        refused(record_with(|body| body.truncate(15), &shape), "reserved");
    }
}

#[test]
fn short_bodies_of_the_others() {
    let canary = seal().seal(CANARY, 2, 2, &[0; 20]);
    refused(Canary::open(&seal(), 2, &canary).map(|_| ()), "ciphertext");
    let page = seal().seal(TAG_PAGE, 0, 1, &[0; 4031]);
    refused(tags::open_page(&seal(), 0, &page), "tags");
    let stamp_block = seal().seal(envelope::STAMP, 0, 1, &[0; 7]);
    refused(stamp::open(&seal(), &stamp_block), "epoch");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Any authentic body at all: an answer, never a panic.
    #[test]
    fn any_body_gets_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..600), counts in any::<[u8; 3]>()) {
        let mut bytes = bytes;
        // Small numbers in front get past the counts more often.
        for (byte, small) in bytes.iter_mut().zip([counts[0] % 4, 0, 0, 0, counts[1] % 4, 0, 0, 0]) {
            *byte = small;
        }
        let seal = seal();
        for kind in [SUPERBLOCK, GENERATIONS, RECORD] {
            let sealed = seal.seal(kind, 0, 16, &bytes);
            let found = peek(kind, &sealed).unwrap();
            let _ = Superblock::decode(&found);
            let _ = GenerationTable::decode(&found);
            for shape in [sample::shape(WriteMode::InPlace, 4096), sample::shape(WriteMode::Journal, 512)] {
                let _ = Record::decode(&found, &shape);
            }
        }
    }
}
