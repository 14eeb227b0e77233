//! What is sealed comes back the same, whatever the values.

use proptest::prelude::*;

use super::sample::{self, seal};
use crate::format::COUNTER_MAX;
use crate::format::canary::{self, Canary};
use crate::format::envelope::{GENERATIONS, RECORD, SUPERBLOCK, peek};
use crate::format::generations::{Entry, GenerationTable, KeyState, Order, Pace, Phase, Rotation, VerifyMode};
use crate::format::intents::{Commit, Image, Intent, Record};
use crate::format::layout::{GENERATIONS_COPY, Place, RING_SLOTS, Shape, WriteMode, copy_of, largest_size, plan};
use crate::format::lives::{Holder, HolderKind, Life};
use crate::format::stamp;
use crate::format::superblock::Superblock;
use crate::format::tags::{counting_copy, digest, open_page, peek_tags, seal_page};
use crate::format::wrapped::Wrapped;
use crate::units::{BLOCK, Extent, Generation, VolumeId};

fn shapes() -> impl Strategy<Value = Shape> {
    let units = (prop_oneof![Just(512u32), Just(4096)], prop_oneof![Just(512u32), Just(4096)]);
    let mode = prop_oneof![Just(WriteMode::InPlace), Just(WriteMode::Journal)];
    (16u32..27, 1u64..5000, 0u64..5000, units, mode).prop_map(|(bits, blocks, more, (data_unit, granule), mode)| {
        Shape {
            size: blocks * BLOCK,
            max_size: (blocks + more) * BLOCK,
            extent_size: 1 << bits,
            data_unit,
            granule,
            mode,
        }
    })
}

/// In half of all cases a place that a growth has left to zero: from inside the data to their end at most.
fn grown_over(shape: &Shape, detached: bool, chosen: u64) -> Option<Place> {
    let (data, blocks) = (plan(shape, detached).zones.data, shape.size / BLOCK);
    let kept = 1 + chosen / 2 % blocks;
    let place = Place { offset: data.offset + kept * BLOCK, length: (blocks - kept) * BLOCK };
    (chosen.is_multiple_of(2) && place.length > 0).then_some(place)
}

fn superblocks() -> impl Strategy<Value = Superblock> {
    let numbers = (0..=COUNTER_MAX, 0..=COUNTER_MAX, 0..=COUNTER_MAX, any::<u64>());
    let texts = ("\\PC{0,100}", "\\PC{0,100}");
    (shapes(), any::<bool>(), any::<[u8; 16]>(), any::<[u8; 32]>(), numbers, texts, any::<u64>()).prop_map(
        |(shape, detached, id, tag_digest, (tail, checkpoint, epoch, created), (granule_source, poisoned), grown)| {
            Superblock {
                volume: VolumeId(id),
                shape,
                granule_source,
                zones: plan(&shape, detached).zones,
                detached,
                ring_slots: RING_SLOTS,
                slot_size: shape.slot_size() as u32,
                tail,
                checkpoint,
                tag_digest,
                epoch,
                poisoned,
                created,
                unfinished: grown_over(&shape, detached, grown),
            }
        },
    )
}

fn wraps() -> impl Strategy<Value = Wrapped> {
    let blob = proptest::collection::vec(any::<u8>(), 0..1024);
    (any::<u8>(), any::<u32>(), "[a-z0-9:/.-]{0,255}", blob).prop_map(|(provider, kek_version, kek_id, blob)| Wrapped {
        provider,
        kek_id,
        kek_version,
        blob,
    })
}

fn states() -> impl Strategy<Value = KeyState> {
    use KeyState::{Destroyed, Disabled, Draining, Empty, Prepared, Revoked, Scheduled};
    proptest::sample::select(vec![Prepared, Draining, Empty, Disabled, Scheduled, Destroyed, Revoked])
}

fn entries() -> impl Strategy<Value = Entry> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), 0..=COUNTER_MAX);
    let wraps = proptest::collection::vec(wraps(), 0..3);
    let names = (0..u32::MAX, any::<[u8; 16]>(), any::<u16>(), 0u16..256, "\\PC{0,80}");
    (names, numbers, states(), any::<bool>(), any::<bool>(), wraps).prop_map(
        |((generation, key_id, suite, canary_slot, reason), numbers, state, compromised, small, wraps)| Entry {
            generation: Generation(generation),
            key_id,
            suite,
            data_unit: 4096,
            tweak_unit: if small { 512 } else { 4096 },
            tweak_base: numbers.0,
            state,
            compromised,
            created: numbers.1,
            activated: numbers.2,
            bytes_reserved: numbers.3,
            reason,
            canary_slot,
            life: Life { changed: numbers.3, ..Life::default() },
            wraps,
        },
    )
}

fn orders() -> impl Strategy<Value = Order> {
    let ranges = proptest::collection::vec((any::<u64>(), any::<u64>()), 0..64);
    prop_oneof![Just(Order::Sequential), Just(Order::OldestFirst), ranges.prop_map(Order::Ranges)]
}

fn rotations() -> impl Strategy<Value = Rotation> {
    use Phase::{Drained, Failed, Finalized, Idle, Paused, Running};
    let phase = proptest::sample::select(vec![Idle, Running, Paused, Drained, Finalized, Failed]);
    let verify =
        prop_oneof![Just(VerifyMode::Off), (1u32..1_000_000).prop_map(VerifyMode::Sample), Just(VerifyMode::Full)];
    let pace = (any::<u64>(), any::<bool>(), any::<u16>());
    let pace = pace.prop_map(|(rate, adaptive, factor_percent)| Pace { rate, adaptive, factor_percent });
    let numbers = (0..=COUNTER_MAX, any::<u64>(), any::<u64>(), any::<u64>());
    (phase, proptest::option::of(1u32..), any::<(bool, bool)>(), orders(), pace, verify, numbers, "\\PC{0,80}")
        .prop_map(|(phase, back, (is_rollback, hold_finalize), order, pace, verify, numbers, reason)| Rotation {
            id: numbers.0,
            phase,
            target: Generation(0),
            rollback_to: back.map(Generation),
            is_rollback,
            hold_finalize,
            order,
            pace,
            verify,
            started: numbers.1,
            drained: numbers.2,
            verified: numbers.3,
            reason,
        })
}

fn holders() -> impl Strategy<Value = Holder> {
    let kind = proptest::sample::select(HolderKind::ALL.to_vec());
    let numbers = (0..=COUNTER_MAX, 0..=COUNTER_MAX, 0..=COUNTER_MAX);
    (any::<[u8; 16]>(), kind, any::<(u32, u32)>(), numbers, "\\PC{0,60}").prop_map(
        |(id, kind, (a, b), numbers, label)| {
            let (first, last) = (Generation(a.min(b)), Generation(a.max(b)));
            Holder { id, kind, first, last, made: numbers.0, drilled: numbers.1, released: numbers.2, label }
        },
    )
}

/// A table with the two entries every table has: the metadata key's and an active target's.
fn tables() -> impl Strategy<Value = GenerationTable> {
    let holders = proptest::collection::vec(holders(), 0..4);
    (proptest::collection::vec(entries(), 1..6), rotations(), holders).prop_map(
        |(mut entries, mut rotation, holders)| {
            entries.push(Entry { generation: Generation(0), ..entries[0].clone() });
            entries.sort_by_key(|entry| entry.generation);
            entries.dedup_by_key(|entry| entry.generation);
            let last = entries.len() - 1;
            entries[last].state = KeyState::Active;
            rotation.target = entries[last].generation;
            GenerationTable { entries, rotation, holders }
        },
    )
}

fn records() -> impl Strategy<Value = (Shape, Record)> {
    let shape = (prop_oneof![Just(512u32), Just(4096)], any::<bool>()).prop_map(|(granule, journal)| {
        sample::shape(if journal { WriteMode::Journal } else { WriteMode::InPlace }, granule)
    });
    let commits = proptest::collection::vec((0u32..4, any::<u32>(), any::<u64>()), 0..5);
    let intents = proptest::collection::vec((0u32..4, any::<u32>(), any::<u32>(), any::<u64>()), 0..4);
    (shape, 0..=COUNTER_MAX, commits, intents).prop_map(|(shape, sequence, commits, intents)| {
        let commit = |(extent, generation, intent)| Commit {
            extent: Extent(extent),
            generation: Generation(generation),
            intent,
        };
        let intent = |(extent, old, new, seed): (u32, u32, u32, u64)| {
            let (first, end) = shape.extent_range(extent);
            let image = match shape.mode {
                WriteMode::InPlace => {
                    let granules = (end - first) / u64::from(shape.granule);
                    Image::Fingerprints((0..granules).map(|at| seed.wrapping_mul(at + 1)).collect())
                }
                WriteMode::Journal => Image::Ciphertext((first..end).map(|at| (at ^ seed) as u8).collect()),
            };
            Intent { extent: Extent(extent), old: Generation(old), new: Generation(new), image }
        };
        let commits = commits.into_iter().map(commit).collect();
        (shape, Record { sequence, commits, intents: intents.into_iter().map(intent).collect() })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn superblock(block in superblocks(), sequence in 0..=COUNTER_MAX) {
        let bytes = block.seal(&seal(), sequence);
        prop_assert_eq!(bytes.len() as u64, BLOCK);
        let found = peek(SUPERBLOCK, &bytes).unwrap();
        prop_assert_eq!(seal().verify(&found, 0).unwrap().0, sequence);
        prop_assert_eq!(Superblock::decode(&found).unwrap(), block);
    }

    #[test]
    fn table(table in tables(), sequence in 0..=COUNTER_MAX) {
        let bytes = table.seal(&seal(), sequence).unwrap();
        prop_assert!(bytes.len() as u64 <= GENERATIONS_COPY);
        let found = peek(GENERATIONS, &bytes).unwrap();
        prop_assert_eq!(found.sequence, sequence);
        prop_assert_eq!(GenerationTable::decode(&found).unwrap(), table);
    }

    #[test]
    fn record((shape, record) in records()) {
        let bytes = record.seal(&seal(), RING_SLOTS);
        let slot = (record.sequence % u64::from(RING_SLOTS)) as u32;
        prop_assert_eq!(bytes.len() % BLOCK as usize, 0);
        prop_assert_eq!(&Record::open(&seal(), slot, &bytes, &shape).unwrap(), &record);
        prop_assert_eq!(&Record::decode(&peek(RECORD, &bytes).unwrap(), &shape).unwrap(), &record);
    }

    #[test]
    fn tag_page(index in any::<u32>(), sequence in 0..=COUNTER_MAX, tags in proptest::collection::vec(any::<u32>(), 0..1009)) {
        let bytes = seal_page(&seal(), index, sequence, tags.iter().copied().map(Generation));
        prop_assert_eq!(bytes.len() as u64, BLOCK);
        let page = open_page(&seal(), index, &bytes).unwrap();
        prop_assert_eq!(page.sequence, sequence);
        prop_assert_eq!(&peek_tags(&bytes).unwrap(), &page.tags);
        let mut wanted: Vec<Generation> = tags.into_iter().map(Generation).collect();
        wanted.resize(1008, Generation(0));
        prop_assert_eq!(page.tags, wanted);
    }

    #[test]
    fn canary_and_stamp(generation in any::<u32>(), slot in 0u32..256, byte in any::<u8>(), epoch in 0..=COUNTER_MAX) {
        let ciphertext = vec![byte; canary::LEN];
        let block = Canary { generation: Generation(generation), ciphertext: ciphertext.clone() }.seal(&seal(), slot);
        let found = Canary::open(&seal(), slot, &block).unwrap();
        prop_assert_eq!((found.generation, found.ciphertext), (Generation(generation), ciphertext));
        prop_assert_eq!(stamp::open(&seal(), &stamp::seal(&seal(), epoch)).unwrap(), epoch);
    }

    /// The zones of any volume stand apart, on block boundaries, within what the plan asks for.
    #[test]
    fn zones_stand_apart(shape in shapes(), detached in any::<bool>()) {
        prop_assert!(shape.check().is_ok());
        let plan = plan(&shape, detached);
        prop_assert!(!plan.zones.overlap(detached));
        let zones = plan.zones;
        for place in [zones.generations, zones.canaries, zones.tags, zones.ring, zones.data, zones.stamp] {
            prop_assert_eq!(place.offset % BLOCK, 0);
        }
        prop_assert!(zones.ring.end() <= plan.header_len && zones.stamp.end() == plan.data_len);
    }

    /// A backing filled to the brim: nothing larger fits.
    #[test]
    fn largest_size_fits_and_is_largest(shape in shapes(), mib in 1u64..200, detached in any::<bool>()) {
        let len = mib << 20;
        let size = largest_size(&shape, len, detached);
        let need = |size: u64| plan(&Shape { size, max_size: size, ..shape }, detached).data_len;
        prop_assert!(size.is_multiple_of(BLOCK) && (size == 0 || need(size) <= len));
        prop_assert!(size == 0 || need(size + BLOCK) > len, "{} more would fit", BLOCK);
    }

    /// A record of a whole batch fits its slot.
    #[test]
    fn the_largest_record_fits_its_slot(bits in 16u32..21, mib in 1u64..64, granule in prop_oneof![Just(512u32), Just(4096)]) {
        let size = mib << 20;
        let shape = Shape { size, max_size: size, extent_size: 1 << bits, data_unit: 512, granule, mode: WriteMode::InPlace };
        let count = shape.batch_extents().min(shape.extents());
        let commit = |extent| Commit { extent: Extent(extent), generation: Generation(1), intent: 1 };
        let prints = shape.extent_size / u64::from(granule);
        let intent = |extent| Intent {
            extent: Extent(extent),
            old: Generation(1),
            new: Generation(2),
            image: Image::Fingerprints(vec![0; prints as usize]),
        };
        let record = Record { sequence: 1, commits: (0..count).map(commit).collect(), intents: (0..count).map(intent).collect() };
        prop_assert!(record.seal(&seal(), RING_SLOTS).len() as u64 <= shape.slot_size());
    }

    /// The checkpoint rule, from its words: the newest copy not newer than the checkpoint.
    #[test]
    fn the_counting_copy(checkpoint in 0u64..6, a in proptest::option::of(0u64..8), b in proptest::option::of(0u64..8)) {
        let counts = counting_copy(checkpoint, [a, b]).map(|copy| [a, b][copy].unwrap());
        let wanted = [a, b].into_iter().flatten().filter(|sequence| *sequence <= checkpoint).max();
        prop_assert_eq!(counts, wanted);
    }
}

#[test]
fn sequences_alternate_between_the_copies() {
    assert_eq!([1, 2, 3, 4].map(copy_of), [0, 1, 0, 1]);
}

#[test]
fn the_digest_depends_on_every_page_and_its_place() {
    use crate::crypto::{Secret, mac::MacKey};
    let key = MacKey::new(&Secret::filled(32, |bytes| bytes.fill(1)));
    let of = |sequences: &[u64]| digest(&key, sequences.iter().copied());
    assert_ne!(of(&[1, 2]), of(&[2, 1]));
    assert_ne!(of(&[1, 2]), of(&[1, 2, 0]));
    assert_ne!(of(&[1, 2]), of(&[1, 3]));
}

#[test]
fn overlapping_zones_are_seen() {
    let shape = sample::shape(WriteMode::InPlace, 4096);
    let mut zones = plan(&shape, false).zones;
    zones.data.offset = zones.ring.offset;
    assert!(zones.overlap(false));
    // Detached data stand on another backing: the same numbers do not meet.
    assert!(!zones.overlap(true));
    zones.stamp.offset = zones.data.offset;
    assert!(zones.overlap(true));
}

#[test]
fn what_a_rotation_moves_away_from_is_the_generation_activated_last_before_its_target() {
    let mut table = sample::table();
    let [_, first, second] = table.entries.as_mut_slice() else { panic!("three entries") };
    (first.activated, second.activated) = (100, 200);
    table.rotation.rollback_to = None; // finalized: nothing else remembers
    assert_eq!(table.previous_target(), Some(Generation(1)));
    (table.rotation.target, table.entries[1].activated) = (Generation(1), 200); // rolled back within the same second
    assert_eq!(table.previous_target(), Some(Generation(2)));
    table.entries[2].activated = 0; // prepared, never active
    assert_eq!(table.previous_target(), None);
}
