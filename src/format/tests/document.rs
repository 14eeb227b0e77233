//! FORMAT.md against the code: its tables are parsed, laid over encoded structures, and every field must be where and
//! what the document says.

use super::sample::{self, seal};
use super::tables::{TEXT, lay_over, section, tables, value};
use crate::crypto::Suite;
use crate::format::envelope::{self, CANARY, HEAD, MAC, OVERHEAD, RECORD, SUPERBLOCK, TAG_PAGE, TAIL, peek};
use crate::format::generations::{GenerationTable, KeyState, Phase, RANGES_MAX, REASON_MAX};
use crate::format::layout::{self, COMMIT_BYTES, INTENT_BYTES, RECORD_FIXED, WriteMode, plan};
use crate::format::lives::{ACTOR_MAX, HOLDERS_MAX, HolderKind, LABEL_MAX};
use crate::format::{canary, stamp, superblock, tags};
use crate::limits;
use crate::units::{BLOCK, Generation};

#[test]
fn envelope_and_magics() {
    let tables = tables(2);
    let sealed = seal().seal(TAG_PAGE, 3, 0x0102_0304, b"body!");
    let n = 5;
    let (mac, crc) = (&sealed[HEAD + n..HEAD + n + MAC], &sealed[HEAD + n + MAC..]);
    lay_over(
        &tables[0],
        &[('n', n)],
        &sealed,
        &[
            ("magic", b"KMTAGPAG"),
            ("version", &1u32.to_le_bytes()),
            ("length", &5u32.to_le_bytes()),
            ("sequence", &0x0102_0304u64.to_le_bytes()),
            ("body", b"body!"),
            ("MAC", mac),
            ("CRC", crc),
        ],
    );
    assert_eq!(crc, crc32fast::hash(&sealed[..HEAD + n + MAC]).to_le_bytes());
    let key = crate::crypto::mac::MacKey::new(&crate::crypto::Secret::filled(32, |bytes| bytes.fill(7)));
    assert_eq!(mac, key.tag(&[&sample::VOLUME.0, &3u64.to_le_bytes(), &sealed[..HEAD + n]]));
    assert_eq!((HEAD, TAIL, OVERHEAD), (24, 36, 60));
    let kinds = [
        envelope::SUPERBLOCK,
        envelope::GENERATIONS,
        envelope::CANARY,
        envelope::TAG_PAGE,
        envelope::RECORD,
        envelope::STAMP,
        envelope::BACKUP,
    ];
    assert_eq!(tables[1].len(), kinds.len());
    for (row, kind) in tables[1].iter().zip(kinds) {
        let magic = row[1].trim_matches('`').replace("\\0", "\0");
        assert_eq!((row[0].as_str(), magic.as_bytes()), (kind.name, &kind.magic[..]));
    }
    assert!(TEXT.starts_with(&format!("# The on-disk format, version {}\n", crate::format::VERSION)));
}

#[test]
fn zones() {
    let shape = sample::shape(WriteMode::InPlace, 4096);
    let rows = &tables(1)[0];
    let number = |row: usize, cell: usize| rows[row][cell].parse::<u64>().unwrap();
    for detached in [false, true] {
        let plan = plan(&shape, detached);
        let zones = plan.zones;
        assert_eq!((number(0, 2), number(1, 2)), (layout::SUPERBLOCK_A, layout::SUPERBLOCK_B));
        assert_eq!((number(0, 3), number(1, 3)), (BLOCK, BLOCK));
        assert_eq!((number(2, 2), number(2, 3)), (zones.generations.offset, zones.generations.length));
        assert_eq!((number(3, 2), number(3, 3)), (zones.canaries.offset, zones.canaries.length));
        assert_eq!(number(4, 2), zones.tags.offset);
        assert_eq!(rows[4][3], format!("{} × pages", zones.tags.length / u64::from(shape.tag_pages())));
        assert_eq!(zones.ring.offset, zones.tags.end());
        assert_eq!(zones.ring.length, u64::from(layout::RING_SLOTS) * shape.slot_size());
        assert!(rows[6][2].contains(&layout::DATA_ALIGN.to_string()));
        let data = if detached { 0 } else { crate::units::align_up(zones.ring.end(), layout::DATA_ALIGN) };
        assert_eq!((zones.data.offset, zones.data.length), (data, shape.size));
        assert_eq!((zones.stamp.offset, zones.stamp.length), (zones.data.end(), number(7, 3)));
    }
}

#[test]
fn superblock_fields() {
    let block = sample::superblock();
    let bytes = block.seal(&seal(), 1);
    let (n, m) = (block.granule_source.len(), block.poisoned.len());
    let zones = block.zones;
    let places = [zones.generations, zones.canaries, zones.tags, zones.ring, zones.data, zones.stamp];
    let numbers: Vec<[u8; 8]> =
        places.iter().flat_map(|place| [place.offset, place.length]).map(u64::to_le_bytes).collect();
    let (size, max_size) = (block.shape.size.to_le_bytes(), block.shape.max_size.to_le_bytes());
    let mut wanted: Vec<(&str, &[u8])> =
        vec![("volume id", &block.volume.0), ("size", &size), ("maximum size", &max_size)];
    let (extent, unit) = (block.shape.extent_size.to_le_bytes(), block.shape.data_unit.to_le_bytes());
    wanted.extend([("extent size", &extent[..]), ("data unit", &unit), ("granule", &[0, 2, 0, 0])]);
    wanted.extend([("write mode", &[0u8][..]), ("header kind", &[1]), ("hole rule", &[0]), ("reserved", &[0])]);
    let names = ["generation", "canary", "tag", "ring", "data", "stamp"];
    let names: Vec<String> =
        names.iter().flat_map(|name| [format!("{name} zone offset"), format!("{name} zone length")]).collect();
    wanted.extend(names.iter().map(String::as_str).zip(numbers.iter().map(|number| &number[..])));
    let (slots, slot_size) = (block.ring_slots.to_le_bytes(), block.slot_size.to_le_bytes());
    let (tail, checkpoint) = (block.tail.to_le_bytes(), block.checkpoint.to_le_bytes());
    wanted.extend([
        ("ring slots", &slots[..]),
        ("slot size", &slot_size),
        ("tail", &tail),
        ("checkpoint", &checkpoint),
    ]);
    let (epoch, created) = (block.epoch.to_le_bytes(), block.created.to_le_bytes());
    wanted.extend([("tag digest", &block.tag_digest[..]), ("epoch", &epoch), ("creation time", &created)]);
    let (source_len, poison_len) = ((n as u16).to_le_bytes(), (m as u16).to_le_bytes());
    wanted.extend([("feature bits", &[0u8; 8][..]), ("length of the granule source", &source_len)]);
    wanted.extend([("granule source", block.granule_source.as_bytes()), ("length of the poison", &poison_len)]);
    wanted.push(("poison", block.poisoned.as_bytes()));
    lay_over(&tables(3)[0], &[('n', n), ('m', m)], peek(SUPERBLOCK, &bytes).unwrap().body, &wanted);
    let place = layout::Place { offset: zones.data.end() - BLOCK, length: BLOCK };
    let growing = superblock::Superblock { unfinished: Some(place), ..block.clone() }.seal(&seal(), 1);
    let body = peek(SUPERBLOCK, &growing).unwrap().body;
    assert_eq!(body[220..228], 1u64.to_le_bytes());
    let (offset, length) = (place.offset.to_le_bytes(), place.length.to_le_bytes());
    let wanted = [("place to zero, offset", &offset[..]), ("place to zero, length", &length)];
    lay_over(&tables(3)[1], &[], &body[232 + n + m..], &wanted);
    assert_eq!(superblock::TEXT_MAX, 512);
    assert!(section(3).contains(&format!("from {} to {}", limits::EXTENT_MIN, limits::EXTENT_MAX)));
    assert_eq!(limits::EXTENTS_MAX, 1 << 28);
}

#[test]
fn generation_table_fields() {
    let table = sample::table();
    let bytes = table.seal(&seal(), 1).unwrap();
    let body = peek(envelope::GENERATIONS, &bytes).unwrap().body;
    assert_eq!(body[..2], 3u16.to_le_bytes());
    let tables = tables(4);
    let entry = &table.entries[0];
    let (r, wrap) = (entry.reason.len(), &entry.wraps[0]);
    let wrap_len = 9 + wrap.kek_id.len() + wrap.blob.len();
    let w = wrap_len + 9 + entry.wraps[1].kek_id.len() + entry.wraps[1].blob.len();
    let first = &body[2..2 + 69 + r + w];
    lay_over(
        &tables[0],
        &[('r', r), ('w', w)],
        first,
        &[
            ("generation", &0u32.to_le_bytes()),
            ("key id", &entry.key_id),
            ("suite", &0u16.to_le_bytes()),
            ("data unit", &4096u32.to_le_bytes()),
            ("tweak unit", &512u32.to_le_bytes()),
            ("tweak base", &entry.tweak_base.to_le_bytes()),
            ("key state", &[2]),
            ("compromised", &[0]),
            ("canary slot", &0u16.to_le_bytes()),
            ("creation time", &100u64.to_le_bytes()),
            ("activation time", &200u64.to_le_bytes()),
            ("bytes reserved", &300u64.to_le_bytes()),
            ("length of the reason", &(r as u16).to_le_bytes()),
            ("reason", entry.reason.as_bytes()),
            ("wraps", &[2]),
            ("the wraps", &first[69 + r..]),
        ],
    );
    let (k, b) = (wrap.kek_id.len(), wrap.blob.len());
    lay_over(
        &tables[1],
        &[('k', k), ('b', b)],
        &first[69 + r..69 + r + wrap_len],
        &[
            ("provider", &[1]),
            ("KEK version", &9u32.to_le_bytes()),
            ("length of the KEK id", &(k as u16).to_le_bytes()),
            ("KEK id", wrap.kek_id.as_bytes()),
            ("length of the blob", &(b as u16).to_le_bytes()),
            ("blob", &wrap.blob),
        ],
    );
    rotation_fields(&tables[2], &table, body);
    life_fields(&tables[3..5], &table, &body[body.len() - sample::lives_len(&table)..]);
}

fn life_fields(tables: &[Vec<Vec<String>>], table: &GenerationTable, bytes: &[u8]) {
    let (life, holder) = (&table.entries[0].life, &table.holders[0]);
    let (a, r, l) = (life.actor.len(), life.reason.len(), holder.label.len());
    assert_eq!(bytes[..2], (table.entries.len() as u16).to_le_bytes());
    lay_over(
        &tables[0],
        &[('a', a), ('r', r)],
        &bytes[2..2 + 52 + a + r],
        &[
            ("time of the change", &life.changed.to_le_bytes()),
            ("date from which", &life.scheduled.to_le_bytes()),
            ("evidence", &life.evidence),
            ("length of the actor", &(a as u16).to_le_bytes()),
            ("actor", life.actor.as_bytes()),
            ("length of the reason", &(r as u16).to_le_bytes()),
            ("reason", life.reason.as_bytes()),
        ],
    );
    lay_over(
        &tables[1],
        &[('l', l)],
        &bytes[bytes.len() - (51 + l)..],
        &[
            ("holder id", &holder.id),
            ("holder kind", &[2]),
            ("first generation", &holder.first.0.to_le_bytes()),
            ("last generation", &holder.last.0.to_le_bytes()),
            ("time it was made", &holder.made.to_le_bytes()),
            ("time of the last drill", &holder.drilled.to_le_bytes()),
            ("time it was released", &holder.released.to_le_bytes()),
            ("length of the label", &(l as u16).to_le_bytes()),
            ("label", holder.label.as_bytes()),
        ],
    );
}

fn rotation_fields(rows: &[Vec<String>], table: &GenerationTable, body: &[u8]) {
    let rotation = &table.rotation;
    let r = rotation.reason.len();
    let ranges: Vec<u8> = [0u64, 65536, 131_072, 196_608].iter().flat_map(|number| number.to_le_bytes()).collect();
    lay_over(
        rows,
        &[('g', 2), ('r', r)],
        &body[body.len() - sample::lives_len(table) - (62 + 32 + r)..body.len() - sample::lives_len(table)],
        &[
            ("id", &0x41u64.to_le_bytes()),
            ("phase", &[2]),
            ("target", &2u32.to_le_bytes()),
            ("generation to roll back to", &1u32.to_le_bytes()),
            ("flags", &[2]),
            ("order", &[2]),
            ("ranges", &2u16.to_le_bytes()),
            ("the ranges", &ranges),
            ("rate", &0x51u64.to_le_bytes()),
            ("1: client latency", &[1]),
            ("percent", &150u16.to_le_bytes()),
            ("extents in a million", &1234u32.to_le_bytes()),
            ("start time", &0x61u64.to_le_bytes()),
            ("time when drained", &0x62u64.to_le_bytes()),
            ("extents verified", &0x63u64.to_le_bytes()),
            ("length of the reason", &(r as u16).to_le_bytes()),
            ("reason", rotation.reason.as_bytes()),
        ],
    );
}

#[test]
fn numbers_and_bounds() {
    let rows = &tables(4)[5];
    let of = |what: &str| -> Vec<(u16, String)> {
        let rows = rows.iter().filter(|row| row[0] == what);
        rows.map(|row| (row[1].parse().unwrap(), row[2].clone())).collect()
    };
    for (id, meaning) in of("suite").into_iter().skip(1) {
        let suite = Suite::from_id(id).unwrap();
        assert!(meaning.starts_with(&suite.to_string()), "suite {id}: {meaning}");
        let key = suite.key_len();
        assert!(key == 0 || meaning.contains(&format!("{key} bytes")), "suite {id}: {meaning}");
    }
    assert_eq!(of("suite").len(), 4);
    use KeyState::{Active, Destroyed, Disabled, Draining, Empty, Prepared, Revoked, Scheduled};
    let states = [Prepared, Active, Draining, Empty, Disabled, Scheduled, Destroyed, Revoked];
    assert_eq!(of("key state"), states.map(|state| (state as u16, state.name().to_owned())));
    use Phase::{Drained, Failed, Finalized, Idle, Paused, Running};
    let phases = [Idle, Running, Paused, Drained, Finalized, Failed];
    assert_eq!(of("phase"), phases.map(|phase| (phase as u16, format!("{phase:?}").to_lowercase())));
    assert_eq!(of("order").len(), 3);
    assert_eq!(of("holder kind"), HolderKind::ALL.map(|kind| (kind as u16, kind.name().to_owned())));
    let bounds = format!(
        "Bounds: reason {REASON_MAX} bytes, wraps {}, KEK id {} bytes, blob {} bytes, ranges {RANGES_MAX}. \
         Actor {ACTOR_MAX} bytes, label {LABEL_MAX} bytes, holders {HOLDERS_MAX}.",
        limits::WRAPS_MAX,
        limits::KEK_ID_MAX,
        limits::WRAP_BLOB_MAX
    );
    assert!(section(4).contains(&bounds), "{bounds}");
    let size = format!("At most {} entries and {} bytes for a copy", limits::GENERATIONS_MAX, layout::GENERATIONS_COPY);
    assert!(section(4).contains(&size), "{size}");
}

#[test]
fn canary_fields() {
    let canary = sample::canary();
    let block = canary.seal(&seal(), 2);
    let body = peek(CANARY, &block).unwrap().body;
    let wanted: [(&str, &[u8]); 3] =
        [("generation", &2u32.to_le_bytes()), ("length", &4096u16.to_le_bytes()), ("ciphertext", &canary.ciphertext)];
    lay_over(&tables(5)[0], &[], body, &wanted);
    assert_eq!((block.len() as u64, canary::SLOT, canary::OFFSET), (8192, 8192, 1 << 62));
    assert!(section(5).contains("256 slots of 8192 bytes") && limits::GENERATIONS_MAX == 256);
}

#[test]
fn tag_page_fields() {
    let page = tags::seal_page(&seal(), 0, 1, (1..=1008).map(Generation));
    let tags: Vec<u8> = (1..=1008u32).flat_map(u32::to_le_bytes).collect();
    lay_over(&tables(6)[0], &[], peek(TAG_PAGE, &page).unwrap().body, &[("tags", &tags)]);
    assert_eq!(layout::TAGS_PER_PAGE, 1008);
    let key = crate::crypto::mac::MacKey::new(&crate::crypto::Secret::filled(32, |bytes| bytes.fill(3)));
    let mut input = b"tag pages".to_vec();
    for (index, sequence) in [(0u32, 4u64), (1, 9)] {
        input.extend_from_slice(&index.to_le_bytes());
        input.extend_from_slice(&sequence.to_le_bytes());
    }
    assert_eq!(tags::digest(&key, [4, 9].into_iter()), key.tag(&[&input]));
}

#[test]
fn record_fields() {
    let rows = tables(7);
    for (mode, granule, image_len) in [(WriteMode::InPlace, 512, 1024), (WriteMode::Journal, 4096, 65536)] {
        let shape = sample::shape(mode, granule);
        let bytes = sample::record(&shape).seal(&seal(), 16);
        let body = peek(RECORD, &bytes).unwrap().body;
        let (commits, intents) = body[16..].split_at(16);
        let (c, i) = (1, intents.len());
        let wanted: [(&str, &[u8]); 5] = [
            ("commits", &1u32.to_le_bytes()),
            ("intents", &2u32.to_le_bytes()),
            ("reserved", &[0; 8]),
            ("the commits", commits),
            ("the intents", intents),
        ];
        lay_over(&rows[0], &[('c', c), ('i', i)], body, &wanted);
        let wanted: [(&str, &[u8]); 3] =
            [("extent", &0u32.to_le_bytes()), ("generation", &2u32.to_le_bytes()), ("sequence", &19u64.to_le_bytes())];
        lay_over(&rows[1], &[], commits, &wanted);
        let image = &intents[16..16 + image_len];
        let wanted: [(&str, &[u8]); 5] = [
            ("extent", &1u32.to_le_bytes()),
            ("old generation", &1u32.to_le_bytes()),
            ("new generation", &2u32.to_le_bytes()),
            ("length of the image", &(image_len as u32).to_le_bytes()),
            ("image", image),
        ];
        lay_over(&rows[2], &[('l', image_len)], &intents[..16 + image_len], &wanted);
    }
    assert_eq!((RECORD_FIXED, COMMIT_BYTES, INTENT_BYTES), (16, 16, 16));
}

#[test]
fn ring_numbers() {
    let text = section(7);
    assert!(text.contains(&format!("most {} bytes (journal mode: {}", limits::BATCH_MAX, layout::JOURNAL_BATCH_MAX)));
    let fixed = OVERHEAD as u64 + RECORD_FIXED;
    assert!(text.contains(&format!("The slot size is {fixed} + {} for each extent", COMMIT_BYTES + INTENT_BYTES)));
    assert!(text.contains(&format!("volumes have {} slots", layout::RING_SLOTS)));
    assert!(text.contains(&format!("At most {0} commits and {0} intents", limits::BATCH_EXTENTS_MAX)));
    // The rule in words, for a few volumes.
    for (size, extent, granule) in
        [(64u64 << 10, 64u64 << 10, 4096u32), (1 << 30, 1 << 20, 512), (1 << 40, 4 << 20, 4096)]
    {
        let batch = (size / 16).next_power_of_two().max(extent).min(64 << 20);
        let raw = 76 + 32 * (batch / extent) + 8 * (batch / u64::from(granule));
        let shape = layout::Shape {
            size,
            max_size: size,
            extent_size: extent,
            data_unit: 4096,
            granule,
            mode: WriteMode::InPlace,
        };
        assert_eq!(shape.slot_size(), raw.next_multiple_of(4096), "size {size}");
    }
}

#[test]
fn stamp_fields() {
    let block = stamp::seal(&seal(), 0x71);
    lay_over(&tables(8)[0], &[], peek(envelope::STAMP, &block).unwrap().body, &[("epoch", &0x71u64.to_le_bytes())]);
}

#[test]
fn the_evaluator_can_fail() {
    assert_eq!(value("62+16g", &[('g', 2)]), 94);
    let row = |offset: &str| vec![vec![offset.to_owned(), "4".to_owned(), "extent".to_owned()]];
    lay_over(&row("0"), &[], &[1, 0, 0, 0], &[("extent", &1u32.to_le_bytes())]);
    let wrong: [(&str, [u8; 4]); 2] = [("4", [1, 0, 0, 0]), ("0", [2, 0, 0, 0])];
    for (offset, bytes) in wrong {
        let rows = row(offset);
        let laid = std::panic::catch_unwind(|| lay_over(&rows, &[], &bytes, &[("extent", &1u32.to_le_bytes())]));
        assert!(laid.is_err(), "offset {offset}, bytes {bytes:?}");
    }
}
